"""Metrics of room: what nodes hold and may hold, and what is left should nodes fail. Owned by `Metrics`.

The only ones with a series per node: three, whatever else there is.
"""

from collections.abc import Mapping
from types import MappingProxyType

from controller.model.ids import ClusterName, NodeName
from controller.model.view import ClusterView
from controller.report.metrics.families import Families, Passing, Row

_NODE = ("node",)
LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"drover_node_limit_bytes": _NODE, "drover_node_needed_bytes": _NODE, "drover_node_guests": _NODE}
)
"""Metrics whose series come and go with nodes, with their labels beside `cluster`."""


class CapacityMetrics:
    """Memory of the cluster and its nodes, as the planner counts it."""

    def __init__(self, families: Families) -> None:
        self._limit = families.gauge(
            "drover_capacity_limit_bytes",
            "Memory that guests may have in the cluster: that of all nodes without reserves (PveCluster capacity).",
        )
        self._needed = families.gauge(
            "drover_capacity_needed_bytes", "Memory that running guests need; near the limit moves find no target."
        )
        self._spare = families.gauge(
            "drover_capacity_spare_bytes",
            "Memory left when the largest nodes fail that capacity.tolerateNodeFailures counts. Negative: guests would have no"
            " place, add memory or stop guests. 0 while there is no plan.",
        )
        self._node_limit = Passing(
            families.gauge("drover_node_limit_bytes", "Memory that guests may have on a node.", *_NODE)
        )
        self._node_needed = Passing(
            families.gauge(
                "drover_node_needed_bytes",
                "Memory that the running guests of a node need; above its limit Drover moves nobody there.",
                *_NODE,
            )
        )
        self._node_guests = Passing(
            families.gauge("drover_node_guests", "Guests on a node, those that do not run included.", *_NODE)
        )

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to the series of the cluster as a whole."""
        for bare in (self._limit, self._needed, self._spare):
            bare.labels(cluster)

    def publish(self, view: ClusterView) -> None:
        """Take in what nodes hold."""
        cluster, plan = view.cluster, view.plan
        loads = plan.loads if plan is not None else {}
        self._limit.labels(cluster).set(sum(load.limit_bytes or 0 for load in loads.values()))
        self._needed.labels(cluster).set(sum(load.needed_bytes for load in loads.values()))
        self._spare.labels(cluster).set((plan.spare_bytes or 0) if plan is not None else 0)
        rows: dict[NodeName, Row] = {node: (str(node),) for node in loads}
        limits = ((rows[node], load.limit_bytes) for node, load in loads.items())
        self._node_limit.show(cluster, {row: limit for row, limit in limits if limit is not None})
        self._node_needed.show(cluster, {rows[node]: load.needed_bytes for node, load in loads.items()})
        self._node_guests.show(cluster, {rows[node]: load.guests for node, load in loads.items()})

    def forget(self, cluster: ClusterName) -> None:
        """Drop what is remembered of a cluster."""
        for passing in (self._node_limit, self._node_needed, self._node_guests):
            passing.forget(cluster)
