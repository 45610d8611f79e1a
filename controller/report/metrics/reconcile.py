"""Metrics of the loop itself: ticks, the last look, whether Drover may act, conditions. Owned by `Metrics`."""

from collections.abc import Mapping

from controller.model.condition import Status
from controller.model.ids import ClusterName, ObjectRef
from controller.model.view import BreakerState, ClusterView
from controller.report.conditions import TYPES, ObjectStatus
from controller.report.metrics.families import Families, show, tally
from controller.report.metrics.words import ARMING, TickResult


class ReconcileMetrics:
    """How the loop of each cluster does."""

    def __init__(self, families: Families) -> None:
        self._ticks_seen: dict[ClusterName, int] = {}
        self._ticks = families.counter(
            "drover_reconcile_total",
            "Walks from looking to acting, by how they ended; anything but Success wants to be looked at in Drover's log.",
            "result",
        )
        self._errors = families.counter(
            "drover_reconcile_errors_total",
            "Walks that did not succeed; the result of drover_reconcile_total says why.",
        )
        self._seconds = families.histogram(
            "drover_reconcile_time_seconds",
            "Duration of one walk from looking to acting. Near the planner's limit (loop.plannerSeconds) plans get lost.",
            (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )
        self._leader = families.gauge(
            "drover_leader_election_master_status",
            "1 where this process holds the cluster's state file and so may act; 0: another one does, or the file can't be used.",
        )
        self._breaker = families.gauge(
            "drover_breaker",
            "1 for the state of the circuit breaker: Open starts nothing, HalfOpen one move at a time. Mend what `drover events`"
            " says of the last failures.",
            "state",
        )
        self._spared = families.gauge(
            "drover_breaker_nodes", "Nodes that take nobody for a while, because moves to them failed: look at them."
        )
        self._look = families.gauge(
            "drover_last_look_timestamp_seconds",
            "When the last complete look at the cluster began (0 = never). Old: the condition Connected says what is wrong.",
        )
        self._armed = families.gauge(
            "drover_armed",
            "1 for the reason why Drover may (Armed) or may not start moves; docs/reasons.md says what to do about each.",
            "reason",
        )
        self._conditions = families.gauge(
            "drover_conditions",
            "Objects, by their conditions; `drover describe KIND NAME` has the sentences.",
            "kind",
            "type",
            "status",
        )

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to every series of a cluster."""
        self._ticks_seen[cluster] = 0
        for result in TickResult:
            self._ticks.labels(cluster, result)
        self._seconds.labels(cluster)
        for bare in (self._errors, self._look, self._leader, self._spared):
            bare.labels(cluster)
        show(self._armed, cluster, ARMING, {})
        show(self._breaker, cluster, BreakerState, {})
        self._show_conditions(cluster, {})

    def publish(self, view: ClusterView, statuses: Mapping[ObjectRef, ObjectStatus], *, leads: bool) -> None:
        """Take in how a cluster stands; a view that is shown again counts its tick once."""
        cluster = view.cluster
        if view.ticks > self._ticks_seen[cluster]:
            self._ticks_seen[cluster] = view.ticks
            result = TickResult.of(view)
            self._ticks.labels(cluster, result).inc()
            if result is not TickResult.SUCCESS:
                self._errors.labels(cluster).inc()
            self._seconds.labels(cluster).observe(view.tick_seconds)
        self._look.labels(cluster).set(view.seen.at if view.seen is not None else 0)
        self._leader.labels(cluster).set(leads)
        show(self._armed, cluster, ARMING, {view.armed.why: 1})
        show(self._breaker, cluster, BreakerState, {view.breaker: 1})
        self._spared.labels(cluster).set(len(view.spared))
        self._show_conditions(cluster, statuses)

    def failed(self, cluster: ClusterName) -> None:
        """Count a tick that ended in a fault of Drover."""
        self._ticks.labels(cluster, TickResult.ERROR).inc()
        self._errors.labels(cluster).inc()

    def forget(self, cluster: ClusterName) -> None:
        """A cluster of the same name begins anew."""
        self._ticks_seen.pop(cluster, None)

    def _show_conditions(self, cluster: ClusterName, statuses: Mapping[ObjectRef, ObjectStatus]) -> None:
        counts = tally(
            (ref.kind, condition.type, condition.status)
            for ref, status in statuses.items()
            for condition in status.conditions
        )
        for kind, types in TYPES.items():
            for type_ in types:
                for status in Status:
                    self._conditions.labels(cluster, kind, type_, status).set(counts.get((kind, type_, status), 0))
