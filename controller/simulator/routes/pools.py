"""Calls about pools.

Registered with `routes.registry`; pve-manager: PVE/API2/Pool.pm.
"""

from typing import Any

from controller.simulator.access import forbidden
from controller.simulator.api import ApiError
from controller.simulator.formats import split_list
from controller.simulator.routes import resources
from controller.simulator.routes.access import USER_CONFIG
from controller.simulator.routes.cluster import require_writable
from controller.simulator.routes.registry import Call, route


@route("GET", "/pools")
def index(call: Call) -> list[dict[str, Any]]:
    """List pools, or one with its members."""
    wanted = call.get("poolid")
    if wanted is not None:
        return [_one(call, str(wanted))]
    return [
        {"poolid": name, **({"comment": pool["comment"]} if pool["comment"] else {})}
        for name, pool in call.world.pools.items()
        if call.allowed(f"/pool/{name}", "Pool.Audit")
    ]


@route("GET", "/pools/{poolid}")
def entry(call: Call) -> dict[str, Any]:
    """Return one pool with its members."""
    return _one(call, str(call.params["poolid"]))


def _one(call: Call, name: str) -> dict[str, Any]:
    call.check(f"/pool/{name}", "Pool.Audit")
    pool = call.world.pools.get(name)
    if pool is None:
        raise ApiError(500, f"pool '{name}' does not exist")
    members: list[dict[str, Any]] = []
    for row in resources.resources(call.with_params()):
        mine = call.world.guests[row["vmid"]].pool == name if "vmid" in row else row.get("storage") in pool["storages"]
        if mine:
            if any(row.get("storage", "") == known.get("storage") for known in members if "storage" in known):
                continue  # a storage is one member, whatever nodes it is on
            members.append({key: value for key, value in row.items() if key not in ("pool", "lock", "tags", "hastate")})
    answer: dict[str, Any] = {"poolid": name, "members": members}
    if pool["comment"]:
        answer["comment"] = pool["comment"]
    return answer


@route("POST", "/pools")
def create(call: Call) -> None:
    """Add a pool; a parent has to exist for a nested one."""
    require_writable(call, USER_CONFIG, "create pool")
    name = str(call.params["poolid"])
    if name in call.world.pools:
        raise ApiError(500, f"create pool failed: pool '{name}' already exists")
    parent = name.rpartition("/")[0]
    if parent and parent not in call.world.pools:
        raise ApiError(500, f"create pool failed: parent pool '{parent}' does not exist")
    call.world.pools[name] = {"comment": str(call.get("comment", "")), "storages": []}
    call.world.revision += 1
    call.world.access.changed()


@route("DELETE", "/pools")
@route("DELETE", "/pools/{poolid}")
def delete(call: Call) -> None:
    """Remove an empty pool."""
    require_writable(call, USER_CONFIG, "delete pool")
    world, name = call.world, str(call.params["poolid"])
    if name not in world.pools:
        raise ApiError(500, f"delete pool failed: pool '{name}' does not exist")
    inside = [other for other in world.pools if other.startswith(f"{name}/")]
    guests = [f"VM {guest.vmid}" for guest in world.guests.values() if guest.pool == name]
    content = (
        [f"pool '{other}'" for other in inside] + guests + [f"storage '{s}'" for s in world.pools[name]["storages"]]
    )
    if content:
        raise ApiError(500, f"delete pool failed: pool '{name}' is not empty (contains {content[0]})")
    del world.pools[name]
    world.revision += 1
    world.access.changed()


@route("PUT", "/pools")
@route("PUT", "/pools/{poolid}")
def change(call: Call) -> None:
    """Add or remove members; one guest has one pool. Guests that do not exist are kept in mind, so that is no error."""
    world, name = call.world, str(call.params["poolid"])
    require_writable(call, USER_CONFIG, "update pools")
    if name not in world.pools:
        raise ApiError(500, f"update pools failed: pool '{name}' does not exist")
    if not call.allowed(f"/pool/{name}", "Pool.Allocate"):
        raise forbidden(f"/pool/{name}, Pool.Allocate")
    for text in split_list(str(call.get("vms", ""))):
        _change_guest(call, name, int(text))
    storages = world.pools[name]["storages"]
    for storage in split_list(str(call.get("storage", ""))):
        if call.get("delete"):
            storages.remove(storage)
        elif storage not in storages:
            storages.append(storage)
    if call.get("comment") is not None:
        world.pools[name]["comment"] = call.get("comment")
    world.revision += 1
    world.access.changed()


def _change_guest(call: Call, name: str, vmid: int) -> None:
    guest = call.world.guests.get(vmid)
    if guest is None:
        return
    if call.get("delete"):
        if guest.pool != name:
            raise ApiError(500, f"update pools failed: VM {vmid} is not a pool member")
        guest.pool = None
        return
    if guest.pool == name:
        raise ApiError(500, f"update pools failed: VM {vmid} is already a pool member")
    if guest.pool is not None and not call.get("allow-move"):
        why = f"VM {vmid} belongs already to pool '{guest.pool}' and 'allow-move' is not set"
        raise ApiError(500, f"update pools failed: {why}")
    guest.pool = name
