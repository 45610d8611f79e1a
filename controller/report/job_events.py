"""Events of single replication jobs: orphaned, failing, well again. Each is told once, also by the process after this one. Pure.

Called by `loop.tick` when all that a look has to say of jobs is known; what was told goes into `report.store`.
"""

from collections.abc import Mapping

from controller.model.event import Event, EventType
from controller.model.ids import ObjectRef, Vmid
from controller.model.reasons import Why
from controller.model.replication import JobHealth, JobReport
from controller.model.view import ClusterView
from controller.report.events import Told

_ORPHANED, _FAILING = "Orphaned", "Failing"
_WELL = frozenset({JobHealth.IN_SYNC, JobHealth.LAGGING, JobHealth.SYNCING})


def of_jobs(told: Mapping[str, str], view: ClusterView) -> tuple[tuple[Event, ...], Mapping[str, str]]:
    """What is to be told now, and all that has been told by then: by job and kind, of a failing one with its last sync."""
    events: list[Event] = []
    known: dict[str, str] = {}
    for job in view.jobs:
        if job.policy or job.for_move:
            events += _failing(job, told, known, view.at)
    orphans = {item.job_id: item for item in view.plan.replicas.orphans} if view.plan is not None else {}
    for name, orphan in orphans.items():
        key = f"{name} {_ORPHANED}"
        known[key] = orphan.policy
        if told.get(key) != orphan.policy:
            text = f"{orphan.message}. {Why.JOB_ORPHANED.remedy}"
            events.append(_event(EventType.NORMAL, Told.JOB_ORPHANED, orphan.vmid, text, view.at))
    if view.plan is None or (view.seen is not None and view.seen.partial):
        known = {**told, **known}  # what is not seen is not gone
    return tuple(events), known


def _failing(job: JobReport, told: Mapping[str, str], known: dict[str, str], at: float) -> list[Event]:
    """A job that was asked to run at once has no failures either: only a newer sync makes it well."""
    key = f"{job.job_id} {_FAILING}"
    before, synced = told.get(key), int(job.last_sync or 0)
    way = f"replication job {job.job_id} to {job.target}"
    if job.health is JobHealth.FAILING:
        known[key] = before if before is not None else str(synced)
        if before is not None:
            return []
        why = job.why or Why.JOBS_FAILING
        meaning = "" if why is Why.JOBS_FAILING else f" {why.meaning}"
        text = f"{way} {job.message}.{meaning} {why.remedy}".rstrip()
        return [_event(EventType.WARNING, Told.JOB_FAILING, job.vmid, text, at)]
    if before is None or job.health in (JobHealth.REMOVING, JobHealth.DISABLED):
        return []
    if job.health in _WELL and synced > int(before) + _SAME_SYNC_SECONDS:
        return [_event(EventType.NORMAL, Told.JOB_RECOVERED, job.vmid, f"{way} runs again", at)]
    known[key] = before
    return []


_SAME_SYNC_SECONDS = 5
"""The moment of a sync by our clock moves a little when the clock of its node is read anew."""


def _event(type_: EventType, reason: Told, vmid: Vmid, text: str, at: float) -> Event:
    return Event(type_, reason, ObjectRef("Guest", str(vmid)), text, at, at)
