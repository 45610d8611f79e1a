"""Events from what happened: moves that started and ended, conditions that flipped, manifests that broke or were mended. Pure.

Called by the loop after each tick; the events go into `report.store`, which counts repetitions.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from controller.model.condition import Condition, Status
from controller.model.drift import MovedByHand
from controller.model.event import Event, EventType
from controller.model.ids import GuestKind, ObjectRef
from controller.model.observed import Observed
from controller.model.outcome import Outcome, Result
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.model.revision import SourceView
from controller.model.turn import Turn, TurnPhase
from controller.report.statement import ANNOUNCED, ObjectStatus
from controller.report.units import duration, size, some
from controller.specs import Problem


class Told(StrEnum):
    """The closed list of reasons of events. Why it happened is in the message, with a reason from `model.reasons`."""

    MOVED_BY_HAND = "MovedByHand"
    MOVE_STARTED = "MoveStarted"
    PREFLIGHT_WARNING = "PreflightWarning"
    MOVE_REFUSED = "MoveRefused"
    MOVE_SUCCEEDED = "MoveSucceeded"
    MOVE_FAILED = "MoveFailed"
    MOVE_STUCK = "MoveStuck"
    MOVE_ABORTING = "MoveAborting"
    ABORT_NOT_PERMITTED = "AbortNotPermitted"
    MONITOR_NOT_PERMITTED = "MonitorNotPermitted"
    MEDIA_EJECTED = "MediaEjected"
    MEDIA_RESTORED = "MediaRestored"
    MEDIA_NOT_RESTORED = "MediaNotRestored"
    JOB_CREATED = "JobCreated"
    JOB_CHANGED = "JobChanged"
    JOB_REMOVED = "JobRemoved"
    JOB_REFUSED = "JobRefused"
    JOB_ORPHANED = "JobOrphaned"
    JOB_FAILING = "JobFailing"
    JOB_RECOVERED = "JobRecovered"
    SYNC_REQUESTED = "SyncRequested"
    HA_RULE_CREATED = "HaRuleCreated"
    HA_RULE_CHANGED = "HaRuleChanged"
    HA_RULE_REMOVED = "HaRuleRemoved"
    HA_RULE_REFUSED = "HaRuleRefused"
    GUEST_SHUT_DOWN = "GuestShutDown"
    GUEST_STARTED = "GuestStarted"
    GUEST_GONE = "GuestGone"
    ANSWER_LOST = "AnswerLost"
    DRAIN_STARTED = "DrainStarted"
    DRAIN_HELD = "DrainHeld"
    DRAIN_BLOCKED = "DrainBlocked"
    DRAIN_UNBLOCKED = "DrainUnblocked"
    DRAIN_TOO_LATE = "DrainTooLate"
    DRAINED = "Drained"
    HOOK_STARTED = "HookStarted"
    HOOK_SUCCEEDED = "HookSucceeded"
    HOOK_FAILED = "HookFailed"
    NODE_TURN = "NodeTurn"
    ROLLED_OUT = "RolledOut"
    NODE_TURN_FAILED = "NodeTurnFailed"
    MAINTENANCE_ENDED = "MaintenanceEnded"
    POLICY_VIOLATED = "PolicyViolated"
    POLICY_COMPLIANT = "PolicyCompliant"
    REPLICAS_IN_SYNC = "ReplicasInSync"
    REPLICAS_LACKING = "ReplicasLacking"
    REPLICAS_TOO_OLD = "ReplicasTooOld"
    REPLICAS_RENEWED = "ReplicasRenewed"
    REPLICATION_FAILING = "ReplicationFailing"
    REPLICATION_RECOVERED = "ReplicationRecovered"
    REPLICATION_CONFLICT = "ReplicationConflict"
    REPLICATION_CONFLICT_OVER = "ReplicationConflictOver"
    POLICY_CONFLICTED = "PolicyConflicted"
    POLICY_AGREES = "PolicyAgrees"
    APPROVAL_WANTED = "ApprovalWanted"
    APPROVAL_OVER = "ApprovalOver"
    GROUP_SPLIT = "GroupSplit"
    GROUP_WHOLE = "GroupWhole"
    ACCEPTED = "Accepted"
    NOT_ACCEPTED = "NotAccepted"
    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"
    QUORUM_GAINED = "QuorumGained"
    QUORUM_LOST = "QuorumLost"
    ARMED = "Armed"
    DISARMED = "Disarmed"
    NOTIFICATIONS_FAILING = "NotificationsFailing"
    NOTIFICATIONS_DELIVERED = "NotificationsDelivered"
    NODE_READY = "NodeReady"
    NODE_NOT_READY = "NodeNotReady"
    FILE_VANISHED = "FileVanished"
    REVISION_APPLIED = "RevisionApplied"
    REVISION_REFUSED = "RevisionRefused"
    HISTORY_REWRITTEN = "HistoryRewritten"
    SOURCE_FAILED = "SourceFailed"
    SOURCE_RECOVERED = "SourceRecovered"
    INVALID_MANIFEST = "InvalidManifest"
    MANIFEST_MENDED = "ManifestMended"


_OF_RESULT: Mapping[Result, tuple[EventType, Told]] = {
    Result.STARTED: (EventType.NORMAL, Told.MOVE_STARTED),
    Result.REFUSED: (EventType.WARNING, Told.MOVE_REFUSED),
    Result.SUCCEEDED: (EventType.NORMAL, Told.MOVE_SUCCEEDED),
    Result.FAILED: (EventType.WARNING, Told.MOVE_FAILED),
    Result.STUCK: (EventType.WARNING, Told.MOVE_STUCK),
    Result.GONE: (EventType.WARNING, Told.GUEST_GONE),
    Result.UNKNOWN: (EventType.WARNING, Told.ANSWER_LOST),
}

_ASKING = ("PveCluster", "NodeMaintenance", "PlacementPolicy")
_NORMAL, _WARNING = EventType.NORMAL, EventType.WARNING
_OF_FLIP: Mapping[tuple[str, str, Status], tuple[EventType, Told]] = {
    ("NodeMaintenance", "Draining", Status.TRUE): (_NORMAL, Told.DRAIN_STARTED),
    ("NodeMaintenance", "Blocked", Status.TRUE): (_WARNING, Told.DRAIN_BLOCKED),
    ("NodeMaintenance", "Blocked", Status.FALSE): (_NORMAL, Told.DRAIN_UNBLOCKED),
    ("NodeMaintenance", "DeadlineExceeded", Status.TRUE): (_WARNING, Told.DRAIN_TOO_LATE),
    ("NodeMaintenance", "Drained", Status.TRUE): (_NORMAL, Told.DRAINED),
    ("NodeMaintenance", "RolledOut", Status.TRUE): (_NORMAL, Told.ROLLED_OUT),
    ("PlacementPolicy", "Compliant", Status.FALSE): (_WARNING, Told.POLICY_VIOLATED),
    ("PlacementPolicy", "Compliant", Status.TRUE): (_NORMAL, Told.POLICY_COMPLIANT),
    ("ReplicationPolicy", "InSync", Status.TRUE): (_NORMAL, Told.REPLICAS_IN_SYNC),
    ("ReplicationPolicy", "LagExceeded", Status.TRUE): (_WARNING, Told.REPLICAS_TOO_OLD),
    ("ReplicationPolicy", "LagExceeded", Status.FALSE): (_NORMAL, Told.REPLICAS_RENEWED),
    ("ReplicationPolicy", "JobsFailing", Status.TRUE): (_WARNING, Told.REPLICATION_FAILING),
    ("ReplicationPolicy", "JobsFailing", Status.FALSE): (_NORMAL, Told.REPLICATION_RECOVERED),
    ("ReplicationPolicy", "Conflicted", Status.TRUE): (_WARNING, Told.REPLICATION_CONFLICT),
    ("ReplicationPolicy", "Conflicted", Status.FALSE): (_NORMAL, Told.REPLICATION_CONFLICT_OVER),
    ("PlacementPolicy", "Conflicted", Status.TRUE): (_WARNING, Told.POLICY_CONFLICTED),
    ("PlacementPolicy", "Conflicted", Status.FALSE): (_NORMAL, Told.POLICY_AGREES),
    **{(kind, "AwaitingApproval", Status.TRUE): (_WARNING, Told.APPROVAL_WANTED) for kind in _ASKING},
    **{(kind, "AwaitingApproval", Status.FALSE): (_NORMAL, Told.APPROVAL_OVER) for kind in _ASKING},
    ("PlacementPolicy", "Split", Status.TRUE): (_NORMAL, Told.GROUP_SPLIT),
    ("PlacementPolicy", "Split", Status.FALSE): (_NORMAL, Told.GROUP_WHOLE),
    ("PveCluster", "Connected", Status.FALSE): (_WARNING, Told.DISCONNECTED),
    ("PveCluster", "Connected", Status.TRUE): (_NORMAL, Told.CONNECTED),
    ("PveCluster", "Quorate", Status.FALSE): (_WARNING, Told.QUORUM_LOST),
    ("PveCluster", "Quorate", Status.TRUE): (_NORMAL, Told.QUORUM_GAINED),
    ("PveCluster", "Armed", Status.FALSE): (_WARNING, Told.DISARMED),
    ("PveCluster", "Armed", Status.TRUE): (_NORMAL, Told.ARMED),
    ("PveCluster", "Notifying", Status.FALSE): (_WARNING, Told.NOTIFICATIONS_FAILING),
    ("PveCluster", "Notifying", Status.TRUE): (_NORMAL, Told.NOTIFICATIONS_DELIVERED),
    ("PveNode", "Ready", Status.FALSE): (_WARNING, Told.NODE_NOT_READY),
    ("PveNode", "Ready", Status.TRUE): (_NORMAL, Told.NODE_READY),
    ("PveNode", "FileVanished", Status.TRUE): (_WARNING, Told.FILE_VANISHED),
}
_HOLDS = frozenset({Why.SUSPENDED, Why.TOO_MANY_UNAVAILABLE, Why.MODE_PLAN})
"""Why a maintenance that somebody asked for does not begin, or stops, although nothing is wrong."""
_ON_PURPOSE = frozenset({Why.SUSPENDED, Why.MODE_PLAN, Why.WINDOW_CLOSED})
"""Why nothing may be started because people want it so: no warning, and nobody is woken every time a window closes."""
_ON_THE_WAY = frozenset(
    {
        *(
            Why.REPLICA_WANTED,
            Why.JOB_DIFFERS,
            Why.JOB_NOT_WANTED,
            Why.TARGET_GONE,
            Why.NOT_SYNCED_YET,
            Why.NOT_OBSERVED_YET,
        ),
        *(Why.FOREIGN_JOB, Why.LAG_EXCEEDED, Why.JOBS_FAILING),
    }
)
"""Why replicas are not in sync although that is being seen to, or told by another condition."""
# What is expected of an object that has just appeared is no news.
_SILENT_AT_FIRST = frozenset(
    {
        *(Told.DRAIN_UNBLOCKED, Told.POLICY_COMPLIANT, Told.NODE_READY, Told.ACCEPTED, Told.QUORUM_GAINED),
        *(Told.REPLICAS_IN_SYNC, Told.REPLICAS_RENEWED, Told.REPLICATION_RECOVERED, Told.REPLICATION_CONFLICT_OVER),
        *(Told.POLICY_AGREES, Told.GROUP_WHOLE, Told.APPROVAL_OVER, Told.NOTIFICATIONS_DELIVERED),
    }
)


def of_moves_by_hand(news: Iterable[MovedByHand], seen: Observed) -> tuple[Event, ...]:
    """Events about guests that neither Drover nor PVE HA has moved."""
    return tuple(
        Event(
            EventType.NORMAL,
            Told.MOVED_BY_HAND,
            ObjectRef("Guest", str(one.identity.vmid)),
            f"{seen.guests[one.identity.vmid]} was moved by hand from {one.source} to {one.node}"
            + (f" by {one.by}" if one.by else ""),
            one.at,
            one.at,
        )
        for one in news
    )


def of_outcomes(outcomes: Iterable[Outcome]) -> list[Event]:
    """One event per outcome, about the guest."""
    found = []
    for outcome in outcomes:
        type_, told = _OF_RESULT[outcome.result]
        about = ObjectRef("Guest", str(outcome.vmid))
        severity = _WARNING if outcome.warning else type_
        found.append(Event(severity, told, about, sentence(outcome), outcome.at, outcome.at))
    return found


def sentence(outcome: Outcome) -> str:
    """The outcome for people: `VM 101 db-1 pve1 -> pve2 in 41s, 4.0 GiB, downtime 63 ms (KeepApart)`."""
    noun = GuestKind(outcome.identity.kind).noun
    text = f"{noun} {outcome.vmid} {outcome.name} {outcome.source} -> {outcome.target}"
    if outcome.result is Result.SUCCEEDED:
        parts = [f"in {duration(outcome.seconds)}"] if outcome.seconds is not None else []
        if outcome.progress is not None:
            parts += [size(outcome.progress.transferred_bytes)] if outcome.progress.transferred_bytes else []
            downtime = outcome.progress.downtime_ms
            parts += [f"downtime {downtime} ms"] if downtime is not None else []
        text = f"{text} {', '.join(parts)} ({outcome.why})"
        return f"{text}; {outcome.warning}" if outcome.warning else text
    return f"{text} ({outcome.why}): {outcome.message}" if outcome.message else f"{text} ({outcome.why})"


def of_flips(old: Mapping[ObjectRef, ObjectStatus], new: Mapping[ObjectRef, ObjectStatus], *, at: float) -> list[Event]:
    """Events for conditions whose status or reason for a failure changed, and for maintenances that ended."""
    found = []
    for ref, status in new.items():
        before = old.get(ref)
        for condition in status.conditions:
            event = _flip(ref, before.condition(condition.type) if before is not None else None, condition, at)
            found += [event] if event is not None else []
    ended = sorted(ref for ref in set(old) - set(new) if ref.kind == "NodeMaintenance")
    found += [Event(_NORMAL, Told.MAINTENANCE_ENDED, ref, _over(old[ref]), at, at) for ref in ended]
    return found


def _over(last: ObjectStatus) -> str:
    drained = last.condition("Drained")
    announced = drained is not None and drained.message.startswith(ANNOUNCED)
    return "maintenance is withdrawn before it began" if announced else "maintenance is over"


def of_approvals(old: Plan | None, new: Plan, *, at: float) -> tuple[Event, ...]:
    """Events for questions that are others than before: whoever has read the old one has to read again."""
    before = {one.gate: one for one in old.approvals} if old is not None else {}
    told = []
    for now in new.approvals:
        was = before.get(now.gate)
        if now.waits and was is not None and was.waits and now.digest != was.digest:
            news = [f"added: {step}" for step in now.steps if step not in was.steps]
            news += [f"wanted no more: {step}" for step in was.steps if step not in now.steps]
            what = (
                f"{now.digest} instead of {was.digest} waits for approval: {some(news or ['the specs behind it'], 5)}"
            )
            told.append(Event(_WARNING, Told.APPROVAL_WANTED, now.gate, what, at, at))
    return tuple(told)


def of_turns(old: Mapping[str, Turn], new: Iterable[Turn], *, at: float) -> tuple[Event, ...]:
    """Events for nodes of rolling maintenances that are in another phase than before, or failed."""
    found = []
    for turn in new:
        before = old.get(turn.key)
        if turn.failure and (before is None or before.failure != turn.failure):
            text = f"{turn.node}: {turn.failure}; nothing more is begun"
            found.append(Event(_WARNING, Told.NODE_TURN_FAILED, turn.maintenance, text, at, at))
        elif turn.phase is not TurnPhase.PENDING and (before is None or before.phase is not turn.phase):
            text = f"{turn.node} is {turn.phase}"
            found.append(Event(_NORMAL, Told.NODE_TURN, turn.maintenance, text, at, at))
    return tuple(found)


def of_source(before: SourceView | None, now: SourceView | None, cluster: str, *, at: float) -> Iterator[Event]:
    """What became of the repository since it was told last: a revision in force, one refused, the server gone or back."""
    if now is None or now.finding is None:
        return
    about, finding = ObjectRef("PveCluster", cluster), now.finding
    known = before.finding if before is not None else None
    if finding.ok:
        if known is not None and not known.ok:
            yield Event(_NORMAL, Told.SOURCE_RECOVERED, about, finding.message, at, at)
        elif before is not None and before.applied != now.applied:
            rewritten = finding.why is Why.HISTORY_REWRITTEN
            type_, told = (_WARNING, Told.HISTORY_REWRITTEN) if rewritten else (_NORMAL, Told.REVISION_APPLIED)
            yield Event(type_, told, about, finding.message, at, at)
    elif (
        known is None
        or before is None
        or (known.ok, known.why, before.attempted) != (False, finding.why, now.attempted)
    ):
        told = Told.REVISION_REFUSED if now.refused else Told.SOURCE_FAILED
        yield Event(_WARNING, told, about, f"{finding.why}: {finding.message}", at, at)


def of_problems(old: Iterable[Problem], new: Iterable[Problem], *, at: float) -> list[Event]:
    """Events for problems that are new in the manifests, and one when the last of an object or file is gone."""
    before = {str(problem): _about(problem) for problem in old}
    now = {str(problem): _about(problem) for problem in new}
    found = [
        Event(_WARNING, Told.INVALID_MANIFEST, ref, text, at, at) for text, ref in now.items() if text not in before
    ]
    mended = sorted(set(before.values()) - set(now.values()))
    found += [
        Event(_NORMAL, Told.MANIFEST_MENDED, ref, "nothing is wrong with its manifest any more", at, at)
        for ref in mended
    ]
    return found


def _about(problem: Problem) -> ObjectRef:
    return problem.ref if problem.ref is not None else ObjectRef("File", problem.position.file)


def _flip(ref: ObjectRef, old: Condition | None, new: Condition, at: float) -> Event | None:
    if old is not None and old.status is new.status and (old.reason == new.reason or new.status is Status.TRUE):
        return None
    if new.type == "Accepted":
        if Why.INVALID in (new.reason, old.reason if old is not None else ""):
            return None  # told as a problem of the manifest
        refused = new.status is Status.FALSE
        made = (_WARNING, Told.NOT_ACCEPTED) if refused else (_NORMAL, Told.ACCEPTED)
    else:
        held = (ref.kind, new.type) == ("NodeMaintenance", "Draining") and new.reason in _HOLDS
        lacks = (ref.kind, new.type, new.status) == ("ReplicationPolicy", "InSync", Status.FALSE)
        if lacks and new.reason not in _ON_THE_WAY:
            return Event(_WARNING, Told.REPLICAS_LACKING, ref, new.message, at, at)
        found = (_NORMAL, Told.DRAIN_HELD) if held else _OF_FLIP.get((ref.kind, new.type, new.status))
        if found is None:
            return None
        made = found
    type_, told = made
    quiet = old is None or old.status is Status.UNKNOWN
    if quiet and told in _SILENT_AT_FIRST:
        return None
    on_purpose = told is Told.DISARMED and new.reason in _ON_PURPOSE
    return Event(_NORMAL if on_purpose else type_, told, ref, _message(type_, told, new), at, at)


def _message(type_: EventType, told: Told, condition: Condition) -> str:
    """Good news needs no reason, and trouble only one that has not been said yet."""
    reason, message = condition.reason, condition.message
    known = type_ is _NORMAL or told.endswith(reason) or re.search(rf"\b{re.escape(reason)}\b", message)
    return message if known else f"{reason}: {message}"
