"""Calls about storages: the configuration, numbers per node, and what lies on one.

Registered with `routes.registry`; pve-storage: PVE/API2/Storage/*.pm.
"""

import hashlib
from collections.abc import Generator
from typing import Any

from controller.simulator.api import REASONS, ApiError
from controller.simulator.engine import Wait
from controller.simulator.formats import split_list
from controller.simulator.routes.cluster import require_writable
from controller.simulator.routes.registry import Call, route
from controller.simulator.seed import StorageFile
from controller.simulator.storage import FILES, Storage, Volume, volume_path
from controller.simulator.tasks import Task
from controller.simulator.units import parse_size
from controller.simulator.world import World

STORAGE_CONFIG = "file-storage_cfg"
REACHABLE_SERVERS = ("192.0.2.10",)
_OWN_FIELDS = ("storage", "type", "content", "shared", "nodes", "disable")
_EITHER = ("Datastore.Audit", "Datastore.AllocateSpace")
_DISKS = ("images", "rootdir")


def digest(world: World) -> str:
    """Return the SHA1 of storage.cfg."""
    text = repr([(s.name, s.type, s.content, s.nodes, s.disable, s.config) for s in world.storages.values()])
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@route("GET", "/storage")
def index(call: Call) -> list[dict[str, Any]]:
    """List storage.cfg."""
    mark = digest(call.world)
    return [
        storage.entry(mark)
        for storage in call.world.storages.values()
        if call.get("type") in (None, storage.type) and call.allowed(f"/storage/{storage.name}", *_EITHER, any_of=True)
    ]


@route("GET", "/storage/{storage}")
def entry(call: Call) -> dict[str, Any]:
    """Return one entry of storage.cfg."""
    name = str(call.params["storage"])
    if name not in call.world.storages:
        raise ApiError(500, f"storage '{name}' does not exist")
    return call.world.storages[name].entry(digest(call.world))


@route("GET", "/nodes/{node}/storage")
def node_index(call: Call) -> list[dict[str, Any]]:
    """List storages with their numbers on the node."""
    rows = []
    for storage in call.world.storages.values():
        if not call.allowed(f"/storage/{storage.name}", *_EITHER, any_of=True) or not _wanted(call, storage):
            continue
        row = storage.status(call.node.name)
        if row["active"] and row["total"]:
            row["used_fraction"] = row["used"] / row["total"]
        rows.append({"storage": storage.name, **row})
    return rows


def _wanted(call: Call, storage: Storage) -> bool:
    content, target = call.get("content"), call.get("target")
    kinds = str(content).replace(";", ",").split(",") if content is not None else []
    if kinds and not set(kinds) & set(storage.content):
        return False
    if call.get("storage") not in (None, storage.name):
        return False
    if call.get("enabled") and not storage.enabled(call.node.name):
        return False
    return target in (None, call.node.name) or (storage.shared and storage.enabled(str(target)))


@route("GET", "/nodes/{node}/storage/{storage}/status")
def node_status(call: Call) -> dict[str, Any]:
    """Return one storage's numbers on the node."""
    storage = call.world.storages.get(str(call.params["storage"]))
    if storage is None:
        raise ApiError(400, REASONS[400], errors={"storage": "No such storage."})
    return storage.status(call.node.name)


@route("GET", "/nodes/{node}/storage/{storage}/content")
def content(call: Call) -> list[dict[str, Any]]:
    """List volumes."""
    name, node = str(call.params["storage"]), call.node.name
    storage = call.world.storages.get(name)
    if storage is None:
        raise ApiError(500, f"storage '{name}' does not exist")
    if storage.disable:
        raise ApiError(500, f"storage '{name}' is disabled")
    if not storage.enabled(node):
        raise ApiError(500, f"storage '{name}' is not available on node '{node}'")
    if not storage.active(node):
        raise ApiError(500, f"storage '{name}' is not online")
    rows = []
    for volume in storage.place(node).values():
        kind = _kind(call.world, volume)
        if call.get("content") not in (None, kind) or call.get("vmid") not in (None, volume.vmid):
            continue
        row: dict[str, Any] = {"volid": volume.volid, "size": volume.size, "format": volume.format, "content": kind}
        if kind == "iso":
            row["format"] = "iso"
        elif kind in _DISKS:
            row |= {"vmid": volume.vmid, "parent": None}
        if storage.type == "zfspool":
            row["name"] = volume.volid.partition(":")[2]
        else:
            row |= {"ctime": volume.ctime} | ({"used": volume.used} if kind in _DISKS else {})
        rows.append(row)
    return rows


def _kind(world: World, volume: Volume) -> str:
    """Return a volume's content type; disks of containers are `rootdir` (pve-storage: PVE/Storage/Plugin.pm list_volumes)."""
    path = volume.volid.partition(":")[2]
    guest = world.guests.get(volume.vmid or 0)
    disks = "rootdir" if guest is not None and guest.type == "lxc" else "images"
    return next((kind for kind in ("iso", "vztmpl", "backup", "snippets") if path.startswith(f"{kind}/")), disks)


@route("POST", "/storage")
def create(call: Call) -> dict[str, str]:
    """Add an entry to storage.cfg."""
    require_writable(call, STORAGE_CONFIG, "create storage")
    name, kind = str(call.params["storage"]), str(call.params["type"])
    if name in call.world.storages:
        raise ApiError(500, f"create storage failed: storage ID '{name}' already defined")
    if kind in ("nfs", "cifs") and str(call.get("server", "")) not in REACHABLE_SERVERS:
        raise ApiError(500, f"create storage failed: storage '{name}' is not online")
    file = StorageFile.model_validate(
        {
            "type": kind,
            "content": tuple(split_list(str(call.get("content", "images,rootdir")))),
            "shared": bool(call.get("shared")) or None,
            "nodes": tuple(split_list(str(call.get("nodes", "")))),
            "disable": bool(call.get("disable")),
            "config": {key: value for key, value in call.params.items() if key not in _OWN_FIELDS},
        }
    )
    storage = Storage.of(name, file)
    storage.created = call.world.now
    call.world.storages[name] = storage
    call.world.revision += 1
    return {"storage": name, "type": kind}


@route("PUT", "/storage/{storage}")
def change(call: Call) -> dict[str, Any]:
    """Change an entry of storage.cfg."""
    require_writable(call, STORAGE_CONFIG, "update storage")
    name = str(call.params["storage"])
    storage = call.world.storages.get(name)
    if storage is None:
        raise ApiError(500, f"update storage failed: storage '{name}' does not exist")
    delete = split_list(str(call.get("delete", "")))
    if call.get("content") is not None:
        storage.content = tuple(split_list(str(call.get("content"))))
    if call.get("nodes") is not None or "nodes" in delete:
        storage.nodes = tuple(split_list(str(call.get("nodes", ""))))
    if call.get("disable") is not None or "disable" in delete:
        storage.disable = bool(call.get("disable"))
    for key in delete:
        storage.config.pop(key, None)
    storage.config.update(
        {key: value for key, value in call.params.items() if key not in (*_OWN_FIELDS, "delete", "digest")}
    )
    call.world.revision += 1
    return {"storage": name, "type": storage.type}


@route("DELETE", "/storage/{storage}")
def delete(call: Call) -> None:
    """Remove an entry of storage.cfg; what lies on it stays there."""
    require_writable(call, STORAGE_CONFIG, "delete storage")
    name = str(call.params["storage"])
    if name not in call.world.storages:
        raise ApiError(500, f"delete storage failed: storage '{name}' does not exist")
    del call.world.storages[name]
    call.world.revision += 1


@route("POST", "/nodes/{node}/storage/{storage}/content")
def allocate(call: Call) -> str:
    """Create a volume."""
    storage = call.world.storages[str(call.params["storage"])]
    vmid, name = int(call.params["vmid"]), str(call.params["filename"])
    volid = f"{storage.name}:{vmid}/{name}" if storage.type in FILES else f"{storage.name}:{name}"
    size = parse_size(str(call.params["size"]) + ("K" if str(call.params["size"]).isdigit() else ""))
    storage.place(call.node.name)[volid] = Volume(volid, size, 0, vmid, ctime=int(call.world.now))
    return volid


@route("GET", "/nodes/{node}/storage/{storage}/content/{volume}")
def volume(call: Call) -> dict[str, Any]:
    """Return one volume."""
    storage, volid = call.world.storages[str(call.params["storage"])], str(call.params["volume"])
    found = storage.place(call.node.name).get(volid)
    if found is None:
        raise ApiError(500, f"volume '{volid}' does not exist")
    return {"path": volume_path(storage, volid), "size": found.size, "used": found.used, "format": found.format}


@route("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}")
def free(call: Call) -> str:
    """Remove a volume; one that is gone already is only mentioned."""
    storage, volid = call.world.storages[str(call.params["storage"])], str(call.params["volume"])
    vmid = volid.partition(":")[2].partition("/")[0]

    def body(task: Task) -> Generator[Wait, Any, None]:
        yield 0.1
        if storage.place(call.node.name).pop(volid, None) is None:
            task.log.append(f"disk image '{volume_path(storage, volid)}' does not exist")
        task.log.append(f"Removed volume '{volid}'")

    return call.world.spawn(call.node.name, "imgdel", f"{vmid}@{storage.name}", call.auth.full, body).upid
