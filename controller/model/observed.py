"""What Drover saw: one frozen snapshot of one cluster, and what it reads again just before acting.

Built by `observe` (and by tests); read by `decide`, `act` and `report`. Absent is `None`, never 0: PVE drops the numbers of
guests and nodes it has heard nothing of for five minutes (pve-manager: PVE/API2Tools.pm, extract_vm_stats).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from controller.model.facts import Facts, HaRule
from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, Upid, Vmid
from controller.model.outcome import Progress
from controller.model.replication import NodeClock, ReplicationState
from controller.model.rights import Rights


class Power(StrEnum):
    """Run state of a guest; QEMU's own states are folded into what matters for a move."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    UNKNOWN = "unknown"

    @property
    def holds_memory(self) -> bool:
        """Whether the guest occupies memory on its node (what is unknown is counted as if it did)."""
        return self is not Power.STOPPED


class NodeState(StrEnum):
    """Membership and health of a node, as PVE's cluster rows and the HA manager together say."""

    ONLINE = "online"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


class HaNodeState(StrEnum):
    """The HA manager's word about a node (pve-ha-manager: PVE/HA/NodeStatus.pm)."""

    ONLINE = "online"
    MAINTENANCE = "maintenance"
    UNKNOWN = "unknown"
    FENCE = "fence"
    GONE = "gone"
    NONE = "none"  # HA has never been active here, so it has no word


@dataclass(frozen=True, slots=True)
class Cpu:
    """A node's processor as its `/proc/cpuinfo` names it; flags by Linux' names."""

    model: str
    vendor: str
    family: str
    flags: frozenset[str]
    sockets: int = 1
    architecture: str = ""  # x86_64, aarch64; "" when the node does not say


@dataclass(frozen=True, slots=True)
class Node:
    """One member of the cluster. Bytes; `None` where PVE says nothing."""

    name: NodeName
    state: NodeState
    ha: HaNodeState = HaNodeState.NONE
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    cpus: int | None = None
    cpu_fraction: float | None = None
    uptime_seconds: int | None = None
    version: tuple[int, ...] = ()
    cpu: Cpu | None = None  # told by the node's own status alone

    @property
    def usable(self) -> bool:
        """Online, and not in the HA manager's maintenance, fencing or recovery."""
        return self.state is NodeState.ONLINE and self.ha in (HaNodeState.ONLINE, HaNodeState.NONE)


@dataclass(frozen=True, slots=True)
class Guest:
    """One VM or container as the cluster's rows show it (numbers up to 10 s old; node, lock and tags immediate)."""

    identity: GuestIdentity
    name: str
    node: NodeName
    power: Power
    template: bool = False
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    cpus: int | None = None
    disk_bytes: int | None = None
    lock: str = ""
    tags: frozenset[str] = frozenset()
    pool: str = ""
    ha_state: str = ""  # "" = not managed by HA
    machine: str = (
        ""  # the version of QEMU's machine that runs, as `pc-q35-9.2+pve1`: told by the guest's own status alone
    )
    qemu: tuple[int, ...] = ()  # of the process that runs

    @property
    def vmid(self) -> Vmid:
        """The guest's number."""
        return self.identity.vmid

    @property
    def kind(self) -> GuestKind:
        """VM or container."""
        return self.identity.kind

    @property
    def ha_managed(self) -> bool:
        """Whether PVE HA looks after it (an `ignored` resource behaves as if it did not)."""
        return self.ha_state not in ("", "ignored")

    @property
    def sid(self) -> str:
        """What PVE HA calls it."""
        return f"{'ct' if self.kind is GuestKind.LXC else 'vm'}:{self.vmid}"

    def __str__(self) -> str:
        return f"{self.kind.noun} {self.vmid} {self.name}"


@dataclass(frozen=True, slots=True)
class Storage:
    """One storage as one node sees it; a shared one has a row per node (pve-manager: PVE/API2/Cluster.pm)."""

    name: str
    node: NodeName
    available: bool
    shared: bool
    content: frozenset[str] = frozenset()  # images, rootdir, iso, ...
    total_bytes: int | None = None
    used_bytes: int | None = None
    type: str = ""  # dir, zfspool, rbd, ...

    @property
    def free_bytes(self) -> int | None:
        """What is left, as last broadcast."""
        if self.total_bytes is None or self.used_bytes is None:
            return None
        return max(0, self.total_bytes - self.used_bytes)


@dataclass(frozen=True, slots=True)
class Task:
    """One PVE task, from a list or from its status."""

    upid: Upid
    node: NodeName
    type: str  # qmigrate, vzmigrate, hamigrate, ...
    target_id: str  # usually the VMID as text; may be empty
    user: str
    start: int  # epoch seconds on the task's node, whose clock may differ from ours
    running: bool
    exit_status: str = ""  # "OK", "WARNINGS: n" or PVE's error; "" while running

    @property
    def ok(self) -> bool:
        """Ended, and PVE calls it a success. What really happened is decided by observation."""
        return not self.running and (self.exit_status == "OK" or self.exit_status.startswith("WARNINGS:"))

    @property
    def vmid(self) -> Vmid | None:
        """The guest it works on, if its id is one."""
        return Vmid(int(self.target_id)) if self.target_id.isdigit() else None

    @property
    def migrates(self) -> bool:
        """Whether it is (or requests) a move of one guest."""
        return self.type in MIGRATION_TASKS


IDLE_LOCK_SECONDS = 600.0
"""How long a lock `migrate` without a task is taken for a task that can't be seen."""

MIGRATION_TASKS = frozenset({"qmigrate", "vzmigrate", "hamigrate"})


@dataclass(frozen=True, slots=True)
class ReplicationJob:
    """One storage replication job (pve-guest-common: PVE/ReplicationConfig.pm)."""

    id: str
    vmid: Vmid
    target: NodeName
    source: NodeName | None
    schedule: str
    disabled: bool
    removing: bool  # PVE takes it away as soon as it can
    comment: str
    rate_mb_s: float | None = None  # decimal megabytes per second; None = no limit


@dataclass(frozen=True, slots=True)
class Disk:
    """One drive or mount point of a guest's config."""

    key: str  # scsi0, rootfs, ide2, ...
    volume: str  # local-zfs:vm-100-disk-0; "none" and "cdrom" for drives without a volume
    storage: str  # "" when the volume is not on a storage
    size_bytes: int | None
    cdrom: bool
    replicate: bool


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """What only a guest's own config tells; kept in a cache that is re-read at a bounded rate, and read fresh before a move."""

    identity: GuestIdentity
    digest: str
    vcpus: int | None
    disks: tuple[Disk, ...]
    read_at: float  # epoch seconds, our clock


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at one cluster. `at` is our wall clock (epoch seconds) when the look began."""

    cluster: ClusterName
    at: float
    quorate: bool
    pve_name: str  # the cluster's own name; "" on a node without cluster
    nodes: Mapping[NodeName, Node] = field(default_factory=lambda: MappingProxyType({}))
    guests: Mapping[Vmid, Guest] = field(default_factory=lambda: MappingProxyType({}))
    storages: tuple[Storage, ...] = ()
    tasks: tuple[Task, ...] = ()
    jobs: tuple[ReplicationJob, ...] = ()
    states: Mapping[str, ReplicationState] = field(default_factory=lambda: MappingProxyType({}))  # by job id
    syncs: Mapping[str, Progress] = field(
        default_factory=lambda: MappingProxyType({})
    )  # runs of jobs made for a move, by id
    clocks: Mapping[NodeName, NodeClock] = field(default_factory=lambda: MappingProxyType({}))  # of nodes with jobs
    configs: Mapping[Vmid, GuestConfig] = field(default_factory=lambda: MappingProxyType({}))
    skipped_rows: int = 0  # rows of PVE's lists that made no sense and were left out
    rights: Rights = field(default_factory=Rights)  # of the token
    partial: bool = False  # the token lacks rights, so rows may be missing
    ha_rules: tuple[HaRule, ...] = ()  # in force, as last read; groups of PVE 8 among them
    ha_rules_off: tuple[HaRule, ...] = ()  # those that HA does not follow
    ha_has_rules: bool | None = None  # False: this release, or a cluster on its way to 9, has groups; None: not read
    ha_stays: frozenset[str] = (
        frozenset()
    )  # HA resources, such as vm:101, that do not go back to better nodes by themselves
    ha_balances: bool = False  # PVE HA moves its own guests to level the nodes (9.2 and later, off by default)
    idle_locks: frozenset[Vmid] = frozenset()  # guests whose lock `migrate` no task has held for IDLE_LOCK_SECONDS

    def guests_on(self, node: NodeName) -> tuple[Guest, ...]:
        """Guests whose config is on `node`, by VMID."""
        return tuple(guest for _, guest in sorted(self.guests.items()) if guest.node == node)


@dataclass(frozen=True, slots=True)
class LocalDisk:
    """A volume that is not on shared storage, as PVE's migration preconditions list it."""

    volume: str
    size_bytes: int | None
    cdrom: bool
    cloudinit: bool
    attached: bool
    in_snapshot: bool = False


@dataclass(frozen=True, slots=True)
class Preconditions:
    """PVE's own verdict: `GET /nodes/{node}/{qemu|lxc}/{vmid}/migrate` (qemu-server: PVE/API2/Qemu.pm).

    It knows nothing of offline nodes, memory, CPU, bridges, free space or maintenance: those are Drover's to check.
    `objections` has an entry only for nodes with a finding; storages that a node lacks are apart, because they can be mapped.
    `None` as the whole object: this PVE has no such call (LXC on 8.x).
    """

    running: bool
    objections: Mapping[NodeName, tuple[str, ...]]
    local_disks: tuple[LocalDisk, ...] = ()
    local_resources: tuple[str, ...] = ()  # blockers, without those that are mapped
    unmovable_mapped: tuple[str, ...] = ()  # mapped devices that can't move while the guest runs
    conntrack: bool = False  # the source can carry connection tracking state
    missing_storages: Mapping[NodeName, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Fresh:
    """What is read again right before a move is posted. `guest` is None when the source node no longer has it."""

    at: float
    quorate: bool
    guest: Guest | None
    source: Node | None
    target: Node | None
    preconditions: Preconditions | None
    config: GuestConfig | None
    jobs: tuple[ReplicationJob, ...] = ()
    storages: tuple[Storage, ...] | None = None  # of the target, by its own word
    facts: Facts = field(default_factory=Facts)  # not read when the guest is not there
