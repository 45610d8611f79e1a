"""The line shapes of migration logs; names, sizes and times are ours, the words are PVE's."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.outcome import Progress
from controller.pve.tasklog import follow, follow_run, real_lines, run_bytes

MIB, GIB = 1 << 20, 1 << 30


def told(log: str, start: Progress | None = None) -> Progress:
    return follow(start or Progress(), [line.strip() for line in log.strip().split("\n")])


LIVE = """
2026-05-01 10:00:00 conntrack state migration not supported or disabled, active connections might get dropped
2026-05-01 10:00:00 starting migration of VM 100 to node 'pve2' (10.0.0.2)
2026-05-01 10:00:00 starting VM 100 on remote node 'pve2'
2026-05-01 10:00:03 start remote tunnel
2026-05-01 10:00:04 ssh tunnel ver 1
2026-05-01 10:00:04 starting online/live migration on unix:/run/qemu-server/100.migrate
2026-05-01 10:00:04 set migration capabilities
2026-05-01 10:00:04 migration speed limit: 100.0 MiB/s
2026-05-01 10:00:04 migration downtime limit: 100 ms
2026-05-01 10:00:04 migration cachesize: 512.0 MiB
2026-05-01 10:00:04 set migration parameters
2026-05-01 10:00:04 start migrate command to unix:/run/qemu-server/100.migrate
2026-05-01 10:00:05 migration active, transferred 105.5 MiB of 4.0 GiB VM-state, 112.5 MiB/s
2026-05-01 10:00:06 migration active, transferred 1.5 GiB of 4.0 GiB VM-state, 320.0 MiB/s, VM dirties lots of memory: 400.0 MiB/s
2026-05-01 10:00:06 xbzrle: send updates to 1234 pages in 2.0 MiB encoded memory, cache-miss 40.00%, overflow 12
2026-05-01 10:00:30 auto-increased downtime to continue migration: 200 ms
2026-05-01 10:00:40 average migration speed: 141.2 MiB/s - downtime 57 ms
2026-05-01 10:00:40 migration completed, transferred 3.5 GiB VM-state
2026-05-01 10:00:40 migration status: completed
2026-05-01 10:00:43 migration finished successfully (duration 00:00:43)
TASK OK
"""


def test_a_live_migration_line_by_line() -> None:
    lines = LIVE.strip().split("\n")

    def at(words: str) -> Progress:
        number = next(index for index, line in enumerate(lines) if words in line)
        return follow(Progress(), lines[: number + 1])

    assert at("starting migration").phase == "Preparing"
    assert at("starting online/live").phase == "Memory"
    assert at("downtime limit").downtime_limit_ms == 100

    first = at("105.5 MiB")
    assert (first.transferred_bytes, first.total_bytes) == (int(105.5 * MIB), 4 * GIB)
    assert (first.rate_bytes_s, first.dirty_bytes_s) == (112.5 * MIB, None)
    assert first.eta_seconds == pytest.approx((4096 - 105.5) / 112.5)

    busy = at("lots of memory")
    assert (busy.transferred_bytes, busy.dirty_bytes_s) == (int(1.5 * GIB), 400 * MIB)
    assert (at("auto-increased").downtime_limit_ms, at("auto-increased").downtime_raised) == (200, True)
    assert not at("downtime limit").downtime_raised
    assert at("average migration").downtime_ms == 57

    end = at("TASK OK")
    assert (end.phase, end.transferred_bytes, end.total_bytes) == ("Finishing", int(3.5 * GIB), int(3.5 * GIB))
    assert (end.rate_bytes_s, end.error, end.lines) == (None, "", len(lines))


def test_before_8_the_log_ends_without_a_completed_line() -> None:
    log = [line for line in LIVE.strip().split("\n") if "completed" not in line]
    end = follow(Progress(), log)
    assert (end.transferred_bytes, end.total_bytes, end.downtime_ms) == (int(1.5 * GIB), int(1.5 * GIB), 57)


def test_the_pieces_of_a_log_say_the_same_as_the_whole() -> None:
    for log in (LIVE, MIRRORS, OFFLINE, ZFS):
        lines = log.strip("\n").split("\n")
        piecewise = Progress()
        for line in lines:
            piecewise = follow(piecewise, [line])
        assert piecewise == follow(Progress(), lines)


MIRRORS = """
2026-05-01 10:00:00 starting migration of VM 100 to node 'pve2' (10.0.0.2)
2026-05-01 10:00:00 found local disk 'local-lvm:vm-100-disk-0' (attached)
2026-05-01 10:00:00 starting VM 100 on remote node 'pve2'
2026-05-01 10:00:07 starting storage migration
2026-05-01 10:00:07 scsi0: start migration to nbd:unix:/run/qemu-server/100_nbd.migrate:exportname=drive-scsi0
drive mirror is starting for drive-scsi0 with bandwidth limit: 102400 KiB/s
drive mirror is starting for drive-scsi1
mirror-scsi0: transferred 1.0 GiB of 32.0 GiB (3.13%) in 8s
drive-scsi1: transferred 512.0 MiB of 2.0 GiB (25.00%) in 8s
drive-scsi1: transferred 2.0 GiB of 2.0 GiB (100.00%) in 32s, ready
mirror-scsi0: transferred 16.0 GiB of 32.0 GiB (50.00%) in 2m 8s
mirror-scsi0: transferred 32.0 GiB of 32.0 GiB (100.00%) in 1h 2m 3s, ready
all 'mirror' jobs are ready
2026-05-01 10:02:50 switching mirror jobs to actively synced mode
2026-05-01 10:02:51 starting online/live migration on tcp:10.0.0.2:60000
2026-05-01 10:02:52 migration active, transferred 1.0 GiB of 4.0 GiB VM-state, 256.0 MiB/s
2026-05-01 10:03:20 average migration speed: 141.2 MiB/s - downtime 57 ms
2026-05-01 10:03:20 migration completed, transferred 3.0 GiB VM-state (+ 1.0 MiB VFIO-state)
mirror-scsi0: Completing block job...
mirror-scsi0: Completed successfully.
mirror-scsi0: mirror-job finished
2026-05-01 10:03:22 stopping NBD storage migration server on target.
2026-05-01 10:03:25 migration finished successfully (duration 00:03:25)
TASK OK
"""


def test_disks_are_summed_up_and_the_rate_is_of_what_still_runs() -> None:
    lines = MIRRORS.strip().split("\n")
    both = follow(Progress(), lines[:9])
    assert (both.phase, both.transferred_bytes, both.total_bytes) == ("Disks", GIB + 512 * MIB, 34 * GIB)
    assert both.rate_bytes_s == (GIB + 512 * MIB) / 8

    assert [stream.share for stream in both.streams] == [0.0313, 0.25]
    half = follow(Progress(), lines[:11])
    assert (half.transferred_bytes, half.total_bytes) == (18 * GIB, 34 * GIB)
    assert half.rate_bytes_s == 16 * GIB / 128

    memory = follow(Progress(), lines[:16])
    assert (memory.phase, memory.transferred_bytes, memory.total_bytes) == ("Memory", 35 * GIB, 38 * GIB)
    assert memory.rate_bytes_s == 256 * MIB

    end = told(MIRRORS)
    assert (end.transferred_bytes, end.total_bytes, end.phase) == (37 * GIB, 37 * GIB, "Finishing")


def test_a_mirror_that_has_just_started_leaves_the_total_open() -> None:
    progress = follow(Progress(), MIRRORS.strip().split("\n")[:8])
    assert (progress.transferred_bytes, progress.total_bytes, progress.eta_seconds) == (GIB, None, None)


OFFLINE = """
2026-05-01 10:00:00 starting migration of VM 103 to node 'pve2' (10.0.0.2)
2026-05-01 10:00:00 found local disk 'local:103/vm-103-disk-0.raw' (attached)
2026-05-01 10:00:00 copying local disk images
2026-05-01 10:00:02 Formatting '/var/lib/vz/images/103/vm-103-disk-0.raw', fmt=raw size=1073741824 preallocation=off
2026-05-01 10:00:05 117444608 bytes (117 MB, 112 MiB) copied, 3 s, 38.8 MB/s
2026-05-01 10:00:25 262144+0 records in
2026-05-01 10:00:25 262144+0 records out
2026-05-01 10:00:25 1073741824 bytes (1.1 GB, 1.0 GiB) copied, 24.6819 s, 43.5 MB/s
2026-05-01 10:00:25 successfully imported 'local:103/vm-103-disk-0.raw'
2026-05-01 10:00:25 1073741824 bytes (1.1 GB, 1.0 GiB) copied, 24.7 s, 43.4 MB/s
2026-05-01 10:00:25 volume 'local:103/vm-103-disk-0.raw' is 'local:103/vm-103-disk-0.raw' on the target
2026-05-01 10:00:26 Formatting '/var/lib/vz/images/103/vm-103-cloudinit.qcow2', fmt=qcow2 size=4194304 lazy_refcounts=off
2026-05-01 10:00:27 4194304 bytes (4.2 MB, 4.0 MiB) copied, 0.01 s, 419 MB/s
2026-05-01 10:00:27 successfully imported 'local:103/vm-103-cloudinit.qcow2'
2026-05-01 10:00:29 migration finished successfully (duration 00:00:29)
TASK OK
"""


def test_an_offline_copy_of_files() -> None:
    half = follow(Progress(), OFFLINE.strip().split("\n")[:5])
    assert (half.phase, half.transferred_bytes, half.total_bytes, half.rate_bytes_s) == (
        "Disks",
        117444608,
        GIB,
        38.8e6,
    )
    end = told(OFFLINE)
    assert (end.transferred_bytes, end.total_bytes) == (GIB + 4 * MIB, GIB + 4 * MIB)
    assert [stream.name for stream in end.streams] == ["copy-1", "copy-2"]


ZFS = """
2026-05-01 10:00:00 starting migration of VM 130 to node 'pve2' (10.0.0.2)
2026-05-01 10:00:00 replicating disk images
2026-05-01 10:00:00 start replication job
2026-05-01 10:00:00 guest => VM 130, running => 0
2026-05-01 10:00:03 create snapshot '__replicate_130-0_1777622400__' on tank:vm-130-disk-0
2026-05-01 10:00:03 using secure transmission, rate limit: 20 MByte/s
2026-05-01 10:00:03 incremental sync 'tank:vm-130-disk-0' (__replicate_130-0_1777620000__ => __replicate_130-0_1777622400__)
2026-05-01 10:00:03 using a bandwidth limit of 20000000 bytes per second for transferring 'tank:vm-130-disk-0'
2026-05-01 10:00:04 send from @__replicate_130-0_1777620000__ to tank/vm-130-disk-0@between estimated size is 1.5G
2026-05-01 10:00:04 send from @between to tank/vm-130-disk-0@__replicate_130-0_1777622400__ estimated size is 512M
2026-05-01 10:00:04 total estimated size is 2.00G
2026-05-01 10:00:04 TIME        SENT   SNAPSHOT tank/vm-130-disk-0@__replicate_130-0_1777622400__
2026-05-01 10:00:05 10:00:05    112M   tank/vm-130-disk-0@__replicate_130-0_1777622400__
2026-05-01 10:00:06 10:00:06   1.25G   tank/vm-130-disk-0@__replicate_130-0_1777622400__
2026-05-01 10:00:07 [pve2] successfully imported 'tank:vm-130-disk-0'
2026-05-01 10:00:08 end replication job
2026-05-01 10:00:09 migration finished successfully (duration 00:00:09)
TASK OK
"""


def test_a_replication_run_and_an_insecure_copy() -> None:
    lines = ZFS.strip().split("\n")
    assert follow(Progress(), lines[:10]).total_bytes == 2 * GIB
    moving = follow(Progress(), lines[:13])
    assert (moving.phase, moving.transferred_bytes, moving.total_bytes) == ("Disks", 112 * MIB, 2 * GIB)
    end = told(ZFS)
    assert (end.transferred_bytes, end.total_bytes, end.hints) == (int(1.25 * GIB), int(1.25 * GIB), ())


CONTAINER = """
2026-05-01 10:00:00 shutdown CT 200
2026-05-01 10:00:09 starting migration of CT 200 to node 'pve2' (10.0.0.2)
2026-05-01 10:00:09 volume 'shared:200/vm-200-disk-0.raw' is on shared storage 'shared'
2026-05-01 10:00:10 start final cleanup
2026-05-01 10:00:11 start container on target node
2026-05-01 10:00:11 # /usr/bin/ssh -e none -o 'BatchMode=yes' root@10.0.0.2 pct start 200
2026-05-01 10:00:13 migration finished successfully (duration 00:00:13)
TASK OK
"""


def test_a_container_that_is_restarted_elsewhere() -> None:
    lines = CONTAINER.strip().split("\n")
    assert follow(Progress(), lines[:1]).phase == "Preparing"
    end = told(CONTAINER)
    assert (end.phase, end.transferred_bytes, end.total_bytes, end.error) == ("Finishing", 0, None, "")


DISKS_REFUSED = (
    "can't migrate local disk 'local:iso/a': local cdrom image; "
    "can't migrate local disk 'local:d': non-migratable snapshot exists"
)
PARTNER_IN_THE_WAY = (
    "command 'ha-manager migrate x' failed: exit code 2 (cannot migrate resource 'vm:5' to node 'b':; "
    "resource 'vm:6' on target node 'b' in negative affinity with resource 'vm:5')"
)
FAILURES = {
    "a disk PVE will not move": (
        """
        2026-05-01 10:00:00 starting migration of VM 120 to node 'pve2' (10.0.0.2)
        2026-05-01 10:00:00 found local disk 'local:iso/tiny.iso' (attached)
        2026-05-01 10:00:00 can't migrate local disk 'local:iso/a': local cdrom image
        2026-05-01 10:00:00 can't migrate local disk 'local:d': non-migratable snapshot exists
        2026-05-01 10:00:00 ERROR: Problem found while scanning volumes - can't migrate VM - check log
        2026-05-01 10:00:00 aborting phase 1 - cleanup resources
        ERROR: migration aborted (duration 00:00:01): Problem found while scanning volumes - can't migrate VM - check log
        TASK ERROR: migration aborted
        """,
        DISKS_REFUSED,
    ),
    "a device": (
        """
        2026-05-01 10:00:00 ERROR: migration aborted (duration 00:00:00): can't migrate VM which uses local devices: hostpci0
        TASK ERROR: migration aborted
        """,
        "can't migrate VM which uses local devices: hostpci0",
    ),
    "the target can't start it": (
        """
        2026-05-01 10:00:03 starting VM 100 on remote node 'pve2'
        2026-05-01 10:00:05 [pve2] bridge 'vmbr7' does not exist
        2026-05-01 10:00:05 ERROR: online migrate failure - remote command failed with exit code 255
        2026-05-01 10:00:05 aborting phase 2 - cleanup resources
        2026-05-01 10:00:05 migrate_cancel
        2026-05-01 10:00:06 ERROR: migration finished with problems (duration 00:00:06)
        TASK ERROR: migration problems
        """,
        "remote command failed with exit code 255 (pve2: bridge 'vmbr7' does not exist)",
    ),
    "stopped by a person": (
        """
        2026-05-01 10:00:05 migration active, transferred 105.9 MiB of 4.0 GiB VM-state, 112.3 MiB/s
        2026-05-01 10:00:06 ERROR: online migrate failure - interrupted by signal
        2026-05-01 10:00:06 migrate_cancel
        2026-05-01 10:00:07 ERROR: writing to tunnel failed: broken pipe
        2026-05-01 10:00:07 ERROR: migration finished with problems (duration 00:00:11)
        TASK ERROR: migration problems
        """,
        "interrupted by signal",
    ),
    "QEMU gave up": (
        """
        2026-05-01 10:00:06 migration status error: failed - Unable to write to socket: Broken pipe
        2026-05-01 10:00:06 ERROR: online migrate failure - aborting
        TASK ERROR: migration problems
        """,
        "aborting (migration status error: failed - Unable to write to socket: Broken pipe)",
    ),
    "the target is dead": (
        """
        2026-05-01 10:00:00 # /usr/bin/ssh -e none -o 'BatchMode=yes' root@10.0.0.3 /bin/true
        2026-05-01 10:00:03 ssh: connect to host 10.0.0.3 port 22: No route to host
        2026-05-01 10:00:03 ERROR: migration aborted (duration 00:00:03): Can't connect to destination address using public key
        TASK ERROR: migration aborted
        """,
        "Can't connect to destination address using public key (ssh: connect to host 10.0.0.3 port 22: No route to host)",
    ),
    "a lock": (
        """
        trying to acquire lock...
        TASK ERROR: can't lock file '/var/lock/pve-manager/pve-migrate-100' - got timeout
        """,
        "can't lock file '/var/lock/pve-manager/pve-migrate-100' - got timeout",
    ),
    "an HA rule": (
        """
        Requesting HA migration for VM 145 to node pve2
        cannot migrate resource 'vm:5' to node 'b':

        - resource 'vm:6' on target node 'b' in negative affinity with resource 'vm:5'
        TASK ERROR: command 'ha-manager migrate x' failed: exit code 2
        """,
        PARTNER_IN_THE_WAY,
    ),
    "the end went wrong": (
        """
        2026-05-01 10:00:06 ERROR: failed to clear migrate lock: no quorum
        2026-05-01 10:00:07 ERROR: something in cleaning up
        2026-05-01 10:00:07 ERROR: migration finished with problems (duration 00:00:11)
        TASK ERROR: migration problems
        """,
        "failed to clear migrate lock: no quorum",
    ),
    "nothing but the end": ("TASK ERROR: migration problems", "migration problems"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_the_cause_of_a_failure_is_named(name: str) -> None:
    log, error = FAILURES[name]
    assert told(log).error == error


def test_a_made_up_line_is_no_line() -> None:
    assert real_lines([{"n": 1, "t": "no content"}]) == ()
    assert real_lines([{"n": 1, "t": "unable to open file - No such file or directory"}]) == ()
    assert real_lines([{"n": 1, "t": "a"}, {"n": 2, "t": "no content"}]) == ("a", "no content")
    assert real_lines([]) == real_lines(None) == real_lines([{"n": 1}, 5]) == ()


@given(st.lists(st.text() | st.sampled_from((LIVE + MIRRORS + OFFLINE + ZFS).split("\n")), max_size=30))
def test_no_log_crashes_it_and_what_was_sent_is_the_sum_of_its_parts(lines: list[str]) -> None:
    progress = follow(Progress(), lines)
    assert progress.lines == len(lines)
    assert progress.transferred_bytes == sum(stream.sent_bytes for stream in progress.streams)
    assert progress.eta_seconds is None or progress.eta_seconds >= 0


RECORDED = Path(__file__).resolve().parents[3] / "shared" / "pve" / "recorded"


def test_every_recorded_failure_names_a_cause_and_every_success_none() -> None:
    if not RECORDED.is_dir():
        pytest.skip("the recordings of a real cluster are not beside this checkout")
    seen = 0
    for file in sorted(RECORDED.glob("*/*.json")):
        call = json.loads(file.read_text())
        if not any(f":{kind}:" in call["path"] for kind in ("qmigrate", "vzmigrate", "hamigrate")):
            continue
        if not call["path"].endswith("/log") or call["status"] != 200:
            continue
        lines = real_lines(call.get("body", {}).get("data"))
        if lines and lines[-1].startswith("TASK "):
            seen += 1
            assert bool(follow(Progress(), lines).error) == (lines[-1] != "TASK OK"), file.name
    assert seen > 30


def test_a_run_of_a_replication_job_names_the_job_in_each_line() -> None:
    lines = (
        "2026-05-01 10:00:00 130-0: start replication job",
        "2026-05-01 10:00:04 130-0: full send of tank/vm-130-disk-0@__replicate_130-0_1__ estimated size is 100G",
        "2026-05-01 10:00:04 130-0: total estimated size is 100G",
        "2026-05-01 10:00:04 130-0: TIME        SENT   SNAPSHOT tank/vm-130-disk-0@__replicate_130-0_1__",
        "2026-05-01 10:00:05 130-0: 10:00:05    512M   tank/vm-130-disk-0@__replicate_130-0_1__",
        "2026-05-01 10:00:06 130-0: 10:00:06   34.0G   tank/vm-130-disk-0@__replicate_130-0_1__",
    )
    half = follow_run(Progress(), lines[:3])
    progress = follow_run(half, lines[3:])
    assert (progress.transferred_bytes, progress.total_bytes) == (34 << 30, 100 << 30)
    assert progress.lines == len(lines)


RUN = (
    "2026-05-01 10:00:00 130-0: start replication job",
    "2026-05-01 10:00:04 130-0: create snapshot '__replicate_130-0_1777622400__' on tank:vm-130-disk-0",
    "2026-05-01 10:00:04 130-0: send from @__replicate_130-0_1__ to tank/vm-130-disk-0@b estimated size is 624B",
    "2026-05-01 10:00:04 130-0: total estimated size is 624B",
    "2026-05-01 10:00:04 130-0: TIME        SENT   SNAPSHOT tank/vm-130-disk-0@b",
    "2026-05-01 10:00:05 130-0: successfully imported 'tank:vm-130-disk-0'",
    "2026-05-01 10:00:06 130-0: full send of tank/vm-130-disk-1@b estimated size is 100G",
    "2026-05-01 10:00:06 130-0: total estimated size is 100G",
    "2026-05-01 10:00:07 130-0: 10:00:07   34.0G   tank/vm-130-disk-1@b",
    "2026-05-01 10:00:08 130-0: 10:00:08    101G   tank/vm-130-disk-1@b",
    "2026-05-01 10:00:09 130-0: successfully imported 'tank:vm-130-disk-1'",
    "2026-05-01 10:00:10 130-0: end replication job",
)


def test_what_a_run_sent_is_the_larger_of_estimate_and_stream_of_each_volume() -> None:
    assert run_bytes(RUN, 1777622400) == 624 + (101 << 30)


@pytest.mark.parametrize(
    ("lines", "begun"),
    [
        (RUN, 1777622401),
        (RUN[:-1], 1777622400),
        ((*RUN[:-1], "2026-05-01 10:00:10 130-0: end replication job with error: no"), 1777622400),
        ((), 1777622400),
        (RUN[4:], 1777622400),
    ],
    ids=["of another run", "still running", "failed", "empty", "a part"],
)
def test_a_log_that_is_not_all_of_that_good_run_tells_nothing(lines: tuple[str, ...], begun: int) -> None:
    assert run_bytes(lines, begun) is None
