"""Musts that do not hold are mended with the fewest moves; those that hold are left alone."""

from typing import Any

import pytest

from controller.decide import decide
from controller.model.ids import Vmid
from controller.model.observed import NodeState, Power
from controller.model.plan import Lane, Plan
from controller.model.reasons import Why
from tests.decide.build import (
    apart,
    cluster,
    flight,
    guest,
    memory,
    migration,
    node,
    only_on,
    origin,
    policy,
    pve_node,
    replication,
    seen,
    specs,
)

THREE = [node("pve1"), node("pve2"), node("pve3")]


def targets(plan: Plan) -> dict[int, str]:
    assert plan.unsafe == ()
    return {move.vmid: move.target for move in plan.moves}


# Nodes


def test_a_guest_on_a_wrong_node_goes_to_the_preferred_one() -> None:
    plan = decide(
        specs(only_on("gpu", ["pve3", "pve2"], 101)), seen(THREE, [guest(101, "pve1"), guest(102, "pve1")]), memory()
    )
    [move] = plan.moves
    assert (move.vmid, move.target, move.lane, move.why) == (101, "pve3", Lane.REPAIR, Why.NODE_AFFINITY)
    assert move.message == "PlacementPolicy/gpu wants it on pve3, pve2; pve3 comes first in the policy's order"
    [violation] = plan.violations
    assert (violation.vmids, violation.why) == ((101,), Why.NODE_AFFINITY)


def test_any_of_the_allowed_nodes_is_right_and_nobody_moves_for_a_better_one() -> None:
    plan = decide(specs(only_on("gpu", ["pve3", "pve2"], 101)), seen(THREE, [guest(101, "pve2")]), memory())
    assert (plan.moves, plan.violations) == ((), ())


def test_a_guest_is_kept_off_nodes_by_label() -> None:
    old = {"nodeAntiAffinity": {"nodeSelector": {"matchLabels": {"cpu": "old"}}}}
    labels = [pve_node("pve1", {"cpu": "old"}), pve_node("pve2", {"cpu": "old"}), pve_node("pve3", {"cpu": "new"})]
    plan = decide(specs(*labels, policy("p", **old)), seen(THREE, [guest(101, "pve1")]), memory())
    assert targets(plan) == {101: "pve3"}
    assert plan.moves[0].why is Why.NODE_ANTI_AFFINITY


def test_musts_about_nodes_intersect() -> None:
    rules = [only_on("a", ["pve1", "pve2"], 101), policy("b", {"vmids": [101]}, nodeAntiAffinity={"nodes": ["pve1"]})]
    assert targets(decide(specs(*rules), seen(THREE, [guest(101, "pve3")]), memory())) == {101: "pve2"}


@pytest.mark.parametrize(
    "leave_it",
    [{"correctExisting": False}, {"enforcement": "Should"}, {"suspend": True}],
    ids=lambda how: next(iter(how)),
)
def test_what_nobody_wants_corrected_stays(leave_it: dict[str, Any]) -> None:
    plan = decide(specs(only_on("p", ["pve2"], 101, **leave_it)), seen(THREE, [guest(101, "pve1")]), memory())
    assert (plan.moves, plan.blocked, set(plan.fine)) == ((), (), {101})
    assert bool(plan.violations) == ("suspend" not in leave_it)  # told, whether anything is done about it or not


# Groups


def test_two_guests_are_pulled_apart_by_one_move_of_the_smaller() -> None:
    look = seen(THREE, [guest(101, "pve1", 8), guest(102, "pve1", 4), guest(103, "pve2")])
    plan = decide(specs(apart("web", 101, 102, 103)), look, memory())
    assert targets(plan) == {102: "pve3"}
    assert plan.moves[0].message.startswith(
        "PlacementPolicy/web allows 1 in pve1, which has VM 101 g101, VM 102 g102; pve3 has room for its 4 GiB"
    )


@pytest.mark.parametrize(("most", "moves"), [(1, 2), (2, 1), (3, 0)])
def test_as_many_stay_as_may(most: int, moves: int) -> None:
    look = seen(THREE, [guest(101, "pve1"), guest(102, "pve1"), guest(103, "pve1")])
    plan = decide(specs(apart("web", 101, 102, 103, maxPerDomain=most)), look, memory())
    assert len(plan.all_moves) == moves


def test_one_guest_in_two_crowded_groups_moves_instead_of_two_others() -> None:
    look = seen(THREE, [guest(101, "pve1", 1), guest(102, "pve1", 9), guest(103, "pve1", 1)])
    plan = decide(specs(apart("a", 101, 102), apart("b", 102, 103)), look, memory())
    assert set(targets(plan)) == {102}


def test_the_cheaper_guest_stays_when_only_the_other_finds_a_place() -> None:
    fixed = only_on("fixed", ["pve1"], 102)
    look = seen(THREE, [guest(101, "pve1", 8), guest(102, "pve1", 1)])
    assert set(targets(decide(specs(apart("web", 101, 102), fixed), look, memory()))) == {101}


def test_racks_are_domains() -> None:
    racks = [pve_node("pve1", {"rack": "a"}), pve_node("pve2", {"rack": "a"}), pve_node("pve3", {"rack": "b"})]
    look = seen(THREE, [guest(101, "pve1"), guest(102, "pve2")])
    plan = decide(specs(*racks, apart("web", 101, 102, topologyKey="rack")), look, memory())
    assert targets(plan) in ({101: "pve3"}, {102: "pve3"})


def test_a_node_without_the_label_is_no_safe_place() -> None:
    racks = [pve_node("pve1", {"rack": "a"}), pve_node("pve2", {"rack": "a"}), pve_node("pve4", {"rack": "b"})]
    look = seen([*THREE, node("pve4", state=NodeState.OFFLINE)], [guest(101, "pve1"), guest(102, "pve2")])
    plan = decide(specs(*racks, apart("web", 101, 102, topologyKey="rack")), look, memory())
    [word] = plan.blocked
    assert "pve3 has no label rack, which PlacementPolicy/web needs" in word.message


def test_a_guest_on_its_way_out_of_the_domain_is_repair_enough() -> None:
    first, second = guest(101, "pve1"), guest(102, "pve1")
    plan = decide(specs(apart("web", 101, 102)), seen(THREE, [first, second]), memory([flight(first, "pve2")]))
    assert (plan.moves, plan.flying, set(plan.fine)) == ((), (101,), {102})


def test_a_guest_in_flight_holds_its_seat_on_both_sides() -> None:
    """101 flies from pve2 to pve3; 102 has to leave pve1, and neither end of that flight is free for it."""
    flying, second, third = guest(101, "pve2"), guest(102, "pve1"), guest(103, "pve1")
    look = seen(THREE, [flying, second, third])
    [word] = decide(specs(apart("web", 101, 102, 103)), look, memory([flight(flying, "pve3")])).waiting
    assert word.why is Why.WAITING_FOR_ROOM
    assert word.move is not None
    assert word.move.target == "pve2"
    assert "pve2 has VM 101 g101" in word.message


def test_a_locked_guest_is_not_waited_for_when_another_can_move() -> None:
    look = seen(THREE, [guest(101, "pve1", 1, lock="backup"), guest(102, "pve1", 9)])
    assert targets(decide(specs(apart("web", 101, 102)), look, memory())) == {102: "pve2"}


def test_when_nobody_can_move_one_is_named_and_the_other_is_fine() -> None:
    look = seen(THREE, [guest(101, "pve1", lock="backup"), guest(102, "pve1", ha_state="started")])
    plan = decide(specs(apart("web", 101, 102)), look, memory())
    assert [(w.vmid, w.why) for w in plan.waiting] == [(101, Why.GUEST_LOCKED)]
    assert set(plan.fine) == {102}


def test_ha_guests_are_left_to_ha() -> None:
    look = seen(THREE, [guest(101, "pve1", ha_state="started")])
    [word] = decide(specs(only_on("p", ["pve2"], 101)), look, memory()).blocked
    assert word.why is Why.HA_MANAGED


def test_unmanaged_guests_are_no_members_and_never_move() -> None:
    look = seen(THREE, [guest(101, "pve1"), guest(102, "pve1", tags=("unmanaged",))])
    plan = decide(specs(policy("web", keepApart={})), look, memory())
    assert (plan.moves, plan.violations) == ((), ())
    assert [vmids for ref, vmids in plan.matched.items()] == [(101,)]


def test_unmanaged_guests_are_load() -> None:
    look = seen([node("pve1"), node("pve2", 8)], [guest(101, "pve1", 4), guest(102, "pve2", 6, tags=("unmanaged",))])
    [word] = decide(specs(only_on("p", ["pve2"], 101)), look, memory()).blocked
    assert "pve2 has 2 GiB of 8 GiB free" in word.message


def test_no_room_blocks_with_a_reason_for_every_node() -> None:
    nodes = [node("pve1"), node("pve2", 4), node("pve3", state=NodeState.OFFLINE)]
    look = seen(nodes, [guest(101, "pve1", 8), guest(102, "pve1", 8)])
    [word] = decide(specs(apart("web", 101, 102)), look, memory()).blocked
    assert word.message == "no node can take VM 101 g101 (8 GiB): pve2 has 4 GiB of 4 GiB free; pve3 is offline"


# Order


def swap(gib: int) -> Plan:
    """Two guests of 6 GiB that each belong on the other's node, of `gib`."""
    look = seen([node("pve1", gib), node("pve2", gib)], [guest(101, "pve1", 6), guest(102, "pve2", 6)])
    return decide(specs(only_on("a", ["pve2"], 101), only_on("b", ["pve1"], 102)), look, memory())


def test_guests_that_need_each_others_place_are_called_blocked_not_waiting() -> None:
    plan = swap(10)
    assert [word.why for word in plan.blocked] == [Why.NO_TARGET_FITS] * 2
    assert "wait for each other's place" in plan.blocked[0].message
    assert targets(swap(12)) == {101: "pve2", 102: "pve1"}


def test_a_guest_waits_until_another_has_made_room() -> None:
    look = seen([node("pve1", 8), node("pve2", 8), node("pve3", 8)], [guest(101, "pve1", 6), guest(102, "pve2", 6)])
    plan = decide(specs(only_on("a", ["pve2"], 101), only_on("b", ["pve3"], 102)), look, memory())
    assert targets(plan) == {102: "pve3"}
    [word] = plan.waiting
    assert (word.vmid, word.why, word.move and word.move.target) == (101, Why.WAITING_FOR_ROOM, "pve2")


def test_moves_that_start_together_do_not_count_on_the_same_room() -> None:
    """pve2 has 6 GiB now and 12 when 103 has left: one of the two may start, the other waits for that."""
    nodes = [node("pve1"), node("pve2", 12), node("pve3")]
    look = seen(nodes, [guest(101, "pve1", 5), guest(102, "pve1", 5), guest(103, "pve2", 6)])
    plan = decide(specs(only_on("a", ["pve2"], 101, 102), only_on("b", ["pve3"], 103)), look, memory())
    assert set(targets(plan)) == {101, 103}
    assert [(word.vmid, word.why) for word in plan.waiting] == [(102, Why.WAITING_FOR_ROOM)]


def test_members_that_start_together_do_not_count_on_the_same_seat() -> None:
    """One seat on pve2 is free when 103 has left it, and 103 is still there at this instant."""
    look = seen([*THREE, node("pve4")], [guest(101, "pve1"), guest(103, "pve2")])
    rules = [apart("web", 101, 103), only_on("a", ["pve2"], 101), only_on("b", ["pve3"], 103)]
    plan = decide(specs(*rules), look, memory())
    assert targets(plan) == {103: "pve3"}
    assert [(word.vmid, word.why) for word in plan.waiting] == [(101, Why.WAITING_FOR_ROOM)]


def test_stopped_guests_need_no_room() -> None:
    look = seen([node("pve1"), node("pve2", 1)], [guest(101, "pve1", 8, power=Power.STOPPED), guest(102, "pve2", 1)])
    [move] = decide(specs(only_on("p", ["pve2"], 101)), look, memory()).moves
    assert (move.memory_bytes, move.options.online) == (0, False)


# What is not ours to plan


def test_a_repair_prefers_the_home_of_a_guest_that_is_away() -> None:
    who = guest(101, "pve1")
    look = seen([node("pve1"), node("pve2", 512), node("pve3")], [who, guest(102, "pve1", 9)])
    plan = decide(specs(apart("web", 101, 102)), look, memory(origins={101: origin(who, "pve3")}))
    assert targets(plan) == {101: "pve3"}


def test_matched_names_the_guests_of_every_policy() -> None:
    wanted = specs(cluster(), apart("web", 101, 999), migration("m", {"vmids": [102]}), replication("r"))
    plan = decide(wanted, seen(THREE, [guest(101, "pve1"), guest(102, "pve1")]), memory())
    assert {str(ref): vmids for ref, vmids in plan.matched.items()} == {
        "PlacementPolicy/web": (Vmid(101),),
        "MigrationPolicy/m": (Vmid(102),),
        "ReplicationPolicy/r": (Vmid(101), Vmid(102)),
    }
    assert {str(ref) for ref in plan.generations} >= {"PveCluster/default", "PlacementPolicy/web"}
