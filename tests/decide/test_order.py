"""Which moves may start now: lanes, fairness, slots."""

from typing import Any

import pytest

from controller.decide import command_line, decide
from controller.model.ids import GuestKind, NodeName, Upid
from controller.model.memory import FlightPhase
from controller.model.observed import Power, Task
from controller.model.plan import Lane, Plan
from controller.model.reasons import Why
from tests.decide.build import (
    cluster,
    flight,
    guest,
    in_maintenance,
    memory,
    migration,
    node,
    only_on,
    origin,
    policy,
    pve_node,
    seen,
    specs,
)

FOUR = [node("pve1"), node("pve2"), node("pve3"), node("pve4")]
SIX = [guest(101 + i, "pve1") for i in range(6)]


def started(plan: Plan) -> list[int]:
    assert plan.unsafe == ()
    return [move.vmid for move in plan.moves]


LIMITS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], int]] = [
    ({}, {}, {}, 2),  # nobody knows the link
    ({"maxOutboundPerNode": 3}, {}, {}, 3),
    ({"maxOutboundPerNode": 3, "maxMigrations": 1}, {}, {}, 1),
    ({"maxOutboundPerNode": 3}, {}, {"maxOutbound": 1}, 1),  # the node's own word
    ({"maxOutboundPerNode": 9}, {}, {}, 4),  # one for each node
    (
        {},
        {"linkMiBps": 1250, "streamMiBps": 500},
        {},
        2,
    ),  # two streams fill 80 % of it; the next starts when one may end
    ({}, {"linkMiBps": 3125, "streamMiBps": 500}, {}, 5),
    ({}, {"linkMiBps": 1250, "streamMiBps": 500, "sharePercent": 70}, {}, 2),
    ({}, {"linkMiBps": 1200}, {}, 2),
    ({}, {"streamMiBps": 500, "linkMiBps": 1200}, {"linkMiBps": 400}, 1),
    ({"maxOutboundPerNode": 6, "maxMigrations": 6, "maxInboundPerNode": 1}, {}, {}, 3),
]


@pytest.mark.parametrize(("limits", "network", "own", "count"), LIMITS)
def test_as_many_start_as_the_limits_allow(
    limits: dict[str, Any], network: dict[str, Any], own: dict[str, Any], count: int
) -> None:
    source = pve_node("pve1", {"drover.dev/maintenance": "true"}, **own)
    plan = decide(specs(cluster(limits=limits, network=network), source), seen(FOUR, SIX), memory())
    assert started(plan) == [101 + i for i in range(count)]
    assert {(word.why, word.move is not None) for word in plan.waiting} == {(Why.SLOT_TAKEN, True)}


def test_a_target_that_takes_none_gets_none() -> None:
    narrow = pve_node("pve2", maxInbound=1)
    wanted = specs(
        cluster(limits={"maxOutboundPerNode": 4}),
        in_maintenance("pve1"),
        narrow,
        only_on("p", ["pve1", "pve2"], 101, 102),
    )
    plan = decide(wanted, seen(FOUR, SIX[:2]), memory())
    assert started(plan) == [101]
    assert "1 moves go to pve2, its limit is 1" in plan.waiting[0].message


def test_flights_hold_their_slots_until_their_task_ends() -> None:
    look, wanted = seen(FOUR, SIX), specs(in_maintenance("pve1"))
    assert started(decide(wanted, look, memory([flight(SIX[0], "pve2")]))) == [102]
    watched = flight(SIX[0], "pve2", phase=FlightPhase.VERIFYING)
    assert started(decide(wanted, look, memory([watched]))) == [102, 103]


def test_moves_of_others_hold_slots_too() -> None:
    task = Task(Upid("UPID:x"), NodeName("pve1"), "qmigrate", "101", "root@pam", 0, running=True)
    plan = decide(specs(in_maintenance("pve1")), seen(FOUR, SIX, tasks=(task,)), memory())
    assert started(plan) == [102]


def test_a_guest_that_is_only_watched_still_counts_on_its_source() -> None:
    """It was seen on pve2, but is not proven well: until then its place on pve1 is not given away."""
    arrived = guest(101, "pve2", 6)
    watched = flight(arrived, "pve2", source="pve1", phase=FlightPhase.VERIFYING)
    look = seen([node("pve1", 8), node("pve2"), node("pve3")], [arrived, guest(102, "pve3", 4)])
    plan = decide(specs(only_on("p", ["pve1"], 102)), look, memory([watched]))
    assert started(plan) == []
    assert [word.why for word in plan.waiting] == [Why.WAITING_FOR_ROOM]


def test_drains_come_before_repairs_and_repairs_before_returns() -> None:
    away = guest(104, "pve4")
    look = seen(FOUR, [guest(101, "pve1", 1), guest(103, "pve3", 9), away])
    limits = cluster(limits={"maxMigrations": 4})
    plan = decide(specs(limits, only_on("p", ["pve2"], 103)), look, memory(origins={104: origin(away, "pve2")}))
    assert [(move.vmid, move.lane) for move in plan.moves] == [(103, Lane.REPAIR), (104, Lane.RETURN)]
    plan = decide(specs(limits, in_maintenance("pve1"), only_on("p", ["pve2"], 103)), look, memory())
    assert [(move.vmid, move.lane) for move in plan.moves] == [(101, Lane.DRAIN), (103, Lane.REPAIR)]


def test_two_drains_take_turns() -> None:
    guests = [guest(101 + i, "pve1", 8) for i in range(3)] + [guest(201 + i, "pve2", 1) for i in range(3)]
    settings = cluster(safety={"maxUnavailableNodes": 2}, limits={"maxMigrations": 4, "maxInboundPerNode": 4})
    plan = decide(specs(settings, in_maintenance("pve1"), in_maintenance("pve2")), seen(FOUR, guests), memory())
    assert started(plan) == [101, 201, 102, 202]


def test_the_biggest_guests_leave_first() -> None:
    guests = [guest(101, "pve1", 1), guest(102, "pve1", 8), guest(103, "pve1", 4)]
    assert started(decide(specs(in_maintenance("pve1")), seen(FOUR, guests), memory())) == [102, 103]


def test_a_move_that_waits_for_its_slot_keeps_its_room() -> None:
    """101 is drained to pve2 as soon as there is a slot; the repair of 102 must not eat that room up meanwhile."""
    look = seen(
        [node("pve1"), node("pve2", 8), node("pve3"), node("pve4")], [guest(101, "pve1", 6), guest(102, "pve3", 4)]
    )
    rules = [only_on("a", ["pve1", "pve2"], 101), only_on("b", ["pve2"], 102)]
    closed = pve_node("pve1", {"drover.dev/maintenance": "true"}, maxOutbound=1)
    busy = memory([flight(guest(109, "pve1", 1), "pve4")])
    plan = decide(specs(closed, *rules), look, busy)
    assert started(plan) == []
    assert [(word.vmid, word.why) for word in plan.waiting] == [(101, Why.SLOT_TAKEN)]
    assert [(word.vmid, word.why) for word in plan.blocked] == [(102, Why.NO_TARGET_FITS)]


def test_the_plan_says_what_a_person_would_type() -> None:
    guests = [
        guest(101, "pve1", 9),
        guest(102, "pve1", 8, power=Power.STOPPED),
        guest(103, "pve1", 7, kind=GuestKind.LXC),
        guest(104, "pve1", 6, kind=GuestKind.LXC, power=Power.STOPPED),
    ]
    slow = migration("slow", {"vmids": [101, 103]}, bandwidthLimitMiBps=100)
    pinned = only_on("p", ["pve1", "pve2"], 101, 102, 103, 104)
    wanted = specs(
        cluster(limits={"maxOutboundPerNode": 9, "maxInboundPerNode": 9}), slow, pinned, in_maintenance("pve1")
    )
    lines = {int(move.vmid): command_line(move) for move in decide(wanted, seen(FOUR, guests), memory()).moves}
    assert lines == {
        101: "qm migrate 101 pve2 --online --bwlimit 102400",
        102: "qm migrate 102 pve2",
        103: "pct migrate 103 pve2 --restart --bwlimit 102400",
        104: "pct migrate 104 pve2",
    }


def test_a_drain_among_5000_guests_is_planned() -> None:
    nodes = [node(f"pve{i:02}", 2048) for i in range(32)]
    guests = [guest(1000 + i, f"pve{i % 32:02}", 2 + i % 8, tags=(f"app{i % 400}",)) for i in range(5000)]
    tags = [f"app{i}" for i in range(0, 400, 4)]
    groups = [policy(tag, {"tags": {"any": [tag]}}, keepApart={"maxPerDomain": 9}) for tag in tags]
    plan = decide(specs(cluster(), *groups, in_maintenance("pve07")), seen(nodes, guests), memory())
    assert plan.unsafe == ()
    assert len(plan.moves) == 2
    assert len(plan.fine) > 4000
