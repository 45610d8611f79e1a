"""The daemon: every long-lived object is built here, and lives until `stop` is set. `run` is `drover run`.

Called by `cli` through the package, and by `rehearse.demo`.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import structlog

from controller.act.hooks import MachineHooks
from controller.app.connection import connect, missing_hooks
from controller.app.planning import ordered
from controller.clock import Clock, SystemClock
from controller.decide import capacity, rolling
from controller.decide.candidates import Explainer
from controller.loop.cluster_loop import Wiring
from controller.loop.daemon import Daemon
from controller.loop.planner import ThreadPlanner
from controller.loop.publish import Listener, Publisher
from controller.model.explanation import Explanation
from controller.model.ids import ClusterName, NodeName, Vmid
from controller.model.room import NodeRoom
from controller.model.view import ClusterView
from controller.report import access, control, http
from controller.report.board import Board
from controller.report.commit_status import CommitStatus
from controller.report.log import Redactor
from controller.report.metrics import Metrics
from controller.report.notifier import Notifier
from controller.report.store import Store, stored_sources
from controller.report.wake_up import WakeUp
from controller.settings import GIT_FOLDER, Settings
from controller.sources import Held, Source
from controller.sources.folder import FolderSource
from controller.sources.git import GitSource
from controller.specs import Specs

SHUTDOWN_SECONDS = 10.0
"""How long a SIGTERM waits for the loops to let go; migrations go on inside PVE and are adopted at the next start."""


def run(settings: Settings, *, speed: float = 1.0) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises SettingsError and OSError when it can't start at all.

    speed: seconds of its clock in one real second; anything but 1 is for a simulated cluster that is served as fast.
    """
    asyncio.run(_run_until_signal(settings, SystemClock(speed)))


async def _run_until_signal(settings: Settings, clock: Clock) -> None:
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    await serve(settings, stop, clock=clock)


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    clock: Clock,
    listeners: tuple[Listener, ...] = (),
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Run the daemon until `stop` is set. `ready` is told the address of the HTTP server once it listens."""
    log = structlog.get_logger()
    board, metrics = Board(clock), Metrics()
    notifier = Notifier(settings.sinks, clock, metrics.notifications)
    publisher = Publisher(board, metrics, clock, listeners, notifier)
    wiring = Wiring(
        clock=clock,
        connect=lambda spec: connect(spec, settings, clock, metrics.count_call(ClusterName(spec.metadata.name))),
        planner=lambda: ThreadPlanner(settings.loop.planner_seconds),
        forbidden=lambda spec: missing_hooks(spec, settings.hooks),
        run_hook=MachineHooks(settings.hooks, clock, hide=Redactor(settings.secrets).known),
        publisher=publisher,
        open_store=lambda name: Store.open(settings.state_directory, name),
        interval_seconds=settings.loop.interval_seconds,
    )
    settings.state_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    source = source_of(settings, clock)
    daemon = Daemon(source, wiring, held=remembered(settings.state_directory))
    reading = replace(settings.http, token=access.token_of(settings.http, settings.state_directory))
    webhook = settings.git.webhook if settings.git is not None else None
    wake_up = WakeUp(webhook, source.look_now, clock, metrics) if webhook is not None else None
    server = await http.serve(board, metrics, reading, explain_guest, rooms, wake_up=wake_up)
    socket = await control.serve(settings.socket, daemon)
    ready(server.address)
    log.info("started", source=str(settings.source), address=server.address)
    task = asyncio.create_task(daemon.run(), name="daemon")
    telling = {asyncio.create_task(notifier.run(), name="notifications")}
    if settings.git is not None and settings.git.commit_status is not None:
        file = settings.state_directory / GIT_FOLDER / "status.json"
        statuses = CommitStatus(settings.git.commit_status, file, board, clock, metrics)
        telling.add(asyncio.create_task(statuses.run(), name="commit statuses"))
    for each in telling:
        each.add_done_callback(_told_of)
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()  # never in normal life: a fault of Drover itself, which must not look like a clean exit
        log.info("stopping", note="running migrations go on inside PVE")
    finally:
        stopping.cancel()
        for each in (task, *telling):
            each.cancel()
        await asyncio.wait({task, *telling}, timeout=SHUTDOWN_SECONDS)
        await socket.close()
        await server.close()


def _told_of(task: asyncio.Task[None]) -> None:
    """A fault in telling others must neither end the daemon nor go unseen."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        structlog.get_logger().error(f"{task.get_name()} have ended: a fault of Drover", exc_info=fault)


def rooms(view: ClusterView, specs: Specs) -> Mapping[NodeName, NodeRoom]:
    """How much memory of every node is taken, on its way and kept free; nothing before the first look."""
    own = specs.for_cluster(view.cluster)
    if view.seen is None or view.cluster not in own.clusters:
        return {}
    return capacity.rooms(own, view.seen, view.memory)


def source_of(settings: Settings, clock: Clock) -> Source:
    """Where the daemon reads manifests: the repository of the settings, or the folder."""
    if settings.git is None:
        return FolderSource(settings.source)
    return GitSource(settings.git, settings.state_directory / GIT_FOLDER, clock)


def explain_guest(view: ClusterView, specs: Specs, vmid: Vmid) -> Explanation:
    """Explain one guest of a view that has a plan. Raises KeyError when it was not seen."""
    assert view.seen is not None
    assert view.plan is not None
    own = ordered(specs.for_cluster(view.cluster), view.cluster, view.memory)
    own = rolling.applied(own, view.memory.turns.values())
    return Explainer(own, view.seen, view.memory, view.plan).explain(vmid)


def remembered(state_directory: Path) -> Held:
    """The specs that were last in force, from the newest state file: a restart with a broken repository goes on with them."""
    sources = stored_sources(state_directory)
    return Held.from_json(sources[-1]) if sources else Held.empty()
