"""Which jobs of a guest count for its policy, which of them stay, and which targets are missing. Called by `replication.jobs`."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from controller.decide.scene import Scene
from controller.decide.selectors import specificity
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.observed import Guest, Observed, ReplicationJob
from controller.model.reasons import Why
from controller.model.replication import JobAction, JobVerb, RefusedJob, is_for_move, owner_of
from controller.specs import ReplicationPolicy
from controller.specs.replicationpolicy import OnMigration


def action_about(
    job: ReplicationJob, guest: Guest, verb: JobVerb, *, why: Why, cause: ObjectRef, message: str
) -> JobAction:
    """What is asked of a job that is there: its values stay as they are, and a removal takes the replica along."""
    return JobAction(
        verb=verb,
        job_id=job.id,
        vmid=guest.vmid,
        identity=guest.identity,
        source=guest.node,
        target=job.target,
        schedule=job.schedule,
        rate_mb_s=job.rate_mb_s,
        comment=job.comment,
        keep_data=False,
        force=False,
        why=why,
        cause=cause,
        message=message,
    )


def refusal(action: JobAction, scene: Scene) -> RefusedJob | None:
    """PVE's refusal of the very same action, while it is not asked again."""
    no = scene.memory.replication.refused.get(action.job_id)
    if no is None or no.until <= scene.seen.at or not no.identity.same_as(action.identity):
        return None
    return no if (no.verb, no.target) == (action.verb, action.target) else None


def winners(scene: Scene) -> Mapping[Vmid, ReplicationPolicy]:
    """The policy that counts for each guest. One that is suspended keeps its guests: their jobs are left as they are."""
    ranked = sorted(
        scene.specs.replications.values(),
        key=lambda policy: (-policy.spec.priority, -specificity(policy.spec.guest_selector), policy.name),
    )
    won: dict[Vmid, ReplicationPolicy] = {}
    for policy in ranked:
        for vmid in scene.wanted.matched.get(policy.ref, ()):
            won.setdefault(vmid, policy)
    return MappingProxyType(won)


@dataclass(frozen=True, slots=True)
class Holdings:
    """The jobs of one guest: those that its policy may change, and those that nobody may touch."""

    ours: tuple[ReplicationJob, ...]
    foreign: tuple[ReplicationJob, ...]


def holdings(jobs: Iterable[ReplicationJob], *, adopt: bool, in_use: Container[str]) -> Holdings:
    """Jobs of a guest told apart; what is being removed is none. adopt: the policy takes over what others have made.

    A job that was made for a move is taken over, too, once that move needs it no more (in_use: ids): it would only be made anew.
    """
    ours: list[ReplicationJob] = []
    foreign: list[ReplicationJob] = []
    for job in jobs:
        if job.removing:
            continue
        free = job.id not in in_use if is_for_move(job.comment) else adopt
        mine = free or owner_of(job.comment) is not None
        (ours if mine else foreign).append(job)
    return Holdings(tuple(ours), tuple(foreign))


def served_by(job: ReplicationJob, policy: ReplicationPolicy) -> bool:
    """Whether a job of somebody else is as a policy that adopts wants it: then it stays as it is, comment and all.

    A job that was made for a move is no such job: it goes when its comment still says so at the end.
    """
    spec, owner = policy.spec, owner_of(job.comment)
    return (
        owner is None
        and spec.adopt_existing
        and not is_for_move(job.comment)
        and (not spec.targets.nodes or job.target in spec.targets.nodes)
        and (job.schedule, job.rate_mb_s, job.disabled) == (spec.schedule, spec.rate_mbps, not spec.enabled)
    )


def adopted(won: Mapping[Vmid, ReplicationPolicy], jobs: Iterable[ReplicationJob]) -> Mapping[str, str]:
    """Jobs of others that serve the policy of their guest, and its name."""
    serving = (job for job in jobs if not job.removing and job.vmid in won and served_by(job, won[job.vmid]))
    return MappingProxyType({job.id: won[job.vmid].name for job in serving})


def settled(jobs: Iterable[ReplicationJob], guest: Guest) -> bool:
    """Whether the list of jobs shows the guest where it is: after a move PVE turns them round, a little later for containers."""
    return all(job.target != guest.node and job.source in (None, guest.node) for job in jobs if not job.removing)


def synced(job: ReplicationJob, guest: Guest, seen: Observed) -> bool:
    """Whether the job has made a replica, by the word of the guest's node."""
    state = seen.states.get(job.id)
    return state is not None and state.node == guest.node and state.target == job.target and state.last_sync > 0


def by_worth(
    jobs: Sequence[ReplicationJob],
    guest: Guest,
    seen: Observed,
    gone: Mapping[NodeName, float],
    good: frozenset[NodeName],
) -> list[ReplicationJob]:
    """Jobs in the order in which they are kept: of good targets that are there, Drover's own, in sync, the oldest."""

    def rank(job: ReplicationJob) -> tuple[bool, bool, bool, bool, str]:
        foreign = owner_of(job.comment) is None
        return job.target not in good, job.target in gone, foreign, not synced(job, guest, seen), job.id

    return sorted(jobs, key=rank)


def named_targets(policy: ReplicationPolicy, guest: Guest) -> tuple[NodeName, ...]:
    """The targets that a policy with explicit nodes names for the guest: all but the node it is on."""
    return tuple(node for node in policy.spec.targets.nodes if node != guest.node)


def tolerated(policy: ReplicationPolicy, guest: Guest) -> int:
    """How many replicas on other nodes than the named ones are left alone.

    When a guest moves to one of its targets PVE turns that job round, so one replica is then where the guest came from. With
    `Mirror` that is as good as any.
    """
    mirrors = policy.spec.on_migration is OnMigration.MIRROR and guest.node in policy.spec.targets.nodes
    return 1 if mirrors else 0
