"""Checks of what is in a VM's CD drives, and what may be taken out of them. Listed in `preflight.CHECKS`.

PVE gives up on an ISO from local storage and on the physical drive, also when the guest is stopped
(qemu-server: PVE/QemuMigrate.pm, scan_local_volumes).
"""

from collections.abc import Mapping

from controller.decide.preflight.finding import Finding, Look, check, fail, warn
from controller.model.reasons import Why
from controller.specs.migrationpolicy import LocalMedia

PRIVILEGE = "VM.Config.CDROM"


def ejections(look: Look) -> Mapping[str, str]:
    """Drives that have to be empty before the move, with what is in them; none where the policy leaves them alone."""
    if look.policy.local_media is LocalMedia.BLOCK or look.fresh.config is None:
        return {}
    local = _local(look)
    return {disk.key: disk.volume for disk in look.fresh.config.disks if disk.cdrom and disk.volume in local}


@check(Why.LOCAL_MEDIA, Why.PERMISSION_MISSING)
def no_local_medium(look: Look) -> tuple[Finding, ...]:
    """What the policy allows to eject is ejected right before the move; what only a snapshot names can't be."""
    local = _local(look)
    if not local:
        return ()
    text = f"{look.named} has local media in its drives: {', '.join(local)}"
    drives = ejections(look)
    if any(volume not in drives.values() for volume in local):
        return fail(Why.LOCAL_MEDIA, text)
    if look.facts.rights is not None and PRIVILEGE not in look.facts.rights:
        lacks = f"{text}; to eject them the token lacks {PRIVILEGE} on /vms/{look.move.vmid}"
        return fail(Why.PERMISSION_MISSING, lacks, "Eject them, or grant it: see `drover rights`.")
    return warn(
        Why.LOCAL_MEDIA, f"{text}; they are ejected before the move", "Nothing, if the guest can do without them."
    )


def _local(look: Look) -> tuple[str, ...]:
    verdict = look.fresh.preconditions
    return tuple(disk.volume for disk in verdict.local_disks if disk.cdrom and not disk.cloudinit) if verdict else ()
