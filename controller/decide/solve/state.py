"""Where every unit is right now, with what that does to bins and groups; changed one unit at a time. Called by the searches.

A unit that has been taken away and not put back is ABSENT.
"""

from collections.abc import Iterable

from controller.decide.solve.model import AS_IS, BROKEN, PENALTY, Model
from controller.decide.solve.problem import GroupKind

ABSENT = -2


class State:
    """Loads and counts, kept up to date. `fits` answers for open bins; home takes back whom it had, if there is room left."""

    __slots__ = ("count", "load", "model", "place", "work")

    def __init__(self, model: Model) -> None:
        self.model = model
        self.place = model.first.copy()
        self.load = model.load.copy()
        self.count = [rule.count.copy() for rule in model.rules]
        self.work = 0
        """How much was asked of `fits` and `wishes`: the measure of every budget."""

    def take(self, unit: int) -> int:
        """Take the unit away from where it is; returns that."""
        where = self.place[unit]
        self._change(unit, where, -1)
        self.place[unit] = ABSENT
        return where

    def put(self, unit: int, where: int) -> None:
        """Put an absent unit there, whether it fits or not."""
        self._change(unit, where, 1)
        self.place[unit] = where

    def _change(self, unit: int, where: int, sign: int) -> None:
        model = self.model
        if where == AS_IS and model.home[unit] == AS_IS:
            self._scatter(unit, sign)
            return
        if where == AS_IS:
            where = model.home[unit]
        load, base = self.load, where * model.resources
        for resource, need in model.needs[unit]:
            load[base + resource] += sign * need
        for number, many in model.hard[unit]:
            domain = model.rules[number].domain[where]
            if domain >= 0:
                self.count[number][domain] += sign * many
        for number, many in model.soft[unit]:
            domain = model.rules[number].domain[where]
            if domain >= 0:
                self.count[number][domain] += sign * many

    def _scatter(self, unit: int, sign: int) -> None:
        model = self.model
        for where, item in model.spots(unit):
            for resource, need in enumerate(model.problem.items[item].need):
                self.load[where * model.resources + resource] += sign * (need or 0)
            for number, _ in (*model.hard[unit], *model.soft[unit]):
                domain = model.rules[number].domain[where]
                if domain >= 0 and item in model.problem.groups[number].members:
                    self.count[number][domain] += sign

    def fits(self, unit: int, where: int, *, spread: bool = True) -> bool:
        """Whether an absent unit may go to that bin (one of its options) now, without making a Must worse.

        spread: also ask groups that SPREAD, of which only the end of a search knows whether they are kept.
        """
        self.work += 1 + 2 * len(self.model.hard[unit])
        model, load, capacity = self.model, self.load, self.model.capacity
        base = where * model.resources
        at_home = model.home[unit] == where
        for resource, need in model.needs[unit]:
            place = base + resource
            if load[place] + need > capacity[place] and not (at_home and capacity[place] < 0):
                return False
        return all(self._group_takes(number, many, where, spread) for number, many in model.hard[unit])

    def _group_takes(self, number: int, many: int, where: int, spread: bool) -> bool:
        rule, count = self.model.rules[number], self.count[number]
        domain = rule.domain[where]
        if domain < 0:
            return True  # only home gets here: no other bin without a domain is an option
        here = count[domain] + many
        if rule.kind is GroupKind.APART:
            return here <= rule.limit
        if rule.kind is GroupKind.TOGETHER:
            others = sum(many_there > 0 for there, many_there in enumerate(count) if there != domain)
            return others <= rule.at_first
        if not spread or domain not in rule.eligible:
            return True
        emptiest = min((count[other] for other in rule.eligible if other != domain), default=here)
        return here - min(emptiest, here) <= rule.limit

    def wishes(self, unit: int, where: int) -> int:
        """What the Should groups of an absent unit would add to the cost if it were there."""
        total = 0
        self.work += 4 * len(self.model.soft[unit])
        for number, many in self.model.soft[unit]:
            rule = self.model.rules[number]
            domain = rule.domain[where]
            count = self.count[number]
            before = rule.violation(count)
            if domain >= 0:
                count[domain] += many
            total += (rule.violation(count) - before + (domain < 0)) * rule.weight
            if domain >= 0:
                count[domain] -= many
        return total * PENALTY

    def broken(self, rules: Iterable[int]) -> int:
        """Violations of these Must groups, and far more where one is worse than it was at the start."""
        total = 0
        for number in rules:
            rule = self.model.rules[number]
            violation = rule.violation(self.count[number])
            total += violation + (1 << 20) * max(0, violation - rule.at_first)
        return total * BROKEN

    def unwished(self, rules: Iterable[int]) -> int:
        """The penalty of these Should groups."""
        rules_of = self.model.rules
        return sum(rules_of[n].violation(self.count[n]) * rules_of[n].weight for n in rules) * PENALTY
