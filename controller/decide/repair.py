"""Musts that do not hold: who breaks them, and what is said of those who can't be helped. Called by `decide.joint`."""

from collections import Counter
from collections.abc import Collection

from controller.decide.draft import Draft
from controller.decide.drift import held
from controller.decide.evacuation import no_way
from controller.decide.explain import names
from controller.decide.gate import gate
from controller.decide.placement import Intent, other
from controller.decide.scene import Scene
from controller.model.desired import Apart, Fence, Group, NodeRule, Spread, Together
from controller.model.ids import NodeName, Vmid
from controller.model.plan import Blocked, Lane, Waiting
from controller.model.reasons import Why


def strays(draft: Draft, leaving: Collection[Vmid]) -> list[Intent]:
    """Who is on a node that a Must about nodes forbids; those that can't move now get a word. `leaving` move anyway."""
    scene, board = draft.scene, draft.board
    intents = []
    for vmid, fence in sorted(scene.wanted.fences.items()):
        guest = scene.seen.guests[vmid]
        rule = _broken(fence, guest.node)
        if rule is None or vmid in leaving or board.knows(vmid):
            continue
        if word := gate(scene, guest, rule.ref, Lane.REPAIR):
            board.say(word)
            continue
        verb = "wants it on" if rule.why is Why.NODE_AFFINITY else "keeps it off"
        where = ", ".join(rule.order or sorted(rule.nodes)) if rule.why is Why.NODE_AFFINITY else guest.node
        intents.append(
            other(scene, guest, Lane.REPAIR, why=rule.why, cause=rule.ref, because=f"{rule.ref} {verb} {where}")
        )
    return intents


def _broken(fence: Fence, node: NodeName) -> NodeRule | None:
    """The Must of the highest priority that the node breaks and that asks for correction."""
    return next((rule for rule in fence.rules if rule.corrects and node not in rule.nodes), None)


# Groups


def wrong(draft: Draft, leaving: Collection[Vmid]) -> tuple[int, ...]:
    """Musts about several guests that are to be mended: broken now and when all that flies has landed.

    What flights mend is left to them, and what they may break is judged when they have landed. What somebody broke by moving
    a guest is left alone for as long as that is respected: nobody else is moved for it either. `leaving` move anyway.
    """
    scene, where = draft.scene, draft.where()
    here = {vmid: guest.node for vmid, guest in scene.seen.guests.items()}
    found = tuple(
        index
        for index, group in enumerate(scene.wanted.groups)
        if group.must
        and group.corrects
        and misplaced(scene, group, here)
        and (not scene.memory.flights or misplaced(scene, group, where))
    )
    return tuple(index for index in found if not _respected(draft, scene.wanted.groups[index], here, leaving))


def _respected(draft: Draft, group: Group, here: dict[Vmid, NodeName], leaving: Collection[Vmid]) -> bool:
    """Whether one of those who break the Must was just moved by hand; if so, that is said of it."""
    scene, board = draft.scene, draft.board
    broken = {vmid for members in misplaced(scene, group, here).values() for vmid in members}
    if isinstance(group, Together):
        broken = set(group.members)
    staying = sorted(broken.difference(leaving))
    words = [word for vmid in staying if (word := held(scene, scene.seen.guests[vmid], group.ref)) is not None]
    for word in words:
        if not board.knows(word.vmid):
            board.say(word)
    return bool(words)


def misplaced(scene: Scene, group: Group, where: dict[Vmid, NodeName]) -> dict[str, tuple[Vmid, ...]]:
    """Members by domain, of the domains that some of them have to leave; empty while the rule holds."""
    there: dict[str, list[Vmid]] = {}
    for vmid in sorted(group.members):
        if vmid in where and (domain := group.domains.get(where[vmid])) is not None:
            there.setdefault(domain, []).append(vmid)
        elif vmid in where and isinstance(group, Together):
            there.setdefault("", []).append(vmid)
    if isinstance(group, Apart):
        found = {domain: members for domain, members in there.items() if len(members) > group.most}
    elif isinstance(group, Together):
        most = max(there, key=lambda domain: (len(there[domain]), domain), default="")
        found = {domain: members for domain, members in there.items() if domain != most}
    else:
        found = _uneven(scene, group, there)
    return {domain: tuple(members) for domain, members in sorted(found.items())}


def _uneven(scene: Scene, group: Spread, there: dict[str, list[Vmid]]) -> dict[str, list[Vmid]]:
    accepting = {group.domains[n] for n in scene.seen.nodes.keys() - scene.shut.keys() if n in group.domains}
    counts = Counter({domain: len(members) for domain, members in there.items()})
    least = min((counts[domain] for domain in accepting & group.reachable), default=None)
    if least is None:
        return {}
    return {domain: members for domain, members in there.items() if len(members) - least > group.skew}


def mending(draft: Draft, vmid: Vmid, wrong: Collection[int]) -> Intent | None:
    """Why the guest moves, if that is because of one of the Musts that are `wrong`."""
    scene = draft.scene
    for index in scene.wanted.groups_of.get(vmid, ()):
        if index in wrong:
            return _intent(scene, scene.wanted.groups[index], vmid)
    return None


def _intent(scene: Scene, group: Group, vmid: Vmid) -> Intent:
    because = _because(scene, group, vmid)
    return other(scene, scene.seen.guests[vmid], Lane.REPAIR, why=group.why, cause=group.ref, because=because)


def _because(scene: Scene, group: Group, vmid: Vmid) -> str:
    node = scene.seen.guests[vmid].node
    domain = group.domains.get(node, node)
    here = {v: scene.seen.guests[v].node for v in group.members}
    there = [v for v in sorted(group.members) if group.domains.get(here[v]) == domain]
    match group:
        case Apart():
            return f"{group.ref} allows {group.most} in {domain}, which has {names(scene, there)}"
        case Together():
            return f"{group.ref} keeps it together with {names(scene, sorted(group.members - {vmid}))}"
        case Spread():
            return f"{group.ref} allows domains to differ by {group.skew}, and {domain} has {len(there)} of its guests"


def left(draft: Draft, broken: Collection[int]) -> None:
    """A word for as many members of each Must that stays broken as would have to move."""
    scene = draft.scene
    where = draft.where()
    for index in broken:
        group = scene.wanted.groups[index]
        for members in misplaced(scene, group, where).values():
            excess = len(members) - group.most if isinstance(group, Apart) else len(members)
            if isinstance(group, Spread):
                excess = 1
            words = [word for vmid in members if (word := _word(draft, group, vmid)) is not None]
            # Those that wait come first: a lock ends by itself, a lack of room does not.
            words.sort(key=lambda word: (isinstance(word, Blocked), word.vmid))
            spoken = sum(draft.board.knows(vmid) for vmid in members)
            for word in words[: max(0, excess - spoken)]:
                draft.board.say(word)


def _word(draft: Draft, group: Group, vmid: Vmid) -> Waiting | Blocked | None:
    scene, guest = draft.scene, draft.scene.seen.guests[vmid]
    if draft.board.knows(vmid):
        return None
    if word := gate(scene, guest, group.ref, Lane.REPAIR):
        return word
    return no_way(draft, _intent(scene, group, vmid))
