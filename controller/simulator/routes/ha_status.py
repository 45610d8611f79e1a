"""What HA tells about itself: `status/current` and `status/manager_status`.

Registered with `routes.registry`; pve-ha-manager: PVE/API2/HA/Status.pm.
"""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from controller.simulator.ha import DEAD_AFTER, HighAvailability
from controller.simulator.ha_local import Lrm
from controller.simulator.routes.registry import Call, route


@route("GET", "/cluster/ha/status/current")
def current(call: Call) -> list[dict[str, Any]]:
    """List the state of quorum, manager, local managers and services."""
    world, ha, node = call.world, call.world.ha, call.viewer.name
    quorate = world.quorate(node)
    status = "OK" if quorate else f"No quorum on node '{node}'!"
    rows: list[dict[str, Any]] = [
        {"id": "quorum", "type": "quorum", "node": node, "quorate": int(quorate), "status": status}
    ]
    if ha.master:
        rows.append(_master(call, ha))
    if call.viewer.at_least("9.2"):
        rows.append(_fencing(call, ha))
    if ha.ever_active:
        rows += [_lrm(call, name, ha.local(name)) for name in ha.lrms]
    return rows + [_service(call, sid) for sid in sorted(ha.resources.keys() | ha.services.keys())]


def _ctime(call: Call, moment: float) -> str:
    zone = ZoneInfo(call.viewer.file.timezone)
    return datetime.fromtimestamp(int(moment), tz=zone).strftime("%a %b %e %H:%M:%S %Y")


def _dead(call: Call, moment: float) -> bool:
    return call.world.now - moment > DEAD_AFTER


def _master(call: Call, ha: HighAvailability) -> dict[str, Any]:
    word = "active"
    if _dead(call, ha.timestamp):
        word = "old timestamp - dead?" if ha.services or ha.resources else "idle"
    status = f"{ha.master} ({word}, {_ctime(call, ha.timestamp)})"
    mode = ha.crs("ha", "basic")
    if mode != "basic":
        status += f" - {mode} load CRS"
    if ha.disarm is not None:
        status += f" - disarmed, resource mode: {ha.disarm['mode']}"
    return {"id": "master", "type": "master", "node": ha.master, "timestamp": int(ha.timestamp), "status": status}


def _fencing(call: Call, ha: HighAvailability) -> dict[str, Any]:
    row: dict[str, Any] = {"id": "fencing", "type": "fencing", "node": ha.master or call.viewer.name}
    if ha.disarm is not None:
        state, mode = ha.disarm["state"], ha.disarm["mode"]
        text = f"{state}, resource mode: {mode} (CRM watchdog {'released' if state == 'disarmed' else 'active'})"
        return row | {"armed-state": state, "resource_mode": mode, "status": text}
    armed = bool(ha.master) and not _dead(call, ha.timestamp)
    text = "armed (CRM watchdog active)" if armed else "standby (CRM watchdog standby)"
    return row | {"armed-state": "armed" if armed else "standby", "status": text}


def _lrm(call: Call, name: str, lrm: Lrm) -> dict[str, Any]:
    written = call.world.ha.lrm_written(name)
    watchdog = "active" if lrm.state != "wait_for_agent_lock" else "released" if lrm.mode == "disarm" else "standby"
    if _dead(call, written):
        word, watchdog = "old timestamp - dead?", "standby"
    elif lrm.mode == "disarm":
        word = "disarm mode"
    elif lrm.mode == "maintenance":
        word = "maintenance mode"
    elif lrm.state == "wait_for_agent_lock" and not call.world.ha.involved(name):
        word = "idle"
    else:
        word = lrm.state
    shown = f", watchdog {watchdog}" if call.viewer.at_least("9.2") else ""
    status = f"{name} ({word}{shown}, {_ctime(call, written)})"
    return {"id": f"lrm:{name}", "type": "lrm", "node": name, "timestamp": int(written), "status": status}


def _service(call: Call, sid: str) -> dict[str, Any]:
    ha = call.world.ha
    entry, service, guest = ha.resources.get(sid), ha.services.get(sid), ha.guest_of(sid)
    node = service.node if service is not None else guest.node if guest is not None else ""
    state = _verbose(ha, sid)
    row: dict[str, Any] = {"id": f"service:{sid}", "type": "service", "sid": sid, "node": node, "state": state}
    row["status"] = f"{sid} ({node}, {state})"
    if service is not None and state != "ignored":
        row["crm_state"] = service.state
    if entry is not None:
        row |= {"request_state": entry.get("state", "started"), "max_restart": 1, "max_relocate": 1}
        if call.viewer.at_least("9.0"):
            row["failback"] = 1
        row |= {key: value for key, value in entry.items() if key != "state"}
    return row


def _verbose(ha: HighAvailability, sid: str) -> str:
    """The state in words that also tell where it is going (PVE/HA/Tools.pm get_verbose_service_state)."""
    wanted = str(ha.resources[sid].get("state", "started")) if sid in ha.resources else "deleting"
    if wanted in ("deleting", "ignored"):
        return wanted
    service = ha.services.get(sid)
    if service is None:
        return "queued"
    if service.state == "started" and wanted == "started":
        return "started" if service.running else "starting"
    return _ON_THE_WAY.get((service.state, wanted), service.state)


_ON_THE_WAY = {
    ("stopped", "started"): "starting",
    ("stopped", "disabled"): "disabled",
    ("started", "stopped"): "stopping",
    ("started", "disabled"): "stopping",
    ("error", "disabled"): "clearing error flag",
}
"""CRM state and requested state to the verbose one."""


@route("GET", "/cluster/ha/status/manager_status")
def manager_status(call: Call) -> dict[str, Any]:
    """Return the manager's own words, empty before there was one."""
    world, ha, node = call.world, call.world.ha, call.viewer.name
    answer: dict[str, Any] = {
        "manager_status": {"node_status": {}},
        "quorum": {"node": node, "quorate": "1" if world.quorate(node) else ""},
    }
    if ha.ever_active:
        answer["lrm_status"] = {name: _lrm_status(call, name, ha.local(name)) for name in ha.lrms}
    if ha.master:
        status: dict[str, Any] = {
            "master_node": ha.master,
            "timestamp": int(ha.timestamp),
            "node_status": dict(ha.node_status),
            "service_status": {sid: service.row() for sid, service in ha.services.items()},
        }
        if ha.node_requests:
            status["node_request"] = {name: dict(wish) for name, wish in ha.node_requests.items()}
        if ha.disarm is not None:
            status["disarm"] = dict(ha.disarm)
        answer["manager_status"] = status
    return answer


def _lrm_status(call: Call, name: str, lrm: Lrm) -> dict[str, Any]:
    return {
        "state": lrm.state,
        "mode": lrm.mode,
        "timestamp": int(call.world.ha.lrm_written(name)),
        "results": {uid: dict(result) for uid, result in lrm.results.items()},
    }


@route("GET", "/cluster/ha/status")
def status_index(_call: Call) -> list[dict[str, str]]:
    """List what is below."""
    return [{"name": name} for name in ("current", "manager_status", "disarm-ha", "arm-ha")]


@route("GET", "/cluster/ha")
def index(_call: Call) -> list[dict[str, str]]:
    """List what is below."""
    return [{"id": name} for name in ("status", "resources", "groups", "rules")]
