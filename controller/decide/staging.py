"""Replicate before migrate: what a move of a guest with disks on local ZFS waits for, and what is asked of its replication job.

Called by `decide.order` for every move that has a target, then once by `decide.pipeline`. Every step is read off what is
observed: a job that leads to the target, when it was last in sync, how long that took. So a restart goes on where it was, and
a job that no move needs any more is known by its comment and removed with its copy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.decide.explain import BROKEN
from controller.decide.gate import blocked
from controller.decide.replicable import Load
from controller.decide.replication.wanted import action_about, adopted, winners
from controller.decide.rights import no_jobs
from controller.decide.scene import Scene
from controller.decide.words import failure, size
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.observed import Guest, NodeState, ReplicationJob
from controller.model.plan import Blocked, Move, Waiting
from controller.model.reasons import Why
from controller.model.replication import (
    DEFAULT_SCHEDULE,
    JobAction,
    JobVerb,
    RefusedJob,
    ReplicationState,
    comment_for_move,
    free_job_id,
    is_for_move,
    owner_of,
)
from controller.specs.replicationpolicy import Gate

SMALL_SECONDS = 60.0
"""A run that takes no longer leaves little for the move: what changes meanwhile is sent in less."""
ROUNDS = 3
"""How often a job is asked to run again to make that so; a guest that writes faster than is sent never gets there."""
OLD_SECONDS = 1200.0
"""A copy made for a move that is older than this is brought up to date first: the job runs every 15 minutes by itself."""
PATIENCE_SECONDS = 180.0
"""How long a run that was asked for is waited for: PVE begins it within a minute, unless another job of the node is at work."""
_MB = 1_000_000
_MIB = 1 << 20
_Word = Waiting | Blocked


@dataclass(slots=True)
class Staging:
    """What all moves of a plan ask of replication jobs. Mutable: one plan's sheet of paper."""

    scene: Scene
    actions: list[JobAction] = field(default_factory=list)
    in_use: set[str] = field(default_factory=set)  # ids of jobs that moves of this plan need
    _busy: dict[NodeName, tuple[Vmid, str]] = field(
        default_factory=dict
    )  # nodes at work on a copy for a move, and whose

    _adopted: Mapping[str, str] = field(default_factory=dict)  # as `Replicas.adopted`

    def __post_init__(self) -> None:
        self._adopted = adopted(winners(self.scene), self.scene.seen.jobs)
        for job in self.scene.seen.jobs:
            if is_for_move(job.comment) and not job.removing:
                self._note_busy(job)

    def _note_busy(self, job: ReplicationJob) -> None:
        """PVE runs the jobs of a node one after the other: a second copy would only keep the first from its last round."""
        guest = self.scene.seen.guests.get(job.vmid)
        if guest is None or guest.node == job.target or job.disabled or self.scene.flying(job.vmid):
            return
        state = self._state(job)
        if state is not None and state.fail_count and not state.running:
            return  # it waits for its next try, and others need not wait with it
        last_round = state is not None and state.running and state.duration_s is not None
        if state is None or not (last_round or _settled(job, state, self.scene)):
            self._busy.setdefault(guest.node, (guest.vmid, f"{guest} is being copied to {job.target}"))

    # One move

    def step(self, move: Move, guest: Guest) -> _Word | None:
        """What the move waits for before it may start, or None. Writes down what has to be done about its job."""
        load = self.scene.replicable(guest.vmid)
        job = next((job for job in self.scene.jobs.get(guest.vmid, ()) if job.target == move.target), None)
        if job is None:
            return self._first(move, guest, load) if isinstance(load, Load) else None
        self.in_use.add(job.id)
        if job.removing:
            text = f"{guest} waits until PVE has removed its former replication job {job.id} to {job.target}"
            return _wait(move, Why.FIRST_SYNC, text)
        if is_for_move(job.comment):
            return self._staged(move, guest, job, load)
        return self._fresh(move, guest, job)

    def _first(self, move: Move, guest: Guest, load: Load) -> _Word:
        """Nothing leads to the target yet: a job is made, one after the other on each node."""
        amount = f"{size(load.bytes)} of local disks"
        text = f"{guest} is replicated to {move.target} first, so that {amount} need not move with it"
        taken = frozenset(job.id for job in self.scene.jobs.get(guest.vmid, ()))
        job_id = free_job_id(guest.vmid, taken)
        if denied := no_jobs(self.scene.seen, guest.vmid):
            said = f"{guest} can't be replicated to {move.target}: {denied}"
            return blocked(guest, Why.PERMISSION_MISSING, said, move.cause)
        if refused := self._refusal(move):
            if refused.until <= self.scene.seen.at:  # asked for again, and blocked until that is granted
                self._do(move, JobVerb.CREATE, job_id, text, Why.REPLICATE_FIRST)
            said = f"{guest} can't be replicated to {move.target}: {refused.message}"
            return blocked(guest, refused.why, said, move.cause)
        other, doing = self._busy.get(guest.node, (guest.vmid, ""))
        if other != guest.vmid:
            return _wait(move, Why.FIRST_SYNC, f"{guest} ({amount}) waits to be copied to {move.target}: {doing}")
        self._do(move, JobVerb.CREATE, job_id, text, Why.REPLICATE_FIRST)
        self._busy[guest.node] = guest.vmid, f"{guest} is being copied to {move.target}"
        return _wait(move, Why.FIRST_SYNC, f"{guest} waits for the first sync of {amount} to {move.target}")

    def _refusal(self, move: Move) -> RefusedJob | None:
        known = self.scene.memory.replication.refused.values()
        create = (JobVerb.CREATE, move.target)
        same = (each for each in known if each.identity.same_as(move.identity))
        return next((each for each in same if (each.verb, each.target) == create), None)

    def _staged(self, move: Move, guest: Guest, job: ReplicationJob, load: object) -> _Word | None:
        """A job of ours for this very move."""
        state = self._state(job)
        if word := self._turned(move, guest, job):
            return word
        if state is None:
            return _wait(move, Why.FIRST_SYNC, f"{guest} waits: {guest.node} has not told yet how job {job.id} stands")
        if state.fail_count and (not state.running or state.fail_count >= BROKEN):
            return self._failing(move, guest, job, state)
        if _settled(job, state, self.scene):
            return None
        return self._syncing(move, guest, job, state, size(load.bytes) if isinstance(load, Load) else "its disks")

    def _turned(self, move: Move, guest: Guest, job: ReplicationJob) -> _Word | None:
        """A job that was made for another move between the same nodes, and has slept since."""
        target = job.target
        if job.comment != comment_for_move(target):
            text = f"replication job {job.id} is there for the move of {guest} to {target} now"
            self._do(move, JobVerb.UPDATE, job.id, text, Why.REPLICATE_FIRST)
            return _wait(move, Why.LAST_SYNC, f"{guest} waits until its copy on {target} is up to date again")
        if job.disabled:
            self._do(
                move,
                JobVerb.ENABLE,
                job.id,
                f"{guest}: its copy on {target} is brought up to date",
                Why.REPLICATE_FIRST,
            )
            return _wait(move, Why.LAST_SYNC, f"{guest} waits until its copy on {target} is up to date again")
        return None

    def _syncing(self, move: Move, guest: Guest, job: ReplicationJob, state: ReplicationState, total: str) -> _Word:
        target = job.target
        if not state.last_sync:
            return _wait(move, Why.FIRST_SYNC, f"first sync of {guest} to {target}: {self._how_far(job, state, total)}")
        if state.running:
            text = f"{guest} waits for a last sync to {target}: {self._how_far(job, state, 'the changes')}"
            return _wait(move, Why.LAST_SYNC, text)
        took = f"the last one took {state.duration_s:.0f} s" if state.duration_s is not None else "the last one is old"
        self._sync_now(move, guest, job, state, f"{guest} is synced once more to {target} before it moves: {took}")
        return _wait(move, Why.LAST_SYNC, f"{guest} waits for a last sync to {target}, because {took}")

    def _failing(self, move: Move, guest: Guest, job: ReplicationJob, state: ReplicationState) -> _Word:
        said = failure(state.error, state.why)
        times = f"{state.fail_count} times" if state.fail_count > 1 else "once"
        text = f"{guest} waits: its copy to {job.target} failed {times}: {said}"
        if state.fail_count >= BROKEN:
            remedy = (state.why.remedy if state.why is not None else "") or Why.REPLICATION_FAILING.remedy
            return Blocked(guest.vmid, Why.REPLICATION_FAILING, text, remedy, move.cause)
        return _wait(move, Why.REPLICATION_FAILING, f"{text}; PVE tries again")

    def _fresh(self, move: Move, guest: Guest, job: ReplicationJob) -> _Word | None:
        """A replica that is there anyway: brought up to date first when its policy says so. What is not ours is left alone."""
        state = self._state(job)
        if state is not None and not state.last_sync and not state.fail_count:
            text = f"first sync of {guest} to {job.target}: {self._how_far(job, state, 'its disks')}"
            return _wait(move, Why.FIRST_SYNC, text)
        policy = self.scene.specs.replications.get(owner_of(job.comment) or self._adopted.get(job.id, ""))
        if policy is None or policy.spec.gate is Gate.IGNORE:
            return None
        required = policy.spec.gate is Gate.REQUIRE_FRESH
        if state is None:
            text = f"{guest} waits: {guest.node} has not told yet how old its replica on {job.target} is"
            return _wait(move, Why.LAST_SYNC, text) if required else None
        age = self._age(guest.node, state)
        if age <= policy.spec.fresh_seconds:
            return None
        if not required and (state.fail_count or job.disabled or self._in_vain(job, state)):
            return None  # the move begins with a run of the job anyway: the rest is only larger
        said = f"its replica on {job.target} is {age / 60:.0f} min old, and {policy.ref} wants {policy.spec.fresh_seconds} s"
        if not state.running and not job.disabled:
            self._sync_now(move, guest, job, state, f"{guest} is synced to {job.target} before it moves: {said}")
        text = f"{guest} waits for a sync: {said}"
        return _wait(move, Why.LAST_SYNC, text)

    def _in_vain(self, job: ReplicationJob, state: ReplicationState) -> bool:
        """Whether a run that was asked for has not begun for long, or could not because the node is at another job."""
        asked = self.scene.memory.replication.asked.get(job.id)
        if asked is not None and (asked.source, asked.target) == (state.node, job.target):
            late = self.scene.seen.at - asked.at > PATIENCE_SECONDS
            if late and not state.running:
                return True
        others = (other for other in self.scene.seen.states.values() if other.node == state.node)
        return any(other.running and other.job_id != job.id for other in others)

    def _sync_now(self, move: Move, guest: Guest, job: ReplicationJob, state: ReplicationState, text: str) -> None:
        """Ask for a run, unless one is due already or was asked for a moment ago."""
        asked = self.scene.memory.replication.asked.get(job.id)
        recently = (
            asked is not None
            and (asked.source, asked.target) == (guest.node, job.target)
            and self.scene.seen.at - asked.at < PATIENCE_SECONDS
            and state.last_try <= asked.at + self._ahead(guest.node)
        )
        if state.last_try and not recently:
            self._do(move, JobVerb.SYNC_NOW, job.id, text, Why.LAST_SYNC)

    # Afterwards

    def needed(self, words: Mapping[Vmid, _Word]) -> frozenset[str]:
        """Ids of jobs made for a move that still need to be there. words: what the plan says of guests that do not move now."""
        jobs = (job for of in self.scene.jobs.values() for job in of if is_for_move(job.comment))
        return frozenset(job.id for job in jobs if self._is_needed(job, words.get(job.vmid)))

    def _is_needed(self, job: ReplicationJob, word: _Word | None) -> bool:
        """While its guest moves, or still has to and nobody has said that it goes elsewhere."""
        guest = self.scene.seen.guests.get(job.vmid)
        if job.id in self.in_use or guest is None or self.scene.flying(job.vmid):
            return True
        chosen = word.move.target if isinstance(word, Waiting) and word.move is not None else None
        return word is not None and job.comment != comment_for_move(guest.node) and chosen in (None, job.target)

    def left_over(self, words: Mapping[Vmid, _Word], claimed: Iterable[str]) -> None:
        """Ask for an end of jobs that were made for a move and are not needed any more.

        words: as above. claimed: ids of jobs that a policy takes over.
        """
        taken = frozenset(claimed)
        for vmid, jobs in sorted(self.scene.jobs.items()):
            for job in jobs:
                if not is_for_move(job.comment) or job.removing or job.id in taken:
                    continue
                if not self._is_needed(job, words.get(vmid)):
                    self._end(self.scene.seen.guests[vmid], job, words.get(vmid))

    def _end(self, guest: Guest, job: ReplicationJob, word: _Word | None) -> None:
        scene, node = self.scene, self.scene.seen.nodes.get(guest.node)
        if scene.seen.partial or node is None or node.state is not NodeState.ONLINE or guest.lock:
            return
        if job.source not in (None, guest.node):
            return  # PVE turns the job round a little later than the guest appears on its target
        moved = job.comment == comment_for_move(guest.node)
        origin = scene.memory.origins.get(guest.vmid)
        if moved and origin is not None and origin.identity.same_as(guest.identity) and origin.node == job.target:
            self._rest(guest, job, origin.maintenance)
            return
        cause = word.cause if word is not None else self._cause(job)
        why = f"{guest} has moved" if moved else f"{guest} no longer moves to {job.target}"
        text = f"{why}: replication job {job.id} and the copy on {job.target} go"
        self._about(job, guest, JobVerb.REMOVE, Why.MOVE_OVER, (cause, text))

    def _rest(self, guest: Guest, job: ReplicationJob, cause: ObjectRef) -> None:
        """It will go home: what is there is kept, so that it need not be copied again. Meanwhile the node may be switched off."""
        if not job.disabled:
            text = f"{guest}: its copy on {job.target} is kept as it is until it goes home"
            self._about(job, guest, JobVerb.DISABLE, Why.RETURN_HOME, (cause, text))

    def _cause(self, job: ReplicationJob) -> ObjectRef:
        known = self.scene.memory.replication.temporary.get(job.id)
        return known.cause if known is not None else ObjectRef("Guest", str(job.vmid))

    def apart_from(self, wanted: Iterable[JobAction]) -> Iterable[JobAction]:
        """What is asked, without the jobs that a policy makes anyway: PVE allows one per guest and target."""
        made = {(action.vmid, action.target) for action in wanted if action.verb is JobVerb.CREATE}
        return (a for a in self.actions if a.verb is not JobVerb.CREATE or (a.vmid, a.target) not in made)

    # Facts

    def _state(self, job: ReplicationJob) -> ReplicationState | None:
        """How the job stands, by the word of the node that has its guest now."""
        state, guest = self.scene.seen.states.get(job.id), self.scene.seen.guests.get(job.vmid)
        if state is None or guest is None or (state.node, state.target) != (guest.node, job.target):
            return None
        return state

    def _ahead(self, node: NodeName) -> float:
        clock = self.scene.seen.clocks.get(node)
        return clock.ahead_seconds if clock is not None else 0.0

    def _age(self, node: NodeName, state: ReplicationState) -> float:
        return max(0.0, self.scene.seen.at + self._ahead(node) - state.last_sync)

    def _how_far(self, job: ReplicationJob, state: ReplicationState, what: str) -> str:
        if not state.running:
            return f"{what}, to begin within a minute"
        progress = self.scene.seen.syncs.get(job.id)
        if progress is None or not progress.total_bytes:
            return f"{what}, under way"
        return f"{size(progress.transferred_bytes)} of {size(progress.total_bytes)}"

    # Actions

    def _do(self, move: Move, verb: JobVerb, job_id: str, text: str, why: Why) -> None:
        self.actions.append(
            JobAction(
                verb=verb,
                job_id=job_id,
                vmid=move.vmid,
                identity=move.identity,
                source=move.source,
                target=move.target,
                schedule=DEFAULT_SCHEDULE,
                rate_mb_s=self._rate(move),
                comment=comment_for_move(move.target),
                keep_data=False,
                force=False,
                why=why,
                cause=move.cause,
                message=text,
            )
        )

    def _about(self, job: ReplicationJob, guest: Guest, verb: JobVerb, why: Why, said: tuple[ObjectRef, str]) -> None:
        cause, text = said
        self.actions.append(action_about(job, guest, verb, why=why, cause=cause, message=text))

    def _rate(self, move: Move) -> float | None:
        """Decimal MB/s for the copy: the guest's own limit, or our share of the narrower link; None: nobody has said any."""
        network, specs = self.scene.cluster.spec.network, self.scene.specs
        links = [specs.node(name) for name in (move.source, move.target)]
        widths = [(link.spec.link_mibps if link is not None else 0) or network.link_mibps for link in links]
        shares = [width * network.share_percent // 100 for width in widths]
        known = [value for value in (move.options.bandwidth_limit_mib_s, *shares) if value]
        return max(1.0, round(min(known) * _MIB / _MB, 1)) if known else None


def _settled(job: ReplicationJob, state: ReplicationState, scene: Scene) -> bool:
    """Whether what is left is small, or will not become smaller."""
    if not state.last_sync or state.running or state.fail_count:
        return False
    clock = scene.seen.clocks.get(state.node)
    age = scene.seen.at + (clock.ahead_seconds if clock is not None else 0.0) - state.last_sync
    asked = scene.memory.replication.asked.get(job.id)
    mine = asked is not None and (asked.source, asked.target) == (state.node, job.target)
    rounds = asked.times if asked is not None and mine else 0
    if asked is not None and mine and rounds and not state.last_try:
        return scene.seen.at - asked.at > PATIENCE_SECONDS  # asked for, and not begun
    took = state.duration_s if state.duration_s is not None else SMALL_SECONDS
    return age <= OLD_SECONDS + took and (took <= SMALL_SECONDS or rounds >= ROUNDS)


def _wait(move: Move, why: Why, text: str) -> Waiting:
    return Waiting(move.vmid, why, text, move.cause, move)
