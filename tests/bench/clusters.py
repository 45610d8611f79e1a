"""Clusters from seeds, for everything that judges placement: sizes S to XL, and the small tight classes.

Plain nouns, neither the solver's nor the simulator's; `tests.bench.checker` judges in the same ones. Seeds and hashes were
committed before there was a planner (`clusters.json`), and a test holds the generator to them.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30
HASHES = Path(__file__).with_name("clusters.json")
SIZES = {"S": (3, 60, 0.60), "M": (16, 1000, 0.72), "L": (32, 5000, 0.72), "XL": (64, 20000, 0.72)}
"""Nodes, guests, utilisation of memory after the drain."""
TIGHT = {
    f"{nodes}/{guests} {percent}%": (nodes, guests, percent / 100)
    for nodes, guests in ((5, 40), (8, 80))
    for percent in (80, 93, 96)
}
SEEDS = range(20)
_MEMORY = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_OFTEN = (12, 20, 6, 25, 8, 16, 6, 8, 3, 3, 1, 1)


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    memory: int
    """Bytes guests may use."""
    cpus: int
    """vCPUs guests may use, overcommitment included."""
    rack: str


@dataclass(frozen=True, slots=True)
class Guest:
    vmid: int
    node: str
    memory: int
    cpus: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """All Musts hold at the start, but that the nodes in maintenance have to be empty."""

    name: str
    nodes: tuple[Node, ...]
    guests: tuple[Guest, ...]
    apart: tuple[tuple[int, ...], ...]
    """Guests of which no two share a node."""
    apart_racks: tuple[tuple[int, ...], ...]
    """Guests of which no two share a rack."""
    together: tuple[tuple[int, ...], ...]
    """Guests that share one node."""
    pinned: dict[int, tuple[str, ...]]
    """The only nodes for these guests."""
    maintenance: tuple[str, ...]

    def digest(self) -> str:
        """The same for the same cluster, on every machine."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def sized(size: str, seed: int = 0) -> Cluster:
    """S, M, L or XL: unevenly filled, the node with the middling number of guests in maintenance."""
    nodes, guests, utilisation = SIZES[size]
    found = _cluster(f"{size} {seed}", nodes, guests, utilisation, seed, uneven=0.25)
    if found is None:
        raise ValueError(f"no start for {size} with seed {seed}")
    count = Counter(guest.node for guest in found.guests)
    usual = sorted(found.nodes, key=lambda node: (count[node.name], node.name))[nodes // 2]
    return replace(found, maintenance=(usual.name,))


def tight(kind: str, seed: int) -> Cluster | None:
    """One of `TIGHT`; None where the seed finds no start that breaks nothing."""
    nodes, guests, utilisation = TIGHT[kind]
    return _cluster(f"{kind} {seed}", nodes, guests, utilisation, seed, uneven=0.0)


def all_tight() -> Iterator[tuple[str, Cluster]]:
    """Every small tight cluster with its class."""
    for kind in TIGHT:
        for seed in SEEDS:
            if (found := tight(kind, seed)) is not None:
                yield kind, found


def _cluster(name: str, nodes: int, guests: int, full: float, seed: object, *, uneven: float) -> Cluster | None:
    dice = random.Random(f"{nodes} {guests} {full} {seed}")
    for _ in range(20):
        draft = _draft(name, nodes, guests, full, dice=dice)
        weight = {node.name: dice.uniform(1 - uneven, 1 + uneven) for node in draft.nodes}
        if (found := _started(draft, dice, weight)) is not None:
            return found
    return None


def _draft(name: str, nodes: int, guests: int, full: float, *, dice: random.Random) -> Cluster:
    sizes = dice.choices(_MEMORY, _OFTEN, k=guests)
    memory = [gib * GIB + dice.choice((0, 0, 512 * MIB)) for gib in sizes]
    cpus = [max(1, min(16, gib // dice.choice((2, 4)))) for gib in sizes]
    each = -(-int(sum(memory) / (nodes - 1) / full) // MIB) * MIB
    racks = max(2, nodes // 4)
    places = [
        Node(f"pve{n + 1}", each, int(sum(cpus) / (nodes - 1) / 0.8) + 1, f"rack{n % racks}") for n in range(nodes)
    ]
    vmids = [100 + number for number in range(guests)]
    free = vmids[:]
    dice.shuffle(free)

    def groups(count: int, least: int, most: int) -> tuple[tuple[int, ...], ...]:
        found = []
        for _ in range(count):
            size = dice.randint(least, most)
            if len(free) >= size:
                found.append(tuple(sorted(free.pop() for _ in range(size))))
        return tuple(found)

    apart = groups(max(1, guests // 25), 2, max(2, min(nodes - 1, 5)))
    apart_racks = groups(guests // 100, 2, racks)
    together = groups(max(guests // 50, dice.randint(0, 1)), 2, 3)
    names = [node.name for node in places]
    pinned = {
        vmid: tuple(sorted(dice.sample(names, dice.randint(2, max(2, nodes // 2))))) for vmid in free[: guests // 20]
    }
    blank = tuple(Guest(vmid, "", memory[n], cpus[n]) for n, vmid in enumerate(vmids))
    return Cluster(name, tuple(places), blank, apart, apart_racks, together, pinned, (dice.choice(names),))


def _started(draft: Cluster, dice: random.Random, weight: dict[str, float]) -> Cluster | None:
    """Every guest on a node where it breaks nothing, in proportion to the weights."""
    by_vmid = {guest.vmid: guest for guest in draft.guests}
    units = [list(group) for group in draft.together]
    loose = set(by_vmid) - {vmid for unit in units for vmid in unit}
    units += [[vmid] for vmid in sorted(loose)]
    dice.shuffle(units)
    units.sort(key=lambda unit: -sum(by_vmid[vmid].memory for vmid in unit) // (16 * GIB))
    apart = {vmid: group for group in draft.apart for vmid in group}
    racks = {vmid: group for group in draft.apart_racks for vmid in group}
    rack = {node.name: node.rack for node in draft.nodes}
    left = {node.name: [node.memory, node.cpus] for node in draft.nodes}
    size = draft.nodes[0].memory
    at: dict[int, str] = {}
    for unit in units:
        memory = sum(by_vmid[vmid].memory for vmid in unit)
        cpus = sum(by_vmid[vmid].cpus for vmid in unit)
        possible = [
            node
            for node, (bytes_left, cpus_left) in left.items()
            if bytes_left >= memory
            and cpus_left >= cpus
            and all(node in draft.pinned.get(vmid, (node,)) for vmid in unit)
            and all(at.get(other) != node for vmid in unit for other in apart.get(vmid, ()))
            and all(other not in at or rack[at[other]] != rack[node] for vmid in unit for other in racks.get(vmid, ()))
        ]
        if not possible:
            return None
        chances = [weight[node] * (0.05 + left[node][0] / size) for node in possible]
        node = dice.choices(possible, chances)[0]
        left[node][0] -= memory
        left[node][1] -= cpus
        at.update(dict.fromkeys(unit, node))
    return replace(draft, guests=tuple(replace(guest, node=at[guest.vmid]) for guest in draft.guests))


def digests() -> dict[str, str]:
    """Of everything that is generated."""
    found = {cluster.name: cluster.digest() for cluster in map(sized, SIZES)}
    found.update({cluster.name: cluster.digest() for _, cluster in all_tight()})
    return found


if __name__ == "__main__":
    HASHES.write_text(json.dumps(digests(), indent=1) + "\n", encoding="utf-8")
