"""Bins and groups while things move: a move takes its room on the target from its start and frees the source at its end.

One move at a time here; `sequence` works out which may overlap. Called by `solve.sequence`.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass

from controller.decide.solve.problem import GroupKind, Problem


@dataclass(frozen=True, slots=True)
class Hurdle:
    """What keeps an item from a bin: too little of a resource there, or a group; neither is a bin that takes nothing."""

    bin: int
    resource: int | None = None
    group: int | None = None


class Yard:
    """What is where, mutable. Items that are already in flight are on both bins until `land`."""

    def __init__(self, problem: Problem, movers: Sequence[int], leaving: Mapping[int, int]) -> None:
        self.problem = problem
        self.resources = max((len(one.capacity) for one in problem.bins), default=0)
        self.place = [item.at for item in problem.items]
        self.leaving = dict(leaving)
        self.load = [0] * (len(problem.bins) * self.resources)
        self.unknown = [False] * len(self.load)
        for number, item in enumerate(problem.items):
            for where in {item.at, leaving.get(number, item.at)}:
                self._add(number, where, 1)
            for resource, need in enumerate(item.need):
                if need is None:
                    self.unknown[item.at * self.resources + resource] = True
        involved = set(movers) | set(leaving)
        self.groups: dict[int, list[int]] = {number: [] for number in involved}
        self.count: dict[int, dict[int, int]] = {}
        """Per Must group and domain."""
        self.eligible: dict[int, list[int]] = {}
        self.worst: dict[int, int] = {}
        """SPREAD: the greatest violation that is no worse than at the start."""
        for number, group in enumerate(problem.groups):
            if not group.weight and group.kind is not GroupKind.TOGETHER and group.members & involved:
                self._follow(number)

    def _follow(self, number: int) -> None:
        group = self.problem.groups[number]
        count: dict[int, int] = {domain: 0 for domain in group.domain if domain is not None}
        for member in group.members:
            if member in self.groups:
                self.groups[member].append(number)
            at = self.problem.items[member].at
            for domain in {group.domain[at], group.domain[self.leaving.get(member, at)]}:
                if domain is not None:
                    count[domain] += 1
        self.count[number] = count
        if group.kind is GroupKind.SPREAD:
            allowed = [self.problem.items[member].allowed for member in group.members]
            self.eligible[number] = sorted(
                {
                    domain
                    for where, domain in enumerate(group.domain)
                    if domain is not None
                    and self.problem.bins[where].open
                    and any(bins is None or where in bins for bins in allowed)
                }
            )
            self.worst[number] = self._uneven(number)

    def _uneven(self, number: int) -> int:
        count, eligible = self.count[number], self.eligible[number]
        if not eligible:
            return 0
        return max(0, max(count.values()) - min(count[one] for one in eligible) - self.problem.groups[number].limit)

    def _add(self, number: int, where: int, sign: int) -> None:
        base = where * self.resources
        for resource, need in enumerate(self.problem.items[number].need):
            if need:
                self.load[base + resource] += sign * need

    def _member(self, number: int, where: int, other: int, sign: int) -> None:
        """Count the item where it comes or goes, unless the other bin is in the same domain."""
        for group in self.groups.get(number, ()):
            domain = self.problem.groups[group].domain
            if domain[where] is not None and domain[where] != domain[other]:
                self.count[group][domain[where] or 0] += sign

    def hurdle(self, number: int, target: int) -> Hurdle | None:
        """What keeps the item from starting to move there now; None: nothing."""
        base, item = target * self.resources, self.problem.items[number]
        for resource, need in enumerate(item.need):
            room = self.problem.bins[target].capacity[resource]
            if need and (room is None or self.unknown[base + resource] or self.load[base + resource] + need > room):
                return Hurdle(target, resource=resource)
        source = self.place[number]
        for group in self.groups.get(number, ()):
            one = self.problem.groups[group]
            here = one.domain[target]
            if here == one.domain[source] or here is None:
                continue
            if one.kind is GroupKind.APART:
                if self.count[group][here] >= one.limit:
                    return Hurdle(target, group=group)
            elif not self._stays_even(number, source, target, group):
                return Hurdle(target, group=group)
        return None

    def _stays_even(self, number: int, source: int, target: int, group: int) -> bool:
        """Whether a SPREAD group is no worse while the item moves, and when it has arrived."""
        self._member(number, target, source, 1)
        on_the_way = self._uneven(group)
        self._member(number, source, target, -1)
        arrived = self._uneven(group)
        self._member(number, source, target, 1)
        self._member(number, target, source, -1)
        return max(on_the_way, arrived) <= self.worst[group]

    def welcome(self, number: int, target: int) -> bool:
        """Whether the item may be on that bin at all, if only for a while."""
        item, one = self.problem.items[number], self.problem.bins[target]
        return (
            one.open
            and (item.allowed is None or target in item.allowed)
            and all(self.problem.groups[group].domain[target] is not None for group in self.groups.get(number, ()))
        )

    def move(self, number: int, target: int) -> None:
        """Let the item move there, and arrive."""
        source = self.place[number]
        self._member(number, target, source, 1)
        self._member(number, source, target, -1)
        self._add(number, target, 1)
        self._add(number, source, -1)
        self.place[number] = target

    def copy(self) -> "Yard":
        """Another yard in the same state."""
        other = copy(self)
        other.place, other.load, other.leaving = self.place.copy(), self.load.copy(), self.leaving.copy()
        other.count = {number: count.copy() for number, count in self.count.items()}
        return other

    def land(self) -> None:
        """Let all arrive that were in flight."""
        for number, source in self.leaving.items():
            at = self.problem.items[number].at
            if source != at:
                self._add(number, source, -1)
                self._member(number, source, at, -1)
        self.leaving = {}
