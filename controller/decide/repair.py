"""Musts that do not hold: mended with the fewest moves, and never touched while they hold. Called by `decide.pipeline`."""

from collections.abc import Iterable
from itertools import combinations, islice

from controller.decide.draft import Draft
from controller.decide.evacuation import no_way
from controller.decide.explain import names, shunned
from controller.decide.gate import gate, options
from controller.decide.placement import Intent, open_nodes
from controller.decide.scene import Scene
from controller.decide.stage import Stage
from controller.model.desired import Apart, Fence, NodeRule
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.observed import Guest
from controller.model.plan import Blocked, Lane, Waiting
from controller.model.reasons import Why

_COMBINATIONS = 24


def plan(draft: Draft) -> None:
    """Say who has to move because of a Must, nodes first: that may put a group right on the way."""
    _fences(draft)
    for index, group in enumerate(draft.scene.wanted.groups):
        if isinstance(group, Apart) and group.must and group.corrects:
            for domain, members in draft.later.overfull(index):
                _thin_out(draft, group, domain, members)


# Nodes


def _fences(draft: Draft) -> None:
    scene, board = draft.scene, draft.board
    intents = []
    for vmid, fence in sorted(scene.wanted.fences.items()):
        guest = scene.seen.guests[vmid]
        rule = _broken(fence, guest.node)
        if rule is None or board.knows(vmid):
            continue
        if word := gate(scene, guest, rule.ref, Lane.REPAIR):
            board.say(word)
        else:
            verb = "wants it on" if rule.why is Why.NODE_AFFINITY else "keeps it off"
            where = ", ".join(rule.order or sorted(rule.nodes)) if rule.why is Why.NODE_AFFINITY else guest.node
            intents.append(_intent(scene, guest, rule.why, rule.ref, f"{rule.ref} {verb} {where}"))
    found, failed = draft.place(intents)
    for intent in intents:
        if intent.guest.vmid in found:
            board.assign(intent, found[intent.guest.vmid])
    for intent in failed:
        target = draft.place_as_is(intent)
        if target is not None:
            board.assign(intent, target)
        else:
            board.say(no_way(draft, intent))


def _broken(fence: Fence, node: NodeName) -> NodeRule | None:
    """The Must of the highest priority that the node breaks and that asks for correction."""
    return next((rule for rule in fence.rules if rule.corrects and node not in rule.nodes), None)


def _intent(scene: Scene, guest: Guest, why: Why, cause: ObjectRef, because: str) -> Intent:
    nodes, preferred = open_nodes(scene, guest)
    return Intent(
        guest=guest,
        lane=Lane.REPAIR,
        why=why,
        cause=cause,
        because=because,
        nodes=nodes,
        preferred=preferred,
        options=options(scene, guest),
        size=scene.needs.get(guest.vmid) or 0,
        shunned=shunned(scene, guest),
    )


# Groups


def _thin_out(draft: Draft, group: Apart, domain: str, members: tuple[Vmid, ...]) -> None:
    """Move as many out of the domain as are too many: those that mend most, then those that are cheapest to move.

    Too many now and later: what flights mend is left to them, and what they may break is judged when they have landed.
    """
    here = [v for v in members if group.domains.get(draft.scene.seen.guests[v].node) == domain]
    excess = len(here) - group.most
    if excess <= 0:
        return
    because = f"{group.ref} allows {group.most} in {domain}, which has {names(draft.scene, members)}"
    intents, words = _movable(draft, group, here, because)
    leaving = _choose(draft, intents, min(excess, len(intents)))
    for intent, target in leaving:
        draft.board.assign(intent, target)
    missing = excess - len(leaving)
    gone = {intent.guest.vmid for intent, _ in leaving}
    words += [no_way(draft, intent) for intent in intents if intent.guest.vmid not in gone]
    # Those that wait come first: a lock ends by itself, a lack of room does not.
    for word in sorted(words, key=lambda word: (isinstance(word, Blocked), word.vmid))[:missing]:
        draft.board.say(word)


def _movable(
    draft: Draft, group: Apart, members: list[Vmid], because: str
) -> tuple[list[Intent], list[Waiting | Blocked]]:
    """Members that could leave, the best first, and the words about those that can't."""
    scene = draft.scene
    intents: list[Intent] = []
    words: list[Waiting | Blocked] = []
    for vmid in members:
        guest = scene.seen.guests[vmid]
        if draft.board.knows(vmid):
            continue
        if word := gate(scene, guest, group.ref, Lane.REPAIR):
            words.append(word)
        else:
            intents.append(_intent(scene, guest, Why.KEEP_APART, group.ref, because))
    intents.sort(key=lambda intent: (-_mends(scene, draft.later, intent.guest), intent.size, intent.guest.vmid))
    return intents, words


def _mends(scene: Scene, later: Stage, guest: Guest) -> int:
    """In how many overfull groups the guest is one too many where it will be."""
    return sum(
        isinstance(group := scene.wanted.groups[index], Apart)
        and group.must
        and len(later.seated(index, guest.node)) > group.most
        for index in scene.wanted.groups_of.get(guest.vmid, ())
    )


def _choose(draft: Draft, intents: list[Intent], count: int) -> list[tuple[Intent, NodeName]]:
    """The first choice of `count` guests that all find a place, else the one of which most do. They count as moved."""
    best: dict[Vmid, NodeName] = {}
    for chosen in islice(combinations(intents, count), _COMBINATIONS) if count > 0 else ():
        found, _ = draft.place(chosen)
        if len(found) == count:
            best = found
            break
        _undo(chosen, found, draft.later)
        best = found if len(found) > len(best) else best
    else:
        for intent in intents:
            if target := best.get(intent.guest.vmid):
                draft.later.leave(intent.guest.vmid, intent.guest.node)
                draft.later.arrive(intent.guest.vmid, target)
    return [(intent, best[intent.guest.vmid]) for intent in intents if intent.guest.vmid in best]


def _undo(chosen: Iterable[Intent], found: dict[Vmid, NodeName], later: Stage) -> None:
    for intent in chosen:
        if target := found.get(intent.guest.vmid):
            later.leave(intent.guest.vmid, target)
            later.arrive(intent.guest.vmid, intent.guest.node)
