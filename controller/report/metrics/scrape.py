"""The text of all metrics, rendered in a worker thread and at most once a second. Served by `report.http`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client import exposition as plain
from prometheus_client.openmetrics import exposition as openmetrics

_PLAIN = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Exposition:
    """What a scraper gets. Only OpenMetrics has exemplars: the task of PVE that an observation is about."""

    text: bytes
    content_type: str


class Scrape:
    """Renders a registry, however often it is asked for."""

    def __init__(self, registry: CollectorRegistry, monotonic: Callable[[], float]) -> None:
        self._registry = registry
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._rendered: dict[str, tuple[float, Exposition]] = {}

    async def exposition(self, accept: str = "") -> Exposition:
        """The metrics in what the `Accept` header asks for: OpenMetrics, or Prometheus' own text format."""
        # Two formats and no more, whatever versions a header names: each is kept.
        wanted = openmetrics if "application/openmetrics-text" in accept else plain
        content_type = _OPENMETRICS if wanted is openmetrics else _PLAIN
        async with self._lock:
            at, made = self._rendered.get(content_type, (0.0, None))
            if made is None or self._monotonic() - at >= 1.0:
                made = Exposition(await asyncio.to_thread(wanted.generate_latest, self._registry), content_type)
                self._rendered[content_type] = (self._monotonic(), made)
            return made
