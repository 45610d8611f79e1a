"""Starts moves: look again, write the intent, ask PVE, write the answer. Starts tasks and returns; waits for nothing.

Called by `loop.tick` with the moves of the newest plan that may start now.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from controller.act import backoff, guards, media, pilot
from controller.act.inflight import HA_REQUEST
from controller.clock import Clock
from controller.decide import preflight
from controller.model.errors import Ambiguous, Denied, DroverError, Rejected, Retry
from controller.model.event import Event, EventType
from controller.model.ids import GuestIdentity, ObjectRef, Upid
from controller.model.memory import Backoff, Caution, Flight, FlightPhase, Origin
from controller.model.observed import Fresh, Observed, Power, Task
from controller.model.outcome import Outcome, Result
from controller.model.plan import Move
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.observe.cluster import Observer
from controller.pve import upid as upids
from controller.pve.client import PveClient
from controller.report.events import Told
from controller.report.store import Store
from controller.specs import Specs

FRESH_SECONDS = 10.0
"""A look that is older than this when its turn comes is repeated: the calls before it may have hung."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was read for one move. `at`: monotonic seconds."""

    at: float
    fresh: Fresh
    tasks: tuple[Task, ...]  # of the guest, on its source


async def execute(
    moves: Sequence[Move],
    *,
    specs: Specs,
    seen: Observed,
    store: Store,
    client: PveClient,
    observer: Observer,
    clock: Clock,
    still_wanted: Callable[[Move], Finding | None] = lambda _: None,
    tell: Callable[[Event], None] = lambda _: None,
) -> tuple[Outcome, ...]:
    """Start `moves`, in this order, and say of each what became of it: STARTED, REFUSED or UNKNOWN.

    A guest whose partner can't leave stays as well. The looks at different guests overlap; intents are written and calls are made
    one after the other, in the plan's order.
    `still_wanted` is asked right before each intent and returns why not to start any more; `tell` hears what else was done.
    Raises nothing but faults of Drover.
    """
    starter = _Starter(specs, seen, store, client, observer, clock, still_wanted, tell)
    looks = [asyncio.ensure_future(starter.look(move)) for move in moves]
    try:
        outcomes = []
        for move, look in zip(moves, looks, strict=True):
            partners = [(each, await its) for each, its in zip(moves, looks, strict=True) if each.vmid in move.partners]
            if waits := starter.left_behind(move, partners):
                outcomes.append(starter.refused(move, [waits]))
            else:
                outcomes.append(await starter.start(move, await look))
        return tuple(outcomes)
    finally:
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)


async def examine(
    moves: Sequence[Move],
    *,
    specs: Specs,
    seen: Observed,
    store: Store,
    client: PveClient,
    observer: Observer,
    clock: Clock,
) -> tuple[Outcome, ...]:
    """Of `moves` that are only being prepared those that could not start in the end: REFUSED, and remembered as such.

    A copy of a guest's disks takes hours; what speaks against the move should be known before. What passes is no objection.
    """
    starter = _Starter(specs, seen, store, client, observer, clock, lambda _: None, lambda _: None)
    found = [(move, await starter.lasting(move)) for move in moves]
    return tuple(starter.refused(move, objections) for move, objections in found if objections)


@dataclass(frozen=True, slots=True)
class _Starter:
    """Starts one move at a time."""

    specs: Specs
    seen: Observed
    store: Store
    client: PveClient
    observer: Observer
    clock: Clock
    still_wanted: Callable[[Move], Finding | None]
    tell: Callable[[Event], None]

    async def look(self, move: Move) -> _Look | DroverError:
        """Everything that has to be read right before the move."""
        at = self.clock.monotonic()
        try:
            fresh = await self.observer.fresh(move, mapped_to=preflight.mapped_to(move, self.specs))
            tasks = await self.client.node_tasks(move.source, vmid=move.vmid, source="all")
        except DroverError as error:
            return error
        return _Look(at, fresh, tasks)

    async def lasting(self, move: Move) -> Sequence[preflight.Finding]:
        """What speaks against the move and does not pass by itself; nothing when it could not be looked at."""
        look = await self.look(move)
        if isinstance(look, DroverError):
            return ()
        return [each for each in self._objections(move, look) if each.why not in backoff.PASSING]

    def left_behind(self, move: Move, partners: Sequence[tuple[Move, _Look | DroverError]]) -> preflight.Finding | None:
        """What keeps somebody who is to leave together with the guest, and has not left yet."""
        flights = self.store.memory().flights
        for partner, look in partners:
            if partner.vmid in flights:
                continue
            if isinstance(look, DroverError) or self._objections(partner, look):
                text = f"{move.name} is kept together with {partner.name}, which can't leave"
                return _objection(Why.WAITING_FOR_PARTNER, text)
        return None

    async def start(self, move: Move, look: _Look | DroverError) -> Outcome:
        """Start the move, unless something objects."""
        if isinstance(look, _Look) and self.clock.monotonic() - look.at > FRESH_SECONDS:
            look = await self.look(move)
        if isinstance(look, DroverError):
            return self._refused_by_error(move, look)
        objections = self._objections(move, look)
        if objections:
            return self.refused(move, objections)
        if drives := self._ejections(move, look):
            return await self._start_without_media(move, look, drives)
        return await self._submit(move, look)

    async def _submit(self, move: Move, look: _Look) -> Outcome:
        """Write the intent and ask PVE."""
        before = self.store.memory()
        cautions = preflight.cautions(move, look.fresh, self.specs, self.seen, before)
        move = preflight.refine(move, look.fresh, self.specs, self.seen, before)
        planned = replace(self._flight(move, look), cautions=cautions)
        try:
            flight = self.store.begin_flight(planned, origin=self._origin(move, look))
        except DroverError as error:
            return self.refused(move, [_objection(error.why, error.message)])
        running = look.fresh.guest is not None and look.fresh.guest.power.holds_memory
        try:
            upid = await self.client.migrate(
                move.source, move.kind, move.vmid, move.target, move.options, running=running
            )
        except Ambiguous as error:
            text = f"the request to move {move.name} was sent, but {error.message.rstrip('.')}; Drover observes what became of it"
            return self._outcome(move, Result.UNKNOWN, Why.ANSWER_LOST, text)
        except DroverError as error:
            return self._never_started(move, flight, error, before.origins.get(move.vmid))
        for caution in cautions:
            self.tell(self._caution(move, caution))
        return self._started(move, flight, upid)

    def _caution(self, move: Move, caution: Caution) -> Event:
        """Told once per guest and finding: the store counts repetitions."""
        now = self.clock.wall()
        text = f"{move.kind.noun} {move.vmid} {move.name} {move.source} -> {move.target} ({caution.why}): {caution.message}"
        about = ObjectRef("Guest", str(move.vmid))
        return Event(EventType.WARNING, Told.PREFLIGHT_WARNING, about, text, now, now)

    def _ejections(self, move: Move, look: _Look) -> Mapping[str, str]:
        return preflight.ejections(move, look.fresh, self.specs, self.seen, self.store.memory())

    async def _start_without_media(self, move: Move, look: _Look, drives: Mapping[str, str]) -> Outcome:
        """Empty the drives, look again, and start the move if they are empty now."""
        assert look.fresh.config is not None, "no drive is known without a config"
        try:
            event = await media.eject(
                move, look.fresh.config, drives, store=self.store, client=self.client, clock=self.clock
            )
            self.tell(event)
        except Ambiguous:
            pass  # the look tells
        except DroverError as error:
            return self._refused_by_error(move, error)
        again = await self.look(move)
        if isinstance(again, _Look) and self._ejections(move, again):
            text = f"{move.name} was told to give its local media up, but still has them: {', '.join(drives.values())}"
            return self.refused(move, [_objection(Why.LOCAL_MEDIA, text)])
        return await self.start(move, again)

    def _objections(self, move: Move, look: _Look) -> Sequence[preflight.Finding]:
        """Everything that speaks against starting the move now; the first one is the reason."""
        if (withdrawn := self.still_wanted(move)) is not None:
            return [_objection(withdrawn.why, withdrawn.message)]
        memory = self.store.memory()
        if move.vmid in memory.flights:
            return [_objection(Why.NOT_OBSERVED_YET, "a move of it has begun and its end is not observed yet")]
        moving = [task for task in look.tasks if task.running and task.migrates]
        if moving:
            return [_objection(Why.GUEST_MOVING, f"{moving[0].user} is moving it: {moving[0].upid}")]
        return preflight.objections(move, look.fresh, self.specs, self.seen, memory)

    def _flight(self, move: Move, look: _Look) -> Flight:
        guest = look.fresh.guest
        assert guest is not None, "preflight lets nothing pass that is not there"
        return Flight(
            id=0,
            identity=_born(move, look),
            name=move.name,
            source=move.source,
            target=move.target,
            why=move.why,
            cause=move.cause,
            lane=move.lane,
            memory_bytes=move.memory_bytes,
            options=move.options,
            was_running=guest.power is Power.RUNNING,
            phase=FlightPhase.SUBMITTING,
            started_at=self.clock.wall(),
            tasks_before=frozenset(task.upid for task in look.tasks),
            aborts=move.aborts,
            limits=guards.limits(move.options.policy, self.specs),
            verify=guards.verify(move.options.policy, self.specs),
            steered=guest.power is Power.RUNNING and pilot.steers(move, self.specs),
        )

    def _origin(self, move: Move, look: _Look) -> Origin | None:
        if not move.returns:
            return None
        return Origin(
            _born(move, look),
            move.source,
            move.cause,
            since=self.clock.wall(),
            expected=move.source,
            rebalances=move.rebalances,
            asks=move.asks,
        )

    def _started(self, move: Move, flight: Flight, upid: Upid) -> Outcome:
        warning = ""
        try:
            self.store.attach_task(flight.id, upid, ha=upids.parse(upid).type == HA_REQUEST)
        except DroverError as error:
            warning = f"it runs, but its task could not be noted ({error.message}); Drover finds it again by looking"
        return replace(self._outcome(move, Result.STARTED, move.why, move.message), upid=upid, warning=warning)

    def _never_started(self, move: Move, flight: Flight, error: DroverError, origin: Origin | None) -> Outcome:
        """PVE's answer says that there is no task: the intent goes, and the origin that came with it."""
        held = self.store.memory().backoffs.get(move.vmid)
        why = Why.NOT_SUBMITTED if isinstance(error, Retry) else error.why
        if isinstance(error, Denied | Rejected):  # all else passes by itself and is no failure of the guest
            held = self._failed(move, held, error)
        outcome = self._outcome(
            move, Result.REFUSED, why, f"PVE did not start the move of {move.name}: {error.message}"
        )
        try:
            self.store.end_flight(flight.id, outcome, backoff=held, origin=origin)
        except DroverError as failed:
            # The flight stays as an intent; it is found out later that nothing came of it.
            return replace(outcome, warning=failed.message)
        return outcome

    def _failed(self, move: Move, before: Backoff | None, error: DroverError) -> Backoff:
        policy = move.options.policy
        return backoff.after_failure(
            move.identity,
            before,
            backoff.retry_of(policy, self.specs),
            why=error.why,
            message=error.message,
            now=self.clock.wall(),
            under=backoff.mark(move.cause, policy, self.specs),
        )

    def _refused_by_error(self, move: Move, error: DroverError) -> Outcome:
        """The look itself failed; what PVE denies or rejects is not asked again every tick."""
        if isinstance(error, Denied | Rejected):
            return self.refused(move, [_objection(error.why, error.message)])
        return self._outcome(move, Result.REFUSED, error.why, error.message)

    def refused(self, move: Move, objections: Sequence[preflight.Finding]) -> Outcome:
        """Nothing was written or called for the move. What waiting does not remove is remembered for a while.

        Of the guest, when any of it would be the same everywhere; else of the target alone.
        """
        text = "; ".join(objection.message for objection in objections)
        outcome = replace(
            self._outcome(move, Result.REFUSED, objections[0].why, text),
            findings=tuple(objection.why for objection in objections),
        )
        lasting = [each for each in objections if each.why not in backoff.PASSING]
        if not lasting:
            return outcome
        try:
            if all(each.elsewhere for each in lasting):
                self._leave_target(move, lasting[0].why, "; ".join(each.message for each in lasting))
            else:
                self._hold_back(move, lasting[0].why, text)
        except DroverError as failed:
            return replace(outcome, warning=failed.message)
        return outcome

    def _hold_back(self, move: Move, why: Why, text: str) -> None:
        self.store.back_off(
            backoff.obstacle(
                move.identity,
                self.store.memory().backoffs.get(move.vmid),
                why=why,
                message=text,
                until=self.clock.wall() + backoff.LOOK_AGAIN_SECONDS,
                under=backoff.mark(move.cause, move.options.policy, self.specs),
            )
        )

    def _leave_target(self, move: Move, why: Why, text: str) -> None:
        self.store.refuse(
            backoff.target_refused(
                move.identity,
                move.target,
                self.store.memory().refusals.get(move.vmid, {}).get(move.target),
                why=why,
                message=text,
                now=self.clock.wall(),
                under=backoff.mark(move.cause, move.options.policy, self.specs),
            )
        )

    def _outcome(self, move: Move, result: Result, why: Why, message: str) -> Outcome:
        return Outcome(
            identity=move.identity,
            name=move.name,
            source=move.source,
            target=move.target,
            result=result,
            why=why,
            cause=move.cause,
            lane=move.lane,
            message=message,
            at=self.clock.wall(),
        )


def _objection(why: Why, message: str) -> preflight.Finding:
    """What speaks against the move beside the checks."""
    return preflight.Finding(preflight.Level.FAIL, why, message)


def _born(move: Move, look: _Look) -> GuestIdentity:
    """Who the guest is, with its birth: the plan may have been made before its config was ever read."""
    return look.fresh.config.identity if look.fresh.config is not None else move.identity
