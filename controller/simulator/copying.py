"""Volumes on the move: offline copies, mirrors of running disks, new names on the target, and the tidying up.

Called by `simulator.migrate`. Lines are those of pve-storage: PVE/CLI/pvesm.pm and qemu-server: PVE/QemuServer/BlockJob.pm.
"""

import re
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from controller.simulator.engine import Interrupted, Wait
from controller.simulator.network import Flow
from controller.simulator.storage import FILES, Storage, Volume, storage_of, volume_path
from controller.simulator.tasks import stamp
from controller.simulator.units import render_bytes, render_duration

if TYPE_CHECKING:
    from controller.simulator.migration import Migration


ACTIVE_SYNC = (8, 2)
"""QEMU from which mirrors are switched to write-blocking mode."""
_QCOW2_HEADER = 327_680
_BITMAP_GRAIN = 65536.0
"""Bytes that a dirty bitmap marks at least."""


class CopyFailed(Exception):  # noqa: N818 - one step's `die`, caught by the phase around it
    """A volume could not be copied."""


def target_storage(run: "Migration", name: str) -> Storage:
    """Return where the volumes of storage `name` go."""
    mapping = run.order.storages
    if mapping is not None:
        name = mapping.get(name, mapping.get("", name))
    return run.world.storages[name]


def allocate(run: "Migration", volid: str) -> str:
    """Create the volume on the target under the same name, or the next free one; raises CopyFailed when it is full."""
    volume = source_volume(run, volid)
    storage = target_storage(run, volid.partition(":")[0])
    place = storage.place(run.order.target)
    path = volid.partition(":")[2]
    name = f"{storage.name}:{path}"
    if name in place:
        if storage.type in FILES:
            run.log(f"file '{volume_path(storage, name)}' already exists - importing with a different name")
        name = storage.free_volid(run.order.target, run.guest.vmid)
    if storage.used(run.order.target) + volume.used > storage.size:
        run.log(f"[{run.order.target}] error during allocation: no space left on storage '{storage.name}'")
        raise CopyFailed("remote command failed with exit code 255")
    place[name] = replace(volume, volid=name, used=0)
    run.allocated.append((storage.name, name))
    return name


def source_volume(run: "Migration", volid: str) -> Volume:
    """Return the volume on the source; one that the file did not list is taken as 1 GiB."""
    storage = run.world.storages[volid.partition(":")[0]]
    return storage.place(run.source).setdefault(volid, Volume(volid, 1 << 30, 1 << 28, run.guest.vmid))


def offline(run: "Migration", volid: str) -> Generator[Wait, Any, None]:
    """Copy one volume of a stopped disk through ssh, with the output of the storage tools."""
    world, target = run.world, run.order.target
    volume = source_volume(run, volid)
    if run.order.disk_ceiling != float("inf"):
        limit = int(run.order.disk_ceiling)
        run.log(f"using a bandwidth limit of {limit} bytes per second for transferring '{volid}'")
    name = allocate(run, volid)
    storage = world.storages[volid.partition(":")[0]]
    tell = _ZfsSend(run, volid, storage, volume) if storage.type == "zfspool" else _Dd(run, volume, name)
    yield 0.5
    tell.begin()
    flow = world.network.start(run.source, target, tell.size, run.ceiling(run.order.disk_ceiling), run.task)
    try:
        while not flow.done.fired:
            if (yield (flow.done, tell.period)) is False:
                world.network.settle()
                tell.progress(flow.sent)
    except Interrupted:
        world.network.stop(flow)
        # what is under way stays behind as an orphan on the target
        run.allocated = [entry for entry in run.allocated if entry[1] != name]
        raise CopyFailed(_export_failed(run, volid, name, "interrupted by signal")) from None
    if flow.done.value is False:
        raise CopyFailed(_export_failed(run, volid, name, "exit code 255"))
    if not name.endswith(".qcow2"):
        tell.end()
        run.log(f"successfully imported '{name}'")
        tell.source_end()
    else:
        tell.end()
        tell.source_end()
        run.log(f"successfully imported '{name}'")
    run.log(f"volume '{volid}' is '{name}' on the target")
    _arrived(run, name, volume)
    run.moved[volid] = name


def _export_failed(run: "Migration", volid: str, name: str, why: str) -> str:
    target, limit = run.order.target, run.order.disk_ceiling
    throttle = f"/usr/bin/cstream -t {int(limit)} | " if limit != float("inf") else ""
    options = (
        f"-e none -o 'BatchMode=yes' -o 'HostKeyAlias={target}'"
        f" -o 'UserKnownHostsFile=/etc/pve/nodes/{target}/ssh_known_hosts' -o 'GlobalKnownHostsFile=none'"
    )
    kind = "zfs" if run.world.storages[volid.partition(":")[0]].type == "zfspool" else "raw+size"
    there = f"/usr/bin/ssh {options} root@{run.world.nodes[target].ip}"
    arguments = f"{volid} {kind} - -with-snapshots 0"
    command = (
        f"set -o pipefail && pvesm export {arguments} | {throttle}{there} -- pvesm import {arguments} -allow-rename 1"
    )
    storage = name.partition(":")[0]
    return f"storage migration for '{volid}' to storage '{storage}' failed - command '{command}' failed: {why}"


class _Dd:
    """What `qemu-img` and `dd` say about a copied file or block device, which is sent in full."""

    period = 3.0

    def __init__(self, run: "Migration", volume: Volume, name: str) -> None:
        self._run = run
        self._name = name
        self._begin = run.world.now
        self._format = "qcow2" if name.endswith(".qcow2") else "raw"
        self.size = float(volume.size + (_QCOW2_HEADER if self._format == "qcow2" else 0))
        self._virtual = volume.size

    def begin(self) -> None:
        storage = self._run.world.storages[self._name.partition(":")[0]]
        if "path" not in storage.entry(""):
            return
        path = f"{storage.entry('')['path']}/images/{self._name.partition(':')[2]}"
        raw = f"size={self._virtual} preallocation=off"
        qcow2 = (
            "cluster_size=65536 extended_l2=off preallocation=metadata compression_type=zlib "
            f"size={self._virtual} lazy_refcounts=off refcount_bits=16"
        )
        self._run.log(f"Formatting '{path}', fmt={self._format} {raw if self._format == 'raw' else qcow2}")

    def progress(self, sent: float) -> None:
        self._run.log(_dd(sent, self._run.world.now - self._begin))

    def end(self) -> None:
        self._records(f"{max(1, int(self.size) >> 12)}+0")

    def source_end(self) -> None:
        """Write what the sending side has to say, which arrives after the receiver's."""
        self._records(f"{max(1, int(self.size) >> 16)}+{max(1, int(self.size) >> 17)}")

    def _records(self, count: str) -> None:
        self._run.log(f"{count} records in")
        self._run.log(f"{count} records out")
        self._run.log(_dd(self.size, self._run.world.now - self._begin))


class _ZfsSend:
    """What `zfs send` says; only what was written is sent."""

    period = 1.0

    def __init__(self, run: "Migration", volid: str, storage: Storage, volume: Volume) -> None:
        self._run = run
        self.size = float(max(volume.used, 4096))
        self._dataset = f"{storage.config.get('pool', 'rpool/data')}/{volid.partition(':')[2]}@__migration__"

    def begin(self) -> None:
        self._run.log(f"full send of {self._dataset} estimated size is {zfs_size(self.size)}")
        self._run.log(f"total estimated size is {zfs_size(self.size)}")
        self._run.log(f"TIME        SENT   SNAPSHOT {self._dataset}")

    def progress(self, sent: float) -> None:
        clock = stamp(self._run.task, self._run.world.now)[11:]
        self._run.log(f"{clock}   {zfs_size(sent)}   {self._dataset}")

    def end(self) -> None:
        pass

    def source_end(self) -> None:
        pass


def zfs_size(size: float) -> str:
    """Return bytes as `zfs send -v` prints them: `624B`, `8192K`, `1.50G`."""
    for unit in ("B", "K", "M", "G"):
        if size < 1024 or unit == "G":
            break
        size /= 1024
    return f"{size:.0f}{unit}" if unit in "BK" else f"{size:.2f}{unit}"


def _dd(size: float, seconds: float) -> str:
    rate = size / max(seconds, 0.001)
    return f"{int(size)} bytes ({_decimal(size)}, {render_bytes(size)}) copied, {seconds:.0f} s, {rate / 1e6:.0f} MB/s"


def _decimal(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _arrived(run: "Migration", name: str, volume: Volume) -> None:
    storage = run.world.storages[name.partition(":")[0]]
    storage.place(run.order.target)[name].used = volume.used


def mirror(run: "Migration") -> Generator[Wait, Any, None]:
    """Mirror the disks of a running machine, all at once, until every one is ready."""
    world = run.world
    run.log("starting storage migration")
    jobs = _Jobs(run, {drive: source_volume(run, volid) for drive, volid in _drives(run)})
    run.mirrors = jobs.start()
    begin = world.now
    while not jobs.ready():
        yield (jobs.any_done(), 1.0)
        world.network.settle()
        jobs.report(world.now - begin)
    run.plain("all 'mirror' jobs are ready")
    if tuple(map(int, run.guest.qemu.split(".")[:2])) >= ACTIVE_SYNC:
        run.log("switching mirror jobs to actively synced mode")
        for drive in jobs.volumes:
            run.plain(f"{jobs.prefix}-{drive}: switching to actively synced mode")
            run.plain(f"{jobs.prefix}-{drive}: successfully switched to actively synced mode")
    for volid in run.mirrored:
        _arrived(run, run.moved.get(volid, volid), source_volume(run, volid))


def _drives(run: "Migration") -> list[tuple[str, str]]:
    keys = {drive.volid: drive.key for drive in run.guest.drives()}
    return [(keys.get(volid, volid), volid) for volid in run.mirrored]


def job_prefix(run: "Migration") -> str:
    """Return how block jobs are called: by the machine's version (qemu-server: PVE/QemuServer/BlockJob.pm)."""
    version = re.search(r"-(\d+)\.", run.guest.machine)
    return "mirror" if version is None or int(version[1]) >= 10 else "drive"


class _Jobs:
    def __init__(self, run: "Migration", volumes: dict[str, Volume]) -> None:
        self.run = run
        self.volumes = volumes
        self.flows: dict[str, Flow] = {}
        self.told: set[str] = set()
        self.prefix = job_prefix(run)

    def start(self) -> list[Flow]:
        run, limit = self.run, self.run.order.disk_ceiling
        for drive, volume in self.volumes.items():
            run.log(
                f"{drive}: start migration to nbd:unix:/run/qemu-server/{run.guest.vmid}_nbd.migrate:"
                f"exportname=drive-{drive}"
            )
            bounded = "" if limit == float("inf") else f" with bandwidth limit: {int(limit / 1024)} KiB/s"
            size = float(volume.size)
            if volume.volid in run.replicated:
                run.plain(f"drive mirror re-using dirty bitmap 'repl_{drive}'{bounded}")
                seconds = run.world.now - run.tracked_since
                size = min(size, run.guest.written * seconds + _BITMAP_GRAIN)
            else:
                run.plain(f"drive mirror is starting for drive-{drive}{bounded}")
            ceiling = run.ceiling(limit)
            flow = run.world.network.start(run.source, run.order.target, size, ceiling, run.task)
            self.flows[drive] = flow
        return list(self.flows.values())

    def ready(self) -> bool:
        if any(flow.done.fired and flow.done.value is False for flow in self.flows.values()):
            raise CopyFailed("block job (mirror) error: connection to the target was lost")
        return all(flow.done.fired for flow in self.flows.values())

    def any_done(self) -> Any:
        return next(flow.done for flow in self.flows.values() if not flow.done.fired)

    def report(self, seconds: float) -> None:
        for drive, flow in self.flows.items():
            if drive in self.told:
                continue
            done = flow.done.fired
            share = 100.0 if done else flow.sent / flow.size * 100
            self.run.plain(
                f"{self.prefix}-{drive}: transferred {render_bytes(flow.sent)} of {render_bytes(flow.size)} ({share:.2f}%)"
                f" in {render_duration(seconds)}{', ready' if done else ''}"
            )
            if done:
                self.told.add(drive)


def stop_mirrors(run: "Migration") -> None:
    """Cancel the block jobs."""
    for flow in run.mirrors:
        run.world.network.stop(flow)
    run.mirrors = []


def finish_mirrors(run: "Migration") -> None:
    """Complete the block jobs once memory has arrived."""
    prefix = job_prefix(run)
    run.plain("all 'mirror' jobs are ready")
    for drive, _ in _drives(run):
        run.plain(f"{prefix}-{drive}: Completing block job...")
        run.plain(f"{prefix}-{drive}: Completed successfully.")
        run.plain(f"{prefix}-{drive}: mirror-job finished")


def free_target(run: "Migration") -> None:
    """Remove what was allocated on the target."""
    for storage, name in run.allocated:
        run.world.storages[storage].place(run.order.target).pop(name, None)
    run.allocated = []


def free_source(run: "Migration") -> None:
    """Remove the copied volumes from the source."""
    for volid in run.moved:
        run.world.storages[volid.partition(":")[0]].place(run.source).pop(volid, None)


def rename_volumes(run: "Migration") -> None:
    """Write the volumes' names on the target into the configuration."""
    renamed = {old: new for old, new in run.moved.items() if new and old != new}
    if not renamed:
        return
    changes: dict[str, Any] = {}
    for key, text in run.guest.config.items():
        volid, comma, rest = str(text).partition(",")
        if volid in renamed:
            changes[key] = f"{renamed[volid]}{comma}{rest}"
    run.world.set_config(run.guest, changes)


def hand_over_jobs(run: "Migration") -> None:
    """Hand the replication jobs and their state over to the target, when there are any."""
    world, vmid = run.world, run.guest.vmid
    local = run.guest.type == "lxc" and any(
        storage is not None and not storage.shared
        for storage in (world.storages.get(storage_of(drive.volid)) for drive in run.guest.drives())
    )
    if not world.replication_jobs(vmid) and not local:
        return
    run.log(f"# {run.ssh} pvesr set-state {vmid} \\''{{}}'\\'")
    world.replicator.moved(run.guest, run.source, run.order.target, run.moved)
