"""Checks of what PVE itself says about the move. Listed in `preflight.CHECKS`."""

from controller.decide.preflight.disks import mapped_storages
from controller.decide.preflight.finding import Finding, Level, Look, check, fail
from controller.model.ids import GuestKind
from controller.model.reasons import Why


@check(Why.STALE, Why.NOT_SUPPORTED)
def pve_has_given_its_verdict(look: Look) -> tuple[Finding, ...]:
    """VMs have the call in every version, containers since 9.0 (pve-container: PVE/API2/LXC.pm)."""
    guest = look.guest
    if look.fresh.preconditions is not None or guest is None or guest.lock or not look.fresh.quorate:
        return ()  # of a locked VM, and without quorum, PVE does not give one
    if look.facts.rights is not None and "VM.Migrate" not in look.facts.rights:
        return ()  # nor to somebody who may not move it
    if look.move.kind is GuestKind.QEMU:
        return fail(Why.STALE, f"PVE's own check of {look.named} could not be read", "Nothing: Drover looks again.")
    text = "this PVE has no check for containers, so Drover's own ones stand in"
    return (Finding(Level.OK, Why.NOT_SUPPORTED, text),)


@check(Why.NOT_ALLOWED_BY_PVE)
def pve_allows_the_target(look: Look) -> tuple[Finding, ...]:
    """A storage or mapped device that the target lacks, or a resource that HA keeps apart from it."""
    verdict = look.fresh.preconditions
    if verdict is None:
        return ()
    missing = verdict.missing_storages.get(look.move.target, ())
    objections = [f"it has no storage {name}" for name in missing if name not in mapped_storages(look)]
    objections += verdict.objections.get(look.move.target, ())
    if not objections:
        return ()
    return fail(
        Why.NOT_ALLOWED_BY_PVE, f"PVE does not allow {look.move.target} for {look.named}: {'; '.join(objections)}"
    )


@check(Why.LOCAL_RESOURCE)
def no_device_of_the_node(look: Look) -> tuple[Finding, ...]:
    """A device that is passed through belongs to its node; PVE refuses also when the guest is stopped.

    Of containers PVE says so only when the task has begun (pve-container: PVE/LXC/Migrate.pm).
    """
    verdict, setup = look.fresh.preconditions, look.facts.setup
    if setup is not None and setup.host_mounts:
        mounts = ", ".join(setup.host_mounts)
        return fail(Why.LOCAL_RESOURCE, f"{look.named} uses directories or devices of {look.move.source}: {mounts}")
    if verdict is None:
        return ()
    found: tuple[Finding, ...] = ()
    if verdict.local_resources:
        found += fail(
            Why.LOCAL_RESOURCE,
            f"{look.named} uses what can't leave {look.move.source}: {', '.join(verdict.local_resources)}",
        )
    if verdict.unmovable_mapped and look.running:
        devices = ", ".join(verdict.unmovable_mapped)
        found += fail(Why.LOCAL_RESOURCE, f"{look.named} runs with mapped devices that can't migrate live: {devices}")
    return found
