"""What people change by hand: noticed, respected for a while, and then corrected only where a Must says so. Pure.

`noticed` and `drifts` are called by `loop.tick`; `held` by whoever plans a move that is no drain and no return.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

from controller.decide.scene import Scene
from controller.model.drift import Drift, DriftKind, MovedByHand, Place
from controller.model.ha_rules import RuleVerb
from controller.model.ids import ObjectRef, Vmid
from controller.model.memory import Memory
from controller.model.observed import Guest, Observed, Task
from controller.model.plan import Blocked, Plan, Waiting
from controller.model.reasons import Why
from controller.model.replication import JobVerb

_REQUEST = "hamigrate"
"""PVE's task by which somebody asks PVE HA to move a guest; what HA does by itself has none (qemu-server: PVE/API2/Qemu.pm)."""
_RECENT_SECONDS = 1800.0
"""How old the request for a move may be that is only now seen to have happened. Nodes' clocks differ by seconds."""
_CHANGES = (JobVerb.UPDATE, JobVerb.ENABLE, JobVerb.DISABLE)


@dataclass(frozen=True, slots=True)
class Noticed:
    """Where everybody is, who has been moved by hand and stays so, and who has just been."""

    places: Mapping[Vmid, Place]
    moved: Mapping[Vmid, MovedByHand]
    news: tuple[MovedByHand, ...]


def noticed(
    seen: Observed, places: Mapping[Vmid, Place], moved: Mapping[Vmid, MovedByHand], ours: Collection[Vmid]
) -> Noticed:
    """Compare where guests are with where they were seen last. ours: guests that Drover is moving or has just moved.

    What is not seen is not gone while the token sees only a part of the cluster; without quorum nobody knows who is where.
    """
    if not seen.quorate:
        return Noticed(places, moved, ())
    kept = dict(moved) if seen.partial else {v: one for v, one in moved.items() if v in seen.guests}
    here = dict(places) if seen.partial else {v: place for v, place in places.items() if v in seen.guests}
    news: list[MovedByHand] = []
    for vmid, guest in seen.guests.items():
        before, known = here.get(vmid), kept.get(vmid)
        if known is not None and not known.identity.same_as(guest.identity):
            del kept[vmid]
            known = None
        if before is None or not before.identity.same_as(guest.identity) or before.node != guest.node:
            here[vmid] = Place(guest.identity, guest.node)
        if before is None or not before.identity.same_as(guest.identity) or before.node == guest.node:
            continue
        task = _task(seen, guest)
        source = known.source if known is not None else before.node
        if vmid in ours or guest.node == source or (guest.ha_managed and task is None):
            kept.pop(vmid, None)  # Drover's own, back where it was, or PVE HA's
        else:
            user = task.user if task is not None else ""
            kept[vmid] = MovedByHand(guest.identity, source, guest.node, seen.at, user)
            news.append(kept[vmid])
    return Noticed(MappingProxyType(here), MappingProxyType(kept), tuple(news))


def _task(seen: Observed, guest: Guest) -> Task | None:
    """The task by which somebody has moved the guest; of a guest of PVE HA only a person's request counts."""
    found = [
        task
        for task in seen.tasks
        if task.vmid == guest.vmid
        and (task.type == _REQUEST if guest.ha_managed else task.migrates)
        and seen.at - task.start <= _RECENT_SECONDS
    ]
    return max(found, key=lambda task: task.start, default=None)


def by_hand(memory: Memory, guest: Guest) -> MovedByHand | None:
    """How people have moved the guest to where it is, if they have."""
    known = memory.moved_by_hand.get(guest.vmid)
    return known if known is not None and known.identity.same_as(guest.identity) and known.node == guest.node else None


def held(scene: Scene, guest: Guest, cause: ObjectRef) -> Waiting | None:
    """The word for a guest that people moved a short while ago: it stays where they put it until the hold-off is over."""
    known, seconds = by_hand(scene.memory, guest), scene.cluster.spec.drift.hold_off_seconds
    if known is None or scene.seen.at >= known.at + seconds:
        return None
    until = datetime.fromtimestamp(known.at + seconds, UTC).strftime("%H:%M:%S UTC")
    text = f"{guest} {_said(known)}; it is left there until {until} (drift.holdOffSeconds: {seconds})"
    return Waiting(guest.vmid, Why.MOVED_BY_HAND, text, cause)


def _said(known: MovedByHand) -> str:
    by = f" by {known.by}" if known.by else ""
    return f"was moved by hand from {known.source} to {known.node}{by}"


def drifts(seen: Observed, memory: Memory, plan: Plan) -> tuple[Drift, ...]:
    """Everything that differs, by kind and name; what a look finds for the first time differs since then."""
    found = [
        drift if drift.since is not None else replace(drift, since=memory.differing.get(str(drift.about), seen.at))
        for drift in (*_guests(seen, memory, plan), *_jobs(plan), *_rules(plan))
    ]
    return tuple(sorted(found, key=lambda drift: (drift.kind, drift.vmid or 0, drift.about)))


def _guests(seen: Observed, memory: Memory, plan: Plan) -> Iterator[Drift]:
    for vmid in memory.moved_by_hand:
        guest = seen.guests.get(vmid)
        known = by_hand(memory, guest) if guest is not None else None
        if guest is not None and known is not None:
            why, will = _will(plan, vmid)
            about = ObjectRef("Guest", str(vmid))
            yield Drift(DriftKind.GUEST_MOVED, about, vmid, f"{guest} {_said(known)}", known.at, will, why)


def _will(plan: Plan, vmid: Vmid) -> tuple[Why, str]:
    move = next((move for move in plan.moves if move.vmid == vmid), None)
    if move is not None:
        return move.why, f"moves to {move.target}: {move.message or move.why.meaning}"
    words: tuple[Waiting | Blocked, ...] = (*plan.waiting, *plan.blocked)
    for word in words:
        if word.vmid == vmid:
            return word.why, word.message
    if vmid in plan.flying:
        return Why.NOT_OBSERVED_YET, "is being moved"
    broken = next((found for found in plan.violations if vmid in found.vmids), None)
    if broken is not None:
        return broken.why, f"nothing, although {broken.message}: only a Must that corrects undoes what people do"
    return Why.AS_EXPECTED, "nothing: no rule minds"


def _jobs(plan: Plan) -> Iterator[Drift]:
    for action in plan.jobs:
        if action.verb in _CHANGES and action.why is Why.JOB_DIFFERS:
            about = ObjectRef("ReplicationJob", action.job_id)
            will = f"changes it to what {action.cause} says"
            yield Drift(DriftKind.JOB_CHANGED, about, action.vmid, action.message, None, will, action.why)


def _rules(plan: Plan) -> Iterator[Drift]:
    for action in plan.ha.actions:
        if action.verb is RuleVerb.UPDATE:
            about, will = ObjectRef("HaRule", action.rule.name), f"changes it to what {action.cause} says"
            text = f"rule {action.rule.name} of PVE HA differs: {action.message}"
            yield Drift(DriftKind.HA_RULE_CHANGED, about, None, text, None, will, Why.HA_RULE_DIFFERS)
