"""Facts about one move, in front of a simulated cluster: what is read, what is kept, what is not known."""

import pytest

from controller.model.facts import CpuModel, HaFacts, Topic
from controller.model.ids import GuestIdentity, GuestKind, NodeName, Vmid
from tests.observe.test_cluster import GUESTS, HEAD, RIGHTS, Scene, Wish, play

PVE1, PVE2 = NodeName("pve1"), NodeName("pve2")
TEXT = HEAD + RIGHTS + GUESTS
OLD = HEAD.replace("nodes:", "version: '8.4'\nnodes:") + RIGHTS + GUESTS


def test_a_running_vm_has_all_that_decides_whether_it_can_run_elsewhere() -> None:
    async def body(scene: Scene) -> None:
        fresh = await scene.fresh()
        facts = fresh.facts
        assert fresh.source is not None
        assert fresh.target is not None
        assert fresh.source.cpu == fresh.target.cpu
        assert fresh.target.cpu is not None
        assert "avx2" in fresh.target.cpu.flags
        assert fresh.guest is not None
        assert facts.machines is not None
        assert fresh.guest.machine in facts.machines
        assert facts.networks == {PVE1: frozenset({"vmbr0"}), PVE2: frozenset({"vmbr0"})}
        assert facts.rights is not None
        assert "VM.Migrate" in facts.rights
        assert facts.pending == {}
        assert fresh.storages is not None
        assert {(s.name, s.type, s.node, s.available) for s in fresh.storages} >= {
            ("nfs", "nfs", "pve2", True),
            ("local", "dir", "pve2", True),
        }
        assert (facts.ha, facts.job_states) == (None, None)  # nobody needs them
        assert set(facts.unread) <= {Topic.CPU_FLAGS}

    play(body, TEXT.replace("name: web1,", "name: web1, config: {net0: 'virtio=AA:BB:CC:00:00:01,bridge=vmbr0'},"))


def test_what_rarely_changes_is_read_once_and_then_kept() -> None:
    async def body(scene: Scene) -> None:
        await scene.fresh()
        first = len(scene.calls)
        scene.calls.clear()
        await scene.fresh()
        kept = first - len(scene.calls)
        assert kept >= 3
        await scene.clock.sleep(601)
        scene.calls.clear()
        await scene.fresh()
        assert len(scene.calls) == first

    play(body)


def test_a_stopped_vm_asks_for_nothing_about_processors() -> None:
    async def body(scene: Scene) -> None:
        fresh = await scene.fresh(vmid=102, source="pve3")
        assert fresh.source is not None
        assert (fresh.source.cpu, fresh.facts.machines, fresh.facts.pending) == (None, None, None)
        assert fresh.facts.unread == {}

    play(body)


@pytest.mark.parametrize(
    ("fault", "arguments", "said"),
    [
        ("slow-handler", {}, "no answer within 5 s"),
        ("refuse", {"status": 500, "reason": "can't open machine-versions-x86_64.json"}, "can't open machine-versions"),
    ],
)
def test_a_fact_that_can_not_be_read_is_a_word_and_stops_nothing(
    fault: str, arguments: dict[str, object], said: str
) -> None:
    async def body(scene: Scene) -> None:
        scene.fault(fault, method="GET", path="/capabilities/qemu/machines", **arguments)
        fresh = await scene.fresh()
        assert fresh.facts.machines is None
        unread = fresh.facts.unread[Topic.MACHINES]
        assert unread.supported
        assert said in unread.message

    play(body)


RULES = """
ha:
  rules:
    near: {type: node-affinity, resources: 'vm:100', nodes: 'pve1:2,pve2', strict: 1}
    other: {type: node-affinity, resources: 'vm:102', nodes: 'pve3'}
"""
GROUPS = "ha: {groups: {near: {nodes: 'pve1:2,pve2', restricted: 1, nofailback: 1}}}\n"


@pytest.mark.parametrize(
    ("text", "entry", "failback"),
    [
        (HEAD + RIGHTS + RULES + GUESTS, "{state: started}", True),
        (HEAD + RIGHTS + RULES + GUESTS, "{state: started, failback: 0}", False),
        (HEAD.replace("nodes:", "version: '8.4'\nnodes:") + RIGHTS + GROUPS + GUESTS, "{group: near}", False),
    ],
)
def test_ha_rules_and_the_groups_of_pve_8_say_the_same(text: str, entry: str, failback: bool) -> None:
    managed = text.replace("name: web1,", f"name: web1, ha: {entry},").replace(
        "name: off1,", "name: off1, ha: {state: started},"
    )

    async def body(scene: Scene) -> None:
        await scene.clock.sleep(60)
        ha = (await scene.fresh()).facts.ha
        assert ha is not None
        assert ha.failback is failback
        [rule] = ha.rules
        assert (rule.name, rule.nodes, rule.strict) == ("near", {PVE1: 2, PVE2: 0}, True)

    play(body, managed)


def test_flags_and_models_of_processors_come_from_pves_own_lists_since_9_2() -> None:
    async def body(scene: Scene) -> None:
        facts = (await scene.fresh()).facts
        assert facts.cpu_flags is not None
        assert PVE2 in facts.cpu_flags["avx2"]
        assert facts.custom_models == {"custom-lab": CpuModel("EPYC-Rome", frozenset({"pcid"}))}

    named = TEXT.replace("name: web1,", "name: web1, cpu: custom-lab,")
    play(body, named + "cpu_models: {lab: {reported-model: EPYC-Rome, flags: +pcid}}\n")


def test_what_anybody_may_ask_stands_in_for_the_list_of_all_flags() -> None:
    async def body(scene: Scene) -> None:
        scene.fault(
            "refuse", method="GET", path="/cluster/qemu/cpu-flags", status=403, reason="Permission check failed"
        )
        flags = (await scene.fresh()).facts.cpu_flags
        assert flags is not None
        assert PVE2 in flags["aes"]
        assert "avx2" not in flags

    play(body)


def test_rights_are_asked_for_the_storages_that_disks_are_mapped_to() -> None:
    async def body(scene: Scene) -> None:
        wish = Wish(GuestIdentity(Vmid(100), GuestKind.QEMU), PVE1, PVE2)
        plain = (await scene.observer.fresh(wish)).facts
        mapped = (await scene.observer.fresh(wish, mapped_to=["nfs"])).facts
        assert plain.storage_rights is None
        assert mapped.storage_rights is not None
        assert "Datastore.AllocateSpace" in mapped.storage_rights["nfs"]

    play(body)


def test_pve_8_without_rules_is_no_fault() -> None:
    async def body(scene: Scene) -> None:
        await scene.clock.sleep(60)
        fresh = await scene.fresh()
        assert fresh.facts.ha == HaFacts(failback=True)
        assert Topic.HA not in fresh.facts.unread
        assert not fresh.facts.unread[Topic.CPU_FLAGS].supported

    play(body, OLD.replace("name: web1,", "name: web1, ha: {state: started},"))


def test_a_replicated_vm_tells_how_its_jobs_stand() -> None:
    job = "replication: {100-0: {target: pve2, schedule: '*/5'}}\n"
    text = TEXT.replace("storages: {", job + "storages: {zfs: {type: zfspool}, ", 1).replace(
        "disks: {scsi0: {storage: nfs}}", "disks: {scsi0: {storage: zfs}}", 1
    )

    async def body(scene: Scene) -> None:
        await scene.clock.sleep(1000)
        states = (await scene.fresh()).facts.job_states
        assert states is not None
        assert [(state.id, state.target, state.failures, state.running) for state in states] == [
            ("100-0", "pve2", 0, False)
        ]
        assert states[0].last_sync > 0

    play(body, text)


def test_a_storage_that_is_dead_on_the_target_shows_at_once() -> None:
    async def body(scene: Scene) -> None:
        scene.fault("storage-inactive", storage="nfs", node="pve2")
        fresh = await scene.fresh()
        assert fresh.storages is not None
        assert {storage.name: storage.available for storage in fresh.storages}["nfs"] is False

    play(body)
