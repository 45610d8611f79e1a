"""From specs, a look at the cluster and what is remembered to a plan. `decide` is all that `loop` and `cli` call.

desired, then who leaves nodes in maintenance, who breaks a Must, who goes home; then in which order, then a second opinion.
"""

from dataclasses import replace

from controller.decide import ahead, ha_coordinate, homecoming, joint, replication, restart, voluntary
from controller.decide.draft import Draft
from controller.decide.drains import drains
from controller.decide.order import schedule
from controller.decide.reserve import loads, reserve, spare_bytes
from controller.decide.scene import scene as gather
from controller.decide.solve.problem import Proof
from controller.decide.stage import stages
from controller.decide.unread import unread
from controller.decide.verify import verify
from controller.decide.violations import splits, violations
from controller.model.ids import Vmid
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.plan import Blocked, Plan, Waiting
from controller.specs import Specs


def decide(specs: Specs, seen: Observed, memory: Memory) -> Plan:
    """The whole difference between what `specs` (of one cluster) want and what is `seen`. Pure; equal input, equal plan.

    Raises KeyError when `specs` do not hold the PveCluster that was looked at. `Plan.unsafe` is not empty when the plan
    breaks a promise: then nothing of it may be done.
    """
    scene = gather(specs, seen, memory)
    draft = Draft(scene, *stages(scene))
    board = draft.board
    for vmid in seen.guests:
        if scene.flying(vmid):
            board.fly(vmid)
    for planner in (joint, homecoming, restart, voluntary):
        planner.plan(draft)
    draft.ha = ha_coordinate.plan(scene)
    schedule(draft)
    staging = draft.staging
    coming = ahead.plan(draft)
    words: dict[Vmid, Waiting | Blocked] = {**coming.words, **board.waiting, **board.blocked}
    wanted, replicas = replication.plan(scene, draft.later, staging.needed(words))
    staging.left_over(words, claimed=(action.job_id for action in wanted))
    spoken = board.waiting.keys() | board.blocked.keys() | board.flying | {move.vmid for move in board.moves}
    leaving = (*words, *(move.vmid for move in (*board.moves, *coming.moves)))
    plan = Plan(
        cluster=seen.cluster,
        at=seen.at,
        moves=tuple(board.moves),
        waiting=tuple(word for _, word in sorted(board.waiting.items())),
        blocked=tuple(word for _, word in sorted(board.blocked.items())),
        flying=tuple(sorted(board.flying)),
        fine=frozenset(seen.guests.keys() - spoken),
        drains=drains(scene, board),
        announced=tuple(coming.announced),
        violations=violations(scene),
        splits=splits(scene),
        conflicts=scene.wanted.conflicts,
        matched=scene.wanted.matched,
        jobs=(*staging.apart_from(wanted), *wanted),
        replicas=replicas,
        ha=draft.ha,
        approvals=tuple(board.approvals),
        power=tuple(board.power),
        forget_halted=tuple(sorted(board.forget_halted)),
        forget_origins=tuple(sorted(board.forget)),
        reserve=reserve(scene, draft.where()),
        loads=loads(scene),
        spare_bytes=spare_bytes(scene),
        restless_since=board.restless_since,
        minimal_moves=Proof.MINIMAL_MOVES in board.proof,
        minimal_bytes=Proof.MINIMAL_BYTES in board.proof,
        next_start_seconds=board.next_start,
        unread=unread(scene, leaving, seen.configs),
        generations={resource.ref: resource.metadata.generation for resource in specs},
    )
    return replace(
        plan,
        unsafe=verify(plan, specs, seen, memory)
        + replication.verify(plan.jobs, specs, seen, (*plan.all_moves, *coming.moves), board.blocked.keys()),
    )
