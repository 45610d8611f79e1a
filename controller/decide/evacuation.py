"""Nodes that have to be empty: everything leaves, or is named. Called by `decide.pipeline`, before all other planners."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from controller.decide import departure
from controller.decide.draft import Draft
from controller.decide.explain import names, no_target, refusals, shunned
from controller.decide.gate import blocked, gate, options
from controller.decide.ha_rules import HA_RULE
from controller.decide.placement import Intent, open_nodes
from controller.decide.scene import Scene
from controller.decide.unavailable import held
from controller.model.desired import Leaving, Maintenance
from controller.model.ids import NodeName, Vmid
from controller.model.observed import Guest
from controller.model.plan import Blocked, DrainMode, Lane, Waiting
from controller.model.reasons import Why


def leaving(draft: Draft) -> list[Intent]:
    """Who has to leave nodes that are evacuated; everybody else on them gets a word, now or from `take_turns`."""
    scene, board = draft.scene, draft.board
    holds = held(scene)
    drains = [(n, m) for n, m in scene.wanted.maintenance.items() if m.mode is DrainMode.EVACUATE]
    found = [
        _intent(draft, guest, maintenance, holds)
        for node, maintenance in drains
        for guest in scene.residents.get(node, ())
        if not board.knows(guest.vmid)
    ]
    return [intent for intent in found if intent is not None]


def take_turns(draft: Draft, placed: Sequence[tuple[Intent, NodeName]]) -> None:
    """Guests of the lowest order of their node leave now, by moving or by being shut down; the others wait for them.

    placed: everybody who has found a place and leaves a node that is evacuated.
    """
    scene, board = draft.scene, draft.board
    first = _first(draft, [intent.guest for intent, _ in placed])
    targets = {intent.guest.vmid: (intent, target) for intent, target in placed}
    for guest in [*(intent.guest for intent, _ in placed), *draft.downs]:
        maintenance = scene.wanted.maintenance[guest.node]
        order, leaders = first[guest.node]
        if maintenance.departure(guest.vmid).order > order:
            # It keeps the place that was found for it: what is there now is not given away meanwhile.
            text = f"{guest} leaves {guest.node} after {names(scene, leaders)}, as {maintenance.ref} says by `order`"
            board.say(Waiting(guest.vmid, Why.LEAVES_LATER, text, maintenance.ref))
            draft.kept |= {guest.vmid: targets[guest.vmid][1]} if guest.vmid in targets else {}
        elif guest.power.holds_memory and departure.shuts_down(scene, maintenance, guest):
            draft.kept |= {guest.vmid: targets[guest.vmid][1]} if guest.vmid in targets else {}
            if guest.vmid in draft.kept and not draft.now.admits(guest.vmid, draft.kept[guest.vmid]):
                text = f"{guest} is shut down when there is room for it on {draft.kept[guest.vmid]}"
                board.say(Waiting(guest.vmid, Why.WAITING_FOR_ROOM, text, maintenance.ref))
            else:
                departure.shut_down(scene, board, maintenance, guest)
        else:
            board.assign(*targets[guest.vmid])


def _first(draft: Draft, leavers: Iterable[Guest]) -> Mapping[NodeName, tuple[int, tuple[Vmid, ...]]]:
    """The lowest order on every node among guests that are leaving, or wait for something else, and those guests."""
    scene, board = draft.scene, draft.board
    orders: dict[NodeName, dict[int, list[Vmid]]] = defaultdict(lambda: defaultdict(list))
    waiting = [
        guest
        for node in scene.wanted.maintenance
        for guest in scene.residents.get(node, ())
        if guest.vmid in board.waiting or scene.flying(guest.vmid)
    ]
    for guest in [*waiting, *leavers, *draft.downs]:
        orders[guest.node][scene.wanted.maintenance[guest.node].departure(guest.vmid).order].append(guest.vmid)
    return {node: (min(found), tuple(sorted(found[min(found)]))) for node, found in orders.items()}


def _intent(draft: Draft, guest: Guest, maintenance: Maintenance, holds: Mapping[NodeName, str]) -> Intent | None:
    """The guest's move, or None after another word about it."""
    scene, board, ref = draft.scene, draft.board, maintenance.ref
    managed = guest.vmid in scene.wanted.managed
    if departure.stays(scene, maintenance, guest, managed=managed):
        board.stay(guest.vmid)
        return None
    how = departure.of(scene, maintenance, guest)
    if not managed:
        board.say(blocked(guest, Why.UNMANAGED, f"{guest} runs on {guest.node} and is not managed by Drover", ref))
    elif maintenance.suspended:
        board.say(blocked(guest, Why.SUSPENDED, f"{guest} stays because {ref} is suspended", ref))
    elif guest.node in holds:
        board.say(Waiting(guest.vmid, Why.TOO_MANY_UNAVAILABLE, holds[guest.node], ref))
    elif word := departure.overdue(scene, maintenance, guest) or gate(
        scene,
        guest,
        ref,
        Lane.DRAIN,
        restart_containers=maintenance.restart_containers,
        as_it_runs=not how.shuts_down,
    ):
        if how is Leaving.MIGRATE_IF_POSSIBLE and not isinstance(word, Waiting):
            board.stay(guest.vmid)
        else:
            board.say(word)
    elif how is Leaving.SHUTDOWN:
        draft.downs.append(guest)
    else:
        return _leaving(scene, guest, maintenance)
    return None


def _leaving(scene: Scene, guest: Guest, maintenance: Maintenance, *, musts: bool = True) -> Intent:
    nodes, preferred = open_nodes(scene, guest, musts=musts)
    # What PVE HA looks after is left to HA as soon as the drain is over, so nothing of it is remembered.
    return Intent(
        guest=guest,
        lane=Lane.DRAIN,
        why=Why.NODE_MAINTENANCE,
        cause=maintenance.ref,
        because=f"{guest.node} is in maintenance",
        nodes=nodes,
        preferred=preferred,
        options=options(scene, guest),
        size=scene.needs.get(guest.vmid) or 0,
        returns=maintenance.returns and not scene.left_to_ha(guest),
        rebalances=maintenance.rebalances,
        aborts=maintenance.aborts,
        in_groups=musts,
        shunned=shunned(scene, guest),
    )


def last_resort(draft: Draft, intent: Intent, known: str = "") -> tuple[Intent, NodeName] | None:
    """No target keeps every promise and improves something: try what makes nothing worse, then what was explicitly allowed.

    Returns the intent that can be had with its target, or None after a word about the guest. known: what is known about why
    there is no target, for that word.
    """
    scene, board, guest = draft.scene, draft.board, intent.guest
    maintenance = scene.wanted.maintenance.get(guest.node) if intent.lane is Lane.DRAIN else None
    target = draft.place_as_is(intent)
    if target is None and maintenance is not None and maintenance.override_must:
        intent = replace(
            _leaving(scene, guest, maintenance, musts=False), because=f"{intent.because}, overriding Musts"
        )
        target = draft.place_as_is(intent)
    if target is not None:
        return intent, target
    if maintenance is not None and departure.of(scene, maintenance, guest) is Leaving.MIGRATE_IF_POSSIBLE:
        board.stay(guest.vmid)
    else:
        board.say(no_way(draft, intent, known))
    return None


def no_way(draft: Draft, intent: Intent, known: str = "") -> Blocked:
    """The word about a guest for which no node is left."""
    scene, guest = draft.scene, intent.guest
    fence = scene.wanted.fences.get(guest.vmid)
    if fence is not None and not fence.nodes:
        rules = ", ".join(str(rule.ref) for rule in fence.rules)
        return blocked(guest, Why.NO_NODE_ALLOWED, f"{rules} together allow no node for {guest}", intent.cause)
    if fence is not None and fence.nodes <= {guest.node} and any(rule.ref.kind == HA_RULE for rule in fence.rules):
        return blocked(guest, Why.HA_WOULD_UNDO, no_target(scene, draft.later, guest), intent.cause)
    # What keeps it from every node that policies and nodes leave open is the reason; of several none is the one.
    whys = {refusal.why for refusal in refusals(scene, guest).values()} if not intent.nodes else set()
    why = whys.pop() if len(whys) == 1 else Why.NO_TARGET_FITS
    text = no_target(scene, draft.later, guest)
    return blocked(guest, why, f"{text}; {known}" if known else text, intent.cause)
