"""What is said of replication: conditions and status of a ReplicationPolicy, and every job as a read-only object. Pure.

Used by `report.conditions` and `report.views`.
"""

from collections.abc import Mapping, Sequence

from controller.model.ids import ObjectRef
from controller.model.reasons import Why
from controller.model.replication import JobHealth, JobReport, JobVerb, Lacking, Replicas
from controller.model.view import ClusterView
from controller.report.statement import Statement, label, say
from controller.report.units import count_of, timestamp

TYPES = ("InSync", "LagExceeded", "JobsFailing", "Conflicted")
"""Condition types of a ReplicationPolicy, beside those of every kind."""
Data = dict[str, object]


def statements(ref: ObjectRef, view: ClusterView) -> list[Statement]:
    """Conditions of one policy."""
    if view.plan is None:
        return [say(type_, None, view.armed.why, "not planned yet") for type_ in TYPES]
    jobs, replicas = of_policy(ref, view), view.plan.replicas
    lacking = [item for item in replicas.lacking if item.cause == ref and item.why is not Why.NOTHING_TO_REPLICATE]
    conflicts = [item for item in lacking if item.why is Why.FOREIGN_JOB]
    return [
        _in_sync(ref, jobs, lacking, view),
        _of_jobs("LagExceeded", JobHealth.LAGGING, Why.LAG_EXCEEDED, jobs, "no replica is older than maxLagSeconds"),
        _of_jobs("JobsFailing", JobHealth.FAILING, Why.JOBS_FAILING, jobs, "no run has failed"),
        say("Conflicted", True, Why.FOREIGN_JOB, _words(conflicts))
        if conflicts
        else say("Conflicted", False, Why.AS_EXPECTED, "no job of anybody else is in the way"),
    ]


def of_policy(ref: ObjectRef, view: ClusterView) -> list[JobReport]:
    """Jobs that belong to the policy."""
    return [job for job in view.jobs if job.policy == ref.name]


def _in_sync(ref: ObjectRef, jobs: Sequence[JobReport], lacking: Sequence[Lacking], view: ClusterView) -> Statement:
    assert view.plan is not None
    replicas = view.plan.replicas
    broken = [item for item in lacking if not item.pending]
    if broken:
        return say("InSync", False, broken[0].why, _words(broken))
    bad = [job for job in jobs if job.health in _BAD]
    if bad:
        return say("InSync", False, _BAD[bad[0].health], _jobs(bad))
    wanted = [job for job in view.plan.jobs if job.cause == ref and job.verb is JobVerb.CREATE]
    if wanted:
        return say("InSync", False, wanted[0].why, _list([action.message for action in wanted]))
    waiting = [job for job in jobs if job.last_sync is None or job.health is JobHealth.UNKNOWN]
    if waiting or lacking:
        unknown = not lacking and all(job.health is JobHealth.UNKNOWN for job in waiting)
        said = "; ".join([*([_jobs(waiting)] if waiting else []), *([_words(lacking)] if lacking else [])])
        return say("InSync", None if unknown else False, Why.NOT_SYNCED_YET, said)
    there, number = replicas.there.get(ref, 0), replicas.wanted.get(ref, 0)
    if there < number:
        return say("InSync", False, Why.NOT_SYNCED_YET, f"{count_of(number, 'replica')} wanted, {there} there")
    return say("InSync", True, Why.IN_SYNC, f"{count_of(there, 'replica')} of {number} wanted are in sync")


_BAD: Mapping[JobHealth, Why] = {
    JobHealth.FAILING: Why.JOBS_FAILING,
    JobHealth.LAGGING: Why.LAG_EXCEEDED,
    JobHealth.DISABLED: Why.JOB_DISABLED,
}


def _of_jobs(type_: str, health: JobHealth, why: Why, jobs: Sequence[JobReport], fine: str) -> Statement:
    found = [job for job in jobs if job.health is health]
    reason = found[0].why or why if found else why
    silent = [job for job in jobs if job.health is JobHealth.UNKNOWN]
    if silent and not found:  # not that all is well: after a start no node has told anything yet
        return say(type_, None, Why.NOT_OBSERVED_YET, _jobs(silent))
    return say(type_, True, reason, _jobs(found)) if found else say(type_, False, Why.AS_EXPECTED, fine)


def _jobs(jobs: Sequence[JobReport]) -> str:
    ordered = sorted(jobs, key=lambda job: (job.vmid, job.job_id))
    told = [f"{job.job_id} to {job.target}: {job.message}{_remedy(job.why)}" for job in ordered]
    return _list(told)


def _remedy(why: Why | None) -> str:
    return f" ({why.remedy})" if why is not None and why.remedy and not why.remedy.startswith("Nothing") else ""


def _words(items: Sequence[Lacking]) -> str:
    return _list([item.message for item in items])


def _list(sentences: Sequence[str], limit: int = 3) -> str:
    more = f"; and {len(sentences) - limit} more" if len(sentences) > limit else ""
    return "; ".join(sentences[:limit]) + more


def fields(ref: ObjectRef, view: ClusterView) -> Data:
    """The status beside the conditions."""
    if view.plan is None:
        return {}
    replicas, jobs = view.plan.replicas, of_policy(ref, view)
    lags = [job.lag_seconds for job in jobs if job.lag_seconds is not None]
    found: Data = {"replicas": _counts(ref, replicas, jobs)}
    if lags:
        found["maxLagSeconds"] = int(max(lags))
    lacking = [item for item in replicas.lacking if item.cause == ref]
    if lacking:
        found["lacking"] = [_lacking(item, view) for item in lacking]
    return found


def _counts(ref: ObjectRef, replicas: Replicas, jobs: Sequence[JobReport]) -> Data:
    return {
        "wanted": replicas.wanted.get(ref, 0),
        "there": replicas.there.get(ref, 0),
        "inSync": sum(
            job.health in (JobHealth.IN_SYNC, JobHealth.SYNCING) and job.last_sync is not None for job in jobs
        ),
        "failing": sum(job.health is JobHealth.FAILING for job in jobs),
    }


def _lacking(item: Lacking, view: ClusterView) -> Data:
    found: Data = {"vmid": item.vmid, "guest": label(item.vmid, view.seen)}
    if item.target is not None:
        found["target"] = item.target
    return {**found, "reason": str(item.why), "message": item.message}


def problems(view: ClusterView) -> list[str]:
    """What the overview says of replicas that are wanted and not to be had, and of jobs that nobody wants: a line each."""
    if view.plan is None:
        return []
    found = [f"{item.message} ({item.why})" for item in view.plan.replicas.lacking if not item.pending]
    return found + [f"{item.message} ({Why.JOB_ORPHANED})" for item in view.plan.replicas.orphans]


def job_list(view: ClusterView) -> list[tuple[str, Data]]:
    """Name and status of every job of the last look, orphans said to be such."""
    orphans = {item.job_id: item.message for item in view.plan.replicas.orphans} if view.plan is not None else {}
    return [(job.job_id, _job(job, view, orphans.get(job.job_id, ""))) for job in view.jobs]


def _job(job: JobReport, view: ClusterView, orphaned: str) -> Data:
    guest = view.seen.guests.get(job.vmid) if view.seen is not None else None
    found: Data = {
        "vmid": job.vmid,
        "name": guest.name if guest is not None else "",
        "source": job.source,
        "target": job.target,
        "schedule": job.schedule,
        "policy": job.policy,
        "state": str(job.health),
        "failures": job.failures,
        "stale": job.stale,
    }
    if job.zone:
        found["zone"] = job.zone
    if job.for_move:
        found["forMove"] = True
    for key, value in (("lagSeconds", job.lag_seconds), ("durationSeconds", job.duration_seconds)):
        if value is not None:
            found[key] = round(value, 3)
    if job.sent_bytes is not None:
        found["lastRunBytes"] = job.sent_bytes
    for key, moment in (("lastSyncTime", job.last_sync), ("nextSyncTime", job.next_sync), ("readTime", job.read_at)):
        if moment is not None:
            found[key] = timestamp(moment)
    why = Why.JOB_ORPHANED if orphaned and job.why is None else job.why
    if why is not None:
        found["reason"] = str(why)
    message = orphaned or job.message
    if message:
        found["message"] = message
    if why is not None and why.remedy:
        found["remedy"] = why.remedy
    return found
