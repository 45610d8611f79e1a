"""A simulated cluster on virtual time, and the two halves of a tick that `act` is: start moves, and see how they ended."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from controller.act.abort import Guard
from controller.act.execute import execute
from controller.act.inflight import follow, settle
from controller.model.event import Event
from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, ObjectRef, Vmid
from controller.model.observed import Observed
from controller.model.outcome import Outcome, Progress
from controller.model.plan import Lane, Move, MoveOptions
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.pve.transport import Json, Params, Transport
from controller.rehearse.virtual_time import EPOCH, VirtualClock, VirtualLoop
from controller.report.store import Store
from controller.simulator import faults
from controller.simulator.routes import Simulator
from controller.simulator.seed import load
from controller.simulator.transport import SimTransport
from controller.simulator.world import World
from controller.specs import PveCluster, Specs

LAB = ClusterName("lab")
PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")
DRAIN = ObjectRef("NodeMaintenance", "label-pve1")
GIB = 1 << 30

CLUSTER = f"""
name: lab
start: {EPOCH}
nodes:
  pve1: {{memory: 64GiB}}
  pve2: {{memory: 64GiB}}
  pve3: {{memory: 64GiB}}
storages:
  ceph: {{type: rbd, content: [images, rootdir], size: 8TiB}}
  local: {{type: dir, content: [iso, images]}}
guests:
  101: {{name: web, node: pve1, memory: 8GiB, disks: {{scsi0: {{storage: ceph}}}}}}
  102: {{name: db, node: pve1, memory: 4GiB, disks: {{scsi0: {{storage: ceph}}}}}}
  103: {{name: old, node: pve1, memory: 4GiB, status: stopped, disks: {{scsi0: {{storage: ceph}}}}}}
  104: {{name: iso, node: pve1, memory: 1GiB, disks: {{scsi0: {{storage: ceph}}}}, iso: "local:iso/debian.iso"}}
  105: {{type: lxc, name: proxy, node: pve1, memory: 1GiB, disks: {{rootfs: {{storage: ceph, size: 8GiB}}}}}}
  106: {{name: safe, node: pve1, memory: 2GiB, disks: {{scsi0: {{storage: ceph}}}}, ha: {{state: started}}}}
  107:
    name: cloud
    node: pve1
    memory: 1GiB
    disks: {{scsi0: {{storage: ceph}}, ide2: {{storage: local, volume: 107/vm-107-cloudinit.qcow2, size: 4MiB}}}}
access:
  users: {{drover@pve: {{}}}}
  tokens: {{"drover@pve!test": {{secret: 00000000-0000-4000-8000-000000000000, privsep: false}}}}
  roles: {{Drover: [Sys.Audit, VM.Audit, VM.Migrate, Datastore.Audit, Pool.Audit]}}
  acl: [{{path: /, role: Drover, to: drover@pve}}]
"""
SPECS = Specs.of(
    [
        PveCluster.model_validate(
            {
                "metadata": {"name": "lab"},
                "spec": {"endpoints": ["https://pve1:8006"], "auth": {"credentialsRef": "lab"}, "mode": "Enforce"},
            }
        )
    ]
)


class Recorder:
    """Passes calls on and remembers them; `on_post` sees every POST before it goes out and again after the answer."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.posts: list[str] = []
        self.params: dict[str, object] = {}  # of the last POST
        self.gets: list[str] = []
        self.on_post: Callable[[str, str], None] = lambda _when, _path: None
        self.on_delete: Callable[[str, str], None] = lambda _when, _path: None
        self.deletes: list[str] = []
        self.on_put: Callable[[str, str], None] = lambda _when, _path: None
        self.puts: list[str] = []

    async def get(self, path: str, params: Params | None = None) -> Json:
        self.gets.append(path)
        return await self._inner.get(path, params)

    async def post(self, path: str, params: Params | None = None) -> Json:
        self.on_post("before", path)
        self.posts.append(path)
        self.params = dict(params or {})
        answer = await self._inner.post(path, params)
        self.on_post("after", path)
        return answer

    async def put(self, path: str, params: Params | None = None) -> Json:
        self.on_put("before", path)
        self.puts.append(path)
        answer = await self._inner.put(path, params)
        self.on_put("after", path)
        return answer

    async def delete(self, path: str, params: Params | None = None) -> Json:
        self.on_delete("before", path)
        self.deletes.append(path)
        answer = await self._inner.delete(path, params)
        self.on_delete("after", path)
        return answer


class Lab:
    """One world, one state file, and a process that can die."""

    def __init__(
        self, directory: Path, open_store: Callable[[Path, ClusterName], Store] = Store.open, cluster: str = CLUSTER
    ) -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        self.world = World(load(cluster))
        auth = "PVEAPIToken=drover@pve!test=00000000-0000-4000-8000-000000000000"
        self.pve = Recorder(
            SimTransport(Simulator(self.world), clock=self.clock, auth=auth, endpoints=("pve3", "pve2", "pve1"))
        )
        self.specs = SPECS
        self.told: list[Event] = []
        self._directory = directory
        self._open_store = open_store
        self.start()

    def start(self) -> None:
        """Begin a process: nothing is known but what is on disk."""
        self.store = self._open_store(self._directory, LAB)
        self.store._database.execute("PRAGMA synchronous = OFF")  # the disk's honesty is tested with the store
        self.client = PveClient(self.pve)
        self.observer = Observer(self.client, cluster=LAB, clock=self.clock)
        self.guard = Guard(self.store, self.client, self.clock)
        self.progress: Mapping[Vmid, Progress] = {}

    def close(self) -> None:
        self.store.close()
        self.loop.close()

    def fault(self, do: str, **arguments: object) -> None:
        self.world.advance(self.clock.wall())
        faults.apply(self.world, do, **arguments)

    def later(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.sleep(seconds))
        self.world.advance(self.clock.wall())

    def look(self) -> Observed:
        return self.loop.run_until_complete(self.observer.look())

    def execute(
        self, *moves: Move, still_wanted: Callable[[Move], Finding | None] = lambda _: None
    ) -> tuple[Outcome, ...]:
        """Look at the cluster, then start `moves`."""
        return self.loop.run_until_complete(self._execute(moves, still_wanted))

    async def _execute(
        self, moves: Sequence[Move], still_wanted: Callable[[Move], Finding | None]
    ) -> tuple[Outcome, ...]:
        return await execute(
            moves,
            specs=self.specs,
            seen=await self.observer.look(),
            store=self.store,
            client=self.client,
            observer=self.observer,
            clock=self.clock,
            still_wanted=still_wanted,
            tell=self.told.append,
        )

    def settle(self) -> tuple[Outcome, ...]:
        """Look at the cluster, then end what has ended."""
        return self.loop.run_until_complete(self._settle())

    async def _settle(self) -> tuple[Outcome, ...]:
        seen = await self.observer.look()
        return await settle(self.store, self.client, seen, specs=SPECS, clock=self.clock)

    def watch(self) -> tuple[Event, ...]:
        """Ask the tasks of what is under way how far they are, and let the guard judge."""
        return self.loop.run_until_complete(self._watch())

    async def _watch(self) -> tuple[Event, ...]:
        following = await follow(self.store.memory().flights, self.client, self.progress)
        self.progress = following.progress
        return await self.guard.watch(following.progress, SPECS)

    def settle_within(self, seconds: float) -> tuple[Outcome, ...]:
        """Tick every ten seconds until something ends."""
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            self.later(10)
            if outcomes := self.settle():
                return outcomes
        return ()

    def migrations(self, vmid: int) -> list[str]:
        """The tasks that moved the guest, or tried to: what must never be twice."""
        tasks = self.world.tasks.by_upid.values()
        return [task.upid for task in tasks if task.id == str(vmid) and task.type in ("qmigrate", "vzmigrate")]

    def node_of(self, vmid: int) -> str:
        self.world.advance(self.clock.wall())
        return self.world.guests[vmid].node


def move(
    vmid: int = 101,
    target: NodeName = PVE2,
    *,
    source: NodeName = PVE1,
    why: Why = Why.NODE_MAINTENANCE,
    returns: bool = True,
) -> Move:
    """A move as a plan would want it."""
    kind = GuestKind.LXC if vmid == 105 else GuestKind.QEMU
    running = vmid != 103
    return Move(
        identity=GuestIdentity(Vmid(vmid), kind),
        name={101: "web", 102: "db", 103: "old", 104: "iso", 105: "proxy", 106: "safe", 107: "cloud"}[vmid],
        source=source,
        target=target,
        why=why,
        cause=DRAIN,
        message="pve1 is in maintenance",
        lane=Lane.DRAIN,
        memory_bytes=GIB,
        options=MoveOptions(online=running and kind is GuestKind.QEMU, restart=running and kind is GuestKind.LXC),
        returns=returns,
    )
