"""Whether a set of Musts can hold at all, for some guests on some nodes. Called by `decide.contradictions`.

Sound: what is called impossible is. Complete for rules about nodes alone, for one rule about several guests with any rules about
nodes, for guests that are kept together, and, by trying everything, for few guests on few nodes. Memory is only added up.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.decide.flow import seated
from controller.model.desired import Apart, Group, NodeRule, Rule, Spread, Together
from controller.model.ids import NodeName, Vmid

FEW_GUESTS, TRIES = 14, 4_000
"""Up to so many guests everything is tried, in so many steps; what is undecided then is no contradiction."""

_Nodes = frozenset[NodeName]


@dataclass(frozen=True, slots=True)
class Ground:
    """What rules are judged on. needs and room in bytes; None is unknown, and then nothing is said about it."""

    nodes: _Nodes
    needs: Mapping[Vmid, int | None]
    room: Mapping[NodeName, int | None]


@dataclass(frozen=True, slots=True)
class _Class:
    """Guests under the same rules: to everything but memory they are the same."""

    rules: frozenset[int]
    vmids: tuple[Vmid, ...]
    nodes: _Nodes

    def within(self, group: Group) -> frozenset[str]:
        """Domains that it may use."""
        return frozenset(group.domains[node] for node in self.nodes if node in group.domains)


def impossible(rules: Sequence[Rule], vmids: frozenset[Vmid], ground: Ground, *, memory: bool) -> bool:
    """Whether no placement of these guests keeps all rules; `memory`: and finds room."""
    classes = _narrowed(rules, _classes(rules, vmids, ground))
    if any(not each.nodes for each in classes):
        return True
    groups = [(index, rule) for index, rule in enumerate(rules) if isinstance(rule, Apart | Together | Spread)]
    for index, group in groups:
        members = [each for each in classes if index in each.rules]
        if isinstance(group, Apart) and (_clings(group, vmids, rules, ground) or _crowded(group, members)):
            return True
        if isinstance(group, Spread) and _uneven(group, members, ground):
            return True
    if memory and _overfull(rules, classes, ground):
        return True
    return bool(groups) and len(vmids) <= FEW_GUESTS and _nothing_works([group for _, group in groups], classes)


def _classes(rules: Sequence[Rule], vmids: frozenset[Vmid], ground: Ground) -> list[_Class]:
    own: dict[Vmid, list[int]] = defaultdict(list)
    for index, rule in enumerate(rules):
        for vmid in rule.members & vmids if len(rule.members) > len(vmids) else rule.members:
            if vmid in vmids:
                own[vmid].append(index)
    gathered: dict[frozenset[int], list[Vmid]] = defaultdict(list)
    for vmid in sorted(own):
        gathered[frozenset(own[vmid])].append(vmid)
    return [_Class(key, tuple(found), _allowed(rules, key, ground)) for key, found in gathered.items()]


def _allowed(rules: Sequence[Rule], key: Iterable[int], ground: Ground) -> _Nodes:
    nodes = ground.nodes
    for rule in (rules[index] for index in key):
        if isinstance(rule, NodeRule):
            nodes &= rule.nodes
        elif isinstance(rule, Apart | Together | Spread):
            nodes = nodes.intersection(rule.domains)
    return nodes


def _narrowed(rules: Sequence[Rule], classes: list[_Class]) -> list[_Class]:
    """Who is kept together can only be where all of them can."""
    keepers = [(index, rule) for index, rule in enumerate(rules) if isinstance(rule, Together)]
    changed = True
    while changed:
        changed = False
        for index, rule in keepers:
            members = [each for each in classes if index in each.rules]
            if not members:
                continue
            common = frozenset.intersection(*(each.within(rule) for each in members))
            kept = frozenset(node for node, domain in rule.domains.items() if domain in common)
            for each in members:
                if not each.nodes <= kept:
                    classes[classes.index(each)] = _Class(each.rules, each.vmids, each.nodes & kept)
                    changed = True
    return classes


def _refines(one: Group, other: Group, nodes: _Nodes) -> bool:
    """Whether each domain of `one` lies within one of `other`: who shares the first shares the second."""
    inside: dict[str, str | None] = {}
    return all(
        inside.setdefault(one.domains[node], other.domains.get(node)) == other.domains.get(node)
        for node in nodes
        if node in one.domains
    )


def _clings(group: Apart, vmids: frozenset[Vmid], rules: Sequence[Rule], ground: Ground) -> bool:
    """Whether more members than a domain may hold are kept together in one, whichever it is."""
    keepers = [
        index for index, rule in enumerate(rules) if isinstance(rule, Together) and _refines(rule, group, ground.nodes)
    ]
    if not keepers:
        return False
    clumps: list[set[Vmid]] = []
    for index in keepers:
        clump = set(rules[index].members & vmids)
        apart = [other for other in clumps if other.isdisjoint(clump)]
        clumps = [*apart, clump.union(*(other for other in clumps if not other.isdisjoint(clump)))]
    return any(len(clump & group.members) > group.most for clump in clumps)


def _crowded(group: Apart, members: list[_Class]) -> bool:
    supplies = [(len(each.vmids), each.within(group)) for each in members]
    places = dict.fromkeys(frozenset().union(*(domains for _, domains in supplies)), group.most)
    return seated(supplies, places) < sum(count for count, _ in supplies)


def _uneven(group: Spread, members: list[_Class], ground: Ground) -> bool:
    """A level that all domains can be filled to, and none has to exceed by more than `skew`: the highest is the best."""
    supplies = [(len(each.vmids), each.within(group)) for each in members]
    total = sum(count for count, _ in supplies)
    reachable = frozenset(group.domains[node] for node in ground.nodes if group.domains.get(node) in group.reachable)
    used = frozenset().union(*(domains for _, domains in supplies)) | reachable
    level = 0
    while reachable and (level + 1) * len(reachable) <= total:
        if seated(supplies, dict.fromkeys(reachable, level + 1)) < (level + 1) * len(reachable):
            break
        level += 1
    return seated(supplies, dict.fromkeys(used, level + group.skew)) < total


# Memory


def _overfull(rules: Sequence[Rule], classes: list[_Class], ground: Ground) -> bool:
    """Whether guests that are confined to some nodes need more than these have: each by itself, together, or all of them."""
    for each in classes:
        if any((ground.needs.get(vmid) or 0) > _most(each.nodes, ground) for vmid in each.vmids):
            return True
    for index, rule in enumerate(rules):
        members = [each for each in classes if index in each.rules]
        if isinstance(rule, Together) and members:
            need = sum(ground.needs.get(vmid) or 0 for each in members for vmid in each.vmids)
            common = frozenset.union(*(each.nodes for each in members))
            halls: dict[str, list[NodeName]] = defaultdict(list)
            for node in common & rule.domains.keys():
                halls[rule.domains[node]].append(node)
            if need > max((_sum(nodes, ground) for nodes in halls.values()), default=0):
                return True
    for nodes in {each.nodes for each in classes}:
        inside = (each for each in classes if each.nodes <= nodes)
        if sum(ground.needs.get(vmid) or 0 for each in inside for vmid in each.vmids) > _sum(nodes, ground):
            return True
    return False


def _most(nodes: Iterable[NodeName], ground: Ground) -> float:
    return max((_sum([node], ground) for node in nodes), default=0.0)


def _sum(nodes: Iterable[NodeName], ground: Ground) -> float:
    sizes = [ground.room.get(node) for node in nodes]
    return float("inf") if None in sizes else float(sum(size or 0 for size in sizes))


# Everything


def _nothing_works(groups: list[Group], classes: list[_Class]) -> bool:
    """Whether trying everything, guests with the fewest nodes first, finds nothing; False when it takes too long to say."""
    guests = sorted(((each, vmid) for each in classes for vmid in each.vmids), key=lambda g: (len(g[0].nodes), g[1]))
    own = {vmid: [i for i, group in enumerate(groups) if vmid in group.members] for _, vmid in guests}
    counts: list[Counter[str]] = [Counter() for _ in groups]
    tries = 0

    def place(depth: int) -> bool | None:
        nonlocal tries
        if depth == len(guests):
            return all(_level(group, counts[i]) for i, group in enumerate(groups))
        each, vmid = guests[depth]
        for node in sorted(each.nodes):
            tries += 1
            if tries > TRIES:
                return None
            seats = [(counts[i], groups[i].domains[node]) for i in own[vmid]]
            if all(_fits(groups[i], counts[i], groups[i].domains[node]) for i in own[vmid]):
                for count, domain in seats:
                    count[domain] += 1
                found = place(depth + 1)
                for count, domain in seats:
                    count[domain] -= 1
                if found is not False:
                    return found
        return False

    return place(0) is False


def _fits(group: Group, count: Counter[str], domain: str) -> bool:
    if isinstance(group, Apart):
        return count[domain] < group.most
    return not isinstance(group, Together) or not any(n for other, n in count.items() if other != domain)


def _level(group: Group, count: Counter[str]) -> bool:
    if not isinstance(group, Spread):
        return True
    return max(count.values(), default=0) - min((count[domain] for domain in group.reachable), default=0) <= group.skew
