"""What only the second look reads: facts about one move that nobody needs at every tick.

Read by `observe.facts`; used by `decide.preflight`. `None` means that a fact was not read; `Facts.unread` says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from controller.model.ids import NodeName


class Topic(StrEnum):
    """What can be read, or fail to be read, by itself."""

    CPU = "the processors of both nodes"
    CPU_FLAGS = "which node supports which CPU flag"
    CPU_MODELS = "the CPU models that an administrator has defined"
    MACHINES = "the machine versions of the target"
    CONNTRACK = "whether the target takes connection tracking"
    NETWORKS = "the bridges and VNets of the nodes"
    STORAGES = "the storages of the target"
    HA = "the HA rules of the guest"
    REPLICATION = "the state of its replication jobs"
    RIGHTS = "what the token may do with the guest"
    STORAGE_RIGHTS = "what the token may do with the storages that disks are mapped to"
    PENDING = "its pending changes"


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a fact is not known. supported: False = this PVE does not have the call."""

    supported: bool
    message: str


@dataclass(frozen=True, slots=True)
class Nic:
    """One network device. bridge: "" for one that is behind QEMU's own NAT."""

    key: str
    bridge: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What a guest's config in force says beyond disks; for a running VM these are the values it was started with."""

    cpu: str = ""  # type of the CPU: host, x86-64-v2-AES, custom-x, ...; "" = PVE's default
    cpu_flags: frozenset[str] = frozenset()  # that are asked for on top, as PVE writes them
    most_cpus: int | None = None  # sockets x cores: what QEMU is started for
    nics: tuple[Nic, ...] = ()
    pins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # affinity, hugepages, numa0, args
    snapshots: bool = False  # whether there are any
    host_mounts: tuple[str, ...] = ()  # of a container: directories and devices of the node that are not called shared


@dataclass(frozen=True, slots=True)
class CpuModel:
    """A CPU model that an administrator has defined: one of QEMU's, and flags that are asked for on top."""

    model: str
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HaRule:
    """A rule of PVE HA; a group of PVE 8 says the same as one for nodes. Nodes with their priority, the highest is preferred."""

    name: str
    nodes: Mapping[NodeName, int] = field(default_factory=lambda: MappingProxyType({}))  # of a node affinity
    strict: bool = False
    resources: tuple[str, ...] = ()  # of a node affinity: those that it binds
    together: tuple[str, ...] = ()  # of a positive resource affinity: all of its resources, such as vm:101
    apart: tuple[str, ...] = ()  # of a negative one
    comment: str = ""
    off: str = ""  # why HA does not follow it, the end of a sentence; "": it is in force


@dataclass(frozen=True, slots=True)
class HaFacts:
    """How PVE HA looks after one guest. failback: it goes back to a node of higher priority whenever it can."""

    failback: bool
    rules: tuple[HaRule, ...] = ()


@dataclass(frozen=True, slots=True)
class JobState:
    """How a replication job stands on the guest's node. last_sync: epoch seconds by that node's clock, 0 = never."""

    id: str
    target: NodeName
    failures: int
    error: str
    running: bool
    last_sync: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything beyond the guest, its nodes and PVE's verdict. Which of these are read depends on what the guest needs."""

    setup: Setup | None = None
    cpu_flags: Mapping[str, frozenset[NodeName]] | None = None  # QEMU's name of a flag -> nodes whose KVM can do it
    custom_models: Mapping[str, CpuModel] | None = None  # `custom-x` -> what it is made of
    machines: frozenset[str] | None = None  # of the target
    conntrack: bool | None = None  # the target can take connection tracking; not read when the source can't give it
    networks: Mapping[NodeName, frozenset[str]] | None = None  # bridges and VNets by node
    ha: HaFacts | None = None
    job_states: tuple[JobState, ...] | None = None
    rights: frozenset[str] | None = None  # privileges on the guest
    storage_rights: Mapping[str, frozenset[str]] | None = None  # privileges on storages that disks may be mapped to
    pending: Mapping[str, str] | None = None  # key -> the value after the next cold start, "" = gone
    unread: Mapping[Topic, Unread] = field(default_factory=lambda: MappingProxyType({}))
