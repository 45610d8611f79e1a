"""Prometheus metrics. Every series of a closed enum is there from the first scrape, at zero; none per node or message.

Fed by the loop after each tick; served by `report.http` as what `Scrape` renders. The registry is a parameter, never the
library's global one.
"""

import asyncio
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest

from controller import __version__
from controller.model.condition import Status
from controller.model.ids import ClusterName, ObjectRef, Vmid
from controller.model.outcome import Outcome, Result
from controller.model.plan import Drain, Plan
from controller.model.reasons import Why
from controller.model.turn import TurnState
from controller.model.view import ClusterView
from controller.pve.metered import Call, CallOutcome
from controller.report.conditions import TYPES, ObjectStatus
from controller.report.guests import GuestState, states
from controller.report.maintenance import MaintenanceState
from controller.report.replication_metrics import ReplicationMetrics
from controller.specs import KINDS

# The library's own switch: without it every series has a twin that says when it was born, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the one function of the library without types

_Item = TypeVar("_Item")
_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)


def _section(first: Why, last: Why) -> tuple[Why, ...]:
    """The reasons from `first` to `last` in the order of the list, which is sorted by what they are reasons for."""
    members = tuple(Why)
    return members[members.index(first) : members.index(last) + 1]


MOVES = _section(Why.NODE_MAINTENANCE, Why.RETURN_HOME)
_GOOD_NEWS = (Why.CONNECTED, Why.QUORATE, Why.FRESH)
RULES = (Why.NODE_AFFINITY, Why.NODE_ANTI_AFFINITY, Why.KEEP_APART, Why.KEEP_TOGETHER, Why.SPREAD)
CLASHES = _section(Why.NODE_SETS_DISJOINT, Why.CONFLICTS_WITH_HA_RULE)
OBJECTIONS = (
    *(why for why in _section(Why.SLOT_TAKEN, Why.BUSY) if why not in _GOOD_NEWS),
    *(Why.HA_FENCING, Why.WITHDRAWN, Why.STORE_FAILED, Why.TOO_MANY_UNAVAILABLE, Why.NOT_YET_ACTED_UPON),
)
"""Why a guest waits or is blocked, and why a move or a call was refused or failed."""
ARMING = (
    *_section(Why.UNREACHABLE, Why.BUSY),
    *_section(Why.ARMED, Why.TOO_MANY_UNAVAILABLE),
    Why.SUSPENDED,
    Why.NOT_YET_ACTED_UPON,
)
"""Why Drover may or may not act in a cluster."""

_WITH_REASON_OF_THE_MOVE = (Result.STARTED, Result.SUCCEEDED)


class TickResult(StrEnum):
    """How a tick ended."""

    SUCCESS = "Success"
    LOOK_FAILED = "LookFailed"
    PLAN_DISCARDED = "PlanDiscarded"
    ERROR = "Error"


METHODS = ("GET", "POST", "PUT", "DELETE")
_DISCARDED = (Why.PLANNER_OVERRAN, Why.PLAN_UNSAFE)


class Metrics:
    """All metrics of one process, in a registry of its own unless one is given."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self._ticks_seen: dict[ClusterName, int] = {}
        self._of_clusters: list[Counter | Gauge | Histogram] = []
        ProcessCollector(registry=registry)
        self._process_wide(registry)
        self._per_cluster()
        self._replication = ReplicationMetrics(registry)

    def _process_wide(self, registry: CollectorRegistry) -> None:
        build = Gauge(
            "drover_build_info",
            "Version of Drover and of its Python; always 1.",
            ["version", "python"],
            registry=registry,
        )
        build.labels(__version__, platform.python_version()).set(1)
        self._revision = Gauge(
            "drover_source_revision_info",
            "Revision of the manifests in force; always 1.",
            ["revision"],
            registry=registry,
        )
        self._source_errors = Gauge(
            "drover_source_errors", "Problems in the manifests as last read.", registry=registry
        )
        self._source_success = Gauge(
            "drover_source_last_success_timestamp_seconds",
            "When the manifests were last read completely and without a problem (0 = never).",
            registry=registry,
        )
        self._source_objects = Gauge("drover_source_objects", "Objects in force, by kind.", ["kind"], registry=registry)
        for kind in KINDS:
            self._source_objects.labels(kind)

    def _per_cluster(self) -> None:
        self._ticks = self._counter("drover_ticks_total", "Walks from looking to acting.", "result")
        self._tick_seconds = self._histogram(
            "drover_tick_seconds", "Duration of a tick.", (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
        )
        self._requests = self._counter("drover_api_requests_total", "Requests to the API of PVE.", "method", "outcome")
        self._request_seconds = self._histogram(
            "drover_api_request_seconds",
            "Duration of requests to the API of PVE.",
            (0.005, 0.02, 0.1, 0.5, 1, 3, 10, 30),
        )
        self._look = self._gauge(
            "drover_last_look_timestamp_seconds", "When the last complete look at the cluster began (0 = never)."
        )
        self._guests = self._gauge("drover_guests", "Guests, by what the present plan says of them.", "state")
        self._guests_blocked = self._gauge("drover_guests_blocked", "Guests that ought to move and can't.", "reason")
        self._moves = self._counter(
            "drover_moves_total",
            "Moves by result; the reason is that of the move when it started or succeeded, else that of the failure.",
            "reason",
            "result",
        )
        self._in_flight = self._gauge("drover_moves_in_flight", "Moves that Drover has under way.")
        self._seconds = self._histogram(
            "drover_migration_seconds",
            "Duration of moves that succeeded, from the request until the guest was seen well on its target.",
            (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200),
        )
        self._downtime = self._histogram(
            "drover_migration_downtime_seconds",
            "Downtime of guests that moved live, as QEMU reports it.",
            (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
        )
        self._bytes = self._counter("drover_migration_bytes_total", "Memory and state that finished moves transferred.")
        self._drain_seconds = self._gauge(
            "drover_drain_seconds",
            "Seconds that the longest drain under way still takes: likely, at most nine times in ten (Late), and the least that"
            " any order of its moves would take (Bound); 0 while none is under way or links are unknown (set linkMiBps).",
            "estimate",
        )
        self._maintenance = self._gauge("drover_maintenance", "Nodes in maintenance, by where it stands.", "state")
        self._turns = self._gauge(
            "drover_rolling_nodes",
            "Nodes of rolling maintenances, by where they stand; Failed stops the roll until somebody mends the node and"
            " says `drover uncordon NODE`, or changes the object.",
            "state",
        )
        self._policy_guests = self._gauge(
            "drover_policy_matched_guests", "Guests that at least one PlacementPolicy in force or suspended selects."
        )
        self._policy_violations = self._gauge(
            "drover_policy_violations",
            "Placement rules, Must or Should, that do not hold now; `drover plan` names them and what is done about it.",
            "reason",
        )
        self._policy_conflicts = self._gauge(
            "drover_policy_conflicts",
            "Policies that gave way because they can't hold together with others; change one: `drover plan` says which.",
            "reason",
        )
        self._conditions = self._gauge("drover_conditions", "Objects, by their conditions.", "kind", "type", "status")
        self._findings = self._gauge(
            "drover_preflight_findings",
            "What the look right before moves holds against them: of those refused, and warnings of those under way;"
            " `drover preflight GUEST` says what to do.",
            "reason",
        )
        self._armed = self._gauge(
            "drover_armed", "1 for the reason why Drover may (Armed) or may not start moves.", "reason"
        )

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to every series of a cluster. Doing so again changes nothing."""
        if cluster in self._ticks_seen:
            return
        self._ticks_seen[cluster] = 0
        for bare in (
            self._tick_seconds,
            self._request_seconds,
            self._look,
            self._in_flight,
            self._seconds,
            self._downtime,
            self._bytes,
        ):
            bare.labels(cluster)
        for tick_result in TickResult:
            self._ticks.labels(cluster, tick_result)
        for method in METHODS:
            for outcome in CallOutcome:
                self._requests.labels(cluster, method, outcome)
        for reason, result in born_moves():
            self._moves.labels(cluster, reason, result)
        self._show_plan(cluster, None, {})
        self._one_of(self._findings, cluster, OBJECTIONS, {})
        self._one_of(self._armed, cluster, ARMING, {})
        self._one_of(self._turns, cluster, TurnState, {})
        self._show_conditions(cluster, {})
        self._replication.add_cluster(cluster)

    def forget(self, cluster: ClusterName) -> None:
        """Drop every series of a cluster that is no longer in the source."""
        if self._ticks_seen.pop(cluster, None) is not None:
            for metric in self._of_clusters:
                metric.remove_by_labels({"cluster": cluster})
            self._replication.forget(cluster)

    def publish(self, view: ClusterView, statuses: Mapping[ObjectRef, ObjectStatus]) -> None:
        """Take in how a cluster stands. A view that is shown again counts its tick once; its outcomes count every time."""
        cluster = view.cluster
        self.add_cluster(cluster)
        if view.ticks > self._ticks_seen[cluster]:
            self._ticks_seen[cluster] = view.ticks
            self._ticks.labels(cluster, _tick_result(view)).inc()
            self._tick_seconds.labels(cluster).observe(view.tick_seconds)
        for outcome in view.outcomes:
            self._count(cluster, outcome)
        self._one_of(self._turns, cluster, TurnState, _tally(turn.state for turn in view.memory.turns.values()))
        self._look.labels(cluster).set(view.seen.at if view.seen is not None else 0)
        self._in_flight.labels(cluster).set(len(view.memory.flights))
        self._show_plan(cluster, view.plan, states(view))
        self._one_of(self._findings, cluster, OBJECTIONS, _tally(_found(view)))
        self._one_of(self._armed, cluster, ARMING, {view.armed.why: 1})
        self._show_conditions(cluster, statuses)
        self._replication.publish(view)

    def tick_failed(self, cluster: ClusterName) -> None:
        """Count a tick that ended in a fault of Drover."""
        self.add_cluster(cluster)
        self._ticks.labels(cluster, TickResult.ERROR).inc()

    def count_call(self, cluster: ClusterName) -> Callable[[Call], None]:
        """What a `Metered` transport of the cluster tells its calls."""
        self.add_cluster(cluster)

        def count(call: Call) -> None:
            # A cluster that is no longer in the source must not be born again by its last answers.
            if cluster in self._ticks_seen:
                self._requests.labels(cluster, call.method, call.outcome).inc()
                self._request_seconds.labels(cluster).observe(call.seconds)

        return count

    def source(self, *, revision: str, errors: int, objects: Mapping[str, int], success_at: float | None) -> None:
        """Take in what the source gave. `success_at`: epoch seconds when that was all of it and without a problem."""
        self._revision.clear()
        self._revision.labels(revision).set(1)
        self._source_errors.set(errors)
        for kind in KINDS:
            self._source_objects.labels(kind).set(objects.get(kind, 0))
        if success_at is not None:
            self._source_success.set(success_at)

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

    def _show_plan(self, cluster: ClusterName, plan: Plan | None, guests: Mapping[Vmid, GuestState]) -> None:
        self._one_of(self._guests, cluster, GuestState, _tally(guests.values()))
        blocked, drains = (plan.blocked, plan.drains) if plan is not None else ((), ())
        self._one_of(self._guests_blocked, cluster, OBJECTIONS, _tally(item.why for item in blocked))
        self._show_outlook(cluster, drains)
        self._one_of(
            self._maintenance, cluster, MaintenanceState, _tally(MaintenanceState.of(drain) for drain in drains)
        )

        broken, clashes = (plan.violations, plan.conflicts) if plan is not None else ((), ())
        self._one_of(self._policy_violations, cluster, RULES, _tally(item.why for item in broken))
        self._one_of(self._policy_conflicts, cluster, CLASHES, _tally(item.why for item in clashes))
        placed = (v for ref, v in plan.matched.items() if ref.kind == "PlacementPolicy") if plan is not None else ()
        self._policy_guests.labels(cluster).set(len(set().union(*placed)))

    def _show_outlook(self, cluster: ClusterName, drains: Iterable[Drain]) -> None:
        looks = [drain.outlook for drain in drains if drain.outlook is not None]
        for estimate, seconds in (
            ("Likely", [look.likely_seconds for look in looks]),
            ("Late", [look.late_seconds for look in looks]),
            ("Bound", [look.bound_seconds for look in looks]),
        ):
            self._drain_seconds.labels(cluster, estimate).set(max(seconds, default=0.0))

    def _show_conditions(self, cluster: ClusterName, statuses: Mapping[ObjectRef, ObjectStatus]) -> None:
        counts = _tally(
            (ref.kind, condition.type, condition.status)
            for ref, status in statuses.items()
            for condition in status.conditions
        )
        for kind, types in TYPES.items():
            for type_ in types:
                for status in Status:
                    self._conditions.labels(cluster, kind, type_, status).set(counts.get((kind, type_, status), 0))

    @staticmethod
    def _one_of(gauge: Gauge, cluster: ClusterName, every: Iterable[str], values: Mapping[str, int]) -> None:
        """Set the series of all words: to its value, or back to zero."""
        for word in {*every, *values}:
            gauge.labels(cluster, word).set(values.get(word, 0))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return self._kept(Counter(name, text, ["cluster", *labels], registry=self.registry))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return self._kept(Gauge(name, text, ["cluster", *labels], registry=self.registry))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return self._kept(Histogram(name, text, ["cluster"], buckets=buckets, registry=self.registry))

    def _kept(self, metric: _Metric) -> _Metric:
        self._of_clusters.append(metric)
        return metric


def born_moves() -> Iterable[tuple[Why, Result]]:
    """Yield the pairs of reason and result that `drover_moves_total` has from the first scrape."""
    for result in Result:
        for reason in MOVES if result in _WITH_REASON_OF_THE_MOVE else OBJECTIONS:
            yield reason, result


def _tick_result(view: ClusterView) -> TickResult:
    if not view.connected.ok:
        return TickResult.LOOK_FAILED
    return TickResult.PLAN_DISCARDED if view.armed.why in _DISCARDED else TickResult.SUCCESS


def _found(view: ClusterView) -> Iterator[Why]:
    """Every finding that is held against a move now: told in this tick, remembered of a guest or target, or a mere warning."""
    told = {outcome.vmid: outcome.findings for outcome in view.outcomes if outcome.findings}
    for findings in told.values():
        yield from findings
    for vmid, backoff in view.memory.backoffs.items():
        if vmid not in told and backoff.failures == 0 and backoff.until > view.at:
            yield backoff.why
    for vmid, targets in view.memory.refusals.items():
        for refusal in targets.values() if vmid not in told else ():
            if refusal.until > view.at:
                yield refusal.why
    for flight in view.memory.flights.values():
        yield from (caution.why for caution in flight.cautions)


def _tally(items: Iterable[_Item]) -> dict[_Item, int]:
    counts: dict[_Item, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts


class Scrape:
    """The text of all metrics, rendered in a worker thread and at most once a second however often it is asked for."""

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
