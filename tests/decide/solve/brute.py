"""Every arrangement of a few items, judged without a line of the solver: the truth for tiny problems."""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import product

from controller.decide.solve.problem import Bin, Group, GroupKind, Item, Problem


def violation(problem: Problem, group: Group, places: tuple[int, ...]) -> int:
    """How far a group is from what it asks for."""
    count = Counter(
        group.domain[places[member]] for member in group.members if group.domain[places[member]] is not None
    )
    if group.kind is GroupKind.APART:
        return sum(max(0, here - group.limit) for here in count.values())
    if group.kind is GroupKind.TOGETHER:
        lost = {places[member] for member in group.members if group.domain[places[member]] is None}
        return len(count) + len(lost) - 1
    eligible = {
        domain
        for where, domain in enumerate(group.domain)
        if domain is not None
        and problem.bins[where].open
        and any((bins := problem.items[member].allowed) is None or where in bins for member in group.members)
    }
    if not eligible:
        return 0
    return max(0, max(count.values(), default=0) - min(count[domain] for domain in eligible) - group.limit)


def mistakes(problem: Problem, places: tuple[int, ...]) -> list[str]:
    """What no plan may do: break what was whole, or make worse what was broken."""
    before = tuple(item.at for item in problem.items)
    found = [
        f"group {number} is worse"
        for number, group in enumerate(problem.groups)
        if not group.weight and violation(problem, group, places) > violation(problem, group, before)
    ]
    for number, where in enumerate(places):
        if where != before[number]:
            found += _misplaced(problem, number, where)
    for where in range(len(problem.bins)):
        found += _overfull(problem, places, where)
    return found


def _misplaced(problem: Problem, number: int, where: int) -> Iterator[str]:
    item = problem.items[number]
    if item.fixed or None in item.need:
        yield f"item {number} may not move"
    if not problem.bins[where].open or (item.allowed is not None and where not in item.allowed):
        yield f"item {number} may not be on {where}"
    if any(number in group.members and not group.weight and group.domain[where] is None for group in problem.groups):
        yield f"item {number} comes to {where}, which has no domain"


def _overfull(problem: Problem, places: tuple[int, ...], where: int) -> Iterator[str]:
    for resource, room in enumerate(problem.bins[where].capacity):
        here = [item for item, place in zip(problem.items, places, strict=True) if place == where]
        was = [item.need[resource] for item in problem.items if item.at == where]
        if any(item.at != where and item.need[resource] for item in here):
            needs = sum(item.need[resource] or 0 for item in here)
            if room is None or None in was or sum(need or 0 for need in was) > room or needs > room:
                yield f"bin {where} is overfull"


def left(problem: Problem, places: tuple[int, ...]) -> list[int]:
    """Items that must leave and do not."""
    return [n for n, item in enumerate(problem.items) if item.must_leave and not item.fixed and places[n] == item.at]


def plans(problem: Problem) -> Iterator[tuple[int, ...]]:
    """Every arrangement without mistakes in which everything that must leave does."""
    choices = []
    for item in problem.items:
        elsewhere = [where for where in range(len(problem.bins)) if where != item.at and problem.bins[where].open]
        if item.fixed or None in item.need:
            elsewhere = []
        if not problem.movable_for_room and not item.must_leave:
            elsewhere = []
        choices.append(elsewhere if item.must_leave and not item.fixed else [item.at, *elsewhere])
    for places in product(*choices):
        if not mistakes(problem, places):
            yield places


def worth(problem: Problem, places: tuple[int, ...]) -> tuple[int, int, int]:
    """Moves, penalty, bytes: what plans are compared by."""
    moves = penalty = carried = 0
    for item, where in zip(problem.items, places, strict=True):
        penalty += item.preference.get(where, 0)
        if where != item.at:
            moves += 1
            carried += item.cost if isinstance(item.cost, int) else item.cost[where]
    penalty += sum(group.weight * violation(problem, group, places) for group in problem.groups if group.weight)
    return moves, penalty, carried


def tiny(seed: int, *, whole: bool = True) -> Problem:
    """At most seven items on at most four bins, tight; `whole`: no Must group is broken at the start."""
    dice = random.Random(seed)
    while True:
        problem = _tiny(dice)
        places = tuple(item.at for item in problem.items)
        if not whole or all(not violation(problem, group, places) for group in problem.groups if not group.weight):
            return problem


def _tiny(dice: random.Random) -> Problem:
    bins, items = dice.randint(2, 4), dice.randint(2, 7)
    sizes = [dice.choice((1, 2, 2, 3, 4, 5, 6, 8)) for _ in range(items)]
    at = [dice.randrange(bins) for _ in range(items)]
    drained = dice.randrange(bins)
    full = dice.uniform(0.7, 1.0)
    room = max(
        int(sum(sizes) / (bins - 1) / full),
        *(sum(s for s, b in zip(sizes, at, strict=True) if b == n) for n in range(bins)),
    )
    if dice.random() < 0.3:
        room = int(sum(sizes) / (bins - 1) / full) + 1
    own = tuple(range(bins))
    racks = tuple(dice.choice((0, 1, 1, None) if dice.random() < 0.2 else (0, 1)) for _ in range(bins))
    groups = []
    for _ in range(dice.choice((0, 1, 1, 2))):
        kind = dice.choice(tuple(GroupKind))
        members = frozenset(dice.sample(range(items), dice.randint(2, min(4, items))))
        domain = own if dice.random() < 0.6 else racks
        groups.append(Group(kind, members, domain, dice.choice((1, 1, 2)), dice.choice((0, 0, 0, 5))))
    return Problem(
        bins=tuple(
            Bin(
                (room, None if dice.random() < 0.02 else dice.randint(3, 8)), open=n != drained and dice.random() > 0.05
            )
            for n in range(bins)
        ),
        items=tuple(
            Item(
                at[n],
                (sizes[n], None if dice.random() < 0.02 else dice.choice((0, 1, 1, 2))),
                fixed=dice.random() < 0.05,
                must_leave=at[n] == drained,
                allowed=frozenset(dice.sample(own, dice.randint(1, bins))) if dice.random() < 0.15 else None,
                cost=sizes[n] << 20 if dice.random() < 0.8 else tuple(dice.randint(1, 9) << 20 for _ in own),
                preference={dice.randrange(bins): dice.randint(1, 3)} if dice.random() < 0.2 else {},
            )
            for n in range(items)
        ),
        groups=tuple(groups),
        movable_for_room=dice.random() < 0.85,
    )
