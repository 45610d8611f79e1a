"""The ledger: what a node may hold, what is there, what is on its way. Called by `decide.stage` and `decide.preflight`.

Three things are counted alike: bytes of memory, vCPUs, and bytes on storages that only one node has (`decide.volumes`).

A guest counts on a node from the moment a move to it may start until it is seen elsewhere and nothing flies any more; so the
sum of everything that could be on a node at once never exceeds what the node may hold because of Drover.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from controller.model.ids import GuestKind, NodeName, Vmid
from controller.model.memory import Memory
from controller.model.observed import Guest, GuestConfig, Node, Observed
from controller.model.room import NodeRoom
from controller.specs import PveCluster, PveNode, Specs
from controller.specs.pvecluster import Capacity, MemoryBasis

MIB = 1 << 20

Place = TypeVar("Place", bound=Hashable)


def limit(node: Node, capacity: Capacity, spec: PveNode | None) -> int | None:
    """Bytes that guests may occupy on the node; None while PVE does not say how much memory it has."""
    if node.memory_bytes is None:
        return None
    reserve = max(
        node.memory_bytes * capacity.reserve_memory_percent // 100,
        capacity.reserve_memory_mib * MIB,
        spec.spec.reserve.memory_mib * MIB if spec else 0,
    )
    return max(0, int((node.memory_bytes - reserve) * capacity.memory_overcommit_ratio))


def limits(specs: Specs, seen: Observed) -> Mapping[NodeName, int | None]:
    """`limit` of every node."""
    capacity = specs.clusters[seen.cluster].spec.capacity
    written = {spec.node_name: spec for spec in specs.nodes.values()}
    return MappingProxyType({n: limit(node, capacity, written.get(n)) for n, node in sorted(seen.nodes.items())})


def need(guest: Guest, basis: MemoryBasis) -> int | None:
    """Bytes that the guest occupies where it is; None when PVE does not say, which is never the same as none."""
    if not guest.power.holds_memory:
        return 0
    if basis is MemoryBasis.USED and guest.memory_used_bytes is not None:
        return guest.memory_used_bytes
    return guest.memory_bytes


def needs(cluster: PveCluster, seen: Observed, memory: Memory) -> Mapping[Vmid, int | None]:
    """`need` of every guest, and of those in flight at least what was claimed when they started."""
    basis = cluster.spec.capacity.memory_basis
    found = {vmid: need(guest, basis) for vmid, guest in seen.guests.items()}
    for vmid, flight in memory.flights.items():
        # The rows of a guest that has just arrived may lack its numbers, or still show it stopped.
        found[vmid] = max(found.get(vmid) or 0, flight.memory_bytes)
    for vmid, halted in memory.halted.items():
        # It is down only for a while: the room that it will need where it is started has to be there.
        if vmid in found and halted.identity.same_as(seen.guests[vmid].identity):
            found[vmid] = found[vmid] or seen.guests[vmid].memory_bytes
    return MappingProxyType(found)


def rooms(specs: Specs, seen: Observed, memory: Memory) -> Mapping[NodeName, NodeRoom]:
    """What is taken and what is left of every node's memory, as planners count it; for people and metrics."""
    sizes = needs(specs.clusters[seen.cluster], seen, memory)
    held, leaving, arriving = (
        defaultdict[NodeName, int](int),
        defaultdict[NodeName, int](int),
        defaultdict[NodeName, int](int),
    )
    for vmid, guest in seen.guests.items():
        held[guest.node] += sizes[vmid] or 0
    for vmid, flight in memory.flights.items():
        there = seen.guests.get(vmid)
        if there is not None and flight.source in flight.nodes and there.node == flight.source:
            leaving[flight.source] += sizes[vmid] or 0
        if there is None or there.node != flight.target:
            arriving[flight.target] += sizes[vmid] or 0
    return MappingProxyType(
        {n: NodeRoom(most, held[n], leaving[n], arriving[n]) for n, most in limits(specs, seen).items()}
    )


def thread_limit(node: Node, capacity: Capacity, spec: PveNode | None) -> int | None:
    """VCPUs that running guests may have on the node; None while PVE does not say how many threads it has."""
    if node.cpus is None:
        return None
    kept = spec.spec.reserve.cpus if spec else 0
    return max(0, int((node.cpus - kept) * capacity.cpu_overcommit_ratio))


def thread_limits(specs: Specs, seen: Observed) -> Mapping[NodeName, int | None]:
    """`thread_limit` of every node."""
    capacity = specs.clusters[seen.cluster].spec.capacity
    written = {spec.node_name: spec for spec in specs.nodes.values()}
    return MappingProxyType({n: thread_limit(node, capacity, written.get(n)) for n, node in seen.nodes.items()})


def vcpus(guest: Guest, config: GuestConfig | None, node: Node | None) -> int | None:
    """VCPUs that the guest is promised while it runs; None when neither its config nor PVE's rows say.

    A container without `cores` shares all threads and is promised none; the rows show it with as many as its node has
    (pve-container: PVE/LXC.pm, vmstatus). Of a VM they show no more than that (qemu-server: PVE/QemuServer.pm, vmstatus).
    """
    if not guest.power.holds_memory:
        return 0
    unlimited = guest.kind is GuestKind.LXC
    if config is not None and (config.vcpus is not None or unlimited):
        return config.vcpus or 0
    if unlimited and node is not None and guest.cpus is not None and guest.cpus == node.cpus:
        return 0
    return guest.cpus


def promised(seen: Observed, memory: Memory) -> Mapping[Vmid, int | None]:
    """`vcpus` of every guest; of those in flight what their config says, whatever the rows of a guest that just arrived show."""
    configs, nodes = seen.configs, seen.nodes
    found = {v: vcpus(guest, configs.get(v), nodes.get(guest.node)) for v, guest in seen.guests.items()}
    for vmid, flight in memory.flights.items():
        config = configs.get(vmid)
        if flight.was_running and not found.get(vmid) and config is not None:
            found[vmid] = config.vcpus
    return MappingProxyType(found)


class Room(Generic[Place]):
    """What guests occupy and claim, per place: a node, or a storage of a node. Mutable: one planner's sheet of paper."""

    def __init__(self, limits: Mapping[Place, int | None]) -> None:
        self._limits = limits
        self._loads: dict[Place, int] = defaultdict(int)
        self._claims: dict[Place, dict[Vmid, int]] = {place: {} for place in limits}
        self._unknown: dict[Place, set[Vmid]] = defaultdict(set)

    def copy(self) -> "Room[Place]":
        """An independent ledger that says the same."""
        other = Room(self._limits)
        other._loads.update(self._loads)
        other._claims = {place: dict(claims) for place, claims in self._claims.items()}
        other._unknown.update({place: set(vmids) for place, vmids in self._unknown.items()})
        return other

    def limit(self, place: Place) -> int | None:
        """What all guests together may occupy; None: unknown."""
        return self._limits.get(place)

    def claim(self, place: Place, vmid: Vmid, size: int | None) -> None:
        """Count the guest in the place; once, however often it is said. In places that nobody sees this does nothing."""
        claims = self._claims.get(place)
        if claims is None or vmid in claims:
            return
        claims[vmid] = size or 0
        self._loads[place] += size or 0
        if size is None:
            self._unknown[place].add(vmid)

    def release(self, place: Place, vmid: Vmid) -> None:
        """The guest no longer counts there."""
        claims = self._claims.get(place)
        if claims is not None and vmid in claims:
            self._loads[place] -= claims.pop(vmid)
            self._unknown[place].discard(vmid)

    def holds(self, place: Place, vmid: Vmid) -> bool:
        """Whether the guest counts there."""
        return vmid in self._claims.get(place, {})

    def free(self, place: Place) -> int | None:
        """What is left, below 0 when others have overcommitted it; None when the size of it or of a guest on it is unknown."""
        limit = self._limits.get(place)
        if limit is None or self._unknown.get(place):
            return None
        return limit - self._loads[place]

    def unknown(self, place: Place) -> tuple[Vmid, ...]:
        """Guests of unknown size that make the room unknown."""
        return tuple(sorted(self._unknown.get(place, ())))

    def fits(self, place: Place, vmid: Vmid, size: int | None) -> bool:
        """Whether the guest may come (or already counts there). What needs nothing fits anywhere."""
        if size == 0 or self.holds(place, vmid):
            return True
        free = self.free(place)
        return size is not None and free is not None and size <= free

    def fraction_after(self, place: Place, size: int) -> float:
        """Which part of what the place may hold would be left with `size` more: the higher, the more balanced."""
        limit, free = self._limits.get(place), self.free(place)
        return (free - size) / limit if limit and free is not None else -1.0
