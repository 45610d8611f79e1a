"""N+k: whether the cluster bears the failure of `capacity.tolerateNodeFailures` nodes. Called by the planners."""

from collections.abc import Mapping

from controller.decide.scene import Scene
from controller.decide.solve.failures import Failures, Survival, tolerates
from controller.decide.solve.problem import Bin, Item, Problem
from controller.decide.words import size
from controller.model.ids import NodeName, Vmid
from controller.model.plan import Load, Reserve


def reserve(scene: Scene, where: Mapping[Vmid, NodeName]) -> Reserve | None:
    """What is known when every guest is there; None when no failure is to be borne."""
    count = scene.cluster.spec.capacity.tolerate_node_failures
    if not count:
        return None
    nodes = tuple(sorted(scene.seen.nodes))
    return _told(tolerates(*_drill(scene, nodes, where), count), nodes, count)


def loads(scene: Scene) -> Mapping[NodeName, Load]:
    """What every node holds now."""
    return {
        node: Load(
            scene.limits.get(node),
            sum(scene.needs.get(guest.vmid) or 0 for guest in scene.residents.get(node, ())),
            len(scene.residents.get(node, ())),
        )
        for node in sorted(scene.seen.nodes)
    }


def spare_bytes(scene: Scene) -> int | None:
    """Memory that is left when the largest of the open nodes fail, as many as may; None when a node's memory is unknown.

    By sums only: that guests of that size find places is what `reserve` proves.
    """
    room = [scene.limits.get(node) for node in scene.seen.nodes if node not in scene.shut]
    if any(limit is None for limit in room):
        return None
    known = sorted(limit or 0 for limit in room)
    failing = scene.cluster.spec.capacity.tolerate_node_failures
    needed = sum(load.needed_bytes for load in loads(scene).values())
    return sum(known[: max(0, len(known) - failing)]) - needed


def _drill(
    scene: Scene, nodes: tuple[NodeName, ...], where: Mapping[Vmid, NodeName]
) -> tuple[Problem, tuple[int, ...]]:
    index = {node: number for number, node in enumerate(nodes)}
    bins = tuple(Bin((scene.limits.get(node), scene.threads.get(node)), node not in scene.shut) for node in nodes)
    shared: dict[int, frozenset[int]] = {}
    items = []
    for vmid, node in sorted(where.items()):
        need = scene.needs.get(vmid)
        if node not in index or need == 0:
            continue
        fence = scene.wanted.fences.get(vmid)
        if fence is not None and id(fence) not in shared:
            shared[id(fence)] = frozenset(index[one] for one in fence.nodes)
        allowed = shared[id(fence)] if fence is not None else None
        items.append(Item(index[node], (need, scene.vcpus.get(vmid)), allowed=allowed))
    return Problem(bins, tuple(items)), tuple(item.at for item in items)


def _told(found: Failures, nodes: tuple[NodeName, ...], count: int) -> Reserve:
    failing = ", ".join(nodes[n] for n in found.bins)
    if found.survival is Survival.YES:
        return Reserve(
            True,
            f"any {'node' if count == 1 else f'{count} nodes'} may fail, and all guests that run find room on the others",
        )
    if found.survival is Survival.UNKNOWN:
        text = f"no room was found for all guests of {failing}" if failing else "the size of a guest is unknown"
        return Reserve(False, f"{text}, should {'a node' if count == 1 else f'{count} nodes'} fail")
    fail = "fails" if len(found.bins) == 1 else "fail"
    show = size if found.resource == 0 else "{} vCPUs".format
    return Reserve(
        False, f"if {failing} {fail}, {show(found.need)} have to find room, and the others have {show(found.room)}"
    )
