"""Replication: when jobs run, what they send, how they fail and go, and what a move makes of them."""

import re
from collections.abc import Generator
from typing import Any

import pytest

from controller.simulator.engine import Process, Wait
from controller.simulator.guests import Guest
from controller.simulator.replication import Replication
from controller.simulator.seed import load
from controller.simulator.units import GIB, MIB
from controller.simulator.world import World

CLUSTER = """
start: 2026-11-23T10:00:10Z
nodes: {pve1: {}, pve2: {}, pve3: {}}
storages:
  tank: {type: zfspool}
  pair: {type: zfspool, nodes: [pve1, pve2]}
  local: {type: dir}
  nfs: {type: nfs}
guests:
  100: {node: pve1, status: stopped, disks: {scsi0: {storage: tank, size: 8GiB, used: 2GiB}}}
  101: {node: pve1, written: 1MiB, disks: {scsi0: {storage: tank, size: 8GiB, used: 4GiB}}}
  102: {node: pve1, status: stopped, disks: {scsi0: {storage: pair, size: 8GiB, used: 1GiB}}}
  103: {node: pve1, status: stopped, disks: {scsi0: {storage: local, size: 8GiB}}}
  104: {node: pve1, status: stopped, disks: {scsi0: {storage: nfs, size: 8GiB}}}
"""


class Scene:
    def __init__(self, *jobs: tuple[str, str, str]) -> None:
        self.world = World(load(CLUSTER))
        self.jobs: dict[str, dict[str, Any]] = {}
        for ident, target, schedule in jobs:
            guest, number = ident.split("-")
            self.jobs[ident] = {
                "id": ident, "type": "local", "guest": int(guest), "jobnum": int(number), "target": target, "schedule": schedule,
            }  # fmt: skip
        self.replication = Replication(self.world, self.jobs)

    def pass_time(self, seconds: float) -> None:
        self.world.advance(self.world.now + seconds)

    def row(self, ident: str, node: str = "pve1") -> dict[str, Any]:
        return self.replication.row(node, self.jobs[ident])

    def sent(self) -> float:
        self.world.network.settle()
        return self.world.network.moved

    def sync_for_a_move(self, guest: Guest, target: str, lines: list[str]) -> Generator[Wait, Any, None]:
        yield from self.replication.before_move(guest, target, lines.append, self)

    def log(self, ident: str, node: str = "pve1") -> list[str]:
        return [line.partition(f"{ident}: ")[2] for line in self.replication.state(node, ident).log]


def test_a_job_that_never_ran_is_due_since_the_epoch() -> None:
    scene = Scene(("100-0", "pve2", "*/1"), ("101-0", "pve2", "0:30"))
    assert scene.row("100-0") | {"next_sync": 60, "last_sync": 0, "fail_count": 0} == scene.row("100-0")
    assert scene.row("101-0")["next_sync"] == 1800
    assert "duration" not in scene.row("100-0")


def test_the_first_run_is_full_and_the_next_sends_what_was_written() -> None:
    scene = Scene(("101-0", "pve2", "*/1"))
    scene.pass_time(49)
    assert scene.row("101-0")["last_try"] == 0
    scene.pass_time(1)
    assert scene.row("101-0")["pid"] > 0
    scene.pass_time(50)
    first = scene.sent()
    assert first == pytest.approx(4 * GIB)
    row = scene.row("101-0")
    assert (row["last_sync"], row["fail_count"], "pid" in row) == (row["last_try"], 0, False)
    scene.pass_time(60)
    assert 50 * MIB < scene.sent() - first < 70 * MIB
    assert any(
        line.startswith("incremental sync 'tank:vm-101-disk-0' (__replicate_101-0_") for line in scene.log("101-0")
    )
    assert scene.log("101-0")[-1] == "end replication job"


def test_jobs_of_one_source_run_one_after_another_in_order() -> None:
    scene = Scene(("101-0", "pve2", "*/1"), ("100-0", "pve3", "*/1"))
    running: list[set[str]] = []
    for _ in range(100):
        scene.pass_time(1)
        running.append({ident for ident in scene.jobs if "pid" in scene.row(ident)})
    assert max(map(len, running)) == 1
    order = [next(iter(now)) for now in running if now]
    assert order[0] == "100-0"
    assert set(order) == {"100-0", "101-0"}


def test_failures_are_retried_after_5_10_15_and_then_30_minutes() -> None:
    scene = Scene(("102-0", "pve3", "*/1"))
    waits = []
    for count in range(1, 6):
        for _ in range(3600):
            if scene.row("102-0")["fail_count"] == count:
                break
            scene.pass_time(1)
        waits.append((scene.row("102-0")["next_sync"] - scene.row("102-0")["last_try"]) // 60)
    assert waits == [5, 10, 15, 30, 30]
    assert "(remote_prepare_local_job) storage 'pair' is not available on node 'pve3'" in scene.log("102-0")
    assert scene.row("102-0")["error"].endswith("failed: exit code 255")


def test_a_failing_job_waits_for_a_target_that_is_offline() -> None:
    scene = Scene(("100-0", "pve2", "*/1"))
    scene.world.nodes["pve2"].powered = False
    scene.world.nodes["pve2"].member = False
    scene.pass_time(120)
    assert (scene.row("100-0")["fail_count"], scene.row("100-0")["next_sync"]) == (1, 0)
    scene.pass_time(3600)
    assert scene.row("100-0")["fail_count"] == 1
    scene.world.nodes["pve2"].powered = True
    scene.world.nodes["pve2"].member = True
    scene.pass_time(120)
    assert scene.row("100-0")["fail_count"] == 0


def test_a_disabled_job_does_not_run_but_is_listed() -> None:
    scene = Scene(("100-0", "pve2", "*/1"))
    scene.jobs["100-0"]["disable"] = 1
    scene.pass_time(300)
    assert scene.row("100-0")["last_try"] == 0
    assert scene.replication.on_node("pve1") == [scene.jobs["100-0"]]


def test_a_guest_in_the_hands_of_a_migration_is_left_alone_and_that_is_no_failure() -> None:
    scene = Scene(("100-0", "pve2", "*/1"))
    scene.world.guests[100].busy = True
    scene.pass_time(300)
    assert (scene.row("100-0")["last_try"], scene.row("100-0")["fail_count"]) == (0, 0)


def test_a_move_to_the_replica_turns_the_job_round_and_keeps_the_others() -> None:
    scene = Scene(("100-0", "pve2", "*/1"), ("100-1", "pve3", "*/1"))
    scene.pass_time(120)
    guest = scene.world.guests[100]
    synced = scene.row("100-1")["last_sync"]
    scene.world.move_config(guest, "pve2")
    scene.replication.moved(guest, "pve1", "pve2", {})
    assert [(job["source"], job["target"]) for job in scene.jobs.values()] == [("pve2", "pve1"), ("pve2", "pve3")]
    assert scene.row("100-1", "pve2")["last_sync"] == synced
    assert scene.replication.on_node("pve1") == []
    before = scene.sent()
    scene.pass_time(120)
    assert scene.sent() - before < MIB
    assert scene.row("100-0", "pve2")["fail_count"] == 0


def test_a_copy_brings_the_snapshots_of_other_jobs_so_that_these_go_on_after_a_flip() -> None:
    scene = Scene(("101-0", "pve2", "*/1"), ("101-1", "pve3", "*/1"))
    scene.pass_time(240)
    guest = scene.world.guests[101]
    for source, target in (("pve1", "pve2"), ("pve2", "pve1"), ("pve1", "pve2")):
        lines: list[str] = []
        guest.busy = True
        Process(scene.world.engine, scene.sync_for_a_move(guest, target, lines), lambda _: None).start()
        scene.pass_time(30)
        assert any(line.startswith("incremental sync") for line in lines)
        scene.world.move_config(guest, target)
        scene.replication.moved(guest, source, target, {})
        guest.busy = False
        scene.pass_time(3)
    before = scene.sent()
    scene.pass_time(180)
    assert scene.sent() - before < GIB
    assert [scene.row(ident, "pve2")["fail_count"] for ident in scene.jobs] == [0, 0]
    assert scene.log("101-1", "pve2")[-1] == "end replication job"


def test_a_stolen_guest_is_found_by_its_new_node() -> None:
    scene = Scene(("100-0", "pve2", "*/1"))
    scene.pass_time(120)
    scene.world.move_config(scene.world.guests[100], "pve2")
    assert scene.jobs["100-0"]["source"] == "pve1"
    assert scene.replication.on_node("pve2") == [scene.jobs["100-0"]]
    assert (scene.jobs["100-0"]["source"], scene.jobs["100-0"]["target"]) == ("pve2", "pve1")


def test_a_target_with_a_volume_of_unknown_origin_is_an_error() -> None:
    scene = Scene(("100-0", "pve2", "*/1"))
    tank = scene.world.storages["tank"]
    tank.place("pve2")["tank:vm-100-disk-0"] = tank.place("pve1")["tank:vm-100-disk-0"]
    scene.pass_time(70)
    assert scene.row("100-0")["error"].startswith("No common base snapshot on volume(s) tank:vm-100-disk-0")


def test_a_full_removal_takes_the_replica_with_it_and_waits_for_its_node() -> None:
    scene = Scene(("100-0", "pve2", "*/1"))
    scene.pass_time(120)
    tank = scene.world.storages["tank"]
    assert "tank:vm-100-disk-0" in tank.place("pve2")
    scene.jobs["100-0"]["remove_job"] = "full"
    assert scene.row("100-0")["next_sync"] == 1
    scene.world.nodes["pve2"].powered = False
    scene.pass_time(180)
    assert scene.row("100-0")["fail_count"] >= 2
    scene.world.nodes["pve2"].powered = True
    scene.pass_time(120)
    assert scene.jobs == {}
    assert "tank:vm-100-disk-0" not in tank.place("pve2")


def test_a_local_removal_leaves_the_replica() -> None:
    scene = Scene(("100-0", "pve2", "*/1"))
    scene.pass_time(120)
    scene.jobs["100-0"]["remove_job"] = "local"
    scene.pass_time(120)
    assert scene.jobs == {}
    assert "tank:vm-100-disk-0" in scene.world.storages["tank"].place("pve2")


def test_a_node_that_loses_power_stops_sending_and_keeps_what_it_knew() -> None:
    scene = Scene(("101-0", "pve2", "*/1"))
    scene.pass_time(56)
    assert "pid" in scene.row("101-0")
    scene.world.nodes["pve1"].powered = False
    scene.replication.crashed("pve1")
    assert not scene.world.guests[101].replicating
    assert scene.world.network.flows == []
    scene.pass_time(300)
    assert "pid" not in scene.row("101-0")


def test_a_rate_limits_each_stream_in_decimal_megabytes() -> None:
    scene = Scene(("100-0", "pve2", "*/1"))
    scene.jobs["100-0"]["rate"] = 100
    scene.pass_time(50 + 15)
    assert scene.sent() < 100_000_000 * 15
    assert "using secure transmission, rate limit: 100 MByte/s" in scene.log("100-0")
    scene.pass_time(30)
    assert scene.row("100-0")["duration"] == pytest.approx(2 * GIB / 100_000_000 + 8, abs=3)


def test_a_removal_leaves_volumes_alone_that_are_no_copy_of_the_job() -> None:
    scene = Scene(("100-0", "pve2", "*/1"))
    tank = scene.world.storages["tank"]
    tank.place("pve2")["tank:vm-100-disk-0"] = tank.place("pve1")["tank:vm-100-disk-0"]
    scene.pass_time(120)
    assert "No common base snapshot" in scene.row("100-0")["error"]
    scene.jobs["100-0"]["remove_job"] = "full"
    scene.pass_time(120)
    assert scene.jobs == {}
    assert "tank:vm-100-disk-0" in tank.place("pve2")


def test_the_log_of_a_run_tells_how_far_it_is() -> None:
    scene = Scene(("101-0", "pve2", "*/1"))
    scene.jobs["101-0"]["rate"] = 100

    def sent() -> list[str]:
        lines = scene.replication.log("pve1", "101-0")
        return [found[1] for line in lines if (found := re.search(r": \d\d:\d\d:\d\d +(\S+) +\S+@", line))]

    scene.pass_time(80)
    assert 15 <= len(sent()) <= 30
    assert sent()[9].startswith("9")  # ten seconds at 100 MB/s, told in MiB
    scene.pass_time(25)
    assert sent()[-1].startswith(("3.9", "4.0"))
    assert scene.replication.log("pve1", "101-0")[-1].endswith("end replication job")
