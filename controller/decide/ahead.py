"""Announced maintenance: which guests are copied to their targets ahead of it, and how long the drain will take.

Called by `decide.pipeline` after everything that is wanted now. The targets are those of the same planner, asked as if it were
time already; nothing of its answer is started but the replication jobs, which are what a drain would ask for first.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from controller.decide import joint
from controller.decide.draft import Draft
from controller.decide.estimate import rate_of
from controller.decide.gate import options
from controller.decide.replicable import Load
from controller.decide.scene import Scene
from controller.decide.scene import scene as gather
from controller.decide.slots import Slots
from controller.decide.stage import stages
from controller.decide.timing.forecast import forecast
from controller.decide.traffic import Traffic
from controller.model.desired import Maintenance
from controller.model.ids import NodeName, Vmid
from controller.model.plan import Announced, Blocked, DrainMode, Lane, Move, Waiting
from controller.model.reasons import Why
from controller.model.replication import is_for_move
from controller.specs import NodeMaintenance, Specs


@dataclass(slots=True)
class Ahead:
    """What is known of all announced maintenances."""

    announced: list[Announced] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)  # later ones; none of them is started by this plan
    words: dict[Vmid, Waiting | Blocked] = field(
        default_factory=dict
    )  # of guests that will have to move; none that is ready


def plan(draft: Draft) -> Ahead:
    """Ask for the replication jobs of moves to come (`draft.staging`), and tell how each announced maintenance stands."""
    scene, found = draft.scene, Ahead()
    coming = [m for m in scene.specs.maintenances.values() if m.is_announced(scene.seen.at) and not m.rolls]
    planned: set[NodeName] = set()
    for begins in sorted({maintenance.begins_at or 0.0 for maintenance in coming}):
        then = _then(scene, begins)
        for maintenance in coming:
            name = maintenance.spec.node_name
            wanted = then.scene.wanted.maintenance.get(name) if name is not None else None
            if maintenance.begins_at != begins or wanted is None or wanted.ref != maintenance.ref:
                continue
            if _is_new(scene, wanted) and wanted.node not in planned:
                planned.add(wanted.node)
                _prepare(draft, then, wanted, found)
    return found


def _is_new(scene: Scene, wanted: Maintenance) -> bool:
    """Whether the node is to be emptied then, and is not emptied now."""
    now = scene.wanted.maintenance.get(wanted.node)
    return wanted.mode is DrainMode.EVACUATE and (now is None or now.mode is not DrainMode.EVACUATE)


def _then(scene: Scene, at: float) -> Draft:
    """What would be planned at that time if everything else were as it is, and other announced maintenances over or to come."""
    now = scene.seen.at
    kept = [
        r for r in scene.specs if not (isinstance(r, NodeMaintenance) and r.is_announced(now) and r.begins_at != at)
    ]
    then = gather(Specs.of(kept), replace(scene.seen, at=at), scene.memory)
    draft = Draft(then, *stages(then))
    for vmid in then.seen.guests:
        if then.flying(vmid):
            draft.board.fly(vmid)
    joint.plan(draft)
    return draft


def _prepare(draft: Draft, then: Draft, maintenance: Maintenance, found: Ahead) -> None:
    scene, board = draft.scene, then.board
    here = {guest.vmid for guest in scene.residents.get(maintenance.node, ())}
    words: dict[Vmid, Waiting | Blocked] = {**board.waiting, **board.blocked}
    said = {vmid: word for vmid, word in words.items() if vmid in here}
    moves = list(_moves(then, maintenance, here))
    staged = [move for move in moves if isinstance(scene.replicable(move.vmid), Load)]
    kept = _kept(scene, moves)
    for move in sorted(moves, key=lambda move: _made_first(scene, move)):
        if draft.board.knows(move.vmid):
            continue  # what is to be done with it now comes first
        # Also where nobody knows its disks yet, as after a restart: a job that is there already is kept.
        if (move.vmid, move.target) not in kept and (word := draft.staging.step(move, scene.seen.guests[move.vmid])):
            said[move.vmid] = word
    found.words |= said
    found.moves += moves
    drain = _drain_seconds(then, moves)
    copied = [move for move in staged if (move.vmid, move.target) not in kept]
    found.announced.append(
        Announced(
            ref=maintenance.ref,
            node=maintenance.node,
            leaving=len(moves),
            to_copy=len(staged),
            copied=sum(_is_copied(scene, move) for move in staged),
            blocked=tuple(word for _, word in sorted(board.blocked.items()) if word.vmid in here),
            seconds=drain,
            seconds_without=drain + sum(_copy_seconds(scene, move) for move in copied),
        )
    )


def _moves(then: Draft, maintenance: Maintenance, here: Iterable[Vmid]) -> Iterator[Move]:
    """The moves of the drain to come, those that `order` puts off included."""
    board, scene, leaving = then.board, then.scene, set(here)
    targets = {intent.guest.vmid: target for intent, target in board.assigned} | then.kept
    for vmid in sorted(targets.keys() & leaving):
        guest = scene.seen.guests[vmid]
        yield Move(
            identity=guest.identity,
            name=guest.name,
            source=guest.node,
            target=targets[vmid],
            why=Why.NODE_MAINTENANCE,
            cause=maintenance.ref,
            message=f"{guest.node} will be in maintenance",
            lane=Lane.DRAIN,
            memory_bytes=scene.needs.get(vmid) or 0,
            options=options(scene, guest),
        )


def _made_first(scene: Scene, move: Move) -> tuple[bool, int, Vmid]:
    """Copies that are begun are finished before others are begun; then the largest guests, whose copies take longest."""
    begun = any(job.target == move.target for job in scene.jobs.get(move.vmid, ()))
    load = scene.replicable(move.vmid)
    return not begun, -(load.bytes if isinstance(load, Load) else 0), move.vmid


def _kept(scene: Scene, moves: Sequence[Move]) -> frozenset[tuple[Vmid, NodeName]]:
    """Guests that have a replica on their target anyway: the job that keeps it is not ours to hurry long before the move."""
    pairs = {(move.vmid, move.target) for move in moves}
    jobs = (job for of in scene.jobs.values() for job in of if not job.removing and not is_for_move(job.comment))
    return frozenset(pairs & {(job.vmid, job.target) for job in jobs})


def _is_copied(scene: Scene, move: Move) -> bool:
    jobs = (job for job in scene.jobs.get(move.vmid, ()) if job.target == move.target and not job.removing)
    states = (scene.seen.states.get(job.id) for job in jobs)
    return any(s is not None and s.node == move.source and bool(s.last_sync) and not s.fail_count for s in states)


def _drain_seconds(then: Draft, moves: Sequence[Move]) -> float:
    """How long the drain takes once everybody has a copy; one after the other where nobody knows what the links carry."""
    scene, traffic = then.scene, Traffic(then.scene)
    if traffic.believed is None:
        return sum(scene.estimate(scene.seen.guests[move.vmid]).seconds for move in moves)
    jobs = []
    for move in moves:
        job = traffic.of_move(move)
        copied = scene.cargo(move.vmid).bytes_to(move.target) if isinstance(scene.replicable(move.vmid), Load) else 0
        jobs.append(replace(job, size=max(0.0, job.size - copied)))
    return forecast(traffic.believed, Slots(scene, traffic).limits, (), jobs).makespan if jobs else 0.0


def _copy_seconds(scene: Scene, move: Move) -> float:
    """How long the first sync takes at most: PVE runs the jobs of a node one after the other."""
    load = scene.replicable(move.vmid)
    rate = rate_of(
        move.source,
        move.target,
        limit_mib_s=move.options.bandwidth_limit_mib_s,
        cluster=scene.cluster,
        specs=scene.specs,
        memory=scene.memory,
    )
    return load.bytes / rate.bytes_s if isinstance(load, Load) else 0.0
