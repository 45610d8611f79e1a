"""Local media: taken out of a VM's drives before it leaves, put back when it is home again and its policy says Restore.

`eject` is called by `act.execute`, `restore` by `loop.tick`. What is taken out is on disk before it is: a process that ends in
between finds a drive that is not empty, and has nothing to put back.
"""

from collections.abc import Mapping, Sequence

from controller.clock import Clock
from controller.decide.scene import shut
from controller.model.errors import Denied, DroverError, Rejected
from controller.model.event import Event, EventType
from controller.model.ids import ObjectRef, Vmid
from controller.model.memory import Ejected
from controller.model.observed import GuestConfig, Observed
from controller.model.plan import Move
from controller.model.reasons import Why
from controller.pve.client import PveClient
from controller.report.events import Told
from controller.report.store import Store
from controller.specs import Specs
from controller.specs.migrationpolicy import LocalMedia

EMPTY, PHYSICAL = "none", "cdrom"
"""What PVE calls a drive without a medium, and the node's own drive (qemu-server: PVE/QemuServer/Drive.pm)."""
SETTLE_SECONDS = 60.0
"""A medium is not put back before this: the guest may be about to leave."""


async def eject(
    move: Move, config: GuestConfig, drives: Mapping[str, str], *, store: Store, client: PveClient, clock: Clock
) -> Event:
    """Empty `drives` of the guest, as `config` was read. Raises DroverError; Stale when the config has changed since."""
    now = clock.wall()
    store.remember_media(Ejected(config.identity, move.source, drives, move.options.policy, now))
    values = dict.fromkeys(drives, f"{EMPTY},media=cdrom")
    await client.set_drives(move.source, move.vmid, values, digest=config.digest)
    text = f"ejected {_listed(drives)} so that {move.kind.noun} {move.vmid} {move.name} can leave {move.source}"
    return _event(move.vmid, EventType.NORMAL, Told.MEDIA_EJECTED, text, now)


async def restore(*, store: Store, client: PveClient, seen: Observed, specs: Specs, clock: Clock) -> tuple[Event, ...]:
    """Put media back into the drives of guests that are home, and forget those that mean nothing any more.

    Raises Retry(STORE_FAILED).
    """
    memory = store.memory()
    if not memory.media:
        return ()
    happened: list[Event] = []
    closed = shut(specs, seen)
    for vmid, ejected in sorted(memory.media.items()):
        guest = seen.guests.get(vmid)
        if guest is None:
            continue  # lists may be filtered by a token without rights: what is not seen is not gone
        if not ejected.identity.same_as(guest.identity):
            store.forget_media([vmid])
        elif not (
            vmid in memory.flights
            or vmid in memory.backoffs
            or guest.lock
            or guest.node != ejected.node
            or guest.node in closed
            or clock.wall() - ejected.at < SETTLE_SECONDS
        ):
            happened += await _at_home(ejected, store, client, specs, clock)
    return tuple(happened)


async def _at_home(ejected: Ejected, store: Store, client: PveClient, specs: Specs, clock: Clock) -> Sequence[Event]:
    policy, vmid = specs.migrations.get(ejected.policy), ejected.identity.vmid
    if policy is None or policy.spec.local_media is not LocalMedia.RESTORE:
        store.forget_media([vmid])
        return ()
    try:
        config = await client.guest_config(ejected.node, ejected.identity.kind, vmid)
        drives = _restorable(ejected, config)
        if drives:
            values = {drive: f"{volume},media=cdrom" for drive, volume in drives.items()}
            await client.set_drives(ejected.node, vmid, values, digest=config.digest)
    except (Denied, Rejected) as error:
        if error.why is Why.AUTH_FAILED:
            return ()
        store.forget_media([vmid])
        text = f"{_listed(ejected.drives)} was not put back: {error.message}"
        return [_event(vmid, EventType.WARNING, Told.MEDIA_NOT_RESTORED, text, clock.wall())]
    except DroverError:
        return ()  # locked, changed or silent: the next tick looks again
    store.forget_media([vmid])
    text = f"put {_listed(drives)} back"
    return [_event(vmid, EventType.NORMAL, Told.MEDIA_RESTORED, text, clock.wall())] if drives else ()


def _restorable(ejected: Ejected, config: GuestConfig) -> Mapping[str, str]:
    """Drives that are still empty and belong to the same guest. A physical drive needs rights that Drover does not ask for."""
    if not ejected.identity.same_as(config.identity):
        return {}
    empty = {disk.key for disk in config.disks if disk.volume == EMPTY}
    return {drive: volume for drive, volume in ejected.drives.items() if drive in empty and volume != PHYSICAL}


def _listed(drives: Mapping[str, str]) -> str:
    return ", ".join(f"{volume} ({drive})" for drive, volume in sorted(drives.items()))


def _event(vmid: Vmid, type_: EventType, reason: Told, text: str, now: float) -> Event:
    return Event(type_, reason, ObjectRef("Guest", str(vmid)), text, now, now)
