"""Mend Must groups that are broken, one move at a time: the cheapest member whose going makes the group less wrong.

Called by `solve.solver` before it looks for anything better.
"""

from controller.decide.solve.problem import GroupKind
from controller.decide.solve.state import ABSENT, State


def mend(state: State, loose: set[int]) -> None:
    """Move loose units that are somewhere until no broken group gains by it. A gathering of TOGETHER is no single move."""
    model = state.model
    for number, rule in enumerate(model.rules):
        if rule.weight or rule.kind is GroupKind.TOGETHER:
            continue
        units = {model.unit_of[member] for member in model.problem.groups[number].members} & loose
        while rule.violation(state.count[number]) and (found := _cheapest(state, number, units)) is not None:
            state.take(found[0])
            state.put(*found)


def _cheapest(state: State, number: int, units: set[int]) -> tuple[int, int] | None:
    """(Unit, bin) of the cheapest move after which the group is less wrong, and no other more."""
    model, rule = state.model, state.model.rules[number]
    before = rule.violation(state.count[number])
    best: tuple[int, int, int] | None = None
    for unit in sorted(unit for unit in units if state.place[unit] >= 0):
        rules = [other for other, _ in model.hard[unit] if other != number]
        old = [model.rules[other].violation(state.count[other]) for other in rules]
        price = model.price(unit, state.place[unit])
        home = state.take(unit)
        for cost, where in model.options(unit):
            rank = (cost - price, unit, where)
            if where == home or (best is not None and rank >= best) or not state.fits(unit, where, spread=False):
                continue
            state.put(unit, where)
            new = [model.rules[other].violation(state.count[other]) for other in rules]
            if rule.violation(state.count[number]) < before and all(n <= o for n, o in zip(new, old, strict=True)):
                best = rank
            state.take(unit)
        assert state.place[unit] == ABSENT
        state.put(unit, home)
    return (best[1], best[2]) if best is not None else None
