"""What a pveproxy knows about guests, nodes and storages by hearsay: the ten-second broadcasts, read through a two-second dump.

Used by the lists of `routes`. Nothing is computed while nobody asks: numbers as of a broadcast follow from the state, and a
guest that changed since keeps its last broadcast in `Guest.shadow`.
"""

from dataclasses import dataclass
from typing import Any

from controller.simulator.guests import Guest, guest_numbers
from controller.simulator.nodes import EXPIRY, WARM_UP, Node
from controller.simulator.world import World

DUMP_LIFE = 2.0
"""Seconds that a dump of all numbers is used (pve-cluster: src/pmxcfs/status.c rrd_dump)."""


@dataclass(slots=True)
class Dump:
    """All numbers known to one node's pmxcfs at `built`: by VMID, by node, and (used, size) by node and storage."""

    built: float
    guests: dict[int, dict[str, Any]]
    nodes: dict[str, dict[str, Any]]
    storages: dict[tuple[str, str], tuple[int, int]]


def last_heard(world: World, viewer: str, name: str) -> float:
    """Return when a node's last broadcast reached `viewer`."""
    node = world.nodes[name]
    if not node.powered:
        tick = node.tick_before(node.down_at)
    elif node.group != world.nodes[viewer].group:
        tick = node.tick_before(world.split_at)
    else:
        tick = node.tick_before(world.now)
        if node.down_at > float("-inf") and tick < node.booted_at + WARM_UP:
            tick = node.tick_before(node.down_at)
    return tick


def last_broadcast(world: World, viewer: str, name: str) -> float | None:
    """Return when `viewer` last heard of a node's numbers, None when that is too long ago."""
    tick = last_heard(world, viewer, name)
    return tick if world.now - tick <= EXPIRY and tick >= world.nodes[name].joined_at else None


def dump(world: World, viewer: str) -> Dump:
    """Return the dump of a node, a fresh one when the last is older than two seconds; one for each side of a partition."""
    dumps: dict[int, Dump] = world.derived.setdefault("dumps", {})
    side = world.nodes[viewer].group
    held = dumps.get(side)
    if held is None or not 0 <= world.now - held.built < DUMP_LIFE:
        held = dumps[side] = _build(world, viewer)
    return held


def _build(world: World, viewer: str) -> Dump:
    ticks = {name: last_broadcast(world, viewer, name) for name in world.nodes}
    nodes = world.nodes
    guests: dict[int, dict[str, Any]] = {}
    used: dict[str, list[float]] = {name: [0.0, 0.0] for name in nodes}
    for guest in world.guests_seen_by(viewer):
        tick = ticks[guest.node]
        if tick is None:
            continue
        numbers = _seen(nodes[guest.node], guest, tick)
        if numbers is None:
            continue
        guests[guest.vmid] = numbers
        sums = used[guest.node]
        sums[0] += numbers["mem"]
        sums[1] += numbers["cpu"] * numbers["maxcpu"]
    found = Dump(world.now, guests, {}, {})
    for name, tick in ticks.items():
        if tick is not None:
            found.nodes[name] = node_numbers(nodes[name], tick, memory=used[name][0], cpus=used[name][1])
    for storage in world.storages.values():
        own, used_up = not storage.shared, None
        for name, tick in ticks.items():
            if tick is not None and storage.enabled(name) and storage.created <= tick:
                last = storage.inactive.get(name)
                if last is None or world.now - last <= EXPIRY:
                    if own or used_up is None:
                        used_up = storage.used(name)
                    found.storages[name, storage.name] = (used_up, storage.size)
    return found


def _seen(node: Node, guest: Guest, tick: float) -> dict[str, Any] | None:
    numbers = guest.shadow if guest.changed > tick else guest_numbers(node, guest, tick)
    if numbers is None or "memhost" not in numbers or node.at_least("9.0"):
        return numbers
    return {key: value for key, value in numbers.items() if key != "memhost"}


def node_numbers(node: Node, moment: float, *, memory: float, cpus: float) -> dict[str, Any]:
    """Return what a node broadcasts about itself."""
    file = node.file
    return {
        "maxcpu": file.cpus,
        "maxmem": file.memory,
        "maxdisk": file.root_disk,
        "cpu": min(1.0, cpus / file.cpus + 0.01),
        "mem": int(min(file.memory, file.overhead + memory)),
        "disk": file.root_disk // 10,
        "uptime": max(0, int(moment - node.booted_at)),
    }


def usage(world: World, node: Node) -> tuple[float, float]:
    """Return bytes and CPUs that the guests of a node use right now."""
    memory = cpus = 0.0
    for guest in world.guests.values():
        if guest.node == node.name and guest.running:
            memory += guest.rss
            cpus += guest.load * min(guest.vcpus or node.file.cpus, node.file.cpus)
    return memory, cpus


def guest_row(world: World, guest: Guest) -> dict[str, Any]:
    """Return a guest's numbers of this moment, as its own node computes them when asked."""
    return guest_numbers(world.nodes[guest.node], guest, world.now)


def ha_states(world: World) -> dict[int, str]:
    """Return VMID to HA state of the managed guests."""
    return {int(sid.partition(":")[2]): world.ha.state_of(sid) for sid in world.ha_resources}


def ha_state(world: World) -> object:
    """Return something that changes when `ha_states` does."""
    return (tuple(ha_states(world).items()), tuple(world.ha.node_status.items()))


def ha_node_state(world: World, name: str) -> str | None:
    """Return the HA manager's word on a node, None when HA was never used."""
    return world.ha.node_status.get(name)
