"""Moves under way end by observation, survive crashes and lost answers, and never make Drover do harm."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.act.inflight import origin_after
from controller.model.ids import NodeName
from controller.model.memory import Backoff, FlightPhase, Memory, Origin
from controller.model.outcome import Progress, Result
from controller.model.plan import Lane
from controller.model.reasons import Why
from controller.pve.transport import HttpFailure
from controller.rehearse.virtual_time import EPOCH
from controller.specs import Meta, MigrationPolicy, Specs
from controller.specs.common import GuestSelector
from controller.specs.migrationpolicy import MigrationPolicySpec, Retry
from tests.act.desk import FLIGHT, NO_TASK, ORIGIN, OURS, PVE1, PVE2, PVE3, TIMEOUT, WEB, Desk, not_here, upid

LOG = (
    "2026-05-01 00:00:00 starting migration of VM 101 to node 'pve2' (10.0.0.2)",
    "2026-05-01 00:00:01 starting online/live migration on unix:/run/qemu-server/101.migrate",
    "2026-05-01 00:00:02 migration active, transferred 1.0 GiB of 4.0 GiB VM-state, 500.0 MiB/s",
)
LOG_END = (
    *LOG,
    "2026-05-01 00:00:09 average migration speed: 512.0 MiB/s - downtime 57 ms",
    "2026-05-01 00:00:09 migration completed, transferred 4.1 GiB VM-state",
    "2026-05-01 00:00:10 migration finished successfully (duration 00:00:10)",
    "TASK OK",
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


# The ordinary course


def test_while_its_task_runs_a_flight_costs_one_request_and_nothing_is_written(desk: Desk) -> None:
    desk.fly()
    desk.task("running")
    desk.guest(PVE1, lock="migrate")
    before = desk.store._database.total_changes
    assert desk.settle() == ()
    assert desk.store._database.total_changes == before
    assert desk.pve.paths == [f"/nodes/pve1/tasks/{OURS}/status"]


def test_a_guest_well_on_its_target_ends_the_flight_with_all_that_its_log_says(desk: Desk) -> None:
    desk.fly()
    desk.later(12)
    desk.task("OK", log=LOG_END)
    desk.guest(PVE2)
    (outcome,) = desk.settle()
    assert (outcome.result, outcome.why, outcome.warning) == (Result.SUCCEEDED, Why.NODE_MAINTENANCE, "")
    assert outcome.seconds == 12.0
    assert outcome.upid == OURS
    assert outcome.progress is not None
    assert outcome.progress.downtime_ms == 57
    assert outcome.progress.transferred_bytes > 4 << 30
    memory = desk.store.memory()
    assert replace(memory, rates={}, links={}) == Memory(origins={WEB.vmid: replace(ORIGIN, expected=PVE2)})
    assert (list(memory.rates), sorted(memory.links)) == ([WEB.vmid], [PVE1, PVE2]), "and what it taught"
    assert desk.store.attempts(1) == (outcome,)


def test_the_cluster_s_older_rows_do_not_hide_that_it_has_arrived(desk: Desk) -> None:
    desk.fly()
    desk.task("OK")
    desk.guest(PVE2)
    assert desk.row is not None
    desk.row = replace(desk.row, node=PVE1, lock="migrate")
    assert [outcome.result for outcome in desk.settle()] == [Result.SUCCEEDED]


def test_a_success_ends_the_back_off(desk: Desk) -> None:
    desk.fly()
    desk.task("migration aborted")
    desk.guest(PVE1)
    desk.settle()
    assert desk.store.memory().backoffs[WEB.vmid].failures == 1
    desk.fly()
    desk.task("OK")
    desk.guest(PVE2)
    desk.settle()
    assert desk.store.memory().backoffs == {}


def test_failures_back_off_longer_each_time_and_over_restarts(desk: Desk) -> None:
    gentle = MigrationPolicySpec(guest_selector=GuestSelector(), retry=Retry(backoff_seconds=30))
    desk.specs = Specs.of([MigrationPolicy(metadata=Meta(name="gentle"), spec=gentle)])
    waits = []
    for _ in range(3):
        desk.fly(flight=replace(FLIGHT, options=replace(FLIGHT.options, policy="gentle")))
        desk.task("migration problems", log=(*LOG, "2026-05-01 00:00:03 ERROR: online migrate failure - broken pipe"))
        desk.guest(PVE1)
        (outcome,) = desk.settle()
        assert outcome.why is Why.MIGRATION_FAILED
        assert "broken pipe" in outcome.message
        waits.append(desk.store.memory().backoffs[WEB.vmid].until - desk.clock.wall())
        desk.restart()
    assert waits == [30, 60, 120]


# Where it came from


@pytest.mark.parametrize(
    ("result", "where", "origin", "after"),
    [
        (Result.SUCCEEDED, PVE2, ORIGIN, replace(ORIGIN, expected=PVE2)),
        (Result.SUCCEEDED, PVE2, replace(ORIGIN, node=PVE2, expected=PVE1), None),
        (Result.SUCCEEDED, PVE2, None, None),
        (Result.FAILED, PVE1, ORIGIN, None),
        (Result.FAILED, PVE1, replace(ORIGIN, node=PVE3, expected=PVE1), replace(ORIGIN, node=PVE3, expected=PVE1)),
        (Result.REFUSED, PVE1, ORIGIN, None),
        (Result.STUCK, PVE2, ORIGIN, replace(ORIGIN, expected=PVE2)),
        (Result.FAILED, PVE3, ORIGIN, ORIGIN),
        (Result.GONE, None, ORIGIN, None),
        (Result.SUCCEEDED, PVE2, replace(ORIGIN, identity=replace(WEB, born="ctime:1")), None),
    ],
    ids=[
        "evacuated", "home again", "was not evacuated", "never left", "left earlier", "never asked", "stuck on the target",
        "somebody moved it: expected elsewhere", "gone", "of another guest",
    ],
)  # fmt: skip
def test_what_is_remembered_of_the_home(
    result: Result, where: NodeName | None, origin: Origin | None, after: Origin | None
) -> None:
    assert origin_after(FLIGHT, result, where, origin) == after


@pytest.mark.parametrize(
    ("lane", "home", "after"),
    [
        (Lane.DRAIN, PVE3, replace(ORIGIN, node=PVE3, expected=PVE2, rebalances=True)),
        (Lane.DRAIN, PVE2, replace(ORIGIN, node=PVE2, expected=PVE2, rebalances=True)),
        (Lane.BALANCE, PVE3, None),
        (Lane.RETURN, PVE2, None),
    ],
    ids=["drained", "drained to its home", "balanced", "returned because that was changed"],
)
def test_one_that_balance_may_move_is_remembered_until_balance_has_moved_it(
    lane: Lane, home: NodeName, after: Origin | None
) -> None:
    away = replace(ORIGIN, node=home, rebalances=True)
    assert origin_after(replace(FLIGHT, lane=lane), Result.SUCCEEDED, PVE2, away) == after


# Lost answers and crashes


def test_after_a_lost_answer_the_new_task_is_adopted_and_the_old_one_is_not(desk: Desk) -> None:
    desk.fly(task=None)
    desk.tasks(OURS)
    desk.task("running")
    desk.restart()
    assert desk.settle() == ()
    assert (desk.flight.upid, desk.flight.phase) == (OURS, FlightPhase.RUNNING)
    desk.task("OK")
    desk.guest(PVE2)
    assert [outcome.result for outcome in desk.settle()] == [Result.SUCCEEDED]


def test_a_move_that_went_through_before_anybody_looked_is_adopted_with_its_result(desk: Desk) -> None:
    desk.fly(task=None)
    desk.tasks(OURS)
    desk.task("OK", log=LOG_END)
    desk.guest(PVE2)
    (outcome,) = desk.settle()
    assert (outcome.result, outcome.upid) == (Result.SUCCEEDED, OURS)


def test_a_request_without_a_task_is_given_up_only_after_a_grace_that_outlives_restarts(desk: Desk) -> None:
    desk.fly(task=None)
    desk.tasks()
    desk.guest(PVE1)
    assert desk.settle() == ()
    desk.later(20)
    desk.restart()
    assert desk.settle() == ()
    desk.later(10)
    (outcome,) = desk.settle()
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.NOT_SUBMITTED)
    assert desk.store.memory() == Memory(), "no failure of the guest, and it never left home"


def test_a_request_that_never_arrived_neither_counts_nor_forgets_earlier_failures(desk: Desk) -> None:
    earlier = Backoff(WEB, 2, EPOCH, Why.MIGRATION_FAILED, "m", "x@1")
    desk.store.back_off(earlier)
    desk.fly(task=None)
    desk.tasks()
    desk.guest(PVE1)
    (outcome,), _ = desk.settle_for(60)
    assert outcome.why is Why.NOT_SUBMITTED
    assert desk.store.memory().backoffs == {WEB.vmid: earlier}


def test_a_task_that_starts_late_within_the_grace_is_adopted(desk: Desk) -> None:
    desk.fly(task=None)
    desk.tasks()
    desk.guest(PVE1)
    desk.settle()
    desk.later(25)
    desk.tasks(OURS)
    desk.task("running")
    desk.later(10)
    assert desk.settle() == ()
    assert (desk.flight.upid, desk.flight.waiting) == (OURS, "")


def test_a_source_that_can_not_be_asked_for_tasks_is_no_proof_that_there_is_none(desk: Desk) -> None:
    desk.fly(task=None)
    desk.answers({"GET /nodes/pve1/tasks": TIMEOUT})
    desk.guest(PVE1)
    assert desk.settle_for(3600)[0] == ()
    assert desk.flight.phase is FlightPhase.SUBMITTING


# What people have to look at


def test_a_lock_left_behind_is_told_after_ten_minutes_and_never_removed(desk: Desk) -> None:
    desk.fly()
    desk.answers({f"GET /nodes/pve1/tasks/{OURS}/status": NO_TASK})
    desk.guest(PVE1, lock="migrate")
    (outcome,), after = desk.settle_for(3600)
    assert (outcome.result, outcome.why, after) == (Result.STUCK, Why.LOCK_LEFT_BEHIND, 600.0)
    assert {method for method, _, _ in desk.pve.asked} == {"GET"}


def test_a_guest_that_does_not_run_afterwards_gets_time_to_and_is_then_told(desk: Desk) -> None:
    desk.fly()
    desk.task("OK")
    desk.guest(PVE2, power="paused")
    (outcome,), after = desk.settle_for(3600)
    assert (outcome.result, outcome.why, after) == (Result.STUCK, Why.NOT_RUNNING_AFTERWARDS, 30.0)
    assert desk.store.memory().origins[WEB.vmid].expected == PVE2, "it is there all the same"


def test_a_wait_starts_anew_when_something_else_is_waited_for(desk: Desk) -> None:
    desk.fly()
    desk.task("OK")
    desk.guest(PVE2, power="paused")
    desk.settle()
    desk.later(29)
    desk.guest(PVE2, lock="migrate")
    desk.settle()
    desk.later(100)
    desk.guest(PVE2, power="paused")
    assert desk.settle_for(3600)[1] == 30.0


def test_a_node_that_dies_with_the_guest_is_told_after_a_minute_and_not_asked_meanwhile(desk: Desk) -> None:
    desk.fly()
    desk.guest(PVE1, lock="migrate")
    desk.offline = {PVE1}
    (outcome,), after = desk.settle_for(3600)
    assert (outcome.result, outcome.why, after) == (Result.STUCK, Why.NODE_OFFLINE, 60.0)
    assert desk.pve.asked == [], "a call to a dead node hangs for half a minute"
    assert desk.store.memory().backoffs == {}


def test_a_node_that_comes_back_in_time_costs_nothing(desk: Desk) -> None:
    desk.fly()
    desk.task("running")
    desk.guest(PVE1, lock="migrate")
    desk.offline = {PVE1}
    assert desk.settle_for(50)[0] == ()
    assert desk.flight.phase is FlightPhase.VERIFYING
    desk.offline = set()
    assert desk.settle() == ()
    assert (desk.flight.phase, desk.flight.waiting) == (FlightPhase.RUNNING, "")


def test_the_source_may_die_once_the_guest_is_well_on_its_target(desk: Desk) -> None:
    desk.fly()
    desk.guest(PVE2)
    desk.offline = {PVE1}
    (outcome,) = desk.settle()
    assert outcome.result is Result.SUCCEEDED
    assert "can't be read" in outcome.warning


def test_an_api_that_does_not_answer_ends_nothing(desk: Desk) -> None:
    desk.fly()
    desk.answers({f"GET /nodes/pve1/tasks/{OURS}/status": TIMEOUT})
    desk.guest(PVE1, lock="migrate")
    desk.answers({"GET /nodes/pve1/qemu/101/status/current": TIMEOUT})
    assert desk.settle_for(7200)[0] == ()


def test_a_task_that_can_not_be_asked_may_still_run(desk: Desk) -> None:
    desk.fly()
    desk.answers({f"GET /nodes/pve1/tasks/{OURS}/status": TIMEOUT})
    desk.guest(PVE1)
    assert desk.settle_for(3600)[0] == ()


# Gone, another one, somebody else


def test_a_guest_that_slips_from_node_to_node_while_we_look_is_not_gone(desk: Desk) -> None:
    desk.fly()
    desk.task("OK")
    desk.guest(PVE1)
    desk.answers({"GET /nodes/pve1/qemu/101/status/current": not_here(PVE1)})
    assert desk.settle_for(3600)[0] == ()


def test_a_removed_guest_is_forgotten_when_no_node_has_it_for_a_while(desk: Desk) -> None:
    desk.fly()
    desk.answers({f"GET /nodes/pve1/tasks/{OURS}/status": NO_TASK})
    desk.gone()
    (outcome,), after = desk.settle_for(3600)
    assert (outcome.result, outcome.why, after) == (Result.GONE, Why.GUEST_GONE, 30.0)
    assert desk.store.memory() == Memory()


def test_a_guest_that_only_became_invisible_is_not_forgotten(desk: Desk) -> None:
    desk.fly()
    desk.task("OK")
    desk.gone()
    denied = HttpFailure(status=403, reason="Permission check failed (/vms/101, VM.Audit)")
    desk.answers({"GET /nodes/pve1/qemu/101/status/current": denied})
    assert desk.settle_for(3600)[0] == ()
    assert desk.store.memory().origins != {}


def test_another_guest_under_the_same_number_inherits_nothing(desk: Desk) -> None:
    desk.fly()
    desk.answers({f"GET /nodes/pve1/tasks/{OURS}/status": NO_TASK})
    desk.guest(PVE1, born="1800000000")
    (outcome,) = desk.settle()
    assert (outcome.result, outcome.why) == (Result.GONE, Why.IDENTITY_CHANGED)
    assert desk.store.memory() == Memory()


def test_a_guest_that_somebody_moved_elsewhere_is_no_failure_of_it(desk: Desk) -> None:
    desk.fly()
    desk.task("migration aborted")
    desk.guest(PVE3)
    (outcome,) = desk.settle()
    assert (outcome.result, outcome.why) == (Result.FAILED, Why.TARGET_MISMATCH)
    assert desk.store.memory().backoffs == {}
    assert desk.store.memory().origins == {WEB.vmid: ORIGIN}, (
        "expected elsewhere: the next plan sees the hand of a person"
    )


# PVE HA

ASKED = upid("hamigrate")
REAL = upid("qmigrate", "root@pam", number=2)


def test_a_request_to_ha_that_is_ok_has_moved_nothing_yet(desk: Desk) -> None:
    desk.fly(ASKED)
    desk.task("OK", ASKED)
    desk.tasks(ASKED)
    desk.guest(PVE1)
    assert desk.settle() == ()
    desk.later(15)
    desk.tasks(ASKED, REAL)
    desk.task("running", REAL)
    assert desk.settle() == ()
    assert (desk.flight.upid, desk.flight.ha, desk.flight.phase) == (REAL, True, FlightPhase.RUNNING)
    desk.later(60)
    desk.task("OK", REAL, log=LOG_END)
    desk.guest(PVE2)
    (outcome,) = desk.settle()
    assert (outcome.result, outcome.upid) == (Result.SUCCEEDED, REAL)
    assert outcome.progress is not None
    assert outcome.progress.downtime_ms == 57


def test_ha_that_never_begins_is_a_failure_after_two_minutes(desk: Desk) -> None:
    desk.fly(ASKED)
    desk.task("OK", ASKED)
    desk.tasks(ASKED)
    desk.guest(PVE1)
    (outcome,), after = desk.settle_for(3600)
    assert (outcome.result, outcome.why, after) == (Result.FAILED, Why.MIGRATION_ABORTED, 120.0)


def test_ha_that_has_begun_is_waited_for_while_it_says_so(desk: Desk) -> None:
    desk.fly(ASKED)
    desk.task("OK", ASKED)
    desk.tasks(ASKED)
    desk.guest(PVE1)
    assert desk.row is not None
    desk.row = replace(desk.row, ha_state="migrate")
    assert desk.settle_for(3600)[0] == ()


def test_after_a_lost_answer_the_move_of_ha_is_preferred_to_the_request(desk: Desk) -> None:
    desk.fly(task=None)
    desk.tasks(ASKED, REAL)
    desk.task("running", REAL)
    desk.settle()
    assert (desk.flight.upid, desk.flight.ha) == (REAL, True)


# The store


def test_an_end_that_can_not_be_written_is_told_when_it_can(desk: Desk) -> None:
    desk.fly()
    desk.task("OK")
    desk.guest(PVE2)
    desk.store._database.execute("PRAGMA query_only = ON")
    assert desk.settle() == ()
    assert desk.flight.upid == OURS, "it still counts"
    assert desk.store.failure() != ""
    desk.store._database.execute("PRAGMA query_only = OFF")
    assert [outcome.result for outcome in desk.settle()] == [Result.SUCCEEDED]


# Between ticks


def test_following_reads_only_what_is_new_with_two_requests_a_flight(desk: Desk) -> None:
    desk.fly()
    desk.task("running", log=LOG)
    first = desk.follow({})
    assert first.progress[WEB.vmid].transferred_bytes == 1 << 30
    assert first.progress[WEB.vmid].lines == 3
    assert first.ended == frozenset()
    assert len(desk.pve.asked) == 2
    desk.task("running", log=())
    assert desk.follow(first.progress).progress == first.progress
    assert desk.pve.asked[-1][2]["start"] == 3


def test_following_tells_once_that_a_task_has_ended(desk: Desk) -> None:
    desk.fly(ASKED)
    desk.task("OK", ASKED)
    desk.tasks(ASKED)
    desk.guest(PVE1)
    assert desk.follow({}).ended == {WEB.vmid}
    desk.settle()
    assert desk.follow({}).ended == frozenset(), "the tick knows it, and waits for HA"
    assert desk.pve.asked == []


def test_a_task_that_can_not_be_followed_keeps_its_last_progress(desk: Desk) -> None:
    desk.fly()
    desk.answers({f"GET /nodes/pve1/tasks/{OURS}/status": TIMEOUT})
    last = {WEB.vmid: Progress(transferred_bytes=7, lines=3)}
    assert desk.follow(last).progress == last
