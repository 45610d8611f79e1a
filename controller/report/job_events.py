"""Events of replication jobs: orphaned, failing, well again. Each is told once, also by the process after this one. Pure.

Called by `loop.tick` when all that a look has to say of jobs is known; what was told goes into `report.store`. Where many jobs of
one policy have the same to say, one event says it for all: five hundred would hide everything else.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from controller.model.event import Event, EventType
from controller.model.ids import ObjectRef, Vmid
from controller.model.reasons import Why
from controller.model.replication import JobHealth, JobReport, Orphan
from controller.model.view import ClusterView
from controller.report.events import Told
from controller.report.units import count_of

ONE_BY_ONE = 10
"""So many jobs of a policy are told each for itself; one event tells of all others."""
_NAMED = 3
_SAME_SYNC_SECONDS = 5
"""The moment of a sync by our clock moves a little when the clock of its node is read anew."""
_ORPHANED, _FAILING, _MANY = "Orphaned", "Failing", "ManyFailing"
_WELL = frozenset({JobHealth.IN_SYNC, JobHealth.LAGGING, JobHealth.SYNCING})


def of_jobs(told: Mapping[str, str], view: ClusterView) -> tuple[tuple[Event, ...], Mapping[str, str]]:
    """What is to be told now, and all that has been told by then: by job and kind, of a failing one with its last sync."""
    groups: dict[str, list[JobReport]] = defaultdict(list)
    for job in view.jobs:
        if job.policy or job.for_move:
            groups[job.policy].append(job)
    events: list[Event] = []
    known: dict[str, str] = {}
    for policy, jobs in sorted(groups.items()):
        events += _of_runs(policy, jobs, told, known, view)
    events += _of_orphans(told, known, view)
    if view.plan is None or (view.seen is not None and view.seen.partial):
        known = {**told, **known}  # what is not seen is not gone
    return tuple(events), known


def _of_runs(
    policy: str, jobs: Sequence[JobReport], told: Mapping[str, str], known: dict[str, str], view: ClusterView
) -> list[Event]:
    """Jobs of one policy that fail or are well again. While many fail, that one of them is well again is no news."""
    before = sum(f"{job.job_id} {_FAILING}" in told for job in jobs)
    fails = [job for job in jobs if job.health is JobHealth.FAILING]
    fresh = [job for job in fails if f"{job.job_id} {_FAILING}" not in told]
    for job in fails:
        key = f"{job.job_id} {_FAILING}"
        known[key] = told.get(key, str(int(job.last_sync or 0)))
    well = [job for job in jobs if job.health is not JobHealth.FAILING and _is_well(job, told, known)]
    flag = f"{policy} {_MANY}"
    if flag in told and len(fails) > ONE_BY_ONE:
        known[flag] = told[flag]
        return []
    singly = max(0, ONE_BY_ONE - before)
    events = [_failing(job, view.at) for job in fresh[:singly]]
    if fresh[singly:]:
        known[flag] = ""
        events.append(_many(policy, fails, view))
    return events if flag in told else [*events, *(_recovered(job, view.at) for job in well)]


def _is_well(job: JobReport, told: Mapping[str, str], known: dict[str, str]) -> bool:
    """A job that was asked to run at once has no failures either: only a newer sync makes it well."""
    key = f"{job.job_id} {_FAILING}"
    before = told.get(key)
    if before is None or job.health in (JobHealth.REMOVING, JobHealth.DISABLED):
        return False
    if job.health in _WELL and int(job.last_sync or 0) > int(before) + _SAME_SYNC_SECONDS:
        return True
    known[key] = before
    return False


def _failing(job: JobReport, at: float) -> Event:
    text = f"{_way(job)} {job.message}. {(job.why or Why.JOBS_FAILING).remedy}".rstrip()
    return _event(EventType.WARNING, Told.JOB_FAILING, _guest(job.vmid), text, at)


def _recovered(job: JobReport, at: float) -> Event:
    return _event(EventType.NORMAL, Told.JOB_RECOVERED, _guest(job.vmid), f"{_way(job)} runs again", at)


def _way(job: JobReport) -> str:
    return f"replication job {job.job_id} to {job.target}"


def _many(policy: str, jobs: Sequence[JobReport], view: ClusterView) -> Event:
    counts = Counter(job.why or Why.JOBS_FAILING for job in jobs).most_common()
    reasons = ", ".join(f"{number} {why}" for why, number in counts)
    text = f"{count_of(len(jobs), 'replication job')} fail ({reasons}); `drover get replication` lists them. {counts[0][0].remedy}"
    return _event(EventType.WARNING, Told.JOB_FAILING, _policy(policy, view), text.rstrip(), view.at)


def _of_orphans(told: Mapping[str, str], known: dict[str, str], view: ClusterView) -> list[Event]:
    fresh: dict[str, list[Orphan]] = defaultdict(list)
    for orphan in view.plan.replicas.orphans if view.plan is not None else ():
        key = f"{orphan.job_id} {_ORPHANED}"
        known[key] = orphan.policy
        if told.get(key) != orphan.policy:
            fresh[orphan.policy].append(orphan)
    events = []
    for policy, orphans in fresh.items():
        for orphan in orphans if len(orphans) <= ONE_BY_ONE else ():
            text = f"{orphan.message}. {Why.JOB_ORPHANED.remedy}"
            events.append(_event(EventType.NORMAL, Told.JOB_ORPHANED, _guest(orphan.vmid), text, view.at))
        if len(orphans) > ONE_BY_ONE:
            some = ", ".join(orphan.job_id for orphan in orphans[:_NAMED])
            text = (
                f"{len(orphans)} replication jobs of {policy} belong to no policy ({some} …). {Why.JOB_ORPHANED.remedy}"
            )
            events.append(_event(EventType.NORMAL, Told.JOB_ORPHANED, _policy(policy, view), text, view.at))
    return events


def _guest(vmid: Vmid) -> ObjectRef:
    return ObjectRef("Guest", str(vmid))


def _policy(name: str, view: ClusterView) -> ObjectRef:
    """Jobs that were made for moves have no policy: what many of them have to say is the cluster's."""
    return ObjectRef("ReplicationPolicy", name) if name else ObjectRef("PveCluster", str(view.cluster))


def _event(type_: EventType, reason: Told, about: ObjectRef, text: str, at: float) -> Event:
    return Event(type_, reason, about, text, at, at)
