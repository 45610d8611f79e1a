"""The second opinion: each promise, broken on purpose, is named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from controller.decide import decide
from controller.decide.verify import verify
from controller.model.ids import GuestIdentity, GuestKind, NodeName, ObjectRef, Vmid
from controller.model.observed import HaNodeState, NodeState, Power
from controller.model.plan import Lane, Move, MoveOptions, Plan
from controller.model.reasons import Why
from controller.specs import Resource
from tests.decide.build import (
    AT,
    NAME,
    apart,
    cluster,
    flight,
    guest,
    in_maintenance,
    maintenance,
    memory,
    node,
    only_on,
    policy,
    pve_node,
    seen,
    specs,
)

NODES = [
    node("pve1", 16),
    node("pve2", 16),
    node("pve3", 16, state=NodeState.OFFLINE),
    node("pve4", 16, ha=HaNodeState.MAINTENANCE),
    node("pve5", None),
]
GUESTS = [guest(101, "pve1", 8), guest(102, "pve1", 8), guest(103, "pve2", 4)]
LOOK = seen(NODES, GUESTS)


def move(vmid: int, target: str, **change: Any) -> Move:
    who = LOOK.guests[Vmid(vmid)]
    plain = Move(
        identity=who.identity,
        name=who.name,
        source=who.node,
        target=NodeName(target),
        why=Why.NODE_AFFINITY,
        cause=ObjectRef("PlacementPolicy", "x"),
        message="",
        lane=Lane.REPAIR,
        memory_bytes=who.memory_bytes or 0,
        options=MoveOptions(online=True),
    )
    return replace(plain, **change)


def opinion(*moves: Move, wanted: tuple[Resource, ...] = (), look: Any = LOOK, flights: Any = ()) -> str:
    fine = frozenset(look.guests) - {m.vmid for m in moves}
    plan = Plan(NAME, AT, moves=moves, fine=fine)
    return "; ".join(verify(plan, specs(*wanted), look, memory(flights)))


def test_a_good_move_is_good() -> None:
    assert opinion(move(101, "pve2")) == ""


def changed(**change: Any) -> Any:
    return seen(NODES, [replace(GUESTS[0], **change), *GUESTS[1:]])


OFF = MoveOptions(online=False)
BROKEN: list[tuple[Callable[[], str], str]] = [
    (
        lambda: opinion(move(101, "pve2"), move(102, "pve2")),
        "move 2 (102 to pve2): 21474836480 bytes on the target at once",
    ),
    (lambda: opinion(move(101, "pve2"), flights=[flight(GUESTS[1], "pve2")]), "bytes on the target at once"),
    (lambda: opinion(move(103, "pve1")), "21474836480 bytes on the target at once, 17179869184 are allowed"),
    (
        lambda: opinion(move(101, "pve2"), wanted=(cluster(capacity={"reserveMemoryMiB": 8192}),)),
        "8589934592 are allowed",
    ),
    (
        lambda: opinion(move(101, "pve2"), wanted=(pve_node("pve2", reserve={"memoryMiB": 8192}),)),
        "8589934592 are allowed",
    ),
    (lambda: opinion(move(101, "pve2"), look=changed(memory_bytes=None)), "a size that has to be known is not"),
    (lambda: opinion(move(101, "pve5")), "a size that has to be known is not"),
    (lambda: opinion(move(101, "pve3")), "the target is not online"),
    (lambda: opinion(move(101, "pve4")), "the target is in HA state maintenance"),
    (lambda: opinion(move(101, "pve9")), "the target is not online"),
    (lambda: opinion(move(101, "pve1")), "source and target are the same"),
    (lambda: opinion(move(101, "pve2"), wanted=(in_maintenance("pve2"),)), "in maintenance or cordoned (label)"),
    (
        lambda: opinion(move(101, "pve2"), wanted=(maintenance("m", "pve2", mode="Cordon"),)),
        "cordoned (NodeMaintenance/m)",
    ),
    (lambda: opinion(move(101, "pve2"), wanted=(pve_node("pve2", unschedulable=True),)), "unschedulable"),
    (lambda: opinion(move(101, "pve2", source=NodeName("pve2"))), "not on the source"),
    (lambda: opinion(move(101, "pve2", identity=GuestIdentity(Vmid(101), GuestKind.LXC))), "another guest"),
    (lambda: opinion(move(101, "pve2"), look=changed(tags=frozenset({"unmanaged"}))), "not managed"),
    (lambda: opinion(move(101, "pve2"), look=changed(lock="backup")), "locked (backup)"),
    (lambda: opinion(move(101, "pve2"), look=changed(lock="migrate")), "being moved already"),
    (lambda: opinion(move(101, "pve2"), look=changed(ha_state="started")), "PVE HA manages it"),
    (lambda: opinion(move(101, "pve2"), flights=[flight(GUESTS[0], "pve2")]), "being moved already"),
    (lambda: opinion(move(101, "pve2", options=OFF)), "the options do not fit its run state"),
    (
        lambda: opinion(move(101, "pve2"), wanted=(only_on("p", ["pve1"], 101),)),
        "PlacementPolicy/p rules the target out",
    ),
    (
        lambda: opinion(move(101, "pve2"), wanted=(policy("p", nodeAntiAffinity={"nodes": ["pve2"]}),)),
        "PlacementPolicy/p rules the target out",
    ),
    (
        lambda: opinion(move(101, "pve2"), wanted=(apart("p", 101, 103),)),
        "PlacementPolicy/p allows 1 in pve2, it would be 2",
    ),
    (lambda: opinion(move(101, "pve2"), wanted=(apart("p", 101, 103, topologyKey="rack"),)), "needs label rack"),
    (lambda: opinion(move(101, "pve2"), move(101, "pve2")), "guest 101 is accounted for 2 times"),
]


@pytest.mark.parametrize(("opine", "text"), BROKEN, ids=[row[1] for row in BROKEN])
def test_a_broken_promise_is_named(opine: Callable[[], str], text: str) -> None:
    assert text in opine()


def test_a_guest_without_a_word_and_a_word_without_a_guest_are_named() -> None:
    plan = Plan(NAME, AT, fine=frozenset({Vmid(101), Vmid(102), Vmid(999)}), flying=(Vmid(102),))
    assert verify(plan, specs(), LOOK, memory()) == (
        "guest 102 is accounted for 2 times",
        "guest 999 is planned for but not there",
        "guest 103 is not accounted for",
    )


def test_a_seat_is_taken_at_both_ends_of_a_flight() -> None:
    flying = guest(103, "pve5", 1)
    look = seen(NODES, [*GUESTS[:2], flying])
    for ends in ({"target": "pve2"}, {"target": "pve5", "source": "pve2"}):
        found = opinion(move(101, "pve2"), wanted=(apart("p", 101, 103),), look=look, flights=[flight(flying, **ends)])
        assert "PlacementPolicy/p allows 1 in pve2" in found


def test_what_starts_together_must_not_share_a_domain() -> None:
    small = seen(NODES, [guest(101, "pve1", 1), guest(102, "pve1", 1)])
    assert "allows 1 in pve2" in opinion(
        move(101, "pve2"), move(102, "pve2"), wanted=(apart("p", 101, 102),), look=small
    )


def test_stopped_guests_fit_anywhere() -> None:
    look = seen([node("pve1"), node("pve2", 1)], [replace(GUESTS[0], power=Power.STOPPED)])
    assert opinion(move(101, "pve2", options=OFF, memory_bytes=0), look=look) == ""


@pytest.mark.parametrize("kind", ["explicit", "implied", "none"])
def test_only_a_drain_whose_maintenance_says_so_may_override_musts(kind: str) -> None:
    rule = only_on("p", ["pve1"], 101)
    template = {"overrideMust": kind == "implied"}
    wanted: list[Resource] = [
        cluster(maintenance={"template": template}),
        maintenance("m", "pve1", overrideMust=kind == "explicit"),
        rule,
    ]
    ref = ObjectRef("NodeMaintenance", "label-pve1" if kind == "implied" else "m")
    drain = move(101, "pve2", cause=ref, lane=Lane.DRAIN)
    assert (opinion(drain, wanted=tuple(wanted)) == "") == (kind != "none")


def test_decide_asks_for_the_second_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.decide.pipeline.verify", lambda *_: ("broken",))
    assert decide(specs(), LOOK, memory()).unsafe == ("broken",)
