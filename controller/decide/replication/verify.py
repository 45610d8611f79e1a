"""A second opinion about what is asked of replication jobs, told from the rules alone. Called by `decide.pipeline`.

Shares no code with what makes the actions: what it finds stops the whole plan.
"""

from collections.abc import Collection, Iterable, Iterator

from controller.model.ids import NodeName, Vmid
from controller.model.observed import Observed, ReplicationJob
from controller.model.plan import Move
from controller.model.replication import JobAction, JobVerb
from controller.specs import Specs

_MARK = "managed by drover"
_FOR_A_MOVE = "managed by drover for a move"


def verify(
    actions: Iterable[JobAction],
    specs: Specs,
    seen: Observed,
    moves: Iterable[Move] = (),
    stuck: Collection[Vmid] = (),
) -> tuple[str, ...]:
    """Every promise that an action would break, as a sentence.

    moves: all that the plan means to do, now or later. stuck: guests that ought to move and can't.
    """
    ways = {(move.vmid, move.target) for move in moves}
    jobs = {job.id: job for job in seen.jobs}
    pairs = {(job.vmid, job.target) for job in seen.jobs}
    found: list[str] = []
    for action in actions:
        job = jobs.get(action.job_id)
        found += _about(action, job, specs, seen)
        if action.verb is not JobVerb.CREATE or action.vmid not in stuck:
            found += _of_moves(action, job, ways)
        if action.verb is JobVerb.CREATE:
            if (action.vmid, action.target) in pairs:
                found.append(f"job {action.job_id} would be the second one of guest {action.vmid} to {action.target}")
            pairs.add((action.vmid, action.target))
    return tuple(found)


def _of_moves(action: JobAction, job: ReplicationJob | None, ways: Collection[tuple[Vmid, NodeName]]) -> Iterator[str]:
    """Jobs that are made for a move: never without one, and never taken away under it."""
    name, wanted = f"{action.verb.lower()} of job {action.job_id}", (action.vmid, action.target) in ways
    if action.verb is JobVerb.CREATE and action.comment.startswith(_FOR_A_MOVE) and not wanted:
        yield f"{name}: guest {action.vmid} does not move to {action.target}"
    if action.verb is JobVerb.REMOVE and job is not None and job.comment.startswith(_FOR_A_MOVE) and wanted:
        yield f"{name}: guest {action.vmid} still moves to {action.target}"


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
        if not action.comment.startswith(_FOR_A_MOVE) and (policy is None or policy.spec.suspend):
            yield f"{name}: no policy in force wants it"
    elif job is None:
        yield f"{name}: there is no such job"
    elif job.removing:
        yield f"{name}: it is being removed already"
    elif not job.comment.startswith(_MARK) and (
        action.verb is JobVerb.REMOVE or policy is None or not policy.spec.adopt_existing
    ):
        yield f"{name}: it is not Drover's job"
