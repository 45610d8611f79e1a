"""Guests: a configuration in PVE's vocabulary, a process that runs or not, and how fast it writes.

Used by the world, by migrations and by every call about guests.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from controller.simulator.nodes import Node
from controller.simulator.seed import GuestFile
from controller.simulator.units import MIB, config_size, parse_size

DRIVE_KEY = re.compile(r"(?:ide[0-3]|sata[0-5]|scsi\d+|virtio\d+|efidisk0|tpmstate0)")
VOLUME_KEY = re.compile(r"(?:rootfs|mp\d+)")
UNUSED_KEY = re.compile(r"unused\d+")
_LOCAL_DEVICE = re.compile(r"(?:usb|hostpci|serial|parallel|virtiofs)\d+")
_VGA = 16 * MIB


@dataclass(frozen=True, slots=True)
class Drive:
    """One disk or CD entry of a configuration: its key, what it points to, and its options."""

    key: str
    volid: str
    options: dict[str, str]

    @property
    def cdrom(self) -> bool:
        """A CD drive, cloud-init included."""
        return self.options.get("media") == "cdrom"

    @property
    def cloudinit(self) -> bool:
        """The generated cloud-init drive."""
        return "cloudinit" in self.volid

    @property
    def replicate(self) -> bool:
        """Not excluded from replication."""
        return self.options.get("replicate", "1") != "0"

    @property
    def size(self) -> int | None:
        """Bytes, when the entry says so."""
        text = self.options.get("size")
        return parse_size(text) if text else None


def parse_drive(key: str, text: str) -> Drive:
    """Read `local:103/vm-103-disk-0.raw,size=1G`."""
    first, *rest = text.split(",")
    options = dict(part.partition("=")[::2] for part in rest)
    volid = first.partition("=")[2] if first.startswith(("file=", "volume=")) else first
    return Drive(key, volid, options)


@dataclass(slots=True, eq=False)
class Guest:
    """One VM or container. `run` is QEMU's run state (`running`, `paused`, …) or `stopped`; rates are bytes per second.

    `static` keeps what broadcasts say and only a new configuration changes. `shadow` holds the last broadcast numbers once the
    state changed after them; see `simulator.statistics`.
    """

    vmid: int
    type: str
    node: str
    config: dict[str, Any]
    run: str
    started_at: float
    load: float
    touched: float
    dirty: float
    working: float
    written: float
    stops_in: float | None
    agent: bool = False
    outgoing: Any = None  # `precopy.Precopy`, while its memory is being sent
    measured: float | None = None  # bytes per second, once `calc_dirty_rate` was asked for
    pool: str | None = None
    pending: dict[str, Any] = field(default_factory=dict)
    deletes: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, dict[str, Any]] = field(default_factory=dict)
    pid: int = 0
    busy: bool = False
    replicating: bool = False
    machine: str = ""
    qemu: str = ""
    created: float = float("-inf")
    changed: float = float("-inf")
    shadow: dict[str, Any] | None = None
    static: dict[str, Any] | None = None

    @property
    def lock(self) -> str | None:
        """The configuration's `lock`, such as `migrate` or `backup`."""
        return self.config.get("lock")

    @property
    def running(self) -> bool:
        """Whether there is a process, paused ones included."""
        return self.run != "stopped"

    @property
    def template(self) -> bool:
        """Whether it is a template."""
        return bool(self.config.get("template"))

    @property
    def name(self) -> str:
        """Its name as lists show it."""
        if self.type == "lxc":
            return str(self.config.get("hostname", f"CT{self.vmid}"))
        return str(self.config.get("name", f"VM {self.vmid}"))

    @property
    def memory(self) -> int:
        """Configured memory in bytes."""
        text = str(self.config.get("memory", 512)).removeprefix("current=").partition(",")[0]
        return int(text) * MIB

    @property
    def vcpus(self) -> int:
        """Configured CPUs; 0 for a container without a limit."""
        if self.type == "lxc":
            return int(self.config.get("cores", 0))
        return int(self.config.get("vcpus", 0)) or int(self.config.get("cores", 1)) * int(self.config.get("sockets", 1))

    @property
    def ram(self) -> int:
        """What a live migration counts as the machine's state: memory and video memory."""
        return self.memory + MIB // 2 + (0 if self.config.get("vga") == "none" else _VGA)

    @property
    def rss(self) -> int:
        """Bytes of the host's memory that it holds while running."""
        return int(self.memory * self.touched) if self.running else 0

    @property
    def conf(self) -> str:
        """The path of its configuration below /etc/pve."""
        return f"nodes/{self.node}/{self.folder}/{self.vmid}.conf"

    @property
    def folder(self) -> str:
        """The directory of its kind below a node's."""
        return "lxc" if self.type == "lxc" else "qemu-server"

    @property
    def digest(self) -> str:
        """SHA1 over the configuration, pending changes and snapshots included."""
        return _digest(self.config, self.pending, self.deletes, self.snapshots)

    def drives(self, config: dict[str, Any] | None = None) -> Iterator[Drive]:
        """Yield the attached drives (mount points of a container), `none` included."""
        pattern = VOLUME_KEY if self.type == "lxc" else DRIVE_KEY
        for key, value in (self.config if config is None else config).items():
            if pattern.fullmatch(key):
                yield parse_drive(key, str(value))

    def unused(self) -> Iterator[Drive]:
        """Yield the detached volumes that still belong to it."""
        for key, value in self.config.items():
            if UNUSED_KEY.fullmatch(key):
                yield parse_drive(key, str(value))

    def maxdisk(self) -> int:
        """Return the size of the boot disk (root file system of a container) in bytes."""
        for drive in self.drives():
            if not drive.cdrom and drive.key not in ("efidisk0", "tpmstate0"):
                return drive.size or 0
        return 0

    def local_devices(self) -> list[str]:
        """Return the keys of host devices, mapped ones included (qemu-server: PVE/QemuServer.pm check_local_resources)."""
        found: list[str] = [key for key in ("hostusb", "hostpci", "ivshmem") if key in self.config]
        for key, value in self.config.items():
            if not _LOCAL_DEVICE.fullmatch(key):
                continue
            text = str(value)
            if (key.startswith("usb") and text.startswith("spice")) or (key.startswith("serial") and text == "socket"):
                continue
            found.append(key)
        return found

    def mapped_devices(self) -> dict[str, str]:
        """Return key to mapping name for devices that name a cluster-wide mapping."""
        found = {}
        for key, value in self.config.items():
            if _LOCAL_DEVICE.fullmatch(key):
                parts = dict(part.partition("=")[::2] for part in str(value).split(","))
                if "mapping" in parts:
                    found[key] = parts["mapping"]
                elif key.startswith("virtiofs"):
                    found[key] = parts.get("dirid", str(value).partition(",")[0])
        return found


def _digest(*parts: object) -> str:
    return hashlib.sha1(repr(parts).encode(), usedforsecurity=False).hexdigest()


def build_config(vmid: int, file: GuestFile, volids: dict[str, str], start: float) -> dict[str, Any]:
    """Return the configuration file of a guest in the cluster file; `volids` names the volume of each disk key."""
    config = _container(vmid, file) if file.type == "lxc" else _machine(vmid, file, start)
    for key, disk in file.disks.items():
        options = f",{disk.options}" if disk.options else ""
        size = "" if UNUSED_KEY.fullmatch(key) else f",size={config_size(disk.size)}"
        config[key] = f"{volids[key]}{options}{size}"
    if file.tags:
        config["tags"] = ";".join(sorted({tag.lower() for tag in file.tags}))
    if file.template:
        config["template"] = 1
    if file.lock is not None:
        config["lock"] = file.lock
    return config | file.config


def _container(vmid: int, file: GuestFile) -> dict[str, Any]:
    config: dict[str, Any] = {"hostname": file.name or f"CT{vmid}", "arch": "amd64", "ostype": "debian", "swap": 512}
    config |= {"memory": file.memory // MIB, "cores": file.cores}
    for key, text in ({"net0": "bridge=vmbr0,ip=dhcp"} if file.nets is None else file.nets).items():
        config[key] = f"name=eth{key.removeprefix('net')},{text},hwaddr={_mac(vmid)},type=veth"
    return config


def _machine(vmid: int, file: GuestFile, start: float) -> dict[str, Any]:
    created = file.ctime if file.ctime is not None else int(start) - 31_536_000 + vmid
    config: dict[str, Any] = {"cores": file.cores, "memory": str(file.memory // MIB), "ostype": "l26"}
    config |= {"scsihw": "virtio-scsi-single", "meta": f"creation-qemu=10.1.2,ctime={created}"}
    config |= {"smbios1": f"uuid={_uuid(vmid, 'smbios')}", "vmgenid": _uuid(vmid, "generation")}
    if file.name is not None:
        config["name"] = file.name
    if file.sockets != 1:
        config["sockets"] = file.sockets
    if file.cpu is not None:
        config["cpu"] = file.cpu
    if file.iso is not None:
        config["ide2"] = f"{file.iso},media=cdrom"
    for key, text in ({"net0": "virtio,bridge=vmbr0"} if file.nets is None else file.nets).items():
        model, _, rest = text.partition(",")
        config[key] = text if "=" in model else f"{model}={_mac(vmid)},{rest}"
    return config


def _mac(vmid: int) -> str:
    return ":".join(f"{byte:02X}" for byte in (0xBC, 0x24, 0x11, vmid >> 16 & 255, vmid >> 8 & 255, vmid & 255))


def _uuid(vmid: int, purpose: str) -> str:
    text = hashlib.sha256(f"{vmid} {purpose}".encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:32]}"


def guest_numbers(node: Node, guest: Guest, moment: float) -> dict[str, Any]:
    """Return what a node's pvestatd broadcasts about a guest at `moment` (pve-manager: PVE/Service/pvestatd.pm)."""
    host = node.file
    static = guest.static
    if static is None:
        static = guest.static = {
            "name": guest.name,
            "template": 1 if guest.template else 0,
            "maxcpu": min(guest.vcpus or host.cpus, host.cpus),
            "maxmem": guest.memory,
            "maxdisk": guest.maxdisk(),
            "disk": 0,
        }
    row = {"status": guest.run, **static}
    if guest.run == "stopped":
        row |= _STOPPED
        return row
    uptime = max(0, int(moment - guest.started_at))
    wobble = (((guest.vmid * 2_654_435_761 + int(moment) * 40_503) >> 7) & 0xFF) / 255
    used = int(row["maxmem"] * guest.touched)
    row["uptime"] = uptime
    row["cpu"] = guest.load * (0.8 + 0.4 * wobble) if guest.run == "running" else 0
    row["mem"] = used
    row["memhost"] = used
    if guest.type == "lxc":
        row["disk"] = row["maxdisk"] // 4
    row["netin"] = uptime * 12_000 + guest.vmid
    row["netout"] = uptime * 8_000 + guest.vmid
    row["diskread"] = uptime * 4_096
    row["diskwrite"] = int(uptime * guest.written)
    return row


_STOPPED = {
    "uptime": 0, "cpu": 0, "mem": 0, "memhost": 0, "netin": 0, "netout": 0, "diskread": 0, "diskwrite": 0,
}  # fmt: skip
