"""Lists of guests and what one is doing right now.

Registered with `routes.registry`; qemu-server: PVE/API2/Qemu.pm, pve-container: PVE/API2/LXC.pm. Asked like this, the guest's
own node answers from the present; the ten-second broadcasts are for `/cluster/resources`.
"""

from typing import Any

from controller.simulator import statistics
from controller.simulator.guests import Guest
from controller.simulator.routes.registry import Call, route

_PRESSURE = (
    "pressurecpusome", "pressurecpufull", "pressureiosome", "pressureiofull", "pressurememorysome",
    "pressurememoryfull",
)  # fmt: skip


@route("GET", "/nodes/{node}/qemu")
def machines(call: Call) -> list[dict[str, Any]]:
    """List the virtual machines whose configuration is on the node."""
    full = bool(call.get("full"))
    return [_machine(call, guest, full=full) for guest in _visible(call, "qemu")]


@route("GET", "/nodes/{node}/lxc")
def containers(call: Call) -> list[dict[str, Any]]:
    """List the containers whose configuration is on the node."""
    return [_container(call, guest) for guest in _visible(call, "lxc")]


def _visible(call: Call, kind: str) -> list[Guest]:
    return [
        guest
        for guest in call.world.guests.values()
        if guest.node == call.node.name and guest.type == kind and call.allowed(f"/vms/{guest.vmid}", "VM.Audit")
    ]


def _machine(call: Call, guest: Guest, *, full: bool) -> dict[str, Any]:
    numbers = statistics.guest_row(call.world, guest)
    row: dict[str, Any] = {key: numbers[key] for key in _COMMON}
    row |= {"vmid": guest.vmid, "cpus": numbers["maxcpu"], "status": "running" if guest.running else "stopped"}
    if call.node.at_least("9.0"):
        row["memhost"] = numbers["memhost"]
    for key in ("lock", "tags"):
        if guest.config.get(key):
            row[key] = guest.config[key]
    if guest.template:
        row["template"] = 1
    if any(key.startswith("serial") for key in guest.config):
        row["serial"] = 1
    if guest.running:
        row["pid"] = guest.pid
        if call.node.at_least("9.0"):
            row |= dict.fromkeys(_PRESSURE, 0)
    if full:
        row["qmpstatus"] = guest.run
    return row


_COMMON = ("name", "uptime", "cpu", "mem", "maxmem", "disk", "maxdisk", "netin", "netout")


def _container(call: Call, guest: Guest) -> dict[str, Any]:
    numbers = statistics.guest_row(call.world, guest)
    row: dict[str, Any] = {key: numbers[key] for key in (*_COMMON, "diskread", "diskwrite")}
    swap = int(guest.config.get("swap", 0)) << 20
    row |= {"vmid": guest.vmid, "type": "lxc", "cpus": numbers["maxcpu"], "swap": 0, "maxswap": swap}
    row["status"] = "running" if guest.running else "stopped"
    for key in ("lock", "tags"):
        if guest.config.get(key):
            row[key] = guest.config[key]
    if guest.template:
        row["template"] = 1
    if guest.running:
        row["pid"] = guest.pid
        if call.node.at_least("9.0"):
            row |= dict.fromkeys(_PRESSURE, 0)
    return row


@route("GET", "/nodes/{node}/qemu/{vmid}/status/current")
def machine_status(call: Call) -> dict[str, Any]:
    """Return everything about a virtual machine's process."""
    guest = call.guest("qemu")
    row = _machine(call, guest, full=True)
    row |= {"ha": _ha(call, guest), "clipboard": None}
    if guest.running:
        numbers = statistics.guest_row(call.world, guest)
        row |= {key: numbers[key] for key in ("diskread", "diskwrite")}
        row |= {"running-machine": guest.machine, "running-qemu": guest.qemu}
        nics = {
            f"tap{guest.vmid}i{key.removeprefix('net')}": {"netin": row["netin"], "netout": row["netout"]}
            for key in guest.config
            if key.startswith("net")
        }
        row |= {"nics": nics} if nics else {}
        if str(guest.config.get("agent", "0")).partition(",")[0] in ("1", "enabled=1"):
            row["agent"] = 1
    return row


@route("GET", "/nodes/{node}/lxc/{vmid}/status/current")
def container_status(call: Call) -> dict[str, Any]:
    """Return everything about a container's process."""
    guest = call.guest("lxc")
    return {**_container(call, guest), "ha": _ha(call, guest)}


def _ha(call: Call, guest: Guest) -> dict[str, Any]:
    state = statistics.ha_states(call.world).get(guest.vmid)
    return {"managed": 0} if state is None else {"managed": 1, "state": state}
