"""Checks of what PVE itself says about the move, and of disks and replication. Listed in `preflight.CHECKS`."""

from collections.abc import Iterator

from controller.decide.preflight.finding import Finding, Level, Look, fail, warn
from controller.model.ids import GuestKind
from controller.model.observed import LocalDisk
from controller.model.reasons import Why
from controller.specs.migrationpolicy import LocalDisks, LocalDisksFallback


def pve_has_given_its_verdict(look: Look) -> tuple[Finding, ...]:
    """VMs have the call in every version, containers since 9.0 (pve-container: PVE/API2/LXC.pm)."""
    guest = look.guest
    if look.fresh.preconditions is not None or guest is None or guest.lock:
        return ()  # of a locked VM PVE does not give one
    if look.move.kind is GuestKind.QEMU:
        return fail(Why.STALE, f"PVE's own check of {look.named} could not be read", "Nothing: Drover looks again.")
    return warn(Why.NOT_SUPPORTED, "this PVE has no check for containers: volumes on local storage would be copied")


def pve_allows_the_target(look: Look) -> tuple[Finding, ...]:
    """A storage or mapped device that the target lacks, or a resource that HA keeps apart from it."""
    verdict = look.fresh.preconditions
    objections = verdict.objections.get(look.move.target, ()) if verdict is not None else ()
    if not objections:
        return ()
    return fail(
        Why.NOT_ALLOWED_BY_PVE, f"PVE does not allow {look.move.target} for {look.named}: {'; '.join(objections)}"
    )


def no_device_of_the_node(look: Look) -> tuple[Finding, ...]:
    """A device that is passed through belongs to its node; PVE refuses also when the guest is stopped."""
    verdict = look.fresh.preconditions
    if verdict is None:
        return ()
    found: tuple[Finding, ...] = ()
    if verdict.local_resources:
        found += fail(
            Why.LOCAL_RESOURCE, f"{look.named} uses {', '.join(verdict.local_resources)} of {look.move.source}"
        )
    if verdict.unmovable_mapped and look.running:
        devices = ", ".join(verdict.unmovable_mapped)
        found += fail(Why.LOCAL_RESOURCE, f"{look.named} runs with mapped devices that can't migrate live: {devices}")
    return found


def no_local_medium(look: Look) -> tuple[Finding, ...]:
    """PVE gives up on an ISO from local storage and on the physical drive, also when the guest is stopped."""
    verdict = look.fresh.preconditions
    media = [disk.volume for disk in verdict.local_disks if disk.cdrom and not disk.cloudinit] if verdict else []
    return fail(Why.LOCAL_MEDIA, f"{look.named} has local media in its drives: {', '.join(media)}") if media else ()


def local_disks_may_move(look: Look) -> tuple[Finding, ...]:
    """More than memory would have to move, unless only the difference to a replica is missing."""
    return tuple(_local_disk_troubles(look))


def _local_disk_troubles(look: Look) -> Iterator[Finding]:
    verdict = look.fresh.preconditions
    for disk in verdict.local_disks if verdict is not None else ():
        if disk.cdrom or disk.cloudinit:  # a cloud-init image is made anew, or copied in a blink
            continue
        if look.policy.local_disks is LocalDisks.FORBID:
            yield _local(look, disk, f"MigrationPolicy/{look.move.options.policy} says `localDisks: Forbid`")
        elif not _replicated(look, disk) and not _copied_offline(look):
            state = "runs" if look.running else "is stopped, but no MigrationPolicy says `localDisks: Copy`"
            yield _local(look, disk, f"it is not replicated to {look.move.target}, and the guest {state}")


def _local(look: Look, disk: LocalDisk, reason: str) -> Finding:
    text = f"{look.named} has disk {disk.volume} on local storage: {reason}"
    return Finding(Level.FAIL, Why.LOCAL_DISK, text, Why.LOCAL_DISK.remedy)


def _replicated(look: Look, disk: LocalDisk) -> bool:
    """Whether a job leads to the target and takes this disk along (a disk may say `replicate=0`)."""
    if look.move.target not in look.replication_targets or look.fresh.config is None:
        return False
    return any(each.volume == disk.volume and each.replicate for each in look.fresh.config.disks)


def _copied_offline(look: Look) -> bool:
    policy = look.policy
    copies = LocalDisks.COPY is policy.local_disks or (
        policy.local_disks is LocalDisks.REPLICATE_FIRST and policy.local_disks_fallback is LocalDisksFallback.COPY
    )
    return copies and not look.running


def replication_leads_to_the_target(look: Look) -> tuple[Finding, ...]:
    """PVE refuses to move a running, replicated VM elsewhere (qemu-server: PVE/API2/Qemu.pm); HA forces it and breaks the jobs."""
    jobs = [job for job in look.fresh.jobs if job.vmid == look.move.vmid]
    removed = [job.id for job in jobs if job.removing and job.target == look.move.target]
    if removed:
        return fail(Why.NOT_A_REPLICATION_TARGET, f"replication job {removed[0]} of {look.named} is being removed")
    if not jobs or look.move.kind is not GuestKind.QEMU or not look.running:
        return ()
    if look.move.target in look.replication_targets:
        return ()
    targets = ", ".join(sorted(look.replication_targets)) or "no node"
    text = f"{look.named} is replicated to {targets}, not to {look.move.target}"
    if look.guest is not None and look.guest.ha_managed:
        return warn(
            Why.NOT_A_REPLICATION_TARGET, f"{text}; PVE HA moves it all the same, and its jobs will need a full copy"
        )
    return fail(Why.NOT_A_REPLICATION_TARGET, text)
