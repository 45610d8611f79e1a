"""Migrations: physics, locks, the order of things, the log's words, and what is left when one fails."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.simulator import faults
from controller.simulator.engine import Body, Interrupted, Process
from controller.simulator.migrate import worker
from controller.simulator.migration import Order
from controller.simulator.precopy import Copied, Precopy
from controller.simulator.seed import load
from controller.simulator.tasks import Task
from controller.simulator.units import GIB, MIB
from controller.simulator.world import World
from tests.simulator.lab import Lab


def texts(log: list[str]) -> list[str]:
    """The lines without their time stamps."""
    return [line[20:] if line[:2] == "20" and line[19:20] == " " else line for line in log]


def copy_memory(memory: int, *, dirty: int, working: int, rate: int, touched: float = 1.0) -> Copied:
    """One memory phase, alone on a wire of `rate` bytes per second."""
    lab = Lab(f"  100: {{node: pve1, memory: {memory}, dirty: {dirty}, working: {working}, touched: {touched}}}\n")
    results: list[Copied] = []
    guest = lab.world.guests[100]
    phase = Precopy(lab.world, guest, "pve2", float(rate), lambda _: None, owner=None)

    def body() -> Body:
        results.append((yield from phase.run()))

    Process(lab.world.engine, body(), lambda _: None).start()
    lab.go(48 * 3600)
    assert results, "the memory phase did not end within two days"
    return results[0]


@pytest.mark.parametrize(
    ("memory", "dirty", "rate", "seconds"),
    [
        (4 * GIB, 0, 100 * MIB, 41.0),
        (4 * GIB, 50 * MIB, 100 * MIB, 80.9),
        (4 * GIB, 20 * MIB, 100 * MIB, 51.0),
        (16 * GIB, 100 * MIB, 1000 * MIB, 18.2),
    ],
)
def test_time_is_memory_over_rate_stretched_by_what_is_written_meanwhile(
    memory: int, dirty: int, rate: int, seconds: float
) -> None:
    result = copy_memory(memory, dirty=dirty, working=memory, rate=rate)
    assert result.seconds == pytest.approx(seconds, rel=0.03)
    assert result.downtime <= 0.13


def test_a_guest_that_writes_faster_than_the_wire_pauses_longer_and_still_arrives() -> None:
    result = copy_memory(4 * GIB, dirty=2 * GIB, working=4 * GIB, rate=50 * MIB)
    assert result.throttle > 0.5
    assert result.downtime > 0.1


def test_memory_that_was_never_written_costs_almost_nothing() -> None:
    assert copy_memory(16 * GIB, dirty=0, working=0, rate=100 * MIB, touched=0.1).seconds < 20


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 32), st.integers(0, 4000), st.floats(0.01, 1.0), st.integers(20, 2000), st.floats(0.05, 1.0))
def test_every_migration_arrives_and_sends_at_least_the_touched_memory(
    gib: int, dirty: int, hot: float, rate: int, touched: float
) -> None:
    working = int(gib * GIB * hot)
    result = copy_memory(gib * GIB, dirty=dirty * MIB, working=working, rate=rate * MIB, touched=touched)
    assert result.transferred >= gib * GIB * touched
    assert result.seconds >= result.transferred / (rate * MIB) * 0.999


def test_a_live_migration_in_its_order() -> None:
    lab = Lab()
    task = lab.migrate(100, "pve2", online=1)
    lab.go(300)
    assert task.exitstatus == "OK"
    story = [
        (entry.kind, entry.facts.get("lock") or entry.facts.get("type") or "")
        for entry in lab.world.journal
        if entry.kind != "migration-start"
    ]
    assert story == [
        ("task-start", "qmigrate"),
        ("guest-lock", "migrate"),
        ("task-start", "qmstart"),
        ("task-end", "qmstart"),
        ("memory-copied", ""),
        ("guest-node", ""),
        ("guest-lock", "none"),
        ("migration-end", ""),
        ("task-end", "qmigrate"),
    ]
    log = texts(task.log)
    assert log[:13] == [
        "conntrack state migration not supported or disabled, active connections might get dropped",
        "starting migration of VM 100 to node 'pve2' (10.0.0.2)",
        "starting VM 100 on remote node 'pve2'",
        "start remote tunnel",
        "ssh tunnel ver 1",
        "starting online/live migration on unix:/run/qemu-server/100.migrate",
        "set migration capabilities",
        "migration downtime limit: 100 ms",
        "migration cachesize: 512.0 MiB",
        "set migration parameters",
        "start migrate command to unix:/run/qemu-server/100.migrate",
        "migration active, transferred 500.0 MiB of 4.0 GiB VM-state, 500.0 MiB/s",
        "migration active, transferred 1000.0 MiB of 4.0 GiB VM-state, 500.0 MiB/s",
    ]
    assert log[-5].startswith("average migration speed: ")
    assert log[-4].startswith("migration completed, transferred 3.1 GiB VM-state")
    assert log[-3] == "migration status: completed"
    assert log[-2].startswith("migration finished successfully (duration 00:00:")
    assert log[-1] == "TASK OK"


def test_a_running_guest_starts_counting_anew_on_the_target() -> None:
    lab = Lab()
    lab.migrate(100, "pve2", online=1)
    lab.go(60)
    assert lab.row("qemu/100")["node"] == "pve2"
    assert lab.row("qemu/100")["uptime"] < 60


def test_two_streams_over_one_link_take_longer_than_one() -> None:
    def seconds(*vmids: int) -> float:
        lab = Lab(extra="", guests=TWINS)
        tasks = [lab.migrate(vmid, f"pve{2 + number % 2}", online=1) for number, vmid in enumerate(vmids)]
        lab.go(3600)
        assert all(task.exitstatus == "OK" for task in tasks)
        return max((task.endtime or 0) - task.starttime for task in tasks)

    assert seconds(100, 101, 102, 103) > seconds(100) * 1.5


TWINS = "".join(f"  {vmid}: {{node: pve1, memory: 16G, dirty: 1M}}\n" for vmid in (100, 101, 102, 103))


def test_a_limit_is_kept_and_told() -> None:
    lab = Lab("  100: {node: pve1, memory: 1G, dirty: 0, touched: 1}\n")
    task = lab.migrate(100, "pve2", online=1, bwlimit=10240)
    lab.go(3600)
    assert "migration speed limit: 10.0 MiB/s" in texts(task.log)
    assert (task.endtime or 0) - task.starttime > 100


def test_disks_move_along_with_their_guest() -> None:
    lab = Lab()
    task = lab.migrate(103, "pve2", online=1, with__local__disks=1)
    lab.go(120)
    assert task.exitstatus == "OK"
    assert "mirror-scsi0: mirror-job finished" in task.log
    place = lab.world.storages["local"].place
    assert "local:103/vm-103-disk-0.raw" in place("pve2")
    assert "local:103/vm-103-disk-0.raw" not in place("pve1")


def test_a_taken_volume_name_makes_a_new_one() -> None:
    lab = Lab()
    local = lab.world.storages["local"]
    local.place("pve2")["local:103/vm-103-disk-0.raw"] = local.place("pve1")["local:103/vm-103-disk-0.raw"]
    lab.migrate(103, "pve2", online=1, with__local__disks=1)
    lab.go(120)
    assert lab.world.guests[103].config["scsi0"] == "local:103/vm-103-disk-1.raw,size=4G"


@pytest.mark.parametrize(
    ("vmid", "params", "line"),
    [
        (103, {"online": 1}, "can't live migrate attached local disks without with-local-disks option"),
        (104, {"online": 1, "with__local__disks": 1}, "local cdrom image"),
    ],
)
def test_what_phase_1_refuses(vmid: int, params: dict[str, int], line: str) -> None:
    lab = Lab()
    task = lab.migrate(vmid, "pve2", **params)
    lab.go(30)
    assert task.exitstatus == "migration aborted"
    assert any(text.startswith("can't migrate local disk") and text.endswith(line) for text in texts(task.log))
    assert texts(task.log)[-1] == "TASK ERROR: migration aborted"
    guest = lab.world.guests[vmid]
    assert (guest.node, guest.run, guest.lock) == ("pve1", "running", None)


@pytest.mark.parametrize(
    ("phase", "status", "node", "run"),
    [
        (1, "migration aborted", "pve1", "running"),
        (2, "migration problems", "pve1", "running"),
        (3, "migration problems", "pve2", "paused"),
    ],
)
def test_where_a_failed_migration_leaves_the_guest(phase: int, status: str, node: str, run: str) -> None:
    lab = Lab()
    faults.apply(lab.world, "migration-fails", guest=100, phase=phase)
    task = lab.migrate(100, "pve2", online=1)
    lab.go(60)
    guest = lab.world.guests[100]
    assert (task.exitstatus, guest.node, guest.run) == (status, node, run)
    assert guest.lock == ("migrate" if phase == 3 else None)
    assert not guest.busy


def test_a_stopped_worker_cleans_up_and_a_killed_one_leaves_its_lock() -> None:
    lab = Lab()
    stopped, killed = lab.migrate(100, "pve2", online=1), lab.migrate(101, "pve2", online=1)
    lab.go(6)
    response = lab.ask("DELETE", f"/nodes/pve1/tasks/{stopped.upid}")
    assert (response.status, response.delay) == (200, 4.0)
    faults.apply(lab.world, "worker-kill", guest=101)
    lab.go(10)
    assert stopped.exitstatus == "migration problems"
    assert "ERROR: online migrate failure - interrupted by signal" in texts(stopped.log)
    assert killed.exitstatus == "unexpected status"
    assert lab.world.guests[100].lock is None
    assert lab.world.guests[101].lock == "migrate"
    assert lab.world.network.flows == []


def test_an_aborted_mirror_leaves_no_disk_on_the_target() -> None:
    lab = Lab()
    task = lab.migrate(103, "pve2", online=1, with__local__disks=1)
    lab.go(8)
    place = lab.world.storages["local"].place
    assert "local:103/vm-103-disk-0.raw" in place("pve2")
    lab.world.tasks.stop(task)
    lab.go(10)
    assert task.exitstatus == "migration problems"
    assert place("pve2") == {}
    assert "local:103/vm-103-disk-0.raw" in place("pve1")


def test_a_worker_that_does_not_end_in_five_seconds_is_killed() -> None:
    lab = Lab()

    def stubborn(_task: Task) -> Body:
        try:
            yield 100.0
        except Interrupted:
            yield 100.0

    task = lab.world.spawn("pve1", "qmmove", "100", "root@pam", stubborn)
    assert lab.world.tasks.stop(task) == 4.0
    lab.go(4.9)
    assert task.running
    lab.go(0.2)
    assert task.exitstatus == "unexpected status"


def test_the_target_dies_under_way_and_the_guest_stays() -> None:
    lab = Lab()
    task = lab.migrate(101, "pve2", online=1)
    lab.go(8)
    faults.apply(lab.world, "node-crash", node="pve2")
    lab.go(30)
    assert task.exitstatus == "migration problems"
    assert (lab.world.guests[101].node, lab.world.guests[101].run) == ("pve1", "running")


def test_the_source_dies_under_way_and_the_lock_stays() -> None:
    lab = Lab()
    task = lab.migrate(101, "pve2", online=1)
    lab.go(8)
    faults.apply(lab.world, "node-crash", node="pve1")
    lab.go(30)
    assert task.exitstatus == "unexpected status"
    assert (lab.world.guests[101].node, lab.world.guests[101].lock) == ("pve1", "migrate")


def test_quorum_lost_before_the_rename_leaves_the_guest_down() -> None:
    lab = Lab("  100: {node: pve1, memory: 8G}\n")
    task = lab.migrate(100, "pve2", online=1)
    lab.go(8)
    for name in ("pve2", "pve3"):
        lab.world.nodes[name].member = False
    lab.go(60)
    guest = lab.world.guests[100]
    assert task.exitstatus == "migration problems"
    assert (guest.node, guest.run, guest.lock) == ("pve1", "postmigrate", "migrate")


def test_a_container_is_restarted_on_the_target() -> None:
    lab = Lab()
    task = lab.migrate(200, "pve1", restart=1)
    lab.go(60)
    log = texts(task.log)
    assert task.exitstatus == "OK"
    assert log[:3] == [
        "shutdown CT 200",
        "starting migration of CT 200 to node 'pve1' (10.0.0.1)",
        "volume 'ceph:vm-200-disk-0' is on shared storage 'ceph'",
    ]
    assert "start container on target node" in log
    assert (lab.world.guests[200].node, lab.world.guests[200].run) == ("pve1", "running")


def test_a_stop_during_a_migration_waits_ten_seconds_for_the_lock_and_gives_up() -> None:
    lab = Lab()
    lab.migrate(101, "pve2", online=1)
    lab.go(3)
    task = lab.task(lab.post("/nodes/pve1/qemu/101/status/stop"))
    lab.go(12)
    assert task.exitstatus == "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout"
    assert task.log[0] == "trying to acquire lock..."


OLD = "Installed QEMU version '9.2.0' is too old to run machine type 'pc-i440fx-10.2+pve0', please upgrade node 'pve2'"


@pytest.mark.parametrize(
    ("node2", "line"),
    [
        ("{bridges: [vmbr1]}", "bridge 'vmbr0' does not exist"),
        ("{cpu: {flags: fpu}}", "kvm: Host doesn't support requested features"),
        ("{version: '8.4'}", OLD),
    ],
)
def test_what_nobody_checks_fails_on_the_target(node2: str, line: str) -> None:
    world = World(load(f"nodes: {{pve1: {{}}, pve2: {node2}}}\nguests:\n  100: {{node: pve1}}\n"), seed=1)
    task = world.spawn(
        "pve1", "qmigrate", "100", "root@pam", worker(world, world.guests[100], Order("pve2", online=True))
    )
    world.advance(world.now + 30)
    assert task.exitstatus == "migration problems"
    assert f"[pve2] {line}" in texts(task.log)
    assert (world.guests[100].node, world.guests[100].run) == ("pve1", "running")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def run(seed: int) -> str:
        lab = Lab(seed=seed)
        for vmid, target in ((100, "pve2"), (101, "pve3")):
            lab.migrate(vmid, target, online=1)
        lab.go(200)
        logs = ["\n".join(task.log) for task in lab.world.tasks.by_upid.values()]
        return "\n".join([*logs, *(f"{entry.at} {entry}" for entry in lab.world.journal)])

    assert run(3) == run(3)
    assert run(3) != run(4)


REPLICATED = "  100: {node: pve1, status: %s, written: 1M, disks: {scsi0: {storage: fast, size: 20G, used: 10G}}}\n"
JOB = "replication: {100-0: {target: pve2, schedule: '*/5'}}\n"


@pytest.mark.parametrize("run", ["running", "stopped"])
def test_a_replicated_guest_sends_only_what_changed_and_turns_its_job_round(run: str) -> None:
    lab = Lab(REPLICATED % run, extra=JOB)
    lab.go(400)
    before = lab.world.network.moved
    assert before >= 10 * GIB
    touched = lab.world.guests[100].rss
    task = lab.migrate(100, "pve2", online=1, with__local__disks=1)
    lab.go(100)
    assert task.exitstatus == "OK"
    assert lab.world.network.moved - before < touched + 1.2 * GIB
    log = texts(task.log)
    assert "found local, replicated disk 'fast:vm-100-disk-0' (attached)" in log
    assert ("drive mirror re-using dirty bitmap 'repl_scsi0'" in log) == (run == "running")
    job = lab.get("/cluster/replication/100-0")
    assert (job["source"], job["target"]) == ("pve2", "pve1")
    place = lab.world.storages["fast"].place
    assert "fast:vm-100-disk-0" in place("pve1")
    assert "fast:vm-100-disk-0" in place("pve2")
    assert lab.world.guests[100].config["scsi0"].startswith("fast:vm-100-disk-0,")


def test_a_replicated_guest_may_not_move_live_to_another_node() -> None:
    lab = Lab(REPLICATED % "running", extra=JOB)
    status, reason = lab.refused("POST", "/nodes/pve1/qemu/100/migrate", target="pve3", online=1)
    assert (status, reason) == (
        500,
        "Cannot live-migrate replicated VM to node 'pve3' - not a replication target. Use 'force' to override.",
    )


def test_a_stopped_guest_on_zfs_sends_what_was_written() -> None:
    lab = Lab(REPLICATED % "stopped")
    task = lab.migrate(100, "pve2")
    lab.go(100)
    assert task.exitstatus == "OK"
    assert lab.world.network.moved == pytest.approx(10 * GIB, rel=0.01)
    assert "full send of rpool/data/vm-100-disk-0@__migration__ estimated size is 10.00G" in texts(task.log)
