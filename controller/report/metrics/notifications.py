"""Metrics of notifications: series per sink of the machine's settings, which has few. Owned by `Metrics`."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge


class NotificationResult(StrEnum):
    """How an attempt ended; Dropped: given up, or pushed out of a full queue."""

    DELIVERED = "Delivered"
    FAILED = "Failed"
    DROPPED = "Dropped"


class NotificationMetrics:
    """One per process: a sink may serve several clusters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._total = Counter(
            "drover_notifications_total",
            "Attempts to send word to a sink, and messages dropped; of failures `drover notify test SINK` shows the cause.",
            ["sink", "result"],
            registry=registry,
        )
        self._queued = Gauge(
            "drover_notifications_queued",
            "Messages that a sink has not taken yet; more than a few for minutes: it can't be reached.",
            ["sink"],
            registry=registry,
        )

    def add_sink(self, sink: str) -> None:
        """Give birth to the series of a sink."""
        for result in NotificationResult:
            self._total.labels(sink, result)
        self._queued.labels(sink)

    def count(self, sink: str, result: NotificationResult, number: int = 1) -> None:
        """Count an attempt, or messages that were dropped."""
        self._total.labels(sink, result).inc(number)

    def queued(self, sink: str, number: int) -> None:
        """Take in how many wait."""
        self._queued.labels(sink).set(number)
