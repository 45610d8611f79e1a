"""What the API answers: three ages of data, filtered lists, refusals in their order, tasks, membership and its loss."""

from typing import Any

import pytest

from controller.simulator import faults
from controller.simulator.seed import CpuFile, load
from controller.simulator.world import World
from tests.simulator.lab import Lab

WEAK = "PVEAPIToken=weak@pve!none=0b1c9b3e-0000-4000-8000-000000000002"


def test_places_locks_and_tags_show_at_once_and_numbers_with_the_next_broadcast() -> None:
    lab = Lab()
    before = lab.row("qemu/100")
    faults.apply(lab.world, "admin-place", guest=100, node="pve2")
    faults.apply(lab.world, "admin-lock", guest=100, lock="backup")
    faults.apply(lab.world, "admin-tag", guest=100, tags=["Blue"])
    lab.world.set_run(lab.world.guests[100], "stopped")
    now = lab.row("qemu/100")
    assert (now["node"], now["lock"], now["tags"]) == ("pve2", "backup", "blue")
    assert (now["status"], now["uptime"]) == ("running", before["uptime"])
    lab.go(12)
    later = lab.row("qemu/100")
    assert (later["status"], later["uptime"], later["cpu"]) == ("stopped", 0, 0)


def test_a_new_guest_is_unknown_until_the_first_broadcast() -> None:
    lab = Lab()
    faults.apply(lab.world, "admin-create", guest=300, node="pve1", like=100)
    row = lab.row("qemu/300")
    assert row["status"] == "unknown"
    assert "name" not in row
    assert "maxmem" not in row
    lab.go(13)
    assert lab.row("qemu/300")["name"] == "web"


def test_guests_of_a_dead_node_read_running_for_five_minutes_and_then_lose_their_fields() -> None:
    lab = Lab()
    faults.apply(lab.world, "node-crash", node="pve2")
    lab.go(5)
    assert lab.row("node/pve2")["status"] == "online"
    lab.go(5)
    node = lab.row("node/pve2")
    assert node["status"] == "offline"
    assert "maxmem" in node
    assert "cpu" not in node
    assert lab.row("lxc/200")["status"] == "running"
    lab.go(301)
    assert set(lab.row("lxc/200")) == {"id", "vmid", "type", "node", "status"}
    assert lab.row("lxc/200")["status"] == "unknown"
    assert "maxmem" not in lab.row("node/pve2")


def test_a_storage_that_fails_keeps_available_in_lists_and_is_inactive_when_asked() -> None:
    lab = Lab()
    faults.apply(lab.world, "storage-inactive", storage="ceph", node="pve1")
    assert lab.row("storage/pve1/ceph")["status"] == "available"
    row = next(row for row in lab.get("/nodes/pve1/storage") if row["storage"] == "ceph")
    assert (row["active"], row["enabled"], row["total"]) == (0, 1, 0)
    lab.go(310)
    assert lab.row("storage/pve1/ceph")["status"] == "unknown"
    assert lab.row("storage/pve2/ceph")["status"] == "available"


def test_a_token_without_rights_sees_nodes_without_numbers_and_nothing_else() -> None:
    lab = Lab()
    rows = lab.get("/cluster/resources", auth=WEAK)
    assert {row["type"] for row in rows} == {"node"}
    assert all("maxmem" not in row for row in rows)
    assert lab.get("/nodes/pve1/qemu", auth=WEAK) == []
    assert lab.get("/cluster/tasks", auth=WEAK) == []


@pytest.mark.parametrize(
    ("method", "path", "params", "expected"),
    [
        ("GET", "/nodes/pve1/qemu/999/config", {"auth": WEAK}, (403, "Permission check failed (/vms/999, VM.Audit)")),
        ("GET", "/nodes/pve1/qemu/999/config", {}, (500, "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist")),
        ("GET", "/cluster/status", {"auth": WEAK}, (403, "Permission check failed (/, Sys.Audit)")),
        ("GET", "/version", {"auth": ""}, (401, "No ticket")),
        ("GET", "/version", {"auth": "PVEAPIToken=a@b!cd=e"}, (401, "Authentication failed!")),
        ("GET", "/nope", {}, (501, "Method 'GET /nope' not implemented")),
        ("GET", "/nodes", {"foo": 1}, (400, "Parameter verification failed.")),
        ("POST", "/nodes/pve1/qemu/100/migrate", {"target": "pve1"}, (400, "Parameter verification failed.")),
        ("POST", "/nodes/pve1/qemu/100/migrate", {"target": "pve9"}, (500, "no such cluster node 'pve9'")),
        ("POST", "/nodes/pve1/qemu/100/migrate", {"target": "pve2"}, (500, "can't migrate running VM without --online")),
        ("POST", "/nodes/pve1/qemu/100/migrate", {"target": "pve2", "force": 1}, (400, "Parameter verification failed.")),
        (
            "POST",
            "/nodes/pve1/qemu/102/migrate",
            {"target": "pve2"},
            (500, "Configuration file 'nodes/pve1/qemu-server/102.conf' does not exist"),
        ),
        (
            "POST",
            "/nodes/pve1/qemu/103/migrate",
            {"target": "pve2", "online": 1, "targetstorage": "nosuch"},
            (500, "storage 'nosuch' does not exist"),
        ),
        ("GET", "/nodes/pve1/storage/nosuch/content", {}, (500, "storage 'nosuch' does not exist")),
        ("GET", "/nodes/pve3/storage/fast/content", {}, (500, "storage 'fast' is not available on node 'pve3'")),
        ("PUT", "/nodes/pve1/qemu/100/config", {}, (500, "no options specified")),
        ("PUT", "/nodes/pve1/qemu/100/config", {"lock": "backup"}, (500, "only root can set 'lock' config")),
        ("PUT", "/nodes/pve1/qemu/100/config", {"name": "x", "digest": "0" * 40},
         (500, "checksum mismatch (file change by other user?)")),
        ("GET", "/pools", {"poolid": "nosuch"}, (500, "pool 'nosuch' does not exist")),
    ],
)  # fmt: skip
def test_refusals_have_pves_status_and_words(
    method: str, path: str, params: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert Lab().refused(method, path, **params) == expected


def test_the_error_body_repeats_the_reason_with_a_newline() -> None:
    response = Lab().ask("POST", "/nodes/pve1/qemu/100/migrate", target="pve2")
    assert response.body == {"data": None, "message": "can't migrate running VM without --online\n"}
    wrong = Lab().ask("POST", "/nodes/pve1/qemu/100/migrate", target="pve1", online="true", bogus=1)
    assert wrong.body is not None
    assert wrong.body["errors"] == {
        "online": "type check ('boolean') failed - got 'true'",
        "bogus": "property is not defined in schema and the schema does not allow additional properties",
    }


def test_a_locked_guest_refuses_reading_and_starting_a_migration() -> None:
    lab = Lab()
    faults.apply(lab.world, "admin-lock", guest=100, lock="backup")
    assert lab.refused("GET", "/nodes/pve1/qemu/100/migrate") == (500, "VM is locked (backup)")
    assert lab.refused("POST", "/nodes/pve1/qemu/100/migrate", target="pve2", online=1) == (
        500,
        "VM is locked (backup)",
    )


def test_preconditions_name_every_other_node_and_an_allowed_one_with_nothing() -> None:
    lab = Lab("  100: {node: pve1, disks: {scsi0: {storage: fast, size: 4G}}}\n")
    answer = lab.get("/nodes/pve1/qemu/100/migrate")
    assert answer["allowed_nodes"] == ["pve2"]
    assert answer["not_allowed_nodes"] == {"pve2": {}, "pve3": {"unavailable_storages": ["fast"]}}
    assert answer["local_disks"][0]["volid"] == "fast:vm-100-disk-0"
    assert answer["running"] == 1


def test_a_log_is_paged_and_follows() -> None:
    lab = Lab()
    task = lab.migrate(100, "pve2", online=1)
    path = f"/nodes/pve1/tasks/{task.upid}"
    assert lab.get(f"{path}/log") == [{"n": 1, "t": "no content"}]
    lab.go(60)
    response = lab.ask("GET", f"{path}/log", start=2, limit=3)
    assert response.body is not None
    assert [line["n"] for line in response.body["data"]] == [3, 4, 5]
    assert response.body["total"] == len(task.log)
    assert len(lab.get(f"{path}/log", limit=0)) == len(task.log)
    assert lab.get(f"{path}/log", start=1000) == []
    assert lab.get(f"{path}/status")["exitstatus"] == "OK"
    assert lab.refused("GET", path.replace("pve1/tasks", "pve2/tasks") + "/status") == (
        400,
        "Parameter verification failed.",
    )


def test_lists_of_tasks_differ_as_pves_do() -> None:
    lab = Lab()
    first, second = lab.migrate(100, "pve2", online=1), lab.migrate(101, "pve2", online=1)
    lab.go(2)
    assert lab.get("/nodes/pve1/tasks") == []
    active = lab.get("/nodes/pve1/tasks", source="active")
    assert [(row["status"], row["user"]) for row in active] == [("RUNNING", "drover@pve!main")] * 2
    running = [row for row in lab.get("/cluster/tasks") if row["type"] == "qmigrate"]
    assert all("status" not in row and row["tokenid"] == "main" for row in running)
    lab.go(120)
    assert [row["upid"] for row in lab.get("/nodes/pve1/tasks")] == [second.upid, first.upid]
    assert lab.get("/nodes/pve1/tasks", limit=0) == []
    assert lab.get("/nodes/pve1/tasks", vmid=100)[0]["upid"] == first.upid
    assert lab.get("/nodes/pve1/tasks", errors=1) == []
    assert {row["status"] for row in lab.get("/cluster/tasks")} == {"OK"}


def test_tasks_of_a_node_that_is_cut_off_stay_as_they_were_last_heard_of() -> None:
    lab = Lab()
    task = lab.migrate(101, "pve3", online=1)
    lab.go(11)
    faults.apply(lab.world, "node-crash", node="pve1")
    lab.go(60)
    (row,) = [row for row in lab.get("/cluster/tasks", node="pve2") if row["type"] == "qmigrate"]
    assert (row["upid"], "status" in row) == (task.upid, False)
    assert lab.ask("GET", f"/nodes/pve1/tasks/{task.upid}/status", node="pve2").status == 595


def test_upids_rise_and_are_well_formed() -> None:
    lab = Lab()
    tasks = [lab.task(lab.post("/nodes/pve1/qemu/100/status/start")) for _ in range(3)]
    assert [task.pid for task in tasks] == sorted({task.pid for task in tasks})
    assert tasks[0].upid.startswith("UPID:pve1:")
    assert tasks[0].upid.endswith(":qmstart:100:drover@pve!main:")
    lab.go(5)
    assert tasks[0].exitstatus == "VM 100 already running"


def test_a_dead_node_answers_595_after_a_while_and_its_own_address_not_at_all() -> None:
    lab = Lab()
    faults.apply(lab.world, "node-crash", node="pve2")
    first = lab.ask("GET", "/nodes/pve2/status")
    assert (first.status, first.body, first.delay) == (595, None, 30.0)
    lab.go(40)
    later = lab.ask("GET", "/nodes/pve2/qemu")
    assert (later.status, later.reason, later.delay) == (595, "No route to host", 3.1)
    assert not lab.simulator.reachable("pve2")


def test_a_minority_answers_and_refuses_to_write() -> None:
    lab = Lab()
    faults.apply(lab.world, "partition", nodes=["pve1"])
    status = {row["id"]: row for row in lab.get("/cluster/status")}
    assert status["cluster"]["quorate"] == 0
    assert [status[f"node/pve{n}"]["online"] for n in (1, 2, 3)] == [1, 0, 0]
    assert lab.refused("POST", "/nodes/pve1/qemu/100/migrate", target="pve2", online=1) == (
        500,
        "cluster not ready - no quorum?",
    )
    assert lab.refused("GET", "/nodes/pve1/qemu/100/migrate") == (500, "cluster not ready - no quorum?")
    reason = lab.refused("PUT", "/nodes/pve1/qemu/100/config", description="x")[1]
    assert reason.startswith("unable to open file '/etc/pve/nodes/pve1/qemu-server/100.conf.tmp.")
    slow = lab.ask("GET", "/nodes/pve1/replication")
    assert (slow.status, slow.reason, slow.delay) == (500, "cfs-lock 'file-replication_cfg' error: no quorum!", 10.0)
    assert {row["quorate"] for row in lab.get("/cluster/status", node="pve2") if row["id"] == "cluster"} == {1}
    faults.apply(lab.world, "heal")
    assert lab.get("/nodes/pve1/qemu/100/migrate")["running"] == 1


def test_half_of_the_votes_is_no_quorum() -> None:
    lab = Lab(extra="")
    world = World(load("nodes: {pve1: {}, pve2: {}}\n"))
    assert world.quorate("pve1")
    faults.apply(world, "partition", nodes=["pve2"])
    assert not world.quorate("pve1")
    assert not world.quorate("pve2")
    faults.apply(lab.world, "partition", nodes=["pve3"])
    assert lab.world.quorate("pve1")


def test_a_minority_goes_on_believing_what_it_knew() -> None:
    lab = Lab()
    faults.apply(lab.world, "partition", nodes=["pve1"])
    faults.apply(lab.world, "admin-place", guest=200, node="pve3")
    faults.apply(lab.world, "admin-create", guest=300, node="pve2", like=100)
    lab.world.set_run(lab.world.guests[100], "stopped")
    lab.go(60)
    assert lab.row("lxc/200")["node"] == "pve2"
    assert lab.row("lxc/200", node="pve2")["node"] == "pve3"
    assert "qemu/300" not in {row["id"] for row in lab.get("/cluster/resources")}
    assert lab.row("qemu/100")["status"] == "stopped"
    assert lab.row("qemu/100", node="pve2")["status"] == "running"
    lab.go(300)
    assert lab.row("lxc/200")["status"] == "unknown"
    assert lab.row("qemu/100", node="pve2")["status"] == "unknown"
    faults.apply(lab.world, "heal")
    lab.go(12)
    assert lab.row("lxc/200")["node"] == "pve3"
    assert lab.row("qemu/300")["status"] == "running"


def test_changes_of_a_running_guest_wait_for_its_next_start() -> None:
    lab = Lab()
    lab.put("/nodes/pve1/qemu/100/config", cores=4, tags="Zeta Alpha")
    assert lab.get("/nodes/pve1/qemu/100/config")["cores"] == 4
    assert lab.get("/nodes/pve1/qemu/100/config", current=1)["cores"] == 2
    pending = {row["key"]: row for row in lab.get("/nodes/pve1/qemu/100/pending")}
    assert pending["cores"] == {"key": "cores", "value": 2, "pending": 4}
    assert pending["tags"]["value"] == "alpha;zeta"
    lab.post("/nodes/pve1/qemu/100/status/shutdown")
    lab.go(10)
    assert lab.get("/nodes/pve1/qemu/100/config", current=1)["cores"] == 4
    assert lab.get("/nodes/pve1/qemu/100/status/current")["status"] == "stopped"


def test_an_8_4_node_lacks_what_came_later() -> None:
    lab = Lab(extra="version: '8.4'\n")
    assert lab.get("/version")["release"] == "8.4"
    assert lab.ask("GET", "/nodes/pve2/lxc/200/migrate").status == 501
    assert lab.ask("GET", "/nodes/pve1/capabilities/qemu/migration").status == 501
    wrong = lab.ask("POST", "/nodes/pve1/qemu/100/migrate", target="pve2", with__conntrack__state=1)
    assert wrong.body is not None
    assert set(wrong.body["errors"]) == {"with-conntrack-state"}
    assert "memhost" not in lab.row("qemu/100")


CPUS = """
cpu_models: {lab: {reported-model: EPYC-Rome, flags: +pcid}}
"""


def test_cpu_flags_say_which_node_supports_them_since_9_2() -> None:
    lab = Lab(extra=CPUS)
    other = lab.world.nodes["pve2"]
    other.file = other.file.model_copy(update={"cpu": CpuFile(flags="fpu sse4_1")})
    known = {row["name"]: row["supported-on"] for row in lab.get("/cluster/qemu/cpu-flags")}
    assert "pve2" in known["sse4.1"]
    assert "pve1" in known["aes"]
    assert "pve2" not in known["aes"]
    named = {row["name"]: row["supported-on"] for row in lab.get("/nodes/pve2/capabilities/qemu/cpu-flags")}
    assert named["aes"] == known["aes"]
    assert named["pdpe1gb"] == []
    assert lab.get("/cluster/qemu/custom-cpu-models") == [
        {"cputype": "custom-lab", "reported-model": "EPYC-Rome", "flags": "+pcid"}
    ]


@pytest.mark.parametrize(("version", "status"), [("8.4", 501), ("9.0", 501), ("9.1", 200)])
def test_older_releases_know_less_about_cpu_flags(version: str, status: int) -> None:
    lab = Lab(extra=f"version: '{version}'\n")
    answer = lab.ask("GET", "/nodes/pve1/capabilities/qemu/cpu-flags")
    assert answer.status == status
    if answer.body is not None and status == 200:
        assert all("supported-on" not in row for row in answer.body["data"])
    assert lab.ask("GET", "/cluster/qemu/cpu-flags").status == 501


def test_options_come_taken_apart() -> None:
    lab = Lab(extra="options: {migration: 'secure,network=10.1.0.0/24', max_workers: 2, registered-tags: 'a;b'}\n")
    options = lab.get("/cluster/options")
    assert options["migration"] == {"type": "secure", "network": "10.1.0.0/24"}
    assert options["max_workers"] == "2"
    assert options["registered-tags"] == ["a", "b"]


def test_disks_of_containers_are_listed_as_root_directories() -> None:
    lab = Lab()
    listed = {row["volid"]: row["content"] for row in lab.get("/nodes/pve1/storage/ceph/content")}
    assert listed == {f"ceph:vm-{vmid}-disk-0": "rootdir" if vmid == 200 else "images" for vmid in (100, 101, 102, 200)}
    assert [row["vmid"] for row in lab.get("/nodes/pve3/storage/ceph/content", content="rootdir")] == [200]


def test_any_node_tells_the_history_of_any_guest() -> None:
    lab = Lab()
    for path in ("/nodes/pve1/qemu/100", "/nodes/pve2/qemu/100", "/nodes/pve3/lxc/200"):
        assert lab.get(f"{path}/rrddata", timeframe="hour", cf="MAX")[-1]["maxmem"] > 0
    status, reason = lab.refused("GET", "/nodes/pve1/qemu/999/rrddata", timeframe="hour")
    assert (status, reason[:20]) == (500, "RRD error: opening '")
