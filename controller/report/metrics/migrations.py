"""Metrics of moves: how many, how they ended, what they cost, and each one while it is under way. Owned by `Metrics`."""

from collections.abc import Mapping
from types import MappingProxyType

from controller.model.ids import ClusterName, Vmid
from controller.model.outcome import Outcome, Result
from controller.model.view import ClusterView
from controller.report.metrics.families import Families, Passing, Row, trace
from controller.report.metrics.words import born_moves

_MOVE = ("vmid", "source", "target", "reason")
LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "drover_move_start_timestamp_seconds": _MOVE,
        "drover_move_sent_bytes": _MOVE,
        "drover_move_remaining_bytes": _MOVE,
        "drover_move_rate_bytes_per_second": _MOVE,
        "drover_move_dirty_bytes_per_second": _MOVE,
    }
)
"""Metrics whose series come with a move and go when it is over, with their labels beside `cluster`."""


class MigrationMetrics:
    """Moves under way and those that ended."""

    def __init__(self, families: Families) -> None:
        self._ended(families)
        self._under_way(families)

    def _ended(self, families: Families) -> None:
        self._moves = families.counter(
            "drover_moves_total",
            "Moves by result; the reason is that of the move when it started or succeeded, else that of the failure. Stuck ones"
            " want a person: `drover events`.",
            "reason",
            "result",
        )
        self._seconds = families.histogram(
            "drover_migration_seconds",
            "Duration of moves that succeeded, from the request until the guest was seen well on its target.",
            (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200),
        )
        self._downtime = families.histogram(
            "drover_migration_downtime_seconds",
            "Downtime of guests that moved live, as QEMU reports it; a MigrationPolicy limits it (maxDowntimeMilliseconds).",
            (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
        )
        self._bytes = families.counter(
            "drover_migration_bytes_total", "Memory and state that finished moves transferred."
        )

    def _under_way(self, families: Families) -> None:
        def passing(name: str, text: str) -> Passing:
            return Passing(families.gauge(name, text, *LABELS[name]))

        self._in_flight = families.gauge(
            "drover_moves_in_flight", "Moves that Drover has under way; `drover get migrations` shows each."
        )
        self._rate = families.gauge(
            "drover_migration_rate_bytes_per_second",
            "What all moves under way send together; 0 while PVE does not tell.",
        )
        self._dirty = families.gauge(
            "drover_migration_dirty_bytes_per_second",
            "What the guests of all moves under way change in their memory; as high as the rate: they don't converge.",
        )
        self._remaining = families.gauge(
            "drover_migration_remaining_bytes", "What all moves under way still have to send, as far as PVE tells."
        )
        self._start = passing("drover_move_start_timestamp_seconds", "When a move that is under way was asked for.")
        self._sent = passing(
            "drover_move_sent_bytes", "What a move has sent; growing beyond the guest's memory: it is busy."
        )
        self._left = passing("drover_move_remaining_bytes", "What a move still has to send, as PVE last said.")
        self._move_rate = passing("drover_move_rate_bytes_per_second", "How fast a move sends.")
        self._move_dirty = passing(
            "drover_move_dirty_bytes_per_second",
            "How fast a guest under way changes its memory; above its rate it won't arrive: let a MigrationPolicy help.",
        )

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to every series of a cluster."""
        for bare in (
            *(self._seconds, self._downtime, self._bytes),
            *(self._in_flight, self._rate, self._dirty, self._remaining),
        ):
            bare.labels(cluster)
        for reason, result in born_moves():
            self._moves.labels(cluster, reason, result)

    def publish(self, view: ClusterView) -> None:
        """Take in what ended and what is under way; outcomes count as often as they are shown."""
        for outcome in view.outcomes:
            self._count(view.cluster, outcome)
        cluster, flights = view.cluster, view.memory.flights
        rows: dict[Vmid, Row] = {
            vmid: (str(vmid), str(f.source), str(f.target), str(f.why)) for vmid, f in flights.items()
        }
        going = {rows[vmid]: progress for vmid, progress in view.progress.items() if vmid in rows}
        left = {
            row: float(max(0, p.total_bytes - p.transferred_bytes))
            for row, p in going.items()
            if p.total_bytes is not None
        }
        rates = {row: p.rate_bytes_s for row, p in going.items() if p.rate_bytes_s is not None}
        dirty = {row: p.dirty_bytes_s for row, p in going.items() if p.dirty_bytes_s is not None}
        self._in_flight.labels(cluster).set(len(flights))
        self._start.show(cluster, {row: flights[vmid].started_at for vmid, row in rows.items()})
        self._sent.show(cluster, {row: progress.transferred_bytes for row, progress in going.items()})
        for total, each, values in (
            (self._remaining, self._left, left),
            (self._rate, self._move_rate, rates),
            (self._dirty, self._move_dirty, dirty),
        ):
            total.labels(cluster).set(sum(values.values()))
            each.show(cluster, values)

    def forget(self, cluster: ClusterName) -> None:
        """Drop what is remembered of a cluster."""
        for passing in (self._start, self._sent, self._left, self._move_rate, self._move_dirty):
            passing.forget(cluster)

    def _count(self, cluster: ClusterName, outcome: Outcome) -> None:
        exemplar = trace("task", str(outcome.upid)) if outcome.upid is not None else None
        self._moves.labels(cluster, outcome.why, outcome.result).inc(1, exemplar)
        if outcome.result is not Result.SUCCEEDED:
            return
        if outcome.seconds is not None:
            self._seconds.labels(cluster).observe(outcome.seconds, exemplar)
        if outcome.progress is not None:
            self._bytes.labels(cluster).inc(outcome.progress.transferred_bytes)
            if outcome.progress.downtime_ms is not None:
                self._downtime.labels(cluster).observe(outcome.progress.downtime_ms / 1000, exemplar)
