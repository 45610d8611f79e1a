"""The second look without a move, in front of a simulated cluster: whole answers to whole questions."""

import asyncio
from collections.abc import Sequence

import pytest

from controller import app
from controller.act.trial import Trial
from controller.decide.preflight import Level
from controller.model.errors import DroverError
from controller.model.memory import Memory
from controller.model.reasons import Why
from controller.specs import Resource, Specs
from tests.decide.build import cluster, in_maintenance, migration, only_on
from tests.observe.test_cluster import RIGHTS, Scene, play

CLUSTER = """
nodes:
  pve1: {memory: 64GiB, bridges: [vmbr0, vmbr1]}
  pve2: {memory: 64GiB}
  pve3: {memory: 64GiB, bridges: [vmbr0, vmbr1], cpu: {model: Intel Xeon, vendor: GenuineIntel, family: "6"}}
storages:
  ceph: {type: rbd, size: 4TiB}
  zfs: {type: zfspool, size: 100GiB, nodes: [pve1, pve2]}
  fast: {type: zfspool, size: 100GiB, nodes: [pve3]}
guests:
  101: {name: plain, node: pve1, memory: 4GiB, disks: {scsi0: {storage: ceph}},
    config: {net0: "virtio=BC:24:11:00:00:01,bridge=vmbr0"}}
  102: {name: host, node: pve1, memory: 4GiB, disks: {scsi0: {storage: ceph}}, config: {cpu: host}}
  103: {name: wired, node: pve1, memory: 4GiB, disks: {scsi0: {storage: ceph}},
    config: {net0: "virtio=BC:24:11:00:00:03,bridge=vmbr1"}}
  104: {name: local, node: pve1, memory: 4GiB, disks: {scsi0: {storage: zfs, size: 8GiB}}}
  105: {name: huge, node: pve1, status: stopped, memory: 4GiB, disks: {scsi0: {storage: zfs, size: 200GiB}}}
access:
  users: {bot@pve: {}}
  tokens: {"bot@pve!drover": {secret: s3}}
"""


def ask(question: app.Question, *objects: Resource, text: str = CLUSTER) -> tuple[Trial, ...]:
    found: list[Trial] = []
    own = cluster()
    held = Specs.of([own.model_copy(update={"metadata": own.metadata.model_copy(update={"name": "c"})}), *objects])

    async def body(scene: Scene) -> None:
        await scene.observer.look()
        _, trials = await app.answer(question, held, Memory(), scene.observer)
        found.extend(trials)
        assert {call.method for call in scene.calls} == {"GET"}

    play(body, text + RIGHTS)
    return tuple(found)


def bad(trials: Sequence[Trial]) -> dict[str, list[Why]]:
    return {
        trial.move.target: [found.why for found in trial.findings if found.level is Level.FAIL]
        for trial in trials
        if trial.move is not None
    }


@pytest.mark.parametrize(
    ("guest", "expected"),
    [
        ("101", {"pve2": [], "pve3": []}),
        ("plain", {"pve2": [], "pve3": []}),
        ("host", {"pve2": [], "pve3": [Why.CPU_INCOMPATIBLE]}),
        ("wired", {"pve2": [Why.NETWORK_MISSING], "pve3": []}),
        ("local", {"pve2": [Why.FIRST_SYNC], "pve3": [Why.NOT_ALLOWED_BY_PVE, Why.FIRST_SYNC, Why.STORAGE_MISSING]}),
    ],
)
def test_every_other_node_is_tried(guest: str, expected: dict[str, list[Why]]) -> None:
    assert bad(ask(app.Question(guest, anywhere=True))) == expected


def test_one_target_can_be_asked_about() -> None:
    [trial] = ask(app.Question("host", "pve3"))
    assert not trial.feasible
    [found] = [found for found in trial.findings if found.level is Level.FAIL]
    assert found.message == "CPU type host means AMD EPYC 7543P 32-Core Processor on pve1 and Intel Xeon on pve3"
    assert found.remedy


def test_without_a_target_the_plans_own_is_tried() -> None:
    [trial] = ask(app.Question("101"), only_on("there", ["pve3"], 101))
    assert trial.move is not None
    assert (trial.move.target, trial.feasible) == ("pve3", True)
    assert set(bad(ask(app.Question("101")))) == {"pve2", "pve3"}


def test_policies_and_maintenance_speak_too() -> None:
    trials = ask(app.Question("101", anywhere=True), only_on("here", ["pve1", "pve2"], 101), in_maintenance("pve2"))
    assert bad(trials) == {"pve2": [Why.TARGET_IN_MAINTENANCE], "pve3": [Why.NO_NODE_ALLOWED]}


def test_a_copy_is_judged_with_its_space_and_its_parameters() -> None:
    copy = migration("p", localDisks="Copy")
    [small] = ask(app.Question("local", "pve2"), copy)
    assert small.feasible
    assert small.move is not None
    assert small.move.options.with_local_disks
    assert bad(ask(app.Question("huge", "pve2"), copy)) == {"pve2": [Why.NO_SPACE]}
    mapped = migration("p", localDisks="Copy", targetStorage={"zfs": "fast"})
    [there] = ask(app.Question("local", "pve3"), mapped)
    assert there.move is not None
    assert (there.feasible, there.move.options.target_storage) == (True, "zfs:fast")


def test_a_whole_node_is_tried_as_it_would_be_drained() -> None:
    trials = ask(app.Question(node="pve1"))
    by_name = {trial.guest.name: trial for trial in trials}
    assert set(by_name) == {"plain", "host", "wired", "local", "huge"}
    assert by_name["plain"].feasible
    assert not by_name["local"].feasible


def test_who_can_not_go_where_the_plan_sends_it_is_tried_elsewhere_too() -> None:
    found: dict[str, list[bool]] = {}
    for trial in ask(app.Question(node="pve1")):
        found.setdefault(trial.guest.name, []).append(trial.feasible)
    assert found["wired"][-1]
    assert found["host"][-1]
    assert all(sum(tries) <= 1 for tries in found.values())


def test_a_node_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(DroverError, match="there is no node 'pve9'"):
        ask(app.Question("101", "pve9"))


def test_a_move_costs_a_bounded_number_of_calls() -> None:
    async def body(scene: Scene) -> None:
        await scene.observer.look()
        scene.calls.clear()
        await scene.fresh(vmid=101)
        assert len(scene.calls) <= 17
        scene.calls.clear()
        await asyncio.gather(*(scene.fresh(vmid=101, target=node) for node in ("pve2", "pve2")))
        assert len(scene.calls) <= 2 * 12

    play(body, CLUSTER + RIGHTS)


@pytest.mark.parametrize("version", ["8.4", "9.0", "9.1", "9.2"])
def test_every_release_of_pve_is_asked_only_what_it_knows(version: str) -> None:
    text = f"version: '{version}'\n{CLUSTER}"
    assert bad(ask(app.Question("101", anywhere=True), text=text)) == {"pve2": [], "pve3": []}
    [trial] = ask(app.Question("wired", "pve3"), text=text)
    assert {found.why for found in trial.findings} <= {Why.AS_EXPECTED, Why.NOT_CHECKED, Why.NOT_SUPPORTED}
    assert [found.level for found in trial.findings if found.level is not Level.OK] == []


def test_in_a_mixed_cluster_guests_move_from_old_to_new() -> None:
    mixed = CLUSTER.replace("pve1: {memory: 64GiB,", "pve1: {version: '8.4', memory: 64GiB,")
    [up] = ask(app.Question("101", "pve2"), text=mixed)
    assert up.feasible
    back = mixed.replace("name: plain, node: pve1", "name: plain, node: pve2")
    [down] = ask(app.Question("101", "pve1"), text=back)
    assert [found.why for found in down.findings if found.level is Level.FAIL] == [Why.MACHINE_UNKNOWN]
    assert Why.TARGET_OLDER in [found.why for found in down.findings]
