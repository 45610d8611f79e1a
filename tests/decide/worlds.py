"""Random small clusters, biased to be tight: memory nearly full, groups as big as the cluster, drains and flights at once."""

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from controller.model.ids import GuestKind, Upid, Vmid
from controller.model.memory import Backoff, Memory
from controller.model.observed import Guest, HaNodeState, NodeState, Observed, Power, Task
from controller.model.reasons import Why
from controller.specs import Resource, Specs
from tests.decide.build import (
    AT,
    apart,
    cluster,
    flight,
    guest,
    maintenance,
    memory,
    node,
    only_on,
    origin,
    policy,
    pve_node,
    seen,
    specs,
)


@dataclass(frozen=True)
class World:
    specs: Specs
    seen: Observed
    memory: Memory


@st.composite
def worlds(draw: st.DrawFn, *, calm: bool = False) -> World:
    """A cluster with everything that may go on in one; `calm`: no flights, locks, HA or failures."""
    names = [f"pve{i}" for i in range(1, draw(st.integers(2, 5)) + 1)]
    sizes = st.sampled_from([1, 2, 3, 4, 6, 8])
    vmids = range(101, 101 + draw(st.integers(1, 10)))
    guests = [draw(_guest(vmid, names, sizes, calm=calm)) for vmid in vmids]
    # Just enough memory for what is there, and little more: otherwise nothing is ever tight.
    nodes = []
    for name in names:
        load = sum((g.memory_bytes or 0) >> 30 for g in guests if g.node == name and g.power is not Power.STOPPED)
        gib = load + draw(st.sampled_from([0, 0, 1, 2, 3, 4, 8]))
        more: dict[str, Any] = {}
        if not calm and draw(st.integers(0, 9)) == 0:
            more = draw(
                st.sampled_from(
                    [{"state": NodeState.OFFLINE}, {"ha": HaNodeState.MAINTENANCE}, {"ha": HaNodeState.FENCE}]
                )
            )
        nodes.append(node(name, gib or 1, **more))
    look = seen(nodes, guests)
    if not calm:
        look = replace(look, tasks=tuple(draw(_tasks(guests))))
    wanted = specs(*draw(_resources(names, [g.vmid for g in guests], calm=calm)))
    return World(wanted, look, draw(_memory(guests, names, calm=calm)))


@st.composite
def _guest(draw: st.DrawFn, vmid: int, names: list[str], sizes: st.SearchStrategy[int], *, calm: bool) -> Guest:
    more: dict[str, Any] = {}
    if draw(st.integers(0, 4)) == 0:
        more["power"] = Power.STOPPED
        more["template"] = draw(st.booleans())
    if draw(st.integers(0, 4)) == 0:
        more["kind"] = GuestKind.LXC
    if not calm:
        odd = draw(st.integers(0, 19))
        if odd == 0:
            more["lock"] = draw(st.sampled_from(["backup", "migrate"]))
        elif odd == 1:
            more["ha_state"] = draw(st.sampled_from(["started", "migrate", "error", "ignored"]))
        elif odd == 2:
            more["tags"] = ("unmanaged",)
        elif odd == 3:
            return guest(vmid, draw(st.sampled_from(names)), None, **more)
    return guest(vmid, draw(st.sampled_from(names)), draw(sizes), **more)


@st.composite
def _tasks(draw: st.DrawFn, guests: list[Guest]) -> list[Task]:
    if draw(st.integers(0, 3)):
        return []
    who = draw(st.sampled_from(guests))
    return [Task(Upid(f"UPID:{who.vmid}"), who.node, "qmigrate", str(who.vmid), "root@pam", 0, running=True)]


@st.composite
def _resources(draw: st.DrawFn, names: list[str], vmids: list[Vmid], *, calm: bool) -> list[Resource]:
    limits = {"maxOutboundPerNode": draw(st.sampled_from([0, 1, 3])), "maxMigrations": draw(st.sampled_from([0, 1, 4]))}
    found: list[Resource] = [cluster(limits=limits, safety={"maxUnavailableNodes": draw(st.sampled_from([1, 1, 2]))})]
    racks = draw(st.booleans())
    for index, name in enumerate(names):
        labels = {"rack": "ab"[index % 2]} if racks else {}
        word = draw(st.sampled_from(["", "", "", "true", "cordon"]))
        if word:
            labels["drover.dev/maintenance"] = word
        found.append(pve_node(name, labels, unschedulable=draw(st.integers(0, 14)) == 0))
    if draw(st.integers(0, 3)) == 0:
        mode = draw(st.sampled_from(["Evacuate", "Cordon"]))
        suspended = not calm and draw(st.integers(0, 4)) == 0
        found.append(maintenance("explicit", draw(st.sampled_from(names)), mode=mode, suspend=suspended))
    some = st.lists(st.sampled_from(vmids), min_size=1, max_size=4, unique=True)
    for index in range(draw(st.integers(0, 2))):
        key = draw(st.sampled_from(["drover.dev/node", "rack"]))
        found.append(
            apart(f"apart{index}", *draw(some), topologyKey=key, maxPerDomain=draw(st.sampled_from([1, 1, 2])))
        )
    for index in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        key = draw(st.sampled_from(["drover.dev/node", "rack"]))
        name = draw(st.sampled_from(["keepTogether", "spread"]))
        how = {"maxSkew": draw(st.integers(1, 2))} if name == "spread" else {}
        found.append(policy(f"{name.lower()}{index}", {"vmids": draw(some)}, **{name: {"topologyKey": key, **how}}))
    for index in range(draw(st.integers(0, 3))):
        # Single nodes are the tight case: guests that have to change places count on room that is not there yet.
        nodes = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
        if draw(st.integers(0, 2)):
            found.append(only_on(f"only{index}", nodes, *draw(some), correctExisting=draw(st.booleans())))
        else:
            found.append(policy(f"not{index}", {"vmids": draw(some)}, nodeAntiAffinity={"nodes": nodes}))
    return found


@st.composite
def _memory(draw: st.DrawFn, guests: list[Guest], names: list[str], *, calm: bool) -> Memory:
    flights, origins, backoffs = [], {}, {}
    for who in guests:
        luck = draw(st.integers(0, 9))
        others = [name for name in names if name != who.node]
        if luck == 0 and not calm and not who.lock and not who.template:
            flights.append(flight(who, draw(st.sampled_from(others))))
        elif luck == 1:
            origins[who.vmid] = origin(who, draw(st.sampled_from(others)))
        elif luck == 2 and not calm:
            failures, until = draw(st.sampled_from([(1, AT + 60), (9, AT - 60), (0, AT + 60), (1, AT - 60)]))
            backoffs[who.vmid] = Backoff(who.identity, failures, until, Why.MIGRATION_FAILED, "it broke")
    return memory(flights, {int(v): o for v, o in origins.items()}, {int(v): b for v, b in backoffs.items()})


def landed(world: World, moves: Any) -> World:
    """The world after `moves` are over: guests on their targets, origins as the store keeps them."""
    guests, origins = dict(world.seen.guests), dict(world.memory.origins)
    for move in moves:
        guests[move.vmid] = replace(guests[move.vmid], node=move.target)
        known = origins.get(move.vmid)
        if known is None and move.returns:
            origins[move.vmid] = origin(guests[move.vmid], move.source, maintenance=move.cause, expected=move.target)
        elif known is not None and known.node == move.target:
            del origins[move.vmid]
        elif known is not None:
            origins[move.vmid] = replace(known, expected=move.target)
    return World(world.specs, replace(world.seen, guests=guests), replace(world.memory, origins=origins))


def in_flight(world: World, moves: Any) -> World:
    """The world with `moves` under way."""
    flights = dict(world.memory.flights)
    for number, move in enumerate(moves, start=100):
        started = flight(world.seen.guests[move.vmid], move.target, id=number, cause=move.cause, lane=move.lane)
        flights[move.vmid] = replace(started, memory_bytes=move.memory_bytes)
    return World(world.specs, world.seen, replace(world.memory, flights=flights))


def forgotten(world: World, vmids: Any) -> World:
    """The world after the origins of these guests are forgotten."""
    origins = {vmid: known for vmid, known in world.memory.origins.items() if vmid not in vmids}
    return World(world.specs, world.seen, replace(world.memory, origins=origins))


@st.composite
def reshuffles(draw: st.DrawFn) -> World:
    """Everybody belongs on some node, nodes hold just what is there before or after, and some are on their way already."""
    names = ["pve1", "pve2", "pve3"]
    one_of = st.sampled_from(names)
    guests = [guest(101 + i, draw(one_of), draw(st.integers(1, 4))) for i in range(draw(st.integers(3, 7)))]
    belongs = {who.vmid: draw(one_of) for who in guests}
    nodes = []
    for name in names:
        before = sum((who.memory_bytes or 0) >> 30 for who in guests if who.node == name)
        after = sum((who.memory_bytes or 0) >> 30 for who in guests if belongs[who.vmid] == name)
        nodes.append(node(name, max(before, after, 1) + draw(st.integers(0, 2))))
    groups = {name: [int(who.vmid) for who in guests if belongs[who.vmid] == name] for name in names}
    rules = [only_on(f"on-{name}", [name], *vmids) for name, vmids in groups.items() if vmids]
    away = [who for who in guests if belongs[who.vmid] != who.node and draw(st.integers(0, 3)) == 0]
    flights = [flight(who, belongs[who.vmid], id=int(who.vmid)) for who in away]
    many = cluster(limits={"maxMigrations": 20, "maxOutboundPerNode": 20, "maxInboundPerNode": 20})
    return World(specs(many, *rules), seen(nodes, guests), memory(flights))


@st.composite
def families(draw: st.DrawFn) -> World:
    """Groups whose rules hold, on a cluster of which a node is drained, with flights and locks in between."""
    names = [f"pve{i}" for i in range(1, draw(st.integers(3, 5)) + 1)]
    guests: list[Guest] = []
    rules: list[Resource] = []
    for family in range(draw(st.integers(1, 3))):
        home, size = draw(st.sampled_from(names)), draw(st.integers(2, 3))
        vmids = [101 + 10 * family + i for i in range(size)]
        luck = [draw(st.integers(0, 7)) for _ in vmids]
        locks = ["backup" if n == 0 else "migrate" if n == 1 else "" for n in luck]
        guests += [guest(v, home, draw(st.integers(1, 3)), lock=lock) for v, lock in zip(vmids, locks, strict=True)]
        key = draw(st.sampled_from(["drover.dev/node", "drover.dev/node", "rack"]))
        rules.append(policy(f"family{family}", {"vmids": vmids}, keepTogether={"topologyKey": key}))
    for index in range(draw(st.integers(2, 6))):
        guests.append(guest(201 + index, names[index % len(names)], draw(st.integers(1, 3))))
    spread = {"topologyKey": draw(st.sampled_from(["drover.dev/node", "rack"])), "maxSkew": draw(st.integers(1, 2))}
    rules.append(policy("even", {"vmids": [who.vmid for who in guests if who.vmid > 200]}, spread=spread))
    if draw(st.booleans()):
        rules.append(apart("strangers", 101, 111, 121))
    nodes = []
    for name in names:
        load = sum((who.memory_bytes or 0) >> 30 for who in guests if who.node == name)
        nodes.append(node(name, load + draw(st.sampled_from([0, 2, 4, 6, 9]))))
    away = draw(st.sampled_from(names))
    for index, name in enumerate(names):
        labels = {"rack": "abc"[index % 3 if len(names) > 3 else index % 2]}
        labels |= {"drover.dev/maintenance": "true"} if name == away else {}
        rules.append(pve_node(name, labels))
    flights = [
        flight(who, draw(st.sampled_from([name for name in names if name != who.node])), id=int(who.vmid))
        for who in guests
        if not who.lock and draw(st.integers(0, 11)) == 0
    ]
    limits = cluster(limits={"maxOutboundPerNode": draw(st.sampled_from([0, 1, 9])), "maxInboundPerNode": 9})
    return World(specs(limits, *rules), seen(nodes, guests), memory(flights))
