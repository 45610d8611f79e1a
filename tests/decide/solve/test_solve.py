"""`solve` against the truth: every arrangement of tiny problems, an exact solver's verdicts on small tight clusters, size."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from controller.decide.solve import solve
from controller.decide.solve.problem import Bin, Core, Group, GroupKind, Item, Problem, Proof, Shortage
from tests.bench.clusters import TIGHT, sized, tight
from tests.bench.oracle import verdicts
from tests.bench.placement import problem_of
from tests.decide.solve.brute import left, mistakes, plans, tiny, worth

SMALL_EFFORT = 20_000


@pytest.mark.parametrize("start", range(0, 600, 100))
def test_tiny_feasible_is_found_and_infeasible_is_named(start: int) -> None:
    for seed in range(start, start + 100):
        problem = tiny(seed)
        solution = solve(problem, effort=SMALL_EFFORT)
        assert not mistakes(problem, solution.places), seed
        assert list(solution.unplaced) == left(problem, solution.places), seed
        possible = [worth(problem, places) for places in plans(problem)]
        assert bool(possible) == (not solution.unplaced), seed
        assert bool(possible) == (Proof.INFEASIBLE not in solution.proof), seed
        assert bool(possible) == (not solution.cores), seed
        if possible:
            moves, penalty, carried = min(possible)
            assert solution.moves == moves, seed
            if Proof.MINIMAL_BYTES in solution.proof:
                assert (solution.penalty, solution.bytes) == (penalty, carried), seed


def test_tiny_never_makes_worse_what_is_broken() -> None:
    for seed in range(2000, 2200):
        problem = tiny(seed, whole=False)
        some = frozenset(range(0, len(problem.items), 2))
        solution = solve(replace(problem, soft_may_move=some), effort=5_000)
        assert not mistakes(problem, solution.places), seed


@pytest.mark.parametrize("kind", TIGHT)
def test_tight_clusters_are_all_solved_near_the_optimum(kind: str) -> None:
    gaps = []
    for seed in range(6):
        cluster = tight(kind, seed)
        assert cluster is not None
        verdict = verdicts()[cluster.digest()]
        problem = problem_of(cluster)
        solution = solve(problem)
        assert not mistakes(problem, solution.places)
        assert verdict.feasible
        assert not solution.unplaced
        assert solution.moves >= verdict.moves
        if Proof.MINIMAL_MOVES in solution.proof:
            assert solution.moves == verdict.moves
        gaps.append(solution.bytes / verdict.bytes - 1)
    assert sum(gaps) / len(gaps) <= 0.03


def test_only_what_is_on_the_node_moves_where_that_is_enough() -> None:
    for size in ("S", "M", "L"):
        cluster = sized(size)
        problem = problem_of(cluster)
        solution = solve(problem)
        assert solution.unplaced == ()
        assert not mistakes(problem, solution.places)
        assert solution.moves == sum(guest.node in cluster.maintenance for guest in cluster.guests)
        assert solution.proof == Proof.MINIMAL_MOVES | Proof.MINIMAL_BYTES


def test_equal_problems_get_equal_answers_in_every_process() -> None:
    script = (
        "from tests.bench.clusters import tight; from tests.bench.placement import problem_of;"
        "from controller.decide.solve import solve; c = tight('8/80 96%', 9); print(solve(problem_of(c), effort=60000).places)"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


OWN = (0, 1, 2)
GIB = 1 << 30


def _problem(*items: Item, room: int = 10, groups: tuple[Group, ...] = (), bins: int = 3) -> Problem:
    """Bin 0 is drained."""
    return Problem(tuple(Bin((room,), open=n > 0) for n in range(bins)), items, groups)


def _leaving(need: int, **other: object) -> Item:
    return replace(Item(0, (need,), must_leave=True, cost=need << 20), **other)  # type: ignore[arg-type]  # any field


def _staying(at: int, need: int, **other: object) -> Item:
    return replace(Item(at, (need,), cost=need << 20), **other)  # type: ignore[arg-type]  # any field


NAMED = {
    "too big for every bin": (_problem(_leaving(11)), Shortage.TOO_BIG, (0,)),
    "allowed nowhere": (_problem(_leaving(1, allowed=frozenset({0}))), Shortage.NO_BIN, (0,)),
    "more than there is": (_problem(_leaving(6), _leaving(6), _leaving(9)), Shortage.CAPACITY, (0, 1, 2)),
    "apart over too few": (
        _problem(_leaving(1), _leaving(1), _leaving(1), groups=(Group(GroupKind.APART, frozenset({0, 1, 2}), OWN),)),
        Shortage.DOMAINS, (0, 1, 2),
    ),
    "together and too big": (
        _problem(_leaving(6), _leaving(6), groups=(Group(GroupKind.TOGETHER, frozenset({0, 1}), OWN),)),
        Shortage.TOO_BIG, (0, 1),
    ),
    "three that leave room": (
        _problem(_leaving(5), _leaving(5), _leaving(5), _staying(1, 1), room=9), Shortage.EXHAUSTED, (0, 1, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_what_is_impossible_is_named_with_the_fewest_items(case: str) -> None:
    problem, shortage, items = NAMED[case]
    solution = solve(problem)
    assert Proof.INFEASIBLE in solution.proof
    assert [(core.shortage, core.items) for core in solution.cores] == [(shortage, items)]


def test_as_many_as_possible_leave_when_not_all_can() -> None:
    solution = solve(_problem(_leaving(11), _leaving(6), _leaving(6)))
    assert solution.unplaced == (0,)
    assert solution.moves == 2


def test_nothing_moves_when_nothing_is_wrong() -> None:
    solution = solve(_problem(_staying(1, 9), _staying(2, 1), _staying(0, 3)))
    assert (solution.moves, solution.cores) == (0, ())
    assert solution.proof == Proof.MINIMAL_MOVES | Proof.MINIMAL_BYTES


def test_the_last_plan_is_kept_while_it_is_possible() -> None:
    problem = _problem(_leaving(4), _staying(1, 5), _staying(2, 2))
    assert solve(problem).places[0] == 2
    assert solve(replace(problem, hint={0: 1})).places[0] == 1
    assert solve(replace(problem, hint={0: 0})).places[0] == 2  # no longer possible


def test_a_fresh_replica_decides_and_a_wish_decides_before_it() -> None:
    near = _leaving(4, cost=(0, 4 << 20, 1 << 20))
    assert solve(_problem(near, _staying(2, 5))).places[0] == 2
    assert solve(_problem(replace(near, preference={2: 1}))).places[0] == 1


def test_wishes_move_only_whom_they_may() -> None:
    wish = Group(GroupKind.APART, frozenset({0, 1}), OWN, weight=7)
    problem = _problem(_staying(1, 3), _staying(1, 2), groups=(wish,))
    assert (solve(problem).moves, solve(problem).penalty) == (0, 7)
    moved = solve(replace(problem, soft_may_move=frozenset({0, 1})))
    assert (moved.moves, moved.penalty, moved.voluntary) == (1, 0, frozenset({1}))  # the cheaper one


def test_a_group_that_shall_be_together_is_gathered_as_a_whole_or_not_at_all() -> None:
    wish = Group(GroupKind.TOGETHER, frozenset({0, 1, 2, 3}), OWN, weight=7)
    items = [_staying(1, 2), _staying(1, 2), _staying(2, 2), _staying(2, 2)]
    problem = replace(_problem(*items, groups=(wish,)), soft_may_move=frozenset(range(4)))
    assert solve(problem).moves == 2
    full = _problem(*items, _staying(1, 5), _staying(2, 5), groups=(wish,))
    assert solve(replace(full, soft_may_move=frozenset(range(4)))).moves == 0


def test_broken_musts_are_mended_with_the_fewest_moves() -> None:
    apart = Group(GroupKind.APART, frozenset({0, 1, 2}), OWN)
    solution = solve(_problem(_staying(1, 4), _staying(1, 1), _staying(2, 2), groups=(apart,), bins=3))
    assert (solution.moves, solution.broken) == (0, (0,))  # two open bins for three
    wide = Problem(
        tuple(Bin((10,)) for _ in OWN), solve_items := (_staying(1, 4), _staying(1, 1), _staying(2, 2)), (apart,)
    )
    mended = solve(wide)
    assert (mended.places, mended.broken) == ((1, 0, 2), ())
    assert len(solve_items) == 3


def test_unknown_needs_are_never_zero() -> None:
    unknown = Item(1, (None,))
    assert solve(_problem(_leaving(1), unknown, bins=2)).unplaced == (0,)
    solution = solve(_problem(Item(0, (None,), must_leave=True)))
    assert solution.cores == (Core(Shortage.UNKNOWN, (0,)),)


def test_who_is_apart_already_may_leave_one_by_one() -> None:
    together = Group(GroupKind.TOGETHER, frozenset({0, 1}), OWN)
    problem = _problem(_leaving(4), _staying(1, 4), _staying(1, 6), _staying(2, 6), groups=(together,))
    problem = replace(problem, items=tuple(replace(item, fixed=not item.must_leave) for item in problem.items))
    solution = solve(problem)
    assert solution.places == (2, 1, 1, 2)
    assert (solution.unplaced, solution.broken, solution.cores) == ((), (0,), ())


def test_nobody_leaves_alone_when_those_it_must_be_with_cannot() -> None:
    racks = Group(GroupKind.TOGETHER, frozenset({1, 2}), (1, 0, 2, 0))
    gone = replace(_staying(1, 1), must_leave=True)
    items = (replace(gone, need=(4,), allowed=frozenset({0})), replace(gone, need=(5,)), replace(gone, need=(2,)))
    problem = Problem((Bin((5,)), Bin((11,), open=False), Bin((5,)), Bin((1,))), items, (racks,))
    solution = solve(problem)
    assert solution.places == (0, 1, 1)
    assert solution.unplaced == (1, 2)
