"""Why not everything can have a place, shown by arithmetic: what `plan` may call infeasible. Called by `solve.solver`.

Nothing here searches for places; each core stands for itself and can be recomputed by hand.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

from controller.decide.solve.model import Model
from controller.decide.solve.problem import Core, GroupKind, Shortage

_FEW = 12
"""Of so many different sets of bins the pairs are looked at, too,"""
_MANY = 2_000
"""if there are not more units than this."""


def cores(model: Model, loose: Sequence[bool], must: Sequence[int]) -> tuple[Core, ...]:
    """Proofs that the units that must move cannot all be placed; empty when arithmetic alone shows none.

    loose: per unit, whether it may be moved at all.
    """
    found = [*_together(model, loose), *_apart(model, loose)]
    if not found:
        found += _room(model, loose, must)
    return tuple(found)


def alone(model: Model, unit: int) -> Core | None:
    """Why this unit has no place whatever the others do."""
    items = model.members[unit]
    if model.stuck[unit] and model.must[unit]:
        return Core(Shortage.UNKNOWN, items)
    if not model.must[unit] or model.options(unit):
        return None
    bins = _allowed(model, unit)
    group = next(
        (
            number
            for number, one in enumerate(model.problem.groups)
            if one.kind is GroupKind.TOGETHER and not one.weight and one.members <= set(items)
        ),
        None,
    )
    if not bins:
        return Core(Shortage.NO_BIN if len(items) == 1 else Shortage.TOGETHER, items, group=group)
    for resource, need in model.needs[unit]:
        rooms = [model.capacity[where * model.resources + resource] for where in bins]
        if max(rooms) < need:
            return Core(Shortage.TOO_BIG, items, bins, resource, group, need, max(0, *rooms, 0))
    return Core(Shortage.NO_BIN, items, bins, group=group)


def _allowed(model: Model, unit: int) -> tuple[int, ...]:
    """The open bins all members may be on, whatever their size."""
    items = [model.problem.items[member] for member in model.members[unit]]
    left = {item.at for item in items if item.must_leave}
    bound = [item.at for item in items if item.fixed]
    return tuple(
        where
        for where, one in enumerate(model.problem.bins)
        if one.open
        and where not in left
        and all(there == where for there in bound)
        and all(item.allowed is None or where in item.allowed for item in items)
    )


def possible(model: Model, loose: Sequence[bool], unit: int) -> list[int]:
    """The bins the unit may be on in any plan; where it is, unless it must leave."""
    if loose[unit]:
        return [where for _, where in model.options(unit)]
    return [model.home[unit]] if model.home[unit] >= 0 else []


def _together(model: Model, loose: Sequence[bool]) -> Iterator[Core]:
    """Groups over racks and the like whose members that must leave find no rack for all."""
    for number, rule in enumerate(model.rules):
        if rule.kind is not GroupKind.TOGETHER or rule.weight or rule.at_first:
            continue
        units = sorted({model.unit_of[member] for member in model.problem.groups[number].members})
        if len(units) < 2 or not any(model.must[unit] for unit in units):
            continue
        common = set.intersection(*({rule.domain[b] for b in possible(model, loose, unit)} for unit in units))
        if not common:
            yield Core(Shortage.TOGETHER, tuple(sorted(model.problem.groups[number].members)), group=number)


def _apart(model: Model, loose: Sequence[bool]) -> Iterator[Core]:
    """Groups with more members than all domains open to them can take: a matching that is too small shows which members."""
    for number, rule in enumerate(model.rules):
        if rule.kind is not GroupKind.APART or rule.weight:
            continue
        units = sorted({model.unit_of[member] for member in model.problem.groups[number].members})
        if rule.at_first:  # of those that are too many together already, who need not leave may stay so
            units = [unit for unit in units if model.must[unit]]
        if not any(model.must[unit] for unit in units):
            continue
        reach = {unit: sorted({rule.domain[b] for b in possible(model, loose, unit)} - {-1}) for unit in units}
        many = {unit: count for unit in units for other, count in model.hard[unit] if other == number}
        if any(-1 in {rule.domain[b] for b in possible(model, loose, unit)} for unit in units):
            continue  # at home on a bin without a domain, where nobody counts
        stuck = _unmatched({unit: reach[unit] for unit in units if many[unit] == 1}, rule.limit)
        if stuck:
            domains = {domain for unit in stuck for domain in reach[unit]}
            bins = tuple(
                where for where in range(model.bins) if rule.domain[where] in domains and model.problem.bins[where].open
            )
            items = tuple(
                sorted(
                    member
                    for unit in stuck
                    for member in model.members[unit]
                    if member in model.problem.groups[number].members
                )
            )
            yield Core(Shortage.DOMAINS, items, bins, None, number, len(items), rule.limit * len(domains))


def _unmatched(reach: dict[int, list[int]], limit: int) -> list[int]:
    """Units that compete for too few domains, each of which takes so many; empty when all find one."""
    taken: dict[int, list[int]] = defaultdict(list)

    def find(unit: int, tried: set[int]) -> bool:
        for domain in reach[unit]:
            if domain in tried:
                continue
            tried.add(domain)
            if len(taken[domain]) < limit:
                taken[domain].append(unit)
                return True
            for n, other in enumerate(taken[domain]):
                if find(other, tried):
                    taken[domain][n] = unit
                    return True
        return False

    for unit in reach:
        tried: set[int] = set()
        if not find(unit, tried):
            return sorted({unit, *(other for domain in tried for other in taken[domain])})
    return []


def _room(model: Model, loose: Sequence[bool], must: Sequence[int]) -> Iterator[Core]:
    """Sets of bins on which more has to be than there is room for: all open bins, and those of single units and groups."""
    reach = [frozenset(possible(model, loose, unit)) for unit in range(len(model.members))]
    candidates = {reach[unit] for unit in must}
    if len(candidates) <= _FEW and len(model.members) <= _MANY:
        candidates |= {one | other for one, other in combinations(candidates, 2)}
    candidates.add(frozenset(where for where, one in enumerate(model.problem.bins) if one.open))
    for bins in sorted(candidates, key=lambda some: (len(some), sorted(some))):
        for resource in range(model.resources):
            core = _too_much(model, reach, bins, resource)
            if core is not None:
                yield core
                return


def _too_much(model: Model, reach: list[frozenset[int]], bins: frozenset[int], resource: int) -> Core | None:
    rooms = {where: model.capacity[where * model.resources + resource] for where in bins}
    usable = {where for where, room in rooms.items() if room >= 0}
    confined = []
    for unit, where in enumerate(reach):
        need = dict(model.needs[unit]).get(resource, 0)
        # On a bin that takes nothing of this resource live only those who need no room elsewhere.
        if need and where and where <= usable:
            confined.append((need, unit))
    need, room = sum(need for need, _ in confined), sum(rooms[where] for where in usable)
    if need <= room:
        return None
    kept = sorted(confined, reverse=True)
    while kept and sum(size for size, _ in kept) - kept[-1][0] > room:
        kept.pop()
    items = tuple(sorted(member for _, unit in kept for member in model.members[unit]))
    return Core(Shortage.CAPACITY, items, tuple(sorted(usable)), resource, None, sum(size for size, _ in kept), room)
