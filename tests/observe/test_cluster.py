"""The observer in front of a simulated cluster, on virtual time."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from controller.model.errors import Denied, DroverError, Retry
from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, Vmid
from controller.model.observed import Fresh, HaNodeState, NodeState, Observed, Power
from controller.model.reasons import Why
from controller.observe.cluster import Observer
from controller.observe.freshness import Part
from controller.pve.client import PveClient
from controller.pve.metered import Call, Metered
from controller.rehearse.virtual_time import VirtualClock, VirtualLoop, run
from controller.simulator import faults
from controller.simulator.routes import Simulator
from controller.simulator.seed import load
from controller.simulator.transport import SimTransport
from controller.simulator.world import World

TOKEN = "bot@pve!drover"
HEAD = """
nodes: {pve1: {memory: 64GiB}, pve2: {}, pve3: {}}
storages: {nfs: {type: nfs}, local: {type: dir}}
pools: {web: {}}
options: {max_workers: 2}
access:
  users: {bot@pve: {}}
  tokens: {"bot@pve!drover": {secret: s3}}
"""
RIGHTS = """
  acl:
    - {path: /, role: PVEAdmin, to: bot@pve}
    - {path: /, role: PVEAdmin, to: "bot@pve!drover"}
"""
GUESTS = """
guests:
  100: {node: pve1, name: web1, memory: 4GiB, pool: web, tags: [prod, web], disks: {scsi0: {storage: nfs}}}
  101: {node: pve2, type: lxc, name: ct1, disks: {rootfs: {storage: nfs}}}
  102: {node: pve3, status: stopped, name: off1, disks: {scsi0: {storage: local}}}
"""


@dataclass
class Scene:
    world: World
    clock: VirtualClock
    observer: Observer
    calls: list[Call]
    simulator: Simulator

    async def looks(self, count: int, every: float = 10.0) -> Observed:
        """The last of `count` looks."""
        for _ in range(count - 1):
            await self.observer.look()
            await self.clock.sleep(every)
        return await self.observer.look()

    async def fresh(self, vmid: int = 100, source: str = "pve1", target: str = "pve2", kind: str = "qemu") -> Fresh:
        return await self.observer.fresh(
            Wish(GuestIdentity(Vmid(vmid), GuestKind(kind)), NodeName(source), NodeName(target))
        )

    def fault(self, do: str, **arguments: object) -> None:
        self.world.advance(self.clock.wall())
        faults.apply(self.world, do, **arguments)


@dataclass(frozen=True)
class Wish:
    identity: GuestIdentity
    source: NodeName
    target: NodeName


def play(body: Callable[[Scene], Awaitable[None]], text: str = HEAD + RIGHTS + GUESTS, *, asked: str = "pve1") -> None:
    loop = VirtualLoop()
    clock = VirtualClock(loop)
    world = World(load(text).model_copy(update={"start": clock.wall()}))
    calls: list[Call] = []
    simulator = Simulator(world)
    transport = SimTransport(simulator, clock=clock, auth=f"PVEAPIToken={TOKEN}=s3", endpoints=[asked])
    client = PveClient(Metered(transport, calls.append, monotonic=clock.monotonic))
    observer = Observer(client, cluster=ClusterName("c"), clock=clock, token_id=TOKEN)

    async def main() -> None:
        await body(Scene(world, clock, observer, calls, simulator))

    run(main(), loop)


def test_one_look_makes_the_picture_and_the_next_ones_fill_in_who_is_who() -> None:
    async def body(scene: Scene) -> None:
        seen = await scene.looks(1)
        assert (seen.cluster, seen.pve_name, seen.quorate, seen.skipped_rows) == ("c", "simcluster", True, 0)
        assert {name: node.state for name, node in seen.nodes.items()} == dict.fromkeys(
            ["pve1", "pve2", "pve3"], NodeState.ONLINE
        )
        assert [(g.vmid, g.name, g.node, g.power) for g in seen.guests.values()] == [
            (100, "web1", "pve1", Power.RUNNING),
            (101, "ct1", "pve2", Power.RUNNING),
            (102, "off1", "pve3", Power.STOPPED),
        ]
        web = seen.guests[Vmid(100)]
        assert (web.pool, web.tags, web.memory_bytes) == ("web", frozenset({"prod", "web"}), 4 << 30)
        assert {(s.name, s.node) for s in seen.storages} >= {("nfs", "pve1"), ("local", "pve3")}
        await scene.clock.sleep(10)
        seen = await scene.looks(2)
        assert [seen.guests[Vmid(n)].identity.born[:6] for n in (100, 101, 102)] == ["ctime:", "print:", "ctime:"]
        assert set(seen.configs) == {100, 101, 102}
        assert {node.version[:2] for node in seen.nodes.values()} == {(9, 2)}
        assert scene.observer.missing_rights == ()
        assert scene.observer.ages()[Part.CLUSTER] == 0

    play(body)


def test_who_looks_only_once_knows_every_config() -> None:
    many = "".join(f"\n  {vmid}: {{node: pve1, disks: {{scsi0: {{storage: nfs}}}}}}" for vmid in range(200, 230))

    async def body(scene: Scene) -> None:
        seen = await scene.observer.look_closely()
        assert set(seen.configs) == set(seen.guests)
        assert len(seen.guests) == 33

    play(body, HEAD + RIGHTS + GUESTS + many)


@pytest.mark.parametrize("count", [60, 600])
def test_the_number_of_calls_does_not_grow_with_the_guests(count: int) -> None:
    guests = "\n".join(f"  {100 + n}: {{node: pve{n % 3 + 1}, status: stopped}}" for n in range(count))

    async def body(scene: Scene) -> None:
        await scene.looks(60)
        counted = Counter(call.path for call in scene.calls)
        background = counted["/nodes/{node}/qemu/{vmid}/config"] / 590
        assert sum(counted.values()) / 60 <= 6 + 3
        assert background <= 0.5
        assert sum(counted.values()) == 60 * 4 + 10 + 1 + 3 + counted["/nodes/{node}/qemu/{vmid}/config"]
        assert 118 <= counted["/nodes/{node}/qemu/{vmid}/config"] <= 123

    play(body, HEAD + RIGHTS + "guests:\n" + guests)


def test_looks_in_quick_succession_do_not_read_more_in_the_background() -> None:
    async def body(scene: Scene) -> None:
        await scene.looks(100, every=0.1)
        configs = sum("config" in call.path for call in scene.calls)
        assert configs == 3

    play(body)


def test_a_silent_node_holds_up_nobody_and_the_rest_of_the_picture_stays() -> None:
    async def body(scene: Scene) -> None:
        await scene.looks(3)
        scene.fault("node-crash", node="pve2")
        seen = await scene.looks(1)
        for _ in range(10):
            began = scene.clock.monotonic()
            seen = await scene.looks(1)
            assert scene.clock.monotonic() - began <= 2.0
            await scene.clock.sleep(10)
        assert seen.nodes[NodeName("pve2")].state is NodeState.OFFLINE
        assert seen.nodes[NodeName("pve3")].state is NodeState.ONLINE
        assert seen.guests[Vmid(101)].node == "pve2"
        await scene.clock.sleep(400)
        seen = await scene.looks(1)
        gone = seen.guests[Vmid(101)]
        assert (gone.power, gone.memory_bytes, gone.name) == (Power.UNKNOWN, None, "")

    play(body)


def test_a_node_that_hangs_is_waited_for_briefly_and_then_left_alone_for_a_minute() -> None:
    guests = "guests:\n" + "\n".join(f"  {100 + n}: {{node: pve2, status: stopped}}" for n in range(40))

    async def body(scene: Scene) -> None:
        await scene.looks(2)
        scene.fault("slow-handler", method="GET", path="/config", count=100)
        seconds: list[float] = []
        while scene.clock.monotonic() < 60:
            began = scene.clock.monotonic()
            await scene.observer.look()
            seconds.append(scene.clock.monotonic() - began)
            await scene.clock.sleep(10)
        assert max(seconds) == 2.0
        assert sorted(seconds)[-2] < 0.5

    play(body, HEAD + RIGHTS + guests)


def test_a_node_that_comes_back_is_asked_for_its_version_again() -> None:
    async def body(scene: Scene) -> None:
        await scene.looks(3)
        scene.fault("node-crash", node="pve2")
        await scene.clock.sleep(60)
        assert (await scene.looks(2)).nodes[NodeName("pve2")].version == ()
        scene.fault("node-return", node="pve2")
        await scene.clock.sleep(300)
        assert (await scene.looks(3)).nodes[NodeName("pve2")].version[:2] == (9, 2)

    play(body)


def test_without_quorum_the_picture_says_so() -> None:
    async def body(scene: Scene) -> None:
        scene.fault("partition", nodes=["pve1"])
        await scene.clock.sleep(30)
        seen = await scene.looks(1)
        assert not seen.quorate
        fresh = await scene.fresh()
        assert (fresh.quorate, fresh.preconditions) == (False, None)

    play(body)


def test_an_endpoint_that_is_down_is_a_reason_and_no_crash() -> None:
    async def body(scene: Scene) -> None:
        seen = await scene.looks(1)
        scene.fault("pveproxy-down", node="pve1")
        with pytest.raises(Retry) as caught:
            await scene.looks(1)
        assert caught.value.why is Why.UNREACHABLE
        scene.fault("pveproxy-up", node="pve1")
        await scene.clock.sleep(1)
        assert (await scene.looks(1)).guests.keys() == seen.guests.keys()

    play(body)


def test_a_token_without_rights_is_told_what_it_lacks_and_the_lines_that_grant_it() -> None:
    async def body(scene: Scene) -> None:
        with pytest.raises(Denied) as caught:
            await scene.looks(1)
        assert caught.value.why is Why.PERMISSION_MISSING
        assert {item.path for item in scene.observer.missing} >= {"/", "/vms", "/nodes"}
        assert scene.observer.missing_rights[-1] == f"pveum acl modify / --tokens '{TOKEN}' --roles DroverController"
        for kind, who in (("user", "bot@pve"), ("token", TOKEN)):
            scene.world.access.grant("/", kind, who, "PVEAdmin")
        await scene.clock.sleep(60)
        await scene.looks(1)
        assert scene.observer.missing_rights == ()

    play(body, HEAD + GUESTS)


def test_a_token_that_sees_half_of_the_guests_is_found_out() -> None:
    acl = """
  acl:
    - {path: /, role: PVEAuditor, to: bot@pve}
    - {path: /, role: PVEAuditor, to: "bot@pve!drover"}
"""

    async def body(scene: Scene) -> None:
        await scene.looks(1)
        assert {(item.privilege, item.path) for item in scene.observer.missing} == {("VM.Migrate", "/vms")}

    play(body, HEAD + acl + GUESTS)


# --- the second look ---------------------------------------------------------------------------------------------------


def test_the_second_look_knows_the_guest_the_target_and_the_verdict() -> None:
    async def body(scene: Scene) -> None:
        await scene.looks(1)
        scene.calls.clear()
        fresh = await scene.fresh()
        assert fresh.guest is not None
        assert fresh.config is not None
        assert fresh.guest.identity == fresh.config.identity
        assert fresh.guest.identity.born.startswith("ctime:")
        assert (fresh.guest.pool, fresh.guest.power, fresh.guest.lock) == ("web", Power.RUNNING, "")
        assert fresh.target is not None
        assert fresh.target.memory_used_bytes is not None
        assert fresh.source is not None
        assert (fresh.target.state, fresh.source.name, fresh.quorate) == (NodeState.ONLINE, "pve1", True)
        assert fresh.preconditions is not None
        assert fresh.preconditions.running
        assert len(scene.calls) == 17  # half of them about nodes, and kept for a while
        assert max(call.seconds for call in scene.calls) < 1

    play(body)


def test_a_guest_that_left_the_source_is_not_there() -> None:
    async def body(scene: Scene) -> None:
        for fresh in (await scene.fresh(source="pve3", target="pve2"), await scene.fresh(vmid=999)):
            assert (fresh.guest, fresh.config, fresh.preconditions) == (None, None, None)
            assert fresh.quorate

    play(body)


def test_a_locked_guest_shows_its_lock_and_no_verdict() -> None:
    text = (HEAD + RIGHTS + GUESTS).replace("name: web1,", "name: web1, lock: backup,")

    async def body(scene: Scene) -> None:
        fresh = await scene.fresh()
        assert fresh.guest is not None
        assert (fresh.guest.lock, fresh.preconditions) == ("backup", None)

    play(body, text)


def test_a_target_that_is_offline_says_so_and_a_silent_one_stops_the_move() -> None:
    async def body(scene: Scene) -> None:
        scene.fault("node-crash", node="pve2")
        with pytest.raises(DroverError) as caught:  # corosync has not noticed yet
            await scene.fresh()
        assert caught.value.why is Why.NODE_UNREACHABLE
        await scene.clock.sleep(60)
        fresh = await scene.fresh()
        assert fresh.target is not None
        assert fresh.target.state is NodeState.OFFLINE

    play(body)


def test_a_node_that_does_not_exist_is_no_target() -> None:
    async def body(scene: Scene) -> None:
        assert (await scene.fresh(target="pve9")).target is None

    play(body)


def test_a_container_on_an_old_pve_has_no_verdict() -> None:
    async def body(scene: Scene) -> None:
        fresh = await scene.fresh(vmid=101, source="pve2", target="pve3", kind="lxc")
        assert fresh.guest is not None
        assert fresh.preconditions is None

    play(body, HEAD.replace("nodes:", "version: '8.4'\nnodes:") + RIGHTS + GUESTS)


def test_maintenance_by_pve_ha_is_seen() -> None:
    text = (HEAD + RIGHTS + GUESTS).replace("name: web1,", "name: web1, ha: {state: started},")

    async def body(scene: Scene) -> None:
        await scene.clock.sleep(60)
        scene.world.ha.maintain("pve2", on=True)
        await scene.clock.sleep(60)
        seen = await scene.looks(1)
        assert seen.nodes[NodeName("pve2")].ha is HaNodeState.MAINTENANCE
        assert not seen.nodes[NodeName("pve2")].usable
        fresh = await scene.fresh()
        assert fresh.target is not None
        assert fresh.target.ha is HaNodeState.MAINTENANCE

    play(body, text)


def test_a_lock_whose_task_is_dead_is_called_idle_after_ten_minutes() -> None:
    async def body(scene: Scene) -> None:
        scene.fault("admin-lock", guest=100, lock="migrate")
        scene.fault("admin-lock", guest=101, lock="backup")
        assert (await scene.looks(60)).idle_locks == frozenset()
        assert (await scene.looks(2)).idle_locks == {100}
        scene.fault("admin-unlock", guest=100)
        assert (await scene.looks(1)).idle_locks == frozenset()
        scene.fault("admin-lock", guest=100, lock="migrate")
        assert (await scene.looks(1)).idle_locks == frozenset()

    play(body)


def test_no_lock_is_idle_while_tasks_may_be_hidden() -> None:
    async def body(scene: Scene) -> None:
        scene.fault("admin-lock", guest=100, lock="migrate")
        scene.fault("partition", nodes=["pve2", "pve3"])
        assert (await scene.looks(70)).idle_locks == frozenset()
        scene.fault("heal")
        assert (await scene.looks(1)).idle_locks == frozenset()

    play(body)


def test_a_right_that_is_taken_away_is_noticed_when_guests_are_missing() -> None:
    """Not ten minutes later: until then their nodes would look empty."""

    async def body(scene: Scene) -> None:
        assert not (await scene.looks(2)).partial
        scene.fault("admin-revoke", user="bot@pve", role="PVEAdmin")
        scene.fault("admin-grant", user="bot@pve", role="PVESysAdmin")
        seen = await scene.looks(1)
        assert not seen.guests
        assert seen.partial

    play(body)
