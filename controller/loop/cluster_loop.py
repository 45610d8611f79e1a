"""The life of one cluster: connect, take the state file, tick, follow moves, tick again. One asyncio task each.

Started, fed with specs and ended by `loop.daemon`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from controller.act import inflight
from controller.act.abort import Guard
from controller.act.ha_rules import RuleWriter
from controller.act.hooks import HookRunner, Hooks
from controller.clock import Clock
from controller.decide.overrides import applied
from controller.loop import orders
from controller.loop.planner import Planner
from controller.loop.publish import Publisher
from controller.loop.requeue import FOLLOW_SECONDS, next_look_seconds
from controller.loop.tick import Parts, tick
from controller.model.approval import Approval
from controller.model.errors import DroverError
from controller.model.event import Event
from controller.model.ids import ClusterName, NodeName
from controller.model.override import Order
from controller.model.reasons import Why
from controller.model.view import ClusterView, Finding
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.pve.transport import Transport
from controller.report.store import Store
from controller.sources import Held
from controller.sources.crosscheck import rivals
from controller.specs import Mode, PveCluster, Specs

TAKE_OVER_SECONDS = 5.0
"""How often a state file that another process holds is tried again."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A transport, and how to let go of its threads and sockets."""

    transport: Transport
    token_id: str  # whose rights the self-check is about
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Wiring:
    """What every cluster's loop is given by `app` (or by `rehearse`, on virtual time)."""

    clock: Clock
    connect: Callable[[PveCluster], Connection]  # raises DroverError: no such credential, bound to other endpoints
    planner: Callable[[], Planner]
    forbidden: Callable[[PveCluster], Finding | None]  # what the machine's settings have against acting in a cluster
    publisher: Publisher
    run_hook: HookRunner
    open_store: Callable[[ClusterName], Store]  # raises DroverError: another process holds it, the disk refuses
    interval_seconds: float


class ClusterLoop:
    """Reconciles one PveCluster until it is cancelled."""

    def __init__(self, name: ClusterName, held: Held, wiring: Wiring) -> None:
        self._name = name
        self._held = held
        self._store: Store | None = None
        self._ordered: tuple[Event, ...] = ()  # not told yet
        self._planned_on: object = None
        self._verdicts = 0  # approvals given and taken back
        self._wiring = wiring
        self._wake = asyncio.Event()
        self._log = structlog.get_logger().bind(cluster=name)
        waiting = Finding(False, Why.STALE, "not looked at yet")
        self._view = ClusterView(cluster=name, at=wiring.clock.wall(), connected=waiting, armed=waiting)

    def feed(self, held: Held) -> None:
        """New specs; the loop looks again at once."""
        self._held = held
        self._wake.set()

    def look_again(self) -> None:
        """End the present wait."""
        self._wake.set()

    def order(self, node: NodeName, order: Order, *, by: str, reason: str) -> str:
        """Carry out what an administrator types, from now on and across restarts; returns a sentence. Raises DroverError."""
        if self._store is None:
            raise DroverError(Why.NOT_LEADER, f"this process does not hold the state file of cluster {self._name}")
        seen = self._view.seen
        if seen is None or node not in seen.nodes:
            known = ", ".join(seen.nodes) if seen is not None else "none yet"
            raise DroverError(Why.UNKNOWN_NODE, f"cluster {self._name} has no node {node!r} (known: {known})")
        done, event = orders.carry_out(
            self._store, self._specs(), seen, node, order, by=by, at=self._wiring.clock.wall(), reason=reason
        )
        self._ordered += () if event is None else (event,)
        self._wake.set()
        return done

    def approve(self, digest: str, *, by: str, withdraw: bool) -> str | None:
        """Release the plan of this digest, or take that back; None when this cluster knows none. Raises DroverError."""
        if self._store is None or self._view.plan is None:
            return None
        at = self._wiring.clock.wall()
        if withdraw:
            found = orders.withdraw(self._store, digest, by=by, at=at)
        else:
            found = orders.approve(self._store, self._view.plan, digest, by=by, at=at)
        if found is None:
            return None
        self._ordered += (found[1],)
        self._verdicts += 1
        self._wake.set()
        return found[0]

    @property
    def asked(self) -> tuple[Approval, ...]:
        """What waits for approval."""
        return tuple(one for one in self._view.plan.approvals if one.waits) if self._view.plan is not None else ()

    async def run(self) -> None:
        """Until cancelled. Faults of PVE, network and disk end in the view; what raises out of here is a fault of Drover."""
        store = self._store = await self._take_store()
        hooks = Hooks(self._name, store, self._wiring.run_hook, self._wiring.clock, self._wake.set)
        try:
            while True:
                await self._with_connection(store, hooks)
        finally:
            self._store = None
            await hooks.close()
            store.close()

    async def _take_store(self) -> Store:
        while True:
            try:
                return self._wiring.open_store(self._name)
            except DroverError as error:
                self._show(replace(self._view, armed=Finding(False, error.why, error.message)), None)
                await self._wait(TAKE_OVER_SECONDS)

    async def _with_connection(self, store: Store, hooks: Hooks) -> None:
        """Tick with one connection until the settings that make it change."""
        spec = self._spec()
        try:
            connection = self._wiring.connect(spec)
        except DroverError as error:
            broken = Finding(False, error.why, error.message)
            self._show(replace(self._view, connected=broken, armed=broken), store)
            await self._wait(self._wiring.interval_seconds)
            return
        try:
            parts = self._parts(connection, store, hooks)
            while _settings(self._spec()) == _settings(spec):
                lapsed = orders.end_lapsed(store, self._specs(), self._spec(), at=self._wiring.clock.wall())
                news, self._ordered = self._ordered + lapsed, ()
                self._planned_on = self._intent()
                view = await tick(parts, applied(self._specs(), self._spec(), store.memory().overrides), self._view)
                self._show(replace(view, events=(*news, *view.events)), store)
                await self._follow_until_next_look(parts)
        finally:
            connection.close()

    def _parts(self, connection: Connection, store: Store, hooks: Hooks) -> Parts:
        client = PveClient(connection.transport)
        return Parts(
            name=self._name,
            client=client,
            observer=Observer(client, cluster=self._name, clock=self._wiring.clock, token_id=connection.token_id),
            store=store,
            guard=Guard(store, client, self._wiring.clock),
            planner=self._wiring.planner(),
            hooks=hooks,
            rule_writer=RuleWriter(client, self._wiring.clock),
            clock=self._wiring.clock,
            forbidden=self._forbidden,
            superseded=self._superseded,
        )

    async def _follow_until_next_look(self, parts: Parts) -> None:
        """Wait for a wake-up or the next look; while moves are under way ask their tasks how far they are."""
        clock = self._wiring.clock
        seconds = next_look_seconds(self._view, now=clock.wall(), interval=self._wiring.interval_seconds)
        until = clock.monotonic() + seconds
        while (left := until - clock.monotonic()) > 0:
            flights = parts.store.memory().flights
            if await self._wait(min(left, FOLLOW_SECONDS) if flights else left):
                return
            if not flights:
                continue
            try:
                progress = await inflight.follow(flights, parts.client, self._view.progress)
            except DroverError as error:
                self._log.debug("following failed", reason=error.why, error=error.message)
                continue
            happened = await parts.guard.watch(progress.progress, self._specs()) if self._may_stop() else ()
            self._show(
                replace(
                    self._view, memory=parts.store.memory(), progress=progress.progress, outcomes=(), events=happened
                ),
                parts.store,
            )
            if progress.ended:
                return

    async def _wait(self, seconds: float) -> bool:
        """Wait that long or for a wake-up; True for a wake-up."""
        woken = asyncio.ensure_future(self._wake.wait())
        timer = asyncio.ensure_future(self._wiring.clock.sleep(seconds))
        try:
            await asyncio.wait({woken, timer}, return_when=asyncio.FIRST_COMPLETED)
            # Not `woken.done()`: a wake-up in the very moment in which the timer fires has set the event alone.
            was_woken = self._wake.is_set()
            self._wake.clear()
            return was_woken
        finally:
            woken.cancel()
            timer.cancel()

    def _forbidden(self, spec: PveCluster) -> Finding | None:
        """What stands against acting, whatever the cluster looks like."""
        if others := rivals(spec, self._held.specs):
            text = (
                f"an endpoint is also that of PveCluster {', '.join(others)}: two loops would undo each other's moves"
            )
            return Finding(False, Why.WRONG_CLUSTER, text)
        return self._wiring.forbidden(spec)

    def _may_stop(self) -> bool:
        """Whether moves may be stopped at all. Without quorum PVE could not even take their locks away again."""
        seen = self._view.seen
        enforced = self._spec().spec.mode is Mode.ENFORCE
        return enforced and self._view.connected.ok and seen is not None and seen.quorate

    def _superseded(self) -> Finding | None:
        """An intent that is withdrawn while a tick starts moves stops the rest of them at once."""
        if self._intent() == self._planned_on:
            return None
        return Finding(False, Why.WITHDRAWN, "what is wanted has changed since the plan was made")

    def _intent(self) -> object:
        """Changes whenever people want something else."""
        return id(self._held), self._verdicts, self._store.memory().overrides if self._store is not None else {}

    def _specs(self) -> Specs:
        return self._held.specs.for_cluster(self._name)

    def _spec(self) -> PveCluster:
        return self._held.specs.clusters[self._name]

    def _show(self, view: ClusterView, store: Store | None) -> None:
        self._view = view
        self._wiring.publisher.publish(view, self._held, store)


def _settings(spec: PveCluster) -> object:
    """What a connection is made from; when it changes a new one is made."""
    return (spec.spec.endpoints, spec.spec.auth, spec.spec.tls)
