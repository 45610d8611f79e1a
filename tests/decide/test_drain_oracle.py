"""Small drains against brute force: when everybody could leave, everybody does."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide import decide
from controller.model.ids import NodeName
from controller.model.observed import Guest, Observed
from tests.decide.build import apart, guest, in_maintenance, memory, node, only_on, seen, specs
from tests.decide.worlds import World, landed

NODES = ("pve1", "pve2", "pve3", "pve4")


@st.composite
def drains(draw: st.DrawFn) -> tuple[World, bool]:
    """Up to six guests on pve1, which is drained; two or three other nodes that are nearly full; whether it can be done."""
    names = NODES[: draw(st.integers(3, 4))]
    leaving = [guest(101 + i, "pve1", draw(st.integers(1, 5))) for i in range(draw(st.integers(2, 6)))]
    others = [guest(201 + i, name, draw(st.integers(1, 4))) for i, name in enumerate(names[1:])]
    total = sum((who.memory_bytes or 0) >> 30 for who in leaving)
    free = [draw(st.integers(0, total)) for _ in names[2:]]
    free.append(max(0, total + draw(st.integers(-1, 2)) - sum(free)))  # about what is needed, so that order matters
    sizes = [((who.memory_bytes or 0) >> 30) + room for who, room in zip(others, free, strict=True)]
    look = seen([node("pve1"), *(node(n, s) for n, s in zip(names[1:], sizes, strict=True))], [*leaving, *others])
    vmids = st.sampled_from([int(who.vmid) for who in (*leaving, *others)])
    group = draw(st.lists(vmids, min_size=2, max_size=3, unique=True))
    fenced = draw(st.lists(vmids, max_size=2, unique=True))
    allowed = draw(st.lists(st.sampled_from(names), min_size=2, unique=True))
    rules = [apart("apart", *group, maxPerDomain=draw(st.integers(1, 2)))]
    rules += [only_on("only", allowed, *fenced, correctExisting=False)] if fenced else []
    world = World(specs(in_maintenance("pve1"), *rules), look, memory())
    most = rules[0].spec.keep_apart
    assert most is not None
    return world, feasible(world.seen, group, most.max_per_domain, {v: set(allowed) for v in fenced})


def feasible(look: Observed, group: list[int], most: int, fences: dict[int, set[str]]) -> bool:
    """Whether any assignment of the guests on pve1 keeps memory and Musts; every one is tried."""
    leaving = look.guests_on(NodeName("pve1"))
    targets = [name for name in look.nodes if name != "pve1"]
    staying = [g for g in look.guests.values() if g.node != "pve1"]
    for choice in product(targets, repeat=len(leaving)):
        if any(who.vmid in fences and name not in fences[who.vmid] for who, name in zip(leaving, choice, strict=True)):
            continue
        where = [(g, g.node) for g in staying] + list(zip(leaving, choice, strict=True))
        if all(_fits(look, name, where, group, most) for name in targets):
            return True
    return False


def _fits(look: Observed, name: NodeName, where: list[tuple[Guest, NodeName]], group: list[int], most: int) -> bool:
    there = [who for who, on in where if on == name]
    memory_fits = sum(who.memory_bytes or 0 for who in there) <= (look.nodes[name].memory_bytes or 0)
    return memory_fits and sum(g.vmid in group for g in there) <= most


@settings(max_examples=200, deadline=None, derandomize=True)
@given(drains())
def test_a_drain_that_can_be_done_is_done(drain: tuple[World, bool]) -> None:
    world, possible = drain
    plan = decide(world.specs, world.seen, world.memory)
    for _ in world.seen.guests:  # every round of a drain leaves at least one guest fewer
        world = landed(world, plan.moves)
        plan = decide(world.specs, world.seen, world.memory)
    assert plan.unsafe == ()
    [state] = plan.drains
    if possible:
        assert state.empty, plan.blocked
