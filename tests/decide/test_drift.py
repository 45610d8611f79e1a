"""What people change by hand: who counts as moved by hand, how long that is respected, and what never gives way to it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide import decide
from controller.decide.drift import drifts, noticed
from controller.model.drift import DriftKind, MovedByHand, Place
from controller.model.ids import GuestIdentity, GuestKind, NodeName, Upid, Vmid
from controller.model.memory import Memory
from controller.model.observed import Observed, Task
from controller.model.plan import Lane
from controller.model.reasons import Why
from tests.decide.build import AT, apart, cluster, guest, node, only_on, seen, specs
from tests.decide.worlds import World, worlds

NODES = [node("pve1"), node("pve2"), node("pve3")]
V = Vmid(101)


def place(on: str, born: str = "ctime:101") -> dict[Vmid, Place]:
    return {V: Place(GuestIdentity(V, GuestKind.QEMU, born), NodeName(on))}


def by_hand(source: str, on: str, at: float = AT, vmid: int = 101) -> MovedByHand:
    return MovedByHand(
        GuestIdentity(Vmid(vmid), GuestKind.QEMU, f"ctime:{vmid}"), NodeName(source), NodeName(on), at, "eve@pam"
    )


def task(type_: str, *, ago: float = 10.0, user: str = "eve@pam") -> Task:
    return Task(Upid("UPID:x"), NodeName("pve1"), type_, "101", user, int(AT - ago), running=False, exit_status="OK")


def look(on: str = "pve2", *tasks: Task, **more: Any) -> Observed:
    return seen(NODES, [guest(101, on, **more)], tasks=tasks)


TABLE = [
    ("somebody moves it", look("pve2", task("qmigrate")), place("pve1"), {}, (), ("pve1", "pve2", "eve@pam")),
    ("nobody saw how", look("pve2"), place("pve1"), {}, (), ("pve1", "pve2", "")),
    ("Drover moves it", look("pve2", task("qmigrate")), place("pve1"), {}, (V,), None),
    ("it is seen for the first time", look("pve2"), {}, {}, (), None),
    ("another guest has its number", look("pve2"), place("pve1", "ctime:9"), {}, (), None),
    (
        "PVE HA moves it",
        look("pve2", task("qmigrate", user="root@pam"), ha_state="started"),
        place("pve1"),
        {},
        (),
        None,
    ),
    (
        "somebody asks PVE HA",
        look("pve2", task("hamigrate"), ha_state="started"),
        place("pve1"),
        {},
        (),
        ("pve1", "pve2", "eve@pam"),
    ),
    (
        "somebody asked PVE HA long ago",
        look("pve2", task("hamigrate", ago=7200), ha_state="started"),
        place("pve1"),
        {},
        (),
        None,
    ),
    ("it stays", look("pve2"), place("pve2"), {V: by_hand("pve1", "pve2")}, (), ("pve1", "pve2", "eve@pam")),
    ("it goes on", look("pve3"), place("pve2"), {V: by_hand("pve1", "pve2")}, (), ("pve1", "pve3", "")),
    ("it goes back", look("pve1"), place("pve2"), {V: by_hand("pve1", "pve2")}, (), None),
    ("Drover moves it later", look("pve3"), place("pve2"), {V: by_hand("pve1", "pve2")}, (V,), None),
]


@pytest.mark.parametrize(
    ("at", "places", "moved", "ours", "wanted"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_who_counts_as_moved_by_hand(
    at: Observed, places: dict[Vmid, Place], moved: dict[Vmid, MovedByHand], ours: tuple[Vmid, ...], wanted: Any
) -> None:
    found = noticed(at, places, moved, ours)
    assert found.places[V].node == at.guests[V].node
    one = found.moved.get(V)
    assert (None if one is None else (one.source, one.node, one.by)) == wanted


def test_nothing_is_concluded_without_quorum_and_nobody_is_forgotten_while_rows_may_be_hidden() -> None:
    moved = {V: by_hand("pve1", "pve2")}
    blind = replace(look("pve3"), quorate=False)
    assert noticed(blind, place("pve2"), moved, ()).moved == moved
    hidden = seen(NODES, [])
    assert noticed(replace(hidden, partial=True), place("pve2"), moved, ()).moved == moved
    assert noticed(hidden, place("pve2"), moved, ()).moved == {}


@pytest.mark.parametrize(("age", "moves"), [(0.0, False), (3599.0, False), (3600.0, True)])
def test_a_must_waits_for_the_hold_off(age: float, moves: bool) -> None:
    wanted = specs(only_on("here", ["pve1"], 101))
    plan = decide(wanted, look("pve2"), Memory(moved_by_hand={V: by_hand("pve1", "pve2", AT - age)}))
    assert [move.target for move in plan.all_moves] == (["pve1"] if moves else [])
    assert [word.why for word in plan.waiting] == ([] if moves else [Why.MOVED_BY_HAND])


def test_the_partner_is_not_moved_instead() -> None:
    both = seen(NODES, [guest(101, "pve1"), guest(102, "pve1")])
    memory = Memory(moved_by_hand={V: by_hand("pve2", "pve1")})
    plan = decide(specs(apart("apart", 101, 102)), both, memory)
    assert not plan.all_moves
    assert decide(specs(apart("apart", 101, 102)), both, Memory()).all_moves


def test_what_drover_does_about_it_is_said() -> None:
    memory = Memory(moved_by_hand={V: by_hand("pve1", "pve2", AT - 60)})
    at = look("pve2")
    [fine] = drifts(at, memory, decide(specs(), at, memory))
    assert (fine.kind, fine.since, fine.will) == (DriftKind.GUEST_MOVED, AT - 60, "nothing: no rule minds")
    assert fine.what == "VM 101 g101 was moved by hand from pve1 to pve2 by eve@pam"
    [held] = drifts(at, memory, decide(specs(only_on("here", ["pve1"], 101)), at, memory))
    assert "it is left there until" in held.will


@settings(deadline=None)
@given(worlds(), st.data())
def test_while_it_is_respected_only_drains_move_who_was_moved_by_hand(world: World, data: st.DataObject) -> None:
    names = sorted(world.seen.nodes)
    chosen = data.draw(st.sets(st.sampled_from(sorted(world.seen.guests)), max_size=3))
    moved = {
        vmid: MovedByHand(
            world.seen.guests[vmid].identity, data.draw(st.sampled_from(names)), world.seen.guests[vmid].node, AT - 60
        )
        for vmid in chosen
    }
    plan = decide(world.specs, world.seen, replace(world.memory, moved_by_hand=moved))
    assert not [m for m in plan.all_moves if m.vmid in moved and m.lane not in (Lane.DRAIN, Lane.RETURN)]
    assert cluster().spec.drift.hold_off_seconds == 3600
