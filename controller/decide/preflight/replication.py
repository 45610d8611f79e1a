"""Checks of a guest's replication jobs. Listed in `preflight.CHECKS`."""

from controller.decide.explain import BROKEN
from controller.decide.preflight.disks import replicable
from controller.decide.preflight.finding import Finding, Look, check, fail, unchecked, wait, warn
from controller.model.facts import Topic
from controller.model.ids import GuestKind
from controller.model.reasons import Why


@check(Why.NOT_A_REPLICATION_TARGET, Why.FIRST_SYNC)
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
    if replicable(look):
        text = f"{look.named} is replicated to {targets}: Drover replicates it to {look.move.target} as well before it moves"
        return wait(Why.FIRST_SYNC, text)
    text = f"{look.named} is replicated to {targets}, not to {look.move.target}"
    if look.guest is not None and look.guest.ha_managed:
        return warn(
            Why.NOT_A_REPLICATION_TARGET, f"{text}; PVE HA moves it all the same, and its jobs will need a full copy"
        )
    return fail(Why.NOT_A_REPLICATION_TARGET, text)


@check(Why.REPLICATION_RUNNING, Why.NOT_CHECKED)
def no_replication_runs(look: Look) -> tuple[Finding, ...]:
    """A job that runs holds the guest's lock, for which a migration waits only 10 s (pve-guest-common: PVE/GuestHelpers.pm)."""
    if not look.fresh.jobs or look.guest is None:
        return ()
    if look.facts.job_states is None:
        return unchecked(look, Topic.REPLICATION, "whether a replication job runs")
    running = [job.id for job in look.facts.job_states if job.running]
    return wait(Why.REPLICATION_RUNNING, f"replication job {', '.join(running)} runs just now") if running else ()


@check(Why.REPLICATION_FAILING)
def replication_is_well(look: Look) -> tuple[Finding, ...]:
    """The move begins with a run of the job to its target, and fails if that fails (qemu-server: PVE/QemuMigrate.pm)."""
    if look.guest is None:
        return ()
    for job in look.facts.job_states or ():
        if job.target != look.move.target or not job.failures:
            continue
        text = f"replication job {job.id} to {job.target} has failed {job.failures} times: {job.error or 'no reason given'}"
        return fail(Why.REPLICATION_FAILING, text) if job.failures >= BROKEN else warn(Why.REPLICATION_FAILING, text)
    return ()
