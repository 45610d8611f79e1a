"""Put absent units back: greedily, or by looking through every possibility. Called by `solve.search` and `solve.solver`."""

from collections.abc import Sequence

from controller.decide.solve.dice import Dice
from controller.decide.solve.model import AS_IS, Model
from controller.decide.solve.problem import GroupKind
from controller.decide.solve.state import ABSENT, State


def bulk(model: Model, unit: int) -> float:
    """How large a unit is: of its scarcest resource the part of all there is."""
    found = 0.0
    for resource, need in model.needs[unit]:
        found = max(found, need * model.scarcity[resource])
    return found


def hardest_first(model: Model, units: Sequence[int]) -> list[int]:
    """Those with few possibilities, then those in groups, then the bulky before the others."""
    few = max(2, model.bins // 8)

    def key(unit: int) -> tuple[int, int, float, int]:
        choices = len(model.options(unit))
        return (choices if choices <= few else few + 1, -bool(model.hard[unit]), -bulk(model, unit), unit)

    return sorted(units, key=key)


def choose(state: State, unit: int, *, level: bool, dice: Dice | None = None, blind: bool = False) -> int | None:
    """The cheapest bin that takes the unit; among equals the emptiest afterwards (level) or the fullest.

    With dice a possibility is passed over now and then. blind: the cost does not matter.
    """
    model = state.model
    wishes = model.soft[unit]
    best: int | None = None
    best_cost, best_fill = 0, 0.0
    for cost, where in model.options(unit):
        if best is not None and cost > best_cost and not wishes and not blind:
            break
        if dice is not None and not dice.below(12):
            continue
        if not state.fits(unit, where):
            continue
        full_cost = 0 if blind else cost + state.wishes(unit, where) if wishes else cost
        if best is not None and full_cost > best_cost:
            continue
        fill = _fill(state, unit, where)
        if best is None or full_cost < best_cost or (fill < best_fill if level else fill > best_fill):
            best, best_cost, best_fill = where, full_cost, fill
    return best


def _fill(state: State, unit: int, where: int) -> float:
    """How full the bin would be, of the resource it has least of."""
    model, base = state.model, where * state.model.resources
    return max(
        ((state.load[base + r] + need) / max(1, model.capacity[base + r]) for r, need in model.needs[unit]), default=0.0
    )


def back_as_it_was(state: State, unit: int) -> None:
    """Put an absent unit back where it was, if its room is still there. What that breaks of groups is left to be counted."""
    model = state.model
    for where, item in model.spots(unit):
        for resource, need in enumerate(model.problem.items[item].need):
            place = where * model.resources + resource
            if need and state.load[place] + need > model.capacity[place] >= 0:
                return
    state.put(unit, AS_IS if model.must[unit] else model.home[unit])


def insert(state: State, units: Sequence[int], *, level: bool, dice: Dice | None = None, blind: bool = False) -> None:
    """Put the units somewhere in this order, as `choose` says; who fits nowhere, nor where it was, stays absent."""
    for unit in units:
        where = choose(state, unit, level=level, dice=dice, blind=blind)
        if where is not None:
            state.put(unit, where)
        else:
            back_as_it_was(state, unit)


def put_back(state: State, places: Sequence[tuple[int, int]]) -> None:
    """Have these units where they were noted to be."""
    for unit, _ in places:
        if state.place[unit] != ABSENT:
            state.take(unit)
    for unit, where in places:
        if where != ABSENT:
            state.put(unit, where)


class BudgetUsedUpError(Exception):
    """The budget is used up before the search was over."""


def pack(state: State, units: Sequence[int], budget: int) -> bool:
    """Put these absent units somewhere, whatever it costs; False, and all absent, when it is proven impossible.

    Raises BudgetUsedUpError, all absent, after so many questions whether something fits.
    """
    return _Packing(state, units, state.work + budget).run()


class _Packing:
    """Depth first, the hardest unit first, the fullest bin first; cut where the room that is left is in too small pieces."""

    def __init__(self, state: State, units: Sequence[int], end: int) -> None:
        model = state.model
        self.state, self.end = state, end
        self.units = sorted(units, key=lambda unit: (-bulk(model, unit), unit))
        self.bins = sorted({where for unit in units for _, where in model.options(unit)})
        # Who goes home to a closed bin needs no room there: nothing is known then about the room all need together.
        self.prune = all(model.capacity[where * model.resources] >= 0 for where in self.bins)
        sizes = [dict(model.needs[unit]).get(0, 0) for unit in self.units]
        self.least = [0] * (len(sizes) + 1)
        self.rest = [0] * (len(sizes) + 1)
        for n in range(len(sizes) - 1, -1, -1):
            self.rest[n] = self.rest[n + 1] + sizes[n]
            self.least[n] = sizes[n] if n == len(sizes) - 1 else min(self.least[n + 1], sizes[n])
        self.spread = sorted(
            {n for unit in units for n, _ in model.hard[unit] if model.rules[n].kind is GroupKind.SPREAD}
        )

    def run(self) -> bool:
        try:
            return self._from(0)
        except BudgetUsedUpError:
            for unit in self.units:
                if self.state.place[unit] != ABSENT:
                    self.state.take(unit)
            raise

    def _from(self, n: int) -> bool:
        state, model = self.state, self.state.model
        if n == len(self.units):
            return state.broken(self.spread) == 0
        if state.work > self.end:
            raise BudgetUsedUpError
        if self.prune and self._too_little(n):
            return False
        unit = self.units[n]
        base, capacity, load = model.resources, model.capacity, state.load
        fitting = []
        for _, where in model.options(unit):
            if state.fits(unit, where, spread=False):
                fitting.append((capacity[where * base] - load[where * base], where))
        fitting.sort()
        for _, where in fitting:
            state.put(unit, where)
            if self._from(n + 1):
                return True
            state.take(unit)
        return False

    def _too_little(self, n: int) -> bool:
        model, load = self.state.model, self.state.load
        least, usable = self.least[n], 0
        for where in self.bins:
            room = model.capacity[where * model.resources] - load[where * model.resources]
            if room >= least:
                usable += room
        return usable < self.rest[n]
