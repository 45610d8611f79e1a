"""What happens in the demo, in order: rule, label, drain, way back. Called by `cli` through `rehearse.demo`.

Nothing here is faked for the show: the simulator speaks HTTPS and checks an API token, the daemon is the one that `drover run`
starts, and everything that is told comes from its views.
"""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import aiohttp

from controller import app
from controller.clock import SystemClock
from controller.loop.publish import Statuses
from controller.model.condition import Status
from controller.model.event import Event
from controller.model.ids import ObjectRef
from controller.model.view import ClusterView
from controller.rehearse.demo.narrator import Narrator, Screen
from controller.report.units import count_of
from controller.settings import Credential, HttpSettings, LoopSettings, Secret, Settings
from controller.simulator import http as simulator_http
from controller.simulator.routes import Simulator
from controller.simulator.seed import ClusterFile, load
from controller.simulator.world import World

NODE = "pve2"
DRAIN = ObjectRef("NodeMaintenance", f"label-{NODE}")
PATIENCE_SECONDS = 900.0
"""Of the demo's own clock; a scene that takes longer has failed, and says so instead of hanging."""


@dataclass(frozen=True, slots=True)
class Demo:
    """How the demo is to be played.

    `speed`: how many seconds pass on both sides' clock in one real second. `program`: what people type to run Drover.
    """

    speed: float = 5.0
    seed: int = 1
    keep: bool = False
    program: str = "drover"


class SceneFailedError(Exception):
    """A scene did not come to its end: the demo found a fault."""


async def run(demo: Demo, screen: Screen) -> None:
    """Play it. Raises SceneFailedError; leaves nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="drover-demo-"))
    try:
        await _Stage(demo, screen, folder).play()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Stage:
    def __init__(self, demo: Demo, screen: Screen, folder: Path) -> None:
        self._demo = demo
        self._screen = screen
        self._folder = folder
        self._manifests = folder / "manifests"
        self._clock = SystemClock(demo.speed)
        self._narrator = Narrator(screen, self._clock)
        self._news = asyncio.Condition()
        self._last: tuple[ClusterView, Statuses] | None = None
        self._stop = asyncio.Event()

    async def play(self) -> None:
        file = self._files()
        world = World(file.model_copy(update={"start": self._clock.wall()}), seed=self._demo.seed)
        server = await simulator_http.serve(Simulator(world), clock=self._clock, base_port=0)
        try:
            settings = self._settings(file, server.endpoints, Path(server.ca_file))
            address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            daemon = asyncio.create_task(
                app.serve(settings, self._stop, clock=self._clock, listeners=(self._listen,), ready=address.set_result)
            )
            listening: set[asyncio.Future[str] | asyncio.Task[None]] = {daemon, address}
            await asyncio.wait(listening, return_when=asyncio.FIRST_COMPLETED)
            try:
                if daemon.done():
                    daemon.result()
                await self._scenes(world, server.endpoints, await address)
            finally:
                self._stop.set()
                await daemon
        finally:
            await server.close()

    async def _scenes(self, world: World, endpoints: Sequence[str], address: str) -> None:
        told = self._narrator
        told.opening(world.name, endpoints, self._manifests, self._demo.speed)
        await self._until("the first look", lambda view, _: view.seen is not None)
        await self._until("the databases apart", lambda view, _: self._moves_done(view) and bool(told.succeeded))
        self._label("true")
        told.scene(f'somebody writes drover.dev/maintenance: "true" into manifests/node-{NODE}.yaml')
        await self._until(f"{NODE} drained", lambda _, statuses: _is(statuses, DRAIN, "Drained"))
        told.scene(f"{NODE} is Drained: safe to service. Then the label is taken away again")
        away = set(told.evacuated(DRAIN))
        self._label(None)
        await self._until(
            "everybody home",
            lambda view, _: self._moves_done(view) and bool(away) and away <= told.returned(),
        )
        told.closing(await _requests(address), self._demo.program)
        if self._demo.keep:
            await self._keep(endpoints, address)

    async def _keep(self, endpoints: Sequence[str], address: str) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        self._narrator.staying(endpoints, f"{self._demo.program} status --server {address}", address, self._manifests)
        await self._stop.wait()

    def _files(self) -> ClusterFile:
        with as_file(files(__package__)) as package:
            shutil.copytree(package / "manifests", self._manifests)
            return load(package / "cluster.yaml")

    def _settings(self, file: ClusterFile, endpoints: Sequence[str], ca_file: Path) -> Settings:
        """The machine's side: the token, bound to the simulator's addresses. Git's side gets the addresses alone."""
        manifest = self._manifests / "cluster.yaml"
        text = manifest.read_text().replace("[https://127.0.0.1:8006]", f"[{', '.join(endpoints)}]")
        manifest.write_text(text.replace("ca.pem", str(ca_file)))
        token_id, token = next(iter(file.access.tokens.items()))
        return Settings(
            source=self._manifests,
            state_directory=self._folder / "state",
            socket=self._folder / "control.sock",
            http=HttpSettings(port=0),
            loop=LoopSettings(),
            credentials={"demo": Credential("demo", token_id, Secret(token.secret), tuple(endpoints))},
        )

    def _label(self, value: str | None) -> None:
        manifest = self._manifests / f"node-{NODE}.yaml"
        lines = [line for line in manifest.read_text().splitlines() if "drover.dev/maintenance" not in line]
        if value is not None:
            lines.insert(lines.index("  labels:") + 1, f'    drover.dev/maintenance: "{value}"')
        manifest.write_text("\n".join(lines) + "\n")

    def _moves_done(self, view: ClusterView) -> bool:
        return not view.memory.flights and view.plan is not None and not view.plan.all_moves

    def _listen(self, view: ClusterView, statuses: Statuses, happened: Sequence[Event]) -> None:
        self._last = (view, statuses)
        self._narrator.hear(view, statuses, happened)
        asyncio.ensure_future(self._notify())  # noqa: RUF006 - it only wakes whoever waits; nobody needs its end

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _until(self, scene: str, done: Callable[[ClusterView, Statuses], bool]) -> None:
        async def wait() -> None:
            async with self._news:
                await self._news.wait_for(lambda: self._last is not None and done(*self._last))

        try:
            await asyncio.wait_for(wait(), PATIENCE_SECONDS / self._demo.speed)
        except TimeoutError:
            failed = [str(outcome.message) for outcome in self._narrator.failed]
            raise SceneFailedError(
                f"{scene}: not reached within {count_of(round(PATIENCE_SECONDS), 'second')} of demo time {failed}"
            ) from None


async def _requests(address: str) -> int:
    """API requests so far, from where every user finds them: the daemon's own metrics."""
    async with aiohttp.ClientSession() as session, session.get(f"{address}/metrics") as answer:
        text = await answer.text()
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if line.startswith("drover_api_requests_total{")
    )


def _is(statuses: Statuses, ref: ObjectRef, condition: str) -> bool:
    status = statuses.get(ref)
    found = status.condition(condition) if status is not None else None
    return found is not None and found.status is Status.TRUE
