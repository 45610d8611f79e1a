"""Which others have to move so that all that must find room: as few as possible, the cheapest. Called by `solve.solver`."""

from collections.abc import Iterator
from itertools import combinations
from math import comb

from controller.decide.solve.model import moves_in
from controller.decide.solve.pack import BudgetUsedUpError, pack, put_back
from controller.decide.solve.state import ABSENT, State

_SETS = 6_000
"""More sets of one size than this are not looked through."""
_TRY = 4_000
"""Questions spent on one set of others."""


class Others:
    """possible: the units that must move and could; others: those that may, cheapest first."""

    def __init__(self, state: State, possible: list[int], others: list[int], effort: int) -> None:
        self.state, self.model = state, state.model
        self.possible, self.others, self.effort = possible, others, effort
        self.price = {unit: self.model.options(unit)[1][0] for unit in others}
        self.complete = True
        """Whether every smaller, and every cheaper, set of others was refuted."""
        self.cheapest = all(
            len({cost for cost, _ in self.model.options(unit)}) == 2 and not self.model.soft[unit] for unit in others
        )
        """Whether the first set that works is the cheapest, too: it makes no difference where the others go."""

    def fewest(self) -> bool:
        """Place all with one other moved, or two, or more while the sets are few; else leave the state as it was."""
        state = self.state
        before = [(unit, state.place[unit]) for unit in self.possible]
        put_back(state, [(unit, ABSENT) for unit in self.possible])
        for count in range(1, len(self.others) + 1):
            if count > 1 and comb(len(self.others), count) > _SETS:
                break
            chosen = self._first(count)
            if chosen is not None:
                moves = sum(moves_in(self.price[unit]) for unit in chosen)
                self.complete &= moves == count  # else two small units might do instead of a large one
                return True
        put_back(state, before)
        return False

    def _first(self, count: int) -> list[int] | None:
        """The cheapest set of so many with which all are placed; without one the movers stay absent."""
        end = self.state.work + self.effort // 5
        for chosen in self._sets(count):
            if self.state.work > end:
                self.complete = False
                return None
            if self._works(chosen, chosen):
                return chosen
        return None

    def _sets(self, count: int) -> Iterator[list[int]]:
        found = sorted((sum(self.price[unit] for unit in some), some) for some in combinations(self.others, count))
        return (list(some) for _, some in found)

    def _works(self, chosen: list[int], new: list[int]) -> bool:
        """Place the absent movers with these others moved; else those are at home afterwards, the movers absent."""
        state, model = self.state, self.model
        for unit in chosen:
            state.take(unit)
        if all(self._leaves(unit) for unit in new):
            try:
                if pack(state, self.possible + chosen, _TRY):
                    return True
            except BudgetUsedUpError:
                self.complete = False
        for unit in chosen:
            state.put(unit, model.home[unit])
        return False

    def _leaves(self, unit: int) -> bool:
        """Whether a unit fits elsewhere at all, before the movers come."""
        state, home = self.state, self.model.home[unit]
        return any(where != home and state.fits(unit, where, spread=False) for _, where in self.model.options(unit))

    def thrift(self) -> None:
        """Move fewer others, or cheaper ones, as long as that is possible."""
        end = self.state.work + self.effort // 3
        while self.state.work < end and self._cheaper(end):
            pass

    def _cheaper(self, end: int) -> bool:
        state, model, price = self.state, self.model, self.price
        moved = [unit for unit in self.others if state.place[unit] != model.home[unit]]
        before = [(unit, state.place[unit]) for unit in self.possible + moved]
        put_back(state, [(unit, ABSENT) for unit in self.possible] + [(unit, model.home[unit]) for unit in moved])
        for dropped in reversed(moved):
            kept = [unit for unit in moved if unit != dropped]
            for extra in [[], *([unit] for unit in price if price[unit] < price[dropped] and unit not in kept)]:
                if state.work > end:
                    break
                if self._works(kept + extra, extra):
                    return True
        put_back(state, before)
        return False
