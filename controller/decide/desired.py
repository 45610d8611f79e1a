"""From specs and a look at the cluster to `Desired`: who is managed, who may live where, which nodes have to be empty.

Called by `decide.pipeline`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from controller.decide import capacity, ha_rules, rules
from controller.decide.contradictions import Facts, contradictions
from controller.decide.maintenances import closed, maintenances
from controller.decide.selectors import GuestIndex, node_labels, specificity
from controller.model.desired import Carriage, Desired
from controller.model.ids import ObjectRef, Vmid
from controller.model.observed import Observed
from controller.specs import MigrationPolicy, Specs
from controller.specs.migrationpolicy import Method
from controller.specs.pvecluster import Coexistence


def desired(specs: Specs, seen: Observed) -> Desired:
    """The sum of all policies in `specs` (of this one cluster) over what is `seen`."""
    cluster = specs.clusters[seen.cluster]
    index = GuestIndex(seen.guests.values())
    managed = frozenset(index.select(cluster.spec.managed_guests))
    selectors = {policy.ref: policy.spec.guest_selector for policy in specs.placements.values()}
    selectors |= {policy.ref: policy.spec.guest_selector for policy in specs.migrations.values()}
    selectors |= {policy.ref: policy.spec.guest_selector for policy in specs.replications.values()}
    matched = {ref: tuple(v for v in index.select(chosen) if v in managed) for ref, chosen in selectors.items()}
    found = rules.rules(specs.placements.values(), matched, node_labels(seen.nodes, specs.nodes.values()))
    obeys = cluster.spec.ha.coexistence is not Coexistence.IGNORE
    writes = cluster.spec.ha.coexistence is Coexistence.COORDINATE
    # A node that is out of service for a while makes no contradiction, but it changes where HA puts its guests.
    asked = rules.reaching((*(ha_rules.rules(seen, seen.nodes, writes=writes) if obeys else ()), *found), seen.nodes)
    conflicts = contradictions(asked, _facts(specs, seen))
    usable = [name for name, node in seen.nodes.items() if node.usable]
    losers = {conflict.loser for conflict in conflicts}
    found = (
        *(ha_rules.rules(seen, usable, writes=writes) if obeys else ()),
        *rules.demoted(found, losers, specs.placements),
    )
    found = rules.reaching(found, seen.nodes)
    groups = rules.groups(found)
    return Desired(
        managed=managed,
        fences=MappingProxyType(rules.fences(found, seen.nodes)),
        wishes=MappingProxyType(rules.wishes(found)),
        groups=groups,
        groups_of=MappingProxyType(rules.groups_of(groups)),
        maintenance=maintenances(cluster, specs, seen),
        closed=closed(specs, seen),
        carriages=MappingProxyType(_carriages(specs.migrations.values(), matched)),
        matched=MappingProxyType(matched),
        conflicts=conflicts,
    )


def _facts(specs: Specs, seen: Observed) -> Facts:
    basis = specs.clusters[seen.cluster].spec.capacity.memory_basis
    return Facts(
        nodes=frozenset(seen.nodes),
        at={vmid: guest.node for vmid, guest in seen.guests.items()},
        needs={vmid: capacity.need(guest, basis) for vmid, guest in seen.guests.items()},
        limits=capacity.limits(specs, seen),
        guests=seen.guests,
    )


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
            seconds_per_gib=spec.completion_timeout_seconds_per_gib,
            windowed=bool(spec.windows),
        )
        for vmid in matched[policy.ref]:
            won.setdefault(vmid, carriage)
    return won
