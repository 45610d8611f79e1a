"""Checks of the guest itself: is it still there, the same, as it was. Listed in `preflight.CHECKS`."""

from controller.decide.preflight.finding import Finding, Look, check, fail, unchecked, wait, warn
from controller.decide.selectors import matches
from controller.model.facts import Topic
from controller.model.ids import GuestKind
from controller.model.observed import NodeState, Power
from controller.model.reasons import Why


@check(Why.GUEST_MOVED)
def guest_is_on_the_source(look: Look) -> tuple[Finding, ...]:
    """It may have been moved, or removed, since the plan was made."""
    source = look.fresh.source
    if look.fresh.guest is None and (source is None or source.state is not NodeState.ONLINE):
        return ()  # nobody can say
    if look.fresh.guest is None:
        return fail(Why.GUEST_MOVED, f"{look.named} is no longer on {look.move.source}")
    if look.fresh.guest.node != look.move.source:
        return fail(Why.GUEST_MOVED, f"{look.named} is on {look.fresh.guest.node}, not on {look.move.source}")
    return ()


@check(Why.IDENTITY_CHANGED)
def guest_is_the_same(look: Look) -> tuple[Finding, ...]:
    """VMIDs are reused: the config says who it really is."""
    config, guest = look.fresh.config, look.fresh.guest
    others = [each.identity for each in (config, guest) if each is not None]
    if all(look.move.identity.same_as(identity) for identity in others):
        return ()
    return fail(Why.IDENTITY_CHANGED, f"{look.move.vmid} is another guest now than when the move was planned")


@check(Why.UNMANAGED)
def guest_is_managed(look: Look) -> tuple[Finding, ...]:
    """Tags and pools are how people say hands off."""
    guest = look.guest
    if guest is None or matches(look.cluster.spec.managed_guests, guest):
        return ()
    return fail(Why.UNMANAGED, f"{look.named} is no longer managed by Drover")


@check(Why.GUEST_LOCKED)
def guest_is_unlocked(look: Look) -> tuple[Finding, ...]:
    """PVE refuses to migrate a locked guest; a container's lock shows only when the task has begun."""
    guest = look.guest
    if guest is None or not guest.lock:
        return ()
    return wait(Why.GUEST_LOCKED, f"{look.named} is locked ({guest.lock})")


@check(Why.STATE_CHANGED)
def run_state_is_as_planned(look: Look) -> tuple[Finding, ...]:
    """Room was kept for a running guest, or none for a stopped one: what changed has to be planned anew."""
    guest = look.guest
    if guest is None:
        return ()
    if guest.power is Power.UNKNOWN:
        return wait(Why.STATE_CHANGED, f"PVE does not say whether {look.named} runs")
    planned = look.move.options.online or look.move.options.restart
    if look.running != planned:
        return wait(
            Why.STATE_CHANGED, f"{look.named} was {'running' if planned else 'stopped'} and is {guest.power.value}"
        )
    verdict = look.fresh.preconditions
    if verdict is not None and verdict.running != look.running:
        return wait(Why.STATE_CHANGED, f"{look.named} is being started or stopped")
    return ()


@check(Why.IS_TEMPLATE)
def guest_is_no_new_template(look: Look) -> tuple[Finding, ...]:
    """A guest that was made a template since the plan falls under other rules."""
    before = look.seen.guests.get(look.move.vmid)
    if look.guest is None or not look.guest.template or (before is not None and before.template):
        return ()
    return fail(Why.IS_TEMPLATE, f"{look.named} is a template now")


@check(Why.CONTAINER_NEEDS_RESTART)
def container_may_be_restarted(look: Look) -> tuple[Finding, ...]:
    """A running container is stopped, moved and started: only with the consent that the move carries."""
    if look.move.kind is not GuestKind.LXC or not look.running or look.move.options.restart:
        return ()
    return fail(Why.CONTAINER_NEEDS_RESTART, f"{look.named} runs, and nobody allowed to restart it")


@check(Why.CHANGE_PENDING, Why.NOT_CHECKED)
def no_change_is_pending(look: Look) -> tuple[Finding, ...]:
    """A running VM keeps the hardware it was started with, also on the target (qemu-server: PVE/API2/Qemu.pm, vm_pending)."""
    if look.guest is None or not look.live:
        return ()
    if look.facts.pending is None:
        return unchecked(look, Topic.PENDING, "whether changes wait for a cold start")
    if not look.facts.pending:
        return ()
    keys = ", ".join(sorted(look.facts.pending))
    return warn(Why.CHANGE_PENDING, f"changes of {keys} wait for a cold start; the present values count")
