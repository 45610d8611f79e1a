"""A daemon's server with a hand-made board, on a thread of its own, and the command line in this one."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controller.app import explain_guest
from controller.cli import drover
from controller.report import control, http
from controller.report.board import Board
from controller.settings import HttpSettings
from tests.report import scene


@dataclass
class Daemon:
    """Where it serves, and what it was told."""

    url: str = ""
    socket: Path = Path()
    board: Board | None = None
    loop: asyncio.AbstractEventLoop | None = None
    told: list[str] = field(default_factory=list)

    def call(self, function: Callable[[], object]) -> None:
        """Do something on the daemon's thread."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(function)


async def _serve(daemon: Daemon, folder: Path, ready: threading.Event, stop: asyncio.Event) -> None:
    state = scene.store(folder)
    board, metrics = scene.board(store=state)
    server = await http.serve(board, metrics, HttpSettings(port=0), explain_guest)
    daemon.url, daemon.board, daemon.socket = server.address, board, folder / "run" / "control.sock"
    daemon.loop = asyncio.get_running_loop()

    socket = await control.serve(daemon.socket, scene.Mind(daemon.told, "sha256:4f5e"))
    ready.set()
    await stop.wait()
    await socket.close()
    await server.close()
    state.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made, ready = Daemon(), threading.Event()
    stops: list[Callable[[], object]] = []

    def run() -> None:
        async def main() -> None:
            stop, loop = asyncio.Event(), asyncio.get_running_loop()
            stops.append(lambda: loop.call_soon_threadsafe(stop.set))
            await _serve(made, tmp_path / "state", ready, stop)

        asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    yield made
    stops[0]()
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Run a verb away from the machine's own settings."""
    (tmp_path / "drover.toml").write_text("")
    monkeypatch.setenv("DROVER_CONFIG", str(tmp_path / "drover.toml"))
    monkeypatch.delenv("DROVER_SERVER", raising=False)

    def run(*arguments: str, color: bool = False) -> Result:
        return CliRunner().invoke(drover, arguments, color=color)

    return run
