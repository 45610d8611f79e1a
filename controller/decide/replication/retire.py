"""Jobs of Drover that no policy wants any more: removed as their policy said, or orphans. Called by `replication.jobs`.

A policy that is gone can't be asked: what it said about deletion is remembered. Without memory nothing is removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.decide.replication.wanted import action_about, refusal
from controller.decide.rights import no_jobs
from controller.decide.scene import Scene
from controller.model.ids import ObjectRef, Vmid
from controller.model.observed import Guest, ReplicationJob
from controller.model.reasons import Why
from controller.model.replication import JobAction, JobVerb, Orphan, owner_of
from controller.specs import ReplicationPolicy
from controller.specs.replicationpolicy import DeletionPolicy

_KIND = "ReplicationPolicy"


@dataclass(frozen=True, slots=True)
class Retired:
    """What is done to jobs that no policy wants, and which of them stay."""

    actions: tuple[JobAction, ...]
    orphans: tuple[Orphan, ...]


def retired(
    scene: Scene, of_guest: Mapping[Vmid, tuple[ReplicationJob, ...]], won: Mapping[Vmid, ReplicationPolicy]
) -> Retired:
    """Every job of Drover whose guest no policy means."""
    actions: list[JobAction] = []
    orphans: list[Orphan] = []
    for vmid, jobs in sorted(of_guest.items()):
        for job in jobs if vmid not in won else ():
            owner = owner_of(job.comment)
            if owner is None or job.removing or _is_suspended(scene, owner):
                continue
            guest = scene.seen.guests.get(vmid)
            word = _deletion(scene, owner)
            denied = no_jobs(scene.seen, vmid)
            if guest is None or denied or word is DeletionPolicy.ORPHAN or scene.seen.partial:
                orphans.append(Orphan(job.id, vmid, owner, _left_alone(scene, job, owner, guest, denied)))
            elif not scene.flying(vmid):
                removal = _removal(scene, job, owner, guest, data=word is DeletionPolicy.REMOVE_JOB_AND_DATA)
                actions += [] if refusal(removal, scene) else [removal]
    return Retired(tuple(actions), tuple(orphans))


def _is_suspended(scene: Scene, owner: str) -> bool:
    policy = scene.specs.replications.get(owner)
    return policy is not None and policy.spec.suspend


def _deletion(scene: Scene, owner: str) -> DeletionPolicy:
    policy = scene.specs.replications.get(owner)
    if policy is not None:
        return policy.spec.deletion_policy
    return DeletionPolicy(scene.memory.replication.policies.get(owner, DeletionPolicy.ORPHAN))


def _left_alone(scene: Scene, job: ReplicationJob, owner: str, guest: Guest | None, denied: str) -> str:
    if guest is None:
        return f"job {job.id} of {owner}: guest {job.vmid} is not to be seen"
    if scene.seen.partial:
        return f"job {job.id} of {guest}: the token sees only a part of the cluster, so nothing is removed"
    if _deletion(scene, owner) is not DeletionPolicy.ORPHAN:
        return f"job {job.id} of {guest} to {job.target} stays, although {_why(scene, owner)}: {denied}"
    return f"job {job.id} of {guest} to {job.target} stays: {_why(scene, owner)}, with deletionPolicy Orphan"


def _why(scene: Scene, owner: str) -> str:
    return f"{owner} no longer means the guest" if owner in scene.specs.replications else f"its policy {owner} is gone"


def _removal(scene: Scene, job: ReplicationJob, owner: str, guest: Guest, *, data: bool) -> JobAction:
    # A node that has left the cluster never answers again: PVE would try to clean up there for ever.
    lost = job.target not in scene.seen.nodes
    deletes = data and not lost
    with_data = "and its replica are removed" if deletes else "is removed, its replica stays"
    message = f"job {job.id} of {guest} to {job.target} {with_data}: {_why(scene, owner)}"
    cause = ObjectRef(_KIND, owner)
    removal = action_about(job, guest, JobVerb.REMOVE, why=Why.JOB_NOT_WANTED, cause=cause, message=message)
    return replace(removal, keep_data=not deletes)
