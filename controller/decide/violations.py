"""Rules that do not hold as things are seen, Musts and Shoulds alike, whether anything is done about them or not.

Called by `decide.pipeline`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from controller.decide.explain import names
from controller.decide.scene import Scene
from controller.model.desired import Apart, Group, NodeRule, Spread, Together
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.plan import Violation
from controller.model.reasons import Why
from controller.specs import PlacementPolicy
from controller.specs.placementpolicy import Enforcement


def violations(scene: Scene) -> tuple[Violation, ...]:
    """One per domain that has too many, one per rule about nodes, one per group that is split or uneven."""
    accepting = frozenset(scene.seen.nodes.keys() - scene.shut.keys())
    found = [*_nodes(scene)]
    for group in scene.wanted.groups:
        there = _seats(scene, group)
        match group:
            case Apart():
                found += _crowded(scene, group, there)
            case Together():
                found += [] if _on_the_way(scene, group) else _split(scene, group, there)
            case Spread():
                found += _uneven(group, there, accepting)
    musts = {
        each.ref
        for each in scene.specs
        if isinstance(each, PlacementPolicy) and each.spec.enforcement is Enforcement.MUST
    }
    return tuple(replace(violation, must=violation.cause in musts) for violation in found)


def splits(scene: Scene) -> tuple[Violation, ...]:
    """Groups that are kept together and have guests in several domains, also those that are only on their way."""
    groups = (group for group in scene.wanted.groups if isinstance(group, Together))
    return tuple(split for group in groups for split in _split(scene, group, _seats(scene, group)))


def _on_the_way(scene: Scene, group: Together) -> bool:
    """From the first departure to the last arrival a group may be split, as long as all of it ends in one domain."""
    flights = scene.memory.flights
    ends = {flights[v].target if v in flights else scene.seen.guests[v].node for v in group.members}
    return any(v in flights for v in group.members) and len({group.domains.get(node) for node in ends}) == 1


def _nodes(scene: Scene) -> Iterator[Violation]:
    broken: dict[ObjectRef, tuple[NodeRule, list[Vmid]]] = {}
    own: dict[Vmid, list[NodeRule]] = defaultdict(list)
    for vmid, fence in scene.wanted.fences.items():
        own[vmid] += fence.rules
    for vmid, wishes in scene.wanted.wishes.items():
        own[vmid] += wishes
    for vmid, rules in sorted(own.items()):
        for rule in rules:
            if scene.seen.guests[vmid].node not in rule.nodes:
                broken.setdefault(rule.ref, (rule, []))[1].append(vmid)
    for ref, (rule, vmids) in sorted(broken.items()):
        verb = "must" if rule.must else "should"
        where = ", ".join(sorted(rule.nodes)) or "no node at all"
        yield Violation(ref, rule.why, tuple(vmids), f"{names(scene, vmids)} {verb} be on {where} ({ref})")


def _seats(scene: Scene, group: Group) -> dict[str, list[Vmid]]:
    there: dict[str, list[Vmid]] = defaultdict(list)
    for vmid in sorted(group.members):
        domain = group.domains.get(scene.seen.guests[vmid].node)
        if domain is not None:
            there[domain].append(vmid)
        elif isinstance(group, Together):  # who is in no domain is in none with the others
            there[f"no {group.topology_key}"].append(vmid)
    return dict(sorted(there.items()))


def _crowded(scene: Scene, group: Apart, there: Mapping[str, list[Vmid]]) -> Iterator[Violation]:
    for domain, members in there.items():
        if len(members) > group.most:
            text = f"{domain} holds {names(scene, members)}, {group.ref} allows {group.most}"
            yield Violation(group.ref, Why.KEEP_APART, tuple(members), text)


def _split(scene: Scene, group: Together, there: Mapping[str, list[Vmid]]) -> Iterator[Violation]:
    """Those outside the domain that has most of them are the ones in the wrong place."""
    if len(there) < 2:
        return
    most = max(there, key=lambda domain: len(there[domain]))
    apart = [vmid for domain, members in there.items() if domain != most for vmid in members]
    where = "; ".join(f"{domain}: {names(scene, members)}" for domain, members in there.items())
    yield Violation(group.ref, Why.KEEP_TOGETHER, tuple(sorted(apart)), f"{group.ref} is split: {where}")


def _uneven(group: Spread, there: Mapping[str, list[Vmid]], accepting: frozenset[NodeName]) -> Iterator[Violation]:
    """Guests of the fullest domains; the emptiest is one that could take more."""
    could = {group.domains[node] for node in accepting if node in group.domains} & group.reachable
    emptiest = min(sorted(could), key=lambda domain: len(there.get(domain, ())), default=None)
    if emptiest is None:
        return
    least = len(there.get(emptiest, ()))
    full = {domain: members for domain, members in there.items() if len(members) - least > group.skew}
    if full:
        vmids = tuple(sorted(vmid for members in full.values() for vmid in members))
        counts = ", ".join(f"{domain} has {len(members)}" for domain, members in full.items())
        text = f"{counts} of the guests of {group.ref}, {emptiest} has {least}; maxSkew is {group.skew}"
        yield Violation(group.ref, Why.SPREAD, vmids, text)
