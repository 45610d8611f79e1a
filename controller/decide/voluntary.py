"""Moves that nothing forces: Should-rules that ask for correction, then balance. Called by `decide.pipeline` after all others.

Guests that a maintenance has freed (`afterMaintenance: Rebalance`) are balanced before others, and once. Never beside anything
else that moves, only when the reason has lasted, only as many as the limits of the PveCluster leave.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from controller.decide import homecoming, joint, repair
from controller.decide.draft import Draft
from controller.decide.drift import by_hand
from controller.decide.gate import gate
from controller.decide.placement import Intent, other
from controller.decide.puzzle import puzzle
from controller.decide.reserve import reserve
from controller.decide.scene import Scene
from controller.decide.solve import solve
from controller.decide.solve.balance import balance
from controller.model.desired import Group, NodeRule
from controller.model.ids import GuestKind, NodeName, ObjectRef, Vmid
from controller.model.memory import FlightPhase
from controller.model.observed import Guest
from controller.model.plan import DrainMode, Lane, Waiting
from controller.model.reasons import Why
from controller.specs.pvecluster import Balance, Resource

HOUR, DAY = 3600.0, 86_400.0
_EFFORT = 60_000


def plan(draft: Draft) -> None:
    """Say who would be moved without having to, and whether that may begin now."""
    scene, board = draft.scene, draft.board
    if _occupied(draft):
        return
    wanted = _rules(draft) or _after_maintenance(draft) or _balance(draft)
    if not wanted:
        return
    now, hysteresis = scene.seen.at, scene.cluster.spec.hysteresis
    underway = any(flight.lane is Lane.BALANCE for flight in scene.memory.flights.values())
    since = scene.memory.restless_since if scene.memory.restless_since is not None else now
    board.restless_since = since
    left = _moves_left(scene)
    for number, (intent, target) in enumerate(wanted):
        if now - since < hysteresis.stabilization_seconds and not underway:
            text = f"{intent.because}; it moves when that has lasted {hysteresis.stabilization_seconds} s"
            board.say(Waiting(intent.guest.vmid, Why.STABILIZING, text, intent.cause))
        elif number >= left:
            most = scene.cluster.spec.limits.max_moves_per_hour
            text = f"{intent.because}; it waits because maxMovesPerHour is {most}"
            board.say(Waiting(intent.guest.vmid, Why.TOO_MANY_MOVES, text, intent.cause))
        else:
            draft.later.leave(intent.guest.vmid, intent.guest.node)
            draft.later.arrive(intent.guest.vmid, target)
            board.assign(intent, target)


def _occupied(draft: Draft) -> bool:
    """Whether something else moves or has to: voluntary moves would take its room, and the picture changes anyway."""
    scene = draft.scene
    evacuated = any(m.mode is DrainMode.EVACUATE and not m.suspended for m in scene.wanted.maintenance.values())
    flights = scene.memory.flights.values()
    others = any(flight.lane is not Lane.BALANCE and flight.phase is not FlightPhase.ARRIVED for flight in flights)
    return evacuated or others or bool(scene.foreign or draft.board.assigned or draft.board.waiting)


def _moves_left(scene: Scene) -> int:
    recent = sum(scene.seen.at - at < HOUR for _, at in scene.memory.voluntary)
    flying = sum(flight.lane is Lane.BALANCE for flight in scene.memory.flights.values())
    return max(0, scene.cluster.spec.limits.max_moves_per_hour - recent - flying)


def _may(draft: Draft, vmids: Iterable[Vmid]) -> frozenset[Vmid]:
    """Those of the guests that may be moved without having to: not too lately, not too often; containers would restart.

    What PVE HA balances itself is left to it, even under `coexistence: Ignore`.
    """
    scene = draft.scene
    spec, now = scene.cluster.spec, scene.seen.at
    last = {vmid: max(at for v, at in scene.memory.voluntary if v == vmid) for vmid, _ in scene.memory.voluntary}
    today = Counter(vmid for vmid, at in scene.memory.voluntary if now - at < DAY)
    return frozenset(
        vmid
        for vmid in vmids
        if now - last.get(vmid, 0.0) >= spec.hysteresis.cooldown_seconds
        and today[vmid] < spec.limits.max_moves_per_guest_per_day
        and scene.seen.guests[vmid].kind is not GuestKind.LXC
        and not (scene.seen.ha_balances and scene.seen.guests[vmid].ha_managed)
        and joint.may_move(draft, vmid, _cluster(scene), Lane.BALANCE)
    )


def _cluster(scene: Scene) -> ObjectRef:
    return scene.cluster.ref


# Should-rules


def _rules(draft: Draft) -> list[tuple[Intent, NodeName]]:
    """The fewest moves that keep more of the Shoulds that ask for correction."""
    scene, where = draft.scene, draft.where()
    wrong = [g for g in scene.wanted.groups if not g.must and g.corrects and repair.misplaced(scene, g, where)]
    strays = {
        vmid: rule
        for vmid, rules in scene.wanted.wishes.items()
        for rule in reversed(rules)
        if rule.corrects and where[vmid] not in rule.nodes
    }
    meant = {v for group in wrong for v in group.members} | strays.keys()
    willing = _may(draft, sorted(v for v in meant if by_hand(scene.memory, scene.seen.guests[v]) is None))
    if not willing:
        return []
    asked = puzzle(scene, draft.now, where, (), willing, hint=scene.memory.targets, willing=willing)
    answer = joint.read(asked, solve(asked.problem, effort=_EFFORT))
    if _too_thin(draft, dict(answer.moved)):
        return []
    return [(_wish(scene, vmid, strays, wrong), target) for vmid, target in sorted(answer.moved.items())]


def _wish(scene: Scene, vmid: Vmid, strays: dict[Vmid, NodeRule], wrong: Collection[Group]) -> Intent:
    guest = scene.seen.guests[vmid]
    if vmid in strays:
        rule = strays[vmid]
        because = f"{rule.ref} would rather have it on {', '.join(sorted(rule.nodes))}"
        return other(scene, guest, Lane.BALANCE, why=rule.why, cause=rule.ref, because=because)
    group = next(group for group in wrong if vmid in group.members)
    because = f"{group.ref} would rather have its guests placed otherwise"
    return other(scene, guest, Lane.BALANCE, why=group.why, cause=group.ref, because=because)


# Balance


def _balance(draft: Draft) -> list[tuple[Intent, NodeName]]:
    """The fewest moves that level the nodes, if they level them enough."""
    wanted = draft.scene.cluster.spec.balance
    if wanted is None or not _may_level(draft, wanted):
        return []
    return _levelling(draft, wanted, lambda: _may(draft, sorted(draft.scene.wanted.managed)))


def _after_maintenance(draft: Draft) -> list[tuple[Intent, NodeName]]:
    """The same, once, with only those guests that `afterMaintenance: Rebalance` has freed; who need not move is then forgotten.

    Whoever waits for something, such as a change window, is kept in mind until that is over.
    """
    scene, board = draft.scene, draft.board
    freed = homecoming.levelled(scene)
    wanted = scene.cluster.spec.balance or Balance()
    if not freed or not _may_level(draft, wanted):
        return []
    found = _levelling(draft, wanted, lambda: _may(draft, sorted(freed)))
    if not found:
        board.forget |= {v for v, o in freed.items() if not _waits(scene, scene.seen.guests[v], o.maintenance)}
    return [
        (
            replace(
                intent,
                cause=freed[intent.guest.vmid].maintenance,
                because=f"the maintenance of {freed[intent.guest.vmid].node} is over; {intent.because}",
            ),
            target,
        )
        for intent, target in found
    ]


def _waits(scene: Scene, guest: Guest, cause: ObjectRef) -> bool:
    return isinstance(gate(scene, guest, cause, Lane.BALANCE), Waiting)


def _may_level(draft: Draft, wanted: Balance) -> bool:
    return not (wanted.suspend or draft.scene.cluster.spec.suspend) and _moves_left(draft.scene) > 0


def _levelling(draft: Draft, wanted: Balance, may: Callable[[], frozenset[Vmid]]) -> list[tuple[Intent, NodeName]]:
    """The fewest moves of those guests that may be moved which level the nodes, if they level them enough."""
    scene, where = draft.scene, draft.where()
    resource = 0 if wanted.resource is Resource.MEMORY else 1
    if _spread(scene, where, resource) * 100 <= wanted.tolerance_percent:
        return []
    loose, left = may(), _moves_left(scene)
    asked = puzzle(scene, draft.now, where, (), loose, hint={})
    limits = (scene.limits, scene.threads)[resource]
    wholes = [limits.get(node) for node in asked.nodes]  # guests that stay are no items, but take their part
    found = balance(asked.problem, resource, wanted.tolerance_percent, left, wholes)
    enough = found.before * (1 - scene.cluster.spec.hysteresis.min_improvement_percent / 100)
    moved = {asked.vmids[item]: asked.nodes[target] for item, target in found.moves}
    if found.after > enough or _too_thin(draft, moved):
        return []
    noun = "memory" if resource == 0 else "vCPUs"
    because = f"nodes differ by {found.before:.0f} points in how much of their {noun} is taken, afterwards by {found.after:.0f}"
    cause = _cluster(scene)
    return [
        (other(scene, scene.seen.guests[v], Lane.BALANCE, why=Why.BALANCE, cause=cause, because=because), target)
        for v, target in moved.items()
    ]


def _spread(scene: Scene, where: dict[Vmid, NodeName], resource: int) -> float:
    """Between the fullest open node and the emptiest, as a part of one. Cheap: it is asked at every tick."""
    limits, needs = ((scene.limits, scene.needs), (scene.threads, scene.vcpus))[resource]
    loads = Counter[NodeName]()
    for vmid, node in where.items():
        loads[node] += needs.get(vmid) or 0
    ratios = [loads[node] / limit for node, limit in limits.items() if limit and node not in scene.shut]
    return max(ratios, default=0.0) - min(ratios, default=0.0)


def _too_thin(draft: Draft, moved: dict[Vmid, NodeName]) -> bool:
    """Whether the moves would cost the cluster the room that the failure of nodes needs."""
    where = draft.where()
    after = reserve(draft.scene, {**where, **moved})
    if after is None or after.sufficient:
        return False
    before = reserve(draft.scene, where)
    return before is not None and before.sufficient
