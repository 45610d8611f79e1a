"""Which moves may start now: by lane, fairly among drains, as far as room, Musts and slots allow at this very instant.

Called by `decide.pipeline` after all targets are chosen.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from controller.decide.draft import Draft
from controller.decide.explain import copies, no_room, no_seat
from controller.decide.gate import blocked
from controller.decide.placement import Intent
from controller.decide.scene import Scene
from controller.decide.slots import Slots
from controller.decide.stage import Stage, stages
from controller.decide.words import size
from controller.model.ids import NodeName, Vmid
from controller.model.plan import Lane, Move, Waiting
from controller.model.reasons import Why

_Assigned = tuple[Intent, NodeName]


def schedule(draft: Draft) -> None:
    """Turn what is assigned into moves that may start and moves that wait. `draft.now` is left with them in flight."""
    scene, board = draft.scene, draft.board
    held: set[int] = set()
    while True:  # a group that is kept together sets out when all of it can arrive, one group less each time round
        now = draft.now.copy()
        now.head_for(_ends(draft), held)
        startable, unready = _startable(board.assigned, now)
        stuck = _stuck(draft, held, startable, unready)
        more = {index for vmid in stuck for index in now.heading(vmid)}
        if not more:
            break
        held |= more
    draft.now = now
    slots = Slots(scene)
    for intent, target in startable:
        vmid, source = intent.guest.vmid, intent.guest.node
        move = _move(scene, intent, target)
        if word := draft.staging.step(move, intent.guest):
            board.put(word)
        elif full := slots.take(source, target):
            text = f"{intent.guest} waits for a slot: {full}"
            board.waiting[vmid] = Waiting(vmid, Why.SLOT_TAKEN, text, intent.cause, move)
        else:
            board.moves.append(move)
    _tell_waiting_from_deadlocked(draft, unready, stuck)


def _ends(draft: Draft) -> Mapping[Vmid, NodeName]:
    """Where everybody is when all that is assigned and under way is done."""
    ends = {vmid: guest.node for vmid, guest in draft.scene.seen.guests.items()}
    ends |= {vmid: flight.target for vmid, flight in draft.scene.memory.flights.items()}
    return ends | {intent.guest.vmid: target for intent, target in draft.board.assigned}


def _startable(assigned: Iterable[_Assigned], now: Stage) -> tuple[list[_Assigned], list[_Assigned]]:
    """What may start, and what may not yet; `now` is left with the former in flight."""
    startable: list[_Assigned] = []
    unready: list[_Assigned] = []
    for intent, target in in_order(assigned):
        if now.admits(intent.guest.vmid, target, in_groups=intent.in_groups):
            # A move that waits for its slot keeps its place, or others would eat it up for ever.
            now.arrive(intent.guest.vmid, target)
            startable.append((intent, target))
        else:
            unready.append((intent, target))
    return startable, unready


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


def _stuck(
    draft: Draft, held: Collection[int], startable: list[_Assigned], unready: list[_Assigned]
) -> frozenset[Vmid]:
    """Of those that may not start yet the ones that never may, whatever others do first."""
    if not unready:
        return frozenset()
    _, stage = stages(draft.scene)
    stage.head_for(_ends(draft), held)
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
    return frozenset(intent.guest.vmid for intent, _ in pending)


def _tell_waiting_from_deadlocked(draft: Draft, unready: list[_Assigned], stuck: frozenset[Vmid]) -> None:
    """What others will make room for waits; what waits for nothing but itself is blocked, and says so."""
    scene, board, now = draft.scene, draft.board, draft.now
    for intent, target in unready:
        guest = intent.guest
        reason = f"{target} {no_seat(scene, now, guest, target) or no_room(scene, now, guest, target) or 'is full'}"
        if guest.vmid in stuck:
            text = f"{guest} and others that have to move wait for each other's place: {reason}"
            board.blocked[guest.vmid] = blocked(guest, Why.NO_TARGET_FITS, text, intent.cause)
        else:
            move, text = _move(scene, intent, target), f"{guest} waits for room: {reason}"
            board.waiting[guest.vmid] = Waiting(guest.vmid, Why.WAITING_FOR_ROOM, text, intent.cause, move)
