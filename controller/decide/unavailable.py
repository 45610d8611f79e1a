"""How many nodes may be out of service at once: evacuations that wait for another one. Called by `evacuation` and `drains`."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from controller.decide.scene import Scene
from controller.model.desired import Maintenance
from controller.model.ids import NodeName
from controller.model.observed import NodeState
from controller.model.plan import DrainMode


def held(scene: Scene) -> Mapping[NodeName, str]:
    """Evacuations that have to wait because too many nodes would be out of service, with the sentence that says so.

    Those that have begun go first, so that a new maintenance never stops one that is under way.
    """
    drains = {n: m for n, m in scene.wanted.maintenance.items() if m.mode is DrainMode.EVACUATE}
    away = [
        f"{name} {scene.shut[name]}"
        for name, node in scene.seen.nodes.items()
        if not node.usable and name not in drains
    ]
    offline = {name for name, node in scene.seen.nodes.items() if node.state is not NodeState.ONLINE}
    found = {}
    for _, name in sorted((_precedence(scene, maintenance), name) for name, maintenance in drains.items()):
        if why := next(_objections(scene, away, offline | {name}), None):
            found[name] = f"{name} waits: {why}"
        else:
            away.append(f"{name} is in maintenance ({drains[name].ref})")
            offline.add(name)
    return MappingProxyType(found)


def _objections(scene: Scene, away: list[str], offline: set[NodeName]) -> Iterator[str]:
    """What speaks against one more node: `offline` are all that would be, with this one."""
    safety = scene.cluster.spec.safety
    if len(away) + 1 > safety.max_unavailable_nodes:
        yield f"{'; '.join(away) or 'none may'}, and maxUnavailableNodes is {safety.max_unavailable_nodes}"
    total = len(scene.seen.nodes)
    quorum, left = total // 2 + 1, total - len(offline)
    if safety.keep_quorum_margin and left < quorum + safety.keep_quorum_margin:
        yield (
            f"with it switched off {left} of {total} nodes would be left, quorum needs {quorum}, "
            f"and keepQuorumMargin is {safety.keep_quorum_margin}"
        )


def _precedence(scene: Scene, maintenance: Maintenance) -> tuple[bool, bool, int]:
    """Out of service already, then begun, then nearly empty: sorts before."""
    ref, node = maintenance.ref, maintenance.node
    noted = scene.memory.begun.get(node)
    begun = (
        (noted is not None and noted.maintenance == ref)
        or any(flight.cause == ref and flight.source == node for flight in scene.memory.flights.values())
        or any(origin.maintenance == ref and origin.node == node for origin in scene.memory.origins.values())
    )
    return scene.seen.nodes[node].usable, not begun, len(scene.residents.get(node, ()))
