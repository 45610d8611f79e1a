"""Calls about replication jobs: the cluster's configuration, and what each node makes of it.

Registered with `routes.registry`; pve-manager: PVE/API2/ReplicationConfig.pm and PVE/API2/Replication.pm.
"""

import hashlib
from typing import Any

from controller.simulator.api import ApiError
from controller.simulator.formats import split_list
from controller.simulator.replication import ReplicationFailed
from controller.simulator.routes.cluster import require_writable
from controller.simulator.routes.registry import Answer, Call, route
from controller.simulator.routes.tasks import page

CONFIG = "file-replication_cfg"
_CONTROL = ("id", "node", "digest", "delete", "keep", "force", "type", "target")


def _digest(call: Call) -> str:
    return hashlib.sha1(repr(call.world.replication).encode(), usedforsecurity=False).hexdigest()


def _check_write(call: Call, vmid: int) -> None:
    """VM.Replicate came with 9.0; before, whoever may allocate on storages may do it."""
    if call.viewer.at_least("9.0"):
        call.check(f"/vms/{vmid}", "VM.Replicate")
    else:
        call.check("/storage", "Datastore.Allocate")


@route("GET", "/cluster/replication")
def index(call: Call) -> list[dict[str, Any]]:
    """List the jobs of the guests that the caller may see."""
    return [dict(job) for job in call.world.replication.values() if call.allowed(f"/vms/{job['guest']}", "VM.Audit")]


@route("GET", "/cluster/replication/{id}")
def entry(call: Call) -> dict[str, Any]:
    """Return one job."""
    job = call.world.replication.get(str(call.params["id"]))
    if job is None:
        raise ApiError(500, f"no such replication job '{call.params['id']}'")
    call.check(f"/vms/{job['guest']}", "VM.Audit")
    return {**job, "digest": _digest(call)}


@route("POST", "/cluster/replication")
def create(call: Call) -> None:
    """Add a job. Not checked: the storage on the target, whether the target is online, its free space."""
    world, ident, target = call.world, str(call.params["id"]), str(call.params["target"])
    vmid, _, number = ident.partition("-")
    _check_write(call, int(vmid))
    guest = world.guests.get(int(vmid))
    if guest is None:
        raise ApiError(500, f"Guest '{vmid}' does not exist.")
    if target not in world.nodes:
        raise ApiError(500, f"Target '{target}' does not exist.")
    source = call.get("source", guest.node)
    if source != guest.node:
        raise ApiError(500, f"Source '{source}' does not match current node of guest '{vmid}' ({guest.node})")
    if target == guest.node:
        raise ApiError(500, "Source and target must not be identical")
    if ident in world.replication:
        raise ApiError(500, f"replication job '{ident}' already exists")
    if world.replicator.job_to(guest, target) is not None:
        raise ApiError(500, f"replication job for guest '{vmid}' to target 'local/{target}' already exists")
    try:
        volumes = world.replicator.replicated(guest)
    except ReplicationFailed as failure:
        raise ApiError(500, str(failure)) from failure
    if not volumes:
        raise ApiError(500, "No replicatable volumes found")
    require_writable(call, CONFIG)
    job: dict[str, Any] = {"id": ident, "type": "local", "guest": int(vmid), "jobnum": int(number)}
    job |= {"target": target, "source": guest.node}
    world.replication[ident] = job | {key: value for key, value in call.params.items() if key not in _CONTROL}
    world.replicator.wake()


@route("PUT", "/cluster/replication/{id}")
def change(call: Call) -> None:
    """Change a job; its target is fixed."""
    ident, world = str(call.params["id"]), call.world
    _check_write(call, int(ident.partition("-")[0]))
    require_writable(call, CONFIG)
    if ident not in world.replication:
        raise ApiError(500, f"no such job '{ident}'")
    if call.get("digest") not in (None, _digest(call)):
        raise ApiError(500, "detected modified configuration - file changed by other user? Try again.")
    job = world.replication[ident]
    for key in split_list(str(call.get("delete", ""))):
        job.pop(key, None)
    job.update({key: value for key, value in call.params.items() if key not in _CONTROL})
    if not job.get("disable"):
        job.pop("disable", None)
    world.replicator.wake()


@route("DELETE", "/cluster/replication/{id}")
def delete(call: Call) -> None:
    """Mark a job for removal, or drop its entry at once with `force`."""
    ident, world = str(call.params["id"]), call.world
    _check_write(call, int(ident.partition("-")[0]))
    if call.get("keep") and call.get("force"):
        raise ApiError(400, "Parameter verification failed.", errors={"keep": "conflicts with parameter 'force'"})
    require_writable(call, CONFIG)
    if ident not in world.replication:
        raise ApiError(500, f"no such job '{ident}'")
    if call.get("force"):
        world.replicator.drop(ident)
        return
    world.replication[ident]["remove_job"] = "local" if call.get("keep") else "full"
    world.replicator.wake()


@route("GET", "/nodes/{node}/replication")
def node_index(call: Call) -> list[dict[str, Any]]:
    """List the jobs of the guests on the node; takes the cluster's lock and repairs those of stolen guests."""
    require_writable(call, CONFIG)
    replicator, node = call.world.replicator, call.node.name
    return [
        replicator.row(node, job)
        for job in replicator.on_node(node)
        if call.get("guest") in (None, job["guest"]) and call.allowed(f"/vms/{job['guest']}", "VM.Audit")
    ]


def _job(call: Call) -> dict[str, Any]:
    ident = str(call.params["id"])
    require_writable(call, CONFIG)
    job = next((job for job in call.world.replicator.on_node(call.node.name) if job["id"] == ident), None)
    if job is None:
        raise ApiError(500, f"no such replication job '{ident}'")
    call.check(f"/vms/{job['guest']}", "VM.Audit")
    return job


@route("GET", "/nodes/{node}/replication/{id}")
def job_index(_call: Call) -> list[dict[str, str]]:
    """List what is below a job."""
    return [{"name": name} for name in ("schedule_now", "log", "status")]


@route("GET", "/nodes/{node}/replication/{id}/status")
def status(call: Call) -> dict[str, Any]:
    """Return one job with its state on this node."""
    return call.world.replicator.row(call.node.name, _job(call))


@route("GET", "/nodes/{node}/replication/{id}/log")
def log(call: Call) -> Answer:
    """Return the log of the last run on this node."""
    ident = str(call.params["id"])
    vmid = int(ident.partition("-")[0])
    if not call.allowed(f"/nodes/{call.node.name}", "Sys.Audit"):
        call.check(f"/vms/{vmid}", "VM.Audit")
    lines = call.world.replicator.log(call.node.name, ident)
    return page(lines or ["unable to open file - No such file or directory"], call)


@route("POST", "/nodes/{node}/replication/{id}/schedule_now")
def schedule_now(call: Call) -> str:
    """Make a job due at the next tick."""
    ident = str(call.params["id"])
    job = call.world.replication.get(ident)
    if job is None:
        raise ApiError(500, f"no such replication job '{ident}'")
    _check_write(call, job["guest"])
    if call.world.replicator.state(call.node.name, ident).pid:
        lock = f"/var/lock/pve-manager/pve-migrate-{job['guest']}"
        raise ApiError(500, f"can't lock file '{lock}' - got timeout", delay=10.0)
    call.world.replicator.state(call.node.name, ident).last_try = 0
    return ""
