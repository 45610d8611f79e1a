"""One answer for everybody: who leaves, who is moved because of a Must, who makes room. Called by `pipeline` and `homecoming`.

First with those alone who have to move, and their groups; if that leaves anything undone, with everybody who may move at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache

from controller.decide import evacuation, repair
from controller.decide.draft import Draft
from controller.decide.explain import names
from controller.decide.gate import blocked, gate
from controller.decide.placement import Intent, other
from controller.decide.puzzle import Puzzle, puzzle
from controller.decide.reserve import reserve
from controller.decide.solve.problem import Core, Problem, Proof, Shortage, Solution
from controller.decide.solve.solver import DEFAULT, solve
from controller.decide.words import size
from controller.model.desired import Apart, Together
from controller.model.ids import GuestKind, NodeName, ObjectRef, Vmid
from controller.model.plan import Lane
from controller.model.reasons import Why

_SHORT = 60_000
"""Effort that suffices where there is room: some hundredths of a second. Where that finds no place for somebody, and nothing
proves that there is none, the whole effort is spent."""
_PER_GUEST = 8_000
_ROOM = ObjectRef("Drover", "room")
"""Stands for whoever room is made for while it is not known yet who that is; only in words that nobody reads."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Where guests go, and what is known about that."""

    moved: Mapping[Vmid, NodeName]
    unplaced: frozenset[Vmid]
    proof: Proof
    cores: tuple[Core, ...]
    puzzle: Puzzle


def plan(draft: Draft) -> None:
    """Give a word to everybody who has to move: because of maintenance, of a Must, or to make room."""
    intents = evacuation.leaving(draft)
    intents += repair.strays(draft, {intent.guest.vmid for intent in intents})
    wrong = repair.wrong(draft, {intent.guest.vmid for intent in intents})
    if not intents and not wrong:
        evacuation.take_turns(draft, [])
        return
    near = _near(draft, intents, wrong)
    answer = _answer(draft, intents, near)
    if answer.unplaced or _broken(draft, wrong, answer):
        everyone = bystanders(draft, intents) | near
        if everyone != near:
            answer = _answer(draft, intents, everyone)
        if (answer.unplaced or _broken(draft, wrong, answer)) and Proof.INFEASIBLE not in answer.proof:
            answer = _answer(draft, intents, everyone, effort=DEFAULT)
    elif len(answer.moved) > len(intents):  # with others allowed to move, too, there might be a plan with fewer moves
        answer = replace(answer, proof=Proof.NONE)
    if thin := _too_thin(draft, answer):
        intents = _held(draft, intents, thin)
        if not intents and not wrong:
            return
        answer = _answer(draft, intents, _near(draft, intents, wrong))
    _settle(draft, intents, wrong, answer)
    draft.board.proof = answer.proof


def place(draft: Draft, intents: Iterable[Intent]) -> tuple[dict[Vmid, NodeName], list[Intent]]:
    """Targets for these guests with everybody else where they will be, and those that found none. They count as moved."""
    intents = list(intents)
    if not intents:
        return {}, []
    answer = _answer(draft, intents, frozenset())
    _move(draft, answer.moved)
    return dict(answer.moved), [intent for intent in intents if intent.guest.vmid not in answer.moved]


def _answer(draft: Draft, intents: Sequence[Intent], loose: AbstractSet[Vmid], *, effort: int = 0) -> Answer:
    asked = puzzle(draft.scene, draft.now, draft.where(), intents, loose, hint=draft.scene.memory.targets)
    effort = effort or min(_SHORT, _PER_GUEST * (len(intents) + len(loose)))
    return read(asked, _solved(_Asked(asked.problem, effort)))


class _Asked:
    """A problem as a key: while nothing changes it is not solved again at every tick."""

    def __init__(self, problem: Problem, effort: int) -> None:
        self.problem, self.effort = problem, effort
        # `repr` shows every field, and mappings in the order in which they were made, which is always the same.
        self._key = (effort, repr(problem))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self._key == other._key


@lru_cache(maxsize=8)
def _solved(asked: _Asked) -> Solution:
    return solve(asked.problem, effort=asked.effort)


def read(asked: Puzzle, solution: Solution) -> Answer:
    """The solution in guests and nodes."""
    items = asked.problem.items
    moved = {asked.vmids[n]: asked.nodes[place] for n, place in enumerate(solution.places) if place != items[n].at}
    return Answer(
        moved=moved,
        unplaced=frozenset(asked.vmids[n] for n in solution.unplaced),
        proof=solution.proof,
        cores=solution.cores,
        puzzle=asked,
    )


def _too_thin(draft: Draft, answer: Answer) -> str:
    """Why the cluster would no longer bear the failure of nodes as it does now; "" when it would, or does not anyway."""
    where = draft.where()
    after = reserve(draft.scene, {**where, **answer.moved})
    if after is None or after.sufficient:
        return ""
    before = reserve(draft.scene, where)
    return after.message if before is not None and before.sufficient else ""


def _held(draft: Draft, intents: Iterable[Intent], thin: str) -> list[Intent]:
    """Those that have to move all the same: what a Must asks for. Drains say why they don't go on."""
    for intent in intents:
        if intent.lane is Lane.DRAIN:
            text = f"{intent.guest} stays on {intent.guest.node}, because afterwards {thin}"
            draft.board.say(blocked(intent.guest, Why.CAPACITY_INSUFFICIENT, text, intent.cause))
    return [intent for intent in intents if intent.lane is not Lane.DRAIN]


def _broken(draft: Draft, wrong: Iterable[int], answer: Answer) -> tuple[int, ...]:
    """Musts that still do not hold afterwards."""
    where = {**draft.where(), **answer.moved}
    groups = draft.scene.wanted.groups
    return tuple(index for index in wrong if repair.misplaced(draft.scene, groups[index], where))


# Who may move


def _near(draft: Draft, intents: Iterable[Intent], wrong: Iterable[int]) -> frozenset[Vmid]:
    """Others that can't be left out: members of groups that are wrong, and those that are kept together with who leaves."""
    scene = draft.scene
    leaving = {intent.guest.vmid: intent for intent in intents}
    here = {vmid: guest.node for vmid, guest in scene.seen.guests.items()}
    found: set[Vmid] = set()
    for index in wrong:
        group = scene.wanted.groups[index]
        members: Iterable[Vmid] = group.members
        if isinstance(
            group, Apart
        ):  # out of the domains that are wrong as things are, not of those that flights may fill
            members = (v for there in repair.misplaced(scene, group, here).values() for v in there)
        found |= {v for v in members if v not in leaving and may_move(draft, v, group.ref, Lane.REPAIR)}
    pending = list(leaving.values())
    asked = set(leaving)
    while pending:
        intent = pending.pop()
        for index in scene.wanted.groups_of.get(intent.guest.vmid, ()):
            group = scene.wanted.groups[index]
            if not isinstance(group, Together) or not group.must:
                continue
            for vmid in sorted(group.members - asked):
                asked.add(vmid)
                if may_move(draft, vmid, intent.cause, intent.lane):
                    found.add(vmid)
    return frozenset(found)


def bystanders(draft: Draft, intents: Iterable[Intent]) -> frozenset[Vmid]:
    """Everybody who may be moved to make room. Containers would be restarted for it: they are left alone."""
    leaving = {intent.guest.vmid for intent in intents}
    guests = draft.scene.seen.guests
    return frozenset(
        vmid
        for vmid in draft.scene.wanted.managed - leaving
        if guests[vmid].power.holds_memory
        and guests[vmid].kind is not GuestKind.LXC
        and may_move(draft, vmid, _ROOM, Lane.REPAIR)
    )


def may_move(draft: Draft, vmid: Vmid, cause: ObjectRef, lane: Lane) -> bool:
    """Whether nothing is said about the guest yet, and nothing keeps it where it is."""
    scene = draft.scene
    guest = scene.seen.guests.get(vmid)
    return (
        guest is not None
        and not draft.board.knows(vmid)
        and vmid in scene.wanted.managed
        and not guest.template
        and gate(scene, guest, cause, lane) is None
    )


# What is said


def _settle(draft: Draft, intents: list[Intent], wrong: tuple[int, ...], answer: Answer) -> None:
    board, moved = draft.board, answer.moved
    said = {intent.guest.vmid: intent for intent in intents}
    source = draft.where()
    _move(draft, moved)
    # Those that are named as a reason come before those that move because of them.
    for vmid in sorted(moved.keys() - said.keys()):
        if intent := _along(draft, vmid, intents, moved) or repair.mending(draft, vmid, wrong):
            said[vmid] = intent
    for vmid in sorted(moved.keys() - said.keys()):
        said[vmid] = _for_room(draft, vmid, source[vmid], said, moved)
    leaving = []
    for vmid, target in sorted(moved.items()):
        if _leaves(draft, said[vmid]):
            leaving.append((said[vmid], target))
        else:
            board.assign(said[vmid], target)
    for intent in intents:
        if intent.guest.vmid not in moved and (
            found := evacuation.last_resort(draft, intent, _known(draft, intent, answer))
        ):
            if _leaves(draft, found[0]):
                leaving.append(found)
            else:
                board.assign(*found)
    evacuation.take_turns(draft, leaving)
    repair.left(draft, _broken(draft, wrong, answer))


def _leaves(draft: Draft, intent: Intent) -> bool:
    """Whether it is moved because its node is evacuated."""
    return intent.lane is Lane.DRAIN and intent.guest.node in draft.scene.wanted.maintenance


def _move(draft: Draft, moved: Mapping[Vmid, NodeName]) -> None:
    where = draft.where()
    for vmid in moved:
        draft.later.leave(vmid, where[vmid])
    for vmid, target in moved.items():
        draft.later.arrive(vmid, target)


def _along(draft: Draft, vmid: Vmid, intents: Iterable[Intent], moved: Mapping[Vmid, NodeName]) -> Intent | None:
    """The guest goes with one that has to move, because a Must keeps them together."""
    scene = draft.scene
    guest = scene.seen.guests[vmid]
    for index in scene.wanted.groups_of.get(vmid, ()):
        group = scene.wanted.groups[index]
        if not isinstance(group, Together) or not group.must:
            continue
        for leader in intents:
            if leader.guest.vmid in group.members and leader.guest.vmid in moved:
                because = f"{group.ref} keeps it together with {leader.guest}, which leaves {leader.guest.node}"
                return replace(
                    other(scene, guest, leader.lane, why=Why.KEEP_TOGETHER, cause=leader.cause, because=because),
                    returns=leader.returns and not guest.ha_managed,
                    rebalances=leader.rebalances,
                )
    return None


def _for_room(
    draft: Draft, vmid: Vmid, source: NodeName, said: Mapping[Vmid, Intent], moved: Mapping[Vmid, NodeName]
) -> Intent:
    """The guest need not move itself: somebody who comes to its node needs its place, or its seat in a group."""
    scene = draft.scene
    coming = [said[v] for v, target in sorted(moved.items()) if target == source and v in said]
    someone = max(coming or said.values(), key=lambda intent: (intent.lane, intent.size, -intent.guest.vmid))
    place = f" on {source}" if coming else ""
    because = f"to make room for {someone.guest}{place}"
    return other(scene, scene.seen.guests[vmid], someone.lane, why=Why.MAKES_ROOM, cause=someone.cause, because=because)


def _known(draft: Draft, intent: Intent, answer: Answer) -> str:
    """What is known about why there is no place: a proof that has more than one guest in it, or that it is none."""
    vmids = answer.puzzle.vmids
    for core in answer.cores:
        mine = [vmids[n] for n in core.items]
        if intent.guest.vmid in mine:
            return _proof(draft, core, mine, answer.puzzle) if len(mine) > 1 else ""
    return "" if Proof.INFEASIBLE in answer.proof else "no other arrangement was found within the budget of the search"


def _proof(draft: Draft, core: Core, vmids: list[Vmid], asked: Puzzle) -> str:
    who = names(draft.scene, vmids)
    where = ", ".join(asked.nodes[n] for n in core.bins)
    where += " have" if len(core.bins) > 1 else " has"
    match core.shortage:
        case Shortage.CAPACITY if core.resource == 0:
            return f"proved: {who} need {size(core.need)}, and {where} {size(core.room)} for them"
        case Shortage.CAPACITY if core.resource == 1:
            return f"proved: {who} need {core.need} vCPUs, and {where} {core.room} for them"
        case Shortage.DOMAINS if core.group is not None:
            ref = draft.scene.wanted.groups[asked.groups[core.group]].ref
            return f"proved: {ref} leaves places for {core.room} of {who}"
        case Shortage.TOGETHER if core.group is not None:
            ref = draft.scene.wanted.groups[asked.groups[core.group]].ref
            return f"proved: nowhere is room for all that {ref} keeps together: {who}"
        case _:
            return f"proved: there is no place for all of {who}"
