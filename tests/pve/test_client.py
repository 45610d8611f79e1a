"""Typed calls: which path and parameters go out, what comes back, and that nothing but DroverError is raised."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import TypeVar

import pytest

from controller.model.errors import Ambiguous, Busy, DroverError, Rejected, Retry, Stale
from controller.model.facts import HaRule
from controller.model.ids import GuestKind, NodeName, Upid, Vmid
from controller.model.plan import MoveOptions
from controller.model.reasons import Why
from controller.pve.client import PveClient, migrate_params
from controller.pve.transport import HttpFailure, Json
from tests.pve.scripted import Answer, Scripted

T = TypeVar("T")
QEMU, LXC = GuestKind.QEMU, GuestKind.LXC
PVE1, PVE2 = NodeName("pve1"), NodeName("pve2")
UPID = Upid("UPID:pve1:0000025F:000881C0:6B038F4F:qmigrate:100:bot@pve!drs:")
BASE = "/nodes/pve1/qemu/100"


def run(call: Coroutine[object, object, T]) -> T:
    return asyncio.run(call)


def client(answers: dict[str, Answer]) -> tuple[PveClient, Scripted]:
    """Answers by `METHOD path`."""
    transport = Scripted(answers)
    return PveClient(transport), transport


@pytest.mark.parametrize(
    ("kind", "options", "running", "expected"),
    [
        (QEMU, MoveOptions(online=True), True, {"online": True}),
        (QEMU, MoveOptions(online=True), False, {}),
        (QEMU, MoveOptions(online=False), True, {}),
        (
            QEMU,
            MoveOptions(online=True, restart=True, with_local_disks=True),
            True,
            {"online": True, "with-local-disks": True},
        ),
        (QEMU, MoveOptions(online=True, bandwidth_limit_mib_s=100), True, {"online": True, "bwlimit": 102400}),
        (QEMU, MoveOptions(online=True, conntrack=True), True, {"online": True, "with-conntrack-state": True}),
        (QEMU, MoveOptions(online=True, conntrack=True), False, {}),
        (LXC, MoveOptions(online=False, restart=True, conntrack=True), True, {"restart": True}),
        (LXC, MoveOptions(online=False, restart=True), True, {"restart": True}),
        (LXC, MoveOptions(online=True, restart=True, with_local_disks=True), False, {}),
        (LXC, MoveOptions(online=True), True, {}),
        (
            LXC,
            MoveOptions(online=False, restart=True, bandwidth_limit_mib_s=1),
            True,
            {"restart": True, "bwlimit": 1024},
        ),
    ],
)
def test_a_migration_is_asked_for_with_what_the_guest_understands(
    kind: GuestKind, options: MoveOptions, running: bool, expected: dict[str, object]
) -> None:
    assert migrate_params(kind, PVE2, options, running=running) == {"target": "pve2", **expected}


def test_migrate_posts_once_and_returns_the_task() -> None:
    pve, wire = client({f"POST {BASE}/migrate": UPID})
    assert run(pve.migrate(PVE1, QEMU, Vmid(100), PVE2, MoveOptions(online=True), running=True)) == UPID
    assert wire.asked == [("POST", f"{BASE}/migrate", {"target": "pve2", "online": True})]


@pytest.mark.parametrize(
    "answer", [None, "OK", "", {"upid": UPID}, HttpFailure(status=596, reason="Connection timed out")]
)
def test_without_a_task_id_the_outcome_is_unknown(answer: Json | HttpFailure) -> None:
    pve, wire = client({f"POST {BASE}/migrate": answer})
    with pytest.raises(Ambiguous) as caught:
        run(pve.migrate(PVE1, QEMU, Vmid(100), PVE2, MoveOptions(online=True), running=True))
    assert caught.value.why is Why.ANSWER_LOST
    assert len(wire.asked) == 1


def test_a_locked_guest_has_no_verdict_and_an_old_container_never_has_one() -> None:
    pve, _ = client({f"GET {BASE}/migrate": HttpFailure(status=500, reason="VM is locked (backup)")})
    with pytest.raises(Busy):
        run(pve.preconditions(PVE1, QEMU, Vmid(100)))
    assert run(pve.preconditions(PVE1, LXC, Vmid(200))) is None  # the script answers 501, as PVE 8 does


def test_a_refusal_is_translated_and_names_the_call() -> None:
    gone = HttpFailure(status=500, reason="Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist")
    pve, _ = client({f"GET {BASE}/status/current": gone})
    with pytest.raises(Stale) as caught:
        run(pve.guest_status(PVE1, QEMU, Vmid(100)))
    assert caught.value.why is Why.GUEST_MOVED
    assert caught.value.message.startswith(f"GET {BASE}/status/current: 500 Configuration file")


@pytest.mark.parametrize("nonsense", [None, "x", 5, [], {}])
def test_an_answer_of_the_wrong_shape_is_no_crash(nonsense: Json) -> None:
    transport = Scripted(
        dict.fromkeys(
            [
                "GET /version", "GET /cluster/status", "GET /cluster/resources", "GET /cluster/tasks", "GET /cluster/options",
                "GET /cluster/ha/status/manager_status", "GET /cluster/replication", "GET /access/permissions",
                "GET /nodes/pve1/version", "GET /nodes/pve1/time", "GET /nodes/pve1/status", f"GET {BASE}/status/current",
                f"GET {BASE}/config", f"GET {BASE}/migrate", "GET /nodes/pve1/tasks", f"GET /nodes/pve1/tasks/{UPID}/status",
                f"GET /nodes/pve1/tasks/{UPID}/log",
            ],
            nonsense,
        )
    )  # fmt: skip
    pve, guest = PveClient(transport), (PVE1, QEMU, Vmid(100))
    calls: list[Coroutine[object, object, object]] = [
        pve.version(), pve.cluster_status(), pve.resources(), pve.tasks(), pve.options(), pve.ha_manager_status(),
        pve.replication_jobs(), pve.permissions(), pve.node_version(PVE1), pve.node_time(PVE1), pve.node_status(PVE1),
        pve.guest_status(*guest), pve.guest_config(*guest), pve.preconditions(*guest), pve.node_tasks(PVE1),
        pve.task_status(UPID), pve.task_log(UPID),
    ]  # fmt: skip
    for call in calls:
        try:
            run(call)
        except Retry as error:
            assert error.why is Why.PVE_ERROR  # noqa: PT017 - most of these calls may as well succeed
    assert len(transport.asked) == len(calls)


def test_a_log_is_read_in_pages_and_a_made_up_line_does_not_move_on() -> None:
    pve, wire = client({f"GET /nodes/pve1/tasks/{UPID}/log": [{"n": 4, "t": "a"}, {"n": 5, "t": "b"}]})
    assert run(pve.task_log(UPID, 3)) == (("a", "b"), 5)
    assert wire.asked[0][2] == {"start": 3, "limit": 1000}
    pve, _ = client({f"GET /nodes/pve1/tasks/{UPID}/log": [{"n": 1, "t": "no content"}]})
    assert run(pve.task_log(UPID)) == ((), 0)


def test_tasks_of_a_node_are_asked_for_by_guest() -> None:
    pve, wire = client({"GET /nodes/pve1/tasks": [{"upid": UPID, "status": "RUNNING"}]})
    (task,) = run(pve.node_tasks(PVE1, vmid=Vmid(100), source="all", since=5))
    assert (task.upid, task.running) == (UPID, True)
    assert wire.asked[0][2] == {"source": "all", "limit": 500, "vmid": 100, "since": 5}


def test_a_task_is_stopped_at_its_own_node() -> None:
    pve, wire = client({f"DELETE /nodes/pve1/tasks/{UPID}": None})
    run(pve.stop_task(UPID))
    assert wire.asked == [("DELETE", f"/nodes/pve1/tasks/{UPID}", {})]


def test_drives_are_changed_only_as_they_were_read() -> None:
    pve, wire = client({"PUT /nodes/pve1/qemu/101/config": None})
    run(pve.set_drives(NodeName("pve1"), Vmid(101), {"ide2": "none,media=cdrom"}, digest="abc"))
    assert wire.asked[-1][2] == {"ide2": "none,media=cdrom", "digest": "abc"}


def test_names_can_not_leave_their_place_in_a_path() -> None:
    pve, wire = client({})
    with pytest.raises(DroverError):
        run(pve.node_version(NodeName("../access?x#y")))
    assert wire.paths == ["/nodes/..%2Faccess%3Fx%23y/version"]
    with pytest.raises(Rejected):
        run(pve.task_status(Upid("UPID:../x")))
    assert len(wire.asked) == 1


def test_what_nodes_and_the_cluster_tell_of_themselves() -> None:
    pve, _ = client(
        {
            "GET /version": {"version": "9.2.11"},
            "GET /nodes/pve1/version": {"version": "8.4.1"},
            "GET /nodes/pve1/time": {"time": 1777593600, "timezone": "Europe/Vienna", "localtime": 1777600800},
        }
    )
    assert run(pve.version()) == (9, 2, 11)
    assert run(pve.node_version(PVE1)) == (8, 4, 1)
    told = run(pve.node_time(PVE1))
    assert (told.epoch, told.zone) == (1777593600, "Europe/Vienna")


def test_replication_jobs_are_asked_for_as_pve_wants_it() -> None:
    job: dict[str, Json] = {
        "id": "100-0",
        "guest": 100,
        "target": "pve2",
        "source": "pve1",
        "type": "local",
        "digest": "d1",
    }
    pve = Scripted(
        {
            "GET /cluster/replication/100-0": job,
            "POST /cluster/replication": None,
            "PUT /cluster/replication/100-0": None,
            "DELETE /cluster/replication/100-0": None,
            "POST /nodes/pve1/replication/100-0/schedule_now": "",
            "GET /nodes/pve1/replication/100-0/log": [{"n": 1, "t": "unable to open file - No such file or directory"}],
        }
    )
    client = PveClient(pve)

    async def ask() -> None:
        found, digest = await client.replication_job("100-0")
        assert (found.target, found.schedule, digest) == ("pve2", "*/15", "d1")
        await client.create_job("100-0", PVE2, source=PVE1, schedule="*/5", rate_mb_s=None, comment="ours")
        await client.change_job("100-0", {"rate": 12.5}, delete=("disable", "comment"), digest="d1")
        await client.remove_job("100-0")
        await client.remove_job("100-0", keep_data=True)
        await client.remove_job("100-0", force=True)
        await client.sync_now(PVE1, "100-0")
        assert await client.job_log(PVE1, "100-0") == ((), 0)

    asyncio.run(ask())
    assert [params for method, _, params in pve.asked if method != "GET"] == [
        {"id": "100-0", "type": "local", "target": "pve2", "source": "pve1", "schedule": "*/5", "comment": "ours"},
        {"rate": 12.5, "delete": "comment,disable", "digest": "d1"},
        {},
        {"keep": True},
        {"force": True},
        {},
    ]


def test_rules_of_pve_ha_are_sent_as_pve_wants_them() -> None:
    row: dict[str, Json] = {
        "rule": "r",
        "type": "node-affinity",
        "nodes": "pve2",
        "resources": "vm:1",
        "disable": 1,
        "comment": "c",
    }
    path = "/cluster/ha/rules"
    pve = Scripted({f"GET {path}/r": {**row, "digest": "d"}, f"GET {path}": [row]})
    pve.answers |= {f"POST {path}": None, f"PUT {path}/r": None, f"DELETE {path}/r": None}
    client = PveClient(pve)

    async def ask() -> None:
        rule, digest = await client.ha_rule("r")
        assert (rule.comment, rule.off, digest) == ("c", "it is switched off", "d")
        assert await client.all_ha_rules() == (rule,)
        await client.create_ha_rule(replace(rule, strict=True))
        await client.change_ha_rule(HaRule("r", apart=("vm:1", "vm:2"), comment="c"), digest="d")
        await client.remove_ha_rule("r")

    asyncio.run(ask())
    assert [params for method, _, params in pve.asked if method != "GET"] == [
        {"rule": "r", "type": "node-affinity", "resources": "vm:1", "nodes": "pve2", "strict": True, "comment": "c"},
        {"type": "resource-affinity", "resources": "vm:1,vm:2", "affinity": "negative", "comment": "c", "digest": "d"},
        {},
    ]
