"""A cluster file from the recorded answers of a real cluster (or of a simulated one).

Called by `drover record`. What the API does not tell stays at the cluster file's defaults: how fast links are, how fast
guests write memory, and who may log in; that is one token with every right.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from controller.simulator.guests import DRIVE_KEY, UNUSED_KEY, VOLUME_KEY, Drive, parse_drive
from controller.simulator.seed import Version
from controller.simulator.storage import storage_of
from controller.simulator.units import GIB, MIB, config_size, parse_size

TOKEN = "drover@pve!drover"  # noqa: S105 - the name of a token
SECRET = "00000000-0000-4000-8000-000000000000"  # noqa: S105 - of a cluster in memory
Answers = Mapping[str, Any]
"""Path, with `?content=…` or `?poolid=…` where that was asked, to the data of the answer."""

_KINDS = {"dir", "nfs", "cifs", "cephfs", "rbd", "zfspool", "zfs", "lvm", "lvmthin", "btrfs", "iscsi", "pbs"}
_STORAGE_KEYS = ("sparse", "krbd", "preallocation", "bwlimit", "is_mountpoint")
_OPTIONS = (
    "crs", "ha", "migration", "replication", "max_workers", "next-id", "tag-style", "registered-tags", "user-tag-access",
    "bwlimit", "keyboard", "language",
)  # fmt: skip
_OWN_KEYS = {"name", "hostname", "memory", "cores", "sockets", "cpu", "tags", "template", "lock", "digest", "parent"}
"""Configuration keys that a guest's entry in the cluster file has fields for, or that only snapshots explain."""


def read(folder: Path) -> dict[str, Any]:
    """Return the answers in a recording's folder; a later one to the same question wins. Raises OSError and ValueError."""
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.json")):
        entry = json.loads(file.read_text(encoding="utf-8"))
        if entry["method"] == "GET" and entry["status"] == 200:
            asked = [f"{key}={value}" for key, value in entry["params"].items() if key != "current"]
            found["?".join([entry["path"], *asked])] = entry["data"]
    return found


def cluster_yaml(answers: Answers) -> str:
    """Return the text of a cluster file that serves what was recorded."""
    head = "# Recorded by `drover record`; serve it with `drover simulate`. Who may log in is made up: one token, every right.\n"
    return head + yaml.safe_dump(_Conversion(answers).document(), sort_keys=False, allow_unicode=True, width=120)


class _Conversion:
    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        status = self._rows("/cluster/status")
        self._members = sorted((row for row in status if row["type"] == "node"), key=lambda row: int(row["nodeid"]))
        self._name = next((str(row["name"]) for row in status if row["type"] == "cluster"), "recorded")
        resources = self._rows("/cluster/resources")
        self._of_nodes = {str(row["node"]): row for row in resources if row["type"] == "node"}
        self._of_storages = [row for row in resources if row["type"] == "storage"]
        self._of_guests = [row for row in resources if row["type"] in ("qemu", "lxc")]
        self._used = dict(self._written_parts())

    def _rows(self, path: str) -> list[dict[str, Any]]:
        return list(self._answers.get(path) or [])

    def document(self) -> dict[str, Any]:
        versions = {str(row["name"]): _version(self._node(row["name"], "version")) for row in self._members}
        common = Counter(versions.values()).most_common(1)[0][0]
        guests = {
            int(row["vmid"]): self._guest(row) for row in sorted(self._of_guests, key=lambda row: int(row["vmid"]))
        }
        moments = [int(self._node(name, "time")["time"]) for name in versions if self._node(name, "time")]
        found = {
            "name": self._name,
            "version": common,
            "start": max(moments, default=None),
            "nodes": {
                name: self._node_file(name) | ({} if version == common else {"version": version})
                for name, version in versions.items()
            },
            "storages": {name: self._storage(entry, guests) for name, entry in self._entries(guests).items()},
            "pools": {name: self._pool(name) for name in self._pools()},
            "guests": guests,
            "options": self._options(),
            "mappings": {
                kind: {str(row["id"]): {"map": row["map"]} for row in rows if row.get("map")}
                for kind in ("pci", "usb", "dir")
                if (rows := self._rows(f"/cluster/mapping/{kind}"))
            },
            "access": {
                "users": {TOKEN.partition("!")[0]: {}},
                "tokens": {TOKEN: {"secret": SECRET, "privsep": False}},
                "acl": [{"path": "/", "role": "Administrator", "to": TOKEN.partition("!")[0]}],
            },
            "ha": {
                "rules": {
                    str(row["rule"]): _without(row, "rule", "digest", "order")
                    for row in self._rows("/cluster/ha/rules")
                },
                "groups": {
                    str(row["group"]): _without(row, "group", "type", "digest")
                    for row in self._rows("/cluster/ha/groups")
                },
            },
            "replication": {
                str(row["id"]): _without(row, "id", "type", "guest", "jobnum")
                for row in self._rows("/cluster/replication")
                if int(row["guest"]) in guests and row.get("target") in versions
            },
            "faults": list(self._faults()),
        }
        for guest in guests.values():
            for disk in guest["disks"].values():
                del disk["guessed"]
        return {key: value for key, value in found.items() if value not in (None, {}, [])}

    def _faults(self) -> Iterator[dict[str, Any]]:
        """What was out of order when it was recorded happens at the start."""
        for row in self._members:
            if not row.get("online"):
                yield {"at": 0, "do": "node-crash", "node": str(row["name"])}
        for row in self._of_nodes.values():
            if row.get("hastate") == "maintenance":
                yield {"at": 0, "do": "admin-maintain", "node": str(row["node"])}

    # nodes

    def _node(self, name: str, part: str) -> dict[str, Any]:
        return dict(self._answers.get(f"/nodes/{name}/{part}") or {})

    def _node_file(self, name: str) -> dict[str, Any]:
        status, seen = self._node(name, "status"), self._of_nodes.get(name, {})
        cpu = status.get("cpuinfo", {})
        memory = int(status.get("memory", {}).get("total") or seen.get("maxmem") or 64 * GIB)
        found: dict[str, Any] = {"cpus": int(cpu.get("cpus") or seen.get("maxcpu") or 1), "memory": config_size(memory)}
        if int(cpu.get("sockets") or 1) > 1:
            found["sockets"] = int(cpu["sockets"])
        model = {key: str(cpu[key]) for key in ("model", "family", "mhz", "flags") if cpu.get(key)}
        if cpu.get("vendor") in ("AuthenticAMD", "GenuineIntel"):
            model["vendor"] = cpu["vendor"]
        guests = sum(int(row.get("mem", 0)) for row in self._of_guests if row["node"] == name)
        used = int(status.get("memory", {}).get("used") or seen.get("mem") or 0)
        bridges = [
            str(row["iface"]) for row in self._answers.get(f"/nodes/{name}/network") or [] if "ridge" in row["type"]
        ]
        return found | {
            "cpu": model,
            "overhead": config_size(max(0, used - guests)),
            "root_disk": config_size(int(status.get("rootfs", {}).get("total") or seen.get("maxdisk") or 94 * GIB)),
            "uptime": float(status.get("uptime") or seen.get("uptime") or 0),
            "timezone": str(self._node(name, "time").get("timezone", "UTC")),
            "bridges": bridges or ["vmbr0"],
        }

    # storages

    def _written_parts(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Yield (node, volume id) and the bytes written to it, where a storage tells them."""
        for path, rows in self._answers.items():
            if "/content?content=" in path:
                for row in rows:
                    if row.get("used"):
                        yield (path.split("/")[2], str(row["volid"])), int(row["used"])

    def _entries(self, guests: dict[int, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The storages by name: configured, listed, or only named by a disk when the token may not see them."""
        named = {disk["storage"] for guest in guests.values() for disk in guest["disks"].values()}
        found: dict[str, dict[str, Any]] = {
            name: {"storage": name, "type": "dir", "content": "images,rootdir"} for name in named
        }
        found |= {str(row["storage"]): {**row, "type": row.get("plugintype", "dir")} for row in self._of_storages}
        configured = {str(row["storage"]): row for row in self._rows("/storage")}
        return {
            name: configured.get(name) or found[name]
            for name in [*configured, *sorted(found.keys() - configured.keys())]
        }

    def _storage(self, entry: dict[str, Any], guests: dict[int, dict[str, Any]]) -> dict[str, Any]:
        name = str(entry["storage"])
        seen = [row for row in self._of_storages if row["storage"] == name and row.get("maxdisk")]
        shared = any(int(row.get("shared") or 0) for row in [entry, *seen])
        kind = str(entry["type"]) if entry["type"] in _KINDS else "dir"
        disks = {
            str(row["node"]): [
                disk
                for guest in guests.values()
                for disk in guest["disks"].values()
                if disk["storage"] == name and (shared or guest["node"] == row["node"])
            ]
            for row in seen
        }
        rest = _fill({str(row["node"]): int(row.get("disk") or 0) for row in seen}, disks)
        found = {"type": kind, "content": sorted(str(entry.get("content", "")).split(",")), "shared": shared}
        if entry.get("nodes"):
            found["nodes"] = sorted(node for node in str(entry["nodes"]).split(",") if node in self._of_nodes)
        if int(entry.get("disable") or 0):
            found["disable"] = True
        size = max((int(row["maxdisk"]) for row in seen), default=1024 * GIB)
        config = {key: entry[key] for key in _STORAGE_KEYS if key in entry}
        return found | {"size": config_size(size), "used": config_size(rest)} | ({"config": config} if config else {})

    def _pools(self) -> list[str]:
        listed = [str(row["poolid"]) for row in self._rows("/pools")]
        return list(dict.fromkeys([*listed, *(str(row["pool"]) for row in self._of_guests if row.get("pool"))]))

    def _pool(self, name: str) -> dict[str, Any]:
        members = [member for row in self._rows(f"/pools?poolid={name}") for member in row.get("members", [])]
        return {"storages": sorted({str(row["storage"]) for row in members if row["type"] == "storage"})}

    # guests

    def _guest(self, row: dict[str, Any]) -> dict[str, Any]:
        kind, vmid = str(row["type"]), int(row["vmid"])
        place = f"/nodes/{row['node']}/{kind}/{vmid}"
        config: dict[str, Any] = dict(self._answers.get(f"{place}/config") or {})
        status: dict[str, Any] = dict(self._answers.get(f"{place}/status/current") or {})
        found: dict[str, Any] = {"type": kind, "node": str(row["node"]), "status": _run(row, status)}
        name = config.get("name") or config.get("hostname") or row.get("name")
        if name and name != f"{'CT' if kind == 'lxc' else 'VM '}{vmid}":
            found["name"] = str(name)
        memory = str(config.get("memory", 512)).removeprefix("current=").partition(",")[0]
        found["memory"] = config_size(int(memory) * MIB) if config else config_size(int(row.get("maxmem") or 2 * GIB))
        found["cores"] = int(config.get("cores") or (row.get("maxcpu") if kind == "lxc" else 0) or 1)
        if kind == "qemu":
            found |= {"sockets": int(config.get("sockets", 1)), "cpu": config.get("cpu")}
        found["disks"] = dict(self._disks(config, str(row["node"])))
        found |= self._rest(config, set(found["disks"]), kind)
        found |= self._habits(row, status)
        tags = str(config.get("tags") or row.get("tags") or "").replace(",", ";").replace(" ", ";")
        optional = {
            "tags": [tag for tag in tags.split(";") if tag],
            "pool": row.get("pool"),
            "lock": config.get("lock") or row.get("lock"),
            "template": bool(int(config.get("template") or row.get("template") or 0)),
            "snapshots": [str(one["name"]) for one in self._rows(f"{place}/snapshot") if one["name"] != "current"],
            "ha": self._ha(f"{'ct' if kind == 'lxc' else 'vm'}:{vmid}"),
        }
        return found | {key: value for key, value in optional.items() if value not in (None, [], False)}

    def _disks(self, config: dict[str, Any], node: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, value in config.items():
            if not any(pattern.fullmatch(key) for pattern in (DRIVE_KEY, VOLUME_KEY, UNUSED_KEY)):
                continue
            drive = parse_drive(key, str(value))
            storage, volume = storage_of(drive.volid), drive.volid.partition(":")[2]
            if not storage or (drive.cdrom and not drive.cloudinit):
                continue
            size = drive.size or (4 * MIB if drive.cloudinit else GIB)
            used = self._used.get((node, drive.volid)) or self._elsewhere(drive)
            found: dict[str, Any] = {"storage": storage, "size": config_size(size), "volume": volume}
            found |= {"used": config_size(size // 4 if used is None else used), "guessed": used is None}
            options = ",".join(f"{name}={text}" for name, text in drive.options.items() if name != "size")
            yield key, found | ({"options": options} if options else {})

    def _elsewhere(self, drive: Drive) -> int | None:
        """The written part of a volume on shared storage, which was listed by one node only."""
        shared = {str(row["storage"]) for row in self._of_storages if int(row.get("shared") or 0)}
        if storage_of(drive.volid) not in shared:
            return None
        return next((used for (_, volid), used in self._used.items() if volid == drive.volid), None)

    def _rest(self, config: dict[str, Any], disks: set[str], kind: str) -> dict[str, Any]:
        """The configuration keys that no field stands for; a container's network cards are among them."""
        nets = {key: str(value) for key, value in config.items() if key.removeprefix("net").isdigit()}
        own = _OWN_KEYS | disks | (set(nets) if kind == "qemu" else set())
        rest = {key: value for key, value in config.items() if key not in own and isinstance(value, int | str)}
        return {"nets": nets if kind == "qemu" else {}, "config": rest}

    def _habits(self, row: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
        """What can be told from counters: load, memory in use, disk writes per second since the start."""
        numbers = {**row, **status}
        uptime = int(numbers.get("uptime") or 0)
        if not uptime:
            return {}
        most = int(row.get("maxmem") or 0)
        return {
            "uptime": float(uptime),
            "load": min(1.0, round(float(row.get("cpu") or 0), 4)),
            "touched": min(1.0, round(int(row.get("mem") or 0) / most, 6)) if most else 0.75,
            "written": config_size(int(numbers.get("diskwrite") or 0) // uptime),
        }

    def _ha(self, sid: str) -> dict[str, Any] | None:
        row = next((row for row in self._rows("/cluster/ha/resources") if row["sid"] == sid), None)
        return None if row is None else _without(row, "sid", "type", "digest")

    def _options(self) -> dict[str, str | int]:
        """The datacenter's options as its file has them: PVE takes property strings apart when it answers."""
        found: dict[str, str | int] = {}
        for key, value in (self._answers.get("/cluster/options") or {}).items():
            if key not in _OPTIONS:
                continue
            text = _flat(value)
            if text != "":
                found[key] = text
        return found


def _flat(value: Any) -> str | int:
    """A value as a configuration file has it; networks are left out, they have other addresses now."""
    if isinstance(value, dict):
        return ",".join(f"{name}={_flat(part)}" for name, part in value.items() if name != "network")
    return ";".join(map(str, value)) if isinstance(value, list) else value if isinstance(value, int) else str(value)


def _without(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys and isinstance(value, int | float | str)}


def _fill(used: Mapping[str, int], disks: Mapping[str, list[dict[str, Any]]]) -> int:
    """Return what others than the guests hold on each node, and let guesses explain the rest of what is in use there."""
    rests = {node: used[node] - _sum(held) for node, held in disks.items()}
    guessed = {node for node, held in disks.items() if any(disk["guessed"] for disk in held)}
    others = max(0, min(rests.values()) if guessed else max(rests.values())) if rests else 0
    for node in guessed:
        guesses = [disk for disk in disks[node] if disk["guessed"]]
        left = max(0, used[node] - others - _sum(disk for disk in disks[node] if not disk["guessed"]))
        total = max(1, _sum(guesses))
        for disk in guesses:
            disk["used"] = config_size(min(parse_size(disk["size"]), parse_size(disk["used"]) * left // total))
    return others


def _sum(disks: Iterable[dict[str, Any]]) -> int:
    return sum(parse_size(disk["used"]) for disk in disks)


def _run(row: dict[str, Any], status: dict[str, Any]) -> str:
    """`unknown` is a guest whose node is down; it ran, else nobody would miss it."""
    if status.get("qmpstatus") in ("paused", "suspended", "prelaunch") or row.get("status") == "paused":
        return "paused"
    run = status.get("status") or row.get("status")
    return "stopped" if run == "stopped" else "running"


def _version(answer: dict[str, Any]) -> str:
    """The newest release that the simulator knows and that is not newer than the node's; the oldest one below that."""
    digits = str(answer.get("release") or answer.get("version") or "9.2").split("-")[0].split(".")
    wanted = tuple(int(part) for part in digits[:2] if part.isdigit())
    known: list[str] = sorted(get_args(Version), key=lambda text: tuple(map(int, text.split("."))))
    return next((text for text in reversed(known) if tuple(map(int, text.split("."))) <= wanted), known[0])
