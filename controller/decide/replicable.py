"""What of a guest can be replicated: its volumes on local ZFS, or the one that stands in the way.

Called by `decide.replication` for policies, by `decide.volumes` and `decide.preflight` for moves.

PVE replicates ZFS pools alone, and refuses the job of a guest that has any other local volume unless that says `replicate=0`
(qemu-server: PVE/QemuConfig.pm and pve-container: PVE/LXC/Config.pm, get_replicatable_volumes).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.model.ids import NodeName
from controller.model.observed import Disk, GuestConfig, Storage
from controller.model.reasons import Why
from controller.specs.migrationpolicy import LocalDisks, LocalDisksFallback, MigrationPolicySpec

ZFS = "zfspool"
Rows = Mapping[tuple[NodeName, str], Storage]
"""Storages by node and name."""


@dataclass(frozen=True, slots=True)
class Load:
    """Bytes of a guest's volumes by storage: what a replica of it may come to occupy."""

    by_storage: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """All of them."""
        return sum(self.by_storage.values())


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a guest can't be replicated at all; the message begins with the volume."""

    why: Why
    message: str


def load(config: GuestConfig, node: NodeName, rows: Rows) -> Load | Obstacle:
    """What a replica of the guest on `node` consists of, or what PVE would refuse it for."""
    found: dict[str, int] = {}
    for disk in config.disks:
        if not _counts(disk):
            continue
        row = rows.get((node, disk.storage))
        if not disk.storage:
            return Obstacle(Why.NOT_REPLICABLE, f"{disk.key} ({disk.volume}) is a file or device of its node")
        if row is None:
            text = f"{disk.volume}: the token does not see storage {disk.storage} of {node}, so its type is unknown"
            return Obstacle(Why.NOT_CHECKED, text)
        if row.shared:
            continue
        if row.type != ZFS:
            text = (
                f"{disk.volume} ({disk.key}) is on {disk.storage}, which is {row.type or 'no ZFS'}; only ZFS replicates"
            )
            return Obstacle(Why.NOT_REPLICABLE, text)
        found[disk.storage] = found.get(disk.storage, 0) + (disk.size_bytes or 0)
    if not found:
        return Obstacle(Why.NOTHING_TO_REPLICATE, "no volume of it is on local ZFS")
    return Load(found)


def first_load(spec: MigrationPolicySpec, config: GuestConfig, node: NodeName, rows: Rows) -> Load | Obstacle | None:
    """What has to be on the target before the guest moves there as its MigrationPolicy says; None: nothing.

    A local disk that says `replicate=0` would have to be copied all the same, so it stands in the way unless that is allowed.
    """
    if spec.local_disks is not LocalDisks.REPLICATE_FIRST:
        return None
    found = load(config, node, rows)
    if isinstance(found, Obstacle):
        return None if found.why is Why.NOTHING_TO_REPLICATE else found
    for disk in config.disks:
        row = rows.get((node, disk.storage))
        left = not disk.replicate and not disk.cdrom and row is not None and not row.shared
        if left and spec.local_disks_fallback is LocalDisksFallback.BLOCK:
            return Obstacle(Why.NOT_REPLICABLE, f"{disk.volume} ({disk.key}) says `replicate=0`")
    return found


def _counts(disk: Disk) -> bool:
    """CDs and cloud-init drives are made anew on the target, or hold nothing."""
    return not disk.cdrom and disk.replicate and disk.volume not in ("", "none") and "-cloudinit" not in disk.volume
