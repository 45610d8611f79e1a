"""The ledger never invents room."""

from typing import Any

import pytest

from controller.decide import capacity
from controller.decide.capacity import Room
from controller.decide.scene import scene
from controller.decide.stage import stages
from controller.model.ids import NodeName, Upid, Vmid
from controller.model.observed import Power, Task
from tests.decide.build import GIB, cluster, flight, guest, memory, node, pve_node, seen, specs

PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")

LIMITS: list[tuple[dict[str, Any], dict[str, Any], float]] = [
    ({}, {}, 100),
    ({"reserveMemoryPercent": 10}, {}, 90),
    ({"reserveMemoryPercent": 10, "reserveMemoryMiB": 20 * 1024}, {}, 80),
    ({"reserveMemoryPercent": 10, "reserveMemoryMiB": 5 * 1024}, {}, 90),  # the larger one counts
    ({"reserveMemoryPercent": 10}, {"reserve": {"memoryMiB": 30 * 1024}}, 70),
    ({"memoryOvercommitRatio": 1.5}, {}, 150),
    ({"reserveMemoryPercent": 20, "memoryOvercommitRatio": 0.5}, {}, 40),
    ({"reserveMemoryMiB": 1024 * 1024}, {}, 0),
]


@pytest.mark.parametrize(("settings", "own", "gib"), LIMITS)
def test_the_larger_reserve_is_kept_and_the_rest_overcommitted(
    settings: dict[str, Any], own: dict[str, Any], gib: float
) -> None:
    wanted = specs(cluster(capacity=settings), pve_node("pve1", **own))
    assert capacity.limits(wanted, seen([node("pve1", 100)], []))[PVE1] == gib * GIB


def test_a_node_without_memory_size_has_no_room() -> None:
    room = Room({PVE1: None})
    assert room.free(PVE1) is None
    assert not room.fits(PVE1, Vmid(101), 1)


def test_an_unknown_guest_makes_the_room_unknown_and_never_counts_as_nothing() -> None:
    room = Room({PVE1: 10 * GIB})
    room.claim(PVE1, Vmid(101), None)
    assert room.free(PVE1) is None
    assert not room.fits(PVE1, Vmid(102), 1)
    assert room.fits(PVE1, Vmid(103), 0)
    room.release(PVE1, Vmid(101))
    assert room.free(PVE1) == 10 * GIB


def test_a_guest_counts_once_on_a_node_however_often_it_is_said() -> None:
    room = Room({PVE1: 10 * GIB})
    room.claim(PVE1, Vmid(101), 4 * GIB)
    room.claim(PVE1, Vmid(101), 4 * GIB)
    assert room.free(PVE1) == 6 * GIB
    room.release(PVE1, Vmid(101))
    room.release(PVE1, Vmid(101))
    assert room.free(PVE1) == 10 * GIB


@pytest.mark.parametrize(
    ("power", "basis", "expected"),
    [
        (Power.RUNNING, "Configured", 8 * GIB),
        (Power.PAUSED, "Configured", 8 * GIB),
        (Power.UNKNOWN, "Configured", 8 * GIB),
        (Power.STOPPED, "Configured", 0),
        (Power.RUNNING, "Used", 3 * GIB),
        (Power.STOPPED, "Used", 0),
    ],
)
def test_what_a_guest_needs(power: Power, basis: str, expected: int) -> None:
    who = guest(101, "pve1", 8, power=power, memory_used_bytes=3 * GIB)
    look = seen([node("pve1")], [who])
    assert capacity.needs(cluster(capacity={"memoryBasis": basis}), look, memory())[who.vmid] == expected


def test_a_guest_in_flight_needs_at_least_what_was_claimed_for_it() -> None:
    arrived = guest(101, "pve2", None)
    look = seen([node("pve1"), node("pve2")], [arrived])
    remembered = memory([flight(arrived, "pve2", source="pve1", memory_bytes=8 * GIB)])
    assert capacity.needs(cluster(), look, remembered)[arrived.vmid] == 8 * GIB


def _free(*, foreign: bool) -> tuple[list[int | None], list[int | None]]:
    who = guest(101, "pve1", 8)
    tasks = (Task(Upid("UPID:x"), PVE1, "qmigrate", "101", "root@pam", 0, running=True),) if foreign else ()
    look = seen([node("pve1", 16), node("pve2", 16), node("pve3", 16)], [who], tasks=tasks)
    remembered = memory([] if foreign else [flight(who, "pve2")])
    now, later = stages(scene(specs(), look, remembered))
    free_now, free_later = ([stage.room.free(n) for n in (PVE1, PVE2, PVE3)] for stage in (now, later))
    return free_now, free_later


def test_our_flights_count_on_both_sides_until_they_are_over() -> None:
    now, later = _free(foreign=False)
    assert now == [8 * GIB, 8 * GIB, 16 * GIB]
    assert later == [16 * GIB, 8 * GIB, 16 * GIB]


def test_moves_of_others_claim_room_on_every_node_because_nobody_says_where_they_go() -> None:
    now, later = _free(foreign=True)
    assert now == [8 * GIB] * 3
    assert later == [8 * GIB, 16 * GIB, 16 * GIB]
