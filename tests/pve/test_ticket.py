"""Logged in with user and password: one login for all threads, renewal in time, and a new login when a ticket has lapsed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.clock import SystemClock
from controller.model.errors import Denied
from controller.model.ids import GuestKind, NodeName, Vmid
from controller.model.plan import MoveOptions
from controller.model.reasons import Why
from controller.pve.client import PveClient
from controller.pve.proxmoxer_transport import ProxmoxerTransport, TlsOptions
from controller.pve.ticket import RENEW_SECONDS, TicketAuth
from controller.simulator import http
from controller.simulator.api import Request, Response
from controller.simulator.routes import Simulator
from controller.simulator.seed import load
from controller.simulator.world import World

CLUSTER = """
nodes: {pve1: {}, pve2: {}}
storages: {nfs: {type: nfs}}
guests:
  100: {node: pve1, name: web1, memory: 512MiB, disks: {scsi0: {storage: nfs}}}
access:
  users: {bot@pve: {password: correct horse}}
  acl:
    - {path: /, role: PVEAdmin, to: bot@pve}
"""
PVE1, PVE2 = NodeName("pve1"), NodeName("pve2")


@dataclass
class Scene:
    server: http.Server
    world: World
    logins: list[str]
    age: float = 0.0
    """Added to our own clock, to let tickets grow old."""

    @asynccontextmanager
    async def client(self, password: str = "correct horse") -> AsyncIterator[PveClient]:
        clock = SystemClock()
        auth = TicketAuth("bot@pve", password, lambda: clock.monotonic() + self.age)
        transport = ProxmoxerTransport(self.server.endpoints[:1], auth, TlsOptions(ca_file=self.server.ca_file))
        try:
            yield PveClient(transport)
        finally:
            transport.close()


def play(body: Callable[[Scene], Awaitable[None]], folder: Path) -> None:
    async def main() -> None:
        clock = SystemClock(20.0)
        world = World(load(CLUSTER).model_copy(update={"start": clock.wall()}))
        logins: list[str] = []

        def note(request: Request, _: Callable[[], Response]) -> Response | None:
            if request.path == "/access/ticket":
                logins.append("ticket" if str(request.params["password"]).startswith("PVE:") else "password")
            return None

        world.interceptors.append(note)
        async with (
            asyncio.timeout(30),
            await http.serve(Simulator(world), clock=clock, base_port=0, tls=folder / "tls") as server,
        ):
            await body(Scene(server, world, logins))

    asyncio.run(main())


def test_one_login_serves_reads_and_changes_of_all_threads(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        async with scene.client() as pve:
            await asyncio.gather(*(pve.version() for _ in range(12)))
            upid = await pve.migrate(PVE1, GuestKind.QEMU, Vmid(100), PVE2, MoveOptions(online=True), running=True)
            assert (await pve.task_status(upid)).user == "bot@pve"
        assert scene.logins == ["password"]

    play(body, tmp_path)


def test_a_ticket_is_renewed_by_itself_before_it_lapses(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        async with scene.client() as pve:
            await pve.version()
            scene.age = RENEW_SECONDS + 1
            await asyncio.gather(*(pve.version() for _ in range(6)))
        assert scene.logins == ["password", "ticket"]

    play(body, tmp_path)


def test_a_ticket_that_lapsed_is_replaced_and_the_call_goes_through(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        async with scene.client() as pve:
            await pve.version()
            scene.world.advance(scene.world.now + 3 * 3600)  # the cluster's clock; ours does not notice
            upid = await pve.migrate(PVE1, GuestKind.QEMU, Vmid(100), PVE2, MoveOptions(online=True), running=True)
            assert upid
        assert scene.logins == ["password", "password"]

    play(body, tmp_path)


def test_a_wrong_password_is_told_as_such_and_asked_once_per_call(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        async with scene.client("battery staple") as pve:
            with pytest.raises(Denied, match="bot@pve can't log in") as caught:
                await pve.version()
        assert caught.value.why is Why.AUTH_FAILED
        assert "battery" not in caught.value.message
        assert scene.logins == ["password"]

    play(body, tmp_path)
