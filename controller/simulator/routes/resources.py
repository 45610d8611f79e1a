"""`GET /cluster/resources`: three layers of different age in one list.

Registered with `routes.registry`. Places, locks and tags are of this moment; numbers are what each node's pvestatd said up
to ten seconds ago, read from a dump that is two seconds old at most and forgets what was not renewed for five minutes
(pve-manager: PVE/API2/Cluster.pm, PVE/API2Tools.pm; pve-cluster: src/pmxcfs/status.c).
"""

from dataclasses import dataclass
from typing import Any

from controller.simulator import statistics
from controller.simulator.guests import Guest
from controller.simulator.routes.registry import Call, route
from controller.simulator.statistics import Dump
from controller.simulator.world import World

_TYPES = {"vm": ("qemu", "lxc"), "storage": ("storage",), "node": ("node",), "sdn": ()}


@dataclass(slots=True)
class _Cached:
    """A finished list of guests and what it was made from."""

    key: tuple[object, ...]
    dump: Dump
    rows: list[dict[str, Any]]


@route("GET", "/cluster/resources")
def resources(call: Call) -> list[dict[str, Any]]:
    """List what the caller may see."""
    wanted = call.get("type")
    dump = statistics.dump(call.world, call.viewer.name)
    rows: list[dict[str, Any]] = []
    if wanted in (None, "vm"):
        rows += _guests(call, dump)
    if wanted is None:
        rows += _pools(call, dump)
    if wanted in (None, "node"):
        rows += [_node(call, dump, name) for name in call.world.nodes]
    if wanted in (None, "storage"):
        rows += _storages(call, dump)
    if wanted is None and call.viewer.at_least("9.1") and call.allowed("/sdn/zones/localnetwork", "SDN.Audit"):
        rows += [_zone(name) for name in call.world.nodes if name in dump.nodes]
    return rows


def _guests(call: Call, dump: Dump) -> list[dict[str, Any]]:
    world = call.world
    lists: dict[tuple[int, str], _Cached] = world.derived.setdefault("resources", {})
    slot = (call.viewer.group, call.auth.full)
    key = (world.revision, world.access.revision, statistics.ha_state(world))
    held = lists.get(slot)
    if held is not None and held.dump is dump and held.key == key:
        return held.rows
    audit = call.world.access.effective
    who = call.auth.full
    show_pools = {name: "Pool.Audit" in audit(who, f"/pool/{name}") for name in world.pools}
    managed = statistics.ha_states(world)
    rows = []
    for guest in world.guests_seen_by(call.viewer.name):
        vmid = guest.vmid
        if "VM.Audit" not in audit(who, f"/vms/{vmid}"):
            continue
        row = {"id": f"{guest.type}/{vmid}", "vmid": vmid, "type": guest.type, "node": guest.node}
        numbers = dump.guests.get(vmid)
        if numbers is None:
            row["status"] = "unknown"
        else:
            row |= numbers
        _add_live(row, guest, managed)
        if guest.pool is not None and show_pools.get(guest.pool):
            row["pool"] = guest.pool
        rows.append(row)
    lists[slot] = _Cached(key, dump, rows)
    return rows


def _add_live(row: dict[str, Any], guest: Guest, managed: dict[int, str]) -> None:
    config = guest.config
    if "lock" in config:
        row["lock"] = config["lock"]
    if config.get("tags"):
        row["tags"] = config["tags"]
    if guest.vmid in managed:
        row["hastate"] = managed[guest.vmid]


def _node(call: Call, dump: Dump, name: str) -> dict[str, Any]:
    world = call.world
    online = world.online(call.viewer.name, name)
    row: dict[str, Any] = {"id": f"node/{name}", "node": name, "type": "node", "level": "", "cgroup-mode": 2}
    numbers = dump.nodes.get(name)
    row["status"] = "offline" if not online else "online" if numbers is not None else "unknown"
    state = statistics.ha_node_state(world, name)
    if state is not None and call.viewer.at_least("8.4"):
        row["hastate"] = state
    if numbers is not None and call.allowed(f"/nodes/{name}", "Sys.Audit"):
        row |= {key: numbers[key] for key in ("maxcpu", "maxmem", "maxdisk")}
        if online:
            row |= {key: numbers[key] for key in ("cpu", "mem", "disk", "uptime")}
    return row


def _storages(call: Call, dump: Dump) -> list[dict[str, Any]]:
    rows = []
    for storage in call.world.storages.values():
        if not call.allowed(f"/storage/{storage.name}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True):
            continue
        for node in call.world.nodes:
            if not storage.enabled(node):
                continue
            row: dict[str, Any] = {
                "id": f"storage/{node}/{storage.name}",
                "type": "storage",
                "storage": storage.name,
                "node": node,
                "plugintype": storage.type,
                "content": ",".join(storage.content),
                "shared": int(storage.shared),
                "status": "unknown",
            }
            numbers = dump.storages.get((node, storage.name))
            if numbers is not None:
                row |= {"status": "available", "disk": numbers[0], "maxdisk": numbers[1]}
            rows.append(row)
    return rows


def _pools(call: Call, dump: Dump) -> list[dict[str, Any]]:
    sums = _pool_sums(call.world, dump)
    return [
        {"id": f"/pool/{name}", "pool": name, "type": "pool", **sums.get(name, {})}
        for name in call.world.pools
        if call.allowed(f"/pool/{name}", "Pool.Audit")
    ]


def _pool_sums(world: World, dump: Dump) -> dict[str, dict[str, Any]]:
    kept: tuple[Dump, int, dict[str, dict[str, Any]]] | None = world.derived.get("pool-sums")
    if kept is not None and kept[0] is dump and kept[1] == world.access.revision:
        return kept[2]
    sums: dict[str, dict[str, Any]] = {}
    for guest in world.guests.values():
        numbers = dump.guests.get(guest.vmid)
        if guest.pool is not None and numbers is not None and numbers["uptime"]:
            _add_to_pool(sums.setdefault(guest.pool, dict.fromkeys(_SUMMED, 0)), numbers)
    world.derived["pool-sums"] = (dump, world.access.revision, sums)
    return sums


_SUMMED = ("maxcpu", "cpu", "maxmem", "mem", "uptime")


def _add_to_pool(total: dict[str, Any], numbers: dict[str, Any]) -> None:
    """Add a running guest: memory and CPUs are summed, load is their mean, uptime the longest."""
    cpus = total["maxcpu"] + numbers["maxcpu"]
    total["cpu"] = (total["cpu"] * total["maxcpu"] + numbers["cpu"] * numbers["maxcpu"]) / cpus
    total["maxcpu"] = cpus
    total["maxmem"] += numbers["maxmem"]
    total["mem"] += numbers["mem"]
    total["uptime"] = max(total["uptime"], numbers["uptime"])


def _zone(node: str) -> dict[str, Any]:
    return {
        "id": f"network/{node}/zone/localnetwork",
        "type": "network",
        "network": "localnetwork",
        "network-type": "zone",
        "node": node,
        "status": "ok",
    }
