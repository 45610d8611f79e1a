"""Which moves may start now: lanes, fairness, slots."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide import command_line, decide
from controller.model.ids import GuestKind, NodeName, ObjectRef, Upid, Vmid
from controller.model.memory import Backoff, Flight, FlightPhase
from controller.model.observed import Power, Task
from controller.model.plan import Lane, Plan
from controller.model.reasons import Why
from tests.decide.build import (
    AT,
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


# Several drains at once

ONE_BY_ONE = cluster(
    safety={"maxUnavailableNodes": 3}, limits={"maxMigrations": 2, "maxOutboundPerNode": 9, "maxInboundPerNode": 9}
)


@pytest.mark.parametrize(("flying", "next_one"), [("pve1", 201), ("pve2", 101)])
def test_a_slot_that_becomes_free_goes_to_the_drain_that_has_fewer_moves_under_way(flying: str, next_one: int) -> None:
    guests = [guest(101 + i, "pve1", 8) for i in range(3)] + [guest(201 + i, "pve2", 1) for i in range(3)]
    gone = next(who for who in reversed(guests) if who.node == flying)
    cause = ObjectRef("NodeMaintenance", f"label-{flying}")
    plan = decide(
        specs(ONE_BY_ONE, in_maintenance("pve1"), in_maintenance("pve2")),
        seen(FOUR, guests),
        memory([flight(gone, "pve3", cause=cause)]),
    )
    assert started(plan) == [next_one]
    assert {word.why for word in plan.waiting} == {Why.SLOT_TAKEN}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=3),
    st.integers(2, 4),
    st.lists(st.integers(0, 9), min_size=20, max_size=20),
)
def test_no_drain_starves_while_another_is_done_first(counts: list[int], slots: int, ends: list[int]) -> None:
    """Whoever's move ends first: drains that still have guests waiting differ by one move under way at most."""
    draining = [f"pve{1 + i}" for i in range(len(counts))]
    guests = {
        Vmid(100 * n + i): guest(100 * n + i, f"pve{n}", 1 + i % 4)
        for n, count in enumerate(counts, 1)
        for i in range(count)
    }
    limits = {"maxMigrations": slots, "maxOutboundPerNode": 9, "maxInboundPerNode": 9}
    wanted = specs(
        cluster(safety={"maxUnavailableNodes": 3}, limits=limits), *[in_maintenance(name) for name in draining]
    )
    flights: dict[Vmid, Flight] = {}
    for end in ends:
        plan = decide(wanted, seen([*FOUR, node("pve5")], guests.values()), memory(flights.values()))
        assert plan.unsafe == ()
        for move in plan.moves:
            flights[move.vmid] = flight(guests[move.vmid], move.target, cause=move.cause)
        waiting = {guests[word.vmid].node for word in plan.waiting}
        flying = Counter(one.source for one in flights.values())
        under_way = [flying[name] for name in waiting]
        assert max(under_way, default=0) - min(under_way, default=0) <= 1
        if not flights:
            break
        done = flights.pop(sorted(flights)[end % len(flights)])
        guests[done.vmid] = replace(guests[done.vmid], node=done.target)
    assert sum(who.node in draining for who in guests.values()) <= max(0, sum(counts) - len(ends))


# What takes the place of a move that fails, and what a move of another kind takes


def test_another_guest_takes_the_slot_of_a_move_that_has_failed() -> None:
    wanted, look = specs(cluster(limits={"maxOutboundPerNode": 1}), in_maintenance("pve1")), seen(FOUR, SIX)
    assert started(decide(wanted, look, memory())) == [101]
    again = Backoff(SIX[0].identity, 1, AT + 20, Why.MIGRATION_FAILED, "the disk is full")
    plan = decide(wanted, look, memory(backoffs={101: again}))
    assert started(plan) == [102]
    assert {word.vmid: word.why for word in plan.waiting}[Vmid(101)] is Why.BACKING_OFF


def test_a_voluntary_move_under_way_is_counted_when_a_drain_begins() -> None:
    """It ends by itself: nobody stops it, and the limit of the cluster holds for both together."""
    away = guest(201, "pve2")
    wanted = specs(cluster(limits={"maxMigrations": 2}, balance={"tolerancePercent": 15}), in_maintenance("pve1"))
    balancing = flight(away, "pve3", lane=Lane.BALANCE, why=Why.BALANCE, cause=ObjectRef("PveCluster", "default"))
    plan = decide(wanted, seen(FOUR, [*SIX, away]), memory([balancing]))
    assert started(plan) == [101]
    assert plan.flying == (201,)
    assert {move.lane for move in plan.all_moves} == {Lane.DRAIN}
    assert "2 moves are under way, the limit of the cluster is 2" in plan.waiting[0].message
