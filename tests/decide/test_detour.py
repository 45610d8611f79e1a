"""Guests that wait for each other's place: another order, a step aside, or a word about why not."""

from collections import Counter, deque
from itertools import combinations
from typing import Any

from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st

from controller.decide import decide
from controller.model.ids import GuestKind, Vmid
from controller.model.plan import Lane, Plan
from controller.model.reasons import Why
from controller.specs import PlacementPolicy
from tests.decide.build import apart, cluster, flight, guest, memory, node, only_on, origin, seen, specs
from tests.decide.worlds import World, forgotten, landed

WIDE = {"maxMigrations": 9, "maxOutboundPerNode": 9, "maxInboundPerNode": 9}
SWAP = (only_on("a", ["pve2"], 101), only_on("b", ["pve1"], 102))


def plan_of(world: World) -> Plan:
    plan = decide(world.specs, world.seen, world.memory)
    assert plan.unsafe == ()
    return plan


def swap(*more: Any, third: int = 4, rules: Any = SWAP, **about: Any) -> World:
    """Two full nodes whose biggest guests belong on the other one; a small bystander on pve2 could go to pve3."""
    guests = [guest(101, "pve1", 6), guest(102, "pve2", 6), guest(103, "pve2", 2, **about), *more]
    nodes = [node("pve1", 7), node("pve2", 12), node("pve3", third)]
    return World(specs(cluster(limits=WIDE), *rules), seen(nodes, guests), memory())


def test_a_bystander_steps_aside_so_that_two_can_change_places() -> None:
    world = swap()
    plan = plan_of(world)
    [move] = plan.moves
    assert (move.vmid, move.target, move.why, move.lane) == (103, "pve3", Why.STEPS_ASIDE, Lane.REPAIR)
    assert move.message == "VM 103 g103 steps aside to pve3, so that VM 101 g101 can go to pve2"
    assert not move.returns
    assert {word.vmid: word.why for word in plan.waiting} == dict.fromkeys((101, 102), Why.WAITING_FOR_ROOM)


def test_it_is_over_after_three_moves_and_then_all_is_still() -> None:
    assert route(swap())[0] == [103, 101, 102]


def test_containers_and_guests_that_nobody_manages_step_aside_for_nobody() -> None:
    for about in ({"kind": GuestKind.LXC}, {"tags": ("unmanaged",)}, {"lock": "backup"}):
        plan = plan_of(swap(**about))
        assert plan.moves == ()
        assert {word.vmid for word in plan.blocked} == {101, 102}


def test_nobody_steps_aside_while_waiting_is_enough() -> None:
    """103 leaves pve2 anyway: the room that 101 needs comes by itself."""
    plan = plan_of(swap(rules=(*SWAP, only_on("c", ["pve3"], 103))))
    assert [(move.vmid, move.why) for move in plan.moves] == [(103, Why.NODE_AFFINITY)]
    world = swap()
    on_its_way = flight(world.seen.guests[Vmid(103)], "pve3")
    plan = plan_of(World(world.specs, world.seen, memory([on_its_way])))
    assert plan.moves == ()
    assert {word.vmid: word.why for word in plan.waiting} == dict.fromkeys((101, 102), Why.WAITING_FOR_ROOM)


def test_two_that_go_home_use_a_third_node_themselves_and_keep_their_homes() -> None:
    first, second = guest(101, "pve2", 6), guest(102, "pve1", 6)
    look = seen([node("pve1", 8), node("pve2", 8), node("pve3", 8)], [first, second])
    homes = {101: origin(first, "pve1"), 102: origin(second, "pve2")}
    world = World(specs(cluster(limits=WIDE)), look, memory(origins=homes))
    [move] = plan_of(world).moves
    assert (move.vmid, move.target, move.why) == (101, "pve3", Why.STEPS_ASIDE)
    after = landed(world, [move])
    assert after.memory.origins[Vmid(101)].node == "pve1"
    assert route(world)[0] == [101, 102, 101]


def test_a_deadlock_of_keep_apart_is_undone_over_a_third_node() -> None:
    """Both belong where the other one is, and may not meet even for a moment."""
    first, second = guest(101, "pve2", 2), guest(102, "pve1", 2)
    look = seen([node("pve1"), node("pve2"), node("pve3")], [first, second])
    homes = {101: origin(first, "pve1"), 102: origin(second, "pve2")}
    world = World(specs(cluster(limits=WIDE), apart("never", 101, 102)), look, memory(origins=homes))
    assert route(world)[0] == [101, 102, 101]


def route(world: World) -> tuple[list[int], World]:
    """Who moves, one after the other, until nothing does any more; and what is there then."""
    moved: list[int] = []
    for _ in range(30):
        plan = plan_of(world)
        if not plan.moves:
            assert not plan.all_moves
            return moved, world
        moved += [int(move.vmid) for move in plan.moves]
        world = forgotten(landed(world, plan.moves), plan.forget_origins)
    raise AssertionError(f"it never ends: {moved}")


@st.composite
def tight(draw: st.DrawFn) -> World:
    """Three nodes without much air, on which some guests belong elsewhere, and some must not meet."""
    names = ["pve1", "pve2", "pve3"]
    some = st.sampled_from(names)
    guests = [
        guest(101 + i, draw(some), draw(st.sampled_from([1, 2, 2, 3, 4]))) for i in range(draw(st.integers(3, 6)))
    ]
    belongs = {who.vmid: draw(some) for who in guests[: draw(st.integers(2, 4))]}
    nodes = []
    for name in names:
        now = sum((who.memory_bytes or 0) >> 30 for who in guests if who.node == name)
        then = sum((who.memory_bytes or 0) >> 30 for who in guests if belongs.get(who.vmid, who.node) == name)
        nodes.append(node(name, max(now, then, 1) + draw(st.sampled_from([0, 0, 1, 1, 2]))))
    rules: list[Any] = [only_on(f"on{vmid}", [name], int(vmid)) for vmid, name in belongs.items()]
    for number, pair in enumerate(combinations([int(who.vmid) for who in guests], 2)):
        here = {who.vmid: who.node for who in guests}
        ends = here | belongs
        one, other = map(Vmid, pair)
        if draw(st.integers(0, 4)) == 0 and here[one] != here[other] and ends[one] != ends[other]:
            rules.append(apart(f"apart{number}", *pair))
    return World(specs(cluster(limits=WIDE), *rules), seen(nodes, guests), memory())


def reachable(world: World) -> bool:
    """Every state that moves one by one lead to, tried by hand: whether one is among them that keeps all rules."""
    vmids = sorted(world.seen.guests)
    size = {v: (world.seen.guests[v].memory_bytes or 0) for v in vmids}
    only: dict[Vmid, str] = {}
    pairs: list[set[Vmid]] = []
    for policy in world.specs.placements.values():
        only |= _only(policy)
        if policy.spec.keep_apart is not None:
            pairs.append({Vmid(v) for v in policy.spec.guest_selector.vmids})
    rooms = {str(name): each.memory_bytes or 0 for name, each in world.seen.nodes.items()}
    start = tuple(str(world.seen.guests[v].node) for v in vmids)
    seen_states, queue = {start}, deque([start])
    while queue:
        state = queue.popleft()
        at = dict(zip(vmids, state, strict=True))
        if all(at[v] == name for v, name in only.items()):
            return True
        for vmid in vmids:
            for name, room in rooms.items():
                if name == at[vmid] or (vmid in only and name != only[vmid]):
                    continue
                load = sum(size[v] for v in vmids if at[v] == name)
                crowd = any(vmid in pair and any(at[v] == name for v in pair - {vmid}) for pair in pairs)
                if load + size[vmid] > room or crowd:
                    continue
                following = tuple((at | {vmid: name})[v] for v in vmids)
                if following not in seen_states:
                    seen_states.add(following)
                    queue.append(following)
    return False


def _only(policy: PlacementPolicy) -> dict[Vmid, str]:
    rule = policy.spec.node_affinity
    return {Vmid(v): rule.nodes[0] for v in policy.spec.guest_selector.vmids} if rule is not None else {}


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(tight())
def test_whatever_order_there_is_is_found_and_then_all_is_still(world: World) -> None:
    moved, end = route(world)
    target(len(moved))
    only = {v: name for policy in world.specs.placements.values() for v, name in _only(policy).items()}
    if reachable(world):
        assert {v: end.seen.guests[v].node for v in only} == only
    assert max(Counter(moved).values(), default=0) <= 2, moved
