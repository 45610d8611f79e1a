"""Calls below `/cluster` that concern the cluster as a whole: membership, options, tasks, numbers, mappings.

Registered with `routes.registry`; pve-manager: PVE/API2/Cluster.pm and PVE/API2/ClusterConfig.pm.
"""

import re
from datetime import UTC, datetime
from typing import Any

from controller.simulator import calendar
from controller.simulator.api import REASONS, ApiError
from controller.simulator.nodes import PCI_DEVICES, TICK
from controller.simulator.preconditions import properties
from controller.simulator.routes.registry import Call, route
from controller.simulator.statistics import last_heard
from controller.simulator.tasks import BROADCAST, Task, row

LOCK_WAIT = 10.0
"""Seconds for which a cluster-wide lock is tried (pve-cluster: PVE/Cluster.pm cfs_lock)."""
_PARSED = ("crs", "migration", "replication", "ha", "next-id", "tag-style", "user-tag-access", "notify", "webauthn")


def require_writable(call: Call, lock: str, what: str = "") -> None:
    """Refuse, after the wait for a cluster lock, when /etc/pve is read-only."""
    if not call.world.quorate(call.node.name):
        prefix = f"{what} failed: " if what else ""
        raise ApiError(500, f"{prefix}cfs-lock '{lock}' error: no quorum!", delay=LOCK_WAIT)


@route("GET", "/version")
@route("GET", "/nodes/{node}/version")
def version(call: Call) -> dict[str, Any]:
    """Name the pve-manager of the node that answers."""
    release = call.node.release
    answer: dict[str, Any] = {"version": release.manager, "release": call.node.version, "repoid": release.repoid}
    if "node" not in call.params and "console" in call.world.options:
        answer["console"] = call.world.options["console"]
    return answer


@route("GET", "/cluster/status")
def status(call: Call) -> list[dict[str, Any]]:
    """List the members as the asked node sees them."""
    world, viewer = call.world, call.viewer.name
    rows: list[dict[str, Any]] = []
    if world.formed:
        row = {"type": "cluster", "id": "cluster", "name": world.name, "nodes": len(world.nodes)}
        rows.append({**row, "version": len(world.nodes), "quorate": int(world.quorate(viewer))})
    rows += [
        {
            "type": "node",
            "id": f"node/{name}",
            "name": name,
            "nodeid": node.nodeid if world.formed else 0,
            "ip": node.ip,
            "local": int(name == viewer),
            "online": int(world.online(viewer, name)),
            "level": "",
        }
        for name, node in world.nodes.items()
    ]
    return rows


@route("GET", "/cluster/options")
def options(call: Call) -> dict[str, Any]:
    """Return datacenter.cfg with the property strings taken apart (pve-cluster: PVE/DataCenterConfig.pm)."""
    raw = call.world.options
    answer: dict[str, Any] = {"description": "", "mac_prefix": "BC:24:11"}
    for key, value in raw.items():
        if key in _PARSED:
            if key == "replication" and not call.viewer.at_least("9.0"):
                continue
            answer[key] = {name: _number(part) for name, part in _parsed(call, key).items()}
        elif key == "registered-tags":
            answer[key] = sorted(set(_tags(str(value))))
        else:
            answer[key] = str(value)
    used = {
        tag
        for guest in call.world.guests.values()
        if "tags" in guest.config and call.allowed(f"/vms/{guest.vmid}", "VM.Audit")
        for tag in _tags(str(guest.config["tags"]))
    }
    answer["allowed-tags"] = sorted(used | set(_tags(str(raw.get("registered-tags", "")))))
    if not call.allowed("/", "Sys.Audit"):
        return {key: value for key, value in answer.items() if key in ("console", "tag-style", "allowed-tags")}
    return answer


def _parsed(call: Call, key: str) -> dict[str, str]:
    parts = properties(call.world, key)
    if key == "crs" and "type" in parts:
        parts["ha"] = parts.pop("type")
    if key == "crs" and not call.viewer.at_least("9.2"):  # the balancer came with pve-ha-manager 5.2
        parts = {name: part for name, part in parts.items() if not name.startswith("ha-auto-rebalance")}
    return parts


def _number(text: str) -> str | int:
    return int(text) if re.fullmatch(r"\d+", text) else text


def _tags(text: str) -> list[str]:
    return [tag for tag in re.split(r"[;,\s]+", text) if tag]


@route("PUT", "/cluster/options")
def set_options(call: Call) -> None:
    """Write datacenter.cfg."""
    require_writable(call, "file-datacenter_cfg")
    world = call.world
    for key in _tags(str(call.get("delete", ""))):
        world.options.pop(key, None)
    world.options.update({key: value for key, value in call.params.items() if key != "delete"})
    world.revision += 1


@route("GET", "/cluster/nextid")
def nextid(call: Call) -> str:
    """Return a free VMID, as text."""
    wanted = call.get("vmid")
    if wanted is None:
        return str(call.world.next_vmid())
    if int(wanted) in call.world.guests:
        raise ApiError(400, REASONS[400], errors={"vmid": f"VM {wanted} already exists"})
    return str(wanted)


@route("GET", "/cluster/tasks")
def cluster_tasks(call: Call) -> list[dict[str, Any]]:
    """List what each node last broadcast: running tasks, and the last finished ones.

    Starts show at once, ends with the node's next broadcast. A token without Sys.Audit sees nothing, not even its own.
    """
    world = call.world
    everything = call.allowed("/", "Sys.Audit")
    rows: list[dict[str, Any]] = []
    for name in world.nodes:
        heard = last_heard(world, call.viewer.name, name)
        silent = heard < world.now - TICK
        finished = 0
        for task in reversed(world.tasks.of_node.get(name, ())):
            if task.vanished or not (everything or task.owner()["user"] == call.auth.full):
                continue
            if silent and task.starttime > heard:
                continue
            over = task.endtime is not None and task.endtime <= heard
            finished += over
            if not over or finished <= BROADCAST:
                rows.append(_broadcast(task, heard, over=over))
    return rows


def _broadcast(task: Task, heard: float, *, over: bool) -> dict[str, Any]:
    answer = {**row(task), **task.owner()}
    if over:
        assert task.endtime is not None
        saved: str | int = 1 if heard - task.endtime < TICK else "1"
        return {**answer, "endtime": int(task.endtime), "status": task.exitstatus, "saved": saved}
    return {**answer, "pid": task.pid, "saved": "0"}


@route("GET", "/cluster/log")
def log(call: Call) -> list[dict[str, Any]]:
    """List the cluster log; in the simulation it only ever says that it begins."""
    rows = [
        {"id": f"1:{name}", "uid": str(node.nodeid), "node": name, "user": "root", "pri": 6, "pid": 138, "tag": "cluster",
         "time": int(node.booted_at), "msg": "starting cluster log"}
        for name, node in call.world.nodes.items()
    ]  # fmt: skip
    return rows[: int(call.get("max", len(rows)))]


@route("GET", "/cluster/backup")
def backup_jobs(_call: Call) -> list[dict[str, Any]]:
    """List backup jobs; there are none."""
    return []


@route("GET", "/cluster/mapping/pci")
@route("GET", "/cluster/mapping/usb")
@route("GET", "/cluster/mapping/dir")
def mappings(call: Call) -> list[dict[str, Any]]:
    """List resource mappings."""
    kind = call.request.path.rstrip("/").rpartition("/")[2]
    rows = []
    for name, entry in call.world.mappings[kind].items():
        if call.allowed(f"/mapping/{kind}/{name}", "Mapping.Audit", "Mapping.Use", "Mapping.Modify", any_of=True):
            row = {"id": name, "type": kind, "digest": "0" * 40, **entry}
            if (node := call.get("check-node")) is not None:
                row["errors" if kind == "usb" else "checks"] = _mapping_findings(kind, entry, str(node))
            rows.append(row)
    return rows


def _mapping_findings(kind: str, entry: dict[str, Any], node: str) -> list[dict[str, str]]:
    """Return what is wrong with a mapping on a node: none there, or a device that the node does not have."""
    parts = [dict(p.partition("=")[::2] for p in str(part).split(",")) for part in entry.get("map", ())]
    mine = [part for part in parts if part.get("node") == node]
    if not mine:
        return [{"severity": "warning", "message": f"No mapping for node {node}."}]
    absent = [part["path"] for part in mine if kind == "pci" and part.get("path") not in PCI_DEVICES]
    return [{"severity": "error", "message": f"pci device '{path}' not found\n"} for path in absent]


@route("POST", "/cluster/mapping/pci")
@route("POST", "/cluster/mapping/usb")
@route("POST", "/cluster/mapping/dir")
def add_mapping(call: Call) -> None:
    """Add a resource mapping."""
    kind, name = call.request.path.rstrip("/").rpartition("/")[2], str(call.params["id"])
    if name in call.world.mappings[kind]:
        raise ApiError(500, f"create {kind} mapping failed: {kind.upper()} ID '{name}' already defined")
    entry = {key: value for key, value in call.params.items() if key not in ("id", "digest")}
    call.world.mappings[kind][name] = entry
    call.world.revision += 1


@route("GET", "/cluster/jobs/schedule-analyze")
def schedule_analyze(call: Call) -> list[dict[str, Any]]:
    """Name the next moments of a calendar event."""
    event = calendar.parse(str(call.get("schedule")))
    moment = float(call.get("starttime") or call.world.now)
    rows: list[dict[str, Any]] = []
    while len(rows) < int(call.get("iterations", 10)) and (moment := event.next_after(moment)):
        utc = datetime.fromtimestamp(moment, tz=UTC).strftime("%a %b %e %H:%M:%S %Y")
        rows.append({"timestamp": int(moment), "utc": utc})
    return rows
