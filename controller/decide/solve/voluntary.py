"""Moves that only a Should, or a preference, asks for: after everything else, and only where each makes things better.

Called by `solve.solver`.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from controller.decide.solve.model import AS_IS, PENALTY, moves_in
from controller.decide.solve.pack import put_back
from controller.decide.solve.problem import GroupKind
from controller.decide.solve.state import ABSENT, State


def improve(state: State, items: Iterable[int]) -> None:
    """Move units of these items while that lowers the penalty; what gains most for its bytes comes first."""
    model = state.model
    units = sorted({model.unit_of[item] for item in items})
    free = {unit for unit in units if not model.stuck[unit] and state.place[unit] == model.home[unit]}
    queue = [(-one[0], *one[1:]) for unit in sorted(free) if (one := _best(state, unit)) is not None]
    heapify(queue)
    while queue:
        gain, unit, _ = heappop(queue)
        if unit not in free or (now := _best(state, unit)) is None:
            continue
        if -now[0] > gain:  # worth less than when it was queued, for others have moved since
            heappush(queue, (-now[0], *now[1:]))
            continue
        state.take(unit)
        state.put(unit, now[2])
        free.remove(unit)
        for other in _companions(state, unit) & free:
            if (one := _best(state, other)) is not None:
                heappush(queue, (-one[0], *one[1:]))
    for number, rule in enumerate(model.rules):
        if rule.weight and rule.kind is GroupKind.TOGETHER:
            _gather(state, number, free)


def _companions(state: State, unit: int) -> set[int]:
    """The units in the same Should groups."""
    model = state.model
    return {model.unit_of[item] for number, _ in model.soft[unit] for item in model.problem.groups[number].members}


def _wishes(state: State, unit: int) -> bool:
    """Whether anything could be better for the unit."""
    model = state.model
    return any(model.rules[number].violation(state.count[number]) for number, _ in model.soft[unit]) or any(
        model.problem.items[item].preference for item in model.members[unit]
    )


def _penalty(state: State, unit: int, where: int) -> int:
    """Of an absent unit there, its groups included; moves and bytes left out."""
    model = state.model
    own = sum(model.problem.items[item].preference.get(where, 0) for item in model.members[unit])
    return own + state.wishes(unit, where) // PENALTY


def _best(state: State, unit: int) -> tuple[float, int, int] | None:
    """(Gain per move and byte, unit, bin) of the best bin that is better than home."""
    model = state.model
    if not _wishes(state, unit):
        return None
    home = state.take(unit)
    now = _penalty(state, unit, home)
    best: tuple[float, int, int] | None = None
    for cost, where in model.options(unit):
        gain = now - _penalty(state, unit, where)
        if where == home or gain <= 0 or not state.fits(unit, where):
            continue
        worth = gain / (moves_in(cost) + (cost % PENALTY) / PENALTY)
        if best is None or worth > best[0]:
            best = worth, unit, where
    if best is not None and not _kept_without(state, unit, best[2]):
        best = None
    state.put(unit, home)
    return best


def _kept_without(state: State, unit: int, where: int) -> bool:
    """Whether no Must is worse with the absent unit there than it was: its leaving may unbalance those that SPREAD."""
    state.put(unit, where)
    model = state.model
    kept = all(
        model.rules[number].violation(state.count[number]) <= model.rules[number].at_first
        for number, _ in model.hard[unit]
    )
    state.take(unit)
    return kept


def _gather(state: State, number: int, free: set[int]) -> None:
    """Bring all members of a group that should be together into one domain, if all of them can go there."""
    model = state.model
    rule = model.rules[number]
    units = sorted({model.unit_of[item] for item in model.problem.groups[number].members})
    if not rule.violation(state.count[number]) or any(state.place[unit] == AS_IS for unit in units):
        return
    best: tuple[int, list[tuple[int, int]]] | None = None
    before = [(unit, state.place[unit]) for unit in units]
    for domain in range(len(state.count[number])):
        away = [unit for unit in units if rule.domain[state.place[unit]] != domain]
        if not set(away) <= free:
            continue
        old = _sum(state, away)
        put_back(state, [(unit, ABSENT) for unit in away])
        for unit in away:
            bins = [b for _, b in model.options(unit) if rule.domain[b] == domain and state.fits(unit, b)]
            if bins:
                state.put(unit, bins[0])
        if all(state.place[unit] != ABSENT for unit in away):
            cost = sum(model.price(unit, state.place[unit]) for unit in away)
            if _sum(state, away) < old and _musts_kept(state, away) and (best is None or cost < best[0]):
                best = cost, [(unit, state.place[unit]) for unit in units]
        put_back(state, before)
    if best is not None:
        put_back(state, best[1])


def _sum(state: State, units: list[int]) -> int:
    model = state.model
    own = sum(
        model.problem.items[item].preference.get(state.place[unit], 0) for unit in units for item in model.members[unit]
    )
    return own * PENALTY + state.unwished({number for unit in units for number, _ in model.soft[unit]})


def _musts_kept(state: State, units: list[int]) -> bool:
    rules = state.model.rules
    return all(
        rules[number].violation(state.count[number]) <= rules[number].at_first
        for unit in units
        for number, _ in state.model.hard[unit]
    )
