"""Guests that a maintenance shuts down, and starts again afterwards: looked at once more, written down, then asked.

Called by `loop.tick` after the moves. Unlike a move, what may not have reached PVE is asked for again: that does no harm.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from controller.act import backoff
from controller.clock import Clock
from controller.model.errors import Ambiguous, Denied, DroverError, Rejected
from controller.model.event import Event, EventType
from controller.model.ids import ObjectRef
from controller.model.memory import Halted
from controller.model.observed import Power
from controller.model.plan import PowerAction, PowerVerb
from controller.pve.client import PveClient
from controller.report.events import Told
from controller.report.store import Store
from controller.specs import Specs


async def carry_out(
    actions: Iterable[PowerAction],
    *,
    specs: Specs,
    store: Store,
    client: PveClient,
    clock: Clock,
    still_wanted: Callable[[], bool],
) -> tuple[Event, ...]:
    """Ask for each of them, if it is still wanted and the guest is as it was seen. What PVE refuses becomes an event."""
    told: list[Event] = []
    for action in actions:
        if not still_wanted():
            break
        try:
            if await _as_seen(action, client):
                told.append(await _ask(action, store, client, clock))
        except (Denied, Rejected) as error:
            now = clock.wall()
            until, under = now + backoff.LOOK_AGAIN_SECONDS, backoff.mark(action.cause, "", specs)
            before = store.memory().backoffs.get(action.vmid)
            store.back_off(
                backoff.obstacle(
                    action.identity, before, why=error.why, message=error.message, until=until, under=under
                )
            )
            text = f"{action.message}; but PVE refuses: {error.message}"
            told.append(Event(EventType.WARNING, error.why, ObjectRef("Guest", str(action.vmid)), text, now, now))
        except DroverError:
            continue  # the next look says what became of it
    return tuple(told)


async def _as_seen(action: PowerAction, client: PveClient) -> bool:
    guest = await client.guest_status(action.node, action.identity.kind, action.vmid)
    wanted = Power.RUNNING if action.verb is PowerVerb.SHUTDOWN else Power.STOPPED
    return guest.power is wanted and not guest.lock


async def _ask(action: PowerAction, store: Store, client: PveClient, clock: Clock) -> Event:
    """Ask for it. Asking twice does no harm, so what may not have reached PVE is asked for again at the next look."""
    now, noted = clock.wall(), store.memory().halted.get(action.vmid)
    kind = action.identity.kind
    if action.verb is PowerVerb.SHUTDOWN:
        halted = Halted(action.identity, action.name, action.node, action.cause, action.elsewhere, now)
        store.remember_halted(halted)  # before the call: a guest that is down because of it has to be started again
        try:
            await client.shut_down(action.node, kind, action.vmid)
        except Ambiguous:
            raise  # it may be shutting down
        except DroverError:
            if noted is None or noted.node != action.node:
                store.forget_halted([action.vmid])
            raise
        store.remember_halted(replace(halted, sent=True))
        told = Told.GUEST_SHUT_DOWN
    else:
        assert noted is not None, "only what was shut down is started again"
        await client.start(action.node, kind, action.vmid)
        store.remember_halted(replace(noted, started_at=now))
        told = Told.GUEST_STARTED
    return Event(EventType.NORMAL, told, ObjectRef("Guest", str(action.vmid)), action.message, now, now)
