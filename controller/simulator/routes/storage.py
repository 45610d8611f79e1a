"""Calls about storages: the configuration, numbers per node, and what lies on one.

Registered with `routes.registry`; pve-storage: PVE/API2/Storage/*.pm.
"""

import hashlib
from typing import Any

from controller.simulator.api import REASONS, ApiError
from controller.simulator.routes.registry import Call, route
from controller.simulator.storage import Storage
from controller.simulator.world import World

_EITHER = ("Datastore.Audit", "Datastore.AllocateSpace")


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
        kind = "iso" if ":iso/" in volume.volid else "images"
        if call.get("content") not in (None, kind) or call.get("vmid") not in (None, volume.vmid):
            continue
        row: dict[str, Any] = {"volid": volume.volid, "size": volume.size, "format": volume.format, "content": kind}
        row["ctime"] = volume.ctime
        if kind == "images":
            row |= {"vmid": volume.vmid, "used": volume.used, "parent": None}
        rows.append(row)
    return rows
