"""Carries out what a plan asks of replication jobs: looks again, makes, changes or removes one job after the other.

Called by `loop.tick` after the moves of a plan. A job that somebody else made or took over is never touched: its comment is
read again right before each change. Making a job can be repeated: PVE knows it by its number, so after a lost answer the next
look tells. What PVE refuses is remembered with a back-off per job.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.act.backoff import REFUSED_MOST_SECONDS, refused_until
from controller.clock import Clock
from controller.model.errors import Ambiguous, Busy, Denied, DroverError, Rejected, Retry, Stale
from controller.model.event import Event, EventType
from controller.model.ids import ObjectRef
from controller.model.observed import Observed, ReplicationJob
from controller.model.reasons import Why
from controller.model.replication import (
    AskedSync,
    JobAction,
    JobVerb,
    RefusedJob,
    TemporaryJob,
    is_for_move,
    owner_of,
)
from controller.model.view import Finding
from controller.pve.client import PveClient
from controller.pve.transport import Param
from controller.report.events import Told
from controller.report.store import Store
from controller.specs import Specs

AT_ONCE = 25
"""Changes per tick: each takes the cluster's lock on the file with all jobs, for which others wait as well."""
SETTLED_SECONDS = 60.0
"""The list of jobs may be older than the youngest of them: so long one that is not in it is not gone."""

_TOLD = {
    JobVerb.CREATE: Told.JOB_CREATED,
    JobVerb.UPDATE: Told.JOB_CHANGED,
    JobVerb.DISABLE: Told.JOB_CHANGED,
    JobVerb.ENABLE: Told.JOB_CHANGED,
    JobVerb.REMOVE: Told.JOB_REMOVED,
    JobVerb.SYNC_NOW: Told.SYNC_REQUESTED,
}


@dataclass(frozen=True, slots=True)
class Acted:
    """What became of it. changed: PVE was asked to change something, so what was read of its jobs is out of date."""

    events: tuple[Event, ...] = ()
    changed: bool = False


async def carry_out(
    actions: Sequence[JobAction],
    *,
    specs: Specs,
    seen: Observed,
    store: Store,
    client: PveClient,
    clock: Clock,
    still_wanted: Callable[[], Finding | None] = lambda: None,
) -> Acted:
    """Do what can be done of `actions` now, in this order; the next plan asks for the rest again.

    `still_wanted` returns, before each of them, why nothing more is to be done. Raises Retry(STORE_FAILED).
    """
    worker = _Worker(specs, seen, store, client, clock)
    worker.tidy()
    events: list[Event] = []
    done, changed = 0, False
    for action in actions:
        if done == AT_ONCE or still_wanted() is not None:
            break
        if worker.held_back(action):
            continue
        done += 1
        try:
            event = await worker.do(action)
        except (Retry, Busy) as error:
            if error.why in (Why.NO_QUORUM, Why.UNREACHABLE, Why.STORE_FAILED):
                break  # the same would happen to all others
            continue  # a lock, or a node that does not answer: the next tick finds out
        changed = True
        events += [event] if event is not None else []
    return Acted(tuple(events), changed)


@dataclass(frozen=True, slots=True)
class _Worker:
    """Does one thing at a time."""

    specs: Specs
    seen: Observed
    store: Store
    client: PveClient
    clock: Clock

    def tidy(self) -> None:
        """Forget what was remembered of jobs that are gone, and of directions they no longer have."""
        memory = self.store.memory().replication
        there = {job.id: job for job in self.seen.jobs}
        if self.seen.partial:
            return  # rows may be hidden: what is not seen is not gone
        settled = self.clock.wall() - SETTLED_SECONDS
        self.store.forget_jobs([key for key, job in memory.temporary.items() if key not in there and job.at < settled])
        turned = [
            key
            for key, asked in memory.asked.items()
            if key not in there or (there[key].source, there[key].target) != (asked.source, asked.target)
        ]
        self.store.forget_asked(turned)
        past = self.clock.wall() - 2 * REFUSED_MOST_SECONDS
        self.store.forget_refused([key for key, refused in memory.refused.items() if refused.until < past])

    def held_back(self, action: JobAction) -> bool:
        """Whether PVE refused the very same a moment ago."""
        refused = self.store.memory().replication.refused.get(action.job_id)
        return refused is not None and _same(refused, action) and refused.until > self.clock.wall()

    async def do(self, action: JobAction) -> Event | None:
        """Do one thing; the event that tells of it, None when there was nothing to tell. Raises Retry, Busy."""
        try:
            if action.verb is JobVerb.CREATE:
                await self._create(action)
            else:
                await self._change(action)
        except Ambiguous as error:
            text = f"the request to {_doing(action)} was sent, but {error.message}; Drover looks what became of it"
            return self._event(action, EventType.WARNING, Told.ANSWER_LOST, text)
        except Stale:
            return None  # the next look sees what has changed
        except (Denied, Rejected) as error:
            return self._refused(action, error)
        self.store.forget_refused([action.job_id])
        return self._event(action, EventType.NORMAL, _TOLD[action.verb], action.message)

    # Making

    async def _create(self, action: JobAction) -> None:
        """PVE itself compares the source with where the guest is; who the guest is tells its config."""
        config = await self.client.guest_config(action.source, action.identity.kind, action.vmid)
        if not action.identity.same_as(config.identity):
            raise Stale(Why.IDENTITY_CHANGED, f"guest {action.vmid} is another one by now")
        if is_for_move(action.comment):
            self.store.remember_job(
                TemporaryJob(
                    action.job_id,
                    config.identity,
                    action.source,
                    action.target,
                    action.cause,
                    self.clock.wall(),
                )
            )
        try:
            await self.client.create_job(
                action.job_id,
                action.target,
                source=action.source,
                schedule=action.schedule,
                rate_mb_s=action.rate_mb_s,
                comment=action.comment,
            )
        except Stale as error:
            if error.why is not Why.JOB_EXISTS or not await self._is_there(action):
                raise

    async def _is_there(self, action: JobAction) -> bool:
        """Whether the job is the one that was to be made: an earlier answer was lost."""
        job, _ = await self.client.replication_job(action.job_id)
        return (job.target, job.comment) == (action.target, action.comment)

    # Changing

    async def _change(self, action: JobAction) -> None:
        job, digest = await self.client.replication_job(action.job_id)
        if not self._may_touch(job, action):
            text = f"replication job {job.id} is not Drover's any more: its comment is {job.comment!r}"
            raise Rejected(Why.NOT_OURS, text)
        if job.target != action.target or job.source not in (None, action.source):
            raise Stale(Why.STATE_CHANGED, f"replication job {job.id} leads from {job.source} to {job.target} by now")
        if action.verb is JobVerb.SYNC_NOW:
            await self._sync_now(action)
        elif action.verb is not JobVerb.REMOVE:
            values, delete = _values(action)
            await self.client.change_job(job.id, values, delete=delete, digest=digest)
        elif not job.removing or action.force:
            await self.client.remove_job(job.id, keep_data=action.keep_data, force=action.force)

    def _may_touch(self, job: ReplicationJob, action: JobAction) -> bool:
        """Ours by its comment; or taken over now, by a policy that says so, as it was when that was decided."""
        if is_for_move(job.comment) or owner_of(job.comment) is not None:
            return True
        policy = self.specs.replications.get(owner_of(action.comment) or "")
        adopts = policy is not None and policy.spec.adopt_existing
        planned = next((each for each in self.seen.jobs if each.id == job.id), None)
        unchanged = planned is not None and planned.comment == job.comment
        return action.verb is JobVerb.UPDATE and adopts and unchanged

    async def _sync_now(self, action: JobAction) -> None:
        """It is remembered before it is asked for: a plan that does not know would ask for ever."""
        before = self.store.memory().replication.asked.get(action.job_id)
        again = before is not None and (before.source, before.target) == (action.source, action.target)
        times = before.times + 1 if before is not None and again else 1
        self.store.ask_sync(AskedSync(action.job_id, action.source, action.target, self.clock.wall(), times))
        await self.client.sync_now(action.source, action.job_id)

    # What is said

    def _refused(self, action: JobAction, error: DroverError) -> Event | None:
        """Remember the refusal; it is told when it is new."""
        before = self.store.memory().replication.refused.get(action.job_id)
        failures = before.failures + 1 if before is not None and _same(before, action) else 1
        until = refused_until(failures, self.clock.wall())
        self.store.refuse_job(
            RefusedJob(
                action.job_id,
                action.identity,
                action.verb,
                action.target,
                error.why,
                error.message,
                failures,
                until,
            )
        )
        if before is not None and _same(before, action) and (before.why, before.message) == (error.why, error.message):
            return None
        return self._event(action, EventType.WARNING, Told.JOB_REFUSED, f"could not {_doing(action)}: {error.message}")

    def _event(self, action: JobAction, type_: EventType, reason: Told, text: str) -> Event:
        now = self.clock.wall()
        return Event(type_, reason, ObjectRef("Guest", str(action.vmid)), text, now, now)


def _same(refused: RefusedJob, action: JobAction) -> bool:
    return refused.identity.same_as(action.identity) and (refused.verb, refused.target) == (action.verb, action.target)


def _values(action: JobAction) -> tuple[dict[str, Param], tuple[str, ...]]:
    """Keys to set and keys to take away."""
    if action.verb in (JobVerb.DISABLE, JobVerb.ENABLE):
        return {"disable": action.verb is JobVerb.DISABLE}, ()
    values: dict[str, Param] = {"schedule": action.schedule, "comment": action.comment}
    if action.rate_mb_s is None:
        return values, ("rate",)
    return {**values, "rate": action.rate_mb_s}, ()


def _doing(action: JobAction) -> str:
    verbs = {
        JobVerb.CREATE: "make",
        JobVerb.UPDATE: "change",
        JobVerb.DISABLE: "switch off",
        JobVerb.ENABLE: "switch on",
        JobVerb.REMOVE: "remove",
        JobVerb.SYNC_NOW: "start",
    }
    return f"{verbs[action.verb]} replication job {action.job_id} to {action.target}"
