"""Which moves may start now: by lane, fairly among drains, as far as room, Musts and slots allow at this very instant.

Called by `decide.pipeline` after all targets are chosen. Of a queue those go first that the best of several simulated orders
has first; made anew with every look, so whatever comes otherwise than expected counts from then on.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from controller.decide import approval
from controller.decide.detour import way_out
from controller.decide.draft import Draft
from controller.decide.explain import copies, no_room, no_seat
from controller.decide.gate import blocked
from controller.decide.placement import Intent
from controller.decide.scene import Scene
from controller.decide.slots import Slots
from controller.decide.stage import Stage, stages
from controller.decide.timing.admission import Limits
from controller.decide.timing.forecast import Forecast, bound, forecast
from controller.decide.timing.load import SEEN, TWICE, Job
from controller.decide.traffic import Traffic, by_vmid
from controller.decide.words import size
from controller.model.desired import Together
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.memory import Flight
from controller.model.observed import Guest
from controller.model.plan import Blocked, Lane, Move, Outlook, Waiting
from controller.model.reasons import Why

_Assigned = tuple[Intent, NodeName]


def schedule(draft: Draft) -> None:
    """Turn what is assigned into moves that may start and moves that wait. `draft.now` is left with them in flight."""
    scene, board = draft.scene, draft.board
    traffic = Traffic(scene)
    slots = Slots(scene, traffic)
    plan = _forecast(draft, traffic, slots.limits)
    sending = [flight for flight in scene.memory.flights.values() if flight.sends]
    assigned = in_order(board.assigned, by_vmid(plan.order) if plan is not None else {}, sending)
    held: set[int] = set()
    found = None
    while True:  # a group that is kept together sets out when all of it can arrive, one group less each time round
        now = draft.now.copy()
        now.head_for(_ends(draft), held)
        startable, unready = _startable(assigned, now)
        stuck = _stuck(draft, held, startable, unready)
        more = {index for vmid in stuck for index in now.heading(vmid)}
        if not more:
            break
        held |= more
    if stuck and (found := _way_out(draft, assigned, held, stuck)):
        startable, unready, now = found
        stuck = frozenset()
    draft.now = now
    unreleased = approval.judge(draft, _as_shown(draft, startable))
    staged = _staged(draft, startable, unreleased)
    for intent, chosen in startable:
        vmid = intent.guest.vmid
        # Where others step aside every place counts.
        asks = approval.gated(scene, intent.cause, vmid)  # then exactly what was approved is done
        target = chosen if found or asks else _elsewhere(draft, slots, traffic, intent, chosen)
        move = replace(_move(scene, intent, target), asks=asks)
        if vmid in unreleased:
            board.put(_unreleased(move, intent.guest, unreleased[vmid]))
            continue
        if vmid in staged:
            move = replace(move, partners=_partners(draft, vmid) & staged.keys())
        if word := staged[vmid] if vmid in staged else draft.staging.step(move, intent.guest):
            board.put(word)
        elif full := slots.take(traffic.job(intent, target)):
            text = f"{intent.guest} waits for a slot: {full}"
            board.waiting[vmid] = Waiting(vmid, Why.SLOT_TAKEN, text, intent.cause, move)
        else:
            board.moves.append(move)
    _tell_waiting_from_deadlocked(draft, unready, stuck)
    for word in [board.waiting[vmid] for vmid in unreleased.keys() & board.waiting.keys()]:
        if word.move is not None:
            board.put(_unreleased(word.move, scene.seen.guests[word.vmid], unreleased[word.vmid]))
    board.next_start = slots.next_start()
    if plan is not None:
        board.outlooks = _outlooks(draft, traffic, plan)


def _as_shown(draft: Draft, startable: Iterable[_Assigned]) -> list[_Assigned]:
    """Every move that is planned, those that begin with a detour with that."""
    shown = {intent.guest.vmid: (intent, target) for intent, target in draft.board.assigned}
    return list((shown | {intent.guest.vmid: (intent, target) for intent, target in startable}).values())


def _unreleased(move: Move, guest: Guest, digest: str) -> Waiting:
    text = f"{guest} goes to {move.target} when that is approved: `drover approve {digest}`; {move.message}"
    return Waiting(move.vmid, Why.AWAITING_APPROVAL, text, move.cause, move)


def _staged(
    draft: Draft, startable: Iterable[_Assigned], unreleased: Mapping[Vmid, str]
) -> dict[Vmid, Waiting | Blocked | None]:
    """What keeps those who set out together, known before the first of them starts: nobody leaves alone."""
    ends, words = _ends(draft), dict[Vmid, Waiting | Blocked | None]()
    pending = [(intent, target) for intent, target in startable if _sets_out(draft, intent.guest.vmid, ends)]
    for intent, target in pending:
        if intent.guest.vmid in unreleased:
            move = _move(draft.scene, intent, target)
            words[intent.guest.vmid] = _unreleased(move, intent.guest, unreleased[intent.guest.vmid])
            continue
        words[intent.guest.vmid] = draft.staging.step(_move(draft.scene, intent, target), intent.guest)
    progress = True
    while progress:
        progress = False
        for intent, target in pending:
            vmid = intent.guest.vmid
            if words[vmid] is None and (partner := _late(draft, vmid, words)):
                text = f"{intent.guest} waits for {partner}, which it is kept together with and which can't leave yet"
                move = _move(draft.scene, intent, target)
                words[vmid] = Waiting(vmid, Why.WAITING_FOR_PARTNER, text, intent.cause, move)
                progress = True
    return words


def _sets_out(draft: Draft, vmid: Vmid, ends: Mapping[Vmid, NodeName]) -> bool:
    """Whether the guest is kept together with others and goes where none of them is yet."""
    scene = draft.scene
    groups = [scene.wanted.groups[index] for index in draft.now.heading(vmid)]
    return any(
        group.domains.get(ends[vmid]) not in {group.domains.get(scene.seen.guests[v].node) for v in group.members}
        and not group.members & scene.memory.flights.keys()
        for group in groups
    )


def _late(draft: Draft, vmid: Vmid, words: Mapping[Vmid, Waiting | Blocked | None]) -> Guest | None:
    """Somebody who has to wait, and whom the guest's own departure would leave behind."""
    late = next((v for v in sorted(_partners(draft, vmid)) if words.get(v) is not None), None)
    return draft.scene.seen.guests[late] if late is not None else None


def _partners(draft: Draft, vmid: Vmid) -> frozenset[Vmid]:
    groups = draft.scene.wanted.groups
    return frozenset(v for index in draft.now.heading(vmid) for v in groups[index].members) - {vmid}


def _ends(draft: Draft) -> Mapping[Vmid, NodeName]:
    """Where everybody is when all that is assigned and under way is done."""
    ends = {vmid: guest.node for vmid, guest in draft.scene.seen.guests.items()}
    ends |= {vmid: flight.target for vmid, flight in draft.scene.memory.flights.items()}
    return ends | {intent.guest.vmid: target for intent, target in draft.board.assigned}


def _startable(assigned: Iterable[_Assigned], now: Stage) -> tuple[list[_Assigned], list[_Assigned]]:
    """What may start, and what may not yet; `now` is left with the former in flight."""
    startable: list[_Assigned] = []
    unready: list[_Assigned] = []
    for intent, target in assigned:
        if now.admits(intent.guest.vmid, target, in_groups=intent.in_groups):
            # A move that waits for its slot keeps its place, or others would eat it up for ever.
            now.arrive(intent.guest.vmid, target)
            startable.append((intent, target))
        else:
            unready.append((intent, target))
    return startable, unready


def _way_out(
    draft: Draft, assigned: Sequence[_Assigned], held: AbstractSet[int], stuck: AbstractSet[Vmid]
) -> tuple[list[_Assigned], list[_Assigned], Stage] | None:
    """What may start, what may not yet, and the stage with the former in flight, when somebody steps aside first."""
    groups = draft.scene.wanted.groups_of
    free = [each for each in assigned if held.isdisjoint(groups.get(each[0].guest.vmid, ()))]
    if any(
        intent.guest.vmid in stuck for intent, _ in assigned if not held.isdisjoint(groups.get(intent.guest.vmid, ()))
    ):
        return None
    way = way_out(draft, free, stuck)
    if way is None:
        return None
    now = draft.now.copy()
    now.head_for(_ends(draft), held)
    startable, _ = _startable(way.first, now)
    if not startable and not draft.scene.memory.flights and not draft.scene.foreign:
        return None
    begun = {intent.guest.vmid for intent, _ in startable}
    for intent, target in startable:
        if not draft.board.knows(intent.guest.vmid):
            draft.board.assign(intent, target)
            draft.later.leave(intent.guest.vmid, intent.guest.node)
            draft.later.arrive(intent.guest.vmid, target)
    return startable, [each for each in assigned if each[0].guest.vmid not in begun], now


def in_order(
    assigned: Iterable[_Assigned], ranks: Mapping[Vmid, int], sending: Iterable[Flight] = ()
) -> list[_Assigned]:
    """By lane; within a lane drains and policies take turns, so that no queue starves another; then by rank, then by size.

    What a queue has under way counts as turns it has had: of single slots that become free one by one the first would get all.
    """
    turns = Counter(_queue(flight.lane, flight.cause, flight.source) for flight in sending)
    ranked = []
    for intent, target in sorted(assigned, key=lambda a: (ranks.get(a[0].guest.vmid, 0), -a[0].size, a[0].guest.vmid)):
        queue = _queue(intent.lane, intent.cause, intent.guest.node)
        turns[queue] += 1
        ranked.append(((-intent.lane, turns[queue], *queue[1:], intent.guest.vmid), (intent, target)))
    return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])]


def _queue(lane: Lane, cause: ObjectRef, source: NodeName) -> tuple[Lane, str, NodeName]:
    return lane, str(cause), source if lane is Lane.DRAIN else NodeName("")


def _forecast(draft: Draft, traffic: Traffic, limits: Limits) -> Forecast | None:
    """When all that is assigned will be done; None while nobody knows what the links carry."""
    if traffic.believed is None or not (draft.board.assigned or traffic.running):
        return None
    before = _before(draft)
    jobs = [
        replace(traffic.awaited(intent, target), after=before.get(intent.guest.vmid, frozenset()))
        for intent, target in draft.board.assigned
    ]
    return forecast(traffic.believed, limits, traffic.running, jobs, traffic.admits)


def _before(draft: Draft) -> dict[Vmid, frozenset[Vmid]]:
    """Of moves that may not start yet: those that may, or are under way, and that make room or have to go first."""
    now, groups = draft.now.copy(), draft.scene.wanted.groups_of
    now.head_for(_ends(draft), frozenset())
    startable, unready = _startable(draft.board.assigned, now)
    leaving = [(intent.guest.vmid, intent.guest.node) for intent, _ in startable]
    leaving += [(vmid, flight.source) for vmid, flight in draft.scene.memory.flights.items() if flight.sends]
    return {
        intent.guest.vmid: frozenset(
            vmid
            for vmid, source in leaving
            if source == target or not set(groups.get(vmid, ())).isdisjoint(groups.get(intent.guest.vmid, ()))
        )
        for intent, target in unready
    }


def _elsewhere(draft: Draft, slots: Slots, traffic: Traffic, intent: Intent, chosen: NodeName) -> NodeName:
    """The chosen target, or another that is just as good and can receive now while the chosen one can't."""
    scene, vmid, now, later = draft.scene, intent.guest.vmid, draft.now, draft.later
    if intent.rank(chosen) < intent.preferred or slots.open(traffic.job(intent, chosen)):
        return chosen
    groups = [scene.wanted.groups[index] for index in scene.wanted.groups_of.get(vmid, ())]
    if scene.cargo(vmid).shares or any(isinstance(group, Together) or not group.must for group in groups):
        return chosen  # a replica may be made there by now; what is best for a group is not known here
    now.leave(vmid, chosen)
    later.leave(vmid, chosen)
    as_good = [
        node
        for node in intent.nodes
        if intent.rank(node) == intent.rank(chosen)
        and now.admits(vmid, node, in_groups=intent.in_groups)
        and later.admits(vmid, node, in_groups=intent.in_groups)
        and slots.open(traffic.job(intent, node))
    ]
    best = min(as_good, key=lambda n: (slots.load(n), -later.room.fraction_after(n, intent.size), n), default=chosen)
    now.arrive(vmid, best)
    later.arrive(vmid, best)
    return best


def _outlooks(draft: Draft, traffic: Traffic, plan: Forecast) -> dict[NodeName, Outlook]:
    """How long each drain still takes."""
    wires, scene = traffic.believed, draft.scene
    assert wires is not None
    leaving: dict[NodeName, list[Job]] = defaultdict(list)
    for job in plan.order:
        leaving[job.source].append(job)
    for one in traffic.running:
        leaving[one.job.source].append(replace(one.job, size=one.left, setup=one.setup))
    found = {}
    for node in sorted(leaving.keys() & scene.wanted.maintenance.keys()):
        jobs = leaving[node]
        confirmed = SEEN + TWICE  # drained is what two looks have found
        likely = max(plan.ends[job.vmid] for job in jobs) + confirmed
        late = likely * (1 + traffic.habit.doubt(job.size for job in jobs))
        found[node] = Outlook(likely, late, min(likely, bound(wires, jobs) + confirmed))
    return found


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
        returns=intent.returns and (intent.rebalances or not home),
        rebalances=intent.rebalances,
        aborts=intent.aborts,
    )


def _choice(scene: Scene, intent: Intent, target: NodeName) -> str:
    if intent.lane is Lane.RETURN or intent.why is Why.STEPS_ASIDE:
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
        full = no_seat(scene, now, guest, target) or no_room(scene, now, guest, target)
        reason = f"{target} {full or 'is needed by others first'}"
        if guest.vmid in stuck:
            text = f"{guest} and others that have to move wait for each other's place: {reason}"
            board.blocked[guest.vmid] = blocked(guest, Why.NO_TARGET_FITS, text, intent.cause)
        else:
            move, text = _move(scene, intent, target), f"{guest} waits for room: {reason}"
            board.waiting[guest.vmid] = Waiting(guest.vmid, Why.WAITING_FOR_ROOM, text, intent.cause, move)
