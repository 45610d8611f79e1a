"""`balance` levels with few moves and touches no rule; `tolerates` tells the truth about failing nodes."""

from dataclasses import replace
from itertools import product

import pytest

from controller.decide.solve import solve
from controller.decide.solve.balance import balance
from controller.decide.solve.failures import Survival, tolerates
from controller.decide.solve.problem import Bin, Group, GroupKind, Item, Problem
from tests.bench.clusters import sized
from tests.bench.placement import problem_of, settled
from tests.decide.solve.brute import mistakes, tiny


@pytest.mark.parametrize(("size", "bound"), [("M", 85), ("L", 305)])
def test_a_drain_and_levelling_to_five_points_take_few_moves(size: str, bound: int) -> None:
    problem = problem_of(sized(size))
    drained = solve(problem)
    after = settled(problem, drained.places)
    level = balance(after, 0, 5, 1000)
    assert level.after <= 5 < level.before
    assert drained.moves + len(level.moves) <= bound
    places = list(drained.places)
    for item, target in level.moves:
        places[item] = target
    assert not mistakes(after, tuple(places))


def test_balance_never_breaks_a_must_nor_makes_the_spread_worse() -> None:
    for seed in range(300):
        problem = tiny(seed)
        level = balance(problem, 0, 10, 3)
        places = [item.at for item in problem.items]
        for item, target in level.moves:
            assert places[item] == problem.items[item].at, "moved twice"
            places[item] = target
        assert not mistakes(problem, tuple(places)), seed
        assert len(level.moves) <= 3
        assert level.after < level.before or not level.moves


def test_balance_takes_the_cheaper_of_equals_and_leaves_alone_what_is_level() -> None:
    bins = (Bin((100,)), Bin((100,)))
    items = (*(Item(0, (10,), cost=cost << 30) for cost in (7, 3, 5)), Item(0, (20,), cost=1 << 30))
    problem = Problem(bins, items)
    assert balance(problem, 0, 30, 9).moves in {((1, 1),), ((3, 1),)}
    assert balance(problem, 0, 60, 9).moves == ()
    apart = Group(GroupKind.APART, frozenset({0, 1}), (0, 1))
    assert balance(Problem(bins, (Item(0, (30,)), Item(1, (0,))), (apart,)), 0, 5, 9).moves == ()


def test_failures_are_survived_where_places_exist_and_not_where_sums_say_so() -> None:
    for seed in range(300):
        problem = tiny(seed)
        places = tuple(item.at for item in problem.items)
        found = tolerates(problem, places, 1)
        if found.survival is Survival.YES:
            assert all(_fits(problem, failing, found.stranded) for failing in set(places)), seed
        if found.survival is Survival.NO:
            assert not _fits(problem, found.bins[0], found.stranded), seed


def _fits(problem: Problem, failing: int, stranded: tuple[int, ...]) -> bool:
    lost = [n for n, item in enumerate(problem.items) if item.at == failing and n not in stranded]
    bins = [n for n, one in enumerate(problem.bins) if one.open and n != failing and None not in one.capacity]
    for choice in product(bins, repeat=len(lost)):
        went = dict(zip(lost, choice, strict=True))
        if any((bins_of := problem.items[n].allowed) is not None and where not in bins_of for n, where in went.items()):
            continue
        if all(_takes(problem, went, where) for where in set(choice)):
            return True
    return not lost


def _takes(problem: Problem, went: dict[int, int], where: int) -> bool:
    here = [item.need for n, item in enumerate(problem.items) if went.get(n, item.at) == where]
    came = [problem.items[n].need for n, bin_ in went.items() if bin_ == where]
    return all(
        not any(need[r] for need in came) or sum(need[r] or 0 for need in here) <= (room or 0)
        for r, room in enumerate(problem.bins[where].capacity)
    )


def test_large_clusters_survive_two_failures_when_there_is_room() -> None:
    problem = problem_of(sized("M"))
    places = solve(problem).places
    assert tolerates(problem, places, 1).survival is Survival.YES
    full = replace(problem, bins=tuple(replace(one, capacity=(one.capacity[0] or 0, 1)) for one in problem.bins))
    assert tolerates(full, places, 1).survival is Survival.NO
