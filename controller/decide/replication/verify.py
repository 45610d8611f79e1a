"""A second opinion about what is asked of replication jobs, told from the rules alone. Called by `decide.pipeline`.

Shares no code with what makes the actions: what it finds stops the whole plan.
"""

from collections.abc import Iterable, Iterator

from controller.model.observed import Observed, ReplicationJob
from controller.model.replication import JobAction, JobVerb
from controller.specs import Specs

_MARK = "managed by drover"


def verify(actions: Iterable[JobAction], specs: Specs, seen: Observed) -> tuple[str, ...]:
    """Every promise that an action would break, as a sentence."""
    jobs = {job.id: job for job in seen.jobs}
    pairs = {(job.vmid, job.target) for job in seen.jobs}
    found: list[str] = []
    for action in actions:
        found += _about(action, jobs.get(action.job_id), specs, seen)
        if action.verb is JobVerb.CREATE:
            if (action.vmid, action.target) in pairs:
                found.append(f"job {action.job_id} would be the second one of guest {action.vmid} to {action.target}")
            pairs.add((action.vmid, action.target))
    return tuple(found)


def _about(action: JobAction, job: ReplicationJob | None, specs: Specs, seen: Observed) -> Iterator[str]:
    name = f"{action.verb.lower()} of job {action.job_id}"
    guest = seen.guests.get(action.vmid)
    if guest is None or guest.node != action.source:
        yield f"{name}: guest {action.vmid} is not on {action.source}"
    if action.target == action.source:
        yield f"{name}: its target is where the guest is"
    policy = specs.replications.get(action.cause.name)
    if action.verb is JobVerb.CREATE:
        if job is not None:
            yield f"{name}: there is a job of that id"
        if policy is None or policy.spec.suspend:
            yield f"{name}: no policy in force wants it"
    elif job is None:
        yield f"{name}: there is no such job"
    elif job.removing:
        yield f"{name}: it is being removed already"
    elif not job.comment.startswith(_MARK) and (
        action.verb is JobVerb.REMOVE or policy is None or not policy.spec.adopt_existing
    ):
        yield f"{name}: it is not Drover's job"
