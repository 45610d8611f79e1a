"""Level how full bins are of one resource with the fewest moves. Called by the planner, never beside a drain.

Steepest descent on how far bins lie outside a band as wide as the tolerance; several bands and exponents are tried and the one
that needs the fewest moves is taken, of these the one with the fewest bytes. No Must is touched, and no Should made worse.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from controller.decide.solve.model import Model
from controller.decide.solve.problem import Problem
from controller.decide.solve.state import State

_SHAPES = ((1.0, 0.0), (2.0, 0.0), (4.0, 0.0), (1.0, 0.2), (1.0, -0.2), (2.0, 0.2), (2.0, -0.2))
"""(Exponent, where the middle of the band lies beside the mean, in parts of the tolerance)."""
_PAIRS = 8
"""So many of the fullest bins are relieved, and of the emptiest filled, in one step's choice."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Moves, at most one per item, after all of which the bins are level; `sequence` says in which order they go."""

    moves: tuple[tuple[int, int], ...]
    """(Item, target)."""
    before: float
    """Percent points between the fullest open bin and the emptiest."""
    after: float


def balance(
    problem: Problem, resource: int, tolerance_percent: int, max_moves: int, wholes: Sequence[int | None] | None = None
) -> Balance:
    """The moves that bring all open bins within so many percent points of each other, or as near as so many moves can.

    wholes: what each bin holds in all, where its capacity is only what is left of that beside what is no item.
    """
    model = Model(problem)
    full = _wholes(problem, resource, wholes)
    before = _Descent(model, resource, full, tolerance_percent / 100, shape=_SHAPES[0]).spread()
    if before * 100 <= tolerance_percent:
        return Balance((), before * 100, before * 100)
    best: tuple[tuple[float, int, int], Balance] | None = None
    for shape in _SHAPES:
        descent = _Descent(model, resource, full, tolerance_percent / 100, shape=shape)
        moves = descent.run(max_moves)
        after = descent.spread() * 100
        rank = (max(after, tolerance_percent), len(moves), descent.bytes)
        if best is None or rank < best[0]:
            best = rank, Balance(tuple(moves), before * 100, after)
    assert best is not None
    return best[1] if best[1].after < before * 100 else Balance((), before * 100, before * 100)


def _wholes(problem: Problem, resource: int, wholes: Sequence[int | None] | None) -> dict[int, int]:
    """What every open bin that has a limit holds in all."""
    found = {}
    for where, one in enumerate(problem.bins):
        whole = one.capacity[resource] if wholes is None else wholes[where]
        if one.open and one.capacity[resource] is not None and whole:
            found[where] = whole
    return found


class _Descent:
    """One way down; its own copy of where everything is."""

    def __init__(
        self, model: Model, resource: int, wholes: dict[int, int], tolerance: float, *, shape: tuple[float, float]
    ) -> None:
        self.model, self.state = model, State(model)
        self.resource, self.tolerance, (self.exponent, aside) = resource, tolerance, shape
        self.bytes = 0
        self.room = wholes
        self.load = {
            where: model.load[where * model.resources + resource]
            + whole
            - (model.problem.bins[where].capacity[resource] or 0)
            for where, whole in wholes.items()
        }
        mean = sum(self.load.values()) / max(1, sum(self.room.values()))
        # A little inside the tolerance, so that what has been rounded is not just outside.
        self.low = mean + (aside - 0.499) * tolerance
        self.high = mean + (aside + 0.499) * tolerance
        self.there: dict[int, dict[int, list[int]]] = {where: defaultdict(list) for where in self.room}
        """Bin -> need -> units that may move, the cheapest last."""
        for unit, home in enumerate(model.home):
            need = dict(model.needs[unit]).get(resource, 0)
            if home in self.room and need and not model.stuck[unit] and len(model.members[unit]) == 1:
                self.there[home][need].append(unit)

    def spread(self) -> float:
        """Between the fullest bin and the emptiest, as a part of one."""
        ratios = [self.load[where] / room for where, room in self.room.items()]
        return max(ratios, default=0.0) - min(ratios, default=0.0)

    def run(self, max_moves: int) -> list[tuple[int, int]]:
        """Step down until level, or until no step leads further down."""
        moves: list[tuple[int, int]] = []
        while len(moves) < max_moves and self.spread() > self.tolerance:
            step = self._step()
            if step is None:
                break
            moves.append((self.model.members[step[0]][0], step[1]))
        return moves

    def _outside(self, ratio: float) -> float:
        beyond = max(self.low - ratio, ratio - self.high, 0.0)
        return beyond**self.exponent if beyond else 0.0

    def _step(self) -> tuple[int, int] | None:
        """Make the move that gains most, of equals the one with the fewest bytes."""
        ratio = {where: self.load[where] / room for where, room in self.room.items()}
        order = sorted(ratio, key=lambda where: (-ratio[where], where))
        possible: list[tuple[float, int, int, int]] = []
        for source in order[:_PAIRS]:
            for target in order[-_PAIRS:]:
                if ratio[target] >= ratio[source]:
                    continue
                now = self._outside(ratio[source]) + self._outside(ratio[target])
                for need in self.there[source]:
                    then = self._outside(ratio[source] - need / self.room[source])
                    then += self._outside(ratio[target] + need / self.room[target])
                    if now - then > 1e-12:
                        possible.append((then - now, need, source, target))
        possible.sort()
        for _, need, source, target in possible:
            for unit in self._cheapest(source, need, target):
                if self._goes(unit, source, target):
                    self.there[source][need].remove(unit)
                    if not self.there[source][need]:
                        del self.there[source][need]
                    self.load[source] -= need
                    self.load[target] += need
                    return unit, target
        return None

    def _cheapest(self, source: int, need: int, target: int) -> list[int]:
        price = self.model.price
        found = [unit for unit in self.there[source][need] if any(target == b for _, b in self.model.options(unit))]
        return sorted(found, key=lambda unit: (price(unit, target), unit))

    def _goes(self, unit: int, source: int, target: int) -> bool:
        """Move the unit if nothing is worse for it."""
        state, model = self.state, self.model
        state.take(unit)
        preference = model.problem.items[model.members[unit][0]].preference
        worse = state.wishes(unit, target) > state.wishes(unit, source)
        if worse or preference.get(target, 0) > preference.get(source, 0) or not state.fits(unit, target):
            state.put(unit, source)
            return False
        state.put(unit, target)
        rules = [(model.rules[number], state.count[number]) for number, _ in model.hard[unit]]
        if any(rule.violation(count) > rule.at_first for rule, count in rules):
            state.take(unit)
            state.put(unit, source)
            return False
        cost = model.problem.items[model.members[unit][0]].cost
        self.bytes += cost if isinstance(cost, int) else cost[target]
        return True
