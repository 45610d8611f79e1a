"""Approval: what is asked, what releases it, when it asks again. Stories `approval_*` play it with the daemon."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from controller.decide import approval, decide
from controller.model.approval import ANNOTATION, Approved
from controller.model.ids import ObjectRef, Vmid
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.plan import Plan, PowerVerb
from controller.model.reasons import Why
from controller.specs import PveCluster, Resource, Specs
from tests.decide.build import AT, apart, cluster, guest, maintenance, memory, migration, node, seen, specs
from tests.decide.worlds import World, in_flight, landed, worlds

MANY = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
NODES = [node("pve1", 64), node("pve2", 64), node("pve3", 64)]
FIRMWARE = ObjectRef("NodeMaintenance", "firmware")


def look() -> Observed:
    return seen(NODES, [guest(101, "pve2"), guest(102, "pve2"), guest(103, "pve1")])


def drain(**spec: Any) -> Specs:
    return specs(maintenance("firmware", "pve2", approval="Manual", **spec))


def released(plan: Plan, memory: Memory, *, by: str = "root") -> Memory:
    """What is remembered when somebody has approved all that the plan asks for."""
    asked = {
        one.gate: Approved(one.gate, one.digest, one.steps, one.stamps, by, AT) for one in plan.approvals if one.waits
    }
    return replace(memory, approvals={**memory.approvals, **asked})


def annotated(resource: Resource, digest: str) -> Resource:
    metadata = resource.metadata.model_copy(update={"annotations": {ANNOTATION: digest}})
    return resource.model_copy(update={"metadata": metadata})


def test_nothing_of_a_drain_starts_before_it_is_approved() -> None:
    plan = decide(drain(), look(), memory())
    assert not plan.moves
    assert {word.vmid: word.why for word in plan.waiting} == dict.fromkeys((101, 102), Why.AWAITING_APPROVAL)
    [asked] = plan.approvals
    assert (asked.gate, asked.waits, len(asked.steps)) == (FIRMWARE, True, 2)
    assert plan.drains[0].hold is Why.AWAITING_APPROVAL


def test_what_is_approved_starts_and_shrinks_without_asking_again() -> None:
    before = World(drain(), look(), memory())
    first = decide(before.specs, before.seen, before.memory)
    known = released(first, before.memory)
    plan = decide(before.specs, before.seen, known)
    assert {move.vmid for move in plan.moves} == {101, 102}
    after = landed(World(before.specs, before.seen, known), plan.moves[:1])
    [left] = decide(after.specs, after.seen, after.memory).approvals
    assert not left.waits
    assert len(left.steps) == 1


def test_a_guest_more_asks_again_and_says_which() -> None:
    first = decide(drain(), look(), memory())
    more = replace(look(), guests={**look().guests, Vmid(104): guest(104, "pve2")})
    plan = decide(drain(), more, released(first, memory()))
    [asked] = plan.approvals
    assert asked.waits
    assert not plan.moves
    assert [text.split(" ->")[0] for text in asked.changes] == ["added: 104 g104 pve2"]


def test_another_target_asks_again_and_says_from_where_to_where() -> None:
    first = decide(drain(), look(), memory())
    [asked] = first.approvals
    wrong = replace(asked.steps[0], target="pve9")
    known = Approved(asked.gate, "x", (wrong, *asked.steps[1:]), asked.stamps, "root", AT)
    plan = decide(drain(), look(), replace(memory(), approvals={asked.gate: known}))
    assert plan.approvals[0].changes[0].startswith("redirected: 101")
    assert plan.approvals[0].changes[0].endswith("approved was pve2 -> pve9")


def test_specs_that_say_something_else_ask_again_and_a_comment_does_not() -> None:
    known = released(decide(drain(), look(), memory()), memory())
    [asked] = decide(drain(deadlineSeconds=60), look(), known).approvals
    assert asked.changes == ("NodeMaintenance/firmware says something else than when it was approved",)
    [same] = decide(drain(comment="in the evening"), look(), known).approvals
    assert not same.waits


def test_another_migration_policy_asks_again() -> None:
    known = released(decide(drain(), look(), memory()), memory())
    offline = Specs.of([*drain(), migration("offline", method="Offline")])
    stopped = replace(look(), guests={v: replace(g, power=type(g.power).STOPPED) for v, g in look().guests.items()})
    assert decide(offline, stopped, known).approvals[0].waits


@pytest.mark.parametrize("holder", ["object", "cluster"])
def test_a_digest_in_the_repository_releases_and_without_it_the_rest_waits(holder: str) -> None:
    asked = decide(drain(), look(), memory()).approvals[0]
    kind = PveCluster if holder == "cluster" else type(next(iter(drain().maintenances.values())))
    committed = Specs.of([annotated(r, f"other, {asked.digest}") if isinstance(r, kind) else r for r in drain()])
    plan = decide(committed, look(), memory())
    assert len(plan.moves) == 2
    known = approval.remembered(plan, memory(), committed)
    assert known[FIRMWARE].by_commit
    again = decide(drain(), look(), replace(memory(), approvals=known))
    assert again.approvals[0].changes == ("the approval was taken back",)
    assert approval.remembered(again, replace(memory(), approvals=known), drain()) == {}


def test_a_digest_in_the_repository_releases_once() -> None:
    asked = decide(drain(), look(), memory()).approvals[0]
    committed = Specs.of([annotated(r, asked.digest) if r.ref == FIRMWARE else r for r in drain()])
    world = World(committed, look(), memory())
    plan = decide(*_parts(world))
    world = World(
        committed, world.seen, replace(world.memory, approvals=approval.remembered(plan, memory(), committed))
    )
    done = landed(world, plan.moves)
    over = decide(*_parts(done))
    known = approval.remembered(over, done.memory, committed)
    assert known[FIRMWARE].used
    back = decide(committed, look(), replace(memory(), approvals=known))
    assert back.approvals[0].digest == asked.digest
    assert back.approvals[0].waits


def test_a_shutdown_waits_and_its_start_elsewhere_does_not_ask_again() -> None:
    rule = {"behavior": "ShutdownAndRestartElsewhere", "guestSelector": {"vmids": [101]}}
    plan = decide(drain(rules=[rule]), look(), memory())
    assert not plan.power
    assert {step.verb for step in plan.approvals[0].steps} == {"Shutdown", "Move"}
    plan = decide(drain(rules=[rule]), look(), released(plan, memory()))
    assert [action.verb for action in plan.power] == [PowerVerb.SHUTDOWN]


def test_a_policy_asks_for_its_own_moves_only() -> None:
    wanted = specs(
        apart("web", 101, 102).model_copy(update={"spec": apart("web", 101, 102).spec.model_copy(update=_manual())}),
        maintenance("firmware", "pve1"),
    )
    plan = decide(wanted, look(), memory())
    assert [move.vmid for move in plan.moves] == [103]
    assert [one.gate.kind for one in plan.approvals] == ["PlacementPolicy"]


def test_the_digest_knows_neither_numbers_nor_times() -> None:
    later = replace(look(), at=AT + 500, guests={v: replace(g, cpus=3) for v, g in look().guests.items()})
    assert decide(drain(), look(), memory()).approvals[0].digest == decide(drain(), later, memory()).approvals[0].digest


def _manual() -> dict[str, Any]:
    return {"approval": cluster(approval="Manual").spec.approval}


def _asking(world: World) -> World:
    """The same world, in which the whole cluster has to be approved."""
    spec = next(iter(world.specs.clusters.values()))
    manual = spec.model_copy(update={"spec": spec.spec.model_copy(update=_manual())})
    return World(Specs.of([manual if r.ref == spec.ref else r for r in world.specs]), world.seen, world.memory)


def _parts(world: World) -> tuple[Specs, Observed, Memory]:
    return world.specs, world.seen, world.memory


@MANY
@given(worlds())
def test_nothing_that_is_not_approved_ever_starts(world: World) -> None:
    world = _asking(world)
    plan = decide(*_parts(world))
    assert not plan.unsafe
    assert not plan.moves
    assert not [action for action in plan.power if action.verb is PowerVerb.SHUTDOWN]
    assume(plan.approvals)
    known = released(plan, world.memory)
    allowed = {(step.subject, step.source, step.target) for one in plan.approvals for step in one.steps}
    then = decide(world.specs, world.seen, known)
    assert not then.unsafe
    assert {(str(m.vmid), m.source, m.target) for m in then.moves} <= allowed
    assert not any(one.waits for one in then.approvals)


@settings(MANY, max_examples=25)
@given(worlds(calm=True))
def test_an_approved_plan_asks_twice_only_when_it_is_another(world: World) -> None:
    """One move after the other, under way and then over, until nothing starts any more."""
    world = _asking(world)
    plan = decide(*_parts(world))
    assume(plan.approvals)
    world = World(
        world.specs, world.seen, replace(released(plan, world.memory), targets=approval.targets(world.memory))
    )
    allowed = {(step.subject, step.target) for one in plan.approvals for step in one.steps}
    for _ in range(12):
        plan = decide(world.specs, world.seen, replace(world.memory, targets=approval.targets(world.memory)))
        assert all(bool(one.changes) is one.waits for one in plan.approvals)
        assert {(str(m.vmid), m.target) for m in plan.moves} <= allowed
        if not plan.moves:
            break
        flying = in_flight(world, plan.moves[:1])
        for one in decide(*_parts(flying)).approvals:
            assert bool(one.changes) is one.waits
        world = landed(world, plan.moves[:1])
