"""Where the maintenance of nodes stands: the conditions and the progress of a NodeMaintenance, explicit or implied. Pure.

Called by `report.conditions`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from controller.model.condition import Status
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.observed import Observed
from controller.model.plan import Announced, Blocked, Drain, DrainMode, Outlook
from controller.model.reasons import Why
from controller.model.view import ClusterView
from controller.report.statement import ObjectStatus, Statement, by_reason, label, say
from controller.report.units import count_of, duration, epoch_of, some, timestamp

_NO_PLACE = frozenset({Why.NO_TARGET_FITS, Why.NO_NODE_ALLOWED})


class MaintenanceState(StrEnum):
    """Where the maintenance of one node stands, in a word."""

    DRAINING = "Draining"
    BLOCKED = "Blocked"  # every guest that still has to leave is blocked
    HELD = "Held"  # nothing is started: suspended, or too many nodes are out of service
    DRAINED = "Drained"
    CORDONED = "Cordoned"

    @classmethod
    def of(cls, drain: Drain) -> "MaintenanceState":
        """The word for `drain`."""
        if drain.mode is DrainMode.CORDON:
            return cls.CORDONED
        if drain.drained:
            return cls.DRAINED
        if drain.hold is not None:
            return cls.HELD
        stuck = {item.vmid for item in drain.blocked}
        return cls.BLOCKED if stuck and stuck >= {*drain.remaining, *drain.moving} else cls.DRAINING


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an evacuation has got: who has left, who still has to, and the percentage by bytes of memory."""

    left: frozenset[Vmid]
    remaining: frozenset[Vmid]
    moving: frozenset[Vmid]
    blocked: tuple[Blocked, ...]
    percent: int

    @property
    def total(self) -> int:
        """Guests that had or have to leave."""
        return len(self.left) + len(self.remaining)


def progress_of(drains: Sequence[Drain], view: ClusterView, previous: ObjectStatus | None) -> Progress:
    """Count who has left since the start: from the last status, and after a restart from the remembered origins."""
    ref, nodes = drains[0].ref, {drain.node for drain in drains}
    blocked = tuple(item for drain in drains for item in drain.blocked)
    moving = frozenset(vmid for drain in drains for vmid in drain.moving)
    remaining = moving.union(*(drain.remaining for drain in drains), (item.vmid for item in blocked))
    # The plan is made before its moves are started: those that it could not know of are in flight by now.
    moving |= {vmid for vmid, flight in view.memory.flights.items() if vmid in remaining and flight.source in nodes}
    before = (previous.left | previous.remaining) if previous is not None else frozenset[Vmid]()
    evacuated = before | {vmid for vmid, origin in view.memory.origins.items() if origin.maintenance == ref}
    left = frozenset(vmid for vmid in evacuated - remaining if _is_elsewhere(vmid, view.seen, nodes))
    drained = all(drain.drained for drain in drains)
    return Progress(left, remaining, moving, blocked, 100 if drained else _percent(left, remaining, moving, view))


def statements(drains: Sequence[Drain], view: ClusterView, progress: Progress) -> list[Statement]:
    """CapacityFeasible, Draining, Blocked, DeadlineExceeded and Drained of one NodeMaintenance."""
    nodes = some(sorted(drain.node for drain in drains))
    if all(drain.mode is DrainMode.CORDON for drain in drains):
        text = f"{nodes} accepts nothing new; its guests stay"
        return [
            say("CapacityFeasible", True, Why.AS_EXPECTED, f"no guest has to leave {nodes}"),
            say("Draining", False, Why.CORDONED, text),
            say("Blocked", False, Why.AS_EXPECTED, f"no guest has to leave {nodes}"),
            say("DeadlineExceeded", False, Why.AS_EXPECTED, "nothing has to be done in time"),
            say("Drained", False, Why.CORDONED, text),
        ]
    drained = all(drain.drained for drain in drains)
    stuck = bool(progress.blocked) and not drained
    active = len(progress.remaining) > len(progress.blocked)
    text = _sentence(nodes, progress)
    done = f"no guest that has to leave is on {nodes}: safe to service"
    whom = f"{by_reason(progress.blocked, view.seen)}{_ha_lines(drains)}"
    why_not = Why.DRAIN_BLOCKED if stuck and not active else Why.DRAINING
    hold = _hold(drains, view, progress)
    if hold is not None:
        why_not, text = hold[0], f"{text}; {hold[1]}"
    draining = not drained and hold is None
    free = f"no guest on {nodes} is blocked"
    return [
        _feasible(nodes, progress),
        say("Draining", draining, Why.DRAINED if drained else why_not, done if drained else text),
        say("Blocked", stuck, Why.DRAIN_BLOCKED if stuck else Why.AS_EXPECTED, whom if stuck else free),
        _in_time(nodes, drains),
        say("Drained", drained, Why.DRAINED if drained else why_not, done if drained else text),
    ]


def _ha_lines(drains: Sequence[Drain]) -> str:
    """What to type where HA's own rules would take guests back: PVE has no API for it, and a hook may do it."""
    nodes = sorted(d.node for d in drains if any(item.why is Why.HA_WOULD_UNDO for item in d.blocked))
    lines = [f"`ha-manager crm-command node-maintenance enable {node}`" for node in nodes]
    return f"; on a node of the cluster run: {', '.join(lines)}" if lines else ""


def _feasible(nodes: str, progress: Progress) -> Statement:
    """Whether everybody who has to leave has a place, judged over all of them before the first one moves."""
    homeless = [item for item in progress.blocked if item.why in _NO_PLACE]
    if homeless:
        more = f" (and {len(homeless) - 1} more)" if len(homeless) > 1 else ""
        return say("CapacityFeasible", False, homeless[0].why, f"{homeless[0].message}{more}")
    return say("CapacityFeasible", True, Why.AS_EXPECTED, f"every guest that has to leave {nodes} has a place to go to")


def _in_time(nodes: str, drains: Sequence[Drain]) -> Statement:
    late = [drain.node for drain in drains if drain.overdue]
    if late:
        return say("DeadlineExceeded", True, Why.DEADLINE_EXCEEDED, f"{some(sorted(late))} is not empty in time")
    return say("DeadlineExceeded", False, Why.AS_EXPECTED, f"the deadline of {nodes}, if there is one, is not over")


def _hold(drains: Sequence[Drain], view: ClusterView, progress: Progress) -> tuple[Why, str] | None:
    """What keeps guests from leaving although none of them is to blame."""
    open_ones = [drain for drain in drains if not drain.drained]
    for drain in open_ones:
        if drain.hold is not None:
            return drain.hold, drain.message or drain.hold.meaning
    if open_ones and not progress.remaining:  # it is empty, but somebody may be moving a guest there
        partial = view.seen is not None and view.seen.partial
        return Why.PERMISSION_MISSING if partial else Why.GUEST_MOVING, "; ".join(drain.message for drain in open_ones)
    if open_ones and not progress.moving and view.armed.why in (Why.MODE_PLAN, Why.SUSPENDED, Why.WINDOW_CLOSED):
        return view.armed.why, view.armed.message
    return None


def fields(
    drains: Sequence[Drain], view: ClusterView, progress: Progress, previous: ObjectStatus | None
) -> dict[str, object]:
    """The status fields besides the conditions."""
    old: Mapping[str, object] = previous.fields if previous is not None else {}
    started = [origin.since for origin in view.memory.origins.values() if origin.maintenance == drains[0].ref]
    found: dict[str, object] = {
        "progressPercent": progress.percent,
        "guests": {
            "total": progress.total,
            "moved": len(progress.left),
            "moving": len(progress.moving),
            "remaining": len(progress.remaining),
            "blocked": len(progress.blocked),
        },
        "blockedGuests": [_blocked(item, view.seen) for item in progress.blocked],
        "startTime": old.get("startTime", timestamp(min([*started, view.at]))),
    }
    found |= _outlook(drains, view, str(found["startTime"]), old)
    if all(drain.mode is DrainMode.EVACUATE and drain.drained for drain in drains):
        last = previous.condition("Drained") if previous is not None else None
        since = last.since if last is not None and last.status is Status.TRUE else view.at
        found["drainedTime"] = old.get("drainedTime", timestamp(since))
    return found


def prospect(coming: Announced) -> str:
    """How far an announced evacuation is prepared and how long it will take, as the end of a sentence."""
    if not (coming.leaving or coming.blocked):
        return "nobody has to leave it"
    parts = []
    if coming.to_copy:
        have = "has" if coming.to_copy == 1 else "have"
        parts.append(
            f"{coming.copied} of {count_of(coming.to_copy, 'guest')} with local disks {have} a replica where they will go"
        )
    if coming.leaving and math.isfinite(coming.seconds):
        takes = f"its drain takes about {duration(coming.seconds)}"
        without = f" with the replicas, {duration(coming.seconds_without)} without"
        parts.append(takes + (without if coming.seconds_without > coming.seconds else ""))
    if coming.blocked:
        first = coming.blocked[0]
        parts.append(f"{count_of(len(coming.blocked), 'guest')} could not leave as things stand: {first.message}")
    return "; ".join(parts) or f"{count_of(coming.leaving, 'guest')} will leave it"


def outlook_of(drains: Sequence[Drain]) -> Outlook | None:
    """How long all of them together still take: they run side by side. None while that is not known of each."""
    looks = [drain.outlook for drain in drains if not drain.drained]
    known = [look for look in looks if look is not None]
    if not known or len(known) < len(looks):
        return None
    return Outlook(
        max(look.likely_seconds for look in known),
        max(look.late_seconds for look in known),
        max(look.bound_seconds for look in known),
    )


def _outlook(drains: Sequence[Drain], view: ClusterView, start: str, old: Mapping[str, object]) -> dict[str, object]:
    """When it will be over. What no schedule could beat is kept from when it began; a node that is drained keeps all of it."""
    kept = {key: old[key] for key in ("makespanSeconds", "lowerBoundSeconds") if key in old}
    look = outlook_of(drains)
    if look is None or view.plan is None:
        return kept if all(drain.drained for drain in drains) else {}
    elapsed = max(0.0, view.plan.at - (epoch_of(start) or view.plan.at))
    return {
        "estimatedCompletionTime": timestamp(view.plan.at + look.likely_seconds),
        "lateCompletionTime": timestamp(view.plan.at + look.late_seconds),
        "makespanSeconds": round(elapsed + look.likely_seconds, 1),
        "lowerBoundSeconds": kept.get("lowerBoundSeconds", round(elapsed + look.bound_seconds, 1)),
    }


def by_ref(drains: Iterable[Drain]) -> dict[ObjectRef, list[Drain]]:
    """The drains of each maintenance: one node, or several for one with a selector."""
    found: dict[ObjectRef, list[Drain]] = {}
    for drain in drains:
        found.setdefault(drain.ref, []).append(drain)
    return found


def _is_elsewhere(vmid: Vmid, seen: Observed | None, nodes: set[NodeName]) -> bool:
    guest = seen.guests.get(vmid) if seen is not None else None
    return guest is not None and guest.node not in nodes


def _percent(left: frozenset[Vmid], remaining: frozenset[Vmid], moving: frozenset[Vmid], view: ClusterView) -> int:
    """Percent by memory, or by heads when nothing that moves holds any; 100 is left to a drain that is observed done."""
    weigh = {vmid: _weight(vmid, view.seen) for vmid in left | remaining}
    if not any(weigh.values()):
        weigh = dict.fromkeys(weigh, 1)
    total = sum(weigh.values())
    if not total:
        return 0
    sent = sum(weigh[vmid] * _fraction(vmid, view) for vmid in moving)
    return min(99, math.floor(100 * (sum(weigh[vmid] for vmid in left) + sent) / total))


def _weight(vmid: Vmid, seen: Observed | None) -> int:
    guest = seen.guests.get(vmid) if seen is not None else None
    return guest.memory_bytes or 0 if guest is not None and guest.power.holds_memory else 0


def _fraction(vmid: Vmid, view: ClusterView) -> float:
    progress = view.progress.get(vmid)
    if progress is None or not progress.total_bytes:
        return 0.0
    # Memory that is written to while it is copied is sent again, so more than the total may have been transferred.
    return min(0.99, progress.transferred_bytes / progress.total_bytes)


def _sentence(nodes: str, progress: Progress) -> str:
    parts = [f"{len(progress.left)} of {count_of(progress.total, 'guest')} moved away from {nodes}"]
    if progress.moving:
        parts.append(f"{len(progress.moving)} moving")
    if progress.blocked:
        parts.append(f"{len(progress.blocked)} blocked")
    return ", ".join(parts)


def _blocked(item: Blocked, seen: Observed | None) -> dict[str, object]:
    guest = seen.guests.get(item.vmid) if seen is not None else None
    name = guest.name if guest is not None else label(item.vmid, None)
    return {"vmid": item.vmid, "name": name, "reason": str(item.why), "message": item.message}
