"""What the guest agent is asked through a node.

Registered with `routes.registry`. The order of the checks is that of qemu-server: PVE/QemuServer/Agent.pm; an agent that the
configuration names and that runs always answers here, until a fault stops it.
"""

from typing import Any

from controller.simulator.api import ApiError
from controller.simulator.guests import Guest
from controller.simulator.routes.registry import Call, route


@route("POST", "/nodes/{node}/qemu/{vmid}/agent/ping")
def ping(call: Call) -> dict[str, Any]:
    """Return the empty answer of a live agent."""
    guest = call.guest("qemu")
    if not _configured(guest):
        raise ApiError(500, "No QEMU guest agent configured")
    if not guest.running:
        raise ApiError(500, f"VM {guest.vmid} is not running")
    if guest.run != "running":
        raise ApiError(500, "QEMU guest agent is not running")
    return {"result": {}}


def _configured(guest: Guest) -> bool:
    return str(guest.config.get("agent", "0")).partition(",")[0] in ("1", "enabled=1")
