"""Nodes that are in no cluster make one: create, join, what it looks like meanwhile, and every way in which it can fail."""

from typing import Any

import pytest

from controller.simulator import faults
from controller.simulator.api import Request, Response
from controller.simulator.routes import Simulator
from controller.simulator.seed import ClusterFileError, load
from controller.simulator.storage import Volume
from controller.simulator.tasks import Task
from controller.simulator.world import World
from tests.contract import normal, recordings

FILE = """
version: "9.2"
nodes:
  pve1: {ip: 10.77.0.1}
  pve2: {ip: 10.77.0.2, standalone: true}
  pve3: {ip: 10.77.0.3, standalone: true}
storages:
  local: {type: dir, content: [images, iso]}
access:
  users: {root@pam: {password: a good one}}
  tokens: {root@pam!test: {secret: s, privsep: false}}
guests:
"""
NOBODY = "  {}\n"
GUEST_ON_2 = "  100: {node: pve2, status: stopped, disks: {scsi0: {storage: local, size: 1G}}}\n"


class Site:
    """Machines that were just installed; every call is made by root with a ticket of the node asked."""

    def __init__(self, guests: str = NOBODY) -> None:
        self.world = World(load(FILE + guests))
        self.simulator = Simulator(self.world)

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.world.advance(self.world.now + seconds)

    def ask(self, method: str, path: str, node: str = "pve1", **params: Any) -> Response:
        """One call."""
        access = self.simulator.home(node).access
        ticket, csrf = access.ticket_for("root@pam"), access.csrf_for("root@pam")
        return self.simulator.handle(Request(method, path, params, node=node, cookie=ticket, csrf=csrf))

    def data(self, method: str, path: str, node: str = "pve1", **params: Any) -> Any:
        """The data of a call that must work."""
        response = self.ask(method, path, node, **params)
        assert response.status == 200, response
        assert response.body is not None
        return response.body["data"]

    def task(self, upid: str) -> Task:
        """The worker behind a UPID, wherever its node is now."""
        return self.simulator.home(upid.split(":")[1]).tasks.by_upid[upid]

    def create(self, node: str = "pve1") -> Task:
        """Let a node become a cluster, and pmxcfs find corosync."""
        task = self.task(self.data("POST", "/cluster/config", node, clustername="simcluster", link0=self.ip(node)))
        self.go(10)
        assert task.exitstatus == "OK"
        return task

    def join(self, node: str, host: str = "pve1", **params: Any) -> Task:
        """Let a node try to join; the worker, which may still run."""
        info = self.data("GET", "/cluster/config/join", host)
        [peer] = [row for row in info["nodelist"] if row["name"] == host]
        given = {"hostname": peer["pve_addr"], "fingerprint": peer["pve_fp"], "password": "a good one"}
        given |= {"link0": self.ip(node)} | params
        return self.task(
            self.data("POST", "/cluster/config/join", node, **{key: value for key, value in given.items() if value})
        )

    def joined(self, node: str, **params: Any) -> Task:
        """Let a node join."""
        task = self.join(node, **params)
        self.go(30)
        assert task.exitstatus == "OK", task.log
        return task

    @staticmethod
    def ip(node: str) -> str:
        return f"10.77.0.{node[-1]}"

    def nodes(self, asked: str) -> dict[str, tuple[int, int]]:
        """The nodes of /cluster/status: name to number and whether it is online."""
        rows = self.data("GET", "/cluster/status", asked)
        return {row["name"]: (row["nodeid"], row["online"]) for row in rows if row["type"] == "node"}

    def cluster(self, asked: str) -> dict[str, Any]:
        """The cluster's row of /cluster/status, empty for a node that is alone."""
        rows = [row for row in self.data("GET", "/cluster/status", asked) if row["type"] == "cluster"]
        return dict(rows[0]) if rows else {}


def test_nodes_that_are_in_no_cluster_know_nothing_of_each_other() -> None:
    site = Site(GUEST_ON_2)
    for node in ("pve1", "pve2", "pve3"):
        assert site.nodes(node) == {node: (0, 1)}
        assert [row["node"] for row in site.data("GET", "/nodes", node)] == [node]
        assert site.ask("GET", "/cluster/config/join", node).status == 424
    assert site.ask("GET", "/nodes/pve2/status", "pve1").status == 500
    assert [row["vmid"] for row in site.data("GET", "/cluster/resources", "pve2", type="vm")] == [100]
    assert site.data("GET", "/cluster/resources", "pve1", type="vm") == []


def test_a_ticket_of_one_node_is_nothing_to_another_until_they_are_a_cluster() -> None:
    site = Site()
    ticket = site.world.access.ticket_for("root@pam")
    ask = Request("GET", "/cluster/status", node="pve2", cookie=ticket)
    assert site.simulator.handle(ask).status == 401
    site.create()
    site.joined("pve2")
    assert site.simulator.handle(ask).status == 200


def test_a_node_makes_a_cluster_of_itself_and_looks_alone_until_pmxcfs_finds_corosync() -> None:
    site = Site()
    task = site.task(site.data("POST", "/cluster/config", clustername="simcluster", link0="10.77.0.1"))
    site.go(2)
    assert (task.type, task.id, task.exitstatus) == ("clustercreate", "simcluster", "OK")
    assert site.data("GET", "/cluster/config/join")["totem"]["cluster_name"] == "simcluster"
    assert (site.cluster("pve1"), site.nodes("pve1")) == ({}, {"pve1": (0, 1)})
    assert site.ask("PUT", "/cluster/options", keyboard="de").reason.endswith("no quorum!")
    site.go(8)
    row = site.cluster("pve1")
    assert (row["name"], row["nodes"], row["version"], row["quorate"]) == ("simcluster", 1, 1, 1)
    assert site.nodes("pve1") == {"pve1": (1, 1)}
    assert (
        site.data("POST", "/access/ticket", username="root@pam", password="a good one")["clustername"] == "simcluster"
    )


def test_a_cluster_is_created_once() -> None:
    site = Site()
    site.create()
    refused = site.ask("POST", "/cluster/config", clustername="again")
    assert (refused.status, refused.reason) == (500, "cluster config '/etc/pve/corosync.conf' already exists")


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/cluster/config", {"clustername": "sim"}),
        ("/cluster/config/join", {"hostname": "10.77.0.1", "fingerprint": ":".join(["AA"] * 32), "password": "x"}),
    ],
)
def test_only_root_with_a_ticket_forms_clusters(path: str, params: dict[str, str]) -> None:
    site = Site()
    asked = Request("POST", path, params, auth="PVEAPIToken=root@pam!test=s", node="pve2")
    response = site.simulator.handle(asked)
    assert (response.status, response.reason) == (403, "Permission check failed (user != root@pam)")


def test_a_node_that_joins_is_counted_before_it_is_there() -> None:
    site = Site()
    site.create()
    task = site.join("pve2")
    site.go(3)
    assert task.exitstatus is None
    assert site.nodes("pve1") == {"pve1": (1, 1), "pve2": (2, 0)}
    assert site.cluster("pve1")["quorate"] == 0
    assert not site.simulator.reachable("pve2")
    site.go(30)
    assert task.exitstatus == "OK"
    assert site.nodes("pve1") == site.nodes("pve2") == {"pve1": (1, 1), "pve2": (2, 1)}
    assert site.cluster("pve2")["quorate"] == 1
    assert [line.partition("config-")[0] for line in task.log] == [
        "Establishing API connection with host '10.77.0.1'",
        "Login succeeded.",
        "check cluster join API version",
        "Request addition of this node",
        "Join request OK, finishing setup locally",
        "stopping pve-cluster service",
        "backup old database to '/var/lib/pve-cluster/backup/",
        "waiting for quorum...OK",
        "(re)generate node files",
        "generate new node certificate",
        "merge authorized SSH keys",
        "generated new node certificate, restart pveproxy and pvedaemon services",
        "successfully added node 'pve2' to cluster.",
        "TASK OK",
    ]


def test_a_member_is_one_like_the_others() -> None:
    site = Site()
    site.create()
    earlier = site.task(site.data("POST", "/nodes/pve2/qemu", "pve2", vmid="100", memory="64"))
    site.go(2)
    site.data("DELETE", "/nodes/pve2/qemu/100", "pve2")
    site.go(2)
    site.joined("pve2")
    site.joined("pve3", link0=None)
    site.go(15)
    known = {row["upid"] for row in site.data("GET", "/nodes/pve2/tasks", "pve1")}
    assert earlier.upid in known
    disk = {"scsi0": "local:1"}
    made = site.task(site.data("POST", "/nodes/pve2/qemu", "pve3", vmid="101", memory="64", **disk))
    site.go(15)
    assert made.exitstatus == "OK"
    moved = site.task(site.data("POST", "/nodes/pve2/qemu/101/migrate", "pve1", target="pve3"))
    site.go(60)
    assert (moved.exitstatus, site.world.guests[101].node) == ("OK", "pve3")
    assert {row["node"] for row in site.data("GET", "/cluster/resources", "pve3", type="node") if row["maxcpu"]} == {
        "pve1",
        "pve2",
        "pve3",
    }


def test_a_member_brings_its_disks_and_its_certificate_and_none_of_its_configuration() -> None:
    site = Site()
    lone = site.simulator.home("pve2")
    lone.storages["local"].place("pve2")["local:iso/mine.iso"] = Volume("local:iso/mine.iso", 1 << 20, 1 << 20, None)
    lone.fingerprints["pve2"] = ":".join(["BB"] * 32)
    site.data("PUT", "/nodes/pve2/config", "pve2", description="mine")
    site.create()
    site.joined("pve2")
    assert [row["volid"] for row in site.data("GET", "/nodes/pve2/storage/local/content")] == ["local:iso/mine.iso"]
    rows = {row["node"]: row["ssl_fingerprint"] for row in site.data("GET", "/nodes")}
    assert rows["pve2"].startswith("BB:BB")
    assert site.data("GET", "/nodes/pve2/config") == {}


def test_the_numbers_of_a_member_are_unknown_until_its_first_broadcast() -> None:
    site = Site()
    site.create()
    site.join("pve2")
    seen = []
    for _ in range(60):
        site.go(0.5)
        seen += [row for row in site.data("GET", "/nodes") if row["node"] == "pve2"]
    told = ["offline" if row.get("status") == "offline" else "maxcpu" in row for row in seen]
    assert list(dict.fromkeys(told)) == ["offline", False, True]


def test_a_joining_node_waits_for_quorum() -> None:
    site = Site()
    site.create()
    task = site.join("pve2")
    site.go(4)
    faults.apply(site.world, "partition", nodes=["pve1"])
    site.go(60)
    assert (task.log[-1], task.exitstatus) == ("waiting for quorum...", None)
    faults.apply(site.world, "heal")
    site.go(10)
    assert task.exitstatus == "OK"


def test_an_address_is_used_once() -> None:
    site = Site()
    site.data("POST", "/cluster/config", clustername="simcluster", link0="10.77.0.2")
    site.go(10)
    task = site.join("pve2")
    site.go(30)
    complaint = "corosync: address '10.77.0.2' already used on link ring0_addr by node 'pve1'"
    assert f"An error occurred on the cluster node: {complaint}" in task.log


def test_ha_knows_a_node_that_joined() -> None:
    site = Site()
    site.create()
    site.data("POST", "/nodes/pve1/qemu", vmid="100", memory="64")
    site.go(5)
    site.data("POST", "/cluster/ha/resources", sid="vm:100", state="started")
    site.go(60)
    site.joined("pve2")
    site.go(60)
    rows = {row["id"]: row["status"] for row in site.data("GET", "/cluster/ha/status/current", "pve2")}
    assert rows["service:vm:100"] == "vm:100 (pve1, started)"
    assert "lrm:pve2" in rows


def test_a_cluster_that_was_formed_answers_what_the_recorded_one_did() -> None:
    site = Site()
    site.create()
    site.joined("pve2")
    site.joined("pve3")
    site.go(15)
    first = ("001", "002", "003", "004", "005", "006", "028")
    calls = [call for call in recordings.load() if call.id in {f"20-cluster/{number}" for number in first}]
    assert len(calls) == len(first)
    for call in calls:
        response = site.ask(call.method, call.path, call.asked)
        assert normal.differences(call.body, normal.body(call.path, response.body)) == [], call.name


@pytest.mark.parametrize(
    ("params", "line", "exitstatus"),
    [
        ({"password": "guessed"}, "Establishing API connection with host '10.77.0.1'", "401 authentication failure"),
        ({"fingerprint": ":".join(["BB"] * 32)}, "Establishing API connection with host '10.77.0.1'", "fingerprint '"),
        ({"hostname": "10.77.0.9"}, "Establishing", "500 Can't connect to 10.77.0.9:8006 (No route to host)"),
        ({"hostname": "10.77.0.2"}, "Establishing", "500 Can't connect to 10.77.0.2:8006 (Connection refused)"),
        (
            {"link0": "10.77.0.7"},
            "* link0: cannot use IP '10.77.0.7', not found on local node!",
            "Check if node may join a cluster failed!",
        ),
        (
            {"link1": "10.77.0.2"},
            "An error occurred on the cluster node: corosync: link 1 specified for new node doesn't exist in cluster",
            "Cluster join aborted!",
        ),
    ],
)
def test_a_join_that_fails_says_why_and_changes_nothing(params: dict[str, str], line: str, exitstatus: str) -> None:
    site = Site()
    site.create()
    task = site.join("pve2", **params)
    site.go(30)
    assert str(task.exitstatus).startswith(exitstatus)
    assert any(entry.startswith(line) for entry in task.log), task.log
    assert (site.nodes("pve1"), site.nodes("pve2")) == ({"pve1": (1, 1)}, {"pve2": (0, 1)})


def test_things_happen_to_a_node_that_is_in_no_cluster_too() -> None:
    site = Site()
    faults.apply(site.world, "pveproxy-down", node="pve2")
    assert [site.simulator.reachable(node) for node in ("pve1", "pve2", "pve3")] == [True, False, True]


def test_a_joining_node_that_loses_power_leaves_its_vote_behind() -> None:
    site = Site()
    site.create()
    task = site.join("pve2")
    site.go(4)
    faults.apply(site.world, "node-crash", node="pve2")
    site.go(30)
    assert task.exitstatus == "unexpected status"
    assert site.nodes("pve1") == {"pve1": (1, 1), "pve2": (2, 0)}
    assert site.cluster("pve1")["quorate"] == 0
    faults.apply(site.world, "node-return", node="pve2")
    site.go(30)
    assert site.cluster("pve2")["quorate"] == 1
    assert all("maxcpu" in row for row in site.data("GET", "/nodes", "pve2"))


def test_a_node_with_guests_does_not_join() -> None:
    site = Site(GUEST_ON_2)
    site.create()
    task = site.join("pve2")
    site.go(30)
    assert "* this host already contains virtual guests" in task.log
    assert task.exitstatus == "Check if node may join a cluster failed!"
    assert 100 in site.simulator.home("pve2").guests


def test_a_join_before_the_cluster_has_quorum_is_refused() -> None:
    site = Site()
    site.data("POST", "/cluster/config", clustername="simcluster")
    site.go(1)
    task = site.join("pve2")
    site.go(30)
    assert "An error occurred on the cluster node: cluster not ready - no quorum?" in task.log
    assert task.exitstatus == "Cluster join aborted!"


def test_a_member_does_not_join_again() -> None:
    site = Site()
    site.create()
    site.joined("pve2")
    task = site.join("pve2")
    site.go(5)
    assert "* cluster config '/etc/pve/corosync.conf' already exists" in task.log
    assert task.exitstatus == "Check if node may join a cluster failed!"


def test_standalone_nodes_can_form_a_cluster_of_their_own() -> None:
    site = Site()
    site.create("pve2")
    task = site.join("pve3", host="pve2")
    site.go(30)
    assert task.exitstatus == "OK", task.log
    assert site.nodes("pve3") == {"pve2": (1, 1), "pve3": (2, 1)}
    assert site.nodes("pve1") == {"pve1": (0, 1)}


def test_a_file_needs_a_node_that_others_can_join() -> None:
    with pytest.raises(ClusterFileError, match=r"nodes: all are standalone; allowed: all but one"):
        load("nodes:\n  pve1: {standalone: true}\n")
