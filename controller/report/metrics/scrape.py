"""The text of all metrics, rendered in a worker thread and at most once a second. Served by `report.http`."""

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest


class Scrape:
    """Renders a registry, however often it is asked for."""

    def __init__(self, registry: CollectorRegistry, monotonic: Callable[[], float]) -> None:
        self._registry = registry
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._text = b""
        self._at: float | None = None

    async def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        async with self._lock:
            if self._at is None or self._monotonic() - self._at >= 1.0:
                self._text = await asyncio.to_thread(generate_latest, self._registry)
                self._at = self._monotonic()
            return self._text
