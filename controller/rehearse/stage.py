"""The stage: a simulated cluster, a folder of manifests and the real daemon, all on one virtual clock.

Used by `rehearse.story` and by tests that need the whole line; nothing in here knows what is being played.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from controller.loop.cluster_loop import Connection, Wiring
from controller.loop.daemon import Daemon
from controller.loop.planner import plan_inline
from controller.loop.publish import Listener, Publisher
from controller.model.errors import DroverError
from controller.model.ids import ClusterName
from controller.model.override import Order
from controller.pve.metered import Call, Metered
from controller.pve.transport import Transport
from controller.rehearse.hooks import StageHook, StageHooks
from controller.rehearse.virtual_time import EPOCH, VirtualClock, VirtualLoop
from controller.report.board import Board
from controller.report.metrics import Metrics
from controller.report.store import Store, stored_sources
from controller.simulator.routes import Simulator
from controller.simulator.seed import ClusterFile
from controller.simulator.transport import SimTransport
from controller.simulator.world import World
from controller.sources import Held, Snapshot
from controller.sources.folder import FolderSource
from controller.specs import PveCluster

RESCAN_SECONDS = 30.0
TOKEN = "drover@pve!rehearsal"  # noqa: S105 - the name of a token
SECRET = "00000000-0000-4000-8000-000000000000"  # noqa: S105 - of a cluster in memory


class StageSource:
    """A folder of manifests, read at once, with changes told by the script instead of by inotify."""

    name = "stage"
    view = None

    def __init__(self, folder: Path, clock: VirtualClock) -> None:
        self._source = FolderSource(folder, watch=False, in_thread=False)
        self._clock = clock
        self._changed = asyncio.Event()

    def look_now(self) -> None:
        """See `Source.look_now`."""
        self._changed.set()

    def confirm(self, revision: str) -> bool:  # noqa: ARG002 - nothing of a folder ever waits for a word
        """See `Source.confirm`."""
        return False

    async def read(self) -> Snapshot:
        """See `Source.read`."""
        return self._source.read_now()

    async def wait_change(self) -> None:
        """See `Source.wait_change`: the script says so, or the rescan is due."""
        # Not asyncio.wait_for: what it does when both happen in one moment differs between versions of Python.
        told, due = (
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self._clock.sleep(RESCAN_SECONDS)),
        )
        try:
            await asyncio.wait({told, due}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            due.cancel()
        self._changed.clear()

    def changed(self) -> None:
        """The script has written to the folder."""
        self._changed.set()


class _Publisher(Publisher):
    """Keeps the faults of Drover itself: a daemon outlives them, a rehearsal must not hide them."""

    def __init__(
        self,
        board: Board,
        metrics: Metrics,
        clock: VirtualClock,
        listeners: Sequence[Listener],
        *,
        faults: list[Exception],
    ) -> None:
        super().__init__(board, metrics, clock, listeners)
        self._faults = faults

    def tick_failed(self, cluster: ClusterName) -> None:
        fault = sys.exception()
        assert isinstance(fault, Exception), "called by whoever has caught it"
        self._faults.append(fault)
        super().tick_failed(cluster)


class StageOptions(TypedDict, total=False):
    """What a test may put between the daemon and its world."""

    wrap: Callable[[Transport], Transport]
    open_store: Callable[[Path, ClusterName], Store]
    listeners: Sequence[Listener]
    interval_seconds: float
    hooks: Mapping[str, StageHook]


class Stage:
    """One cluster file, one folder, one state directory, one clock; the daemon can be started, killed and started again."""

    def __init__(
        self,
        file: ClusterFile,
        manifests: Path,
        state: Path,
        *,
        seed: int = 0,
        **options: Unpack[StageOptions],
    ) -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        self.world = World(file.model_copy(update={"start": EPOCH}), seed=seed)
        self.calls: list[Call] = []
        self.faults: list[Exception] = []
        self.source = StageSource(manifests, self.clock)
        self.metrics = Metrics()
        self.board = Board(self.clock)
        self._simulator = Simulator(self.world)
        self._state = state
        self._wrap: Callable[[Transport], Transport] = options.get("wrap", lambda transport: transport)
        self._open_store = options.get("open_store", Store.open)
        self._listeners = tuple(options.get("listeners", ()))
        self._interval_seconds = options.get("interval_seconds", 10.0)
        self._run_hook = StageHooks(options.get("hooks", {}), self.world, self.clock)
        self._daemon: Daemon | None = None
        self._task: asyncio.Task[None] | None = None

    def transport(self) -> Transport:
        """A connection to the simulated cluster with the rights that a real one would be given."""
        auth = f"PVEAPIToken={TOKEN}={SECRET}"
        return SimTransport(self._simulator, clock=self.clock, auth=auth, endpoints=tuple(self.world.nodes))

    def start(self) -> None:
        """Start the daemon as `drover run` would."""
        assert self._task is None, "the daemon runs already"
        sources = stored_sources(self._state)
        wiring = Wiring(
            clock=self.clock,
            connect=self._connect,
            planner=lambda: plan_inline,
            forbidden=lambda _: None,
            run_hook=self._run_hook,
            publisher=_Publisher(self.board, self.metrics, self.clock, self._listeners, faults=self.faults),
            open_store=lambda name: self._open_store(self._state, name),
            interval_seconds=self._interval_seconds,
        )
        held = Held.from_json(sources[-1]) if sources else Held.empty()
        self._daemon = Daemon(self.source, wiring, held=held)
        self._task = asyncio.create_task(self._daemon.run())

    def order(self, order: Order, node: str) -> str:
        """What an administrator types; returns the answer, a refusal included."""
        assert self._daemon is not None, "the daemon does not run"
        try:
            return self._daemon.order("", node, order, by="root", reason="")
        except DroverError as error:
            return error.message

    def approve(self, digest: str, *, withdraw: bool = False) -> str:
        """What an administrator types about the plan of a digest; returns the answer, a refusal included."""
        assert self._daemon is not None, "the daemon does not run"
        try:
            return self._daemon.approve(digest, by="root", withdraw=withdraw)
        except DroverError as error:
            return error.message

    @property
    def running(self) -> bool:
        """Whether the daemon runs."""
        return self._task is not None

    async def stop(self) -> None:
        """End the daemon; what runs inside PVE goes on."""
        assert self._task is not None, "the daemon does not run"
        self._task.cancel()
        await asyncio.wait({self._task})
        self._task = None

    def _connect(self, spec: PveCluster) -> Connection:  # noqa: ARG002 - the stage has one cluster
        metered = Metered(self._wrap(self.transport()), self.calls.append, monotonic=self.clock.monotonic)
        return Connection(metered, TOKEN)
