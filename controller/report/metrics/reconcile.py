"""Metrics of the loop itself: ticks, the last look, whether Drover may act, conditions. Owned by `Metrics`."""

from collections.abc import Mapping

from controller.model.condition import Status
from controller.model.ids import ClusterName, ObjectRef
from controller.model.view import ClusterView
from controller.report.conditions import TYPES, ObjectStatus
from controller.report.metrics.families import Families, show, tally
from controller.report.metrics.words import ARMING, TickResult


class ReconcileMetrics:
    """How the loop of each cluster does."""

    def __init__(self, families: Families) -> None:
        self._ticks_seen: dict[ClusterName, int] = {}
        self._ticks = families.counter("drover_ticks_total", "Walks from looking to acting.", "result")
        self._seconds = families.histogram(
            "drover_tick_seconds", "Duration of a tick.", (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
        )
        self._look = families.gauge(
            "drover_last_look_timestamp_seconds", "When the last complete look at the cluster began (0 = never)."
        )
        self._armed = families.gauge(
            "drover_armed", "1 for the reason why Drover may (Armed) or may not start moves.", "reason"
        )
        self._conditions = families.gauge(
            "drover_conditions", "Objects, by their conditions.", "kind", "type", "status"
        )

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to every series of a cluster."""
        self._ticks_seen[cluster] = 0
        for result in TickResult:
            self._ticks.labels(cluster, result)
        self._seconds.labels(cluster)
        self._look.labels(cluster)
        show(self._armed, cluster, ARMING, {})
        self._show_conditions(cluster, {})

    def publish(self, view: ClusterView, statuses: Mapping[ObjectRef, ObjectStatus]) -> None:
        """Take in how a cluster stands; a view that is shown again counts its tick once."""
        cluster = view.cluster
        if view.ticks > self._ticks_seen[cluster]:
            self._ticks_seen[cluster] = view.ticks
            self._ticks.labels(cluster, TickResult.of(view)).inc()
            self._seconds.labels(cluster).observe(view.tick_seconds)
        self._look.labels(cluster).set(view.seen.at if view.seen is not None else 0)
        show(self._armed, cluster, ARMING, {view.armed.why: 1})
        self._show_conditions(cluster, statuses)

    def failed(self, cluster: ClusterName) -> None:
        """Count a tick that ended in a fault of Drover."""
        self._ticks.labels(cluster, TickResult.ERROR).inc()

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
