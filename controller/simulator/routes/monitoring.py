"""Calls that monitoring tools make: backups that are missing, subscriptions, the quorum device.

Registered with `routes.registry`; pve-manager: PVE/API2/BackupInfo.pm, Subscription.pm and ClusterConfig.pm.
"""

import hashlib
from typing import Any

from controller.simulator.routes.registry import Call, route


@route("GET", "/cluster/backup-info/not-backed-up")
def not_backed_up(call: Call) -> list[dict[str, Any]]:
    """List the guests that no backup job takes; there are no jobs."""
    return [
        {"vmid": guest.vmid, "name": guest.name, "type": guest.type}
        for guest in call.world.guests.values()
        if call.allowed(f"/vms/{guest.vmid}", "VM.Audit")
    ]


@route("GET", "/nodes/{node}/subscription")
def subscription(call: Call) -> dict[str, Any]:
    """Say that the node has none."""
    server = hashlib.md5(call.node.name.encode(), usedforsecurity=False).hexdigest().upper()
    return {
        "status": "notfound",
        "message": "There is no subscription key",
        "serverid": server,
        "url": "https://www.proxmox.com/en/proxmox-virtual-environment/pricing",
    }


@route("GET", "/cluster/config/qdevice")
def qdevice(_call: Call) -> dict[str, Any]:
    """Return the state of the quorum device; there is none."""
    return {}
