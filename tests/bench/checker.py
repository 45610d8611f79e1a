"""Judges moves without knowing who planned them: what must hold at the end, and at every instant on the way.

Shares no line with the solver. Used by the bench and by the tests of the solver, the sequences and the planner.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.bench.clusters import Cluster


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
    for group in cluster.together:
        if len({places[vmid] for vmid in group}) > len({guest.node for guest in cluster.guests if guest.vmid in group}):
            found.append(f"{group} are torn apart")
    found += [f"{vmid} is left on {node}" for vmid, node in places.items() if node in cluster.maintenance]
    return found


def _on_the_way(cluster: Cluster, flights: Sequence[Flight]) -> list[str]:
    found: list[str] = []
    guests = {guest.vmid: guest for guest in cluster.guests}
    nodes = {node.name: node for node in cluster.nodes}
    here: dict[int, list[str]] = {guest.vmid: [guest.node] for guest in cluster.guests}
    groups: dict[int, list[tuple[tuple[int, ...], bool]]] = defaultdict(list)
    for members, by_rack in [(g, False) for g in cluster.apart] + [(g, True) for g in cluster.apart_racks]:
        for vmid in members:
            groups[vmid].append((members, by_rack))
    used: Counter[str] = Counter()
    cpus: Counter[str] = Counter()
    for guest in cluster.guests:
        used[guest.node] += guest.memory
        cpus[guest.node] += guest.cpus
    events = [(flight.start, 0, n) for n, flight in enumerate(flights)] + [(f.end, 1, n) for n, f in enumerate(flights)]
    for _, ends, number in sorted(events):  # what ends and starts at one instant overlaps: starts come first
        flight = flights[number]
        guest = guests[flight.vmid]
        if ends:
            left = here[flight.vmid].pop(0)
            used[left] -= guest.memory
            cpus[left] -= guest.cpus
            continue
        if len(here[flight.vmid]) > 1:
            found.append(f"{flight.vmid} flies twice at once")
        used[flight.target] += guest.memory
        cpus[flight.target] += guest.cpus
        here[flight.vmid].append(flight.target)
        node = nodes[flight.target]
        if used[node.name] > node.memory or cpus[node.name] > node.cpus:
            found.append(f"{node.name} is overfull when {flight.vmid} comes")
        if node.name in cluster.maintenance:
            found.append(f"{flight.vmid} comes to {node.name}, which is in maintenance")
        if node.name not in cluster.pinned.get(flight.vmid, (node.name,)):
            found.append(f"{flight.vmid} may not be on {node.name}")
        for members, by_rack in groups[flight.vmid]:
            for other in members:
                names = {nodes[name].rack if by_rack else name for name in here[other]}
                if other != flight.vmid and (node.rack if by_rack else node.name) in names:
                    found.append(f"{flight.vmid} meets {other} on {node.name}")
    return found
