"""Back-off: how long, since when, and what ends it."""

from dataclasses import replace

import pytest

from controller.act.backoff import (
    after_failure,
    holds_back,
    mark,
    news,
    obstacle,
    outdated,
    outdated_refusals,
    retry_of,
    target_failed,
    target_refused,
)
from controller.model.ids import GuestIdentity, GuestKind, NodeName, ObjectRef, Vmid
from controller.model.memory import Backoff, Memory, Refusal
from controller.model.outcome import Outcome, Result
from controller.model.plan import Lane
from controller.model.reasons import Why
from controller.specs import Meta, MigrationPolicy, PveNode, Specs
from controller.specs.common import GuestSelector
from controller.specs.migrationpolicy import MigrationPolicySpec, Retry

WEB = GuestIdentity(Vmid(101), GuestKind.QEMU, "ctime:1")
PVE2 = NodeName("pve2")
LABEL = ObjectRef("NodeMaintenance", "label-pve1")


def failing(times: int, retry: Retry, under: str = "x@1") -> list[float]:
    """The waits after each of so many failures."""
    held: Backoff | None = None
    waits = []
    for _ in range(times):
        held = after_failure(WEB, held, retry, why=Why.MIGRATION_FAILED, message="m", now=1000.0, under=under)
        waits.append(held.until - 1000.0)
    return waits


def test_waits_double_from_20_seconds_to_half_an_hour() -> None:
    assert failing(9, Retry()) == [20, 40, 80, 160, 320, 640, 1280, 1800, 1800]


def test_the_policy_says_how_long() -> None:
    assert failing(4, Retry(backoff_seconds=5, backoff_factor=3.0, max_backoff_seconds=60)) == [5, 15, 45, 60]
    assert failing(3, Retry(backoff_seconds=7, backoff_factor=1.0)) == [7, 7, 7]


def test_very_many_failures_do_not_overflow() -> None:
    held = Backoff(WEB, 100_000, 0.0, Why.MIGRATION_FAILED, "m", "x@1")
    after = after_failure(WEB, held, Retry(), why=Why.MIGRATION_FAILED, message="m", now=0.0, under="x@1")
    assert (after.failures, after.until) == (100_001, 1800.0)


@pytest.mark.parametrize(
    ("before", "failures"),
    [
        (None, 1),
        (Backoff(WEB, 3, 0.0, Why.MIGRATION_FAILED, "m", "x@1"), 4),
        (Backoff(WEB, 3, 0.0, Why.MIGRATION_FAILED, "m", "x@0"), 1),
        (Backoff(replace(WEB, born="ctime:2"), 3, 0.0, Why.MIGRATION_FAILED, "m", "x@1"), 1),
    ],
    ids=["first", "one more", "under other specs", "of another guest"],
)
def test_failures_count_for_one_guest_under_one_spec(before: Backoff | None, failures: int) -> None:
    after = after_failure(WEB, before, Retry(), why=Why.MIGRATION_FAILED, message="m", now=0.0, under="x@1")
    assert after.failures == failures


def policy(generation: int = 1, limit: int = 5) -> MigrationPolicy:
    spec = MigrationPolicySpec(guest_selector=GuestSelector(), retry=Retry(limit=limit))
    return MigrationPolicy(metadata=Meta(name="gentle", generation=generation), spec=spec)


def node(label: str = "true", generation: int = 1) -> PveNode:
    return PveNode(metadata=Meta(name="pve1", generation=generation, labels={"drover.dev/maintenance": label}))


BASE = Specs.of([policy(), node()])


@pytest.mark.parametrize(
    ("now", "free"),
    [
        (BASE, False),
        (Specs.of([policy(generation=2), node()]), True),
        (Specs.of([policy(), node(generation=2)]), True),
        (Specs.of([policy(), node(label="evacuate")]), True),
        (Specs.of([policy()]), True),
        (Specs.of([node()]), True),
        (Specs.of([policy(), node(), PveNode(metadata=Meta(name="pve9"))]), False),
    ],
    ids=["same", "policy changed", "node changed", "label changed", "node gone", "policy gone", "another object came"],
)
def test_a_changed_spec_starts_anew(now: Specs, free: bool) -> None:
    held = Backoff(WEB, 6, 9e9, Why.MIGRATION_FAILED, "m", mark(LABEL, "gentle", BASE))
    assert outdated(Memory(backoffs={WEB.vmid: held}), now) == ((WEB.vmid,) if free else ())
    refused = Refusal(WEB, PVE2, Why.NETWORK_MISSING, "m", 9e9, mark(LABEL, "gentle", BASE))
    of_guest = Memory(refusals={WEB.vmid: {PVE2: refused}})
    assert outdated_refusals(of_guest, now) == (((WEB.vmid, PVE2),) if free else ())


def test_guests_without_a_policy_are_retried_by_default() -> None:
    assert retry_of("", BASE) == retry_of("gone", BASE) == Retry()
    assert retry_of("gentle", Specs.of([policy(limit=1)])).limit == 1


def refusal(why: Why = Why.LOCAL_MEDIA, message: str = "an ISO", result: Result = Result.REFUSED) -> Outcome:
    return Outcome(WEB, "web", NodeName("pve1"), NodeName("pve2"), result, why, LABEL, Lane.DRAIN, message, at=1000.0)


def test_an_obstacle_forgets_no_failure_and_adds_none() -> None:
    failed = Backoff(WEB, 3, 0.0, Why.MIGRATION_FAILED, "m", "x@1")
    for before, failures in ((failed, 3), (None, 0), (replace(failed, under="x@0"), 0)):
        held = obstacle(WEB, before, why=Why.LOCAL_MEDIA, message="an ISO", until=60.0, under="x@1")
        assert (held.failures, held.until, held.why) == (failures, 60.0, Why.LOCAL_MEDIA)


def test_the_same_obstacle_is_told_once() -> None:
    known = Memory(backoffs={WEB.vmid: Backoff(WEB, 0, 0.0, Why.LOCAL_MEDIA, "an ISO", "x@1")})
    assert news([refusal()], known) == ()
    for fresh in (refusal(why=Why.LOCAL_DISK), refusal(message="another ISO"), refusal(result=Result.STARTED)):
        assert news([fresh], known) == (fresh,)
    assert news([refusal()], Memory()) == (refusal(),)


@pytest.mark.parametrize(
    ("until", "result", "holds"),
    [(1060.0, Result.REFUSED, True), (990.0, Result.REFUSED, False), (1060.0, Result.STARTED, False)],
)
def test_a_refusal_with_a_back_off_of_now_holds_back(until: float, result: Result, holds: bool) -> None:
    memory = Memory(backoffs={WEB.vmid: Backoff(WEB, 0, until, Why.LOCAL_MEDIA, "an ISO", "x@1")})
    assert holds_back(refusal(result=result), memory) is holds
    assert not holds_back(refusal(result=result), Memory())


def looking(times: int) -> list[float]:
    """The waits after each of so many looks at a target that is no good."""
    known: Refusal | None = None
    waits = []
    for _ in range(times):
        known = target_refused(WEB, PVE2, known, why=Why.NETWORK_MISSING, message="m", now=1000.0, under="x@1")
        waits.append(known.until - 1000.0)
    return waits


def test_a_target_that_is_no_good_is_looked_at_again_less_and_less_often() -> None:
    assert looking(8) == [60.0, 60.0, 60.0, 60.0, 60.0, 120.0, 240.0, 300.0]


def test_failures_of_a_target_are_counted_under_the_same_specs_and_by_the_same_guest() -> None:
    def failed(before: Refusal | None, under: str = "x@1", why: Why = Why.MIGRATION_FAILED) -> Refusal | None:
        return target_failed(WEB, PVE2, before, why=why, message="m", under=under)

    once = failed(None)
    assert once is not None
    assert (once.failures, once.until) == (1, 0.0), "it stays a candidate"
    twice = failed(once)
    assert twice is not None
    assert twice.failures == 2
    anew = failed(twice, under="x@2")
    assert anew is not None
    assert anew.failures == 1
    assert failed(twice, why=Why.DOWNTIME_EXCEEDED) is twice, "a restless guest is restless everywhere"


def test_a_refusal_by_a_target_makes_the_tick_plan_again_and_is_told_once() -> None:
    known = target_refused(WEB, PVE2, None, why=Why.LOCAL_MEDIA, message="an ISO", now=1000.0, under="x@1")
    memory = Memory(refusals={WEB.vmid: {PVE2: known}})
    assert holds_back(refusal(), memory)
    assert news([refusal()], memory) == ()
    other = Memory(refusals={WEB.vmid: {NodeName("pve3"): replace(known, target=NodeName("pve3"))}})
    assert not holds_back(refusal(), other)
    assert news([refusal()], other) == (refusal(),)
