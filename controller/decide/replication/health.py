"""How every replication job stands: how old its replica is, and what its node says. Called by `loop.tick` through the package."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from types import MappingProxyType
from zoneinfo import ZoneInfo

from controller.decide.words import failure
from controller.model import calendar
from controller.model.ids import NodeName
from controller.model.observed import NodeState, Observed, ReplicationJob
from controller.model.reasons import Why
from controller.model.replication import (
    JobHealth,
    JobReport,
    NodeClock,
    ReplicationState,
    is_for_move,
    owner_of,
)
from controller.specs import ReplicationPolicy, Specs

STALE_SECONDS = 300.0
"""What a node said longer ago than this is shown as old: it is usually asked once a minute."""
GRACE_SECONDS = 120.0
"""PVE begins a run up to a minute after it is due, and the run takes its time."""
_NEVER_RUN_BEFORE = 400 * 86400
"""Moments before this are the first event after 1970: PVE's way to say that a job is due now."""
_NO_CLOCK = NodeClock(0.0, "")
_NOBODY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Look:
    job: ReplicationJob
    source: NodeName
    state: ReplicationState | None
    clock: NodeClock
    lag: float | None
    policy: ReplicationPolicy | None
    seen: Observed


def reports(specs: Specs, seen: Observed, adopted: Mapping[str, str] = _NOBODY) -> tuple[JobReport, ...]:
    """Every job of the cluster by id, Drover's own and others. adopted: as `Replicas.adopted` of the last plan."""
    return tuple(_report(job, specs, seen, adopted) for job in sorted(seen.jobs, key=lambda job: (job.vmid, job.id)))


def _report(job: ReplicationJob, specs: Specs, seen: Observed, adopted: Mapping[str, str]) -> JobReport:
    guest = seen.guests.get(job.vmid)
    source = guest.node if guest is not None else job.source or NodeName("")
    state = seen.states.get(job.id)
    owner = owner_of(job.comment) or adopted.get(job.id, "")
    policy = specs.replications.get(owner)
    clock = seen.clocks.get(state.node, _NO_CLOCK) if state is not None else _NO_CLOCK
    synced = state.last_sync - clock.ahead_seconds if state is not None and state.last_sync else None
    lag = max(0.0, seen.at - synced) if synced is not None else None
    health, why, message = _health(_Look(job, source, state, clock, lag, policy, seen))
    return JobReport(
        job_id=job.id,
        vmid=job.vmid,
        source=source,
        target=job.target,
        schedule=job.schedule,
        policy=owner,
        health=health,
        message=message,
        why=why,
        for_move=is_for_move(job.comment),
        lag_seconds=lag,
        last_sync=synced,
        next_sync=_next(state, clock, seen.at),
        duration_seconds=state.duration_s if state is not None else None,
        sent_bytes=state.sent_bytes if state is not None and state.node == source else None,
        failures=state.fail_count if state is not None else 0,
        zone=clock.zone,
        read_at=state.at if state is not None else None,
        stale=state is None or seen.at - state.at > STALE_SECONDS,
    )


def _health(look: _Look) -> tuple[JobHealth, Why | None, str]:
    """The worst that is to be said, with its reason; what a node says of a guest that has left it counts no more."""
    job, state = look.job, look.state
    found: tuple[JobHealth, Why | None, str]
    if job.removing:
        found = JobHealth.REMOVING, None, "PVE removes it at its next pass"
    elif job.disabled:
        found = JobHealth.DISABLED, Why.JOB_DISABLED, Why.JOB_DISABLED.meaning
    elif state is None or state.node != look.source:
        text = f"{look.source or 'its node'} has not told how it stands yet"
        found = JobHealth.UNKNOWN, Why.NOT_OBSERVED_YET, text
    elif state.fail_count:
        found = JobHealth.FAILING, *_failure(job, state, look.seen)
    elif late := _late(look, state):
        found = JobHealth.LAGGING, Why.LAG_EXCEEDED, late
    elif state.running:
        found = JobHealth.SYNCING, None, "a run is under way"
    elif look.lag is None:
        found = JobHealth.NEW, Why.NOT_SYNCED_YET, "its first run, which copies everything, is still to come"
    else:
        found = JobHealth.IN_SYNC, None, ""
    return found


def _failure(job: ReplicationJob, state: ReplicationState, seen: Observed) -> tuple[Why, str]:
    times = f"{state.fail_count} times" if state.fail_count != 1 else "once"
    target = seen.nodes.get(job.target)
    why, more = state.why or Why.JOBS_FAILING, ""
    if target is None:
        why, more = Why.TARGET_LEFT, f"; {job.target} is no node of the cluster any more"
    elif target.state is not NodeState.ONLINE:
        why, more = Why.TARGET_OFFLINE, "; PVE tries again when the target is back"
    return why, f"failed {times}: {failure(state.error, state.why)}{more}"


def _late(look: _Look, state: ReplicationState) -> str:
    """A sentence when the replica is too old and a run has been due since: a pause in the schedule is no delay."""
    if look.lag is None or look.policy is None or look.lag <= look.policy.spec.max_lag_seconds:
        return ""
    due = next_run(look.job.schedule, state.last_sync, look.clock.zone)
    if due is not None and due + GRACE_SECONDS > look.seen.at + look.clock.ahead_seconds:
        return ""
    return f"the last sync is {_span(look.lag)} old; {_span(look.policy.spec.max_lag_seconds)} are allowed"


def next_run(schedule: str, after: float, zone: str) -> float | None:
    """When the schedule is due next, strictly after a moment of the node's clock; None for never, or for no schedule."""
    try:
        return calendar.parse(schedule).next_after(after, _zone(zone))
    except calendar.CalendarError:
        return None


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (OSError, ValueError, KeyError):  # no such zone (a KeyError), or a name that is no path
        return UTC


def _next(state: ReplicationState | None, clock: NodeClock, now: float) -> float | None:
    if state is None or not state.next_sync:
        return None
    return now if state.next_sync < _NEVER_RUN_BEFORE else state.next_sync - clock.ahead_seconds


def _span(seconds: float) -> str:
    minutes = int(seconds) // 60
    if minutes < 120:
        return f"{minutes} min" if minutes else f"{int(seconds)} s"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
