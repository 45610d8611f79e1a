"""A problem compiled into flat lists: what moves as one is a unit, what never changes is worked out once. Called by `solve` only.

Items of a Must group TOGETHER over single bins become one unit. A unit is on a bin, or AS_IS: every member where it was.
"""

from collections import defaultdict
from dataclasses import dataclass

from controller.decide.solve.problem import Group, GroupKind, Problem

AS_IS = -1
PENALTY = 1 << 42
"""Weights of the one number that searches compare: first whatever is left broken, then moves, penalties, bytes."""
MOVE = 1 << 76
BROKEN = 1 << 100
_SCALE = 20
"""Bytes are compared in MiB, rounded up."""


def moves_in(cost: int) -> int:
    """The moves in a cost without anything broken; its penalty may be below nothing."""
    return (cost + MOVE // 2) // MOVE


Needs = tuple[tuple[int, int], ...]
"""(Resource, how much of it), where it is more than nothing."""


@dataclass(slots=True)
class Rule:
    """A group, its domains numbered 0, 1, ..."""

    kind: GroupKind
    limit: int
    weight: int
    domain: list[int]
    """Per bin; -1 where the bin has none."""
    closed: list[bool]
    """Per bin: no new member may come, for the bin has no domain."""
    eligible: list[int]
    """SPREAD: the domains that count for the emptiest."""
    count: list[int]
    """Members per domain at the start."""
    at_first: int = 0
    """Its violation at the start."""

    def violation(self, count: list[int]) -> int:
        """How far these counts are from what the group asks for; 0 is kept."""
        if self.kind is GroupKind.APART:
            limit = self.limit
            return sum(here - limit for here in count if here > limit)
        if self.kind is GroupKind.TOGETHER:
            return max(0, sum(here > 0 for here in count) - 1)
        if not self.eligible:
            return 0
        return max(0, max(count) - min(count[domain] for domain in self.eligible) - self.limit)


class Model:
    """See the module. Everything is per unit, or per bin and resource, and constant but for the lazily filled `options`."""

    def __init__(self, problem: Problem, dissolved: frozenset[int] = frozenset()) -> None:
        self.problem = problem
        self.bins = len(problem.bins)
        self.resources = max((len(one.capacity) for one in problem.bins), default=0)
        self.members, self.unit_of = _units(problem, dissolved)
        self.home: list[int] = []
        """The bin of all members, or AS_IS when they are scattered."""
        self.needs: list[Needs] = []
        self.must: list[bool] = []
        self.stuck: list[bool] = []
        """No search touches it."""
        self._nouns()
        self.hard: list[tuple[tuple[int, int], ...]] = [()] * len(self.members)
        """(Rule, how many members of it) of the Must groups."""
        self.soft: list[tuple[tuple[int, int], ...]] = [()] * len(self.members)
        self.rules = [self._rule(group) for group in problem.groups]
        self._link()
        self.load = self._load()
        self.capacity = self._capacity()
        """Per bin * resources + resource: what may be there once something comes; -1: nothing may come."""
        self.first = [AS_IS if must else home for home, must in zip(self.home, self.must, strict=True)]
        """Where every unit is at the start."""
        self.scarcity = self._scarcity()
        """Per resource: one over what the average bin has."""
        self._prices: list[dict[int, int] | None] = [None] * len(self.members)
        self._options: list[list[tuple[int, int]] | None] = [None] * len(self.members)

    def _nouns(self) -> None:
        items = self.problem.items
        for unit in self.members:
            home = items[unit[0]].at
            if len(unit) == 1:
                item = items[unit[0]]
                self.home.append(home)
                self.needs.append(tuple([(r, need) for r, need in enumerate(item.need) if need]))
                self.must.append(item.must_leave and not item.fixed)
                self.stuck.append(item.fixed or None in item.need)
                continue
            parts = [items[member] for member in unit]
            self.home.append(home if all(part.at == home for part in parts) else AS_IS)
            total: dict[int, int] = defaultdict(int)
            for part in parts:
                for resource, need in enumerate(part.need):
                    if need:
                        total[resource] += need
            self.needs.append(tuple(sorted(total.items())))
            self.must.append(any(part.must_leave and not part.fixed for part in parts))
            self.stuck.append(False)

    def _rule(self, group: Group) -> Rule:
        numbers = {name: number for number, name in enumerate(sorted({d for d in group.domain if d is not None}))}
        domain = [-1 if name is None else numbers[name] for name in group.domain]
        closed = [name is None for name in group.domain]
        size = len(numbers)
        if group.kind is GroupKind.TOGETHER:
            for where, here in enumerate(domain):
                if here < 0:
                    domain[where] = size
                    size += 1
        count = [0] * size
        items = self.problem.items
        for member in group.members:
            if domain[items[member].at] >= 0:
                count[domain[items[member].at]] += 1
        rule = Rule(group.kind, group.limit, group.weight, domain, closed, [], count)
        if group.kind is GroupKind.SPREAD:
            rule.eligible = self._eligible(group, domain)
        rule.at_first = rule.violation(count)
        return rule

    def _eligible(self, group: Group, domain: list[int]) -> list[int]:
        found = set()
        allowed = [self.problem.items[member].allowed for member in group.members]
        anywhere = any(bins is None for bins in allowed)
        some = frozenset().union(*(bins for bins in allowed if bins is not None))
        for where, one in enumerate(self.problem.bins):
            if one.open and domain[where] >= 0 and (anywhere or where in some):
                found.add(domain[where])
        return sorted(found)

    def _link(self) -> None:
        hard: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        soft: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for number, group in enumerate(self.problem.groups):
            for member in sorted(group.members):
                (soft if group.weight else hard)[self.unit_of[member]][number] += 1
        for unit, rules in hard.items():
            kept = {
                number: count
                for number, count in rules.items()
                if not (
                    self.rules[number].kind is GroupKind.TOGETHER and len(self.problem.groups[number].members) == count
                )
            }  # who is one unit cannot be torn apart
            self.hard[unit] = tuple(kept.items())
        for unit, rules in soft.items():
            self.soft[unit] = tuple(rules.items())

    def _load(self) -> list[int]:
        load = [0] * (self.bins * self.resources)
        for item in self.problem.items:
            base = item.at * self.resources
            for resource, need in enumerate(item.need):
                if need:
                    load[base + resource] += need
        return load

    def _capacity(self) -> list[int]:
        found: list[int] = []
        for one in self.problem.bins:
            known = (*one.capacity, *(None,) * (self.resources - len(one.capacity)))
            found += [-1 if room is None or not one.open else room for room in known]
        for item in self.problem.items:
            for resource, need in enumerate(item.need):
                if need is None:
                    found[item.at * self.resources + resource] = -1
        return [-1 if load > room else room for load, room in zip(self.load, found, strict=True)]

    def _scarcity(self) -> list[float]:
        found = []
        for resource in range(self.resources):
            rooms = [room for room in self.capacity[resource :: self.resources] if room > 0]
            found.append(len(rooms) / sum(rooms) if rooms else 0.0)
        return found

    def spots(self, unit: int) -> list[tuple[int, int]]:
        """(Bin, item) of every member as it was."""
        return [(self.problem.items[item].at, item) for item in self.members[unit]]

    def cost(self, unit: int, where: int) -> int:
        """Of having the unit there: moves, preferences (beyond those it is here with) and bytes in one number; groups apart."""
        moves = penalty = bytes_ = 0
        for member in self.members[unit]:
            item = self.problem.items[member]
            target = item.at if where == AS_IS else where
            if item.preference:
                penalty += item.preference.get(target, 0) - item.preference.get(item.at, 0)
            if item.at != target:
                moves += 1
                price = item.cost if isinstance(item.cost, int) else item.cost[target]
                bytes_ += price
        total = moves * MOVE + penalty * PENALTY + -(-bytes_ >> _SCALE)
        if where == AS_IS and (self.must[unit] or self.home[unit] == AS_IS):
            total += BROKEN * len(self.members[unit])
        return total

    def price(self, unit: int, where: int) -> int:
        """`cost`, remembered."""
        prices = self._prices[unit]
        if prices is None:
            prices = self._prices[unit] = {there: cost for cost, there in self.options(unit)}
        found = prices.get(where)
        if found is None:
            found = prices[where] = self.cost(unit, where)
        return found

    def options(self, unit: int) -> list[tuple[int, int]]:
        """(Cost, bin) of every bin the unit may ever be on, cheapest first. AS_IS is not among them, its home is."""
        found = self._options[unit]
        if found is None:
            found = self._options[unit] = sorted((self.cost(unit, where), where) for where in self._possible(unit))
        return found

    def _possible(self, unit: int) -> list[int]:
        home = self.home[unit]
        if self.stuck[unit]:
            return [home]
        items = [self.problem.items[member] for member in self.members[unit]]
        bound = [item.at for item in items if item.fixed or None in item.need]
        left = {item.at for item in items if item.must_leave}
        groups = [(self.rules[number], count) for number, count in self.hard[unit]]
        found = []
        for where, one in enumerate(self.problem.bins):
            if where == home:
                if not self.must[unit]:
                    found.append(where)
                continue
            base = where * self.resources
            if (
                one.open
                and where not in left
                and all(there == where for there in bound)
                and all(item.allowed is None or where in item.allowed or item.at == where for item in items)
                and all(need <= self.capacity[base + resource] for resource, need in self.needs[unit])
                and not any(rule.closed[where] for rule, _ in groups)
                and not any(rule.kind is GroupKind.APART and count > rule.limit for rule, count in groups)
            ):
                found.append(where)
        return found


def _units(problem: Problem, dissolved: frozenset[int]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Members of every unit, unit of every item.

    A group that cannot be one, having two bound to different bins, is not merged, nor is one that is to be dissolved.
    """
    leader = list(range(len(problem.items)))

    def find(item: int) -> int:
        while leader[item] != item:
            leader[item] = leader[leader[item]]
            item = leader[item]
        return item

    bound: dict[int, int] = {
        number: item.at for number, item in enumerate(problem.items) if item.fixed or None in item.need
    }
    for number, group in enumerate(problem.groups):
        alone = number not in dissolved and len(set(group.domain)) == len(group.domain) and None not in group.domain
        if group.kind is not GroupKind.TOGETHER or group.weight or not alone:
            continue
        leaders = {find(member) for member in group.members}
        places = {bound[one] for one in leaders if one in bound}
        if len(places) > 1:
            continue
        first = min(leaders)
        for other in leaders:
            leader[other] = first
        if places:
            bound[first] = places.pop()
    gathered: dict[int, list[int]] = defaultdict(list)
    for item in range(len(problem.items)):
        gathered[find(item)].append(item)
    members = [tuple(unit) for unit in gathered.values()]
    unit_of = [0] * len(problem.items)
    for number, unit in enumerate(members):
        for item in unit:
            unit_of[item] = number
    return members, unit_of
