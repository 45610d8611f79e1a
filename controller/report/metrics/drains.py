"""Metrics of maintenances: nodes by where they stand, how far drains are, how long they take and could take. Owned by `Metrics`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from controller.model.ids import ClusterName, NodeName, ObjectRef
from controller.model.plan import Drain, DrainMode, Outlook
from controller.model.turn import TurnState
from controller.model.view import ClusterView
from controller.report.conditions import ObjectStatus
from controller.report.maintenance import MaintenanceState
from controller.report.metrics.families import Families, show, tally

ESTIMATES = ("Likely", "Late", "Bound")
STAGES = ("Moved", "Moving", "Waiting", "Blocked")


@dataclass(frozen=True, slots=True)
class _Run:
    """One evacuation from its beginning. Seconds count from there; bytes are those of the guests that had to leave."""

    ref: ObjectRef
    began_at: float
    begin_bytes: float
    foretold: Outlook | None = None  # of the whole of it, as first known
    over: bool = False

    def elapsed(self, at: float) -> float:
        return max(0.0, at - self.began_at)

    def ideal_bytes(self, at: float) -> float:
        """What would remain had it gone as fast as no order of its moves could be beaten; 0 while that is unknown."""
        if self.foretold is None or self.foretold.bound_seconds <= 0:
            return 0.0
        return self.begin_bytes * max(0.0, 1 - self.elapsed(at) / self.foretold.bound_seconds)


class DrainMetrics:
    """Maintenances, rolling ones included. Measures evacuations from the first view of them that it is shown."""

    def __init__(self, families: Families) -> None:
        self._runs: dict[ClusterName, dict[NodeName, _Run]] = {}
        self._nodes(families)
        self._progress(families)
        self._times(families)

    def _nodes(self, families: Families) -> None:
        self._maintenance = families.gauge(
            "drover_maintenance",
            "Nodes in maintenance, by where it stands; Blocked ones need somebody: `drover get nm -o wide`.",
            "state",
        )
        self._overdue = families.gauge(
            "drover_maintenance_overdue_nodes",
            "Nodes that are not empty by their deadline; `drover describe NodeMaintenance NAME` says what holds them up.",
        )
        self._turns = families.gauge(
            "drover_rolling_nodes",
            "Nodes of rolling maintenances, by where they stand; Failed stops the roll until somebody mends the node and"
            " says `drover uncordon NODE`, or changes the object.",
            "state",
        )

    def _progress(self, families: Families) -> None:
        self._ratio = families.gauge(
            "drover_drain_progress_ratio", "How far the least advanced drain is, by bytes; 1 while none is under way."
        )
        self._guests = families.gauge(
            "drover_drain_guests",
            "Guests of maintenances by how far they are; Blocked ones keep their node from being emptied: `drover plan`.",
            "stage",
        )
        self._left = families.gauge(
            "drover_drain_remaining_bytes",
            "Memory of guests that still has to leave nodes in maintenance, less what their moves have sent.",
        )
        self._ideal = families.gauge(
            "drover_drain_bound_remaining_bytes",
            "What would still have to leave, had drains gone in the least time that any order of their moves takes; far below"
            " drover_drain_remaining_bytes: moves wait or links are slower than linkMiBps says.",
        )

    def _times(self, families: Families) -> None:
        self._seconds = families.gauge(
            "drover_drain_seconds",
            "Seconds that the longest drain under way still takes: likely, at most nine times in ten (Late), and the least that"
            " any order of its moves would take (Bound); 0 while none is under way or links are unknown (set linkMiBps).",
            "estimate",
        )
        self._elapsed = families.gauge(
            "drover_drain_elapsed_seconds", "How long the oldest drain under way has been going on; 0 while none is."
        )
        self._foretold = families.gauge(
            "drover_drain_foretold_seconds",
            "How long the oldest drain under way takes in all, as was foretold when it began; elapsed beyond Late: see what it"
            " waits for (`drover plan`). 0 while none is under way or nothing was foretold.",
            "estimate",
        )
        self._makespan = families.histogram(
            "drover_drain_makespan_seconds",
            "Duration of evacuations that were seen from beginning to end.",
            (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200),
        )
        self._over_bound = families.histogram(
            "drover_drain_makespan_ratio",
            "Duration of evacuations by the least that any order of their moves would have taken; far above 1: moves had to wait"
            " (windows, limits, blocked guests), or linkMiBps is too high.",
            (1.0, 1.05, 1.1, 1.15, 1.25, 1.5, 2, 3, 5, 10),
        )

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to every series of a cluster."""
        for bare in (self._overdue, self._left, self._ideal, self._elapsed, self._makespan, self._over_bound):
            bare.labels(cluster)
        self._ratio.labels(cluster).set(1)
        show(self._maintenance, cluster, MaintenanceState, {})
        show(self._turns, cluster, TurnState, {})
        show(self._guests, cluster, STAGES, {})
        for gauge in (self._seconds, self._foretold):
            show(gauge, cluster, ESTIMATES, {})

    def publish(self, view: ClusterView, statuses: Mapping[ObjectRef, ObjectStatus]) -> None:
        """Take in where maintenances stand."""
        cluster, drains = view.cluster, view.plan.drains if view.plan is not None else ()
        show(self._maintenance, cluster, MaintenanceState, tally(MaintenanceState.of(drain) for drain in drains))
        self._overdue.labels(cluster).set(sum(drain.overdue for drain in drains))
        show(self._turns, cluster, TurnState, tally(turn.state for turn in view.memory.turns.values()))
        show(self._guests, cluster, STAGES, _stages(drains, statuses))
        going = [drain for drain in drains if drain.mode is DrainMode.EVACUATE and not drain.drained]
        shares = [share for drain in going for share in _shares(statuses.get(drain.ref))]
        self._ratio.labels(cluster).set(min(shares, default=0.0 if going else 1.0))
        show(self._seconds, cluster, ESTIMATES, _longest(drain.outlook for drain in going))
        self._left.labels(cluster).set(sum(_left(drain, view) for drain in going))
        self._measure(view, drains)

    def forget(self, cluster: ClusterName) -> None:
        """Drop what is remembered of a cluster."""
        self._runs.pop(cluster, None)

    def _measure(self, view: ClusterView, drains: Sequence[Drain]) -> None:
        cluster, before = view.cluster, self._runs.get(view.cluster, {})
        runs = self._runs[cluster] = {
            drain.node: run for drain in drains if (run := _followed(drain, before.get(drain.node), view)) is not None
        }
        for node, run in runs.items():
            if run.over and not before[node].over:
                self._finished(cluster, run, view.at)
        going = sorted((run for run in runs.values() if not run.over), key=lambda run: run.began_at)
        self._ideal.labels(cluster).set(sum(run.ideal_bytes(view.at) for run in going))
        self._elapsed.labels(cluster).set(going[0].elapsed(view.at) if going else 0)
        show(self._foretold, cluster, ESTIMATES, _longest(run.foretold for run in going[:1]))

    def _finished(self, cluster: ClusterName, run: _Run, at: float) -> None:
        seconds = run.elapsed(at)
        self._makespan.labels(cluster).observe(seconds)
        if run.foretold is not None and run.foretold.bound_seconds > 0:
            self._over_bound.labels(cluster).observe(seconds / run.foretold.bound_seconds)


def _followed(drain: Drain, run: _Run | None, view: ClusterView) -> _Run | None:
    """The run of a drain after `view`. One that was over before it was first seen is none: nobody knows when it began."""
    if run is None or run.ref != drain.ref:
        begun = view.memory.begun.get(drain.node)
        if drain.mode is not DrainMode.EVACUATE or drain.drained or begun is None or begun.maintenance != drain.ref:
            return None
        run = _Run(drain.ref, begun.at, drain.remaining_bytes)
    if run.foretold is None and drain.outlook is not None:
        gone, look = run.elapsed(view.at), drain.outlook
        run = replace(
            run, foretold=Outlook(gone + look.likely_seconds, gone + look.late_seconds, gone + look.bound_seconds)
        )
    return replace(run, over=drain.drained)


def _left(drain: Drain, view: ClusterView) -> float:
    """Bytes of memory that still have to leave; what a guest sends twice because it changed it counts once."""
    still_there = set(drain.remaining)  # what has arrived is out of remaining_bytes already
    leaving = [(vmid, view.memory.flights.get(vmid)) for vmid in drain.moving if vmid in still_there]
    sent = (
        min(view.progress[vmid].transferred_bytes, flight.memory_bytes)
        for vmid, flight in leaving
        if flight is not None and vmid in view.progress
    )
    return max(0.0, drain.remaining_bytes - sum(sent))


def _shares(status: ObjectStatus | None) -> Iterable[float]:
    percent = status.fields.get("progressPercent") if status is not None else None
    if isinstance(percent, int):
        yield percent / 100


def _stages(drains: Iterable[Drain], statuses: Mapping[ObjectRef, ObjectStatus]) -> Mapping[str, int]:
    found = dict.fromkeys(STAGES, 0)
    evacuated = [drain for drain in drains if drain.mode is DrainMode.EVACUATE]
    for drain in evacuated:
        stuck = {item.vmid for item in drain.blocked}
        found["Moving"] += len(drain.moving)
        found["Blocked"] += len(stuck)
        found["Waiting"] += len({*drain.remaining} - {*drain.moving} - stuck)
    found["Moved"] = sum(len(statuses[ref].left) for ref in {drain.ref for drain in evacuated} if ref in statuses)
    return found


def _longest(looks: Iterable[Outlook | None]) -> Mapping[str, float]:
    known = [look for look in looks if look is not None]
    return {
        "Likely": max((look.likely_seconds for look in known), default=0.0),
        "Late": max((look.late_seconds for look in known), default=0.0),
        "Bound": max((look.bound_seconds for look in known), default=0.0),
    }
