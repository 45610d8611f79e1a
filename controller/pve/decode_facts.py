"""From PVE's JSON to the facts of one move: hardware, HA rules, networks, replication jobs, pending changes.

Used by `pve.client` alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from controller.model.facts import CpuModel, HaRule, JobState, Nic, Setup
from controller.model.ids import GuestKind, NodeName
from controller.model.observed import Storage
from controller.model.replication import ReplicationState
from controller.pve.decode_guest import properties
from controller.pve.errors import failed_run
from controller.pve.transport import Json
from controller.pve.values import (
    DecodeError,
    Row,
    amount,
    flag,
    integer,
    known,
    node_name,
    real,
    record,
    rows,
    text,
    texts,
    vmid,
    words,
)

_BRIDGES: Final = frozenset({"bridge", "OVSBridge", "vnet"})
_PINS: Final = re.compile(r"affinity|hugepages|args|numa\d+")
_MOUNT: Final = re.compile(r"mp\d+|dev\d+")


@dataclass(frozen=True, slots=True)
class HaResource:
    """An entry of PVE HA. group: of PVE 8, "" when there is none. failback: since 9.0 the resource's, before the group's."""

    failback: bool
    group: str


def setup(answer: Json, kind: GuestKind) -> Setup:
    """A guest's config (qemu-server: PVE/QemuServer.pm; pve-container: PVE/LXC/Config.pm)."""
    row = record(answer)
    nics = tuple(
        Nic(key, properties(row[key]).get("bridge", "")) for key in sorted(row) if re.fullmatch(r"net\d+", key)
    )
    if kind is GuestKind.LXC:
        mounts = tuple(key for key in sorted(row) if _of_the_host(key, row))
        return Setup(nics=nics, snapshots="parent" in row, host_mounts=mounts)
    cpu = properties(row.get("cpu"))
    return Setup(
        cpu=cpu.get("") or cpu.get("cputype", ""),
        cpu_flags=_asked_for(cpu.get("flags", "")),
        most_cpus=(amount(row.get("sockets")) or 1) * (amount(row.get("cores")) or 1),
        nics=nics,
        snapshots="parent" in row,
        pins=MappingProxyType({key: text(row[key]) for key in sorted(row) if _PINS.fullmatch(key) and _pins(key, row)}),
    )


def _pins(key: str, row: Row) -> bool:
    """A virtual NUMA node binds to the host only when it names the host's nodes."""
    return not key.startswith("numa") or "hostnodes" in properties(row[key])


def _of_the_host(key: str, row: Row) -> bool:
    """A bind mount, a block device or a passed-through device; `shared=1` says that every node has the same."""
    if not _MOUNT.fullmatch(key):
        return False
    parts = properties(row[key])
    path = parts.get("") or parts.get("volume") or parts.get("path", "")
    return path.startswith("/") and parts.get("shared") != "1"


def machines(answer: Json) -> frozenset[str]:
    """/nodes/{node}/capabilities/qemu/machines."""
    return frozenset(name for row in rows(answer) if (name := text(row.get("id"))))


def networks(answer: Json) -> frozenset[str]:
    """/nodes/{node}/network?type=any_bridge: what a network device can be plugged into, VNets as well.

    `include_sdn` is newer than PVE 8 (pve-manager: PVE/API2/Network.pm).
    """
    return frozenset(text(row.get("iface")) for row in rows(answer) if text(row.get("type")) in _BRIDGES)


def storages(answer: Json, node: NodeName) -> tuple[Storage, ...]:
    """/nodes/{node}/storage; one that is not enabled there counts as absent (pve-storage: PVE/API2/Storage/Status.pm)."""
    return known(_storage(row, node) for row in rows(answer))


def _storage(row: Row, node: NodeName) -> Storage | None:
    name = text(row.get("storage"))
    if not name or not flag(row.get("enabled", 1)):
        return None
    active = flag(row.get("active"))
    return Storage(
        name=name,
        node=node,
        available=active,
        shared=flag(row.get("shared")),
        content=words(row.get("content")),
        total_bytes=amount(row.get("total")) if active else None,
        used_bytes=amount(row.get("used")) if active else None,
        type=text(row.get("type")),
    )


def cpu_flags(answer: Json) -> Mapping[str, frozenset[NodeName]]:
    """/cluster/qemu/cpu-flags and /nodes/{node}/capabilities/qemu/cpu-flags; a row without `supported-on` says nothing."""
    return MappingProxyType(
        {
            text(row.get("name")): frozenset(NodeName(node) for node in texts(row.get("supported-on")))
            for row in rows(answer)
            if "supported-on" in row
        }
    )


def cpu_models(answer: Json) -> Mapping[str, CpuModel]:
    """/cluster/qemu/custom-cpu-models, by the name that a guest's config has; without a model they are made of kvm64."""
    return MappingProxyType(
        {
            f"custom-{text(row.get('cputype')).removeprefix('custom-')}": CpuModel(
                text(row.get("reported-model")) or "kvm64", _asked_for(text(row.get("flags")))
            )
            for row in rows(answer)
            if row.get("cputype")
        }
    )


def _asked_for(flags: str) -> frozenset[str]:
    """`+aes;-pcid`: those that are to be there."""
    return frozenset(name.removeprefix("+") for name in flags.split(";") if name.startswith("+"))


def ha_resource(answer: Json) -> HaResource:
    """/cluster/ha/resources/{sid}; what is absent is the default (pve-ha-manager: PVE/HA/Resources.pm)."""
    return _ha_resource(record(answer))


def _ha_resource(row: Row) -> HaResource:
    return HaResource(failback=flag(row.get("failback", 1)), group=text(row.get("group")))


def ha_resources(answer: Json) -> Mapping[str, HaResource]:
    """/cluster/ha/resources, by its names for them (vm:101)."""
    return MappingProxyType({sid: _ha_resource(row) for row in rows(answer) if (sid := text(row.get("sid")))})


def ha_rules(answer: Json, sid: str | None = None) -> tuple[HaRule, ...]:
    """/cluster/ha/rules: those in force that bind `sid`, or all of them.

    HA ignores rules with errors (pve-ha-manager: PVE/HA/Rules.pm).
    """
    mine = (_ha_rule(row) for row in rows(answer) if sid is None or sid in words(row.get("resources")))
    return tuple(rule for rule in known(mine) if not rule.off)


def every_ha_rule(answer: Json) -> tuple[HaRule, ...]:
    """/cluster/ha/rules: those in force and those that are not."""
    return known(_ha_rule(row) for row in rows(answer))


def ha_rule(answer: Json) -> tuple[HaRule, str]:
    """/cluster/ha/rules/{rule}, and the digest of all rules. Raises DecodeError for a type that is not known."""
    row = record(answer)
    rule = _ha_rule(row)
    if rule is None:
        raise DecodeError(f"a rule of PVE HA of an unknown type: {text(row.get('type'))}")
    return rule, text(row.get("digest"))


def _ha_rule(row: Row) -> HaRule | None:
    rule = _bare_ha_rule(row)
    off = "it is switched off" if flag(row.get("disable")) else "PVE finds errors in it" if row.get("errors") else ""
    return rule and replace(rule, comment=text(row.get("comment")).rstrip("\n"), off=off)


def _bare_ha_rule(row: Row) -> HaRule | None:
    name, resources = text(row.get("rule")), tuple(sorted(words(row.get("resources"))))
    if row.get("type") == "node-affinity":
        return HaRule(name, nodes=_priorities(row.get("nodes")), strict=flag(row.get("strict")), resources=resources)
    if row.get("affinity") == "positive":
        return HaRule(name, together=resources)
    return HaRule(name, apart=resources) if row.get("affinity") == "negative" else None


def ha_group(answer: Json) -> tuple[HaRule, bool]:
    """/cluster/ha/groups/{group} as a rule, and its failback (pve-ha-manager: PVE/HA/Groups.pm)."""
    return _ha_group(record(answer))


def ha_groups(answer: Json) -> Mapping[str, tuple[HaRule, bool]]:
    """/cluster/ha/groups, by name."""
    return MappingProxyType({text(row.get("group")): _ha_group(row) for row in rows(answer)})


def _ha_group(row: Row) -> tuple[HaRule, bool]:
    rule = HaRule(text(row.get("group")), nodes=_priorities(row.get("nodes")), strict=flag(row.get("restricted")))
    return rule, not flag(row.get("nofailback"))


def _priorities(value: Json) -> Mapping[NodeName, int]:
    """`pve1:2,pve2`: without a number 0."""
    pairs = (word.partition(":") for word in words(value))
    return MappingProxyType({NodeName(node): integer(number) or 0 for node, _, number in pairs})


def job_states(answer: Json) -> tuple[JobState, ...]:
    """/nodes/{node}/replication; `pid` is there only while a job runs (pve-manager: PVE/API2/Replication.pm)."""
    return known(_job_state(row) for row in rows(answer))


def _job_state(row: Row) -> JobState | None:
    name, target = text(row.get("id")), node_name(row.get("target"))
    if not name or target is None:
        return None
    return JobState(
        id=name,
        target=target,
        failures=amount(row.get("fail_count")) or 0,
        error=text(row.get("error")),
        running=row.get("pid") is not None,
        last_sync=amount(row.get("last_sync")) or 0,
    )


def replication_states(answer: Json, node: NodeName, at: float) -> tuple[ReplicationState, ...]:
    """/nodes/{node}/replication as a whole. at: epoch seconds of our clock."""
    return known(_replication_state(row, node, at) for row in rows(answer))


def _replication_state(row: Row, node: NodeName, at: float) -> ReplicationState | None:
    name, target, guest = text(row.get("id")), node_name(row.get("target")), vmid(row.get("guest"))
    if not name or target is None or guest is None:
        return None
    error = text(row.get("error"))
    return ReplicationState(
        job_id=name,
        vmid=guest,
        node=node,
        target=target,
        at=at,
        last_sync=amount(row.get("last_sync")) or 0,
        last_try=amount(row.get("last_try")) or 0,
        next_sync=amount(row.get("next_sync")) or 0,
        duration_s=real(row.get("duration")),
        fail_count=amount(row.get("fail_count")) or 0,
        error=error,
        why=failed_run(error) if error else None,
        pid=amount(row.get("pid")),
    )


def pending(answer: Json) -> Mapping[str, str]:
    """/nodes/{node}/{kind}/{vmid}/pending: only what is going to change."""
    changes = {}
    for row in rows(answer):
        if row.get("delete"):
            changes[text(row.get("key"))] = ""
        elif "pending" in row:
            changes[text(row.get("key"))] = text(row.get("pending"))
    return MappingProxyType(changes)
