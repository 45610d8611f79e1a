"""Storages of the simulated cluster: configuration, what lies on them, and whether they are reachable.

Used by guests' disks, by migrations and by the storage calls.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from controller.simulator.seed import StorageFile

COPYABLE = ("dir", "btrfs", "zfspool", "lvmthin", "lvm")
"""Local storage types whose volumes a migration can copy (qemu-server: PVE/QemuMigrate.pm scan_local_volumes)."""
FILES = ("dir", "nfs", "cifs", "cephfs", "btrfs")


@dataclass(slots=True)
class Volume:
    """One volume. `used` is what has been written to it, in bytes."""

    volid: str
    size: int
    used: int
    vmid: int | None
    format: str = "raw"
    ctime: int = 0


@dataclass(slots=True)
class Storage:
    """One entry of storage.cfg and its contents. `volumes` is keyed by node, or by "" when shared; `inactive` says since when."""

    name: str
    type: str
    content: tuple[str, ...]
    shared: bool
    nodes: tuple[str, ...]
    disable: bool
    size: int
    base_used: int
    config: dict[str, Any]
    inactive: dict[str, float] = field(default_factory=dict)
    created: float = float("-inf")
    volumes: dict[str, dict[str, Volume]] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, file: StorageFile) -> "Storage":
        """Build it from its entry in the cluster file."""
        return cls(
            name,
            file.type,
            file.content,
            file.is_shared,
            file.nodes,
            file.disable,
            file.size,
            file.used,
            dict(file.config),
        )

    def place(self, node: str) -> dict[str, Volume]:
        """Return the volumes that `node` sees."""
        return self.volumes.setdefault("" if self.shared else node, {})

    def enabled(self, node: str) -> bool:
        """Whether the configuration lets `node` use it."""
        return not self.disable and (not self.nodes or node in self.nodes)

    def active(self, node: str) -> bool:
        """Whether `node` can use it right now."""
        return self.enabled(node) and node not in self.inactive

    def used(self, node: str) -> int:
        """Bytes in use as `node` sees them."""
        return min(self.size, self.base_used + sum(volume.used for volume in self.place(node).values()))

    def volid(self, vmid: int, number: int, suffix: str = "") -> str:
        """Return the name PVE gives to disk `number` of a guest."""
        name = suffix or f"disk-{number}"
        if self.type in FILES:
            extension = ".qcow2" if suffix == "cloudinit" else ".raw"
            return f"{self.name}:{vmid}/vm-{vmid}-{name}{extension}"
        return f"{self.name}:vm-{vmid}-{name}"

    def free_volid(self, node: str, vmid: int, *, subvolume: bool = False) -> str:
        """Return the first disk name of a guest that is not taken on `node`; a container's on ZFS is a `subvolume`."""
        taken = self.place(node)
        number = 0
        while (volid := self._named(vmid, number, subvolume=subvolume)) in taken:
            number += 1
        return volid

    def _named(self, vmid: int, number: int, *, subvolume: bool) -> str:
        return f"{self.name}:subvol-{vmid}-disk-{number}" if subvolume else self.volid(vmid, number)

    def entry(self, digest: str) -> dict[str, Any]:
        """Return its row of `GET /storage`."""
        row: dict[str, Any] = {
            "storage": self.name,
            "type": self.type,
            "content": ",".join(self.content),
            "digest": digest,
            **_defaults(self.type, self.name),
            **self.config,
        }
        if self.shared:
            row["shared"] = 1
        if self.nodes:
            row["nodes"] = ",".join(self.nodes)
        if self.disable:
            row["disable"] = 1
        return row

    def status(self, node: str) -> dict[str, Any]:
        """Return its numbers on `node` (pve-storage: PVE/API2/Storage/Status.pm)."""
        enabled, active = self.enabled(node), self.active(node)
        row: dict[str, Any] = {
            "type": self.type,
            "content": ",".join(self.content),
            "shared": int(self.shared),
            "enabled": int(enabled),
            "active": int(active),
            "total": self.size if active else 0,
            "used": self.used(node) if active else 0,
        }
        row["avail"] = row["total"] - row["used"]
        return row


_DEFAULTS: dict[str, dict[str, Any]] = {
    "dir": {"path": "/mnt/{name}"},
    "zfspool": {"pool": "rpool/data", "sparse": 1},
    "rbd": {"pool": "{name}", "krbd": 0},
    "lvmthin": {"vgname": "pve", "thinpool": "data"},
    "lvm": {"vgname": "pve"},
    "nfs": {"path": "/mnt/pve/{name}", "server": "192.0.2.10", "export": "/{name}"},
    "cephfs": {"path": "/mnt/pve/{name}"},
}


def _defaults(kind: str, name: str) -> dict[str, Any]:
    if (kind, name) == ("dir", "local"):
        return {"path": "/var/lib/vz"}
    found = _DEFAULTS.get(kind, {})
    return {key: value.format(name=name) if isinstance(value, str) else value for key, value in found.items()}


def volume_path(storage: Storage, volid: str) -> str:
    """Return the file behind a volume of a directory."""
    path = str(storage.entry("").get("path", f"/mnt/pve/{storage.name}"))
    return f"{path}/images/{volid.partition(':')[2]}"


def formatting(path: str, size: int, *, cloudinit: bool) -> str:
    """Return what `qemu-img create` says about a new file."""
    if cloudinit:
        kind = "fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=metadata compression_type=zlib"
        return f"Formatting '{path}', {kind} size={size} lazy_refcounts=off refcount_bits=16"
    return f"Formatting '{path}', fmt=raw size={size} preallocation=off"


def content_type(volid: str) -> str:
    """Return `iso` for CD images, `images` for disks."""
    return "iso" if volid.partition(":")[2].startswith("iso/") else "images"


def storage_of(volid: str) -> str:
    """Return the storage part of a volume id; "" for `none`, `cdrom` and paths."""
    name, colon, _ = volid.partition(":")
    return name if colon and not name.startswith("/") else ""


def storages_of(volids: Iterable[str]) -> list[str]:
    """Return the distinct storages behind `volids`, in order of appearance."""
    return list(dict.fromkeys(name for volid in volids if (name := storage_of(volid))))
