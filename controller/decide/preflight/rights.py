"""Checks of what the token may do for this very move. Listed in `preflight.CHECKS`."""

from controller.decide.preflight.disks import storage_map
from controller.decide.preflight.finding import Finding, Look, check, fail, unchecked
from controller.model.facts import Topic
from controller.model.reasons import Why


@check(Why.PERMISSION_MISSING, Why.NOT_CHECKED)
def token_may_move_it(look: Look) -> tuple[Finding, ...]:
    """VM.Migrate on the guest, and VM.Config.Disk when disks go to other storages (qemu-server: PVE/API2/Qemu.pm, migrate_vm)."""
    if look.guest is None:
        return ()
    if look.facts.rights is None:
        return unchecked(look, Topic.RIGHTS, "what the token may do with the guest")
    needed = {"VM.Migrate"} | ({"VM.Config.Disk"} if storage_map(look) else set())
    missing = sorted(needed - look.facts.rights)
    if not missing:
        return ()
    text = f"the token lacks {', '.join(missing)} on /vms/{look.move.vmid}"
    return fail(Why.PERMISSION_MISSING, text, "Grant it: see `drover rights`.")
