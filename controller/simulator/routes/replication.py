"""Calls about replication jobs that read.

Registered with `routes.registry`; pve-manager: PVE/API2/ReplicationConfig.pm and PVE/API2/Replication.pm.
"""

from typing import Any

from controller.simulator.api import ApiError
from controller.simulator.routes.cluster import require_writable
from controller.simulator.routes.registry import Call, route


@route("GET", "/cluster/replication")
def index(call: Call) -> list[dict[str, Any]]:
    """List the jobs of the guests that the caller may see."""
    return [job for job in call.world.replication.values() if call.allowed(f"/vms/{job['guest']}", "VM.Audit")]


@route("GET", "/cluster/replication/{id}")
def entry(call: Call) -> dict[str, Any]:
    """Return one job."""
    job = call.world.replication.get(str(call.params["id"]))
    if job is None:
        raise ApiError(500, f"no such replication job '{call.params['id']}'")
    call.check(f"/vms/{job['guest']}", "VM.Audit")
    return {**job, "digest": "0" * 40}


@route("GET", "/nodes/{node}/replication")
def node_index(call: Call) -> list[dict[str, Any]]:
    """List the jobs of the guests on the node; takes the cluster's lock."""
    require_writable(call, "file-replication_cfg")
    return []
