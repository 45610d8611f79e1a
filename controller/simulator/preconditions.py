"""What speaks against moving a guest: PVE's `GET migrate`, and the checks a `POST migrate` makes before there is a task.

Called by `routes.qemu_migrate` and `routes.lxc_migrate`; the worker asks some of it again (`simulator.migrate`). The rules
are those of qemu-server: PVE/API2/Qemu.pm and PVE/QemuMigrate/Helpers.pm, with their order and words.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from controller.simulator.api import ApiError
from controller.simulator.guests import Drive, Guest
from controller.simulator.storage import content_type, storage_of
from controller.simulator.world import World


def local_disks(world: World, guest: Guest) -> list[dict[str, Any]]:
    """Return every volume on storage that is not shared, as `GET migrate` lists it."""
    found: dict[str, dict[str, Any]] = {}
    for drive, origin in _volumes(guest):
        if drive.volid == "none" or not _is_local(world, drive.volid):
            continue
        row = found.setdefault(
            drive.volid,
            {
                "volid": drive.volid,
                "cdrom": int(drive.cdrom),
                "is_cloudinit": int(drive.cloudinit),
                "is_unused": 0,
                "is_attached": 0,
                "is_vmstate": 0,
                "is_tpmstate": int(drive.key == "tpmstate0"),
                "shared": 0,
                "replicate": int(drive.replicate),
            },
        )
        if origin == "config":
            row["is_attached"] = 1
        elif origin == "unused":
            row["is_unused"] = 1
        elif origin == "pending":
            row["referenced_in_pending"] = 1
        else:
            row.setdefault("referenced_in_snapshot", {})[origin] = 1
        if origin != "unused":
            row["drivename"] = drive.key
        if drive.size is not None and not drive.cloudinit:
            row["size"] = drive.size
    return list(found.values())


def _volumes(guest: Guest) -> Iterator[tuple[Drive, str]]:
    for drive in guest.drives():
        yield drive, "config"
    for drive in guest.drives(guest.pending):
        yield drive, "pending"
    for name, snapshot in guest.snapshots.items():
        for drive in guest.drives(snapshot):
            yield drive, name
    for drive in guest.unused():
        yield drive, "unused"


def _is_local(world: World, volid: str) -> bool:
    if volid == "cdrom" or volid.startswith("/"):
        return True
    storage = world.storages.get(storage_of(volid))
    return storage is not None and not storage.shared


def report(world: World, guest: Guest) -> dict[str, Any]:
    """Return the answer of `GET /nodes/{node}/qemu/{vmid}/migrate`. The target parameter is ignored there, so here too."""
    node = world.nodes[guest.node]
    mapped = guest.mapped_devices()
    blocked = [key for key in guest.local_devices() if not _omitted(world, guest, key, mapped)]
    answer: dict[str, Any] = {
        "running": int(guest.running),
        "local_disks": local_disks(world, guest),
        "local_resources": blocked,
        "mapped-resources": list(mapped),
        "mapped-resource-info": {key: _mapping_info(world, key, name) for key, name in mapped.items()},
        "allowed_nodes": [],
        "not_allowed_nodes": {},
    }
    if node.at_least("9.0"):
        answer["has-dbus-vmstate"] = 1
    sid = world.ha.sid_of(guest)
    if node.at_least("9.0") and world.ha.manages(guest):
        answer["dependent-ha-resources"] = world.ha.book.partners(sid, "positive")
    for other in world.nodes:
        if other != guest.node:
            finding = _against(world, guest, other, mapped)
            if "dependent-ha-resources" in answer and (blockers := world.ha.blockers(sid, other)):
                finding["blocking-ha-resources"] = [{"sid": name, "cause": "resource-affinity"} for name in blockers]
            answer["not_allowed_nodes"][other] = finding
            if not finding:
                answer["allowed_nodes"].append(other)
    return answer


def _against(world: World, guest: Guest, node: str, mapped: Mapping[str, str]) -> dict[str, Any]:
    finding: dict[str, Any] = {}
    names = dict.fromkeys(storage_of(drive.volid) for drive in guest.drives())
    missing = [name for name in names if name in world.storages and not world.storages[name].enabled(node)]
    if missing:
        finding["unavailable_storages"] = missing
    absent = [key for key, name in mapped.items() if not has_mapping(world, key, name, node)]
    if absent:
        finding["unavailable-resources"] = absent
    return finding


def _kind(key: str) -> str:
    return "usb" if key.startswith("usb") else "dir" if key.startswith("virtiofs") else "pci"


def has_mapping(world: World, key: str, name: str, node: str) -> bool:
    """Whether the cluster-wide mapping behind a device key has an entry for `node`."""
    entries = world.mappings[_kind(key)].get(name, {}).get("map", [])
    return any(f"node={node}" in str(entry).split(",") for entry in entries)


def _mapping_info(world: World, key: str, name: str) -> dict[str, Any]:
    info: dict[str, Any] = {"name": name}
    if world.mappings[_kind(key)].get(name, {}).get("live-migration-capable"):
        info["live-migration"] = 1
    return info


def _omitted(world: World, guest: Guest, key: str, mapped: Mapping[str, str]) -> bool:
    if key not in mapped or not key.startswith("hostpci"):
        return False
    return not guest.running or "live-migration" in _mapping_info(world, key, mapped[key])


def check_target(world: World, viewer: str, guest_node: str, target: str) -> None:
    """Make the checks 1 to 3 of a POST: the target is another node of a quorate cluster. An offline one passes."""
    if target == guest_node:
        raise ApiError(400, "Parameter verification failed.", errors={"target": "target is local node."})
    require_quorum(world, viewer)
    if target not in world.nodes:
        raise ApiError(500, f"no such cluster node '{target}'")


def require_quorum(world: World, node: str) -> None:
    """Refuse what needs a writable /etc/pve (pve-cluster: PVE/Cluster.pm check_cfs_quorum)."""
    if not world.quorate(node):
        raise ApiError(500, "cluster not ready - no quorum?")


def require_unlocked(guest: Guest) -> None:
    """Refuse while the configuration holds a lock."""
    if guest.lock is not None:
        raise ApiError(500, f"{'CT' if guest.type == 'lxc' else 'VM'} is locked ({guest.lock})")


def storage_map(text: str | None) -> dict[str, str] | None:
    """Read `targetstorage`: None for identity, `{"": sid}` for one storage for all, else source to target."""
    if text is None or text == "1":
        return None
    pairs: dict[str, str] = {}
    for part in text.split(","):
        source, colon, target = part.partition(":")
        pairs[source if colon else ""] = target if colon else source
    return pairs


def check_storages(world: World, guest: Guest, target: str, mapping: Mapping[str, str] | None) -> None:
    """Make the storage checks of a POST (qemu-server: PVE/API2/Qemu.pm check_storage_availability)."""
    if mapping is not None:
        for name in mapping.values():
            _usable(world, name, target)
            if "images" not in world.storages[name].content:
                raise ApiError(500, f"storage '{name}' does not support vm images")
        return
    for drive in guest.drives():
        name = storage_of(drive.volid)
        if not name:
            continue
        _usable(world, name, guest.node)
        _usable(world, name, target)
        kind = content_type(drive.volid)
        if kind not in world.storages[name].content:
            raise ApiError(500, f"{drive.volid}: content type '{kind}' is not available on storage '{name}'")


def _usable(world: World, name: str, node: str) -> None:
    storage = world.storages.get(name)
    if storage is None:
        raise ApiError(500, f"storage '{name}' does not exist")
    if storage.disable:
        raise ApiError(500, f"storage '{name}' is disabled")
    if not storage.enabled(node):
        raise ApiError(500, f"storage '{name}' is not available on node '{node}'")


def limits(text: object) -> dict[str, float]:
    """Read a `bwlimit` property such as `migration=102400,default=…`; KiB/s become bytes per second, 0 means unlimited."""
    found: dict[str, float] = {}
    for part in str(text or "").split(","):
        key, equals, value = part.partition("=")
        if equals:
            found[key] = float(value) * 1024 or float("inf")
        elif key:
            found["default"] = float(key) * 1024 or float("inf")
    return found


def bandwidth(world: World, explicit: float | None, *, privileged: bool, storages: tuple[str, ...] = ()) -> float:
    """Merge the limits of caller, storages and datacenter for a migration, in bytes per second.

    explicit: the caller's, None or inf without a wish. privileged: may override. pve-storage: PVE/Storage.pm
    get_bandwidth_limit.
    """
    if explicit is not None and privileged:
        return explicit or float("inf")
    candidates = [explicit] if explicit else []
    own = [limits(world.storages[name].config.get("bwlimit")) for name in storages if name in world.storages]
    wishes = [entry.get("migration", entry.get("default")) for entry in own]
    candidates += [wish for wish in wishes if wish is not None]
    if not wishes or None in wishes:
        datacenter = limits(world.options.get("bwlimit"))
        general = datacenter.get("migration", datacenter.get("default"))
        if general is not None:
            candidates.append(general)
    return min(candidates, default=float("inf"))


def properties(world: World, key: str) -> dict[str, str]:
    """Read a datacenter option such as `migration: secure,network=10.0.0.0/24`; a bare word is its `type`."""
    found: dict[str, str] = {}
    for part in str(world.options.get(key, "")).split(","):
        name, equals, value = part.partition("=")
        if part:
            found[name if equals else "type"] = value if equals else name
    return found
