"""N+k: whether any k bins may fail and all that was on them still fits on the others. Called by the planner for the condition.

Only room and the bins an item may be on count: in an emergency guests are started where they fit, groups come later.
"""

from dataclasses import dataclass, replace
from enum import Enum
from itertools import combinations
from math import comb

from controller.decide.solve.problem import Problem

_SETS = 50_000
"""More sets of failing bins are not looked at."""
_TRIED = 300
"""For so many of them places are sought for every single item."""


class Survival(Enum):
    """What is known about the failure of any k bins."""

    YES = "yes"
    """Proven: for every set of k bins places were found, or have to exist."""
    NO = "no"
    """Proven: not even the sums fit."""
    UNKNOWN = "unknown"
    """No places were found within the budget, or a need is not known."""


@dataclass(frozen=True, slots=True)
class Failures:
    """The answer, with the failing bins that are worst where it is not YES."""

    survival: Survival
    bins: tuple[int, ...] = ()
    resource: int | None = None
    need: int = 0
    """What has to find room then."""
    room: int = 0
    """What there is."""
    stranded: tuple[int, ...] = ()
    """Items that more room would not save: the only bins they may be on fail together."""


def tolerates(problem: Problem, places: tuple[int, ...], failures: int) -> Failures:
    """Whether the items, being at these places, survive that many failing bins; closed bins take nobody in."""
    return _Drill(problem, places).run(failures)


class _Drill:
    def __init__(self, problem: Problem, places: tuple[int, ...]) -> None:
        self.problem = problem
        self.resources = range(max((len(one.capacity) for one in problem.bins), default=0))
        self.bins = [where for where, one in enumerate(problem.bins) if one.open and None not in one.capacity]
        self.here: list[list[int]] = [[] for _ in problem.bins]
        for number, where in enumerate(places):
            self.here[where].append(number)
        self.needs = [tuple(need or 0 for need in item.need) for item in problem.items]
        self.load = [[sum(self.needs[n][r] for n in here) for r in self.resources] for here in self.here]
        self.free = {
            where: [(problem.bins[where].capacity[r] or 0) - self.load[where][r] for r in self.resources]
            for where in self.bins
        }
        self.largest = [max((needs[r] for needs in self.needs), default=0) for r in self.resources]
        self.bound = [[n for n in here if problem.items[n].allowed is not None] for here in self.here]
        self.stranded: set[int] = set()
        self.tried = 0

    def run(self, failures: int) -> Failures:
        if any(None in item.need for item in self.problem.items):
            return Failures(Survival.UNKNOWN)
        holding = [where for where, here in enumerate(self.here) if here]
        failures = min(failures, len(holding))
        if comb(len(holding), failures) > _SETS:
            return Failures(Survival.UNKNOWN)
        # The heaviest first: if anything does not fit it is soonest seen there.
        sets = sorted(combinations(holding, failures), key=lambda some: (-sum(self.load[w][0] for w in some), some))
        doubt = None
        for failing in sets:
            short = self._short(failing)
            if short is not None:
                return replace(short, stranded=tuple(sorted(self.stranded)))
            if doubt is None and not self._placed(failing):
                doubt = Failures(Survival.UNKNOWN, failing)
        return replace(doubt or Failures(Survival.YES), stranded=tuple(sorted(self.stranded)))

    def _short(self, failing: tuple[int, ...]) -> Failures | None:
        """Whether the sums say that it is impossible, even for those alone that may be elsewhere."""
        survivors = {where for where in self.bins if where not in failing}
        nowhere = [number for where in failing for number in self.bound[where] if not self._allowed(number) & survivors]
        self.stranded.update(nowhere)
        for r in self.resources:
            room = sum(max(0, self.free[where][r]) for where in survivors)
            lost = sum(self.needs[number][r] for number in nowhere)
            need = sum(self.load[where][r] for where in failing) - lost
            if need > room:
                return Failures(Survival.NO, failing, r, need, room)
        return None

    def _allowed(self, number: int) -> frozenset[int]:
        return self.problem.items[number].allowed or frozenset()

    def _placed(self, failing: tuple[int, ...]) -> bool:
        """Whether room is found for all: first for those that may not be everywhere, the largest first."""
        free = {where: room.copy() for where, room in self.free.items() if where not in failing}
        bound, rest = [], []
        for number in (number for where in failing for number in self.here[where]):
            allowed = self.problem.items[number].allowed
            if allowed is None:
                rest.append(number)
            elif allowed & free.keys():
                bound.append(number)
        if not self._one_by_one(bound, free):
            return False
        if self._surely(rest, free):
            return True
        self.tried += 1
        return self.tried <= _TRIED and self._one_by_one(rest, free)

    def _surely(self, rest: list[int], free: dict[int, list[int]]) -> bool:
        """Whether all fit however it is done.

        A bin that turns an item away has less room of some resource than the largest item needs; all else it had is in use then.
        If all bins together cannot be that full of what is to be placed, nobody is turned away.
        """
        total = [sum(self.needs[number][r] for number in rest) for r in self.resources]
        full = 0.0
        for room in free.values():
            full += min((max(0, room[r] - self.largest[r]) / total[r] for r in self.resources if total[r]), default=0.0)
        return not rest or full > sum(some > 0 for some in total)

    def _one_by_one(self, numbers: list[int], free: dict[int, list[int]]) -> bool:
        """Put the largest first, each on the emptiest bin that takes it; `free` is what is left."""
        for number in sorted(numbers, key=lambda n: (-max(self._part(n, r) for r in self.resources), n)):
            allowed, needs = self.problem.items[number].allowed, self.needs[number]
            fitting = [
                (-room[0], where)
                for where, room in free.items()
                if (allowed is None or where in allowed)
                and all(room[r] >= need for r, need in enumerate(needs) if need)
            ]
            if not fitting:
                return False
            where = min(fitting)[1]
            for r in self.resources:
                free[where][r] -= needs[r]
        return True

    def _part(self, number: int, resource: int) -> float:
        return self.needs[number][resource] / max(1, self.largest[resource])
