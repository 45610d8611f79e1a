"""Which nodes are in maintenance and which take nothing, from labels, explicit objects and PVE HA's own word.

Called by `decide.desired` and, for the nodes alone, by `decide.scene` and `decide.preflight`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from controller.decide.selectors import matches, node_labels
from controller.model.desired import Departure, Leaving, Maintenance
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.observed import HaNodeState, Observed
from controller.model.plan import DrainMode
from controller.specs import NodeMaintenance, PveCluster, PveNode, Specs
from controller.specs.nodemaintenance import (
    AfterMaintenance,
    Containers,
    MaintenanceMode,
    MaintenanceRule,
    MaintenanceTemplate,
    OnCancel,
    OnDeadline,
)


def maintenances(cluster: PveCluster, specs: Specs, seen: Observed) -> Mapping[NodeName, Maintenance]:
    """The maintenance that counts for each node that is in one: an explicit one, else what its label or PVE HA implies.

    specs: with rolling maintenances narrowed to the nodes whose turn it is (`decide.rolling`).
    """
    found: dict[NodeName, Maintenance] = {}
    residents = _Residents(seen)
    written = {node.node_name: node for node in specs.nodes.values()}
    for name, node in sorted(seen.nodes.items()):
        by_ha = cluster.spec.maintenance.follow_ha_maintenance and node.ha is HaNodeState.MAINTENANCE
        if implied := _implied(residents, name, written.get(name), cluster, by_ha=by_ha):
            found[name] = implied
    explicit = [m for m in specs.maintenances.values() if not m.is_announced(seen.at)]
    labels = node_labels(seen.nodes, specs.nodes.values())
    # The strongest one of a node comes last and stays: evacuation over cordon, one that acts over one that is suspended.
    for maintenance in sorted(explicit, key=_strength, reverse=True):
        named, selector = maintenance.spec.node_name, maintenance.spec.node_selector
        for name in seen.nodes:
            if name == named or (selector is not None and selector.matches(labels[name])):
                found[name] = _explicit(residents, maintenance, name)
    return MappingProxyType(found)


def closed(specs: Specs, seen: Observed) -> Mapping[NodeName, ObjectRef]:
    """Nodes whose PveNode says `unschedulable`."""
    return MappingProxyType(
        {n.node_name: n.ref for n in specs.nodes.values() if n.spec.unschedulable and n.node_name in seen.nodes}
    )


def _strength(maintenance: NodeMaintenance) -> tuple[bool, bool, bool, str]:
    spec = maintenance.spec
    return spec.mode is not MaintenanceMode.EVACUATE, spec.suspend, spec.node_name is None, maintenance.name


class _Residents:
    """The guests of a node, sorted out only when rules ask for them."""

    def __init__(self, seen: Observed) -> None:
        self._seen = seen

    def departures(self, node: NodeName, rules: Sequence[MaintenanceRule]) -> Mapping[Vmid, Departure]:
        """What the first rule that matches says of each guest; guests that no rule matches are left out."""
        found = {}
        for guest in self._seen.guests_on(node) if rules else ():
            rule = next((rule for rule in rules if matches(rule.guest_selector, guest)), None)
            if rule is not None:
                found[guest.vmid] = Departure(Leaving(rule.behavior.value), rule.order)
        return MappingProxyType(found)


def _implied(
    residents: _Residents, name: NodeName, node: PveNode | None, cluster: PveCluster, *, by_ha: bool
) -> Maintenance | None:
    settings = cluster.spec.maintenance
    label = (node.metadata.labels.get(settings.label_key, "") if node else "").lower()
    if label in ("", "false") and not by_ha:
        return None
    # A word that means nothing is taken for the harmless half of what was probably meant.
    evacuate = by_ha or label in ("true", "evacuate")
    return _maintenance(
        residents,
        settings.template,
        ref=implied_ref(name),
        node=name,
        mode=DrainMode.EVACUATE if evacuate else DrainMode.CORDON,
        suspended=node is not None and node.spec.suspend,
    )


def implied_ref(node: NodeName) -> ObjectRef:
    """What the maintenance that a label implies is called."""
    return ObjectRef("NodeMaintenance", f"label-{node}")


def _explicit(residents: _Residents, maintenance: NodeMaintenance, node: NodeName) -> Maintenance:
    spec = maintenance.spec
    mode = DrainMode.EVACUATE if spec.mode is MaintenanceMode.EVACUATE else DrainMode.CORDON
    return _maintenance(residents, spec, ref=maintenance.ref, node=node, mode=mode, suspended=spec.suspend)


def _maintenance(
    residents: _Residents, how: MaintenanceTemplate, *, ref: ObjectRef, node: NodeName, mode: DrainMode, suspended: bool
) -> Maintenance:
    return Maintenance(
        ref=ref,
        node=node,
        mode=mode,
        suspended=suspended,
        default=Leaving(how.default_behavior.value),
        departures=residents.departures(node, how.rules),
        restart_containers=how.containers is Containers.RESTART,
        include_stopped=how.include_stopped,
        include_templates=how.include_templates,
        override_must=how.override_must,
        returns=how.after_maintenance is not AfterMaintenance.STAY,
        rebalances=how.after_maintenance is AfterMaintenance.REBALANCE,
        aborts=how.on_cancel is OnCancel.ABORT_RUNNING,
        deadline_seconds=how.deadline_seconds,
        shuts_down_remaining=how.on_deadline is OnDeadline.SHUTDOWN_REMAINING,
        reason=how.reason,
    )
