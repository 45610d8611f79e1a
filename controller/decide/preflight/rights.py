"""Checks of what the token may do for this very move. Listed in `preflight.CHECKS`."""

from collections.abc import Iterator

from controller.decide.preflight.disks import mapped_storages
from controller.decide.preflight.finding import Finding, Look, check, fail, unchecked
from controller.model.facts import Topic
from controller.model.reasons import Why

_OF_EVERY_MOVE = "VM.Migrate"


@check(Why.PERMISSION_MISSING, Why.NOT_CHECKED)
def token_may_move_it(look: Look) -> tuple[Finding, ...]:
    """VM.Migrate on the guest; when disks go to other storages also VM.Config.Disk, and Datastore.AllocateSpace on each of them.

    PVE asks for no right on the target node (qemu-server: PVE/API2/Qemu.pm, migrate_vm).
    """
    return tuple(_lacking(look)) if look.guest is not None else ()


def _lacking(look: Look) -> Iterator[Finding]:
    mapped = sorted(set(mapped_storages(look).values()))
    if look.facts.rights is None:
        yield from unchecked(look, Topic.RIGHTS, "what the token may do with the guest")
    else:
        for privilege in (_OF_EVERY_MOVE, *(["VM.Config.Disk"] if mapped else [])):
            if privilege not in look.facts.rights:
                text = f"the token lacks {privilege} on /vms/{look.move.vmid}"
                yield from fail(Why.PERMISSION_MISSING, text, _remedy(privilege))
    if not mapped:
        return
    if look.facts.storage_rights is None:
        yield from unchecked(look, Topic.STORAGE_RIGHTS, f"whether the token may write to {', '.join(mapped)}")
        return
    for name in mapped:
        if "Datastore.AllocateSpace" not in look.facts.storage_rights.get(name, ()):
            text = f"the token lacks Datastore.AllocateSpace on /storage/{name}, where disks would go"
            yield from fail(Why.PERMISSION_MISSING, text, _remedy("Datastore.AllocateSpace"))


def _remedy(privilege: str) -> str:
    """What only some moves need is not in the role that `drover rights` prints."""
    if privilege == _OF_EVERY_MOVE:
        return "Grant it: see `drover rights`."
    return f"Add it to the token's role: `pveum role modify DroverController --append 1 --privs {privilege}`."
