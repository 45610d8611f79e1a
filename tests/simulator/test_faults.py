"""Everything that can happen to a cluster: by name, from the timeline of a file, and in the way calls are answered."""

from collections.abc import Iterator

import pytest

from controller.pve.transport import HttpFailure
from controller.rehearse.virtual_time import VirtualClock, VirtualLoop
from controller.simulator import faults
from controller.simulator.transport import SimTransport
from tests.simulator.lab import SECRET, Lab


class Wire:
    """A transport on virtual time, and the seconds its calls took."""

    def __init__(self, lab: Lab) -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        lab.world.engine.now = self.clock.wall()
        endpoints = ("pve1", "pve2", "pve3")
        self.transport = SimTransport(lab.simulator, clock=self.clock, auth=SECRET, endpoints=endpoints)

    def post(self, path: str, **params: str | int) -> object:
        """One POST, to its end."""
        return self.loop.run_until_complete(self.transport.post(path, params))

    def get(self, path: str) -> object:
        """One GET, to its end."""
        return self.loop.run_until_complete(self.transport.get(path))


def migrate(wire: Wire) -> object:
    """The call that most faults are about."""
    return wire.post("/nodes/pve1/qemu/100/migrate", target="pve2", online=1)


@pytest.fixture
def lab() -> Lab:
    """A fresh cluster."""
    return Lab()


@pytest.fixture
def wire(lab: Lab) -> Iterator[Wire]:
    """A transport to it."""
    made = Wire(lab)
    yield made
    made.loop.close()


def test_an_answer_lost_after_success_leaves_a_running_worker(lab: Lab, wire: Wire) -> None:
    faults.apply(lab.world, "lost-answer")
    with pytest.raises(HttpFailure) as caught:
        migrate(wire)
    assert (caught.value.status, caught.value.delivered) == (None, True)
    assert [task.type for task in lab.world.tasks.running()] == ["qmigrate"]


def test_a_slow_handler_answers_596_and_works_all_the_same(lab: Lab, wire: Wire) -> None:
    faults.apply(lab.world, "slow-handler")
    with pytest.raises(HttpFailure) as caught:
        migrate(wire)
    assert (caught.value.status, caught.value.reason) == (596, "Connection timed out")
    assert wire.loop.time() == 30.0
    assert next(task.type for task in lab.world.tasks.by_upid.values()) == "qmigrate"
    with pytest.raises(HttpFailure, match=r"locked|does not exist"):
        migrate(wire)


def test_a_refusal_says_its_reason_message_and_errors(wire: Wire) -> None:
    with pytest.raises(HttpFailure) as caught:
        wire.post("/nodes/pve1/qemu/100/migrate", target="pve1")
    failure = caught.value
    assert (failure.status, failure.reason) == (400, "Parameter verification failed.")
    assert (failure.message, failure.errors) == (
        "Parameter verification failed.\n",
        {"target": "target is local node."},
    )
    assert failure.endpoint == "pve1:8006"


def test_the_next_endpoint_answers_when_one_is_down_and_stays_first(lab: Lab, wire: Wire) -> None:
    faults.apply(lab.world, "pveproxy-down", node="pve1")
    assert isinstance(wire.get("/cluster/status"), list)
    faults.apply(lab.world, "pveproxy-up", node="pve1")
    with pytest.raises(HttpFailure) as caught:
        wire.get("/nope")
    assert caught.value.endpoint == "pve2:8006"
    faults.apply(lab.world, "pveproxy-down", node="pve1")
    with pytest.raises(HttpFailure) as caught:
        wire.get("/nodes/pve1/status")
    assert (caught.value.status, caught.value.reason) == (595, "Connection refused")


def test_nobody_answering_is_certain_not_to_be_delivered(lab: Lab, wire: Wire) -> None:
    wire.transport = SimTransport(lab.simulator, clock=wire.clock, auth=SECRET, endpoints=["pve1"])
    faults.apply(lab.world, "pveproxy-down", node="pve1")
    with pytest.raises(HttpFailure) as caught:
        migrate(wire)
    assert (caught.value.status, caught.value.delivered) == (None, False)


def test_a_wrong_token_waits_three_seconds(lab: Lab, wire: Wire) -> None:
    faults.apply(lab.world, "unauthorized")
    with pytest.raises(HttpFailure) as caught:
        wire.get("/version")
    assert (caught.value.status, caught.value.reason, caught.value.message) == (401, "Authentication failed!", "")
    assert wire.loop.time() == 3.0


def test_a_hollow_ok_moves_nothing(lab: Lab) -> None:
    faults.apply(lab.world, "hollow-ok", guest=100)
    task = lab.migrate(100, "pve2", online=1)
    lab.go(5)
    assert (task.exitstatus, lab.world.guests[100].node) == ("OK", "pve1")


def test_a_vanished_task_is_unknown_and_its_work_goes_on(lab: Lab) -> None:
    task = lab.migrate(100, "pve2", online=1)
    faults.apply(lab.world, "task-vanish", guest=100)
    assert lab.refused("GET", f"/nodes/pve1/tasks/{task.upid}/status")[0] == 400
    assert lab.get("/nodes/pve1/tasks", source="all") == []
    lab.go(60)
    assert lab.world.guests[100].node == "pve2"


def test_a_full_disk_on_the_target_fails_the_copy_and_leaves_nothing_there(lab: Lab) -> None:
    faults.apply(lab.world, "storage-full", storage="local")
    task = lab.migrate(103, "pve2", online=1, with__local__disks=1)
    lab.go(60)
    assert task.exitstatus == "migration problems"
    assert lab.world.storages["local"].place("pve2") == {}
    assert lab.world.guests[103].node == "pve1"


def test_a_node_comes_back_with_its_onboot_guests(lab: Lab) -> None:
    lab.world.guests[200].config["onboot"] = 1
    faults.apply(lab.world, "node-crash", node="pve2")
    lab.go(60)
    faults.apply(lab.world, "node-return", node="pve2")
    assert not lab.simulator.reachable("pve2")
    lab.go(30)
    assert lab.world.guests[200].running
    assert lab.get("/nodes/pve2/status")["uptime"] == 30
    assert lab.row("node/pve2")["uptime"] < 31


def test_the_timeline_of_the_file_happens_by_itself() -> None:
    lab = Lab(
        extra="faults:\n  - {at: 60, do: admin-lock, guest: 100, lock: snapshot}\n  - {at: 90, do: admin-unlock, guest: 100}\n"
    )
    lab.go(61)
    assert lab.world.guests[100].lock == "snapshot"
    lab.go(30)
    assert lab.world.guests[100].lock is None


@pytest.mark.parametrize(
    ("do", "arguments", "complaint"),
    [
        ("earthquake", {}, "there is no fault 'earthquake'; allowed: admin-config, "),
        ("node-crash", {}, "node-crash: missing a required argument: 'node'; allowed: node"),
        ("node-crash", {"node": "pve9"}, "node-crash: there is no 'pve9' in this cluster"),
    ],
)
def test_a_wrong_script_says_what_is_possible(lab: Lab, do: str, arguments: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        faults.apply(lab.world, do, **arguments)
