"""Moves that nothing forces: when, how many, and never beside anything else."""

from dataclasses import replace
from typing import Any

import pytest

from controller.decide import decide
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.memory import Memory, Origin
from controller.model.observed import Guest, Observed, Power
from controller.model.plan import Lane, Load, Plan
from controller.model.reasons import Why
from controller.specs import Specs
from tests.decide.build import (
    AT,
    GIB,
    applied,
    cluster,
    flight,
    guest,
    in_maintenance,
    memory,
    migration,
    node,
    origin,
    policy,
    seen,
    specs,
)

SETTLED = {"stabilizationSeconds": 0}
CROWDED = [guest(101 + i, "pve1", 8) for i in range(6)]
LOOK = seen([node(f"pve{i}") for i in (1, 2, 3)], CROWDED)


def balanced(**spec: Any) -> Specs:
    return specs(cluster(**{"balance": {"tolerancePercent": 15}, "hysteresis": SETTLED, **spec}))


def moves(plan: Plan) -> list[Vmid]:
    assert plan.unsafe == ()
    return [move.vmid for move in plan.all_moves]


def test_balance_is_off_unless_it_is_asked_for() -> None:
    assert moves(decide(specs(), LOOK, memory())) == []


def test_balance_levels_the_nodes_with_few_moves_and_is_then_quiet() -> None:
    plan = decide(balanced(), LOOK, memory())
    assert len(moves(plan)) == 4
    assert {(move.lane, move.why) for move in plan.all_moves} == {(Lane.BALANCE, Why.BALANCE)}
    assert plan.all_moves[0].message.startswith(
        "nodes differ by 75 points in how much of their memory is taken, afterwards by"
    )
    assert moves(decide(balanced(), applied(LOOK, plan.all_moves), memory())) == []


def test_vcpus_can_be_levelled_instead() -> None:
    look = seen(
        [node("pve1", 640, cpus=4), node("pve2", 640, cpus=4)], [guest(101 + i, "pve1", 1, cpus=2) for i in range(6)]
    )
    assert len(moves(decide(balanced(balance={"resource": "Cpu", "tolerancePercent": 15}), look, memory()))) == 3


@pytest.mark.parametrize(
    "spec",
    [
        {"balance": {"tolerancePercent": 15, "suspend": True}},
        {"balance": {"tolerancePercent": 80}},
        {"limits": {"maxMovesPerHour": 0}},
        {"capacity": {"tolerateNodeFailures": 0}, "suspend": False, "balance": None},
    ],
)
def test_what_holds_balance_back(spec: dict[str, Any]) -> None:
    assert moves(decide(balanced(**spec), LOOK, memory())) == []


@pytest.mark.parametrize(("percent", "moving"), [(50, True), (90, False)])
def test_what_improves_too_little_is_left_alone(percent: int, moving: bool) -> None:
    """Five guests on three nodes can't be level: two, two and one are."""
    look = seen(LOOK.nodes.values(), CROWDED[:5])
    wanted = balanced(balance={"tolerancePercent": 5}, hysteresis={**SETTLED, "minImprovementPercent": percent})
    assert bool(moves(decide(wanted, look, memory()))) == moving


def test_nothing_voluntary_beside_a_drain_or_a_move_for_another_reason() -> None:
    wanted = Specs.of([*balanced(), in_maintenance("pve3")])
    assert moves(decide(wanted, LOOK, memory())) == []
    assert moves(decide(balanced(), LOOK, memory([flight(CROWDED[0], "pve2")]))) == []


def test_a_reason_has_to_last_and_says_so_meanwhile() -> None:
    wanted = balanced(hysteresis={"stabilizationSeconds": 300})
    first = decide(wanted, LOOK, memory())
    assert moves(first) == []
    assert {word.why for word in first.waiting} == {Why.STABILIZING}
    assert first.restless_since == AT
    later = replace(LOOK, at=AT + 301)
    assert moves(decide(wanted, later, replace(memory(), restless_since=first.restless_since)))


def lately(seconds: float, *vmids: int) -> Memory:
    return replace(memory(), voluntary=tuple((Vmid(vmid), AT - seconds) for vmid in vmids))


def test_limits_of_the_hour_the_day_and_the_guest() -> None:
    few = balanced(limits={"maxMovesPerHour": 2})
    assert len(moves(decide(few, LOOK, memory()))) == 2
    assert moves(decide(few, LOOK, lately(60, 901, 902))) == []
    assert len(moves(decide(few, LOOK, lately(3700, 901, 902)))) == 2
    cooling = decide(balanced(), LOOK, lately(600, 101, 102, 103, 104))
    assert set(moves(cooling)) <= {105, 106}
    often = lately(7200, *([101] * 3), *([102] * 3), *([103] * 3), *([104] * 3))
    assert set(moves(decide(balanced(), LOOK, often))) <= {105, 106}


def wish(**spec: Any) -> Specs:
    rule = policy("east", {"vmids": [101]}, nodeAffinity={"nodes": ["pve2"]}, enforcement="Should", **spec)
    return specs(cluster(hysteresis=SETTLED), rule)


def two() -> Observed:
    return seen([node("pve1"), node("pve2"), node("pve3")], [guest(101, "pve1"), guest(102, "pve1")])


def test_a_should_moves_nobody_unless_it_says_so() -> None:
    assert moves(decide(wish(), two(), memory())) == []
    plan = decide(wish(correctExisting=True), two(), memory())
    assert [(move.vmid, move.target, move.lane) for move in plan.all_moves] == [(101, "pve2", Lane.BALANCE)]
    assert plan.all_moves[0].message.startswith("PlacementPolicy/east would rather have it on pve2")


def test_a_should_waits_while_a_node_is_emptied_and_is_not_even_announced() -> None:
    wish = policy("p", {"vmids": [101]}, enforcement="Should", correctExisting=True, nodeAffinity={"nodes": ["pve2"]})
    calm = specs(cluster(hysteresis=SETTLED), wish)
    assert moves(decide(calm, LOOK, memory())) == [101]
    plan = decide(Specs.of([*calm, in_maintenance("pve3")]), LOOK, memory())
    assert (moves(plan), plan.waiting) == ([], ())
    leaving = seen(LOOK.nodes.values(), [*CROWDED, guest(301, "pve3")])
    plan = decide(Specs.of([*calm, in_maintenance("pve3")]), leaving, memory())
    assert moves(plan) == [301]


def test_a_should_decides_where_a_guest_goes_that_moves_anyway() -> None:
    wanted = Specs.of([*wish(), in_maintenance("pve1")])
    assert {move.vmid: move.target for move in decide(wanted, two(), memory()).all_moves}[Vmid(101)] == "pve2"


# N+k


def test_a_drain_that_would_cost_the_spare_node_is_not_made_and_says_so() -> None:
    look = seen([node(f"pve{i}", 64) for i in (1, 2, 3)], [guest(100 + i, f"pve{i}", 40) for i in (1, 2)])
    wanted = specs(cluster(capacity={"tolerateNodeFailures": 1}), in_maintenance("pve1"))
    free = specs(in_maintenance("pve1"))
    assert len(moves(decide(free, look, memory()))) == 1
    plan = decide(wanted, look, memory())
    assert moves(plan) == []
    [word] = plan.blocked
    assert word.why is Why.CAPACITY_INSUFFICIENT
    assert "have to find room" in word.message


def test_the_plan_tells_whether_the_cluster_bears_a_failure() -> None:
    enough = seen([node(f"pve{i}", 64) for i in (1, 2, 3)], [guest(101, "pve1", 30)])
    asked = specs(cluster(capacity={"tolerateNodeFailures": 1}))
    assert decide(specs(), enough, memory()).reserve is None
    told = decide(asked, enough, memory()).reserve
    assert told is not None
    assert told.sufficient
    full = seen([node("pve1", 64), node("pve2", 64)], [guest(101, "pve1", 60), guest(102, "pve2", 60)])
    told = decide(asked, full, memory()).reserve
    assert told is not None
    assert not told.sufficient
    assert "60 GiB have to find room, and the others have 4 GiB" in told.message


def test_what_nodes_hold_and_what_is_left_when_the_largest_fails_is_told_in_bytes() -> None:
    nodes = [node("pve1", 64), node("pve2", 128), node("pve3", 64)]
    look = seen(nodes, [guest(101, "pve1", 30), guest(102, "pve1", 10, power=Power.STOPPED)])
    plan = decide(specs(cluster(capacity={"tolerateNodeFailures": 1})), look, memory())
    assert plan.loads[NodeName("pve1")] == Load(64 * GIB, 30 * GIB, 2)
    assert plan.loads[NodeName("pve2")] == Load(128 * GIB, 0, 0)
    assert plan.spare_bytes == (64 + 64 - 30) * GIB
    assert decide(specs(), look, memory()).spare_bytes == (256 - 30) * GIB
    drained = decide(specs(in_maintenance("pve2")), look, memory())
    assert drained.spare_bytes == (128 - 30) * GIB, "a node in maintenance takes nobody"
    assert decide(specs(), seen([*nodes, node("pve4", None)], []), memory()).spare_bytes is None


def test_guests_that_ha_balances_are_left_to_it() -> None:
    """Even where PVE HA is ignored otherwise: the two would undo each other's moves."""
    managed = [replace(who, ha_state="started") for who in CROWDED[:3]] + CROWDED[3:]
    look = seen(list(LOOK.nodes.values()), managed)
    wanted = balanced(ha={"coexistence": "Ignore"})
    assert {101, 102, 103}.intersection(moves(decide(wanted, look, memory())))
    told = decide(wanted, replace(look, ha_balances=True), memory())
    assert moves(told)
    assert not {101, 102, 103}.intersection(moves(told))


def test_guests_that_may_not_be_moved_count_where_they_are() -> None:
    stays = [guest(101 + i, "pve1", 8, tags=["unmanaged"] if i > 2 else []) for i in range(6)]
    plan = decide(balanced(), seen([node(f"pve{i}") for i in (1, 2, 3)], stays), memory())
    assert "differ by 75 points" in plan.all_moves[0].message


# Guests that a maintenance has freed


def left(who: Guest, home: str = "pve2") -> Origin:
    return origin(who, home, maintenance=ObjectRef("NodeMaintenance", "firmware"), rebalances=True)


FREED = {v: left(CROWDED[v - 101]) for v in (101, 102, 103)}


def freed(**spec: Any) -> Plan:
    return decide(specs(cluster(hysteresis=SETTLED, **spec)), LOOK, memory(origins=FREED))


def test_guests_that_a_maintenance_has_freed_are_balanced_although_nothing_else_is() -> None:
    plan = freed()
    assert set(moves(plan)) <= FREED.keys()
    assert moves(plan) != []
    assert {(move.lane, move.cause.name) for move in plan.all_moves} == {(Lane.BALANCE, "firmware")}
    assert plan.all_moves[0].message.startswith("the maintenance of pve2 is over; nodes differ by 75 points")
    assert plan.forget_origins == ()


def test_each_is_moved_once_at_most_and_all_are_forgotten_then() -> None:
    look, homes = LOOK, dict(FREED)
    while (plan := decide(specs(cluster(hysteresis=SETTLED)), look, memory(origins=homes))).all_moves:
        assert homes.keys() >= set(moves(plan))
        look = applied(look, plan.all_moves)
        homes = {vmid: home for vmid, home in homes.items() if vmid not in moves(plan)}
    assert sorted(plan.forget_origins) == sorted(homes)


def test_freed_guests_of_level_nodes_are_forgotten_and_not_moved() -> None:
    level = seen([node(f"pve{i}") for i in (1, 2, 3)], [guest(101, "pve1"), guest(102, "pve2"), guest(103, "pve3")])
    homes = {101: left(level.guests[Vmid(101)])}
    plan = decide(specs(), level, memory(origins=homes))
    assert (moves(plan), plan.forget_origins) == ([], (101,))


@pytest.mark.parametrize(
    "spec", [{"suspend": True}, {"balance": {"suspend": True}}, {"limits": {"maxMovesPerHour": 0}}], ids=str
)
def test_what_holds_balance_back_holds_them_back_and_forgets_nobody(spec: Any) -> None:
    plan = freed(**spec)
    assert (moves(plan), plan.forget_origins) == ([], ())


def test_they_wait_while_a_node_is_emptied() -> None:
    plan = decide(specs(cluster(hysteresis=SETTLED), in_maintenance("pve3")), LOOK, memory(origins=FREED))
    assert (moves(plan), plan.forget_origins) == ([], ())


def test_one_that_a_closed_window_keeps_is_remembered() -> None:
    windows = [
        {"name": "always", "schedule": "0 0 * * *", "durationSeconds": 86400, "kind": "Allow"},
        {"name": "nights", "schedule": "0 22 * * *", "durationSeconds": 3600, "kind": "Allow"},
    ]
    asleep = migration("calm", {}, windows=["nights"])
    look = seen([node(f"pve{i}") for i in (1, 2, 3)], [guest(101 + i, "pve1", 8) for i in range(6)])
    plan = decide(specs(cluster(hysteresis=SETTLED, windows=windows), asleep), look, memory(origins=FREED))
    assert (moves(plan), plan.forget_origins) == ([], ())


@pytest.mark.parametrize("change", [{"on": "pve3"}, {"tags": ("unmanaged",)}], ids=str)
def test_one_that_was_moved_by_hand_or_is_not_ours_any_more_is_forgotten(change: Any) -> None:
    look = seen([node(f"pve{i}") for i in (1, 2, 3)], [guest(101, change.pop("on", "pve1"), 60, **change)])
    away = left(CROWDED[0])
    plan = decide(specs(), look, memory(origins={101: away}))
    assert (moves(plan), plan.forget_origins) == ([], (101,))
