"""What an administrator can get wrong about a connection, against the simulated cluster over real HTTPS: each a clear reason."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller.clock import SystemClock
from controller.model.errors import Denied, DroverError, Retry
from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, Vmid
from controller.model.plan import MoveOptions
from controller.model.reasons import Why
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.pve.proxmoxer_transport import ProxmoxerTransport, TlsOptions, TokenAuth
from controller.simulator import faults, http
from controller.simulator.routes import Simulator
from controller.simulator.seed import load
from controller.simulator.world import World
from tests.pve.https import dead_port

CLUSTER = """
nodes: {pve1: {}, pve2: {}, pve3: {}}
storages: {nfs: {type: nfs}}
guests:
  100: {node: pve1, name: web1, memory: 512MiB, disks: {scsi0: {storage: nfs}}}
access:
  users: {bot@pve: {}}
  tokens: {"bot@pve!drover": {secret: 5e4c-s3cr3t}, "bot@pve!naked": {secret: 5e4c-s3cr3t}}
  acl:
    - {path: /, role: PVEAdmin, to: bot@pve}
    - {path: /, role: PVEAdmin, to: "bot@pve!drover"}
"""
TOKEN = TokenAuth("bot@pve!drover", "5e4c-s3cr3t")
PVE1, PVE2 = NodeName("pve1"), NodeName("pve2")


class Scene:
    def __init__(self, server: http.Server, simulator: Simulator) -> None:
        self.server = server
        self.simulator = simulator
        self.verified = TlsOptions(ca_file=server.ca_file)

    @asynccontextmanager
    async def client(
        self, auth: TokenAuth = TOKEN, tls: TlsOptions | None = None, endpoints: Sequence[str] | None = None
    ) -> AsyncIterator[PveClient]:
        transport = ProxmoxerTransport(endpoints or self.server.endpoints, auth, tls or self.verified)
        try:
            yield PveClient(transport)
        finally:
            transport.close()

    def fault(self, do: str, **arguments: object) -> None:
        faults.apply(self.simulator.world, do, **arguments)


def play(body: Callable[[Scene], Awaitable[None]], folder: Path, *, speed: float = 20.0) -> None:
    async def main() -> None:
        clock = SystemClock(speed)
        simulator = Simulator(World(load(CLUSTER).model_copy(update={"start": clock.wall()})))
        async with (
            asyncio.timeout(30),
            await http.serve(simulator, clock=clock, base_port=0, tls=folder / "tls") as server,
        ):
            await body(Scene(server, simulator))

    asyncio.run(main())


async def error_of(call: Awaitable[object]) -> DroverError:
    with pytest.raises(DroverError) as caught:
        await call
    return caught.value


def test_reads_and_a_move_go_through(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        async with scene.client() as pve:
            assert (await pve.version())[0] == 9
            status = await pve.cluster_status()
            assert (status.quorate, len(status.online)) == (True, 3)
            guest = await pve.guest_status(PVE1, GuestKind.QEMU, Vmid(100))
            config = await pve.guest_config(PVE1, GuestKind.QEMU, Vmid(100))
            assert (guest.name, config.identity.born[:6]) == ("web1", "ctime:")
            upid = await pve.migrate(PVE1, GuestKind.QEMU, Vmid(100), PVE2, MoveOptions(online=True), running=True)
            task = await pve.task_status(upid)
            assert (task.upid, task.type, task.user) == (upid, "qmigrate", "bot@pve!drover")
            assert upid in {task.upid for task in await pve.node_tasks(PVE1, vmid=Vmid(100), source="all")}
            await pve.stop_task(upid)
            lines, after = await pve.task_log(upid)
            assert lines
            assert after == len(lines)

    play(body, tmp_path)


def test_a_pinned_fingerprint_is_enough_and_a_wrong_one_refuses_every_endpoint(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        first = scene.server.endpoints[:1]
        async with scene.client(
            tls=TlsOptions(fingerprint_sha256=scene.server.fingerprints["pve1"]), endpoints=first
        ) as pve:
            assert await pve.version()
        for tls in (TlsOptions(fingerprint_sha256="ab" * 32), TlsOptions()):
            async with scene.client(tls=tls) as pve:
                error = await error_of(pve.version())
                assert (type(error), error.why) == (Retry, Why.TLS_FAILED)
        assert scene.simulator.requests == 1

    play(body, tmp_path)


@pytest.mark.parametrize(
    "auth", [TokenAuth("bot@pve!drover", "wrong"), TokenAuth("bot@pve!nobody", "x"), TokenAuth("x", "y")]
)
def test_a_wrong_token_is_denied(auth: TokenAuth, tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        async with scene.client(auth) as pve:
            error = await error_of(pve.version())
            assert (type(error), error.why) == (Denied, Why.AUTH_FAILED)
            assert auth.secret not in error.message

    play(body, tmp_path)


def test_a_token_without_rights_sees_nothing_and_is_told_so(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        async with scene.client(TokenAuth("bot@pve!naked", "5e4c-s3cr3t")) as pve:
            assert (await pve.resources()).guests == ()  # filtered, not refused
            observer = Observer(pve, cluster=ClusterName("c"), clock=SystemClock(), token_id="bot@pve!naked")
            error = await error_of(observer.look())
            assert (type(error), error.why) == (Denied, Why.PERMISSION_MISSING)
            assert "VM.Audit" in {item.privilege for item in observer.missing}
            assert "--tokens 'bot@pve!naked'" in observer.missing_rights[-1]

    play(body, tmp_path)


def test_a_dead_endpoint_costs_nothing_and_a_dying_one_little(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        dead = f"https://127.0.0.1:{dead_port()}"
        async with scene.client(endpoints=[dead, *scene.server.endpoints]) as pve:
            assert (await pve.cluster_status()).local == "pve1"
            scene.fault("pveproxy-down", node="pve1")
            assert (await pve.cluster_status()).local == "pve2"
            scene.fault("pveproxy-up", node="pve1")
            assert (await pve.cluster_status()).local == "pve2"  # the one in use stays in use
        async with scene.client(endpoints=[dead]) as pve:
            error = await error_of(pve.version())
            assert (type(error), error.why) == (Retry, Why.UNREACHABLE)

    play(body, tmp_path)


def test_the_quorate_part_is_preferred(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        async with scene.client() as pve:
            assert (await pve.cluster_status()).local == "pve1"
            scene.fault("partition", nodes=["pve1"])
            scene.simulator.world.advance(scene.simulator.world.now + 60)
            status = await pve.cluster_status()
            assert (status.quorate, status.local) == (True, "pve2")
            assert status.online[PVE1] is False

    play(body, tmp_path, speed=1.0)


def test_the_second_look_over_https(tmp_path: Path) -> None:
    class Wish:
        identity = GuestIdentity(Vmid(100), GuestKind.QEMU)
        source, target = PVE1, PVE2

    async def body(scene: Scene) -> None:
        async with scene.client() as pve:
            observer = Observer(pve, cluster=ClusterName("c"), clock=SystemClock())
            fresh = await observer.fresh(Wish())
            assert fresh.guest is not None
            assert fresh.preconditions is not None
            assert (fresh.guest.name, fresh.preconditions.running) == ("web1", True)

    play(body, tmp_path)
