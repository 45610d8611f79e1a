"""Metrics of maintenances: nodes by where they stand, how long drains still take. Owned by `Metrics`."""

from collections.abc import Iterable

from controller.model.ids import ClusterName
from controller.model.plan import Drain
from controller.model.turn import TurnState
from controller.model.view import ClusterView
from controller.report.maintenance import MaintenanceState
from controller.report.metrics.families import Families, show, tally


class DrainMetrics:
    """Maintenances, rolling ones included."""

    def __init__(self, families: Families) -> None:
        self._seconds = families.gauge(
            "drover_drain_seconds",
            "Seconds that the longest drain under way still takes: likely, at most nine times in ten (Late), and the least that"
            " any order of its moves would take (Bound); 0 while none is under way or links are unknown (set linkMiBps).",
            "estimate",
        )
        self._maintenance = families.gauge("drover_maintenance", "Nodes in maintenance, by where it stands.", "state")
        self._turns = families.gauge(
            "drover_rolling_nodes",
            "Nodes of rolling maintenances, by where they stand; Failed stops the roll until somebody mends the node and"
            " says `drover uncordon NODE`, or changes the object.",
            "state",
        )

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to every series of a cluster."""
        self._show(cluster, ())
        show(self._turns, cluster, TurnState, {})

    def publish(self, view: ClusterView) -> None:
        """Take in where maintenances stand."""
        self._show(view.cluster, view.plan.drains if view.plan is not None else ())
        show(self._turns, view.cluster, TurnState, tally(turn.state for turn in view.memory.turns.values()))

    def _show(self, cluster: ClusterName, drains: Iterable[Drain]) -> None:
        show(self._maintenance, cluster, MaintenanceState, tally(MaintenanceState.of(drain) for drain in drains))
        looks = [drain.outlook for drain in drains if drain.outlook is not None]
        for estimate, seconds in (
            ("Likely", [look.likely_seconds for look in looks]),
            ("Late", [look.late_seconds for look in looks]),
            ("Bound", [look.bound_seconds for look in looks]),
        ):
            self._seconds.labels(cluster, estimate).set(max(seconds, default=0.0))
