"""Promises that every plan keeps, on random clusters that are tight.

Making a cluster costs more than planning it, so all promises are asked of the same ones.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import product

from hypothesis import HealthCheck, given, settings, target

from controller.decide import decide
from controller.decide.desired import desired
from controller.decide.placement import open_nodes
from controller.decide.scene import scene
from controller.decide.stage import stages
from controller.decide.verify import verify
from controller.model.desired import Apart, Group, Spread, Together
from controller.model.ids import NodeName, Vmid
from controller.model.observed import HaNodeState, NodeState
from controller.model.plan import DrainMode, Lane, Move, Plan
from controller.model.reasons import Why
from tests.decide.worlds import World, families, forgotten, in_flight, landed, reshuffles, worlds

MANY = settings(max_examples=160, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def plan_of(world: World) -> Plan:
    return decide(world.specs, world.seen, world.memory)


def every_guest_is_accounted_for_exactly_once(world: World, plan: Plan) -> None:
    groups = (
        [m.vmid for m in plan.moves],
        [w.vmid for w in plan.waiting],
        [b.vmid for b in plan.blocked],
        plan.flying,
        plan.fine,
    )
    assert Counter(vmid for group in groups for vmid in group) == Counter(list(world.seen.guests))


def the_second_opinion_agrees(world: World, plan: Plan) -> None:
    assert verify(plan, world.specs, world.seen, world.memory) == plan.unsafe == ()


def equal_input_gives_an_equal_plan(world: World, plan: Plan) -> None:
    shuffled = {vmid: world.seen.guests[vmid] for vmid in reversed(list(world.seen.guests))}
    again = World(world.specs, replace(world.seen, guests=shuffled), world.memory)
    assert plan == plan_of(again)


def nothing_moves_without_a_reason(world: World, plan: Plan) -> None:
    wronged = {vmid for violation in plan.violations for vmid in violation.vmids}
    draining = {drain.node for drain in plan.drains}
    for move in plan.all_moves:
        own = move.source in draining or move.vmid in wronged or move.vmid in world.memory.origins
        assert own or move.why in (Why.MAKES_ROOM, Why.STEPS_ASIDE) or _goes_along(world, plan, move), move
    needed = [move for move in plan.all_moves if move.why not in (Why.MAKES_ROOM, Why.STEPS_ASIDE)]
    if (
        any(move.why is Why.MAKES_ROOM for move in plan.all_moves)
        and len(needed) <= 5
        and not _overridden(world, needed)
    ):
        assert not _fits_alone(world, needed), "nobody need have made room"


def _goes_along(world: World, plan: Plan, move: Move) -> bool:
    """Whether a Must keeps the guest together with another one that moves, or is on its way, to the same domain."""
    ends = {vmid: flown.target for vmid, flown in world.memory.flights.items()}
    ends |= {other.vmid: other.target for other in plan.all_moves if other.vmid != move.vmid}
    return move.why is Why.KEEP_TOGETHER and any(
        group.must and group.domains.get(node) == group.domains.get(move.target)
        for group in desired(world.specs, world.seen).groups
        if isinstance(group, Together) and move.vmid in group.members
        for vmid, node in ends.items()
        if vmid in group.members
    )


def _fits_alone(world: World, needed: list[Move]) -> bool:
    """Every way to place just these, tried one after the other with everybody else where they are going to be."""
    about = scene(world.specs, world.seen, world.memory)
    _, later = stages(about)
    for move in needed:
        later.leave(move.vmid, move.source)
    open_to = {move.vmid: open_nodes(about, world.seen.guests[move.vmid])[0] for move in needed}

    def place(rest: list[Move]) -> bool:
        for node in open_to[rest[0].vmid] if rest else ():
            if later.admits(rest[0].vmid, node):
                later.arrive(rest[0].vmid, node)
                found = place(rest[1:])
                later.leave(rest[0].vmid, node)
                if found:
                    return True
        return not rest

    return place(needed)


def nothing_goes_to_a_node_that_is_shut(world: World, plan: Plan) -> None:
    shut = {drain.node for drain in plan.drains}
    shut |= {n for n, node in world.seen.nodes.items() if node.state is not NodeState.ONLINE}
    shut |= {n for n, node in world.seen.nodes.items() if node.ha not in (HaNodeState.NONE, HaNodeState.ONLINE)}
    shut |= {node.node_name for node in world.specs.nodes.values() if node.spec.unschedulable}
    assert not shut.intersection(move.target for move in plan.all_moves)


def memory_is_never_overcommitted_by_us_at_any_instant(world: World, plan: Plan) -> None:
    """Sums of our own, apart from the ledger: flights and moves count on both sides, moves of others everywhere."""
    for move in plan.moves:
        if move.memory_bytes:
            held = _held(world, plan, move.target)
            assert None not in held.values()
            assert sum(size or 0 for size in held.values()) <= (world.seen.nodes[move.target].memory_bytes or 0)


def what_starts_now_stays_right_when_it_is_only_under_way(world: World, plan: Plan) -> None:
    """The next tick sees flights where this one planned moves: their claims may only hold others back, never overcommit."""
    flying = in_flight(world, plan.moves)
    again = plan_of(flying)
    assert again.unsafe == ()
    assert {move.vmid for move in plan.moves} <= set(again.flying)
    now, _ = stages(scene(flying.specs, flying.seen, flying.memory))
    for move in plan.moves:
        free = now.room.free(move.target)
        assert move.memory_bytes == 0 or (free is not None and free >= 0)


def limits_hold_with_flights_counted(world: World, plan: Plan) -> None:
    limits = next(iter(world.specs.clusters.values())).spec.limits
    out = Counter(f.source for f in world.memory.flights.values())
    started = Counter(m.source for m in plan.moves)
    for source, count in started.items():
        assert out[source] + count <= (limits.max_outbound_per_node or 2)
    online = sum(node.state is NodeState.ONLINE for node in world.seen.nodes.values())
    if plan.moves:
        assert len(world.memory.flights) + len(plan.moves) <= (limits.max_migrations or max(2, online))


def higher_lanes_come_first(world: World, plan: Plan) -> None:
    lanes = [move.lane for move in plan.moves]
    assert lanes == sorted(lanes, reverse=True)
    assert Lane.BALANCE not in lanes


def musts_about_groups_hold_whichever_moves_fail(world: World, plan: Plan) -> None:
    """Sums of our own over every way in which the moves may end: under way, arrived, or back at the source."""
    moves = plan.moves[:6]
    losers = {conflict.loser for conflict in plan.conflicts}
    ends = {vmid: who.node for vmid, who in world.seen.guests.items()}
    ends |= {vmid: flown.target for vmid, flown in world.memory.flights.items()}
    going = ends | {move.vmid: move.target for move in plan.all_moves}
    for group in desired(world.specs, world.seen).groups:
        concerned = [move for move in moves if move.vmid in group.members]
        if not group.must or group.ref in losers or not concerned or _overridden(world, concerned):
            continue
        sure = {v: node for v, node in ends.items() if v in group.members and v not in _unsure(world, plan)}
        before = _counts(group, sure.values())
        whole = {group.domains.get(going[vmid]) for vmid in group.members}
        for landed_ones in product((False, True), repeat=len(concerned)):
            after = sure | {m.vmid: m.target for m, there in zip(concerned, landed_ones, strict=True) if there}
            counts = _counts(group, after.values())
            if isinstance(group, Apart):
                assert max(counts.values(), default=0) <= max(group.most, *before.values(), 0), group
            elif isinstance(group, Together):
                assert len(counts) <= max(1, len(before)) or len(whole) == 1, group
            elif len(moves) <= 6 and not _unsure(world, plan):
                assert _skew(world, group, counts) <= max(group.skew, _skew(world, group, before)), group


def _counts(group: Group, nodes: Iterable[NodeName]) -> Counter[str]:
    return Counter(group.domains[node] for node in nodes if node in group.domains)


def _skew(world: World, group: Spread, counts: Counter[str]) -> int:
    """Flights may fail as well, so this is more than what the second opinion asks only when there are none."""
    shut = scene(world.specs, world.seen, world.memory).shut
    accepting = {group.domains[n] for n in world.seen.nodes if n not in shut and n in group.domains}
    return max(counts.values(), default=0) - min((counts[each] for each in accepting & group.reachable), default=0)


def _unsure(world: World, plan: Plan) -> set[Vmid]:
    return set(plan.flying) - world.memory.flights.keys()


def _overridden(world: World, moves: list[Move]) -> bool:
    return any(move.lane is Lane.DRAIN and "overriding" in move.message for move in moves)


PROMISES = (
    musts_about_groups_hold_whichever_moves_fail,
    every_guest_is_accounted_for_exactly_once,
    the_second_opinion_agrees,
    equal_input_gives_an_equal_plan,
    nothing_moves_without_a_reason,
    nothing_goes_to_a_node_that_is_shut,
    memory_is_never_overcommitted_by_us_at_any_instant,
    what_starts_now_stays_right_when_it_is_only_under_way,
    limits_hold_with_flights_counted,
    higher_lanes_come_first,
)


@MANY
@given(worlds())
def test_every_plan_keeps_every_promise(world: World) -> None:
    plan = plan_of(world)
    target(len(plan.moves))
    for promise in PROMISES:
        promise(world, plan)


@MANY
@given(families())
def test_groups_stay_whole_and_even_while_a_node_is_drained(world: World) -> None:
    plan = plan_of(world)
    target(len(plan.moves))
    for promise in PROMISES:
        promise(world, plan)


@MANY
@given(reshuffles())
def test_guests_that_change_places_never_share_room(world: World) -> None:
    plan = plan_of(world)
    for promise in PROMISES:
        promise(world, plan)


@MANY
@given(worlds(calm=True))
def test_plans_come_to_an_end_and_then_every_guest_is_home_or_named(world: World) -> None:
    moved: Counter[Vmid] = Counter()
    plan = plan_of(world)
    for _ in range(60):
        assert plan.unsafe == ()
        if not plan.moves:
            break
        moved.update(move.vmid for move in plan.moves)
        world = forgotten(landed(world, plan.moves), plan.forget_origins)
        plan = plan_of(world)
    assert not plan.all_moves, f"it never ends, or waits for what never comes: {moved}"
    # Away for a drain, home again: no more than that.
    assert all(count <= 2 for count in moved.values()), moved
    named = {b.vmid for b in plan.blocked} | {w.vmid for w in plan.waiting}
    for drain in plan.drains:
        assert set(drain.remaining) <= named
        assert drain.mode is DrainMode.CORDON or drain.empty == (not drain.remaining)


def _held(world: World, plan: Plan, on: NodeName) -> dict[Vmid, int | None]:
    places: dict[Vmid, set[NodeName]] = defaultdict(set)
    for vmid, guest in world.seen.guests.items():
        places[vmid].add(guest.node)
        if vmid in plan.flying and vmid not in world.memory.flights:
            places[vmid].update(world.seen.nodes)
    for vmid, flight in world.memory.flights.items():
        places[vmid] |= {flight.source, flight.target}
    for move in plan.moves:
        places[move.vmid].add(move.target)
    return {vmid: _size(world, vmid) for vmid, nodes in places.items() if on in nodes}


def _size(world: World, vmid: Vmid) -> int | None:
    guest = world.seen.guests[vmid]
    own = guest.memory_bytes if guest.power.holds_memory else 0
    return max(own or 0, world.memory.flights[vmid].memory_bytes) if vmid in world.memory.flights else own
