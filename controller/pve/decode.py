"""From PVE's JSON to Drover's nouns, row by row: absent is None, a word we do not know is UNKNOWN, a senseless row is skipped.

Used by `pve.client` alone. What belongs to one guest (state, config, preconditions) is read by `pve.decode_guest`.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from controller.model.ids import GuestIdentity, GuestKind, NodeName
from controller.model.observed import Cpu, Guest, HaNodeState, Node, NodeState, ReplicationJob, Storage, Task
from controller.pve.transport import Json
from controller.pve.upid import UpidError, parse
from controller.pve.values import (
    DecodeError,
    Row,
    amount,
    flag,
    known,
    node_name,
    part,
    power,
    real,
    record,
    rows,
    text,
    vmid,
    words,
)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """/cluster/status: what the answering node knows of the membership. name: "" on a node without cluster."""

    name: str
    quorate: bool
    online: Mapping[NodeName, bool]
    local: NodeName | None


@dataclass(frozen=True, slots=True)
class Resources:
    """/cluster/resources. skipped: rows that made no sense."""

    guests: tuple[Guest, ...] = ()
    nodes: tuple[Node, ...] = ()
    storages: tuple[Storage, ...] = ()
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class HaStatus:
    """What PVE HA knows of the nodes. services: how many guests it manages; with none its manager idles and its words go stale."""

    nodes: Mapping[NodeName, HaNodeState] = field(default_factory=lambda: MappingProxyType({}))
    maintenance: frozenset[NodeName] = frozenset()  # requested, in effect, or on the way
    services: int = 0


@dataclass(frozen=True, slots=True)
class NodeTime:
    """A node's clock: epoch seconds, and the zone its schedules mean."""

    epoch: int
    zone: str


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Datacenter settings that concern migrations (pve-cluster: PVE/DataCenterConfig.pm)."""

    migration_insecure: bool
    migration_network: str  # CIDR, "" = the nodes' own addresses
    ha_balances: bool  # PVE moves HA guests by itself
    max_workers: int | None


# --- cluster --------------------------------------------------------------------------------------------------------


def cluster_status(answer: Json) -> ClusterStatus:
    """A node without cluster has no cluster row and is quorate by itself (pve-manager: PVE/API2/Cluster.pm)."""
    name, quorate, online, local = "", True, dict[NodeName, bool](), None
    for row in rows(answer):
        if row.get("type") == "cluster":
            name, quorate = text(row.get("name")), flag(row.get("quorate"))
        elif row.get("type") == "node" and (node := node_name(row.get("name"))) is not None:
            online[node] = flag(row.get("online"))
            local = node if flag(row.get("local")) else local
    return ClusterStatus(name, quorate, MappingProxyType(online), local)


def resources(answer: Json) -> Resources:
    """All rows of the types Drover knows; others (pools, sdn, network) are none of its business."""
    found: dict[str, list[Guest | Node | Storage | None]] = {"guest": [], "node": [], "storage": []}
    skipped = 0
    for row in rows(answer):
        kind = text(row.get("type"))
        if kind not in _RESOURCES:
            continue
        group, decode = _RESOURCES[kind]
        noun = decode(row)
        if noun is None:
            skipped += 1
        else:
            found[group].append(noun)
    return Resources(
        guests=tuple(item for item in found["guest"] if isinstance(item, Guest)),
        nodes=tuple(item for item in found["node"] if isinstance(item, Node)),
        storages=tuple(item for item in found["storage"] if isinstance(item, Storage)),
        skipped=skipped,
    )


def guest_row(row: Row) -> Guest | None:
    """A guest's row of /cluster/resources. With status `unknown` only id, node, lock, tags, pool and hastate are there."""
    number, node = vmid(row.get("vmid")), node_name(row.get("node"))
    if number is None or node is None:
        return None
    return Guest(
        identity=GuestIdentity(number, GuestKind(text(row.get("type")))),
        name=text(row.get("name")),
        node=node,
        power=power(row.get("status")),
        template=flag(row.get("template")),
        memory_bytes=amount(row.get("maxmem")) or None,
        memory_used_bytes=amount(row.get("mem")),
        cpus=amount(row.get("maxcpu")),
        disk_bytes=amount(row.get("maxdisk")),
        lock=text(row.get("lock")),
        tags=words(row.get("tags")),
        pool=sys.intern(text(row.get("pool"))),
        ha_state=sys.intern(text(row.get("hastate"))),
    )


def _ha_word(value: Json) -> HaNodeState:
    word = text(value)
    if not word:
        return HaNodeState.NONE
    return HaNodeState(word) if word in _HA_WORDS else HaNodeState.UNKNOWN


_HA_WORDS: Final = frozenset(state.value for state in HaNodeState) - {HaNodeState.NONE.value}


def node_row(row: Row) -> Node | None:
    """A node's row of /cluster/resources; the numbers are missing without Sys.Audit, and some while the node is offline."""
    name, status = node_name(row.get("node")), row.get("status")
    if name is None:
        return None
    return Node(
        name=name,
        state=NodeState(status) if status in ("online", "offline") else NodeState.UNKNOWN,
        ha=_ha_word(row.get("hastate")),
        memory_bytes=amount(row.get("maxmem")) or None,
        memory_used_bytes=amount(row.get("mem")),
        cpus=amount(row.get("maxcpu")) or None,
        cpu_fraction=real(row.get("cpu")),
        uptime_seconds=amount(row.get("uptime")),
    )


def node_status(answer: Json, name: NodeName) -> Node:
    """/nodes/{node}/status: what the node itself says right now; that it answers makes it online."""
    row = record(answer)
    memory = part(row, "memory")
    return Node(
        name=name,
        state=NodeState.ONLINE,
        memory_bytes=amount(memory.get("total")) or None,
        memory_used_bytes=amount(memory.get("used")),
        cpus=amount(part(row, "cpuinfo").get("cpus")) or None,
        cpu_fraction=real(row.get("cpu")),
        uptime_seconds=amount(row.get("uptime")),
        version=version(text(row.get("pveversion")).partition("/")[2].partition("/")[0]),
        cpu=_cpu(part(row, "cpuinfo"), text(part(row, "current-kernel").get("machine"))),
    )


def _cpu(row: Row, architecture: str) -> Cpu | None:
    model, flags = text(row.get("model")), words(row.get("flags"))
    if not model or not flags:
        return None
    sockets = amount(row.get("sockets")) or 1
    return Cpu(model, text(row.get("vendor")), text(row.get("family")), flags, sockets, architecture)


def _storage_row(row: Row) -> Storage | None:
    name, node = text(row.get("storage")), node_name(row.get("node"))
    if not name or node is None:
        return None
    return Storage(
        name=sys.intern(name),
        node=node,
        available=row.get("status") == "available",
        shared=flag(row.get("shared")),
        content=words(row.get("content")),
        total_bytes=amount(row.get("maxdisk")),
        used_bytes=amount(row.get("disk")),
        type=sys.intern(text(row.get("plugintype"))),
    )


_RESOURCES: Final[dict[str, tuple[str, Callable[[Row], Guest | Node | Storage | None]]]] = {
    "qemu": ("guest", guest_row),
    "lxc": ("guest", guest_row),
    "node": ("node", node_row),
    "storage": ("storage", _storage_row),
}


def version(value: str) -> tuple[int, ...]:
    """`9.0.0~16` → (9, 0, 0); () when there is none."""
    found = re.match(r"\d{1,6}(?:\.\d{1,6})*", value)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def ha_status(answer: Json) -> HaStatus:
    """/cluster/ha/status/manager_status.

    Maintenance shows in three places one after the other: the request, the mode of the node's LRM, the state of the node
    (pve-ha-manager: PVE/HA/Manager.pm). The key of a request stays, empty, when maintenance has ended.
    """
    top = record(answer)
    manager, lrms = part(top, "manager_status"), part(top, "lrm_status")
    states = part(manager, "node_status")
    requests = part(manager, "node_request")
    maintenance = {node for node, word in states.items() if word == "maintenance"}
    maintenance |= {node for node in requests if flag(part(requests, node).get("maintenance"))}
    maintenance |= {node for node in lrms if part(lrms, node).get("mode") == "maintenance"}
    return HaStatus(
        nodes=MappingProxyType({NodeName(node): _ha_word(word) for node, word in states.items()}),
        maintenance=frozenset(NodeName(node) for node in maintenance),
        services=len(part(manager, "service_status")),
    )


def replication_jobs(answer: Json) -> tuple[ReplicationJob, ...]:
    """/cluster/replication; jobs that are being removed are listed too."""
    return known(_replication_row(row) for row in rows(answer))


def replication_job(answer: Json) -> tuple[ReplicationJob, str]:
    """/cluster/replication/{id}, and the digest of the file with all jobs, which only this call tells."""
    row = record(answer)
    job = _replication_row(row)
    if job is None:
        raise DecodeError("a replication job without guest, target or id")
    return job, text(row.get("digest"))


def _replication_row(row: Row) -> ReplicationJob | None:
    number, target, name = vmid(row.get("guest")), node_name(row.get("target")), text(row.get("id"))
    if number is None or target is None or not name:
        return None
    return ReplicationJob(
        id=name,
        vmid=number,
        target=target,
        source=node_name(row.get("source")),
        schedule=text(row.get("schedule")) or "*/15",
        disabled=flag(row.get("disable")),
        removing=bool(row.get("remove_job")),
        comment=text(row.get("comment")),
        rate_mb_s=real(row.get("rate")),
    )


def options(answer: Json) -> ClusterOptions:
    """/cluster/options."""
    row = record(answer)
    migration, crs = part(row, "migration"), part(row, "crs")
    return ClusterOptions(
        migration_insecure=migration.get("type") == "insecure",
        migration_network=text(migration.get("network")),
        ha_balances=flag(crs.get("ha-auto-rebalance")),
        max_workers=amount(row.get("max_workers")),
    )


def permissions(answer: Json) -> Mapping[str, Mapping[str, bool]]:
    """/access/permissions: path -> privilege -> whether it holds below the path as well."""
    found = record(answer)
    return {path: {name: flag(value) for name, value in part(found, path).items()} for path in found}


# --- tasks ----------------------------------------------------------------------------------------------------------


def tasks(answer: Json) -> tuple[Task, ...]:
    """Rows of /cluster/tasks and /nodes/{node}/tasks: a running one has no status, or in the latter RUNNING."""
    return known(_task_row(row) for row in rows(answer))


def _task_row(row: Row) -> Task | None:
    status = text(row.get("status"))
    running = status in ("", "RUNNING") and amount(row.get("endtime")) is None
    return _task(row, running=running, exit_status="" if running else status)


def task_status(answer: Json) -> Task:
    """/nodes/{node}/tasks/{upid}/status. Raises DecodeError."""
    row = record(answer)
    running = row.get("status") == "running"
    task = _task(row, running=running, exit_status="" if running else text(row.get("exitstatus")))
    if task is None:
        raise DecodeError("a task without an id of Proxmox VE")
    return task


def _task(row: Row, *, running: bool, exit_status: str) -> Task | None:
    """The id is the authority: lists split the user from the token, and not all of them do."""
    try:
        parts = parse(text(row.get("upid")))
    except UpidError:
        return None
    return Task(
        upid=parts.upid,
        node=parts.node,
        type=sys.intern(parts.type),
        target_id=parts.target_id,
        user=sys.intern(parts.user),
        start=parts.start,
        running=running,
        exit_status=exit_status,
    )
