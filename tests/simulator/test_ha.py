"""High availability: rounds, moves, rules, maintenance, fencing; as pve-ha-manager runs them."""

from typing import Any

import pytest

from controller.simulator import faults
from controller.simulator.api import Request, Response
from controller.simulator.ha_rules import Rule, RuleBook
from controller.simulator.routes import Simulator
from controller.simulator.seed import load
from controller.simulator.world import World

CLUSTER = """
nodes: {pve1: {}, pve2: {}, pve3: {}}
storages: {nfs: {type: nfs}}
guests:
  100: {node: pve1, memory: 1GiB, disks: {scsi0: {storage: nfs, size: 4GiB}}, ha: {state: started}}
  101: {node: pve1, memory: 1GiB, disks: {scsi0: {storage: nfs, size: 4GiB}}, ha: {state: started}}
  102: {node: pve2, memory: 1GiB, disks: {scsi0: {storage: nfs, size: 4GiB}}}
  200: {node: pve1, type: lxc, memory: 512MiB, disks: {rootfs: {storage: nfs, size: 4GiB}}, ha: {state: started}}
access:
  tokens: {root@pam!test: {secret: s, privsep: false}}
"""


class Scene:
    def __init__(self, text: str = CLUSTER) -> None:
        self.world = World(load(text))
        self.simulator = Simulator(self.world)
        self.pass_time(40)

    def pass_time(self, seconds: float) -> None:
        self.world.advance(self.world.now + seconds)

    def until(self, condition: str, limit: float = 300) -> float:
        """Seconds until a Python condition over `ha` and `guests` holds."""
        begin, names = self.world.now, {"ha": self.world.ha, "guests": self.world.guests}
        while not eval(condition, names):
            assert self.world.now - begin < limit, f"still not after {limit} s: {condition}"
            self.pass_time(1)
        return self.world.now - begin

    def ask(self, method: str, path: str, **params: Any) -> Response:
        return self.simulator.handle(Request(method, path, params, auth="PVEAPIToken=root@pam!test=s", node="pve2"))

    def state(self, sid: str) -> str:
        return self.world.ha.services[sid].state

    def tasks(self, kind: str) -> list[Any]:
        return [task for task in self.world.tasks.by_upid.values() if task.type == kind]


def data(answer: Response) -> Any:
    assert answer.body is not None
    return answer.body["data"]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_without_resources_nothing_is_managed_and_nothing_runs() -> None:
    scene = Scene(CLUSTER.replace(", ha: {state: started}", ""))
    assert not scene.world.ha.ever_active
    rows = data(scene.ask("GET", "/cluster/ha/status/current"))
    assert [row["type"] for row in rows] == ["quorum", "fencing"]


def test_a_request_to_migrate_is_queued_and_carried_out_by_root_some_seconds_later(scene: Scene) -> None:
    answer = scene.ask("POST", "/nodes/pve1/qemu/100/migrate", target="pve3", online="1")
    assert answer.status == 200
    scene.pass_time(2)
    (wish,) = scene.tasks("hamigrate")
    assert (wish.exitstatus, wish.user) == ("OK", "root@pam!test")
    assert scene.world.guests[100].node == "pve1"
    took = scene.until("guests[100].node == 'pve3' and ha.services['vm:100'].running")
    assert 5 <= took <= 60
    (work,) = scene.tasks("qmigrate")
    assert (work.user, work.log[0]) == ("root@pam", "task started by HA resource agent")


def test_a_container_is_stopped_and_started_on_the_other_node(scene: Scene) -> None:
    scene.ask("POST", "/cluster/ha/resources/ct:200/migrate", node="pve2")
    scene.until("guests[200].node == 'pve2' and guests[200].running and ha.services['ct:200'].running")
    assert scene.tasks("vzmigrate")[0].log[0] == "task started by HA resource agent"


def test_a_move_to_nowhere_is_accepted_and_forgotten(scene: Scene) -> None:
    for node in ("pve9", "pve1"):
        answer = scene.ask("POST", "/cluster/ha/resources/vm:100/migrate", node=node)
        assert answer.body == {"data": {"sid": "vm:100", "requested-node": node}}
    scene.pass_time(60)
    assert (scene.world.guests[100].node, scene.state("vm:100")) == ("pve1", "started")
    assert scene.tasks("qmigrate") == []


def test_a_strict_rule_moves_its_guest_and_undoes_a_move_outside(scene: Scene) -> None:
    params = {"rule": "stay", "type": "node-affinity", "resources": "vm:100", "nodes": "pve2", "strict": "1"}
    assert scene.ask("POST", "/cluster/ha/rules", **params).status == 200
    scene.until("guests[100].node == 'pve2' and ha.services['vm:100'].running")
    scene.ask("POST", "/cluster/ha/resources/vm:100/migrate", node="pve3")
    scene.until("guests[100].node == 'pve3'")
    scene.until("guests[100].node == 'pve2' and ha.services['vm:100'].running")


def test_a_guest_without_failback_stays_where_it_was_moved(scene: Scene) -> None:
    scene.ask("PUT", "/cluster/ha/resources/vm:100", failback="0")
    scene.world.ha.add_rule(
        Rule.of("like", {"type": "node-affinity", "resources": "vm:100", "nodes": "pve1:2,pve2:1,pve3:1"})
    )
    scene.ask("POST", "/cluster/ha/resources/vm:100/migrate", node="pve2")
    scene.until("guests[100].node == 'pve2' and ha.services['vm:100'].running")
    scene.pass_time(60)
    assert scene.world.guests[100].node == "pve2"


def test_a_negative_rule_parts_two_guests_and_refuses_their_meeting(scene: Scene) -> None:
    params = {"rule": "apart", "type": "resource-affinity", "resources": "vm:100,vm:101", "affinity": "negative"}
    scene.ask("POST", "/cluster/ha/rules", **params)
    scene.until("guests[100].node != guests[101].node")
    scene.until("all(service.running for service in ha.services.values())")
    mine, other = scene.world.guests[100].node, scene.world.guests[101].node
    answer = scene.ask("POST", "/cluster/ha/resources/vm:100/migrate", node=other)
    assert data(answer)["blocking-resources"] == [{"sid": "vm:101", "cause": "resource-affinity"}]
    scene.pass_time(60)
    assert scene.world.guests[100].node == mine
    scene.ask("POST", f"/nodes/{mine}/qemu/100/migrate", target=other, online="1")
    scene.pass_time(3)
    assert scene.tasks("hamigrate")[-1].exitstatus == f"command 'ha-manager migrate vm:100 {other}' failed: exit code 2"


def test_a_positive_rule_takes_the_partner_along(scene: Scene) -> None:
    params = {"rule": "pair", "type": "resource-affinity", "resources": "vm:100,vm:101", "affinity": "positive"}
    scene.ask("POST", "/cluster/ha/rules", **params)
    answer = scene.ask("POST", "/cluster/ha/resources/vm:100/migrate", node="pve3")
    assert data(answer)["comigrated-resources"] == ["vm:101"]
    scene.until("guests[100].node == guests[101].node == 'pve3'")


def test_maintenance_empties_a_node_and_its_guests_come_home(scene: Scene) -> None:
    scene.world.ha.maintain("pve1", on=True)
    scene.until("not any(guest.node == 'pve1' for guest in guests.values())")
    nodes = {row["node"]: row["hastate"] for row in data(scene.ask("GET", "/cluster/resources", type="node"))}
    assert nodes == {"pve1": "maintenance", "pve2": "online", "pve3": "online"}
    scene.pass_time(60)
    scene.world.ha.maintain("pve1", on=False)
    scene.until("all(guests[vmid].node == 'pve1' for vmid in (100, 101, 200))")


def test_a_guest_of_a_dead_node_starts_elsewhere_after_fencing(scene: Scene) -> None:
    scene.world.guests[100].config["lock"] = "backup"
    faults.apply(scene.world, "node-crash", node="pve1")
    took = scene.until("guests[100].node != 'pve1' and guests[100].running", 400)
    assert 110 <= took <= 200
    assert scene.world.guests[100].lock is None
    assert scene.world.guests[102].node == "pve2"


def test_a_dead_master_is_replaced_first_so_recovery_takes_longer(scene: Scene) -> None:
    scene.ask("POST", "/cluster/ha/resources/vm:100/migrate", node="pve3")
    scene.until("guests[100].node == 'pve3' and ha.services['vm:100'].running")
    assert scene.world.ha.master == "pve3"
    faults.apply(scene.world, "node-crash", node="pve3")
    took = scene.until("guests[100].node != 'pve3' and guests[100].running", 400)
    assert 160 <= took <= 260
    assert scene.world.ha.master == "pve1"


def test_a_node_cut_off_resets_itself_before_its_guests_start_elsewhere(scene: Scene) -> None:
    faults.apply(scene.world, "partition", nodes=["pve1"])
    alone = scene.until("not guests[100].running", 120)
    assert 54 <= alone <= 70
    scene.until("guests[100].node != 'pve1' and guests[100].running", 300)
    assert scene.world.guests[102].running


def test_groups_become_rules_once_no_8_x_is_left() -> None:
    groups = "ha: {groups: {g: {nodes: 'pve2:2,pve3:1', restricted: 1, nofailback: 1}}}\n"
    text = CLUSTER.replace("4GiB}}, ha: {state: started}}", "4GiB}}, ha: {state: started, group: g}}", 1) + groups
    scene = Scene(text)
    (rule,) = data(scene.ask("GET", "/cluster/ha/rules"))
    assert (rule["rule"], rule["resources"], rule["nodes"], rule["strict"]) == (
        "ha-group-g",
        "vm:100",
        "pve2:2,pve3:1",
        1,
    )
    assert scene.world.ha.resources["vm:100"] == {"state": "started", "failback": 0}
    assert scene.ask("GET", "/cluster/ha/groups").status == 500
    mixed = Scene(text.replace("pve3: {}", "pve3: {version: '8.4'}"))
    assert [row["group"] for row in data(mixed.ask("GET", "/cluster/ha/groups"))] == ["g"]
    params = {"rule": "new", "type": "node-affinity", "resources": "vm:101", "nodes": "pve1"}
    assert (
        mixed.ask("POST", "/cluster/ha/rules", **params).reason
        == "cannot create ha rule: ha groups have not been migrated yet"
    )


def test_without_quorum_nothing_is_recovered(scene: Scene) -> None:
    for node in ("pve1", "pve3"):
        faults.apply(scene.world, "node-crash", node=node)
    scene.pass_time(600)
    assert scene.world.guests[100].node == "pve1"


def test_stopping_and_starting_a_managed_guest_only_rewrites_what_is_wanted(scene: Scene) -> None:
    scene.ask("POST", "/nodes/pve1/qemu/100/status/stop")
    scene.pass_time(2)
    assert scene.tasks("hastop")[0].exitstatus == "OK"
    assert scene.world.guests[100].running
    scene.until("not guests[100].running and ha.services['vm:100'].state == 'stopped'", 60)
    scene.ask("POST", "/nodes/pve1/qemu/100/status/start")
    scene.until("guests[100].running and ha.services['vm:100'].running", 60)


def test_a_guest_that_fell_over_is_started_again(scene: Scene) -> None:
    scene.world.set_run(scene.world.guests[100], "stopped")
    assert scene.until("guests[100].running") <= 40


def test_ignored_guests_are_left_alone_and_disarmed_ones_frozen(scene: Scene) -> None:
    scene.ask("PUT", "/cluster/ha/resources/vm:101", state="ignored")
    scene.ask("POST", "/cluster/ha/status/disarm-ha", **{"resource-mode": "freeze"})
    scene.until("ha.disarm == {'mode': 'freeze', 'state': 'disarmed'}", 60)
    assert "vm:101" not in scene.world.ha.services
    assert scene.state("vm:100") == "freeze"
    assert not scene.world.ha.manages(scene.world.guests[101])
    scene.world.set_run(scene.world.guests[100], "stopped")
    scene.pass_time(120)
    assert not scene.world.guests[100].running
    scene.ask("POST", "/cluster/ha/status/arm-ha")
    scene.until("guests[100].running", 60)


def test_a_lopsided_cluster_is_balanced_one_move_at_a_time() -> None:
    text = CLUSTER + "options: {crs: 'ha=static,ha-auto-rebalance=1,ha-auto-rebalance-threshold=30'}\n"
    scene = Scene(text.replace("memory: 1GiB", "memory: 16GiB"))
    scene.pass_time(300)
    nodes = [scene.world.guests[vmid].node for vmid in (100, 101, 102)]
    assert sorted(nodes) == ["pve1", "pve2", "pve3"]
    assert len(scene.tasks("qmigrate")) == 1


def test_groups_of_8_4_prefer_and_restrict() -> None:
    text = CLUSTER + "version: '8.4'\nha: {groups: {g: {nodes: 'pve2:2,pve3:1', restricted: 1}}}\n"
    scene = Scene(
        text.replace(
            "scsi0: {storage: nfs, size: 4GiB}}, ha: {state: started}}",
            "scsi0: {storage: nfs, size: 4GiB}}, ha: {state: started, group: g}}",
        )
    )
    scene.until("guests[100].node == guests[101].node == 'pve2'")
    assert scene.ask("GET", "/cluster/ha/rules").status == 501
    assert [row["group"] for row in data(scene.ask("GET", "/cluster/ha/groups"))] == ["g"]
    faults.apply(scene.world, "node-crash", node="pve2")
    scene.until("guests[100].node == 'pve3' and guests[100].running", 400)


NEGATIVE = {"type": "resource-affinity", "affinity": "negative"}
POSITIVE = {"type": "resource-affinity", "affinity": "positive"}


@pytest.mark.parametrize(
    ("entry", "objection"),
    [
        (
            {"type": "node-affinity", "resources": "vm:1", "nodes": "a"},
            "resource 'vm:1' is already used in another node affinity rule",
        ),
        (NEGATIVE | {"resources": "vm:9"}, "rule is ineffective as there are less than two resources"),
        (
            POSITIVE | {"resources": "vm:3,vm:4"},
            "rule shares two or more resources with a negative resource affinity rule",
        ),
        (NEGATIVE | {"resources": "vm:1,vm:9"}, "resources are in node affinity rules with multiple priorities"),
        (NEGATIVE | {"resources": "vm:6,vm:7,vm:8,vm:9"}, "rule defines more resources than available nodes"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_reason(entry: dict[str, str], objection: str) -> None:
    book = RuleBook()
    book.rules = {
        "home": Rule.of("home", {"type": "node-affinity", "resources": "vm:1", "nodes": "a:2,b:1"}),
        "apart": Rule.of("apart", {"type": "resource-affinity", "resources": "vm:3,vm:4", "affinity": "negative"}),
    }
    assert objection in book.objections(Rule.of("new", entry), 3)
    assert book.objections(Rule.of("new", {**entry, "disable": "1"}), 3) == []
