"""The ledger never invents room."""

from typing import Any

import pytest

from controller.decide import capacity, decide
from controller.decide.capacity import Room
from controller.decide.scene import scene
from controller.decide.stage import stages
from controller.model.ids import GuestIdentity, GuestKind, NodeName, Upid, Vmid
from controller.model.observed import Disk, GuestConfig, Power, Storage, Task
from tests.decide.build import AT, GIB, cluster, flight, guest, in_maintenance, memory, node, pve_node, seen, specs

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


def _config(vmid: int, vcpus: int | None, *disks: Disk) -> GuestConfig:
    return GuestConfig(GuestIdentity(Vmid(vmid), GuestKind.QEMU), "", vcpus, tuple(disks), AT)


@pytest.mark.parametrize(
    ("more", "config", "expected"),
    [
        ({"cpus": 4}, None, 4),
        ({"cpus": 4}, 12, 12),  # the rows show no more than the node has threads
        ({"cpus": 4, "power": Power.STOPPED}, 12, 0),
        ({"cpus": None}, None, None),
        ({"cpus": 8, "kind": GuestKind.LXC}, None, 0),  # as many as the node: not limited, and promised none
        ({"cpus": 2, "kind": GuestKind.LXC}, None, 2),
    ],
)
def test_vcpus_come_from_the_config_and_unknown_is_never_none(
    more: dict[str, Any], config: int | None, expected: int | None
) -> None:
    who = guest(101, "pve1", **more)
    known = _config(101, config) if config is not None else None
    assert capacity.vcpus(who, known, node("pve1", cpus=8)) == expected


def test_threads_are_counted_with_their_ratio_and_the_nodes_own_reserve() -> None:
    wanted = specs(cluster(capacity={"cpuOvercommitRatio": 1.5}), pve_node("pve1", reserve={"cpus": 2}))
    assert capacity.thread_limits(wanted, seen([node("pve1", cpus=8)], [])) == {PVE1: 9}


def test_vcpus_beyond_the_ratio_block_a_drain_and_the_sentence_has_the_numbers() -> None:
    look = seen([node("pve1", cpus=8), node("pve2", cpus=2)], [guest(101, "pve1", cpus=4), guest(102, "pve2", cpus=6)])
    [word] = decide(specs(in_maintenance("pve1")), look, memory()).blocked
    assert "pve2 has 2 of 8 vCPUs left (cpuOvercommitRatio 4), and it needs 4" in word.message


def test_local_disks_need_room_on_the_target_and_two_may_not_share_what_only_one_fits_on() -> None:
    disk = Disk("scsi0", "tank:vm-101-disk-0", "tank", 30 * GIB, cdrom=False, replicate=True)
    rows = [Storage("tank", n, True, False, total_bytes=100 * GIB, used_bytes=60 * GIB) for n in (PVE1, PVE2)]
    look = seen(
        [node("pve1"), node("pve2")],
        [guest(101, "pve1"), guest(102, "pve1")],
        storages=tuple(rows),
        configs={Vmid(v): _config(v, 1, disk) for v in (101, 102)},
    )
    plan = decide(specs(in_maintenance("pve1")), look, memory())
    assert [move.vmid for move in plan.moves] == [101]
    [word] = plan.blocked
    assert "pve2 has 10 GiB free on tank, and 30 GiB would be copied" in word.message
