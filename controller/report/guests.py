"""Guests one by one: where each is, what the plan says of it, what comes next, what blocks it. Pure.

Used by `report.metrics` (how many in each state), `report.objects` (the views) and, through them, by page and `cli`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.model.view import ClusterView


class GuestState(StrEnum):
    """Every guest is in exactly one of these."""

    FINE = "Fine"
    PLANNED = "Planned"  # has to move, and could start now
    WAITING = "Waiting"  # has to move, but not now
    BLOCKED = "Blocked"  # ought to move and can't
    MOVING = "Moving"
    UNPLANNED = "Unplanned"  # there is no plan: mode Observe, or no complete look yet


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the plan says of one guest. `message` and `remedy` are sentences for people; empty for a guest that is fine."""

    state: GuestState
    why: Why | None = None
    message: str = ""
    remedy: str = ""
    cause: ObjectRef | None = None
    target: NodeName | None = None


def verdicts(view: ClusterView) -> Mapping[Vmid, Verdict]:
    """One verdict for every guest of the last look, and for guests in flight that the look did not show."""
    vmids = set(view.seen.guests if view.seen is not None else ()) | set(view.memory.flights)
    rest = Verdict(GuestState.UNPLANNED)
    said = _of_plan(view.plan) if view.plan is not None else {}
    found = {vmid: said.get(vmid, rest) for vmid in sorted(vmids)}
    for vmid, flight in view.memory.flights.items():
        text = f"{flight.source} -> {flight.target}"
        text += f"; waiting for {flight.waiting}" if flight.waiting else ""
        text += f"; {flight.abort.why}: {flight.abort.message}" if flight.abort is not None else ""
        found[vmid] = Verdict(GuestState.MOVING, flight.why, text, "", flight.cause, flight.target)
    return found


def states(view: ClusterView) -> Mapping[Vmid, GuestState]:
    """The state alone, for every guest."""
    return {vmid: verdict.state for vmid, verdict in verdicts(view).items()}


def _of_plan(plan: Plan) -> dict[Vmid, Verdict]:
    found = dict.fromkeys(plan.fine, Verdict(GuestState.FINE))
    for move in plan.moves:
        found[move.vmid] = Verdict(GuestState.PLANNED, move.why, move.message, "", move.cause, move.target)
    for wait in plan.waiting:
        target = wait.move.target if wait.move is not None else None
        found[wait.vmid] = Verdict(GuestState.WAITING, wait.why, wait.message, wait.why.remedy, wait.cause, target)
    for stop in plan.blocked:
        found[stop.vmid] = Verdict(GuestState.BLOCKED, stop.why, stop.message, stop.remedy, stop.cause)
    for vmid in plan.flying:
        found[vmid] = Verdict(GuestState.MOVING, Why.GUEST_MOVING, Why.GUEST_MOVING.meaning)
    return found
