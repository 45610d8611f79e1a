"""Moves that nobody has planned, to be looked at: a guest to some nodes, or everybody away from a node. Pure.

Used by `act.trial`. What planning has to say against such a move comes along as findings.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from controller.decide.explain import no_room, why_not
from controller.decide.gate import gate, options
from controller.decide.pipeline import decide
from controller.decide.preflight.finding import Finding, Level
from controller.decide.scene import Scene
from controller.decide.scene import scene as gather
from controller.decide.stage import stages
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.memory import Memory
from controller.model.observed import Guest, Observed
from controller.model.plan import DrainMode, Lane, Move, Plan
from controller.model.reasons import Why
from controller.specs import NodeMaintenance, Specs

BY_HAND = ObjectRef("Preflight", "by-hand")
"""What wants a move that somebody only asks about."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A guest, the move to look at, and what planning says against it. Without a move there is no target for it."""

    guest: Guest
    move: Move | None
    said: tuple[Finding, ...] = ()


def elsewhere(
    specs: Specs, seen: Observed, memory: Memory, vmid: Vmid, targets: Iterable[NodeName] | None = None
) -> tuple[Wish, ...]:
    """One guest to each of `targets`; None: to where the present plan moves it, or else to every other node.

    Raises KeyError when there is no such guest.
    """
    guest = seen.guests[vmid]
    if targets is None:
        planned = next((move for move in decide(specs, seen, memory).all_moves if move.vmid == vmid), None)
        if planned is not None:
            return (Wish(guest, planned),)
        targets = sorted(set(seen.nodes) - {guest.node})
    scene = gather(specs, seen, memory)
    return tuple(Wish(guest, _move(scene, guest, node), _planning(scene, guest, node)) for node in targets)


def drain(specs: Specs, seen: Observed, memory: Memory, node: NodeName) -> tuple[Wish, ...]:
    """Everybody who has to leave `node` when it gets into maintenance, to the targets that the plan then has."""
    present = gather(specs, seen, memory).wanted.maintenance.get(node)
    if present is None or present.mode is not DrainMode.EVACUATE or present.suspended:
        specs = Specs.of([*(each for each in specs if not _about(each, node)), _maintenance(seen, node)])
    plan = decide(specs, seen, memory)
    staying = {vmid for each in plan.drains if each.node == node for vmid in each.staying}
    return tuple(_leaver(plan, guest) for guest in seen.guests_on(node) if guest.vmid not in staying)


def _about(resource: object, node: NodeName) -> bool:
    return isinstance(resource, NodeMaintenance) and resource.spec.node_name == node


def _maintenance(seen: Observed, node: NodeName) -> NodeMaintenance:
    spec = {"clusterRef": {"name": seen.cluster}, "nodeName": node, "reason": "preflight"}
    return NodeMaintenance.model_validate({"metadata": {"name": "preflight"}, "spec": spec})


def _leaver(plan: Plan, guest: Guest) -> Wish:
    """The plan's word about one guest; that it waits for its turn is no objection."""
    move = next((move for move in plan.all_moves if move.vmid == guest.vmid), None)
    if move is not None:
        return Wish(guest, move)
    for stop in plan.blocked:
        if stop.vmid == guest.vmid:
            return Wish(guest, None, (Finding(Level.FAIL, stop.why, stop.message, stop.remedy, check="planning"),))
    for pause in plan.waiting:
        if pause.vmid == guest.vmid:
            said = Finding(Level.FAIL, pause.why, pause.message, pause.why.remedy, busy=True, check="planning")
            return Wish(guest, None, (said,))
    text = f"{guest} is being moved already" if guest.vmid in plan.flying else "the plan has no move for it"
    return Wish(guest, None, (Finding(Level.WARN, Why.GUEST_MOVING, text, Why.GUEST_MOVING.remedy, check="planning"),))


def _move(scene: Scene, guest: Guest, target: NodeName) -> Move:
    return Move(
        identity=guest.identity,
        name=guest.name,
        source=guest.node,
        target=target,
        why=Why.NODE_MAINTENANCE,
        cause=BY_HAND,
        message="asked about by hand",
        lane=Lane.DRAIN,
        memory_bytes=scene.needs.get(guest.vmid) or 0,
        options=options(scene, guest),
    )


def _planning(scene: Scene, guest: Guest, target: NodeName) -> tuple[Finding, ...]:
    """Policies and the memory of failures, which only planning knows; all else the checks find by themselves."""
    found: tuple[Finding, ...] = ()
    stop = gate(scene, guest, BY_HAND, Lane.DRAIN)
    if stop is not None:
        remedy = getattr(stop, "remedy", stop.why.remedy)
        found += (Finding(Level.FAIL, stop.why, stop.message, remedy, check="planning"),)
    now, _ = stages(scene)
    reason = why_not(scene, now, guest, target)
    if reason is not None and target not in scene.shut and reason != no_room(scene, now, guest, target):
        why = Why.NO_NODE_ALLOWED
        found += (Finding(Level.FAIL, why, f"{target} {reason}", why.remedy, check="policies allow it"),)
    return found
