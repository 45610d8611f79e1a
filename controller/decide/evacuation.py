"""Nodes that have to be empty: everything leaves, or is named. Called by `decide.pipeline`, before all other planners."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from controller.decide.draft import Board, Draft
from controller.decide.explain import no_target, not_heeded, refusals, shunned
from controller.decide.gate import blocked, gate, options
from controller.decide.ha_rules import HA_RULE
from controller.decide.placement import Intent, open_nodes
from controller.decide.scene import Scene
from controller.model.desired import Maintenance
from controller.model.ids import NodeName
from controller.model.observed import Guest
from controller.model.plan import Blocked, DrainMode, Lane, Waiting
from controller.model.reasons import Why


def leaving(draft: Draft) -> list[Intent]:
    """Who has to leave nodes that are evacuated; everybody else on them gets a word."""
    scene, board = draft.scene, draft.board
    holds = held(scene)
    drains = [(n, m) for n, m in scene.wanted.maintenance.items() if m.mode is DrainMode.EVACUATE]
    found = [
        _intent(scene, board, guest, maintenance, holds)
        for node, maintenance in drains
        for guest in scene.residents.get(node, ())
        if not board.knows(guest.vmid)
    ]
    return [intent for intent in found if intent is not None]


def held(scene: Scene) -> Mapping[NodeName, str]:
    """Evacuations that have to wait because too many nodes would be out of service, with the sentence that says so.

    Those that have begun go first, so that a new maintenance never stops one that is under way.
    """
    most = scene.cluster.spec.safety.max_unavailable_nodes
    drains = {n: m for n, m in scene.wanted.maintenance.items() if m.mode is DrainMode.EVACUATE}
    away = [
        f"{name} {scene.shut[name]}"
        for name, node in scene.seen.nodes.items()
        if not node.usable and name not in drains
    ]
    found = {}
    for _, name in sorted((_precedence(scene, maintenance), name) for name, maintenance in drains.items()):
        if len(away) + 1 > most:
            found[name] = f"{name} waits: {'; '.join(away) or 'none may'}, and maxUnavailableNodes is {most}"
        else:
            away.append(f"{name} is in maintenance ({drains[name].ref})")
    return MappingProxyType(found)


def _precedence(scene: Scene, maintenance: Maintenance) -> tuple[bool, bool, int]:
    """Out of service already, then begun, then nearly empty: sorts before."""
    ref, node = maintenance.ref, maintenance.node
    begun = any(flight.cause == ref and flight.source == node for flight in scene.memory.flights.values()) or any(
        origin.maintenance == ref and origin.node == node for origin in scene.memory.origins.values()
    )
    return scene.seen.nodes[node].usable, not begun, len(scene.residents.get(node, ()))


def _intent(
    scene: Scene, board: Board, guest: Guest, maintenance: Maintenance, holds: Mapping[NodeName, str]
) -> Intent | None:
    """The guest's move, or None after another word about it."""
    running, ref = guest.power.holds_memory, maintenance.ref
    managed = guest.vmid in scene.wanted.managed
    left_out = (
        maintenance.skip
        or (guest.template and not maintenance.include_templates)
        or (not running and not guest.template and not maintenance.include_stopped)
        or (not running and not managed)
    )
    if left_out:
        board.stay(guest.vmid)
        return None
    if not managed:
        board.say(blocked(guest, Why.UNMANAGED, f"{guest} runs on {guest.node} and is not managed by Drover", ref))
    elif maintenance.suspended:
        board.say(blocked(guest, Why.SUSPENDED, f"{guest} stays because {ref} is suspended", ref))
    elif maintenance.unheeded:
        board.say(
            blocked(guest, Why.NOT_YET_ACTED_UPON, f"{guest} stays: {not_heeded(ref, maintenance.unheeded)}", ref)
        )
    elif guest.node in holds:
        board.say(Waiting(guest.vmid, Why.TOO_MANY_UNAVAILABLE, holds[guest.node], ref))
    elif word := gate(scene, guest, ref, Lane.DRAIN, restart_containers=maintenance.restart_containers):
        if maintenance.optional and not isinstance(word, Waiting):
            board.stay(guest.vmid)
        else:
            board.say(word)
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
        in_groups=musts,
        shunned=shunned(scene, guest),
    )


def last_resort(draft: Draft, intent: Intent, known: str = "") -> None:
    """No target keeps every promise and improves something: try what makes nothing worse, then what was explicitly allowed.

    known: what is known about why there is no target, for the word about a guest that stays.
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
        board.assign(intent, target)
    elif maintenance is not None and maintenance.optional:
        board.stay(guest.vmid)
    else:
        board.say(no_way(draft, intent, known))


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
