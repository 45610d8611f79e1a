"""proxmoxer used as its own documentation shows it, against the simulator over HTTPS; nobody here wrote it.

Monitoring and balancing tools do the same in `make bench`: tests/bench/clients.py.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from proxmoxer import AuthenticationError, ProxmoxAPI
from proxmoxer.core import ResourceException
from proxmoxer.tools import Tasks

from controller.simulator.http import Server
from controller.simulator.world import World
from tests.simulator.lab import SECRET
from tests.simulator.test_http import served

pytestmark = pytest.mark.e2e
Test = Callable[[Any, World], None]


@contextmanager
def proxmoxer(server: Server, **credentials: Any) -> Iterator[Any]:
    """A proxmoxer client, closed afterwards: it does not do that itself."""
    host = server.endpoints[0].removeprefix("https://")
    api = ProxmoxAPI(host, verify_ssl=str(server.ca_file), **credentials)
    try:
        yield api
    finally:
        api._store["session"].close()


def with_token(test: Test) -> None:
    """Run a test with an API token."""

    def run(server: Server, world: World) -> None:
        token = {"user": "drover@pve", "token_name": "main", "token_value": SECRET.rpartition("=")[2]}
        with proxmoxer(server, **token) as api:
            test(api, world)

    served(run)


def with_password(test: Test) -> None:
    """Run a test as root with a password."""

    def run(server: Server, world: World) -> None:
        world.access.users["root@pam"].password = "secret_word"
        with proxmoxer(server, user="root@pam", password="secret_word") as api:
            test(api, world)

    served(run)


@pytest.mark.parametrize("login", [with_token, with_password])
def test_the_first_example_lists_guests_by_node(login: Callable[[Test], None]) -> None:
    def test(proxmox: Any, _world: World) -> None:
        found = {
            (node["node"], int(vm["vmid"]), vm["name"], vm["status"])
            for node in proxmox.nodes.get()
            for vm in proxmox.nodes(node["node"]).qemu.get()
        }
        assert ("pve1", 100, "web", "running") in found
        assert ("pve2", 102, "off", "stopped") in found
        assert len(found) == 5
        assert {vm["vmid"] for vm in proxmox.cluster.resources.get(type="vm")} == {100, 101, 102, 103, 104, 200}

    login(test)


def test_all_ways_to_write_a_path_are_the_same_call() -> None:
    def test(proxmox: Any, _world: World) -> None:
        ways = [
            proxmox.nodes("pve1").qemu(100).config.get,
            proxmox.nodes.pve1.qemu("100/config").get,
            proxmox("nodes/pve1/qemu/100/config").get,
            proxmox("nodes/pve1/qemu")(100).config.get,
            proxmox(["nodes", "pve1", "qemu", "100", "config"]).get,
        ]
        answers = [way() for way in ways]
        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["name"] == "web"

    with_token(test)


def test_get_create_set_and_delete_of_the_examples() -> None:
    def test(proxmox: Any, world: World) -> None:
        proxmox.pools.create(poolid="lab", comment="made by proxmoxer")
        assert proxmox.pools("lab").get()["comment"] == "made by proxmoxer"
        proxmox.pools("lab").set(vms="101")
        assert [member["vmid"] for member in proxmox.pools("lab").get()["members"]] == [101]
        proxmox.pools("lab").set(vms="101", delete=1)
        proxmox.pools("lab").delete()
        assert [pool["poolid"] for pool in proxmox.pools.get()] == ["prod"]
        upid = proxmox.nodes("pve1").qemu(100).config.post(description="a line\nand another: äöü & =", tags="one;two")
        assert Tasks.blocking_status(proxmox, upid, polling_interval=0.02)["exitstatus"] == "OK"
        assert proxmox.nodes("pve1").qemu(100).config.get()["description"].startswith("a line\nand another: äöü & =")
        assert world.guests[100].config["tags"] == "one;two"
        proxmox.access.users.create(userid="new@pve", comment="somebody")
        assert proxmox.access.users("new@pve").get()["comment"] == "somebody"
        proxmox.access.users("new@pve").delete()

    with_token(test)


def test_a_task_is_waited_for_and_its_log_read_with_the_tools() -> None:
    def test(proxmox: Any, world: World) -> None:
        upid = proxmox.nodes("pve1").qemu(100).migrate.post(target="pve2", online=1)
        decoded = Tasks.decode_upid(upid)
        assert (decoded["node"], decoded["type"], decoded["id"]) == ("pve1", "qmigrate", "100")
        assert decoded["user"] == "drover@pve"
        done = Tasks.blocking_status(proxmox, upid, timeout=60, polling_interval=0.05)
        assert (done["status"], done["exitstatus"]) == ("stopped", "OK")
        assert {key: done[key] for key in ("upid", "node", "type", "id", "starttime", "pid")} == {
            key: decoded[key] for key in ("upid", "node", "type", "id", "starttime", "pid")
        }
        lines = Tasks.decode_log(proxmox.nodes("pve1").tasks(upid).log.get(limit=0)).splitlines()
        assert any("starting migration of VM 100 to node 'pve2'" in line for line in lines)
        assert lines[-1] == "TASK OK"
        assert world.guests[100].node == "pve2"
        with pytest.raises(AssertionError, match="UPID"):
            Tasks.decode_upid("no such thing")

    with_token(test)


def test_a_task_that_takes_longer_than_one_waits_is_none() -> None:
    def test(proxmox: Any, _world: World) -> None:
        upid = proxmox.nodes("pve1").qemu(101).migrate.post(target="pve2", online=1)
        assert Tasks.blocking_status(proxmox, upid, timeout=0.01, polling_interval=0.005) is None

    with_token(test)


@pytest.mark.parametrize(
    ("path", "call", "status", "content", "errors"),
    [
        ("nodes/pve1/qemu/999/config", ("get", {}), 500,
         "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist", None),
        ("nodes/pve1/qemu/100/migrate", ("post", {"target": "pve2"}), 500, "can't migrate running VM without --online", None),
        ("nodes/pve1/qemu/100/migrate", ("post", {}), 400, "Parameter verification failed.",
         {"target": "property is missing and it is not optional"}),
        ("nodes/pve1/qemu/100/migrate", ("post", {"target": "pve1"}), 400, "Parameter verification failed.",
         {"target": "target is local node."}),
        ("nodes/pve1/nothing", ("get", {}), 501, "Method 'GET /nodes/pve1/nothing' not implemented", None),
        ("access/ticket", ("post", {"username": "a@pam", "password": "b"}), 403,
         "Permission check failed (URI '/access/ticket' not available with API token, need proper ticket.", None),
    ],
)  # fmt: skip
def test_an_error_carries_what_pve_said(
    path: str, call: tuple[str, dict[str, str]], status: int, content: str, errors: dict[str, str] | None
) -> None:
    method, params = call

    def test(proxmox: Any, _world: World) -> None:
        with pytest.raises(ResourceException) as caught:
            getattr(proxmox(path), method)(**params)
        error = caught.value
        assert (error.status_code, error.errors) == (status, errors)
        assert error.content.startswith(content)
        assert str(error).startswith(f"{status} {error.status_message}: {content}")

    with_token(test)


def test_a_ticket_is_shown_used_for_changes_and_renewed() -> None:
    def test(proxmox: Any, world: World) -> None:
        ticket, csrf = proxmox.get_tokens()
        assert ticket.startswith("PVE:root@pam:")
        assert csrf
        upid = proxmox.nodes("pve2").qemu(102).status.start.post()
        assert Tasks.blocking_status(proxmox, upid, timeout=60, polling_interval=0.05)["exitstatus"] == "OK"
        assert world.guests[102].running
        proxmox._store["session"].auth.birth_time -= 3700  # older than proxmoxer lets a ticket become
        proxmox.version.get()
        assert proxmox.get_tokens()[0] != ticket

    with_password(test)


def test_a_wrong_password_is_an_authentication_error() -> None:
    def test(server: Server, world: World) -> None:
        world.access.users["root@pam"].password = "secret_word"
        with pytest.raises(AuthenticationError, match="Couldn't authenticate user: root@pam"):
            ProxmoxAPI(
                server.endpoints[0].removeprefix("https://"),
                user="root@pam",
                password="no",
                verify_ssl=str(server.ca_file),
            )

    served(test)
