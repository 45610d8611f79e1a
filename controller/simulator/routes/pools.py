"""Calls about pools.

Registered with `routes.registry`; pve-manager: PVE/API2/Pool.pm.
"""

from typing import Any

from controller.simulator.access import forbidden
from controller.simulator.api import ApiError
from controller.simulator.routes import resources
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
            members.append({key: value for key, value in row.items() if key not in ("pool", "lock", "tags", "hastate")})
    answer: dict[str, Any] = {"poolid": name, "members": members}
    if pool["comment"]:
        answer["comment"] = pool["comment"]
    return answer


@route("PUT", "/pools")
def change(call: Call) -> None:
    """Add or remove members; one guest has one pool."""
    world, name = call.world, str(call.params["poolid"])
    if name not in world.pools:
        raise ApiError(500, f"update pools failed: pool '{name}' does not exist")
    if not call.allowed(f"/pool/{name}", "Pool.Allocate"):
        raise forbidden(f"/pool/{name}, Pool.Allocate")
    for text in str(call.get("vms", "")).replace(";", ",").split(","):
        if text:
            _change_guest(call, name, int(text))
    if call.get("comment") is not None:
        world.pools[name]["comment"] = call.get("comment")
    world.revision += 1
    world.access.changed()


def _change_guest(call: Call, name: str, vmid: int) -> None:
    guest = call.world.guests.get(vmid)
    if guest is None:
        raise ApiError(500, f"update pools failed: VM {vmid} does not exist")
    if call.get("delete"):
        if guest.pool != name:
            raise ApiError(500, f"update pools failed: VM {vmid} is not a pool member")
        guest.pool = None
        return
    if guest.pool not in (None, name) and not call.get("allow-move"):
        why = f"VM {vmid} belongs already to pool '{guest.pool}' and 'allow-move' is not set"
        raise ApiError(500, f"update pools failed: {why}")
    guest.pool = name
