"""From policies to jobs: what there is to create, change, disable and remove, and what is to be had nowhere.

Called by `decide.pipeline` through the package. A job that is as its policy wants it is never made again: targets of new jobs
are chosen, those of old ones are kept.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType

from controller.decide.replicable import Load, Obstacle, load
from controller.decide.replication import wanted
from controller.decide.replication.case import Book, Case
from controller.decide.replication.retire import Retired, retired
from controller.decide.replication.targets import Objection, Sheet
from controller.decide.scene import Scene
from controller.decide.stage import Stage
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.observed import NodeState, Observed, ReplicationJob
from controller.model.reasons import Why
from controller.model.replication import JobAction, JobVerb, Replicas, owner_of
from controller.specs.replicationpolicy import OnMigration


def plan(scene: Scene, later: Stage, in_use: Container[str] = frozenset()) -> tuple[tuple[JobAction, ...], Replicas]:
    """What is to be done to replication jobs, and how policies stand.

    later: where everybody will be. in_use: ids of jobs that were made for a move which still needs them.
    """
    planner = _Planner(scene, later, in_use)
    planner.walk()
    left = retired(scene, planner.of_guest, planner.won)
    return _in_order([*planner.book.actions, *left.actions]), planner.replicas(left)


def _in_order(actions: Iterable[JobAction]) -> tuple[JobAction, ...]:
    """Cheap and freeing ones first; PVE works off new jobs one after the other anyway."""
    rank = {JobVerb.REMOVE: 1, JobVerb.CREATE: 2}
    return tuple(sorted(actions, key=lambda action: (rank.get(action.verb, 0), action.vmid, action.job_id)))


def gone(scene: Scene) -> Mapping[NodeName, float]:
    """Targets that are away without anybody having said so, and since when; without quorum nobody can tell who is."""
    before, seen = scene.memory.replication.gone_since, scene.seen
    if not seen.quorate:
        return before
    targets = {job.target for job in seen.jobs if not job.removing}
    return MappingProxyType({node: before.get(node, seen.at) for node in sorted(targets) if _is_gone(node, scene)})


def _is_gone(node: NodeName, scene: Scene) -> bool:
    if node in scene.wanted.maintenance:
        return False
    found = scene.seen.nodes.get(node)
    return found is None or found.state is not NodeState.ONLINE


class _Planner:
    """One walk over all guests that a policy means."""

    def __init__(self, scene: Scene, later: Stage, in_use: Container[str]) -> None:
        self._in_use = in_use
        self._scene, self._seen, self._later = scene, scene.seen, later
        self._rows = {(row.node, row.name): row for row in scene.seen.storages}
        self._sheet = Sheet(scene, self._rows)
        self.won = wanted.winners(scene)
        self.of_guest = _by_guest(scene.seen)
        self._gone = gone(scene)
        self._loads: dict[Vmid, Load | Obstacle] = {}
        self.book = Book()
        self._wanted: dict[ObjectRef, int] = defaultdict(int)
        self._there: dict[ObjectRef, int] = defaultdict(int)

    def walk(self) -> None:
        """Count what is there, then look at every guest: the largest first, so that bytes spread well."""
        for vmid, jobs in sorted(self.of_guest.items()):
            self._count(vmid, jobs)
        for vmid in sorted(self.won, key=lambda vmid: (-self._bytes(vmid), vmid)):
            guest, jobs = self._seen.guests[vmid], self.of_guest.get(vmid, ())
            self._guest(Case(self._scene, self._later, self.book, guest, self.won[vmid], jobs, self._gone))

    def replicas(self, left: Retired) -> Replicas:
        """How policies stand, after `walk`."""
        names = {policy.name: policy.spec.deletion_policy for policy in self._scene.specs.replications.values()}
        owners = {owner_of(job.comment) for job in self._seen.jobs}
        known = {name: word for name, word in self._scene.memory.replication.policies.items() if name in owners}
        return Replicas(
            policies=MappingProxyType({vmid: policy.ref for vmid, policy in sorted(self.won.items())}),
            wanted=MappingProxyType(dict(self._wanted)),
            there=MappingProxyType(dict(self._there)),
            lacking=tuple(sorted(self.book.lacking, key=lambda item: (item.vmid, item.target or ""))),
            orphans=left.orphans,
            deletions=MappingProxyType(dict(sorted({**known, **names}.items()))),
            gone_since=self._gone,
            adopted=wanted.adopted(self.won, self._seen.jobs),
        )

    def _count(self, vmid: Vmid, jobs: Iterable[ReplicationJob]) -> None:
        guest, found = self._seen.guests.get(vmid), self._load(vmid)
        if guest is None or not isinstance(found, Load):
            return
        for job in jobs:
            if not job.removing:
                self._sheet.keep(job.target, found, synced=wanted.synced(job, guest, self._seen))

    def _load(self, vmid: Vmid) -> Load | Obstacle:
        if vmid not in self._loads:
            guest, config = self._seen.guests.get(vmid), self._seen.configs.get(vmid)
            if guest is None or config is None:
                self._loads[vmid] = Obstacle(Why.NOT_OBSERVED_YET, "its config has not been read yet")
            else:
                self._loads[vmid] = load(config, guest.node, self._rows)
        return self._loads[vmid]

    def _bytes(self, vmid: Vmid) -> int:
        found = self._load(vmid)
        return found.bytes if isinstance(found, Load) else 0

    def _guest(self, case: Case) -> None:
        guest, spec, ref = case.guest, case.policy.spec, case.policy.ref
        found = self._load(guest.vmid)
        own = [
            job
            for job in case.jobs
            if not job.removing and (owner_of(job.comment) or wanted.served_by(job, case.policy))
        ]
        unfit = _unfit(case, found)
        if unfit is None or unfit.why is not Why.NOTHING_TO_REPLICATE:
            targets = wanted.named_targets(case.policy, guest)
            self._wanted[ref] += len(targets) if spec.targets.nodes else spec.targets.replicas or 1
        self._there[ref] += len(own)
        if unfit is not None:
            if not own or unfit.why is not Why.NOT_OBSERVED_YET:
                case.lacks(None, unfit.why, unfit.message, pending=unfit.why in _NO_FAULT)
            return
        moving = self._scene.flying(guest.vmid)
        if spec.suspend or moving or not wanted.settled(case.jobs, guest):
            return
        node = self._seen.nodes.get(guest.node)
        if node is None or node.state is not NodeState.ONLINE:
            case.lacks(None, Why.NODE_OFFLINE, f"{guest.node} is not online", pending=True)
            return
        assert isinstance(found, Load)
        mine = wanted.holdings(case.jobs, adopt=spec.adopt_existing, in_use=self._in_use)
        for job in (self._named if spec.targets.nodes else self._chosen)(case, mine, found):
            case.adjust(job)

    def _named(self, case: Case, mine: wanted.Holdings, found: Load) -> list[ReplicationJob]:
        """Explicit nodes: one job to each but the guest's own. Returns the jobs that stay."""
        targets = wanted.named_targets(case.policy, case.guest)
        to, foreign = {job.target: job for job in mine.ours}, {job.target: job for job in mine.foreign}
        leaving = {job.target for job in case.jobs if job.removing}
        kept = [to[node] for node in targets if node in to]
        for node in targets:
            if node in to:
                case.lacks_gone(node)
            elif node in foreign:
                case.lacks_because_of(foreign[node])
            elif node in leaving:
                case.lacks(node, Why.NOT_OBSERVED_YET, f"PVE still removes the job to {node}", pending=True)
            elif objection := self._sheet.objection(node, case.guest, found):
                case.lacks(node, objection[0], f"{node} {objection[1]}", pending=objection[0] in _PASSING)
            else:
                self._create(case, node, found, f"its policy names {node}")
        strays = [job for job in mine.ours if job.target not in targets and owner_of(job.comment) is not None]
        others = wanted.by_worth(strays, case.guest, self._seen, self._gone, frozenset())
        if kept and len(kept) == len(targets):
            self._drop(case, others[wanted.tolerated(case.policy, case.guest) :], kept)
        return self._left([*kept, *others], kept)

    def _chosen(self, case: Case, mine: wanted.Holdings, found: Load) -> list[ReplicationJob]:
        """Targets of Drover's own choice; what is there comes first. Returns the jobs that stay."""
        targets, number = case.policy.spec.targets, case.policy.spec.targets.replicas or 1
        away = self._long_gone(case)
        good = frozenset(job.target for job in mine.ours if job.target in self._gone or self._serves(job.target, case))
        ranked = wanted.by_worth(mine.ours, case.guest, self._seen, self._gone, good)
        kept = [job for job in ranked if job.target in good and job.target not in away][:number]
        stay = [job for job in ranked if job not in kept]
        avoid = _taken(case.jobs, mine)
        lost = sorted(job.target for job in stay if job.target in away)
        for step in range(number - len(kept) if case.policy.spec.enabled else 0):
            node, against = self._sheet.best(case.guest, found, targets, avoid)
            if node is None:
                case.lacks_any(against)
                break
            if step < len(lost):
                self._create(case, node, found, f"{lost[step]} is gone", Why.TARGET_GONE)
            else:
                self._create(case, node, found, "of all that can, it holds the fewest bytes of replicas")
            avoid[node] = (Why.REPLICA_WANTED, "gets one already")
        for job in kept if len(kept) >= number else [*kept, *(job for job in stay if job.target in away)]:
            case.lacks_gone(job.target)
        if len(kept) >= number:
            replaced = [job for job in stay if job.target in away]
            case.remove(replaced, Why.TARGET_GONE, "is gone, and another target has its place")
            self._drop(case, [job for job in stay if job not in replaced], kept)
        return self._left([*kept, *stay], kept)

    def _create(self, case: Case, node: NodeName, found: Load, reason: str, why: Why = Why.REPLICA_WANTED) -> None:
        if case.policy.spec.enabled:
            case.create(node, found, reason, why)
            self._sheet.keep(node, found, synced=False)

    def _drop(self, case: Case, jobs: Iterable[ReplicationJob], kept: Iterable[ReplicationJob]) -> None:
        """Remove jobs to targets that are not wanted any more, once those that are wanted have made their replicas."""
        if all(wanted.synced(job, case.guest, self._seen) for job in kept):
            case.remove(
                jobs, Why.JOB_NOT_WANTED, "is no target of its policy any more, and what replaces it is in sync"
            )

    def _left(self, jobs: Iterable[ReplicationJob], kept: list[ReplicationJob]) -> list[ReplicationJob]:
        """Jobs that are to be as their policy says: those that serve it, and those of Drover that are not removed now."""
        removed = {action.job_id for action in self.book.actions if action.verb is JobVerb.REMOVE}
        return [job for job in jobs if job in kept or (owner_of(job.comment) is not None and job.id not in removed)]

    def _serves(self, node: NodeName, case: Case) -> bool:
        """Whether a replica on the node serves the policy: it could be chosen, or PVE's flip has brought it there."""
        spec = case.policy.spec
        if self._sheet.wanted(node, case.guest, spec.targets):
            return True
        return spec.on_migration is OnMigration.MIRROR and self._sheet.selected(case.guest.node, spec.targets)

    def _long_gone(self, case: Case) -> frozenset[NodeName]:
        patience = case.policy.spec.retarget_after_seconds
        if not patience:
            return frozenset()
        return frozenset(node for node, since in self._gone.items() if self._seen.at - since >= patience)


_NO_FAULT = (Why.NOT_OBSERVED_YET, Why.NOTHING_TO_REPLICATE)
"""Why a guest has no replica although there is nothing to mend."""
_PASSING = (Why.TARGET_IN_MAINTENANCE, Why.TARGET_OFFLINE)
"""Objections that go away without anybody changing a policy."""


def _unfit(case: Case, found: Load | Obstacle) -> Obstacle | None:
    """Why the guest can't be replicated at all, or not yet."""
    if case.guest.template:
        return Obstacle(Why.NOTHING_TO_REPLICATE, "it is a template and never changes: copy it once instead")
    return found if isinstance(found, Obstacle) else None


def _taken(jobs: Iterable[ReplicationJob], mine: wanted.Holdings) -> dict[NodeName, Objection]:
    """Nodes that can't be chosen because a job leads there: PVE allows one per guest and target."""
    found: dict[NodeName, Objection] = {}
    for job in jobs:
        if job.removing:
            found[job.target] = Why.NOT_OBSERVED_YET, f"is being left by job {job.id}"
        elif job in mine.foreign:
            found[job.target] = Why.FOREIGN_JOB, f"has the replica of job {job.id}, which is not Drover's"
        else:
            found[job.target] = Why.REPLICA_WANTED, f"has job {job.id} already"
    return found


def _by_guest(seen: Observed) -> Mapping[Vmid, tuple[ReplicationJob, ...]]:
    found: dict[Vmid, list[ReplicationJob]] = defaultdict(list)
    for job in sorted(seen.jobs, key=lambda job: job.id):
        found[job.vmid].append(job)
    return MappingProxyType({vmid: tuple(jobs) for vmid, jobs in found.items()})
