"""All metrics of one process, in a registry that is a parameter, never the library's global one.

Built by `app` (and by `rehearse`); fed by `loop.publish`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, ProcessCollector

from controller.model.ids import ClusterName, ObjectRef
from controller.model.revision import SourceView
from controller.model.view import ClusterView
from controller.pve.metered import Call
from controller.report.conditions import ObjectStatus
from controller.report.metrics import capacity, migrations, replication
from controller.report.metrics.api import ApiMetrics
from controller.report.metrics.capacity import CapacityMetrics
from controller.report.metrics.drains import DrainMetrics
from controller.report.metrics.families import Families
from controller.report.metrics.migrations import MigrationMetrics
from controller.report.metrics.notifications import NotificationMetrics
from controller.report.metrics.plan import PlanMetrics
from controller.report.metrics.reconcile import ReconcileMetrics
from controller.report.metrics.replication import ReplicationMetrics
from controller.report.metrics.source import SourceMetrics, ToldResult, WakeUpResult

PASSING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {**capacity.LABELS, **migrations.LABELS, **replication.LABELS}
)
"""Metrics whose series come and go, with their labels beside `cluster`."""


class Metrics:
    """The subjects together; each knows its own metrics."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self._clusters: set[ClusterName] = set()
        ProcessCollector(registry=registry)
        self._source = SourceMetrics(registry)
        self.notifications = NotificationMetrics(registry)
        self._families = families = Families(registry)
        self._reconcile = ReconcileMetrics(families)
        self._api = ApiMetrics(families)
        self._plan = PlanMetrics(families)
        self._capacity = CapacityMetrics(families)
        self._migrations = MigrationMetrics(families)
        self._drains = DrainMetrics(families)
        self._replication = ReplicationMetrics(families)

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to every series of a cluster. Doing so again changes nothing."""
        if cluster in self._clusters:
            return
        self._clusters.add(cluster)
        self._reconcile.add_cluster(cluster)
        self._api.add_cluster(cluster)
        self._plan.add_cluster(cluster)
        self._capacity.add_cluster(cluster)
        self._migrations.add_cluster(cluster)
        self._drains.add_cluster(cluster)
        self._replication.add_cluster(cluster)

    def forget(self, cluster: ClusterName) -> None:
        """Drop every series of a cluster that is no longer in the source."""
        if cluster not in self._clusters:
            return
        self._clusters.discard(cluster)
        self._families.forget(cluster)
        self._reconcile.forget(cluster)
        self._capacity.forget(cluster)
        self._migrations.forget(cluster)
        self._drains.forget(cluster)
        self._replication.forget(cluster)

    def publish(self, view: ClusterView, statuses: Mapping[ObjectRef, ObjectStatus], *, leads: bool = True) -> None:
        """Take in how a cluster stands. A view that is shown again counts its tick once; its outcomes count every time.

        `leads`: this process holds the cluster's state file.
        """
        self.add_cluster(view.cluster)
        self._reconcile.publish(view, statuses, leads=leads)
        self._plan.publish(view)
        self._capacity.publish(view)
        self._migrations.publish(view)
        self._drains.publish(view, statuses)
        self._replication.publish(view)

    def tick_failed(self, cluster: ClusterName) -> None:
        """Count a tick that ended in a fault of Drover."""
        self.add_cluster(cluster)
        self._reconcile.failed(cluster)

    def count_call(self, cluster: ClusterName) -> Callable[[Call], None]:
        """What a `Metered` transport of the cluster tells its calls."""
        self.add_cluster(cluster)

        def count(call: Call) -> None:
            # A cluster that is no longer in the source must not be born again by its last answers.
            if cluster in self._clusters:
                self._api.count(cluster, call)

        return count

    def wake_up(self, result: WakeUpResult) -> None:
        """Count a message to the source's webhook."""
        self._source.count_wake_up(result)

    def commit_status(self, result: ToldResult) -> None:
        """Count a commit's status that was told to the forge, or not."""
        self._source.count_status(result)

    def source(
        self,
        *,
        revision: str,
        errors: int,
        objects: Mapping[str, int],
        at: float,
        complete: bool,
        view: SourceView | None = None,
    ) -> None:
        """Take in what the source gave `at` (epoch seconds); `complete` when all of it could be read and is the newest."""
        self._source.show(revision=revision, errors=errors, objects=objects, at=at, complete=complete, view=view)
