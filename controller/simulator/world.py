"""The cluster as it really is: nodes, guests, storages, tasks and wires, and the one way to let time pass.

`routes` answer from it, `faults` break it, `http` and `transport` advance it; tests and stories look inside.
"""

import random
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from controller.simulator.access import Access
from controller.simulator.api import Request, Response
from controller.simulator.engine import Engine, Timer
from controller.simulator.guests import Guest, build_config, guest_numbers
from controller.simulator.ha import HighAvailability
from controller.simulator.network import Network
from controller.simulator.nodes import Node
from controller.simulator.replication import Replication
from controller.simulator.seed import ClusterFile, GuestFile, HaFile
from controller.simulator.storage import Storage, Volume, storage_of
from controller.simulator.tasks import Task, TaskBook

CRASH_NOTICED = 8.0
"""Seconds until corosync misses a node that lost power; it was more than six on a real cluster."""
_JOURNAL = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal: virtual epoch seconds, what happened, and to whom."""

    at: float
    kind: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        facts = " ".join(f"{key}={value}" for key, value in self.facts.items() if value is not None)
        return f"{self.kind} {facts}".rstrip()


def _members(file: ClusterFile) -> list[str]:
    return [name for name, node in file.nodes.items() if not node.standalone]


def _address(file: ClusterFile, name: str) -> str:
    return file.nodes[name].ip or f"10.0.0.{list(file.nodes).index(name) + 1}"


def _apart(file: ClusterFile, name: str) -> ClusterFile:
    """What the file says about a node outside the cluster; its users and storages are set up like the cluster's."""
    alone = file.nodes[name].model_copy(update={"standalone": False, "ip": _address(file, name)})
    guests = {vmid: guest for vmid, guest in file.guests.items() if guest.node == name}
    nothing = {"ha": HaFile(), "replication": {}, "faults": (), "expect": ()}
    return file.model_copy(update={"nodes": {name: alone}, "guests": guests, **nothing})


Interceptor: TypeAlias = Callable[[Request, Callable[[], Response]], Response | None]
"""Gets a request and what would carry it out; answers in its own way, or None to let the call pass."""


class World:
    """One simulated cluster. Single-threaded; the same file, seed and calls give the same bytes."""

    def __init__(self, file: ClusterFile, *, seed: int = 0, beside: "World | None" = None) -> None:
        """beside: the world whose time and journal are shared, for a node that is not in its cluster."""
        self.file = file
        self.root: World = self if beside is None else beside
        self.seed = seed
        self.random = random.Random(seed)
        self.engine: Engine = Engine(file.start) if beside is None else beside.engine
        self.start = file.start
        self.name = file.name
        self.options: dict[str, Any] = dict(file.options)
        self.pools: dict[str, dict[str, Any]] = {
            name: {"comment": pool.comment, "storages": list(pool.storages)} for name, pool in file.pools.items()
        }
        self.mappings: dict[str, dict[str, dict[str, Any]]] = {"pci": {}, "usb": {}, "dir": {}}
        for kind, entries in file.mappings.items():
            self.mappings[kind] = dict(entries)
        self.journal: deque[Entry] = deque(maxlen=_JOURNAL) if beside is None else beside.journal
        self.observers: list[Callable[[Entry], None]] = [] if beside is None else beside.observers
        self.revision = 0
        """Rises with every change that pmxcfs shows at once: configurations, locks, tags, places."""
        self.derived: dict[str, Any] = {}
        """What was worked out from the rest and may be thrown away."""
        self.split_at = float("-inf")
        self.frozen: dict[int, dict[int, Guest]] = {}
        """What each side without quorum of a partition still believes about guests."""
        self.unmet: list[str] = []
        """Expectations of the cluster file that did not hold when they were due."""
        self.interceptors: list[Interceptor] = []
        """What faults put between a call and its answer; see `simulator.faults`."""
        self.planned_failures: dict[int, dict[int, str]] = {}
        """VMID to phase to text: how its next migration fails; see `simulator.faults`."""
        self.fingerprints: dict[str, str] = {}
        """Of the certificates that nodes serve, when they do."""
        self.replication: dict[str, dict[str, Any]] = {
            ident: {
                "id": ident,
                "type": "local",
                "guest": int(ident.partition("-")[0]),
                "jobnum": int(ident.partition("-")[2]),
                **job,
            }
            for ident, job in file.replication.items()
        }
        """replication.cfg: job id to entry."""
        self.ha_resources: dict[str, dict[str, Any]] = {}
        self.tasks = TaskBook(self.engine, self.log)
        self.nodes: dict[str, Node] = {name: self._node(nodeid, name) for nodeid, name in enumerate(_members(file), 1)}
        self.configured = len(self.nodes) > 1
        """Whether there is a corosync.conf; a node by itself has none."""
        self.counted_from = float("-inf")
        """When pmxcfs found corosync; see `simulator.forming`."""
        self.storages = {name: Storage.of(name, storage) for name, storage in file.storages.items()}
        self.guests: dict[int, Guest] = {}
        for vmid, guest in sorted(file.guests.items()):
            if guest.node in self.nodes:
                self.add(vmid, guest, at_start=True)
        self.access = Access.of(file.access, file.version, lambda: self.now, self._pool_members)
        self.network = Network(self.engine, {name: float(node.file.link) for name, node in self.nodes.items()})
        self.replicator = Replication(self, self.replication)
        self.ha = HighAvailability(self, self.ha_resources, file.ha)
        self.elsewhere = {name: self._lone(name) for name, node in file.nodes.items() if node.standalone}
        """Of the world of the whole file: its nodes that are in no cluster or in another, each with the world it is in."""

    def _lone(self, name: str) -> "World":
        """Make a world of a node that is in no cluster; a ticket of one is nothing to another."""
        lone = World(_apart(self.file, name), seed=self.seed + 1 + list(self.file.nodes).index(name), beside=self)
        lone.access.key = f"authkey of {name}".encode()
        return lone

    def _node(self, nodeid: int, name: str) -> Node:
        file = self.file.nodes[name]
        return Node(
            name=name,
            nodeid=nodeid,
            ip=_address(self.file, name),
            version=file.version or self.file.version,
            file=file,
            booted_at=self.now - file.uptime,
            phase=self.random.uniform(0.0, 10.0),
            config=dict(file.config),
        )

    def add(self, vmid: int, file: GuestFile, *, at_start: bool = False) -> Guest:
        """Create a guest with its volumes; one that was there at the start has been broadcast already."""
        volids: dict[str, str] = {}
        for number, (key, disk) in enumerate(file.disks.items()):
            storage = self.storages[disk.storage]
            suffix = "cloudinit" if "cloudinit" in (disk.volume or "") else ""
            volid = f"{storage.name}:{disk.volume}" if disk.volume else storage.volid(vmid, number, suffix)
            used = disk.size // 4 if disk.used is None else disk.used
            storage.place(file.node)[volid] = Volume(volid, disk.size, used, vmid, ctime=int(self.start))
            volids[key] = volid
        running = file.status != "stopped"
        guest = Guest(
            vmid=vmid,
            type=file.type,
            node=file.node,
            config=build_config(vmid, file, volids, self.start),
            run=file.status,
            started_at=self.now - min(file.uptime, self.nodes[file.node].file.uptime),
            load=file.load,
            touched=file.touched,
            dirty=float(file.dirty),
            working=float(file.memory // 10 if file.working is None else file.working),
            written=float(file.written),
            stops_in=file.stops_in,
            agent=file.agent,
            pool=file.pool,
        )
        for name in file.snapshots:
            disks = {key: value for key, value in guest.config.items() if key in file.disks}
            guest.snapshots[name] = {"snaptime": int(self.start) - 86_400, **disks}
        self.guests[vmid] = guest
        if file.ha is not None:
            self.ha_resources[f"{'ct' if file.type == 'lxc' else 'vm'}:{vmid}"] = dict(file.ha)
        if not at_start:
            guest.created = guest.changed = self.now
            self.access.changed()
        self.revision += 1
        if running:
            self.boot(guest)
        return guest

    def remove(self, guest: Guest) -> None:
        """Destroy a guest and its volumes."""
        for drive in [*guest.drives(), *guest.unused()]:
            storage = self.storages.get(storage_of(drive.volid))
            if storage is not None and not drive.volid.partition(":")[2].startswith("iso/"):
                storage.place(guest.node).pop(drive.volid, None)
        del self.guests[guest.vmid]
        self.revision += 1
        self.access.changed()
        self.log("guest-removed", guest=guest.vmid, node=guest.node)

    def _pool_members(self) -> dict[str, tuple[set[int], list[str]]]:
        """Name the guests and storages of every pool; kept until `access` hears of a change."""
        kept: tuple[int, dict[str, tuple[set[int], list[str]]]] | None = self.derived.get("pools")
        if kept is not None and kept[0] == self.access.revision:
            return kept[1]
        members: dict[str, tuple[set[int], list[str]]] = {
            name: (set(), pool["storages"]) for name, pool in self.pools.items()
        }
        for guest in self.guests.values():
            if guest.pool in members:
                members[guest.pool][0].add(guest.vmid)
        self.derived["pools"] = (self.access.revision, members)
        return members

    def boot(self, guest: Guest) -> None:
        """Give a guest the process of its node: pid, QEMU and machine version."""
        node = self.nodes[guest.node]
        guest.pid = node.pid()
        if guest.type == "qemu":
            guest.qemu = node.release.qemu
            major, minor, _ = node.release.qemu.split(".")
            guest.machine = guest.machine or f"pc-i440fx-{major}.{minor}+pve0"

    # time

    @property
    def now(self) -> float:
        """Virtual epoch seconds."""
        return self.engine.now

    def advance(self, to: float) -> None:
        """Let time pass until `to` (epoch seconds), running all that is due. A moment in the past is ignored."""
        self.engine.advance(to)

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Do `action` at `when`, epoch seconds."""
        return self.engine.at(when, action)

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do `action` in `seconds`."""
        return self.engine.after(seconds, action)

    def log(self, kind: str, **facts: Any) -> None:
        """Write a line into the journal and tell the observers."""
        entry = Entry(self.now, kind, facts)
        self.journal.append(entry)
        for observer in self.observers:
            observer(entry)

    def spawn(
        self, node: str, kind: str, ident: str, user: str, body: Callable[[Task], Generator[Any, Any, None]]
    ) -> Task:
        """Fork a worker; see `TaskBook.start`."""
        return self.tasks.start(self.nodes[node], kind, ident, user, body)

    # membership

    @property
    def formed(self) -> bool:
        """Whether pmxcfs knows of a cluster, be it one of a single node."""
        return self.configured and self.now >= self.counted_from

    def connected(self, one: str, other: str) -> bool:
        """Whether two nodes reach each other over the network."""
        first, second = self.nodes[one], self.nodes[other]
        return first.powered and second.powered and first.group == second.group

    def online(self, viewer: str, node: str) -> bool:
        """Whether corosync on `viewer` counts `node` as a member."""
        return viewer == node or (self.nodes[node].member and self.nodes[node].group == self.nodes[viewer].group)

    def members(self, viewer: str) -> list[str]:
        """Return the nodes that `viewer` sees online, itself included."""
        return [name for name in self.nodes if self.online(viewer, name)]

    def quorate(self, viewer: str) -> bool:
        """Whether the side of `viewer` has more than half of the votes."""
        return self.now >= self.counted_from and len(self.members(viewer)) * 2 > len(self.nodes)

    def split(self, nodes: Iterable[str]) -> None:
        """Cut these nodes off; the side without quorum keeps the picture it has."""
        for name in nodes:
            self.nodes[name].group = 1
        self.split_at = self.now
        self.revision += 1
        self.network.cut(lambda flow: not self.connected(flow.src, flow.dst))
        for node in self.nodes.values():
            if not self.quorate(node.name) and node.group not in self.frozen:
                self.frozen[node.group] = {
                    vmid: replace(guest, config=dict(guest.config)) for vmid, guest in self.guests.items()
                }

    def mend(self) -> None:
        """End every partition."""
        for node in self.nodes.values():
            node.group = 0
        self.frozen = {}
        self.revision += 1

    def guests_seen_by(self, viewer: str) -> Iterable[Guest]:
        """Return the guests as pmxcfs on a node shows them: of this moment, or of the moment before it lost quorum."""
        group = self.nodes[viewer].group
        frozen = self.frozen.get(group)
        return self.guests.values() if frozen is None else [self._believed(guest, group) for guest in frozen.values()]

    def _believed(self, then: Guest, group: int) -> Guest:
        now = self.guests.get(then.vmid)
        near = self.nodes[then.node].group == group and now is not None and now.node == then.node
        return now if near and now is not None else then

    # guests

    def touch(self, guest: Guest) -> None:
        """Announce a change of `guest`: what was broadcast last stays visible until the next broadcast."""
        tick = self.nodes[guest.node].tick_before(self.now)
        if guest.changed <= tick:
            guest.shadow = guest_numbers(self.nodes[guest.node], guest, tick) if guest.created <= tick else None
        guest.changed = self.now
        guest.static = None
        self.revision += 1

    def set_run(self, guest: Guest, run: str) -> None:
        """Change a guest's run state; a start and a stop reset its counters."""
        if guest.run == run:
            return
        self.touch(guest)
        was = guest.running
        guest.run = run
        if guest.running and not was:
            guest.started_at = self.now
            self.boot(guest)
        elif not guest.running:
            guest.pid, guest.machine, guest.qemu = 0, "", ""
            for key in guest.deletes:
                guest.config.pop(key, None)
            guest.config |= guest.pending
            guest.pending, guest.deletes = {}, {}
        self.log("guest-state", guest=guest.vmid, node=guest.node, state=run)

    def set_config(self, guest: Guest, values: dict[str, Any], delete: Iterable[str] = ()) -> None:
        """Write into a guest's configuration file."""
        self.touch(guest)
        for key in delete:
            guest.config.pop(key, None)
        guest.config |= values

    def set_lock(self, guest: Guest, lock: str | None) -> None:
        """Take or drop the configuration's lock."""
        if guest.lock != lock:
            self.set_config(guest, {} if lock is None else {"lock": lock}, ("lock",))
            self.log("guest-lock", guest=guest.vmid, lock=lock or "none")

    def move_config(self, guest: Guest, target: str) -> None:
        """Rename the configuration file into another node's directory: the moment at which a guest changes its node."""
        source = guest.node
        self.touch(guest)
        guest.node = target
        self.log("guest-node", guest=guest.vmid, source=source, target=target)

    def replication_jobs(self, vmid: int) -> list[dict[str, Any]]:
        """Return the replication jobs of a guest."""
        return [job for job in self.replication.values() if job["guest"] == vmid]

    def next_vmid(self) -> int:
        """Return the lowest free VMID from 100 on."""
        vmid = 100
        while vmid in self.guests:
            vmid += 1
        return vmid
