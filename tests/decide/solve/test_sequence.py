"""`sequence` against every order of a few moves, and its steps overlapped at random under an observer of every instant."""

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

import pytest

from controller.decide.solve import solve
from controller.decide.solve.problem import Bin, Group, GroupKind, Item, Problem
from controller.decide.solve.sequence import Sequence, Step, sequence
from tests.bench.checker import one_after_the_other, violations
from tests.bench.clusters import sized, tight
from tests.bench.placement import problem_of
from tests.decide.solve.brute import mistakes, tiny, violation


def broken_at(problem: Problem, holds: Mapping[int, set[int]], coming: int) -> list[str]:
    """What is wrong at this instant, each item being on all the bins it holds; `coming`: the item that has just started."""
    found = []
    target = next(iter(holds[coming] - {problem.items[coming].at}), None)
    for where, one in enumerate(problem.bins):
        for resource, room in enumerate(one.capacity):
            here = [n for n in holds if where in holds[n]]
            used = sum(problem.items[n].need[resource] or 0 for n in here)
            if where in holds[coming] and where != target and len(holds[coming]) > 1:
                continue  # its source is no fuller than it was
            if coming in here and problem.items[coming].need[resource] and (room is None or used > room):
                found.append(f"bin {where} is overfull")
    for number, group in enumerate(problem.groups):
        if group.weight or group.kind is GroupKind.TOGETHER or coming not in group.members:
            continue
        places = {n: {group.domain[where] for where in holds[n]} - {None} for n in group.members}
        for domain in places[coming]:
            others = sum(domain in places[n] for n in group.members if n != coming)
            came = group.domain[problem.items[coming].at] != domain
            if group.kind is GroupKind.APART and came and others >= group.limit:
                found.append(f"group {number} is not apart")
    return found


def overlap(problem: Problem, steps: tuple[Step, ...], leaving: Mapping[int, int], dice: random.Random) -> list[str]:
    """Run the steps with as much at once as `after` and `landed` allow, in an order of chance; what broke."""
    holds = {n: {item.at, leaving.get(n, item.at)} for n, item in enumerate(problem.items)}
    ended: set[int] = set()
    started: set[int] = set()
    flying = {n for n in leaving if leaving[n] != problem.items[n].at}
    found: list[str] = []
    while len(ended) < len(steps) or flying:
        ready = [
            n
            for n, step in enumerate(steps)
            if n not in started and set(step.after) <= ended and not set(step.landed) & flying
        ]
        choices = [("start", n) for n in ready] + [("end", n) for n in sorted(started - ended)]
        choices += [("land", n) for n in sorted(flying)]
        what, n = dice.choice(choices)
        if what == "start":
            started.add(n)
            assert holds[steps[n].item] == {steps[n].source}
            holds[steps[n].item].add(steps[n].target)
            found += broken_at(problem, holds, steps[n].item)
        elif what == "end":
            ended.add(n)
            holds[steps[n].item].discard(steps[n].source)
        else:
            flying.discard(n)
            holds[n] = {problem.items[n].at}
    return found


def reachable(problem: Problem, places: tuple[int, ...], *, detours: bool) -> bool:
    """Whether any order does it, one move at a time; with detours of those that move anyway."""
    start = tuple(item.at for item in problem.items)
    movers = [n for n in range(len(start)) if start[n] != places[n]]
    seen, queue = {start}, deque([start])
    while queue:
        state = queue.popleft()
        if state == places:
            return True
        for n in movers:
            for target in range(len(problem.bins)) if detours else (places[n],):
                item, following = problem.items[n], (*state[:n], target, *state[n + 1 :])
                allowed = problem.bins[target].open and (item.allowed is None or target in item.allowed)
                if target == state[n] or following in seen or not (allowed or target == places[n]):
                    continue
                if _may_start(problem, state, n, target):
                    seen.add(following)
                    queue.append(following)
    return False


def _may_start(problem: Problem, state: tuple[int, ...], n: int, target: int) -> bool:
    item = problem.items[n]
    for resource, room in enumerate(problem.bins[target].capacity):
        here = [one.need[resource] for one, where in zip(problem.items, state, strict=True) if where == target]
        need = item.need[resource]
        if need and (room is None or None in here or need + sum(other or 0 for other in here) > room):
            return False
    start = tuple(one.at for one in problem.items)
    for group in problem.groups:
        if group.weight or group.kind is GroupKind.TOGETHER or n not in group.members:
            continue
        domain = group.domain
        if domain[target] is None:
            return False
        there = sum(domain[state[m]] == domain[target] for m in group.members)
        if group.kind is GroupKind.APART and domain[target] != domain[state[n]] and there >= group.limit:
            return False
        if group.kind is GroupKind.SPREAD:
            arrived = (*state[:n], target, *state[n + 1 :])
            twice = replace(problem, items=(*problem.items, item))
            both = replace(group, members=group.members | {len(state)})
            on_the_way = violation(twice, both, (*state, target)) if domain[target] != domain[state[n]] else 0
            if max(on_the_way, violation(problem, group, arrived)) > violation(problem, group, start):
                return False
    return True


def instance(seed: int) -> tuple[Problem, tuple[int, ...]]:
    """A tiny problem and another arrangement of it that breaks nothing; most items move."""
    dice = random.Random(seed)
    while True:
        problem = tiny(dice.randrange(1 << 30))
        for _ in range(60):
            places = tuple(
                item.at if item.fixed or None in item.need or dice.random() < 0.3 else dice.randrange(len(problem.bins))
                for item in problem.items
            )
            if sum(a != item.at for a, item in zip(places, problem.items, strict=True)) > 1 and not mistakes(
                problem, places
            ):
                return problem, places


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_an_order_is_found_where_there_is_one_and_a_detour_only_where_there_is_none(start: int) -> None:
    for seed in range(start, start + 100):
        problem, places = instance(seed)
        found = sequence(problem, places)
        straight = reachable(problem, places, detours=False)
        assert straight == (not found.waiting and not any(step.detour for step in found.steps)), seed
        assert (straight or reachable(problem, places, detours=True)) == (not found.waiting), seed
        assert sequence(problem, places, may_detour=False).waiting or straight, seed
        _accounted(problem, places, found)


def test_steps_may_overlap_as_they_like_within_what_they_wait_for() -> None:
    dice = random.Random(1)
    for seed in range(400):
        problem, places = instance(seed)
        leaving = {}
        for n, item in enumerate(problem.items):  # some that stay have not quite arrived
            if places[n] == item.at and dice.random() < 0.4:
                leaving[n] = dice.randrange(len(problem.bins))
        found = sequence(problem, places, leaving=leaving)
        assert not overlap(problem, found.steps, leaving, dice), (seed, leaving)
        _accounted(problem, places, found)


def _accounted(problem: Problem, places: tuple[int, ...], found: Sequence) -> None:
    at = {n: item.at for n, item in enumerate(problem.items)}
    for step in found.steps:
        assert at[step.item] == step.source
        at[step.item] = step.target
    waiting = {one.item for one in found.waiting}
    assert {n for n in at if at[n] != places[n]} == waiting


def test_a_swap_in_a_full_cluster_goes_over_a_third_bin_only_when_nothing_else_will_leave() -> None:
    bins = (Bin((10,)), Bin((10,)), Bin((6,)))
    items = (Item(0, (6,), cost=6), Item(1, (5,), cost=5), Item(0, (4,), cost=4), Item(1, (5,), cost=5))
    problem = Problem(bins, items)
    found = sequence(problem, (1, 0, 0, 1))
    assert found.waiting[0].item == 0  # 6 + 5 do not fit together
    problem = replace(problem, items=(items[0], items[1], items[2], Item(1, (4,), cost=4)))
    found = sequence(problem, (1, 0, 0, 1))
    assert [(step.item, step.target, step.detour) for step in found.steps] == [
        (1, 2, True),
        (0, 1, False),
        (1, 0, False),
    ]
    assert found.steps[1].after == (0,)
    assert found.steps[2].after == (0, 1)
    assert sequence(problem, (1, 0, 0, 1), may_detour=False).waiting[0].leaves == (1,)
    room_comes = Problem((Bin((10,)), Bin((10,)), Bin((10,))), (*items[:1], Item(1, (4,)), items[2], Item(2, (4,))))
    assert [step.detour for step in sequence(room_comes, (1, 0, 0, 2)).steps] == [False, False]
    found = sequence(room_comes, (1, 0, 0, 2), leaving={3: 1})  # could go over bin 2, but what flies makes room soon
    assert [(step.item, step.landed, step.detour) for step in found.steps] == [(0, (3,), False), (1, (), False)]


def test_apart_holds_while_two_change_places() -> None:
    apart = Group(GroupKind.APART, frozenset({0, 1}), (0, 1, 2))
    problem = Problem((Bin((9,)), Bin((9,)), Bin((9,))), (Item(0, (1,)), Item(1, (1,))), (apart,))
    found = sequence(problem, (1, 2))
    assert [(step.item, step.after) for step in found.steps] == [(1, ()), (0, (0,))]
    assert [step.detour for step in sequence(problem, (1, 0)).steps] == [True, False, False]


def test_plans_of_tight_and_large_clusters_can_be_carried_out() -> None:
    clusters = [tight("5/40 96%", seed) for seed in range(8)] + [tight("8/80 96%", seed) for seed in range(3)]
    for cluster in [*clusters, sized("M"), sized("L")]:
        assert cluster is not None
        problem = problem_of(cluster)
        found = sequence(problem, solve(problem).places)
        assert not found.waiting, cluster.name
        moves = [(cluster.guests[step.item].vmid, cluster.nodes[step.target].name) for step in found.steps]
        assert violations(cluster, one_after_the_other(moves)) == []


def test_planning_anew_after_every_move_adds_none() -> None:
    for kind, seed in (("5/40 96%", 8), ("5/40 96%", 10), ("8/80 93%", 4), ("8/80 96%", 9)):
        cluster = tight(kind, seed)
        assert cluster is not None
        problem = problem_of(cluster)
        plan = solve(problem)
        moves, hint = 0, dict(enumerate(plan.places))
        while steps := sequence(problem, solve(replace(problem, hint=hint)).places).steps:
            moves += 1
            items = list(problem.items)
            items[steps[0].item] = replace(items[steps[0].item], at=steps[0].target, must_leave=False)
            problem = replace(problem, items=tuple(items))
        assert moves == plan.moves, (kind, seed)
        assert not any(item.must_leave for item in problem.items)
