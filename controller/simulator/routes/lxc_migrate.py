"""`GET` and `POST /nodes/{node}/lxc/{vmid}/migrate`: dashes where QEMU has underscores, and fewer checks.

Registered with `routes.registry`; pve-container: PVE/API2/LXC.pm.
"""

from typing import Any

from controller.simulator import migrate_container, preconditions
from controller.simulator.api import ApiError
from controller.simulator.migration import Order
from controller.simulator.routes.qemu_migrate import ha_migrate
from controller.simulator.routes.registry import Call, route
from controller.simulator.storage import storages_of


@route("GET", "/nodes/{node}/lxc/{vmid}/migrate")
def report(call: Call) -> dict[str, Any]:
    """Say what stands against moving it: nothing but HA, and only nodes with a finding get a key. New in 9.0."""
    if not call.node.at_least("9.0"):
        raise ApiError(501, f"Method 'GET {call.request.path}' not implemented")
    guest = call.guest("lxc")
    preconditions.require_quorum(call.world, call.node.name)
    others = [name for name in call.world.nodes if name != guest.node]
    return {"running": int(guest.running), "allowed-nodes": others, "not-allowed-nodes": {}}


@route("POST", "/nodes/{node}/lxc/{vmid}/migrate")
def start(call: Call) -> str:
    """Make the request's checks and fork the worker; the lock is only looked at by the worker."""
    world, target = call.world, str(call.params["target"])
    preconditions.check_target(world, call.node.name, call.node.name, target)
    guest = call.guest("lxc")
    if guest.running and not call.get("online") and not call.get("restart"):
        raise ApiError(500, "can't migrate running container without --online or --restart")
    mapping = preconditions.storage_map(call.get("target-storage"))
    if mapping is not None:
        call.check(f"/vms/{guest.vmid}", "VM.Config.Disk")
        for name in mapping.values():
            call.check(f"/storage/{name}", "Datastore.AllocateSpace")
    if world.ha.manages(guest):
        return ha_migrate(world, guest, target, node=call.node.name, user=call.auth.full)
    wish = call.get("bwlimit")
    ceiling = preconditions.bandwidth(
        world,
        None if wish is None else float(wish) * 1024,
        privileged=call.allowed("/storage", "Datastore.Allocate"),
        storages=tuple(storages_of(drive.volid for drive in guest.drives())),
    )
    secure = preconditions.properties(world, "migration").get("type", "secure") != "insecure"
    order = Order(target=target, storages=mapping, disk_ceiling=ceiling, secure=secure)
    timeout = float(call.get("timeout") or migrate_container.SHUTDOWN_TIMEOUT)
    body = migrate_container.worker(world, guest, order, restart=bool(call.get("restart")), timeout=timeout)
    return world.spawn(call.node.name, "vzmigrate", str(guest.vmid), call.auth.full, body).upid
