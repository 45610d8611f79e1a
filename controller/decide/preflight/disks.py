"""Checks of a guest's volumes: may they move, can they be copied, does the target take them. Listed in `preflight.CHECKS`.

Free space on the target is checked by nothing in PVE.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from controller.decide.preflight.finding import Finding, Look, check, fail, unchecked, wait, warn
from controller.decide.replicable import Load, Obstacle, first_load
from controller.decide.words import size
from controller.model.facts import Topic
from controller.model.ids import GuestKind
from controller.model.observed import LocalDisk, NodeState, Storage
from controller.model.reasons import Why
from controller.specs.migrationpolicy import LocalDisks, LocalDisksFallback

_COPIED_TYPES = frozenset({"dir", "btrfs", "zfspool", "lvmthin", "lvm"})
"""Types of local storage that PVE copies from (qemu-server: PVE/QemuMigrate.pm, scan_local_volumes)."""
_KEEPS_SNAPSHOTS = frozenset({"zfspool", "btrfs"})
_LINKED = re.compile(r":(?:\d+/)?base-\d+-[^/]*/")
_OWNER = re.compile(r"(?:^|[:/])(?:vm|subvol|basevol|base)-(\d+)-[^/]*$")


def local_disks(look: Look) -> tuple[LocalDisk, ...]:
    """Volumes on storage that is not shared, without CDs: PVE lists those of VMs; of containers the storages tell."""
    if look.move.kind is GuestKind.QEMU:
        verdict = look.fresh.preconditions
        return tuple(disk for disk in verdict.local_disks if not disk.cdrom or disk.cloudinit) if verdict else ()
    config, here = look.fresh.config, _storages(look, source=True)
    return tuple(
        LocalDisk(
            disk.volume, disk.size_bytes, cdrom=False, cloudinit=False, attached=True, in_snapshot=_has_snapshots(look)
        )
        for disk in (config.disks if config is not None else ())
        if disk.storage in here and not here[disk.storage].shared
    )


def _has_snapshots(look: Look) -> bool:
    """Of a container PVE does not say which volume is in a snapshot: they all are."""
    return look.facts.setup is not None and look.facts.setup.snapshots


def copied(look: Look) -> tuple[LocalDisk, ...]:
    """Those that would be copied whole, because a policy allows it; of a replicated one only the difference moves."""
    if not _copying(look):
        return ()
    return tuple(disk for disk in local_disks(look) if not disk.cloudinit and not _replicated(look, disk))


def storage_map(look: Look) -> str:
    """`targetstorage` for the call: `a:b,c:d` for storages that are called otherwise on the target, "" when none is."""
    return ",".join(f"{here}:{there}" for here, there in sorted(mapped_storages(look).items()))


def mapped_storages(look: Look) -> Mapping[str, str]:
    """Storages of disks that would be copied, with their names on the target where these are others."""
    pairs = {name: _on_the_target(look, name) for name in map(_storage_of, copied(look))}
    return {here: there for here, there in pairs.items() if there != here}


@check(Why.LOCAL_DISK, Why.FIRST_SYNC)
def local_disks_may_move(look: Look) -> tuple[Finding, ...]:
    """More than memory would have to move, unless only the difference to a replica is missing."""
    return tuple(_local_disk_troubles(look))


def _local_disk_troubles(look: Look) -> Iterator[Finding]:
    for disk in local_disks(look):
        if disk.cloudinit:  # made anew, or copied in a blink
            continue
        if look.policy.local_disks is LocalDisks.FORBID:
            yield from _local(look, disk, f"MigrationPolicy/{look.move.options.policy} says `localDisks: Forbid`")
        elif not _replicated(look, disk) and replicable(look):
            text = f"{look.named} has disk {disk.volume}, which is on local ZFS: Drover replicates it to {look.move.target} first"
            yield from wait(Why.FIRST_SYNC, text)
        elif not _replicated(look, disk) and not _copying(look):
            reason = f"{_why_not_replicated(look)}, and no MigrationPolicy says `localDisks: Copy`"
            yield from _local(look, disk, reason)


def _local(look: Look, disk: LocalDisk, reason: str) -> tuple[Finding, ...]:
    return fail(
        Why.LOCAL_DISK,
        f"{look.named} has disk {disk.volume} on local storage: {reason}",
        elsewhere=bool(look.replication_targets - {look.move.target}),
    )


def _replicated(look: Look, disk: LocalDisk) -> bool:
    """Whether a job leads to the target and takes this disk along (a disk may say `replicate=0`)."""
    if look.move.target not in look.replication_targets or look.fresh.config is None:
        return False
    return any(each.volume == disk.volume and each.replicate for each in look.fresh.config.disks)


def replicable(look: Look) -> bool:
    """Whether the policy wants the disks on the target before the move, and PVE can replicate them."""
    return isinstance(_first_load(look), Load)


def _first_load(look: Look) -> Load | Obstacle | None:
    guest, config = look.guest, look.fresh.config
    if guest is None or config is None or guest.template:
        return None
    rows = {(row.node, row.name): row for row in look.seen.storages}
    return first_load(look.policy, config, look.move.source, rows)


def _why_not_replicated(look: Look) -> str:
    found = _first_load(look)
    if isinstance(found, Obstacle):
        return f"it can't be replicated to {look.move.target} ({found.message})"
    return f"it is not replicated to {look.move.target}"


def _copying(look: Look) -> bool:
    """With a fallback only what can't be replicated is copied; of the rest the disks that no job takes along."""
    policy = look.policy
    if policy.local_disks is not LocalDisks.REPLICATE_FIRST:
        return policy.local_disks is LocalDisks.COPY
    first = replicable(look) and look.move.target not in look.replication_targets
    return policy.local_disks_fallback is LocalDisksFallback.COPY and not first


@check(Why.LINKED_CLONE, Why.STORAGE_TYPE, Why.LOCAL_SNAPSHOT, Why.FOREIGN_VOLUME, Why.LOCAL_RESOURCE)
def copied_disks_can_be_copied(look: Look) -> tuple[Finding, ...]:
    """What PVE finds out only in the task, when it looks at the volumes (qemu-server: PVE/QemuMigrate.pm, scan_local_volumes)."""
    return tuple(_copy_troubles(look))


def _copy_troubles(look: Look) -> Iterator[Finding]:
    here = _storages(look, source=True)
    for disk in copied(look):
        storage = here.get(_storage_of(disk))
        owner = _OWNER.search(disk.volume)
        if disk.volume.startswith("/"):
            text = f"{look.named} uses {disk.volume} of {look.move.source}, which is on no storage"
            yield from fail(Why.LOCAL_RESOURCE, text)
            continue
        if owner is not None and int(owner[1]) != look.move.vmid:
            yield from fail(Why.FOREIGN_VOLUME, f"{disk.volume} belongs to guest {owner[1]}, by its name")
        if clones := _clones_of(look, disk):
            text = f"{disk.volume} is the base of linked clones, which would stay without it: {', '.join(clones)}"
            yield from fail(Why.LINKED_CLONE, text)
        if _LINKED.search(disk.volume):
            yield from fail(
                Why.LINKED_CLONE, f"{disk.volume} is a linked clone, and its base stays on {look.move.source}"
            )
        if storage is not None and storage.type and storage.type not in _COPIED_TYPES:
            yield from fail(Why.STORAGE_TYPE, f"{disk.volume} is on storage of type {storage.type}")
        if disk.in_snapshot and not _snapshots_travel(look, disk, storage):
            yield from fail(
                Why.LOCAL_SNAPSHOT, f"{disk.volume} has snapshots and is not replicated to {look.move.target}"
            )


def _clones_of(look: Look, disk: LocalDisk) -> list[str]:
    """Guests whose config, as last read, names a volume made of this one."""
    prefix = f"{disk.volume}/"
    return sorted(
        str(look.seen.guests[vmid])
        for vmid, config in look.seen.configs.items()
        if vmid in look.seen.guests and any(each.volume.startswith(prefix) for each in config.disks)
    )


def _snapshots_travel(look: Look, disk: LocalDisk, storage: Storage | None) -> bool:
    """Never while the VM runs; of a stopped one where the copy is a stream of the file system, or one file."""
    if look.live:
        return False
    return storage is None or storage.type in _KEEPS_SNAPSHOTS or disk.volume.endswith(".qcow2")


@check(Why.STORAGE_MISSING, Why.STORAGE_OFFLINE, Why.STORAGE_CONTENT, Why.NOT_CHECKED)
def storages_are_on_the_target(look: Look) -> tuple[Finding, ...]:
    """Enabled, active, and for this kind of volume. PVE does not ask beforehand whether a shared storage is active there.

    By the target's own word: the cluster's rows go on calling a dead storage available for five minutes.
    """
    if not _wants_storages(look):
        return ()
    found = tuple(_storage_troubles(look))
    if look.fresh.storages is not None:
        return found
    return found + unchecked(look, Topic.STORAGES, f"whether the storages of its disks work on {look.move.target}")


def _storage_troubles(look: Look) -> Iterator[Finding]:
    here, there = _storages(look, source=True), _storages(look, source=False)
    content, target = "rootdir" if look.move.kind is GuestKind.LXC else "images", look.move.target
    for name, needed_by in _needed(look).items():
        storage = there.get(name)
        if storage is None and name not in here and name not in look.policy.target_storage.values():
            text = f"not checked whether {target} has storage {name}: the token may not see it (Datastore.Audit)"
            yield from warn(Why.NOT_CHECKED, text)
        elif storage is None:
            yield from fail(Why.STORAGE_MISSING, f"{target} has no storage {name}, which {needed_by} needs")
        elif not storage.available:
            yield from fail(Why.STORAGE_OFFLINE, f"storage {name} is not available on {target} at this moment")
        elif storage.content and content not in storage.content:
            yield from fail(
                Why.STORAGE_CONTENT, f"storage {name} on {target} takes no {content}, which {needed_by} needs"
            )


@check(Why.NO_SPACE, Why.NOT_CHECKED)
def copied_disks_fit(look: Look) -> tuple[Finding, ...]:
    """By their whole size: what is not allocated is skipped only between some types of storage."""
    there = _storages(look, source=False)
    sums: dict[str, int] = defaultdict(int)
    found: tuple[Finding, ...] = ()
    for disk in copied(look):
        if disk.size_bytes is None:
            found += warn(Why.NOT_CHECKED, f"not checked whether {disk.volume} fits: PVE does not say how large it is")
        sums[_on_the_target(look, _storage_of(disk))] += disk.size_bytes or 0
    for name, total in sorted(sums.items()):
        free = there[name].free_bytes if name in there else None
        if free is not None and total > free:
            text = f"{size(total)} would be copied to {name} on {look.move.target}, which has {size(free)} free"
            found += fail(Why.NO_SPACE, text)
        elif free is None and name in there:
            found += warn(Why.NOT_CHECKED, f"not checked whether {size(total)} fit on {name}: its size is not known")
    return found


def _wants_storages(look: Look) -> bool:
    target = look.fresh.target
    return bool(_needed(look)) and target is not None and target.state is NodeState.ONLINE


def _needed(look: Look) -> Mapping[str, str]:
    """Storages by the names that they need to have on the target, with the first disk that needs them."""
    config = look.fresh.config
    travelling = {disk.volume for disk in copied(look)}
    found: dict[str, str] = {}
    for disk in config.disks if config is not None and look.guest is not None else ():
        unused = disk.key.startswith("unused") and disk.volume not in travelling
        if disk.storage and not disk.cdrom and not unused:
            name = _on_the_target(look, disk.storage) if disk.volume in travelling else disk.storage
            found.setdefault(name, disk.key)
    return found


def _on_the_target(look: Look, storage: str) -> str:
    return look.policy.target_storage.get(storage, storage)


def _storage_of(disk: LocalDisk) -> str:
    return disk.volume.partition(":")[0]


def _storages(look: Look, *, source: bool) -> Mapping[str, Storage]:
    """Of the source as last seen; of the target by its own word, as last seen when it did not answer."""
    node = look.move.source if source else look.move.target
    rows = look.seen.storages if source or look.fresh.storages is None else look.fresh.storages
    return {storage.name: storage for storage in rows if storage.node == node}
