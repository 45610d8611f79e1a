"""Measures and steers moves through QEMU's monitor, where their MigrationPolicy says `control: Monitor`.

`measure` is called by `loop.tick` before moves start, `steer` by `act.abort` after every `follow`. Without the right everything
goes on as with `control: TaskLog`, and that is said once.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from controller.clock import Clock
from controller.model.errors import Denied, DroverError
from controller.model.event import Event, EventType
from controller.model.ids import GuestIdentity, GuestKind, NodeName, ObjectRef, Upid, Vmid
from controller.model.memory import Flight, GuestRate
from controller.model.outcome import Progress
from controller.model.plan import Move
from controller.model.reasons import Why
from controller.pve import monitor
from controller.pve.client import PveClient
from controller.report.events import Told
from controller.report.store import Store
from controller.specs import Specs
from controller.specs.migrationpolicy import Control

FRESH_SECONDS = 900.0
"""For so long a measurement holds: what a guest does changes."""
MOST = 8
"""Guests that are measured at once: each costs its own node some looks at memory."""
DENIED_SECONDS = 600.0
"""After a refusal PVE is asked again so late: the right may have been given."""


class Pilot:
    """The moves of one cluster; what it remembers may be lost without harm."""

    def __init__(self, store: Store, client: PveClient, clock: Clock) -> None:
        self._store, self._client, self._clock = store, client, clock
        self._denied_at: float | None = None  # monotonic seconds
        self._told = False
        self._bandwidth: dict[Upid, int] = {}  # MiB/s, as set last
        self._downtime: dict[Upid, int] = {}  # ms that PVE had raised the limit to when ours was set

    # Before

    async def measure(self, moves: Iterable[Move], specs: Specs) -> tuple[Event, ...]:
        """Measure how fast guests change their memory, those that are to move next; it takes a second. Raises nothing of PVE's."""
        if self._is_denied():
            return ()
        known, now = self._store.memory().rates, self._clock.wall()
        due = [move for move in moves if steers(move, specs) and not _fresh(known.get(move.vmid), move.identity, now)]
        if not due:
            return ()
        due = due[:MOST]
        begun = await asyncio.gather(*(self._say(move.source, move.vmid, monitor.MEASURE) for move in due))
        if any(answer is not None for answer in begun):
            await self._clock.sleep(monitor.MEASURE_SECONDS + 0.5)
            asked = [move for move, answer in zip(due, begun, strict=True) if answer is not None]
            answers = await asyncio.gather(*(self._say(move.source, move.vmid, monitor.MEASURED) for move in asked))
            self._learn(dict(zip(asked, answers, strict=True)))
        return self._news(due[0].options.policy)

    def _learn(self, answers: Mapping[Move, str | None]) -> None:
        known, now = self._store.memory().rates, self._clock.wall()
        rates = []
        for move, answer in answers.items():
            rate = monitor.dirty_rate(answer or "")
            if rate is None:
                continue
            before = known.get(move.vmid)
            same = before is not None and before.identity.same_as(move.identity)
            rates.append(GuestRate(move.identity, rate, now, before.sent_share if same and before else None))
        with contextlib.suppress(DroverError):  # the store says it itself; the move teaches the same
            self._store.learn(rates, {})

    # During

    async def steer(
        self, flights: Iterable[Flight], progress: Mapping[Vmid, Progress], specs: Specs
    ) -> tuple[Event, ...]:
        """Give moves under way their share of the links, and hold the pause that PVE raises. Raises nothing of PVE's."""
        under_way = [flight for flight in flights if flight.sends]
        mine = [
            flight for flight in under_way if flight.steered and flight.upid is not None and flight.vmid in progress
        ]
        tasks = {flight.upid for flight in mine}
        self._bandwidth = {upid: value for upid, value in self._bandwidth.items() if upid in tasks}
        self._downtime = {upid: value for upid, value in self._downtime.items() if upid in tasks}
        mine = [flight for flight in mine if _copies_memory(progress[flight.vmid])]
        if not mine or self._is_denied():
            return ()
        for flight in mine:
            await self._share(flight, share(flight, under_way, specs))
            await self._hold(flight, progress[flight.vmid])
        return self._news(mine[0].options.policy)

    def holds(self, flight: Flight) -> bool:
        """Whether the pause of the move is held at what its policy allows, whatever its log says."""
        return flight.upid in self._downtime

    async def _share(self, flight: Flight, mib_s: int) -> None:
        assert flight.upid is not None
        before = self._bandwidth.get(flight.upid, flight.options.bandwidth_limit_mib_s)
        if not mib_s or mib_s == before:
            return
        if await self._say(flight.source, flight.vmid, monitor.set_bandwidth(mib_s)) is not None:
            self._bandwidth[flight.upid] = mib_s

    async def _hold(self, flight: Flight, progress: Progress) -> None:
        """PVE doubles its own limit again and again: each time ours is set anew (qemu-server: PVE/QemuMigrate.pm)."""
        assert flight.upid is not None
        allowed, raised = flight.limits.downtime_ms, progress.downtime_limit_ms or 0
        if (
            not allowed
            or not progress.downtime_raised
            or raised <= allowed
            or self._downtime.get(flight.upid) == raised
        ):
            return
        self._downtime.pop(flight.upid, None)
        if await self._say(flight.source, flight.vmid, monitor.set_downtime(allowed)) is not None:
            self._downtime[flight.upid] = raised

    # The monitor

    async def _say(self, node: NodeName, vmid: Vmid, command: str) -> str | None:
        """QEMU's answer; None when there is none, and then the log has to do."""
        try:
            return await self._client.monitor(node, vmid, command)
        except Denied as error:
            if error.why is Why.PERMISSION_MISSING:
                self._denied_at = self._clock.monotonic()
            return None
        except DroverError:
            return None

    def _is_denied(self) -> bool:
        return self._denied_at is not None and self._clock.monotonic() - self._denied_at < DENIED_SECONDS

    def _news(self, policy: str) -> tuple[Event, ...]:
        if not self._is_denied():
            self._told = False
            return ()
        if self._told:
            return ()
        self._told = True
        now = self._clock.wall()
        text = (
            "control: Monitor needs Sys.Modify on / (and VM.Monitor before PVE 9), which the token lacks"
            f" ({Why.MONITOR_NOT_PERMITTED}); until it has that, moves are watched by their task logs"
        )
        return (
            Event(EventType.WARNING, Told.MONITOR_NOT_PERMITTED, ObjectRef("MigrationPolicy", policy), text, now, now),
        )


def steers(move: Move, specs: Specs) -> bool:
    """Whether the move is that of a running VM whose MigrationPolicy wants the monitor."""
    policy = specs.migrations.get(move.options.policy)
    wanted = policy is not None and policy.spec.control is Control.MONITOR
    return wanted and move.kind is GuestKind.QEMU and move.options.online


def share(flight: Flight, under_way: Iterable[Flight], specs: Specs) -> int:
    """MiB/s for the move: what its policy allows, and its part of what moves may fill of both links; 0: no limit is known."""
    flights, found = list(under_way), []
    network = next(iter(specs.clusters.values())).spec.network if specs.clusters else None
    for node, busy in (
        (flight.source, sum(other.source == flight.source for other in flights)),
        (flight.target, sum(other.target == flight.target for other in flights)),
    ):
        written = specs.node(node)
        width = (written.spec.link_mibps if written is not None else 0) or (network.link_mibps if network else 0)
        if width and network is not None:
            found.append(max(1, width * network.share_percent // 100 // max(1, busy)))
    limit = flight.options.bandwidth_limit_mib_s
    return min([*found, *([limit] if limit else [])], default=0)


def _copies_memory(progress: Progress) -> bool:
    return any(stream.name == "memory" and not stream.done for stream in progress.streams)


def _fresh(known: GuestRate | None, identity: GuestIdentity, now: float) -> bool:
    return known is not None and known.identity.same_as(identity) and now - known.measured_at < FRESH_SECONDS
