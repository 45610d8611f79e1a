"""Calls that only say what is below them, and answers that are always the same in a simulated cluster.

Registered with `routes.registry`; pve-manager: PVE/API2.pm, PVE/API2/Cluster.pm and PVE/API2/Nodes.pm.
"""

from typing import Any

from controller.simulator import statistics
from controller.simulator.api import ApiError
from controller.simulator.routes.registry import Call, route

RRD_ROWS = 60
_CLUSTER = """acme backup backup-info bulk-action ceph config firewall ha jobs log mapping metrics notifications nextid options qemu
    replication resources status tasks sdn"""
_NODE = """aplinfo apt capabilities ceph certificates config disks dns firewall hardware hosts journal lxc migrateall netstat
    network qemu query-oci-repo-tags query-url-metadata replication report rrd rrddata scan sdn services spiceshell startall status
    stopall storage subscription suspendall syslog tasks termproxy time version vncshell vzdump wakeonlan"""
_MACHINE = """config cloudinit pending status unlink vncproxy termproxy migrate resize move rrd rrddata monitor agent snapshot
    spiceproxy sendkey firewall mtunnel remote_migrate"""
_CONTAINER = """config pending status vncproxy termproxy vncwebsocket spiceproxy migrate clone initlog rrd rrddata firewall
    snapshot resize interfaces mtunnel remote_migrate"""
_POWER = "current start stop reset shutdown suspend reboot"
_SERVICES = "chrony corosync cron ksmtuned lxcfs postfix pve-cluster pve-firewall pve-ha-crm pve-ha-lrm pvedaemon pveproxy pvestatd"


@route("GET", "/")
def root(_call: Call) -> list[dict[str, str]]:
    """List the top of the API."""
    return [{"subdir": name} for name in ("version", "cluster", "nodes", "storage", "access", "pools")]


@route("GET", "/cluster")
def cluster(_call: Call) -> list[dict[str, str]]:
    """List what is below `/cluster`."""
    return [{"name": name} for name in _CLUSTER.split()]


@route("GET", "/nodes/{node}")
def node(_call: Call) -> list[dict[str, str]]:
    """List what is below a node."""
    return [{"name": name} for name in _NODE.split()]


@route("GET", "/nodes/{node}/qemu/{vmid}")
def machine(_call: Call) -> list[dict[str, str]]:
    """List what is below a virtual machine; whether there is one is not looked at."""
    return [{"subdir": name} for name in _MACHINE.split()]


@route("GET", "/nodes/{node}/lxc/{vmid}")
def container(_call: Call) -> list[dict[str, str]]:
    """List what is below a container; whether there is one is not looked at."""
    return [{"subdir": name} for name in _CONTAINER.split()]


@route("GET", "/nodes/{node}/qemu/{vmid}/status")
@route("GET", "/nodes/{node}/lxc/{vmid}/status")
def power(_call: Call) -> list[dict[str, str]]:
    """List what can be done to a guest."""
    return [{"subdir": name} for name in _POWER.split()]


@route("GET", "/nodes/{node}/tasks/{upid}")
def task(_call: Call) -> list[dict[str, str]]:
    """List what is below a task."""
    return [{"name": name} for name in ("log", "status")]


@route("GET", "/nodes/{node}/services")
def services(_call: Call) -> list[dict[str, str]]:
    """List the node's services, all at work."""
    state = {"state": "running", "active-state": "active", "unit-state": "enabled"}
    return [{"name": name, "service": name, "desc": name, **state} for name in _SERVICES.split()]


@route("GET", "/nodes/{node}/dns")
def dns(_call: Call) -> dict[str, str]:
    """Return the resolver's configuration."""
    return {"search": "example.com", "dns1": "192.0.2.53"}


@route("GET", "/cluster/sdn/zones")
@route("GET", "/cluster/sdn/vnets")
def sdn(_call: Call) -> list[dict[str, str]]:
    """List SDN's zones or networks; there are none."""
    return []


@route("GET", "/cluster/firewall/options")
def firewall(_call: Call) -> dict[str, str]:
    """Return the firewall's options: none are set."""
    return {"digest": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}


@route("GET", "/nodes/{node}/rrddata")
def node_history(call: Call) -> list[dict[str, Any]]:
    """List the node's numbers over time; see `_history`."""
    node = call.node
    memory, cpus = statistics.usage(call.world, node)
    used = int(min(node.memory, node.file.overhead + memory))
    row = dict.fromkeys(_NODE_HISTORY.split(), 0) | {"cpu": cpus / node.file.cpus, "maxcpu": node.file.cpus}
    row |= {"memtotal": node.memory, "memused": used, "memavailable": node.memory - used, "loadavg": round(cpus, 2)}
    return _history(call, row | {"roottotal": node.file.root_disk, "rootused": node.file.root_disk // 8})


@route("GET", "/nodes/{node}/qemu/{vmid}/rrddata")
@route("GET", "/nodes/{node}/lxc/{vmid}/rrddata")
def guest_history(call: Call) -> list[dict[str, Any]]:
    """List a guest's numbers over time; see `_history`.

    Every node keeps those of all guests, so the one that is asked answers, whatever the path says (qemu-server:
    PVE/API2/Qemu.pm rrddata, which has no `proxyto`).
    """
    vmid = int(call.params["vmid"])
    guest = call.world.guests.get(vmid)
    if guest is None:
        folder = "pve-vm-9.0" if call.node.at_least("9.0") else "pve2-vm"
        raise ApiError(500, f"RRD error: opening '/var/lib/rrdcached/db/{folder}/{vmid}': No such file or directory")
    numbers = statistics.guest_row(call.world, guest)
    return _history(call, {key: numbers.get(key, 0) for key in _GUEST_HISTORY.split()})


@route("GET", "/nodes/{node}/storage/{storage}/rrddata")
def storage_history(call: Call) -> list[dict[str, Any]]:
    """List a storage's numbers over time; see `_history`."""
    storage = call.world.storages[str(call.params["storage"])]
    return _history(call, {"total": storage.size, "used": storage.used(call.node.name)})


_NODE_HISTORY = """arcsize cpu iowait loadavg maxcpu memavailable memtotal memused netin netout pressurecpusome pressureiofull
    pressureiosome pressurememoryfull pressurememorysome roottotal rootused swaptotal swapused"""
_GUEST_HISTORY = """cpu disk maxcpu maxdisk maxmem mem memhost netin netout pressurecpufull pressurecpusome pressureiofull
    pressureiosome pressurememoryfull pressurememorysome"""
_STEPS = {"hour": 60, "day": 1800, "week": 10_800, "month": 43_200}


def _history(call: Call, numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """Moments of a time frame; the simulation keeps no history, so only the last one has numbers, those of now."""
    step = _STEPS.get(str(call.get("timeframe")), 604_800)
    last = int(call.world.now) // step * step
    return [{"time": last - step * ago} for ago in range(RRD_ROWS - 1, 0, -1)] + [{"time": last, **numbers}]


@route("POST", "/nodes/{node}/qemu/{vmid}/agent/ping")
@route("GET", "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces")
@route("GET", "/nodes/{node}/qemu/{vmid}/agent/info")
def agent(call: Call) -> dict[str, Any]:
    """Talk to the guest agent; where one runs it answers a ping, and has nothing else to tell."""
    guest = call.guest("qemu")
    if str(guest.config.get("agent", "0")).partition(",")[0] not in ("1", "enabled=1"):
        raise ApiError(500, "No QEMU guest agent configured")
    if not guest.running:
        raise ApiError(500, f"VM {guest.vmid} is not running")
    if guest.agent and guest.run == "running" and call.request.method == "POST":
        return {"result": {}}
    raise ApiError(500, "QEMU guest agent is not running")
