"""Judges moves without knowing who planned them: what must hold at the end, and at every instant on the way.

Shares no line with the solver. Used by the bench and by the tests of the solver, the sequences and the planner.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.bench.clusters import Cluster, Node


@dataclass(frozen=True, slots=True)
class Flight:
    """One move. From start to end the guest takes its room on both nodes and counts on both for whom it must be apart from."""

    vmid: int
    target: str
    start: float
    end: float


def one_after_the_other(moves: Iterable[tuple[int, str]]) -> list[Flight]:
    """The moves as flights of which each starts when the one before has ended."""
    return [Flight(vmid, target, number, number + 0.5) for number, (vmid, target) in enumerate(moves)]


def at_the_end(cluster: Cluster, flights: Sequence[Flight]) -> dict[int, str]:
    """Where every guest is afterwards."""
    places = {guest.vmid: guest.node for guest in cluster.guests}
    for flight in sorted(flights, key=lambda flight: flight.end):
        places[flight.vmid] = flight.target
    return places


def violations(cluster: Cluster, flights: Sequence[Flight]) -> list[str]:
    """What these moves break, on the way or at the end, in words; nothing that was broken before is counted."""
    found = [*_on_the_way(cluster, flights)]
    places = at_the_end(cluster, flights)
    before = {guest.vmid: guest.node for guest in cluster.guests}
    found += [
        f"{group} are torn apart"
        for group in cluster.together
        if len({places[vmid] for vmid in group}) > len({before[vmid] for vmid in group})
    ]
    found += [f"{vmid} is left on {node}" for vmid, node in places.items() if node in cluster.maintenance]
    return found


def _on_the_way(cluster: Cluster, flights: Sequence[Flight]) -> list[str]:
    watch = _Watch(cluster)
    events = [(flight.start, 0, n) for n, flight in enumerate(flights)] + [(f.end, 1, n) for n, f in enumerate(flights)]
    for _, ends, number in sorted(events):  # what ends and starts at one instant overlaps: starts come first
        if ends:
            watch.ends(flights[number])
        else:
            watch.starts(flights[number])
    return watch.found


class _Watch:
    """The cluster at one instant."""

    def __init__(self, cluster: Cluster) -> None:
        self.found: list[str] = []
        self.cluster = cluster
        self.guests = {guest.vmid: guest for guest in cluster.guests}
        self.nodes = {node.name: node for node in cluster.nodes}
        self.here: dict[int, list[str]] = {guest.vmid: [guest.node] for guest in cluster.guests}
        self.groups: dict[int, list[tuple[tuple[int, ...], bool]]] = defaultdict(list)
        for members, by_rack in [(g, False) for g in cluster.apart] + [(g, True) for g in cluster.apart_racks]:
            for vmid in members:
                self.groups[vmid].append((members, by_rack))
        self.memory: Counter[str] = Counter()
        self.cpus: Counter[str] = Counter()
        for guest in cluster.guests:
            self.memory[guest.node] += guest.memory
            self.cpus[guest.node] += guest.cpus

    def ends(self, flight: Flight) -> None:
        left = self.here[flight.vmid].pop(0)
        self.memory[left] -= self.guests[flight.vmid].memory
        self.cpus[left] -= self.guests[flight.vmid].cpus

    def starts(self, flight: Flight) -> None:
        vmid, node = flight.vmid, self.nodes[flight.target]
        if len(self.here[vmid]) > 1:
            self.found.append(f"{vmid} flies twice at once")
        self.memory[node.name] += self.guests[vmid].memory
        self.cpus[node.name] += self.guests[vmid].cpus
        self.here[vmid].append(node.name)
        if self.memory[node.name] > node.memory or self.cpus[node.name] > node.cpus:
            self.found.append(f"{node.name} is overfull when {vmid} comes")
        if node.name in self.cluster.maintenance:
            self.found.append(f"{vmid} comes to {node.name}, which is in maintenance")
        if node.name not in self.cluster.pinned.get(vmid, (node.name,)):
            self.found.append(f"{vmid} may not be on {node.name}")
        self._meets(vmid, node)

    def _meets(self, vmid: int, node: Node) -> None:
        for members, by_rack in self.groups[vmid]:
            for other in members:
                names = {self.nodes[name].rack if by_rack else name for name in self.here[other]}
                if other != vmid and (node.rack if by_rack else node.name) in names:
                    self.found.append(f"{vmid} meets {other} on {node.name}")
