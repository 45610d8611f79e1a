"""Calls below `/cluster/ha` that read.

Registered with `routes.registry`; pve-ha-manager: PVE/API2/HA/*.pm.
"""

from typing import Any

from controller.simulator.api import ApiError
from controller.simulator.routes.registry import Call, route


@route("GET", "/cluster/ha/resources")
def resources(call: Call) -> list[dict[str, Any]]:
    """List the configured resources, defaults not filled in."""
    rows = []
    for sid, entry in call.world.ha_resources.items():
        if call.get("type") in (None, sid.partition(":")[0]):
            rows.append({"sid": sid, "type": sid.partition(":")[0], "digest": "0" * 40, **entry})
    return rows


@route("GET", "/cluster/ha/resources/{sid}")
def resource(call: Call) -> dict[str, Any]:
    """Return one resource."""
    sid = str(call.params["sid"])
    if sid not in call.world.ha_resources:
        raise ApiError(500, f"no such resource '{sid}'")
    return {"sid": sid, "type": sid.partition(":")[0], "digest": "0" * 40, **call.world.ha_resources[sid]}


@route("GET", "/cluster/ha/rules")
def rules(call: Call) -> list[dict[str, Any]]:
    """List rules."""
    if not call.viewer.at_least("9.0"):
        raise ApiError(501, f"Method 'GET {call.request.path}' not implemented")
    return []


@route("GET", "/cluster/ha/groups")
def groups(call: Call) -> list[dict[str, Any]]:
    """List groups; 9.x has moved them to rules."""
    if call.viewer.at_least("9.0"):
        raise ApiError(500, "cannot index groups: ha groups have been migrated to rules")
    return []


@route("GET", "/cluster/ha/status/current")
def current(call: Call) -> list[dict[str, Any]]:
    """List the state of quorum, manager and services."""
    world, node = call.world, call.viewer.name
    quorate = world.quorate(node)
    rows: list[dict[str, Any]] = [
        {
            "id": "quorum",
            "type": "quorum",
            "node": node,
            "quorate": int(quorate),
            "status": "OK" if quorate else f"No quorum on node '{node}'!",
        }
    ]
    if call.viewer.at_least("9.2"):
        armed = "armed" if world.ha_resources else "standby"
        watchdog = "active" if world.ha_resources else "standby"
        status = f"{armed} (CRM watchdog {watchdog})"
        rows.append({"id": "fencing", "type": "fencing", "node": node, "armed-state": armed, "status": status})
    for sid, entry in world.ha_resources.items():
        guest = world.guests[int(sid.partition(":")[2])]
        state = str(entry.get("state", "started"))
        row = {"id": f"service:{sid}", "type": "service", "sid": sid, "node": guest.node, "request_state": state}
        row |= {"crm_state": state, "state": state, "status": f"{sid} ({guest.node}, {state})"}
        rows.append({**row, "max_restart": 1, "max_relocate": 1, "failback": 1})
    return rows


@route("GET", "/cluster/ha/status/manager_status")
def manager_status(call: Call) -> dict[str, Any]:
    """Return the manager's own words."""
    world, node = call.world, call.viewer.name
    states = {name: "online" if other.member else "unknown" for name, other in world.nodes.items()}
    services = {
        sid: {"node": world.guests[int(sid.partition(":")[2])].node, "state": entry.get("state", "started"), "uid": sid}
        for sid, entry in world.ha_resources.items()
    }
    status: dict[str, Any] = {"node_status": states if services else {}}
    if services:
        status |= {"master_node": next(iter(world.nodes)), "timestamp": int(world.now), "service_status": services}
    return {"manager_status": status, "quorum": {"node": node, "quorate": "1" if world.quorate(node) else ""}}
