"""Ruin and recreate: take much away from a few bins, put it back differently, keep what is hardly worse. Called by `solve.solver`.

Steered by our own dice and ended by a count of questions asked, never by a clock: equal input, equal plan.
"""

from collections.abc import Sequence

from controller.decide.solve.dice import Dice
from controller.decide.solve.model import AS_IS, BROKEN, MOVE, Model
from controller.decide.solve.pack import bulk, insert, put_back
from controller.decide.solve.state import ABSENT, State

_MOST = 24
"""Units taken away at once."""


class Search:
    """Improves a state over the units that are loose; what is not loose stays where it is."""

    def __init__(self, state: State, loose: Sequence[int], dice: Dice) -> None:
        self.state, self.dice = state, dice
        self.model: Model = state.model
        self.loose = sorted(loose)
        self.is_loose = set(loose)
        self.there: list[list[int]] = [[] for _ in range(self.model.bins)]
        """Loose units per bin."""
        self.homeless: list[int] = []
        """Loose units that are on no bin they may be on."""
        self.rules = sorted({number for unit in loose for number, _ in self.model.hard[unit]})
        self.violated: list[int] = []
        """Must groups that were broken when last looked at, with no unit to point at."""
        self.bulk = {unit: bulk(self.model, unit) for unit in loose}
        for unit in self.loose:
            self._list_of(unit).append(unit)
        self.cost = self._cost_of(self.loose)

    def run(self, budget: int, *, enough: int) -> int:
        """Search until the cost is at most `enough` or the budget is used up; leaves the best that was found, returns its cost."""
        state = self.state
        start, end = state.work, state.work + budget
        best, places = self.cost, self._places()
        turn = 0
        while state.work < end and best > enough:
            state.work += 10
            if turn % 32 == 0:
                rules = self.model.rules
                self.violated = [n for n in self.rules if rules[n].violation(state.count[n])]
                state.work += len(self.rules)
            turn += 1
            heat = (end - state.work) / (end - start)
            self._once(int(MOVE * 2.0 * heat * self.dice.below(1024)) >> 10)
            if self.cost < best and all(state.place[unit] != ABSENT for unit in self.homeless):
                best, places = self.cost, self._places()
        put_back(state, places)
        return best

    def _places(self) -> list[tuple[int, int]]:
        return [(unit, self.state.place[unit]) for unit in self.loose]

    def _list_of(self, unit: int) -> list[int]:
        where = self.state.place[unit]
        return self.there[where] if where >= 0 else self.homeless

    def _cost_of(self, units: Sequence[int]) -> int:
        """What these units contribute, with all groups they are in."""
        state, model, total = self.state, self.model, 0
        hard: set[int] = set()
        soft: set[int] = set()
        for unit in units:
            where = state.place[unit]
            if where >= 0:
                total += model.price(unit, where)
            elif where == AS_IS:  # of as many that stay the smaller ones are nearer to a solution
                total += model.price(unit, where) + int(self.bulk[unit] * 0.25 * BROKEN)
            else:
                total += 2 * BROKEN + int(self.bulk[unit] * BROKEN)
            hard.update(number for number, _ in model.hard[unit])
            soft.update(number for number, _ in model.soft[unit])
        return total + state.broken(hard) + state.unwished(soft)

    def _once(self, threshold: int) -> None:
        taken = self._ruined()
        before = self._cost_of(taken)
        places = [(unit, self.state.place[unit]) for unit in taken]
        stranded = bool(self.homeless)
        for unit in taken:
            self._list_of(unit).remove(unit)
            if self.state.place[unit] != ABSENT:
                self.state.take(unit)
        noise = self.dice
        order = sorted(taken, key=lambda unit: (-self.bulk[unit] * (512 + noise.below(1024)), unit))
        # While somebody has no place, where the others feel at home matters little.
        blind = stranded and not noise.below(2)
        insert(self.state, order, level=False, dice=noise, blind=blind)
        change = self._cost_of(taken) - before
        if change > threshold:
            put_back(self.state, places)
        else:
            self.cost += change
        for unit in taken:
            self._list_of(unit).append(unit)

    def _ruined(self) -> list[int]:
        """Whom to take away: all that have no place, and many of those on one to three bins."""
        dice, model = self.dice, self.model
        if self.violated and dice.below(2):
            number = self.violated[dice.below(len(self.violated))]
            members = {model.unit_of[item] for item in model.problem.groups[number].members}
            return sorted({*self.homeless[:_MOST], *(members & self.is_loose)})[: 2 * _MOST]
        many = 1 + (dice.below(6) + 2) // 3
        bins: list[int] = []
        seeds = self.homeless or self._moved()
        if seeds:
            unit = seeds[dice.below(len(seeds))]
            options = model.options(unit)
            bins += [options[dice.below(len(options))][1] for _ in range(2 if self.homeless else 1) if options]
            bins += [where for where in (self.state.place[unit], model.home[unit]) if where >= 0]
        while len(bins) < many:
            bins.append(dice.below(model.bins))
        found = self.homeless[:_MOST]
        share = max(4, (_MOST - len(found)) // min(3, len(bins)))
        for where in dict.fromkeys(bins[:3]):
            here = self.there[where].copy()
            if len(here) > share:
                dice.shuffle(here)
            found += here[:share]
        return found

    def _moved(self) -> list[int]:
        """Units that moved without having to, a few of them."""
        model, place = self.model, self.state.place
        for _ in range(8):
            unit = self.loose[self.dice.below(len(self.loose))]
            if not model.must[unit] and place[unit] not in (AS_IS, model.home[unit]):
                return [unit]
        return []
