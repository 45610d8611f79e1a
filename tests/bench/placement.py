"""How good placement is, on the pure solver: the small tight classes beside the optimum, and S to XL.

`make bench` runs it, asks the oracle again, and prints the bounds beside the figures.
"""

from controller.decide.solve.problem import Bin, Group, GroupKind, Item, Problem
from tests.bench.clusters import Cluster


def problem_of(cluster: Cluster) -> Problem:
    """The cluster for the solver: resources are memory and vCPUs; bytes to move are the memory."""
    index = {node.name: number for number, node in enumerate(cluster.nodes)}
    item_of = {guest.vmid: number for number, guest in enumerate(cluster.guests)}
    names = sorted({node.rack for node in cluster.nodes})
    own = tuple(range(len(index)))
    racks = tuple(names.index(node.rack) for node in cluster.nodes)
    pinned = {vmid: frozenset(index[name] for name in nodes) for vmid, nodes in cluster.pinned.items()}

    def group(kind: GroupKind, vmids: tuple[int, ...], domain: tuple[int, ...]) -> Group:
        return Group(kind, frozenset(item_of[vmid] for vmid in vmids), domain)

    return Problem(
        bins=tuple(Bin((node.memory, node.cpus), open=node.name not in cluster.maintenance) for node in cluster.nodes),
        items=tuple(
            Item(
                at=index[guest.node],
                need=(guest.memory, guest.cpus),
                must_leave=guest.node in cluster.maintenance,
                allowed=pinned.get(guest.vmid),
                cost=guest.memory,
            )
            for guest in cluster.guests
        ),
        groups=(
            *(group(GroupKind.APART, vmids, own) for vmids in cluster.apart),
            *(group(GroupKind.APART, vmids, racks) for vmids in cluster.apart_racks),
            *(group(GroupKind.TOGETHER, vmids, own) for vmids in cluster.together),
        ),
    )
