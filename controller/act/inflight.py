"""Moves under way: how far they are, and how they ended.

`follow` is called by `loop` every few seconds between ticks, `settle` once per tick, right after the look at the cluster. A
flight ends by observation only (`act.ending`); after a crash its task is found again as the one that was not there before.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from controller.act import backoff, learning
from controller.act.ending import WELL, Ending, Facts, Verdict, Word, judge
from controller.act.learning import Learned
from controller.clock import Clock
from controller.model.errors import DroverError, Stale
from controller.model.ids import GuestIdentity, GuestKind, NodeName, Upid, Vmid
from controller.model.memory import Backoff, Flight, FlightPhase, Halted, Memory, Origin, Refusal
from controller.model.observed import Guest, NodeState, Observed, Power
from controller.model.outcome import Outcome, Progress, Result
from controller.model.plan import Lane
from controller.model.reasons import Why
from controller.pve import tasklog
from controller.pve import upid as upids
from controller.pve.client import LOG_PAGE, PveClient
from controller.report.store import Store
from controller.specs import Specs

HA_REQUEST = "hamigrate"
"""PVE's task that only asks the HA manager; the move itself is another task, by root@pam (qemu-server: PVE/API2/Qemu.pm)."""

_HA_MOVING = frozenset({"migrate", "relocate"})
_RECENT = 100  # attempts: more than can end while a list of tasks is behind
_LOG_PAGES = 100  # of the last read of a log; more is a log that grows faster than it can be read


@dataclass(frozen=True, slots=True)
class Following:
    """What a poll between two ticks found."""

    progress: Mapping[Vmid, Progress] = field(default_factory=lambda: MappingProxyType({}))
    ended: frozenset[Vmid] = frozenset()  # their task has ended: time to look at the cluster


async def follow(flights: Mapping[Vmid, Flight], client: PveClient, last: Mapping[Vmid, Progress]) -> Following:
    """Ask the tasks of `flights` how far they are, going on from `last`: at most two requests per flight.

    A task that can't be asked keeps its last progress. Flights whose task is known to have ended wait for a tick, not for this.
    """
    known = [flight for _, flight in sorted(flights.items()) if flight.upid and flight.phase is FlightPhase.RUNNING]
    polls = await asyncio.gather(*(_poll(flight, client, last.get(flight.vmid, Progress())) for flight in known))
    return Following(
        progress={flight.vmid: progress for flight, (progress, _) in zip(known, polls, strict=True)},
        ended=frozenset(flight.vmid for flight, (_, ended) in zip(known, polls, strict=True) if ended),
    )


async def _poll(flight: Flight, client: PveClient, progress: Progress) -> tuple[Progress, bool]:
    assert flight.upid is not None
    try:
        task = await client.task_status(flight.upid)
        if not task.running:
            return progress, True
        lines, _ = await client.task_log(flight.upid, progress.lines)
    except DroverError:
        return progress, False
    return tasklog.follow(progress, lines), False


async def settle(
    store: Store,
    client: PveClient,
    seen: Observed,
    *,
    specs: Specs,
    clock: Clock,
    progress: Mapping[Vmid, Progress] = MappingProxyType({}),
) -> tuple[Outcome, ...]:
    """End the flights whose end can be observed, and say how; the others stay. `progress`: what `follow` read so far.

    Reads overlap; the store is written flight by flight in the order in which they began. Raises nothing but faults of
    Drover: a flight that can't be looked at, or whose end can't be written, is looked at again at the next tick.
    """
    if not seen.quorate:
        return ()  # a minority calls the others offline and knows old configs: nothing can be concluded from that
    flights = sorted(store.memory().flights.values(), key=lambda flight: flight.id)
    finds = await asyncio.gather(*(_Look(client, seen, flight).find(progress.get(flight.vmid)) for flight in flights))
    settler = _Settler(store, specs, clock)
    outcomes = []
    for flight, found in zip(flights, finds, strict=True):
        try:
            outcome = settler.settle(flight, found)
        except DroverError:  # the store says it itself, in `Store.failure()`
            continue
        if outcome is not None:
            outcomes.append(outcome)
    return tuple(outcomes)


def without_ended(seen: Observed, store: Store) -> Observed:
    """`seen` without the tasks whose end is already observed: the list is up to 10 s behind (pve-manager: PVE/API2/Cluster.pm).

    Raises Retry(STORE_FAILED).
    """
    if not any(task.running and task.migrates for task in seen.tasks):
        return seen
    over = {outcome.upid for outcome in store.attempts(_RECENT)}
    over |= {flight.upid for flight in store.memory().flights.values() if flight.phase is FlightPhase.ARRIVED}
    return replace(seen, tasks=tuple(task for task in seen.tasks if task.upid not in over))


@dataclass(frozen=True, slots=True)
class _Found:
    """What was read about one flight. `upid` is its task, by now."""

    upid: Upid | None
    ha: bool
    facts: Facts
    progress: Progress


@dataclass(frozen=True, slots=True)
class _Look:
    """Reads what `judge` has to know about one flight; writes nothing."""

    client: PveClient
    seen: Observed
    flight: Flight

    async def find(self, progress: Progress | None) -> _Found:
        """Task first, guest after it: what the guest looks like then can't be older than the end of the task."""
        flight = self.flight
        upid, ha, only_asked = flight.upid, flight.ha, only_asks(flight.upid)
        word, error = await self._word(upid)
        if word is Word.NONE or (only_asked and word is not Word.RUNNING):
            try:
                newer, asked = await self._new_task()
            except DroverError:
                word = Word.UNREADABLE
            else:
                ha = ha or asked
                if newer is not None and newer != upid:
                    upid, only_asked = newer, only_asks(newer)
                    word, error = await self._word(upid)
        progress = progress or Progress()
        if word is Word.RUNNING:
            return _Found(upid, ha, Facts(word), progress)
        if upid is not None and word in (Word.OK, Word.ERROR):
            progress = await self._rest_of_log(upid, progress)
        row = self.seen.guests.get(flight.vmid)
        where, guest = await self._whereabouts(row)
        facts = Facts(
            task=word,
            where=where,
            guest=guest,
            online=where is None or self._online(where),
            identity=await self._identity(guest),
            error=progress.error or error,
            sent=progress.transferred_bytes > 0,
            only_asked=only_asked,
            ha_moving=row is not None and row.ha_state in _HA_MOVING,
            ha_managed=row is not None and row.ha_managed,
            source_lost=not self._online(flight.source),
            agent_error=await self._agent_error(guest),
        )
        return _Found(upid, ha, facts, progress)

    async def _word(self, upid: Upid | None) -> tuple[Word, str]:
        if upid is None:
            return Word.NONE, ""
        if not self._online(upids.parse(upid).node):
            return Word.UNREADABLE, ""
        try:
            task = await self.client.task_status(upid)
        except DroverError as error:
            return (Word.LOST if error.why is Why.NOT_FOUND else Word.UNREADABLE), error.message
        if task.running:
            return Word.RUNNING, ""
        if task.ok:
            return Word.OK, ""
        return (Word.LOST if tasklog.is_lost(task.exit_status) else Word.ERROR), task.exit_status

    async def _new_task(self) -> tuple[Upid | None, bool]:
        """The task that moves the guest, among those on its source that were not there before; whether PVE HA was asked.

        The move itself is preferred to the request to PVE HA, what runs to what has ended, and the newest of several.
        Clocks are not compared: nodes' clocks differ from ours. Raises DroverError.
        """
        flight = self.flight
        if not self._online(flight.source):
            raise Stale(Why.NODE_OFFLINE, f"{flight.source} is offline")
        tasks = await self.client.node_tasks(flight.source, vmid=flight.vmid, source="all")
        new = [task for task in tasks if task.migrates and task.upid not in flight.tasks_before]
        best = max(new, key=lambda task: (task.type != HA_REQUEST, task.running, task.start), default=None)
        return (None if best is None else best.upid), any(task.type == HA_REQUEST for task in new)

    async def _rest_of_log(self, upid: Upid, progress: Progress) -> Progress:
        """The log to its end: it names the cause of a failure and the downtime of a success. As far as it can be read."""
        try:
            for _ in range(_LOG_PAGES):
                lines, _ = await self.client.task_log(upid, progress.lines)
                progress = tasklog.follow(progress, lines)
                if len(lines) < LOG_PAGE:
                    break
        except DroverError:
            pass  # the log explains; it decides nothing
        return progress

    async def _whereabouts(self, row: Guest | None) -> tuple[NodeName | None, Guest | None]:
        """The node that holds the guest's config, and the guest as that node describes it.

        The cluster's rows may be older than the end of the task, so a node that does not have it sends us to the next one.
        """
        flight = self.flight
        first = row.node if row is not None else flight.source
        for node in dict.fromkeys((first, flight.target, flight.source)):
            if not self._online(node):
                return node, None
            try:
                return node, await self.client.guest_status(node, flight.identity.kind, flight.vmid)
            except Stale:
                continue
            except DroverError:
                return node, None
        return (None, None) if row is None else (row.node, None)

    async def _identity(self, guest: Guest | None) -> GuestIdentity | None:
        """Who the guest is by its config, when there is something to compare with."""
        if guest is None or not self.flight.identity.born:
            return None
        try:
            return (await self.client.guest_config(guest.node, guest.kind, guest.vmid)).identity
        except DroverError:
            return None

    async def _agent_error(self, guest: Guest | None) -> str:
        """Why the guest agent does not answer, where the policy wants to hear it and the guest is well otherwise."""
        if not self.flight.verify.agent_ping or guest is None or guest.kind is not GuestKind.QEMU:
            return ""
        if guest.node != self.flight.target or guest.power is not Power.RUNNING or guest.lock:
            return ""
        try:
            await self.client.ping_agent(guest.node, guest.vmid)
        except DroverError as error:
            return error.message
        return ""

    def _online(self, node: NodeName) -> bool:
        found = self.seen.nodes.get(node)
        return found is not None and found.state is not NodeState.OFFLINE


@dataclass(frozen=True, slots=True)
class _Settler:
    """Writes what was found: an adopted task, a wait, or an end."""

    store: Store
    specs: Specs
    clock: Clock

    def settle(self, flight: Flight, found: _Found) -> Outcome | None:
        """Bring the store up to date; the outcome when the flight is over. Raises DroverError when the store fails."""
        if found.upid is not None and found.upid != flight.upid:
            self.store.attach_task(flight.id, found.upid, ha=found.ha)
            flight = replace(flight, upid=found.upid, ha=found.ha, phase=FlightPhase.RUNNING, waiting="")
        verdict, now = judge(flight, found.facts), self.clock.wall()
        waited = now - flight.waiting_since if flight.waiting and flight.waiting == verdict.waiting else 0.0
        if verdict.ending is not None and waited >= verdict.patience:
            return self._end(flight, found, verdict.ending, now)
        phase = _phase(flight, found.facts, verdict)
        if (phase, verdict.waiting) != (flight.phase, flight.waiting):
            self.store.flight_phase(flight.id, phase, waiting=verdict.waiting, since=now)
        self._learn(learning.meanwhile(flight, found.progress, self.store.memory(), now))
        return None

    def _learn(self, learned: Learned) -> None:
        with contextlib.suppress(DroverError):  # the next move teaches the same, and the store says it itself
            self.store.learn(learned.rates, learned.links)

    def _end(self, flight: Flight, found: _Found, ending: Ending, now: float) -> Outcome:
        outcome = Outcome(
            identity=flight.identity,
            name=flight.name,
            source=flight.source,
            target=flight.target,
            result=ending.result,
            why=ending.why,
            cause=flight.cause,
            lane=flight.lane,
            message=ending.message,
            at=now,
            seconds=max(
                0.0, (flight.waiting_since if flight.phase is FlightPhase.ARRIVED else now) - flight.started_at
            ),
            upid=flight.upid,
            progress=found.progress if flight.upid is not None else None,
            warning=ending.warning,
        )
        if ending.restarts:  # before the flight is over, so that this is never forgotten
            noted = Halted(flight.identity, flight.name, flight.source, flight.cause, elsewhere=True, at=now, sent=True)
            self.store.remember_halted(noted)
        memory = self.store.memory()
        self.store.end_flight(
            flight.id,
            outcome,
            backoff=self._backoff(flight, ending, memory.backoffs.get(flight.vmid), now),
            origin=origin_after(flight, ending.result, found.facts.where, memory.origins.get(flight.vmid)),
            refusal=self._refusal(flight, ending, memory),
        )
        if outcome.progress is not None:
            self._learn(learning.after(flight, outcome.progress, memory, now))
        return outcome

    def _refusal(self, flight: Flight, ending: Ending, memory: Memory) -> Refusal | None:
        """A move that failed speaks against its target: the next one goes to another, if there is one."""
        before = memory.refusals.get(flight.vmid, {}).get(flight.target)
        if ending.result is not Result.FAILED or not ending.counts:
            return before
        return backoff.target_failed(
            flight.identity,
            flight.target,
            before,
            why=ending.why,
            message=ending.message,
            under=backoff.mark(flight.cause, flight.options.policy, self.specs),
        )

    def _backoff(self, flight: Flight, ending: Ending, before: Backoff | None, now: float) -> Backoff | None:
        if ending.result in (Result.SUCCEEDED, Result.GONE):
            return None
        if not ending.counts:
            return before
        return backoff.after_failure(
            flight.identity,
            before,
            backoff.retry_of(flight.options.policy, self.specs),
            why=ending.why,
            message=ending.message,
            now=now,
            under=backoff.mark(flight.cause, flight.options.policy, self.specs),
        )


def origin_after(flight: Flight, result: Result, where: NodeName | None, origin: Origin | None) -> Origin | None:
    """What is remembered of the guest's home after a move: it is home, it was never away, or where it is expected now.

    One that balance places after the maintenance is done with that when balance has moved it, wherever that is.
    """
    if origin is None or result is Result.GONE or not origin.identity.same_as(flight.identity):
        return None
    if origin.rebalances and where == flight.target and flight.lane is not Lane.RETURN:
        return None if flight.lane is Lane.BALANCE else replace(origin, expected=flight.target)
    if where == origin.node:
        return None
    return replace(origin, expected=flight.target) if where == flight.target else origin


def _phase(flight: Flight, facts: Facts, verdict: Verdict) -> FlightPhase:
    if facts.task is Word.RUNNING:
        return FlightPhase.RUNNING
    there = facts.guest is not None and facts.guest.node == flight.target and facts.guest.lock != "migrate"
    if verdict.waiting == WELL or (there and flight.phase is FlightPhase.ARRIVED):  # a relapse leads nobody back
        return FlightPhase.ARRIVED
    return FlightPhase.SUBMITTING if flight.upid is None else FlightPhase.VERIFYING


def only_asks(upid: Upid | None) -> bool:
    """Whether the task is just the request to PVE HA."""
    return upid is not None and upids.parse(upid).type == HA_REQUEST
