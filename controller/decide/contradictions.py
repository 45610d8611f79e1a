"""The rule compiler: Musts that can't hold together, found before anything is planned, and who of them gives way.

Called by `decide.desired` at each look, and by `decide.offline` for manifests without a cluster. What holds at this moment is no
contradiction, whatever else is said of it; what can't be decided in bounded time is none either.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from controller.decide import clash
from controller.decide.ha_rules import HA_RULE
from controller.decide.impossible import Ground, impossible
from controller.model.conflict import Conflict
from controller.model.desired import Apart, Group, NodeRule, Rule, Spread, Together
from controller.model.ids import NodeName, ObjectRef, Vmid

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules are judged against. at: where guests are, as far as they are seen. Bytes; None is unknown."""

    nodes: frozenset[NodeName]
    at: Mapping[Vmid, NodeName]
    needs: Mapping[Vmid, int | None]
    limits: Mapping[NodeName, int | None]
    guests: Mapping[Vmid, object]  # what to call them, by `str`


def contradictions(rules: Iterable[Rule], facts: Facts) -> tuple[Conflict, ...]:
    """One conflict after the other: who gives way in one takes no part in the next."""
    musts = [
        rule for rule in rules if rule.must and rule.members and not (isinstance(rule, NodeRule) and not rule.nodes)
    ]
    ground = Ground(facts.nodes, facts.needs, _room(facts))
    found: list[Conflict] = []
    for search in (_about_nodes, _about_groups):
        while (core := search(musts, facts, ground)) is not None:
            conflict = clash.told(core, facts.guests, ground)
            if conflict.loser.kind != HA_RULE:  # what PVE HA's own rules do to each other is PVE's business
                found.append(conflict)
            musts = [rule for rule in musts if rule.ref != conflict.loser]
    return tuple(found)


def _room(facts: Facts) -> Mapping[NodeName, int | None]:
    """What is there already has found room, reserves or not."""
    there: dict[NodeName, int] = defaultdict(int)
    for vmid, node in facts.at.items():
        there[node] += facts.needs.get(vmid) or 0
    limits = ((node, facts.limits.get(node)) for node in facts.nodes)
    return {node: None if limit is None else max(limit, there[node]) for node, limit in limits}


def _about_nodes(musts: Sequence[Rule], facts: Facts, ground: Ground) -> clash.Core | None:
    rules = [rule for rule in musts if isinstance(rule, NodeRule)]
    own: dict[Vmid, list[int]] = defaultdict(list)
    for index, rule in enumerate(rules):
        for vmid in rule.members:
            own[vmid].append(index)
    gathered: dict[tuple[int, ...], set[Vmid]] = defaultdict(set)
    for vmid, indexes in own.items():
        gathered[tuple(indexes)].add(vmid)
    for key, vmids in sorted(gathered.items()):
        if not ground.nodes.intersection(*(rules[index].nodes for index in key)):
            return _smallest([rules[index] for index in key], frozenset(vmids), ground, memory=False)
    broken = {
        vmid for key, vmids in gathered.items() for vmid in vmids if not _all_hold(rules, key, facts.at.get(vmid))
    }
    if broken and impossible(rules, frozenset(own), ground, memory=True):
        return _smallest(rules, frozenset(own), ground, memory=True)
    return None


def _all_hold(rules: Sequence[NodeRule], key: Iterable[int], node: NodeName | None) -> bool:
    return all(node in rules[index].nodes for index in key)


def _about_groups(musts: Sequence[Rule], facts: Facts, ground: Ground) -> clash.Core | None:
    for component in _components([rule for rule in musts if isinstance(rule, Apart | Together | Spread)]):
        vmids = frozenset().union(*(rule.members for rule in component))
        fences = [rule for rule in musts if isinstance(rule, NodeRule) and not rule.members.isdisjoint(vmids)]
        rules: list[Rule] = [*fences, *component]
        if all(_holds(rule, vmids, facts) for rule in rules):
            continue
        for memory in (False, True):
            if impossible(rules, vmids, ground, memory=memory):
                return _smallest(rules, vmids, ground, memory=memory)
    return None


def _components(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups that share guests, directly or through others."""
    found: list[tuple[set[Vmid], list[Group]]] = []
    for group in groups:
        members, own = set(group.members), [group]
        rest = []
        for known, others in found:
            if known.isdisjoint(members):
                rest.append((known, others))
            else:
                members |= known
                own = others + own
        found = [*rest, (members, own)]
    return [own for _, own in found]


def _holds(rule: Rule, vmids: frozenset[Vmid], facts: Facts) -> bool:
    """Whether the rule holds at this moment; not when nobody knows where a guest is."""
    places = [facts.at.get(vmid) for vmid in rule.members & vmids]
    if isinstance(rule, NodeRule):
        return all(node in rule.nodes for node in places)
    if not isinstance(rule, Apart | Together | Spread) or any(node not in rule.domains for node in places):
        return False
    counts: dict[str, int] = defaultdict(int)
    for node in places:
        assert node is not None  # it has a domain
        counts[rule.domains[node]] += 1
    if isinstance(rule, Apart):
        return max(counts.values(), default=0) <= rule.most
    if isinstance(rule, Together):
        return len(counts) <= 1
    return max(counts.values(), default=0) - min((counts[each] for each in rule.reachable), default=0) <= rule.skew


# The smallest example


@dataclass(frozen=True, slots=True)
class _Backwards:
    """Sorts names from the last to the first."""

    ref: ObjectRef

    def __lt__(self, other: "_Backwards") -> bool:
        return other.ref < self.ref


def _smallest(rules: Sequence[Rule], vmids: frozenset[Vmid], ground: Ground, *, memory: bool) -> clash.Core:
    """Without anything that is not needed for the contradiction: of rules those of the lowest priority go first."""

    def without_rules(kept: Sequence[Rule]) -> bool:
        return impossible(kept, vmids, ground, memory=memory)

    core = _least(sorted(rules, key=_keeps), without_rules)
    whole = frozenset().union(*(rule.members for rule in core if isinstance(rule, Spread)))
    few = frozenset().union(*(rule.members for rule in core)) & vmids

    def without_guests(kept: Sequence[Vmid]) -> bool:
        return impossible(core, whole.union(kept), ground, memory=memory)

    def size(vmid: Vmid) -> tuple[int, int]:
        return (ground.needs.get(vmid) or 0) if memory else 0, -vmid

    guests = whole.union(_least(sorted(few - whole, key=size), without_guests))
    return clash.Core(tuple(sorted(core, key=_keeps, reverse=True)), tuple(sorted(guests)), memory=memory)


def _keeps(rule: Rule) -> tuple[bool, int, _Backwards]:
    """Who gives way sorts first: the lowest priority, then the later name; rules of PVE HA never, because PVE keeps them."""
    return rule.ref.kind == HA_RULE, rule.priority, _Backwards(rule.ref)


def _least(items: list[_Item], holds: Callable[[Sequence[_Item]], bool]) -> list[_Item]:
    """A subset that still `holds` and from which nothing can go: big pieces are tried first, from the front."""
    step = max(1, len(items) // 2)
    while True:
        start = 0
        while start < len(items):
            rest = items[:start] + items[start + step :]
            if rest and holds(rest):
                items = rest
            else:
                start += step
        if step == 1:
            return items
        step = max(1, step // 2)
