"""From PVE's JSON to one guest: its state right now, its own config, PVE's verdict about moving it.

Used by `pve.client` alone (qemu-server: PVE/QemuServer.pm, PVE/API2/Qemu.pm; pve-container: PVE/LXC/Config.pm, PVE/API2/LXC.pm).
"""

import hashlib
import re
from types import MappingProxyType
from typing import Final

from controller.model.ids import GuestIdentity, GuestKind, NodeName, Vmid
from controller.model.observed import Disk, Guest, GuestConfig, LocalDisk, Preconditions
from controller.pve.decode import version
from controller.pve.transport import Json
from controller.pve.values import Row, amount, flag, part, power, record, text, texts, words

_DISK_KEY: Final = {
    GuestKind.QEMU: re.compile(r"(?:ide|sata|scsi|virtio|unused)\d+|efidisk0|tpmstate0"),
    GuestKind.LXC: re.compile(r"rootfs|(?:mp|unused)\d+"),
}
_NET_KEY: Final = re.compile(r"net(\d+)")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)")
_UNITS: Final = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def guest_status(answer: Json, node: NodeName, kind: GuestKind, vmid: Vmid) -> Guest:
    """/nodes/{node}/{kind}/{vmid}/status/current; `qmpstatus` tells a paused VM, whose `status` is running."""
    row = record(answer)
    ha = part(row, "ha")
    running = row.get("status") == "running"
    return Guest(
        identity=GuestIdentity(vmid, kind),
        name=text(row.get("name")),
        node=node,
        power=power(row.get("qmpstatus", "running") if running else row.get("status")),
        template=flag(row.get("template")),
        memory_bytes=amount(row.get("maxmem")) or None,
        memory_used_bytes=amount(row.get("mem")),
        cpus=amount(row.get("cpus")),
        disk_bytes=amount(row.get("maxdisk")),
        lock=text(row.get("lock")),
        tags=words(row.get("tags")),
        ha_state=(text(ha.get("state")) or "started") if flag(ha.get("managed")) else "",
        machine=text(row.get("running-machine")),
        qemu=version(text(row.get("running-qemu"))),
    )


def guest_config(answer: Json, kind: GuestKind, vmid: Vmid, *, read_at: float) -> GuestConfig:
    """/nodes/{node}/{kind}/{vmid}/config. read_at: epoch seconds, our clock."""
    row = record(answer)
    return GuestConfig(
        identity=GuestIdentity(vmid, kind, _born(row, kind)),
        digest=text(row.get("digest")),
        vcpus=_vcpus(row, kind),
        disks=tuple(_disk(key, text(row[key])) for key in sorted(row) if _DISK_KEY[kind].fullmatch(key)),
        read_at=read_at,
    )


def properties(value: Json) -> dict[str, str]:
    """A property string: `virtio=BC:24:11:00:00:01,bridge=vmbr0`; a part without a key comes under ""."""
    parts = (part.partition("=") for part in text(value).split(","))
    return {key if equals else "": rest if equals else key for key, equals, rest in parts}


def _born(row: Row, kind: GuestKind) -> str:
    """`ctime:<epoch>` for VMs since 7.1; older ones and containers by a print of what neither moving nor editing changes."""
    if kind is GuestKind.QEMU:
        ctime = properties(row.get("meta")).get("ctime", "")
        if ctime:
            return f"ctime:{ctime}"
        uuid = properties(row.get("smbios1")).get("uuid", "")
        return _print(uuid) if uuid else ""
    nets = sorted((int(found[1]), key) for key in row if (found := _NET_KEY.fullmatch(key)) and len(found[1]) < 5)
    address = properties(row.get(nets[0][1])).get("hwaddr", "") if nets else ""
    return _print(text(row.get("arch")), text(row.get("ostype")), text(row.get("unprivileged")), address.upper())


def _print(*lasting: str) -> str:
    return "print:" + hashlib.sha256("|".join(lasting).encode(errors="replace")).hexdigest()[:16]


def _vcpus(row: Row, kind: GuestKind) -> int | None:
    if kind is GuestKind.LXC:
        return amount(row.get("cores")) or None  # absent: all of the host's
    if (hotplugged := amount(row.get("vcpus"))) is not None:
        return hotplugged
    return (amount(row.get("sockets")) or 1) * (amount(row.get("cores")) or 1)


def _disk(key: str, value: str) -> Disk:
    """`local-zfs:vm-100-disk-0,size=32G,replicate=0`; of a drive the first part may also be written `file=...`."""
    parts = properties(value)
    volume = parts.get("") or parts.get("file") or parts.get("volume", "")
    storage, colon, name = volume.partition(":")
    return Disk(
        key=key,
        volume=volume,
        storage=storage if colon and not volume.startswith("/") else "",
        size_bytes=_size(parts.get("size", "")),
        cdrom=parts.get("media") == "cdrom" and "-cloudinit" not in name,
        replicate=parts.get("replicate", "1") != "0",
    )


def _size(value: str) -> int | None:
    found = _SIZE.fullmatch(value)
    return int(float(found[1]) * _UNITS[found[2]]) if found and len(found[1]) < 20 else None


def preconditions(answer: Json) -> Preconditions:
    """GET .../migrate; VMs answer with underscores, containers with dashes, and with less (pve-container: PVE/API2/LXC.pm)."""
    row = {key.replace("_", "-"): value for key, value in record(answer).items()}
    refused = part(row, "not-allowed-nodes")
    details = part(row, "mapped-resource-info")  # from 8.4; before, mapped devices were only named
    mapped = {*texts(row.get("mapped-resources")), *details}
    disks = row.get("local-disks")
    found = {NodeName(node): _objections(part(refused, node)) for node in refused}
    missing = {NodeName(node): _missing_storages(part(refused, node)) for node in refused}
    return Preconditions(
        running=flag(row.get("running")),
        objections=MappingProxyType({node: said for node, said in found.items() if said}),
        missing_storages=MappingProxyType({node: names for node, names in missing.items() if names}),
        local_disks=tuple(_local_disk(disk) for disk in disks if isinstance(disk, dict))
        if isinstance(disks, list)
        else (),
        local_resources=tuple(name for name in texts(row.get("local-resources")) if name not in mapped),
        unmovable_mapped=tuple(sorted(key for key in mapped if not flag(part(details, key).get("live-migration")))),
        conntrack=flag(row.get("has-dbus-vmstate")),
    )


def _objections(found: Row) -> tuple[str, ...]:
    """An allowed node may be listed with an empty object, so only content counts."""
    row = {key.replace("_", "-"): value for key, value in found.items()}
    said = [f"the mapping of {name} has no device there" for name in texts(row.get("unavailable-resources"))]
    blocking = row.get("blocking-ha-resources")
    items = [item for item in blocking if isinstance(item, dict)] if isinstance(blocking, list) else []
    said += [f"PVE HA: {text(item.get('cause'))} of {text(item.get('sid'))}" for item in items]
    known = {"unavailable-storages", "unavailable-resources", "blocking-ha-resources"}
    said += [f"{key}: {value}" for key, value in row.items() if key not in known and value]
    return tuple(said)


def _missing_storages(found: Row) -> tuple[str, ...]:
    return texts(found.get("unavailable_storages") or found.get("unavailable-storages"))


def _local_disk(row: Row) -> LocalDisk:
    return LocalDisk(
        volume=text(row.get("volid")),
        size_bytes=amount(row.get("size")),
        cdrom=flag(row.get("cdrom")),
        cloudinit=flag(row.get("is_cloudinit")),
        attached=flag(row.get("is_attached")),
        in_snapshot=bool(part(row, "referenced_in_snapshot")),
    )
