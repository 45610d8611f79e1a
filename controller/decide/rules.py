"""PlacementPolicies as values over nodes and guests: each rule by itself, then summed up per guest and per group.

Called by `decide.desired`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from controller.model.desired import Apart, Fence, Group, GroupRule, NodeRule, Rule, Spread, Together
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.reasons import Why
from controller.specs import PlacementPolicy
from controller.specs import placementpolicy as written
from controller.specs.placementpolicy import Enforcement, WhenUnsatisfiable

Labels = Mapping[NodeName, Mapping[str, str]]

WEIGHT = 50
"""What a Should is worth that does not say it."""
MOST = 100
"""What a Must is worth that had to give way, or that says itself that it may not hold."""


def rules(
    policies: Iterable[PlacementPolicy], matched: Mapping[ObjectRef, tuple[Vmid, ...]], labels: Labels
) -> tuple[Rule, ...]:
    """Every policy that is not suspended, the highest priority first, then by name."""
    ranked = sorted(policies, key=lambda policy: (-policy.spec.priority, policy.name))
    return tuple(_rule(policy, frozenset(matched[policy.ref]), labels) for policy in ranked if not policy.spec.suspend)


def demoted(
    found: Iterable[Rule], losers: Collection[ObjectRef], policies: Mapping[str, PlacementPolicy]
) -> tuple[Rule, ...]:
    """The rules with `losers` as Shoulds, which move nobody any more unless they were told to."""
    return tuple(
        replace(rule, weight=MOST, corrects=bool(policies[rule.ref.name].spec.correct_existing))
        if rule.ref in losers
        else rule
        for rule in found
    )


def reaching(found: Sequence[Rule], nodes: Iterable[NodeName]) -> tuple[Rule, ...]:
    """The rules, of which every spread knows the domains that its guests can reach."""
    if not any(isinstance(rule, Spread) for rule in found):
        return tuple(found)
    everywhere = frozenset(nodes)
    fenced = fences(found, everywhere)
    return tuple(
        replace(rule, reachable=_reachable(rule, fenced, everywhere)) if isinstance(rule, Spread) else rule
        for rule in found
    )


def fences(found: Iterable[Rule], nodes: Iterable[NodeName]) -> dict[Vmid, Fence]:
    """The Musts about nodes, intersected for each guest that has any."""
    everywhere = frozenset(nodes)
    # Guests under the same policies share one fence: with thousands of guests this is most of the work.
    shared: dict[tuple[ObjectRef, ...], Fence] = {}
    sums: dict[Vmid, Fence] = {}
    for vmid, own in _of_guests(found, must=True).items():
        key = tuple(rule.ref for rule in own)
        if key not in shared:
            allowed = everywhere.intersection(*(rule.nodes for rule in own))
            order = next((rule.order for rule in own if rule.order), ())
            shared[key] = Fence(tuple(own), allowed, tuple(node for node in order if node in allowed))
        sums[vmid] = shared[key]
    return sums


def wishes(found: Iterable[Rule]) -> dict[Vmid, tuple[NodeRule, ...]]:
    """The Shoulds about nodes for each guest that has any."""
    return {vmid: tuple(own) for vmid, own in _of_guests(found, must=False).items()}


def groups(found: Iterable[Rule]) -> tuple[Group, ...]:
    """The rules about several guests, in order."""
    return tuple(rule for rule in found if isinstance(rule, Apart | Together | Spread))


def groups_of(found: Iterable[Group]) -> dict[Vmid, tuple[int, ...]]:
    """For each guest the indexes of the groups that it is in."""
    indexes: dict[Vmid, list[int]] = defaultdict(list)
    for index, group in enumerate(found):
        for vmid in group.members:
            indexes[vmid].append(index)
    return {vmid: tuple(own) for vmid, own in indexes.items()}


def _of_guests(found: Iterable[Rule], *, must: bool) -> dict[Vmid, list[NodeRule]]:
    of_guests: dict[Vmid, list[NodeRule]] = defaultdict(list)
    for rule in found:
        if isinstance(rule, NodeRule) and rule.must is must:
            for vmid in rule.members:
                of_guests[vmid].append(rule)
    return of_guests


def _reachable(rule: GroupRule, fenced: Mapping[Vmid, Fence], everywhere: frozenset[NodeName]) -> frozenset[str]:
    allowed = {id(fence): fence.nodes for vmid in rule.members if (fence := fenced.get(vmid)) is not None}
    free = any(vmid not in fenced for vmid in rule.members)
    nodes = everywhere if free else frozenset().union(*allowed.values())
    return frozenset(domain for node, domain in rule.domains.items() if node in nodes)


def _rule(policy: PlacementPolicy, members: frozenset[Vmid], labels: Labels) -> Rule:
    spec = policy.spec
    rule, ref, corrects, priority, weight = spec.rule, policy.ref, spec.corrects_existing, spec.priority, _weight(spec)
    if isinstance(rule, written.NodeAffinity | written.NodeAntiAffinity):
        keeps, selector = isinstance(rule, written.NodeAffinity), rule.node_selector
        named = {n for n in labels if (selector.matches(labels[n]) if selector is not None else n in rule.nodes)}
        return NodeRule(
            ref=ref,
            members=members,
            corrects=corrects,
            priority=priority,
            weight=weight,
            why=Why.NODE_AFFINITY if keeps else Why.NODE_ANTI_AFFINITY,
            nodes=frozenset(named if keeps else labels.keys() - named),
            order=tuple(node for node in rule.nodes if node in labels) if keeps else (),
        )
    key = rule.topology_key
    group = GroupRule(
        ref=ref,
        members=members,
        corrects=corrects,
        priority=priority,
        weight=weight,
        topology_key=key,
        domains=MappingProxyType({node: own[key] for node, own in sorted(labels.items()) if key in own}),
    )
    return _group(group, rule)


def _group(group: GroupRule, rule: written.KeepApart | written.KeepTogether | written.Spread) -> Rule:
    common = {name: getattr(group, name) for name in GroupRule.__dataclass_fields__}
    if isinstance(rule, written.KeepApart):
        return Apart(**common, most=rule.max_per_domain)
    if isinstance(rule, written.KeepTogether):
        return Together(**common)
    return Spread(**common, skew=rule.max_skew, reachable=frozenset())


def _weight(spec: written.PlacementPolicySpec) -> int:
    if spec.enforcement is Enforcement.SHOULD:
        return spec.weight or WEIGHT
    if spec.spread is not None and spec.spread.when_unsatisfiable is WhenUnsatisfiable.PLACE_ANYWAY:
        return MOST
    return 0
