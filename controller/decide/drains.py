"""How far every maintenance is, from what is observed and what the plan says. Called by `decide.pipeline`.

Drained means safe to service: two looks have found nothing that has to leave, nothing on its way from or to the node, no task
that runs on it and no replication that is being written to it.
"""

from controller.decide.departure import is_overdue
from controller.decide.draft import Board
from controller.decide.explain import names
from controller.decide.scene import Scene, seen_moving
from controller.decide.unavailable import held
from controller.model.approval import Approval
from controller.model.desired import Maintenance
from controller.model.ids import NodeName, Vmid
from controller.model.plan import Drain, DrainMode
from controller.model.reasons import Why

_CONSOLES = frozenset({"vncproxy", "vncshell", "termproxy", "spiceproxy", "spiceshell"})
"""Tasks that only show somebody a screen (pve-manager: PVE/API2/Nodes.pm, qemu-server: PVE/API2/Qemu.pm)."""


def drains(scene: Scene, board: Board) -> tuple[Drain, ...]:
    """One statement per node in maintenance, by node."""
    holds = held(scene)
    return tuple(
        _cordon(maintenance)
        if maintenance.mode is DrainMode.CORDON
        else _evacuation(scene, board, maintenance, holds.get(node, ""))
        for node, maintenance in sorted(scene.wanted.maintenance.items())
    )


def _cordon(maintenance: Maintenance) -> Drain:
    return Drain(
        ref=maintenance.ref,
        node=maintenance.node,
        mode=DrainMode.CORDON,
        remaining=(),
        moving=(),
        blocked=(),
        staying=(),
        remaining_bytes=0,
        drained=False,
        reason=maintenance.reason,
        message=f"{maintenance.node} accepts nothing new",
    )


def _evacuation(scene: Scene, board: Board, maintenance: Maintenance, hold: str) -> Drain:
    node = maintenance.node
    here = [guest.vmid for guest in scene.residents.get(node, ())]
    staying = tuple(vmid for vmid in here if vmid in board.staying)
    remaining = tuple(vmid for vmid in here if vmid not in board.staying)
    stuck = tuple(board.blocked[vmid] for vmid in remaining if vmid in board.blocked)
    moving = _moving(scene, node, remaining)
    arriving = _arriving(scene, node)
    doubt = _doubt(scene, node, arriving)
    empty = not (remaining or moving or doubt)
    # Seen twice: the rows of guests that somebody has just begun to create or move may be on their way.
    drained = empty and node in scene.memory.emptied
    late = is_overdue(scene, maintenance)
    unapproved = next((one for one in board.approvals if one.waits and _concerns(one, maintenance)), None)
    why = _hold(maintenance, hold, late=late) or (Why.AWAITING_APPROVAL if unapproved is not None else None)
    if unapproved is not None and why is Why.AWAITING_APPROVAL:
        hold = f"{node} is emptied when that is approved: `drover approve {unapproved.digest}`"
    return Drain(
        ref=maintenance.ref,
        node=node,
        mode=DrainMode.EVACUATE,
        remaining=remaining,
        moving=moving,
        blocked=stuck,
        staying=staying,
        remaining_bytes=sum(scene.needs.get(vmid) or 0 for vmid in remaining),
        overdue=late and not drained,
        empty=empty,
        drained=drained,
        reason=maintenance.reason,
        hold=None if drained else why,
        outlook=None if drained or why or stuck else board.outlooks.get(node),
        message=hold
        if hold and not drained
        else _sentence(node, remaining, moving, len(stuck), doubt or ("" if drained else "is looked at once more")),
    )


def _concerns(asked: Approval, maintenance: Maintenance) -> bool:
    return any(step.cause == maintenance.ref and step.source == maintenance.node for step in asked.steps)


def _hold(maintenance: Maintenance, hold: str, *, late: bool) -> Why | None:
    if maintenance.suspended:
        return Why.SUSPENDED
    if late and not maintenance.shuts_down_remaining:
        return Why.DEADLINE_EXCEEDED
    return Why.TOO_MANY_UNAVAILABLE if hold else None


def _moving(scene: Scene, node: NodeName, remaining: tuple[Vmid, ...]) -> tuple[Vmid, ...]:
    """Guests on their way off the node; not those that have arrived well and are only watched."""
    ours = {vmid for vmid, flight in scene.memory.flights.items() if flight.source == node and node in flight.nodes}
    return tuple(sorted(ours | {vmid for vmid in remaining if scene.flying(vmid)}))


def _arriving(scene: Scene, node: NodeName) -> tuple[Vmid, ...]:
    """Guests that are, or may be, on their way to the node: of other people's moves nobody knows the target.

    A lock alone is no such move here: one that was left behind would keep every node from being called drained.
    """
    ours = {vmid for vmid, flight in scene.memory.flights.items() if flight.target == node}
    others = {
        vmid
        for vmid in scene.foreign & seen_moving(scene.seen)
        if scene.seen.guests[vmid].node != node and scene.seen.nodes[node].usable
    }
    return tuple(sorted(ours | others))


def _sentence(node: NodeName, remaining: tuple[Vmid, ...], moving: tuple[Vmid, ...], stuck: int, doubt: str) -> str:
    """`doubt`: why a node that seems to be empty may not be."""
    if remaining or moving:
        return f"{len(remaining)} on {node} have to leave: {len(moving)} moving, {stuck} blocked"
    return f"{node} seems to be empty, but {doubt}" if doubt else f"nothing that has to leave is on {node}"


def _doubt(scene: Scene, node: NodeName, arriving: tuple[Vmid, ...]) -> str:
    """Why a node without guests that have to leave may not be switched off yet, as the end of a sentence; "" when it may."""
    if scene.seen.partial:
        return "the token may not see every guest"
    if arriving:
        return f"{names(scene, arriving)} may be on the way to it"
    if writing := sorted(s.job_id for s in scene.seen.states.values() if s.running and s.target == node):
        return f"replication is being written to it ({', '.join(writing)})"
    busy = sorted({t.type for t in scene.seen.tasks if t.running and t.node == node and t.type not in _CONSOLES})
    return f"tasks still run on it ({', '.join(busy)})" if busy else ""
