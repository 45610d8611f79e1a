"""Targets for many guests together: the obvious, another order, and at last every order."""

from controller.decide.placement import Budget, Intent, assign
from controller.decide.scene import scene
from controller.decide.stage import stages
from controller.model.ids import NodeName, ObjectRef
from controller.model.observed import Guest
from controller.model.plan import Lane, MoveOptions
from controller.model.reasons import Why
from tests.decide.build import GIB, guest, memory, node, seen, specs

PVE2, PVE3 = NodeName("pve2"), NodeName("pve3")


def intent(who: Guest, *nodes: NodeName) -> Intent:
    return Intent(
        guest=who,
        lane=Lane.DRAIN,
        why=Why.NODE_MAINTENANCE,
        cause=ObjectRef("NodeMaintenance", "x"),
        because="",
        nodes=nodes,
        preferred=0,
        options=MoveOptions(online=True),
        size=who.memory_bytes or 0,
    )


def placed(rooms: tuple[int, int], *wishes: tuple[int, tuple[NodeName, ...]], budget: int) -> dict[int, str]:
    guests = [guest(101 + i, "pve1", gib) for i, (gib, _) in enumerate(wishes)]
    look = seen([node("pve1", 99), node("pve2", rooms[0]), node("pve3", rooms[1])], guests)
    now, later = stages(scene(specs(), look, memory()))
    wanted = [intent(who, *nodes) for who, (_, nodes) in zip(guests, wishes, strict=True)]
    found, failed = assign(wanted, now, later, Budget(budget))
    assert len(found) + len(failed) == len(guests)
    for who in guests:  # everybody counts in one place afterwards
        assert later.room.holds(found.get(who.vmid, who.node), who.vmid)
    assert later.room.free(PVE2) == rooms[0] * GIB - sum(
        g.memory_bytes or 0 for g in guests if found.get(g.vmid) == PVE2
    )
    return {int(vmid): target for vmid, target in found.items()}


BOTH = (PVE2, PVE3)


def test_the_obvious_is_taken_when_it_works() -> None:
    assert placed((8, 9), (4, BOTH), (2, BOTH), budget=0) == {101: "pve3", 102: "pve2"}


def test_who_finds_no_place_goes_first_in_the_next_attempt() -> None:
    """101 takes the emptier node, the only one that 102 may go to; with 102 first both fit."""
    assert placed((5, 6), (5, BOTH), (4, (PVE3,)), budget=0) == {101: "pve2", 102: "pve3"}


HARD = (8, 5, 1, 7, 9)
"""Sizes that fill 20 and 10 GiB in one way only: 9 and 1 on the one, the rest on the other."""


def test_a_search_finds_what_no_simple_order_does() -> None:
    wishes = [(gib, BOTH) for gib in HARD]
    assert len(placed((20, 10), *wishes, budget=0)) == 4
    assert len(placed((20, 10), *wishes, budget=40_000)) == 5


def test_hopeless_guests_do_not_keep_the_others_from_their_places() -> None:
    wishes = [(99, BOTH), (50, ()), *((gib, BOTH) for gib in HARD)]
    assert len(placed((20, 10), *wishes, budget=40_000)) == 5


def test_a_search_without_success_leaves_the_best_so_far() -> None:
    wishes = [(gib, BOTH) for gib in HARD]
    assert len(placed((20, 9), *wishes, budget=40_000)) == len(placed((20, 9), *wishes, budget=3)) == 4
