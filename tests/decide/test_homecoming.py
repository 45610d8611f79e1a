"""When maintenance is over, guests go home, while that still means something."""

from dataclasses import replace
from typing import Any

import pytest

from controller.decide import decide
from controller.model.ids import GuestIdentity, GuestKind, NodeName, ObjectRef, Vmid
from controller.model.observed import HaNodeState, NodeState, Observed, ReplicationJob
from controller.model.plan import Lane
from controller.model.reasons import Why
from controller.specs import Resource
from tests.decide.build import (
    apart,
    cluster,
    flight,
    guest,
    in_maintenance,
    maintenance,
    memory,
    node,
    only_on,
    origin,
    pve_node,
    seen,
    specs,
)

AWAY = guest(101, "pve2")
HOME = origin(AWAY, "pve1")
THREE = [node("pve1"), node("pve2"), node("pve3")]
LOOK = seen(THREE, [AWAY])


def test_a_guest_goes_home_when_the_label_is_gone() -> None:
    plan = decide(specs(), LOOK, memory(origins={101: HOME}))
    [move] = plan.moves
    assert (move.target, move.lane, move.why, move.returns) == ("pve1", Lane.RETURN, Why.RETURN_HOME, False)
    assert plan.forget_origins == ()


@pytest.mark.parametrize(
    "still", [in_maintenance("pve1"), in_maintenance("pve1", "cordon"), maintenance("m", "pve1", suspend=True)]
)
def test_a_guest_stays_away_while_there_is_any_maintenance(still: Resource) -> None:
    plan = decide(specs(still), LOOK, memory(origins={101: HOME}))
    assert (plan.moves, plan.forget_origins, set(plan.fine)) == ((), (), {101})


SHUT = [
    ({"state": NodeState.OFFLINE}, (), Why.TARGET_OFFLINE),
    ({"state": NodeState.UNKNOWN}, (), Why.TARGET_OFFLINE),
    ({"ha": HaNodeState.FENCE}, (), Why.TARGET_OFFLINE),
    ({}, (pve_node("pve1", unschedulable=True),), Why.TARGET_IN_MAINTENANCE),
]


@pytest.mark.parametrize(("state", "more", "why"), SHUT)
def test_a_guest_waits_for_a_home_that_is_not_back_yet(
    state: dict[str, Any], more: tuple[Resource, ...], why: Why
) -> None:
    look = seen([node("pve1", **state), *THREE[1:]], [AWAY])
    plan = decide(specs(cluster(maintenance={"followHaMaintenance": False}), *more), look, memory(origins={101: HOME}))
    assert [(word.vmid, word.why) for word in plan.waiting] == [(101, why)]
    assert plan.forget_origins == ()


def test_a_home_that_left_the_cluster_is_waited_for_by_name() -> None:
    plan = decide(specs(), seen(THREE[1:], [AWAY]), memory(origins={101: HOME}))
    assert "pve1 is not a node of the cluster" in plan.waiting[0].message


def test_a_guest_waits_for_room_at_home() -> None:
    look = seen([node("pve1", 6), *THREE[1:]], [AWAY, guest(102, "pve1", 4)])
    [word] = decide(specs(), look, memory(origins={101: HOME})).waiting
    assert word.why is Why.WAITING_FOR_ROOM
    assert "pve1 has 2 GiB of 6 GiB free" in word.message


def test_a_guest_waits_for_its_seat_at_home() -> None:
    look = seen(THREE, [AWAY, guest(102, "pve1")])
    [word] = decide(specs(apart("web", 101, 102)), look, memory(origins={101: HOME})).waiting
    assert word.why is Why.KEEP_APART
    assert "pve1 has VM 102 g102" in word.message


def test_a_running_replicated_vm_waits_until_a_job_leads_home() -> None:
    jobs = (ReplicationJob("101-0", Vmid(101), NodeName("pve3"), NodeName("pve2"), "*/15", False, False, ""),)
    [word] = decide(specs(), replace(LOOK, jobs=jobs), memory(origins={101: HOME})).waiting
    assert word.why is Why.NOT_A_REPLICATION_TARGET


def test_returns_wait_for_a_drain_that_is_under_way() -> None:
    look = seen(THREE, [AWAY, guest(102, "pve3")])
    plan = decide(specs(in_maintenance("pve3")), look, memory(origins={101: HOME}))
    assert [move.vmid for move in plan.moves] == [102]
    assert [(word.vmid, word.why) for word in plan.waiting] == [(101, Why.DRAIN_FIRST)]


def test_returns_do_not_wait_for_a_drain_that_can_do_nothing() -> None:
    look = seen(THREE, [AWAY, guest(102, "pve3", 999)])
    plan = decide(specs(in_maintenance("pve3")), look, memory(origins={101: HOME}))
    assert [move.vmid for move in plan.moves] == [101]


def _is(**change: Any) -> Observed:
    return seen(THREE, [guest(101, change.pop("on", "pve2"), **change)])


VOID = [
    ("moved by hand", _is(on="pve3"), ()),
    ("moved home by hand", _is(on="pve1"), ()),
    ("another guest", _is(identity=GuestIdentity(Vmid(101), GuestKind.QEMU, "ctime:7")), ()),
    ("another kind of guest", _is(kind=GuestKind.LXC), ()),
    ("no longer managed", _is(tags=("unmanaged",)), ()),
    ("managed by HA since", _is(ha_state="started"), ()),
    ("ruled out by a Must", LOOK, (only_on("p", ["pve2", "pve3"], 101),)),
    ("the template says Stay", LOOK, (cluster(maintenance={"template": {"afterMaintenance": "Stay"}}),)),
]


@pytest.mark.parametrize(("look", "more"), [row[1:] for row in VOID], ids=[row[0] for row in VOID])
def test_an_origin_that_means_nothing_any_more_is_forgotten(look: Observed, more: tuple[Resource, ...]) -> None:
    plan = decide(specs(*more), look, memory(origins={101: HOME}))
    assert plan.forget_origins == (101,)
    assert plan.moves == ()


@pytest.mark.parametrize(("after", "forgotten"), [("Return", ()), ("Stay", (101,)), ("Rebalance", ())])
def test_a_maintenance_may_change_its_mind_while_it_lasts(after: str, forgotten: tuple[int, ...]) -> None:
    away = origin(AWAY, "pve1", maintenance=ObjectRef("NodeMaintenance", "m"))
    plan = decide(specs(maintenance("m", "pve1", afterMaintenance=after)), LOOK, memory(origins={101: away}))
    assert plan.forget_origins == forgotten


def test_a_guest_that_is_not_seen_is_not_forgotten() -> None:
    assert decide(specs(), seen(THREE, []), memory(origins={101: HOME})).forget_origins == ()


def test_an_origin_is_not_judged_in_mid_flight() -> None:
    there = guest(101, "pve3")
    plan = decide(specs(), seen(THREE, [there]), memory([flight(there, "pve3", source="pve2")], {101: HOME}))
    assert plan.forget_origins == ()
    assert plan.flying == (101,)


def test_a_move_that_failed_leaves_the_guest_at_home_and_its_origin_for_the_next_try() -> None:
    at_home = guest(101, "pve1")
    plan = decide(specs(in_maintenance("pve1")), seen(THREE, [at_home]), memory(origins={101: origin(at_home, "pve1")}))
    assert (len(plan.moves), plan.forget_origins) == (1, ())


def test_two_guests_in_each_others_home_go_one_after_the_other() -> None:
    first, second = guest(101, "pve2", 5), guest(102, "pve1", 3)
    look = seen([node("pve1", 8), node("pve2", 7)], [first, second])
    plan = decide(specs(), look, memory(origins={101: origin(first, "pve1"), 102: origin(second, "pve2")}))
    assert [move.vmid for move in plan.moves] == [101]
    assert [(word.vmid, word.why) for word in plan.waiting] == [(102, Why.WAITING_FOR_ROOM)]
