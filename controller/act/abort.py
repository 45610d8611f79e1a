"""Stops moves that cost more than their MigrationPolicy allows, while that does no harm. Called by `loop` after every `follow`.

What became of the guest is found out as for every other move: by looking (`act.inflight`).
"""

import asyncio
from collections.abc import Mapping

from controller.act import guards
from controller.act.inflight import only_asks
from controller.act.pilot import Pilot
from controller.clock import Clock
from controller.model.errors import Denied, DroverError, Retry, Stale
from controller.model.event import Event, EventType
from controller.model.ids import ObjectRef, Upid, Vmid
from controller.model.memory import Abort, Flight, FlightPhase
from controller.model.outcome import Progress
from controller.model.reasons import Why
from controller.pve import upid as upids
from controller.pve.client import PveClient
from controller.report.events import Told
from controller.report.store import Store
from controller.specs import Specs


class Guard:
    """Watches the moves of one cluster; what it remembers between two looks may be lost without harm."""

    def __init__(self, store: Store, client: PveClient, clock: Clock) -> None:
        self._store = store
        self._client = client
        self._clock = clock
        self.pilot = Pilot(store, client, clock)
        self._histories: dict[Vmid, guards.History] = {}
        self._asked: set[Upid] = set()  # tasks that PVE was asked to stop: a second signal would break their tidying up

    async def watch(self, progress: Mapping[Vmid, Progress], specs: Specs) -> tuple[Event, ...]:
        """Steer and judge every move of which `progress` is known; what was done about it. Raises nothing but faults of Drover."""
        flights = sorted(self._store.memory().flights.values(), key=lambda flight: flight.id)
        known = {flight.vmid for flight in flights}
        self._histories = {vmid: history for vmid, history in self._histories.items() if vmid in known}
        self._asked &= {flight.upid for flight in flights if flight.upid is not None}
        happened = await self.pilot.steer(flights, progress, specs)
        judged = ((flight, self._judge(flight, progress[flight.vmid])) for flight in flights if flight.vmid in progress)
        stops = [self._stop(flight, abort) for flight, abort in judged if abort is not None]
        return (*happened, *(event for event in await asyncio.gather(*stops) if event is not None))

    def _judge(self, flight: Flight, progress: Progress) -> Abort | None:
        """Why PVE has to be asked now to stop the move."""
        if flight.upid is None or flight.phase is not FlightPhase.RUNNING or only_asks(flight.upid):
            return None
        if not guards.sends(progress) or flight.upid in self._asked:
            return None
        if flight.abort is not None:  # the process ended before PVE was asked, or PVE could not be
            return None if flight.abort.refused else flight.abort
        now, age = self._clock.monotonic(), self._clock.wall() - flight.started_at
        history = guards.remember(self._histories.get(flight.vmid), flight, progress, now=now, age=age)
        self._histories[flight.vmid] = history
        return guards.judge(flight, progress, history, now=now, held=self.pilot.holds(flight))

    async def _stop(self, flight: Flight, abort: Abort) -> Event | None:
        """Ask PVE to stop the task, unless the guest has already changed sides: then it would be left paused there."""
        assert flight.upid is not None
        try:
            await self._client.guest_status(flight.source, flight.identity.kind, flight.vmid)
        except Stale:
            self._asked.add(flight.upid)
            return None
        except DroverError:
            return None  # the next look tries again, as below
        try:
            if flight.abort is None:
                self._store.abort_flight(flight.id, abort)
            await self._client.stop_task(flight.upid)
        except Retry:
            return None  # the intent can't be written, or PVE has not got the request
        except Denied as error:
            return self._refused(flight, abort) if error.why is Why.PERMISSION_MISSING else None
        except DroverError:
            pass  # it may have arrived, or there is nothing to stop any more
        self._asked.add(flight.upid)
        return self._event(flight, Told.MOVE_ABORTING, f"Drover stops the move: {abort.message} ({abort.why})")

    def _refused(self, flight: Flight, abort: Abort) -> Event | None:
        assert flight.upid is not None
        task = upids.parse(flight.upid)
        text = f"{abort.message}; but the move goes on: stopping a task of {task.user} needs Sys.Modify on /nodes/{task.node}"
        try:
            self._store.abort_flight(flight.id, Abort(Why.ABORT_NOT_PERMITTED, text))
        except DroverError:
            return None  # the store says it itself; PVE is asked again at the next look
        return self._event(flight, Told.ABORT_NOT_PERMITTED, text)

    def _event(self, flight: Flight, reason: Told, text: str) -> Event:
        now = self._clock.wall()
        return Event(EventType.WARNING, reason, ObjectRef("Guest", str(flight.vmid)), text, now, now)
