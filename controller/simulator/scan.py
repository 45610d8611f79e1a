"""Phase 1 of a migration: which volumes are local, which of them may move, and how.

Called by `simulator.migrate`; words and rules of qemu-server: PVE/QemuMigrate.pm scan_local_volumes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.simulator.migration import Migration, PhaseFailed
from controller.simulator.preconditions import local_disks
from controller.simulator.replication import ReplicationFailed
from controller.simulator.storage import COPYABLE, storage_of
from controller.simulator.world import World


@dataclass(slots=True)
class Volumes:
    """Volume ids: to copy before the machine runs on the target, to mirror while it runs, and replicated ones."""

    offline: list[str] = field(default_factory=list)
    online: list[str] = field(default_factory=list)
    replicated: list[str] = field(default_factory=list)


def scan(run: Migration) -> Volumes:
    """Log the local volumes and sort them; raises PhaseFailed when one cannot move."""
    guest, order, world = run.guest, run.order, run.world
    found = Volumes(replicated=_replicated(run))
    problems: list[str] = []
    for disk in sorted(local_disks(world, guest), key=lambda disk: str(disk["volid"])):
        volid, why = str(disk["volid"]), _objection(run, disk, found.replicated)
        if volid == "cdrom":
            problems.append("can't migrate local cdrom drive")
            continue
        run.log(_found(disk, found.replicated))
        if disk["is_cloudinit"] and "size" not in disk:
            run.log(f"drive '{disk['drivename']}': size of disk '{volid}' updated from 0T to 4M")
        if why:
            problems.append(f"can't migrate local disk '{volid}': {why}")
        elif not _supported(world, volid):
            problems.append(
                f"can't migrate '{volid}' - storage type '{world.storages[storage_of(volid)].type}' not supported"
            )
        elif guest.running and disk["is_attached"] and not disk["is_cloudinit"] and not disk["is_tpmstate"]:
            found.online.append(volid)
        elif volid not in found.replicated:
            found.offline.append(volid)
    for problem in problems:
        run.log(problem)
    if problems:
        raise PhaseFailed("Problem found while scanning volumes - can't migrate VM - check log")
    for volid in found.offline + found.online if order.storages is None else ():
        name = storage_of(volid)
        if not world.storages[name].enabled(order.target):
            raise PhaseFailed(f"storage '{name}' is not available on node '{order.target}'")
    return found


def _replicated(run: Migration) -> list[str]:
    replicator = run.world.replicator
    if replicator.job_to(run.guest, run.order.target) is None:
        return []
    try:
        return [drive.volid for drive in replicator.replicated(run.guest)]
    except ReplicationFailed as failure:
        raise PhaseFailed(str(failure)) from failure


def _supported(world: World, volid: str) -> bool:
    storage = world.storages.get(volid.partition(":")[0])
    return storage is None or storage.type in COPYABLE


def _found(disk: Mapping[str, Any], replicated: list[str]) -> str:
    if disk["is_cloudinit"]:
        return f"found generated disk '{disk['volid']}' (in current VM config)"
    origin = "attached" if disk["is_attached"] else "unused" if disk["is_unused"] else "referenced by snapshot(s)"
    kind = "local, replicated disk" if disk["volid"] in replicated else "local disk"
    return f"found {kind} '{disk['volid']}' ({origin})"


def _objection(run: Migration, disk: Mapping[str, Any], replicated: list[str]) -> str:
    guest, order = run.guest, run.order
    generated = disk["is_cloudinit"] or disk["is_tpmstate"]
    if guest.running and disk["is_attached"] and not generated and not order.local_disks:
        return "can't live migrate attached local disks without with-local-disks option"
    if disk["cdrom"] and not disk["is_cloudinit"]:
        return "local cdrom image"
    if disk["volid"].startswith("/"):
        return "local file/device"
    if "referenced_in_snapshot" in disk and disk["volid"] not in replicated:
        storage = run.world.storages[disk["volid"].partition(":")[0]]
        if guest.running:
            return "online storage migration not possible if non-replicated snapshot exists"
        if storage.type != "zfspool" and not disk["volid"].endswith(".qcow2"):
            return "non-migratable snapshot exists"
    return ""
