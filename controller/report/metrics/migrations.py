"""Metrics of moves: how many, how they ended, what they cost. Owned by `Metrics`."""

from controller.model.ids import ClusterName
from controller.model.outcome import Outcome, Result
from controller.model.view import ClusterView
from controller.report.metrics.families import Families
from controller.report.metrics.words import born_moves


class MigrationMetrics:
    """Moves under way and those that ended."""

    def __init__(self, families: Families) -> None:
        self._moves = families.counter(
            "drover_moves_total",
            "Moves by result; the reason is that of the move when it started or succeeded, else that of the failure.",
            "reason",
            "result",
        )
        self._in_flight = families.gauge("drover_moves_in_flight", "Moves that Drover has under way.")
        self._seconds = families.histogram(
            "drover_migration_seconds",
            "Duration of moves that succeeded, from the request until the guest was seen well on its target.",
            (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200),
        )
        self._downtime = families.histogram(
            "drover_migration_downtime_seconds",
            "Downtime of guests that moved live, as QEMU reports it.",
            (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
        )
        self._bytes = families.counter(
            "drover_migration_bytes_total", "Memory and state that finished moves transferred."
        )

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to every series of a cluster."""
        for bare in (self._in_flight, self._seconds, self._downtime, self._bytes):
            bare.labels(cluster)
        for reason, result in born_moves():
            self._moves.labels(cluster, reason, result)

    def publish(self, view: ClusterView) -> None:
        """Take in what ended and what is under way; outcomes count as often as they are shown."""
        for outcome in view.outcomes:
            self._count(view.cluster, outcome)
        self._in_flight.labels(view.cluster).set(len(view.memory.flights))

    def _count(self, cluster: ClusterName, outcome: Outcome) -> None:
        self._moves.labels(cluster, outcome.why, outcome.result).inc()
        if outcome.result is not Result.SUCCEEDED:
            return
        if outcome.seconds is not None:
            self._seconds.labels(cluster).observe(outcome.seconds)
        if outcome.progress is not None:
            self._bytes.labels(cluster).inc(outcome.progress.transferred_bytes)
            if outcome.progress.downtime_ms is not None:
                self._downtime.labels(cluster).observe(outcome.progress.downtime_ms / 1000)
