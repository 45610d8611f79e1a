"""Guests that wait for each other's place: another order, or somebody who steps aside first. Called by `decide.order`.

A detour is looked for only when no order of the moves that are needed anyway is possible, whatever ends meanwhile. The rest of
it follows at later looks, from what is seen then: nothing about it is remembered.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from controller.decide import joint
from controller.decide.draft import Draft
from controller.decide.placement import Intent, open_nodes, other
from controller.decide.puzzle import Puzzle, puzzle
from controller.decide.solve import sequence as solved
from controller.decide.solve.problem import Problem
from controller.model.desired import Together
from controller.model.ids import GuestKind, NodeName, Vmid
from controller.model.plan import Lane
from controller.model.reasons import Why

_MOST = 40
"""So many bystanders are asked at most, the smallest first."""

_Assigned = tuple[Intent, NodeName]


@dataclass(frozen=True, slots=True)
class WayOut:
    """An order in which everybody gets where it is to go."""

    first: tuple[_Assigned, ...]
    """What may start before anything else has; those that step aside among them, with an intent of their own."""


def way_out(draft: Draft, assigned: Sequence[_Assigned], stuck: Collection[Vmid]) -> WayOut | None:
    """The moves to begin with so that those that are stuck can follow, too; None if nothing was found."""
    if not any(intent.lane is not Lane.BALANCE for intent, _ in assigned if intent.guest.vmid in stuck):
        return None  # nobody makes way for what nothing forces
    needed = [each for each in assigned if each[0].why is not Why.MAKES_ROOM]
    # Who only makes room may go anywhere: if its place is the trouble, another is as good.
    return _found(draft, assigned, assigned, stuck) or (
        _found(draft, assigned, needed, stuck) if len(needed) < len(assigned) else None
    )


def _found(
    draft: Draft, assigned: Sequence[_Assigned], goals: Sequence[_Assigned], stuck: Collection[Vmid]
) -> WayOut | None:
    scene = draft.scene
    where = {vmid: guest.node for vmid, guest in scene.seen.guests.items()}
    where |= {vmid: flight.target for vmid, flight in scene.memory.flights.items()}
    flexible = {intent.guest.vmid for intent, _ in assigned} - {intent.guest.vmid for intent, _ in goals}
    helpers = frozenset(v for v in _helpers(draft, goals, stuck) | flexible if _light(draft, v))
    intents = [_wide(draft, intent) for intent, _ in goals]
    asked = puzzle(scene, draft.now, where, intents, helpers, hint={})
    number = {vmid: n for n, vmid in enumerate(asked.vmids)}
    places = [item.at for item in asked.problem.items]
    for intent, target in goals:
        places[number[intent.guest.vmid]] = asked.nodes.index(target)
    detours = frozenset(number[i.guest.vmid] for i, _ in goals if _light(draft, i.guest.vmid) and i.lane > Lane.BALANCE)
    order = _sequence(_Asked(asked.problem, tuple(places), detours, frozenset(number[v] for v in helpers)))
    if order.waiting:
        return None
    return WayOut(tuple(_first(draft, goals, asked, order)))


def _first(draft: Draft, goals: Sequence[_Assigned], asked: Puzzle, order: solved.Sequence) -> list[_Assigned]:
    mine = {intent.guest.vmid: (intent, target) for intent, target in goals}
    found: list[_Assigned] = []
    for n, step in enumerate(order.steps):
        if step.after or step.landed:
            continue
        vmid, target = asked.vmids[step.item], asked.nodes[step.target]
        if not step.detour:
            found.append(mine[vmid])
            continue
        later = [s for s in order.steps[n + 1 :] if s.item != step.item]
        next_one = next((s for s in later if n in s.after), next((s for s in later if not s.detour), None))
        if next_one is not None:
            found.append(
                (_aside(draft, mine, vmid, target, (asked.vmids[next_one.item], asked.nodes[next_one.target])), target)
            )
    return found


def _aside(
    draft: Draft, mine: dict[Vmid, _Assigned], vmid: Vmid, target: NodeName, helped: tuple[Vmid, NodeName]
) -> Intent:
    scene = draft.scene
    guest, leader = scene.seen.guests[vmid], mine.get(helped[0]) or next(iter(mine.values()))
    who = scene.seen.guests[helped[0]]
    because = f"{guest} steps aside to {target}, so that {who} can go to {helped[1]}"
    own = mine.get(vmid)
    intent = (
        own[0]
        if own is not None
        else other(scene, guest, leader[0].lane, why=Why.STEPS_ASIDE, cause=leader[0].cause, because=because)
    )
    return replace(intent, why=Why.STEPS_ASIDE, because=because, nodes=(target,), preferred=1)


def _wide(draft: Draft, intent: Intent) -> Intent:
    """The intent with all nodes where its guest may be for a while."""
    if intent.lane is not Lane.RETURN:
        return intent
    nodes, preferred = open_nodes(draft.scene, intent.guest)
    return replace(intent, nodes=tuple(dict.fromkeys((*intent.nodes, *nodes))), preferred=preferred)


def _light(draft: Draft, vmid: Vmid) -> bool:
    """Whether an additional move of the guest costs nothing but its memory: no restart, no copy, nobody it belongs with."""
    scene = draft.scene
    guest, cargo = scene.seen.guests[vmid], scene.cargo(vmid)
    groups = (scene.wanted.groups[index] for index in scene.wanted.groups_of.get(vmid, ()))
    together = any(isinstance(group, Together) and group.must for group in groups)
    return guest.kind is not GuestKind.LXC and not cargo.shares and not together


def _helpers(draft: Draft, goals: Sequence[_Assigned], stuck: Collection[Vmid]) -> frozenset[Vmid]:
    """Bystanders on nodes that the stuck ones want to go to; nobody is disturbed so that others come home."""
    scene, guests = draft.scene, draft.scene.seen.guests
    wanted = {
        target for intent, target in goals if intent.guest.vmid in stuck and intent.lane in (Lane.DRAIN, Lane.REPAIR)
    }
    if not wanted:
        return frozenset()
    free = (v for v in joint.bystanders(draft, ()) if guests[v].node in wanted)
    return frozenset(sorted(free, key=lambda v: (scene.needs.get(v) or 0, v))[:_MOST])


class _Asked:
    """A question as a key: while nothing changes it is not answered again at every tick."""

    def __init__(
        self, problem: Problem, places: tuple[int, ...], detours: frozenset[int], helpers: frozenset[int]
    ) -> None:
        self.problem, self.places, self.detours, self.helpers = problem, places, detours, helpers
        self._key = (repr(problem), places, detours, helpers)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self._key == other._key


@lru_cache(maxsize=8)
def _sequence(asked: _Asked) -> solved.Sequence:
    return solved.sequence(asked.problem, asked.places, may_detour=asked.detours, helpers=asked.helpers)
