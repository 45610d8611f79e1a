"""From specs and a look at the cluster to `Desired`: who is managed, who may live where, which nodes have to be empty.

Called by `decide.pipeline`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from controller.decide.maintenances import closed, maintenances
from controller.decide.selectors import GuestIndex, node_labels, specificity
from controller.model.desired import Apart, Carriage, Desired, Fence, NodeRule
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.observed import Observed
from controller.model.reasons import Why
from controller.specs import MigrationPolicy, PlacementPolicy, Specs, unheeded
from controller.specs.migrationpolicy import Method
from controller.specs.placementpolicy import Enforcement, KeepApart, NodeAffinity, NodeAntiAffinity

_Labels = Mapping[NodeName, Mapping[str, str]]


def desired(specs: Specs, seen: Observed) -> Desired:
    """The sum of all policies in `specs` (of this one cluster) over what is `seen`."""
    cluster = specs.clusters[seen.cluster]
    index = GuestIndex(seen.guests.values())
    managed = frozenset(index.select(cluster.spec.managed_guests))
    placements = sorted(specs.placements.values(), key=lambda policy: (-policy.spec.priority, policy.name))
    selectors = {policy.ref: policy.spec.guest_selector for policy in placements}
    selectors |= {policy.ref: policy.spec.guest_selector for policy in specs.migrations.values()}
    selectors |= {policy.ref: policy.spec.guest_selector for policy in specs.replications.values()}
    matched = {ref: tuple(v for v in index.select(chosen) if v in managed) for ref, chosen in selectors.items()}
    in_force = [p for p in placements if not p.spec.suspend and p.spec.enforcement is Enforcement.MUST]
    labels = node_labels(seen.nodes, specs.nodes.values())
    groups = tuple(_groups(in_force, matched, labels))
    return Desired(
        managed=managed,
        fences=MappingProxyType(_fences(in_force, matched, labels)),
        groups=groups,
        groups_of=MappingProxyType(_groups_of(groups)),
        maintenance=maintenances(cluster, specs, seen),
        closed=closed(specs, seen),
        carriages=MappingProxyType(_carriages(specs.migrations.values(), matched)),
        matched=MappingProxyType(matched),
    )


# Guests


def _fences(
    policies: Iterable[PlacementPolicy], matched: Mapping[ObjectRef, tuple[Vmid, ...]], labels: _Labels
) -> dict[Vmid, Fence]:
    rules: dict[Vmid, list[NodeRule]] = defaultdict(list)
    for policy in policies:  # by priority, highest first
        rule = _node_rule(policy, labels)
        for vmid in matched[policy.ref] if rule else ():
            assert rule is not None
            rules[vmid].append(rule)
    # Guests under the same policies share one fence: with thousands of guests this is most of the work.
    shared: dict[tuple[ObjectRef, ...], Fence] = {}
    fences: dict[Vmid, Fence] = {}
    for vmid, found in rules.items():
        key = tuple(rule.ref for rule in found)
        if key not in shared:
            nodes = frozenset(labels).intersection(*(rule.nodes for rule in found))
            order = next((rule.order for rule in found if rule.order), ())
            shared[key] = Fence(tuple(found), nodes, tuple(node for node in order if node in nodes))
        fences[vmid] = shared[key]
    return fences


def _node_rule(policy: PlacementPolicy, labels: _Labels) -> NodeRule | None:
    rule = policy.spec.rule
    if not isinstance(rule, NodeAffinity | NodeAntiAffinity):
        return None
    selector = rule.node_selector
    named = {n for n in labels if (selector.matches(labels[n]) if selector is not None else n in rule.nodes)}
    keeps = isinstance(rule, NodeAffinity)
    return NodeRule(
        ref=policy.ref,
        why=Why.NODE_AFFINITY if keeps else Why.NODE_ANTI_AFFINITY,
        nodes=frozenset(named if keeps else labels.keys() - named),
        order=tuple(node for node in rule.nodes if node in labels) if keeps else (),
        corrects=policy.spec.corrects_existing,
    )


def _groups(
    policies: Iterable[PlacementPolicy], matched: Mapping[ObjectRef, tuple[Vmid, ...]], labels: _Labels
) -> Iterable[Apart]:
    for policy in policies:
        rule = policy.spec.rule
        if isinstance(rule, KeepApart):
            key = rule.topology_key
            yield Apart(
                ref=policy.ref,
                topology_key=key,
                most=rule.max_per_domain,
                members=frozenset(matched[policy.ref]),
                domains=MappingProxyType({node: own[key] for node, own in sorted(labels.items()) if key in own}),
                corrects=policy.spec.corrects_existing,
            )


def _groups_of(groups: Iterable[Apart]) -> dict[Vmid, tuple[int, ...]]:
    found: dict[Vmid, tuple[int, ...]] = {}
    for index, group in enumerate(groups):
        for vmid in group.members:
            found[vmid] = (*found.get(vmid, ()), index)
    return found


def _carriages(
    policies: Iterable[MigrationPolicy], matched: Mapping[ObjectRef, tuple[Vmid, ...]]
) -> dict[Vmid, Carriage]:
    won: dict[Vmid, Carriage] = {}
    ranked = sorted(policies, key=lambda p: (-p.spec.priority, -specificity(p.spec.guest_selector), p.name))
    for policy in ranked:
        if policy.spec.suspend:
            continue
        spec = policy.spec
        carriage = Carriage(
            policy=policy.name,
            live_only=spec.method is Method.LIVE,
            offline_only=spec.method is Method.OFFLINE,
            bandwidth_limit_mib_s=spec.bandwidth_limit_mibps,
            retry_limit=spec.retry.limit,
            unheeded=unheeded(spec),
        )
        for vmid in matched[policy.ref]:
            won.setdefault(vmid, carriage)
    return won
