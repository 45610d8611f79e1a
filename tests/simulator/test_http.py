"""The cluster on real sockets, asked by a client that nobody here wrote: proxmoxer."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException

from controller.clock import SystemClock
from controller.simulator import faults
from controller.simulator.http import Server, fingerprint, serve
from controller.simulator.routes import Simulator
from controller.simulator.seed import load
from controller.simulator.world import World
from tests.simulator.lab import BASE, GUESTS, SECRET

T = TypeVar("T")
SPEED = 60.0


def port(server: Server, number: int = 0) -> int:
    """The port of the first or another node."""
    return int(server.endpoints[number].rpartition(":")[2])


@contextmanager
def client(server: Server, number: int = 0, token: str = SECRET.rpartition("=")[2], **kwargs: Any) -> Iterator[Any]:
    """A proxmoxer client of one node."""
    api = ProxmoxAPI(
        "127.0.0.1",
        port=port(server, number),
        user="drover@pve",
        token_name="main",
        token_value=token,
        verify_ssl=str(server.ca_file),
        **kwargs,
    )
    try:
        yield api
    finally:
        api._store["session"].close()


def served(test: Callable[[Server, World], T], *, tls: Path | None = None) -> T:
    """Run a blocking test in a thread beside the server."""

    async def run() -> T:
        clock = SystemClock(SPEED)
        world = World(load(BASE + GUESTS).model_copy(update={"start": clock.wall()}), seed=1)
        async with await serve(Simulator(world), clock=clock, base_port=0, tls=tls) as server:
            return await asyncio.to_thread(test, server, world)

    return asyncio.run(run())


@pytest.mark.e2e
def test_proxmoxer_drives_a_migration_and_reads_the_reason_phrase() -> None:
    def drive(server: Server, world: World) -> None:
        with client(server) as api:
            assert api.version.get()["release"] == "9.2"
            assert {row["type"] for row in api.cluster.resources.get()} >= {"qemu", "lxc", "node", "storage", "pool"}
            with pytest.raises(ResourceException) as caught:
                api.nodes("pve1").qemu(100).migrate.post(target="pve2")
            assert (caught.value.status_code, caught.value.content) == (
                500,
                "can't migrate running VM without --online",
            )
            with pytest.raises(ResourceException) as caught:
                api.nodes("pve1").qemu(100).migrate.post(target="pve2", online=True)
            assert caught.value.errors == {"online": "type check ('boolean') failed - got 'True'"}
            upid = api.nodes("pve1").qemu(100).migrate.post(target="pve2", online=1)
            status = _ended(api, upid)
            assert status["exitstatus"] == "OK"
            assert api.nodes("pve1").tasks(upid).log.get(limit=0)[-1]["t"] == "TASK OK"
            assert api.nodes("pve2").qemu(100).status.current.get()["qmpstatus"] == "running"
            assert world.guests[100].node == "pve2"

    served(drive)


def _ended(api: Any, upid: str) -> Any:
    deadline = time.monotonic() + 20
    while (status := api.nodes("pve1").tasks(upid).status.get())["status"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return status


@pytest.mark.e2e
def test_every_node_has_its_own_port_and_certificate() -> None:
    def look(server: Server, world: World) -> None:
        for number, name in enumerate(world.nodes):
            with client(server, number) as api:
                local = [row["name"] for row in api.cluster.status.get() if row.get("local")]
                assert local == [name]
                shown = {row["node"]: row["ssl_fingerprint"] for row in api.nodes.get()}
            pem = ssl.get_server_certificate(("127.0.0.1", port(server, number)))
            assert fingerprint(pem) == server.fingerprints[name] == shown[name]
        assert len(set(server.fingerprints.values())) == 3

    served(look)


@pytest.mark.e2e
def test_certificates_are_found_again(tmp_path: Path) -> None:
    first = served(lambda server, _: server.fingerprints, tls=tmp_path)
    assert served(lambda server, _: server.fingerprints, tls=tmp_path) == first


@pytest.mark.e2e
def test_a_wrong_token_is_a_401_without_a_body_and_an_unknown_authority_a_tls_failure() -> None:
    def look(server: Server, _: World) -> None:
        with client(server, token="wrong") as api, pytest.raises(ResourceException) as caught:
            api.version.get()
        assert (caught.value.status_code, caught.value.content) == (401, "Authentication failed!")
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{server.endpoints[0]}/api2/json/version", timeout=5)

    served(look)


@pytest.mark.e2e
def test_a_ticket_works_and_needs_its_csrf_token_for_changes() -> None:
    def look(server: Server, world: World) -> None:
        world.access.users["root@pam"].password = "secret"
        login = {"username": "root@pam", "password": "secret"}
        ticket = f"{server.endpoints[0]}/api2/json/access/ticket"
        held = requests.post(ticket, data=login, verify=str(server.ca_file), timeout=10).json()["data"]
        url = f"{server.endpoints[0]}/api2/json/nodes/pve1/qemu/102/status/start"
        cookie = {"PVEAuthCookie": held["ticket"]}
        bare = requests.post(url, cookies=cookie, verify=str(server.ca_file), timeout=10)
        assert (bare.status_code, bare.reason, bare.content) == (401, "Permission denied - invalid csrf token", b"")
        headers = {"CSRFPreventionToken": held["CSRFPreventionToken"]}
        full = requests.post(url, cookies=cookie, headers=headers, verify=str(server.ca_file), timeout=10)
        assert full.json()["data"].startswith("UPID:pve1:")

    served(look)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("method", "kwargs", "status", "reason"),
    [
        ("DELETE", {"data": {"a": "b"}}, 501, "Unexpected content for method 'DELETE'"),
        ("POST", {"data": "{", "headers": {"Content-Type": "application/json"}}, 500, "malformed JSON string"),
        ("POST", {"json": [1]}, 500, "Not a HASH reference"),
        ("POST", {"json": {"target": "pve1", "online": True}}, 400, "Parameter verification failed."),
        ("POST", {"data": [("target", "pve2"), ("target", "pve3")]}, 400, "Parameter verification failed."),
    ],
)
def test_bodies_are_read_as_pve_reads_them(method: str, kwargs: Any, status: int, reason: str) -> None:
    def look(server: Server, _: World) -> None:
        headers = {"Authorization": SECRET, **kwargs.pop("headers", {})}
        url = f"{server.endpoints[0]}/api2/json/nodes/pve1/qemu/100/migrate"
        answer = requests.request(method, url, headers=headers, verify=str(server.ca_file), timeout=10, **kwargs)
        assert answer.status_code == status
        assert answer.reason.startswith(reason)
        assert answer.headers["Connection"] == "close"

    served(look)


@pytest.mark.e2e
def test_a_dead_node_refuses_connections_and_a_lost_answer_breaks_them() -> None:
    def look(server: Server, world: World) -> None:
        world.engine.after(0, lambda: faults.apply(world, "lost-answer"))
        time.sleep(0.1)
        with client(server) as api, pytest.raises(requests.exceptions.ConnectionError):
            api.nodes("pve1").qemu(100).migrate.post(target="pve2", online=1)
        assert [task.type for task in world.tasks.by_upid.values()][:1] == ["qmigrate"]
        world.engine.after(0, lambda: faults.apply(world, "node-crash", node="pve3"))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port(server, 2))) != 0:
                    return
            time.sleep(0.05)
        pytest.fail("the port of the dead node is still open")

    served(look)
