"""The ledger of memory: what a node may hold, what is there, what is on its way. Called by `decide.stage` and `decide.preflight`.

A guest counts on a node from the moment a move to it may start until it is seen elsewhere and nothing flies any more; so the
sum of everything that could be on a node at once never exceeds what the node may hold because of Drover.
"""

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType

from controller.model.ids import NodeName, Vmid
from controller.model.memory import Memory
from controller.model.observed import Guest, Node, Observed
from controller.specs import PveCluster, PveNode, Specs
from controller.specs.pvecluster import Capacity, MemoryBasis

MIB = 1 << 20


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
    return MappingProxyType(found)


class Room:
    """What guests occupy and claim, per node. Mutable: one planner's sheet of paper."""

    def __init__(self, limits: Mapping[NodeName, int | None]) -> None:
        self._limits = limits
        self._loads: dict[NodeName, int] = defaultdict(int)
        self._claims: dict[NodeName, dict[Vmid, int]] = {node: {} for node in limits}
        self._unknown: dict[NodeName, set[Vmid]] = defaultdict(set)

    def copy(self) -> "Room":
        """An independent ledger that says the same."""
        other = Room(self._limits)
        other._loads.update(self._loads)
        other._claims = {node: dict(claims) for node, claims in self._claims.items()}
        other._unknown.update({node: set(vmids) for node, vmids in self._unknown.items()})
        return other

    def claim(self, node: NodeName, vmid: Vmid, size: int | None) -> None:
        """Count the guest on the node; once, however often it is said. On nodes that nobody sees this does nothing."""
        claims = self._claims.get(node)
        if claims is None or vmid in claims:
            return
        claims[vmid] = size or 0
        self._loads[node] += size or 0
        if size is None:
            self._unknown[node].add(vmid)

    def release(self, node: NodeName, vmid: Vmid) -> None:
        """The guest no longer counts on the node."""
        claims = self._claims.get(node)
        if claims is not None and vmid in claims:
            self._loads[node] -= claims.pop(vmid)
            self._unknown[node].discard(vmid)

    def holds(self, node: NodeName, vmid: Vmid) -> bool:
        """Whether the guest counts on the node."""
        return vmid in self._claims.get(node, {})

    def free(self, node: NodeName) -> int | None:
        """Bytes left, below 0 when others have overcommitted it; None when the node's size or a guest's on it is unknown."""
        limit = self._limits.get(node)
        if limit is None or self._unknown.get(node):
            return None
        return limit - self._loads[node]

    def unknown(self, node: NodeName) -> tuple[Vmid, ...]:
        """Guests of unknown size that make the node's room unknown."""
        return tuple(sorted(self._unknown.get(node, ())))

    def fits(self, node: NodeName, vmid: Vmid, size: int | None) -> bool:
        """Whether the guest may come (or already counts there). What needs nothing fits anywhere."""
        if self.holds(node, vmid) or size == 0:
            return True
        free = self.free(node)
        return size is not None and free is not None and size <= free

    def fraction_after(self, node: NodeName, size: int) -> float:
        """Which part of what the node may hold would be left with `size` more on it: the higher, the more balanced."""
        limit, free = self._limits.get(node), self.free(node)
        return (free - size) / limit if limit and free is not None else -1.0
