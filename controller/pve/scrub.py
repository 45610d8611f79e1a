"""Takes secrets and personal data out of PVE's answers, so that a recording may leave the house. Used by `pve.recorder`.

What is not known to be harmless is left out: an answer keeps the keys of `_KEPT` and nothing else. In the values that are
kept, addresses, users, MACs, UUIDs and tickets become pseudonyms, the same one for the same original, so relations hold.
Kept as they are: VMIDs, sizes, times, and the names of nodes, storages, pools, tags, bridges and HA rules, which rules refer to.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final

from controller.pve.transport import Json

_WORDS: Final = """
Lists of the cluster:
  type id level local name nodeid nodes online quorate version ip node status vmid cpu maxcpu mem maxmem disk maxdisk uptime
  template lock tags pool hastate netin netout diskread diskwrite memhost storage shared plugintype content cgroup-mode network
  network-type sid state group max_restart max_relocate failback request_state crm_state managed rule resources affinity strict
  disable order restricted nofailback guest jobnum target source schedule rate remove_job poolid members vgname thinpool sparse
  krbd preallocation is_mountpoint bwlimit enabled active total used avail used_fraction volid size format ctime map current
  live-migration-capable
The datacenter's options:
  crs ha migration replication max_workers next-id lower upper tag-style registered-tags allowed-tags user-tag-access insecure
  shutdown_policy user-allow user-allow-list restore move clone default ha-rebalance-on-start mode ha-auto-rebalance
  ha-auto-rebalance-threshold color-map ordering shape case-sensitive keyboard language
A node:
  release repoid pveversion kversion current-kernel sysname cpuinfo model vendor family mhz flags sockets cores cpus hvm user_hz
  memory available free swap rootfs ksm loadavg wait idle time localtime timezone iface bridge_ports bridge_vlan_aware autostart
  priority method method6 families
A guest's status, snapshots and configuration, numbered keys without their number:
  qmpstatus snaptime vmstate parent running acpi affinity agent arch audio balloon bios boot bootdisk cmode console cpulimit
  cpuunits efidisk features freeze hostname hostpci hotplug hugepages ide ipconfig ivshmem keephugepages kvm machine meta
  migrate_downtime migrate_speed mp net numa onboot ostype parallel protection rng rootfs sata scsi scsihw serial shares smbios
  spice_enhancements startdate startup tablet tdf tpmstate tty unprivileged unused usb vcpu vcpus vga virtio virtiofs vmgenid
  watchdog
"""
_KEPT: Final = frozenset(word for line in _WORDS.splitlines() if line.startswith(" ") for word in line.split())
"""Keys that stay; `description`, `comment`, `cipassword`, `sshkeys`, `args`, `server`, `fingerprint`, … are not among them."""
_PRIVATE_PROPERTIES: Final = ("serial", "wwn", "product", "vendor", "romfile", "hookscript", "password", "network")
"""Parts of a property string, such as a drive's `serial=`, that say whose hardware it is."""
_LEFT_OUT: Final[Mapping[str, frozenset[str]]] = {"/storage": frozenset(("target", "pool", "vgname", "thinpool"))}
"""Keys that are harmless elsewhere: a storage's say where it is, not what it can do."""

_MAC = re.compile(r"\b[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}\b")
_UUID = re.compile(r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_USER = re.compile(r"[^\s:/!=,;@]+@[A-Za-z0-9][\w.-]*(?:![\w.-]+)?(?:=\S+)?")
_TICKET = re.compile(r"PVE[A-Za-z]*:\S+?::\S+")
_DRIVE = re.compile(r"(?:ide|sata|scsi|virtio|efidisk|tpmstate|unused|rootfs|mp|volid)\d*")
_REGULAR_VOLUME = re.compile(
    r"(?:\d+/)?(?:base-\d+-disk-\d+(?:\.\w+)?/)?(?:\d+/)?(?:vm|base|subvol|basevol)-\d+-(?:disk-\d+|cloudinit)(?:\.\w+)?"
)


class Scrubber:
    """One recording's pseudonyms. keep_names: names of guests and of the cluster stay as they are."""

    def __init__(self, *, keep_names: bool = False) -> None:
        self._keep_names = keep_names
        self._known: dict[str, dict[str, int]] = {}

    def answer(self, path: str, data: Json) -> Json:
        """The answer to `path` without what is nobody's business."""
        left_out = _LEFT_OUT.get(path, frozenset())
        if isinstance(data, list):
            return [self._row(path, row, left_out) for row in data]
        return self._row(path, data, left_out)

    def _row(self, path: str, row: Json, left_out: frozenset[str]) -> Json:
        if isinstance(row, dict):
            row = {key: value for key, value in row.items() if key not in left_out}
            if row.get("type") == "cluster" and not self._keep_names:
                row["name"] = "recorded"
        return self._value(row, "", _namer(path, self._keep_names))

    def text(self, text: str) -> str:
        """Any text with tickets, users, MACs, UUIDs and addresses replaced."""
        text = _TICKET.sub("ticket", text)
        text = _USER.sub(lambda match: f"user-{self._number('user', match[0])}@pve", text)
        text = _MAC.sub(self._mac, text)
        text = _UUID.sub(lambda match: f"00000000-0000-4000-8000-{self._number('uuid', match[0].lower()):012x}", text)
        text = _IPV4.sub(self._ipv4, text)
        return _IPV6.sub(self._ipv6, text)

    def _value(self, value: Json, key: str, named: "_Namer") -> Json:
        if isinstance(value, dict):
            return {
                name: self._value(part, name, named)
                for name, part in value.items()
                if name in _KEPT or name.rstrip("0123456789") in _KEPT
            }
        if isinstance(value, list):
            return [self._value(part, key, named) for part in value]
        return self._words(key, value, named) if isinstance(value, str) else value

    def _words(self, key: str, value: str, named: "_Namer") -> str:
        kind = named(key)
        if kind:
            return "current" if value == "current" else f"{kind}-{self._number(kind, value)}"
        if key == "smbios1":
            return self.text(",".join(part for part in value.split(",") if part.startswith("uuid=")))
        if key == "parent":
            return f"snapshot-{self._number('snapshot', value)}"
        if _DRIVE.fullmatch(key):
            return self.text(self._volume(value))
        return self.text(self._properties(value))

    def _volume(self, value: str) -> str:
        """A drive: volumes that PVE named stay, files and paths that a person named get another name."""
        first, comma, rest = value.partition(",")
        prefix, colon, volume = first.rpartition(":") if not first.startswith("/") else ("", "", first)
        if not _REGULAR_VOLUME.fullmatch(volume) and volume not in ("none", "cdrom"):
            folder, _, name = volume.rpartition("/")
            folder = folder if colon and folder in ("iso", "vztmpl", "backup", "snippets", "import") else ""
            ending = name.rpartition(".")[2] if "." in name else ""
            volume = f"file-{self._number('file', volume)}{f'.{ending}' if ending in _ENDINGS else ''}"
            volume = f"{folder}/{volume}" if folder else volume if colon else f"/mnt/{volume}"
        rest = ",".join(self._path(part) for part in rest.split(",") if _is_harmless(part))
        return f"{prefix}{colon}{volume}{comma if rest else ''}{rest}"

    def _path(self, part: str) -> str:
        """Where a container sees a mount point, or what a mapping leads to, may say what it is for."""
        name, _, place = part.partition("=")
        return f"{name}=/mnt/path-{self._number('path', place)}" if name in ("mp", "path") and "/" in place else part

    def _properties(self, value: str) -> str:
        if "=" not in value:
            return value
        return ",".join(self._path(part) for part in value.split(",") if _is_harmless(part))

    def _number(self, kind: str, original: str) -> int:
        """The number of an original among its kind, in order of appearance: hashes of short texts could be guessed."""
        same = self._known.setdefault(kind, {})
        return same.setdefault(original, len(same) + 1)

    def _mac(self, match: re.Match[str]) -> str:
        number = self._number("mac", match[0].upper())
        return ":".join(
            f"{byte:02X}" for byte in (0xBC, 0x24, 0x11, number >> 16 & 255, number >> 8 & 255, number & 255)
        )

    def _ipv4(self, match: re.Match[str]) -> str:
        if match[0] in ("0.0.0.0", "127.0.0.1"):  # noqa: S104 - compared with, not bound to
            return match[0]
        number = self._number("ipv4", match[0])
        return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    def _ipv6(self, match: re.Match[str]) -> str:
        try:
            address = ip_address(match[0])
        except ValueError:
            return match[0]  # a PCI address, a time of day
        return match[0] if address.is_unspecified else f"2001:db8::{self._number('ipv6', str(address)):x}"


_ENDINGS = ("iso", "img", "raw", "qcow2", "vmdk", "zst", "gz", "xz", "yaml")


def _is_harmless(part: str) -> bool:
    return part.partition("=")[0] not in _PRIVATE_PROPERTIES


_Namer = Callable[[str], str]
"""What the value of a key is a name of: `guest`, `cluster`, `snapshot`, or "" when it is none that a person chose."""


def _namer(path: str, keep_names: bool) -> _Namer:
    if path.endswith("/snapshot"):
        return lambda key: "snapshot" if key == "name" else ""
    if keep_names or path == "/cluster/status":
        return lambda _: ""
    return lambda key: "guest" if key in ("name", "hostname") else ""
