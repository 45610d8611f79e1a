"""One guest under one policy: the actions that are asked for it, and the words about what it lacks. Used by `replication.jobs`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from controller.decide.replicable import Load
from controller.decide.replication.targets import Objection
from controller.decide.replication.wanted import action_about, refusal, served_by
from controller.decide.rights import no_jobs
from controller.decide.scene import Scene
from controller.decide.stage import Stage
from controller.decide.words import size
from controller.model.ids import NodeName
from controller.model.observed import Guest, Power, ReplicationJob
from controller.model.reasons import Why
from controller.model.replication import (
    JobAction,
    JobVerb,
    Lacking,
    comment_of,
    free_job_id,
    is_for_move,
    owner_of,
)
from controller.specs import ReplicationPolicy
from controller.specs.replicationpolicy import DeletionPolicy

_DONE = {
    JobVerb.CREATE: "made",
    JobVerb.UPDATE: "changed",
    JobVerb.DISABLE: "switched off",
    JobVerb.ENABLE: "switched on",
    JobVerb.REMOVE: "removed",
    JobVerb.SYNC_NOW: "started",
}


@dataclass(slots=True)
class Book:
    """What has been written down so far, of all guests."""

    actions: list[JobAction] = field(default_factory=list)
    lacking: list[Lacking] = field(default_factory=list)


@dataclass(slots=True)
class Case:
    """The guest, its policy, and all that is known about both; writes into `book`."""

    scene: Scene
    later: Stage
    book: Book
    guest: Guest
    policy: ReplicationPolicy
    jobs: tuple[ReplicationJob, ...]  # of the guest, those that are being removed too
    gone: Mapping[NodeName, float]

    def lacks(self, node: NodeName | None, why: Why, message: str, *, pending: bool = False) -> None:
        """A replica is wanted and not to be had."""
        said = Lacking(self.guest.vmid, self.policy.ref, node, why, f"{self.guest}: {message}", pending)
        self.book.lacking.append(said)

    def lacks_gone(self, node: NodeName) -> None:
        """A job is there, but its target may not be."""
        if node not in self.gone:
            return
        known = node in self.scene.seen.nodes
        text = f"{node} is offline" if known else f"{node} is no node of the cluster any more"
        if self.policy.spec.targets.nodes:
            text += "; the policy names it, so no other node is chosen"
        elif patience := self.policy.spec.retarget_after_seconds:
            text += f"; another is chosen when it has been away for {patience} s"
        self.lacks(node, Why.TARGET_OFFLINE if known else Why.TARGET_LEFT, text)

    def lacks_because_of(self, job: ReplicationJob) -> None:
        """A job that may not be touched leads to the wanted target."""
        if is_for_move(job.comment):
            text = f"job {job.id} to {job.target} was made for a move that is not over"
            self.lacks(job.target, Why.NOT_OBSERVED_YET, text, pending=True)
            return
        said = f" ({job.comment!r})" if job.comment else ""
        text = f"job {job.id}{said} to {job.target} is not Drover's, and PVE allows one job per guest and target"
        self.lacks(job.target, Why.FOREIGN_JOB, text)

    def lacks_any(self, against: Mapping[NodeName, Objection]) -> None:
        """No node can be chosen."""
        said = "; ".join(f"{node} {text}" for node, (_, text) in sorted(against.items())) or "there is no other node"
        words = {why for why, _ in against.values()}
        foreign = Why.FOREIGN_JOB in words and words <= {Why.FOREIGN_JOB, Why.NO_REPLICA_TARGET, Why.REPLICA_WANTED}
        why = Why.FOREIGN_JOB if foreign else Why.NO_REPLICA_TARGET
        self.lacks(None, why, f"no node can take a replica: {said}")

    def create(self, node: NodeName, found: Load, reason: str, why: Why = Why.REPLICA_WANTED) -> None:
        """A new job to the node."""
        guest = self.guest
        mine = (a for a in self.book.actions if a.vmid == guest.vmid and a.verb is JobVerb.CREATE)
        taken = frozenset([*(job.id for job in self.jobs), *(action.job_id for action in mine)])
        text = f"{guest} gets a replica on {node} ({size(found.bytes)}): {reason}{self._fail_over(node)}"
        self._do(
            JobAction(
                verb=JobVerb.CREATE,
                job_id=free_job_id(guest.vmid, taken),
                vmid=guest.vmid,
                identity=guest.identity,
                source=guest.node,
                target=node,
                schedule=self.policy.spec.schedule,
                rate_mb_s=self.policy.spec.rate_mbps,
                comment=comment_of(self.policy.name),
                keep_data=True,
                force=False,
                why=why,
                cause=self.policy.ref,
                message=text,
            )
        )

    def _fail_over(self, node: NodeName) -> str:
        """What memory the guest would need there, were its node to fail: it is not reserved, so people should know."""
        need, free = self.scene.needs.get(self.guest.vmid), self.later.room.free(node)
        if self.guest.power is Power.STOPPED or not need or free is None:
            return ""
        short = "" if need <= free else ", too little to take over"
        return f"; to run there it would need {size(need)} of memory, {size(max(0, free))} are free{short}"

    def adjust(self, job: ReplicationJob) -> None:
        """Make a job that stays what its policy says."""
        if served_by(job, self.policy):
            return
        spec, owner = self.policy.spec, owner_of(job.comment)
        name = f"job {job.id} of {self.guest} to {job.target}"
        differences = []
        if owner is None:
            differences.append(f"taken over{f' from {job.comment!r}' if job.comment else ''}")
        elif owner != self.policy.name:
            differences.append(f"passes from {owner} to {self.policy.name}")
        if job.schedule != spec.schedule:
            differences.append(f"schedule {job.schedule} becomes {spec.schedule}")
        if job.rate_mb_s != spec.rate_mbps:
            differences.append(f"rate {_rate(job.rate_mb_s)} becomes {_rate(spec.rate_mbps)}")
        action = self._about(job, Why.JOB_DIFFERS, f"{name}: {', '.join(differences)}")
        if differences:
            self._do(action)
        if job.disabled == spec.enabled:
            verb = JobVerb.ENABLE if spec.enabled else JobVerb.DISABLE
            self._do(replace(action, verb=verb, message=f"{name} is {verb.lower()}d as its policy says"))

    def remove(self, jobs: Iterable[ReplicationJob], why: Why, reason: str) -> None:
        """Take away jobs of Drover; the replica only goes where the policy says so and its node can be asked.

        reason: the end of a sentence that begins with the target.
        """
        for job in jobs:
            if owner_of(job.comment) is None or self.scene.seen.partial:
                continue  # not ours to remove; or rows may be hidden, so that nobody knows what is wanted
            with_data = self.policy.spec.deletion_policy is DeletionPolicy.REMOVE_JOB_AND_DATA
            action = self._about(job, why, f"job {job.id} of {self.guest}: {job.target} {reason}")
            keep = not with_data or job.target in self.gone
            self._do(replace(action, verb=JobVerb.REMOVE, keep_data=keep))

    def _about(self, job: ReplicationJob, why: Why, message: str) -> JobAction:
        owner = owner_of(job.comment)
        before = "" if owner is not None or is_for_move(job.comment) else job.comment
        return replace(
            action_about(job, self.guest, JobVerb.UPDATE, why=why, cause=self.policy.ref, message=message),
            schedule=self.policy.spec.schedule,
            rate_mb_s=self.policy.spec.rate_mbps,
            comment=job.comment if owner == self.policy.name else comment_of(self.policy.name, before),
            keep_data=True,
        )

    def _do(self, action: JobAction) -> None:
        """Ask for it, unless the token may not, or PVE has just refused the same."""
        if denied := no_jobs(self.scene.seen, self.guest.vmid):
            text = f"job {action.job_id} to {action.target} can't be {_DONE[action.verb]}: {denied}"
            self.lacks(action.target, Why.PERMISSION_MISSING, text)
            return
        if no := refusal(action, self.scene):
            text = f"PVE refused to {action.verb.lower()} job {action.job_id} to {action.target}: {no.message}"
            self.lacks(action.target, no.why, text)
            return
        self.book.actions.append(action)


def _rate(value: float | None) -> str:
    return "without limit" if value is None else f"{value:g} MB/s"
