"""Which moves may start now: by lane, fairly among drains, as far as room, Musts and slots allow at this very instant.

Called by `decide.pipeline` after all targets are chosen.
"""

from collections import Counter
from collections.abc import Iterable

from controller.decide.draft import Draft
from controller.decide.explain import copies, no_room, no_seat, size
from controller.decide.gate import blocked
from controller.decide.placement import Intent
from controller.decide.scene import Scene
from controller.decide.slots import Slots
from controller.decide.stage import stages
from controller.model.ids import NodeName
from controller.model.plan import Lane, Move, Waiting
from controller.model.reasons import Why

_Assigned = tuple[Intent, NodeName]


def schedule(draft: Draft) -> None:
    """Turn what is assigned into moves that may start and moves that wait. `draft.now` is left with them in flight."""
    scene, board, now = draft.scene, draft.board, draft.now
    now.head_for(draft.later)
    slots = Slots(scene)
    startable: list[_Assigned] = []
    unready: list[_Assigned] = []
    for intent, target in in_order(board.assigned):
        vmid, source = intent.guest.vmid, intent.guest.node
        if not now.admits(vmid, target, in_groups=intent.in_groups):
            unready.append((intent, target))
            continue
        # A move that waits for its slot keeps its place, or others would eat it up for ever.
        now.arrive(vmid, target)
        startable.append((intent, target))
        move = _move(scene, intent, target)
        if word := draft.staging.step(move, intent.guest):
            board.put(word)
        elif full := slots.take(source, target):
            text = f"{intent.guest} waits for a slot: {full}"
            board.waiting[vmid] = Waiting(vmid, Why.SLOT_TAKEN, text, intent.cause, move)
        else:
            board.moves.append(move)
    if unready:
        _tell_waiting_from_deadlocked(draft, startable, unready)


def in_order(assigned: Iterable[_Assigned]) -> list[_Assigned]:
    """By lane; within a lane drains and policies take turns, so that no queue starves another; the biggest guests first."""
    turns: Counter[tuple[Lane, str, NodeName]] = Counter()
    ranked = []
    for intent, target in sorted(assigned, key=lambda a: (-a[0].size, a[0].guest.vmid)):
        queue = (intent.lane, str(intent.cause), intent.guest.node if intent.lane is Lane.DRAIN else NodeName(""))
        turns[queue] += 1
        ranked.append(((-intent.lane, turns[queue], *queue[1:], intent.guest.vmid), (intent, target)))
    return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])]


def _move(scene: Scene, intent: Intent, target: NodeName) -> Move:
    guest = intent.guest
    origin = scene.memory.origins.get(guest.vmid)
    home = origin is not None and origin.node == target
    choice = "is its home" if home and intent.lane is not Lane.RETURN else _choice(scene, intent, target)
    return Move(
        identity=guest.identity,
        name=guest.name,
        source=guest.node,
        target=target,
        why=intent.why,
        cause=intent.cause,
        message=f"{intent.because}; {target} {choice}" if choice else intent.because,
        lane=intent.lane,
        memory_bytes=intent.size,
        options=intent.options,
        returns=intent.returns and not home,
    )


def _choice(scene: Scene, intent: Intent, target: NodeName) -> str:
    if intent.lane is Lane.RETURN:
        return ""
    if len(intent.nodes) == 1:
        return "is the only node it may go to"
    fence = scene.wanted.fences.get(intent.guest.vmid)
    copying, replicas = copies(scene, intent.guest)
    if target in copying:
        return "is where its disks are copied to"
    if target in replicas and (fence is None or target not in fence.order):
        return "has a replica of it"
    if intent.rank(target) < intent.preferred:
        return "comes first in the policy's order" if intent.rank(target) == 0 else "is the next in the policy's order"
    return f"has room for its {size(intent.size)}" if intent.size else "takes it"


def _tell_waiting_from_deadlocked(draft: Draft, startable: list[_Assigned], unready: list[_Assigned]) -> None:
    """What others will make room for waits; what waits for nothing but itself is blocked, and says so."""
    scene, board, now = draft.scene, draft.board, draft.now
    _, stage = stages(scene)
    for intent, target in startable:
        stage.arrive(intent.guest.vmid, target)
        stage.leave(intent.guest.vmid, intent.guest.node)
    pending, progress = list(unready), True
    while progress:
        progress, rest = False, []
        for intent, target in pending:
            vmid = intent.guest.vmid
            if stage.admits(vmid, target, in_groups=intent.in_groups):
                stage.arrive(vmid, target)
                stage.leave(vmid, intent.guest.node)
                progress = True
            else:
                rest.append((intent, target))
        pending = rest
    stuck = {intent.guest.vmid for intent, _ in pending}
    for intent, target in unready:
        guest = intent.guest
        reason = f"{target} {no_seat(scene, now, guest, target) or no_room(scene, now, guest, target) or 'is full'}"
        if guest.vmid in stuck:
            text = f"{guest} and others that have to move wait for each other's place: {reason}"
            board.blocked[guest.vmid] = blocked(guest, Why.NO_TARGET_FITS, text, intent.cause)
        else:
            move, text = _move(scene, intent, target), f"{guest} waits for room: {reason}"
            board.waiting[guest.vmid] = Waiting(guest.vmid, Why.WAITING_FOR_ROOM, text, intent.cause, move)
