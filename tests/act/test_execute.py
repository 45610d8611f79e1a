"""Moves start only after a second look, leave their intent on disk first, and are never asked for twice."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.act.inflight import without_ended
from controller.model.errors import Retry
from controller.model.ids import Vmid
from controller.model.memory import FlightPhase, Memory
from controller.model.outcome import Result
from controller.model.plan import Move
from controller.model.reasons import Why
from controller.model.view import Finding
from tests.act.lab import DRAIN, PVE1, PVE2, PVE3, Lab, move

CARRIED = {"with-conntrack-state": True}
"""Both nodes can."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


# The ordinary course


def test_the_intent_is_on_disk_before_the_call_and_the_task_after_it(lab: Lab) -> None:
    noted: list[tuple[str, FlightPhase, bool]] = []

    def note(when: str, _path: str) -> None:
        flight = lab.store.memory().flights[Vmid(101)]
        noted.append((when, flight.phase, flight.upid is None))

    lab.pve.on_post = note
    (outcome,) = lab.execute(move(101))
    assert noted == [("before", FlightPhase.SUBMITTING, True), ("after", FlightPhase.SUBMITTING, True)]
    flight = lab.store.memory().flights[Vmid(101)]
    assert (flight.phase, flight.upid) == (FlightPhase.RUNNING, outcome.upid)
    assert [outcome.upid] == lab.migrations(101)
    assert (outcome.result, outcome.why) == (Result.STARTED, Why.NODE_MAINTENANCE)
    assert flight.identity.born.startswith("ctime:"), "from the config that was just read"
    assert flight.was_running


@pytest.mark.parametrize("vmid", [101, 103, 105])
def test_running_stopped_and_containers_arrive_as_they_were(lab: Lab, vmid: int) -> None:
    ran = lab.world.guests[vmid].running
    assert [outcome.result for outcome in lab.execute(move(vmid))] == [Result.STARTED]
    (outcome,) = lab.settle_within(300)
    assert (outcome.result, outcome.warning) == (Result.SUCCEEDED, "")
    assert (lab.node_of(vmid), lab.world.guests[vmid].running) == ("pve2", ran)
    origin = lab.store.memory().origins[Vmid(vmid)]
    assert (origin.node, origin.expected, origin.maintenance) == (PVE1, PVE2, DRAIN)


def test_a_move_that_is_no_evacuation_remembers_no_home(lab: Lab) -> None:
    lab.execute(move(103, returns=False))
    lab.settle_within(300)
    assert lab.store.memory() == Memory()


def test_moves_start_in_the_order_of_the_plan(lab: Lab) -> None:
    outcomes = lab.execute(move(103), move(101, PVE3), move(105), move(102))
    assert [outcome.vmid for outcome in outcomes] == [103, 101, 105, 102]
    assert [path.split("/")[4] for path in lab.pve.posts] == ["103", "101", "105", "102"]
    assert [flight.vmid for flight in sorted(lab.store.memory().flights.values(), key=lambda f: f.id)] == [
        103,
        101,
        105,
        102,
    ]


def test_a_task_whose_end_was_observed_no_longer_counts_in_a_list_that_lags_behind(lab: Lab) -> None:
    lab.execute(move(103), move(101))
    (outcome,) = lab.settle_within(300)
    assert outcome.vmid == 103
    lagging = replace(
        lab.look(),
        tasks=tuple(replace(task, running=True, exit_status="") for task in lab.look().tasks if task.migrates),
    )
    assert {task.vmid for task in lagging.tasks} == {101, 103}
    assert {task.vmid for task in without_ended(lagging, lab.store).tasks} == {101}


# The second look


def test_what_passes_by_itself_is_refused_without_a_back_off(lab: Lab) -> None:
    lab.fault("admin-lock", guest=101)
    (outcome,) = lab.execute(move(101))
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.GUEST_LOCKED)
    assert lab.store.memory() == Memory()
    lab.fault("admin-unlock", guest=101)
    assert [outcome.result for outcome in lab.execute(move(101))] == [Result.STARTED]


def test_what_does_not_pass_is_refused_and_shown_as_blocked_for_a_while(lab: Lab) -> None:
    (outcome,) = lab.execute(move(104))
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.PERMISSION_MISSING)
    assert outcome.findings == (Why.PERMISSION_MISSING,)
    held = lab.store.memory().backoffs[Vmid(104)]
    assert (held.failures, held.why, held.until) == (0, Why.PERMISSION_MISSING, lab.clock.wall() + 60)
    assert "local:iso/debian.iso" in held.message


def test_every_objection_is_told_not_only_the_first(lab: Lab) -> None:
    lab.fault("admin-stop", guest=104)
    lab.later(10)
    lab.fault("admin-lock", guest=104)
    (outcome,) = lab.execute(move(104))
    assert "locked" in outcome.message
    assert "was running and is stopped" in outcome.message


def test_a_guest_that_somebody_else_is_moving_is_left_to_them(lab: Lab) -> None:
    lab.fault("admin-migrate", guest=101, node="pve3")
    (outcome,) = lab.execute(move(101))
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.GUEST_MOVING)
    assert len(lab.migrations(101)) == 1


def test_a_guest_that_has_moved_since_the_plan_is_refused(lab: Lab) -> None:
    lab.fault("admin-place", guest=101, node="pve3")
    (outcome,) = lab.execute(move(101))
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.GUEST_MOVED)


def test_a_guest_in_flight_is_not_asked_for_again(lab: Lab) -> None:
    lab.execute(move(101))
    (outcome,) = lab.execute(move(101, PVE3))
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.NOT_OBSERVED_YET)
    assert len(lab.pve.posts) == 1


def test_two_moves_of_one_plan_do_not_share_the_same_room(lab: Lab) -> None:
    # 64 GiB, of which 10 % are kept free: 101 takes 8 GiB, then there is no room for the 51 GiB that 102 has grown to.
    lab.fault("admin-config", guest=102, set={"memory": 51 * 1024})
    lab.fault("admin-stop", guest=102)
    lab.fault("admin-start", guest=102)
    lab.later(60)
    outcomes = lab.execute(move(101), move(102))
    assert [outcome.result for outcome in outcomes] == [Result.STARTED, Result.REFUSED]
    assert outcomes[1].why is Why.WAITING_FOR_ROOM
    assert Vmid(102) not in lab.store.memory().backoffs


def test_what_is_no_longer_wanted_is_not_started(lab: Lab) -> None:
    asked: list[Vmid] = []

    def still_wanted(asked_for: Move) -> Finding | None:
        asked.append(asked_for.vmid)
        return Finding(False, Why.WITHDRAWN, "the label is gone") if len(asked) > 1 else None

    outcomes = lab.execute(move(101), move(102), still_wanted=still_wanted)
    assert [(outcome.result, outcome.why) for outcome in outcomes] == [
        (Result.STARTED, Why.NODE_MAINTENANCE),
        (Result.REFUSED, Why.WITHDRAWN),
    ]
    assert len(lab.pve.posts) == 1


def test_a_look_that_got_old_behind_a_slow_call_is_repeated(lab: Lab) -> None:
    lab.fault("slow-handler")
    began = lab.clock.monotonic()
    outcomes = lab.execute(move(101), move(102))
    assert [outcome.result for outcome in outcomes] == [Result.UNKNOWN, Result.STARTED]
    assert lab.clock.monotonic() - began >= 30
    assert lab.pve.gets.count("/nodes/pve1/qemu/101/status/current") == 1
    assert lab.pve.gets.count("/nodes/pve1/qemu/102/status/current") == 2


def test_pve_is_asked_the_way_the_second_look_demands(lab: Lab) -> None:
    assert not move(107).options.with_local_disks
    lab.execute(move(107))
    assert lab.pve.params == {"target": "pve2", "online": True, "with-local-disks": True} | CARRIED, (
        "of its cloud-init image"
    )
    assert lab.store.memory().flights[Vmid(107)].options.with_local_disks


def test_a_look_that_pve_denies_is_not_repeated_at_every_tick(lab: Lab) -> None:
    lab.fault("refuse", status=403, reason="Permission check failed (/vms/101, VM.Audit)", method="GET", path="/101/")
    (outcome,) = lab.execute(move(101))
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.PERMISSION_MISSING)
    assert lab.store.memory().backoffs[Vmid(101)].failures == 0


# Calls that go wrong


@pytest.mark.parametrize("fault", ["lost-answer", "slow-handler"])
def test_a_lost_answer_is_observed_and_never_asked_again(lab: Lab, fault: str) -> None:
    lab.fault(fault)
    (outcome,) = lab.execute(move(101))
    assert (outcome.result, outcome.why) == (Result.UNKNOWN, Why.ANSWER_LOST)
    assert lab.store.memory().flights[Vmid(101)].phase is FlightPhase.SUBMITTING
    lab.store.close()
    lab.start()  # as after `kill -9`
    assert [outcome.result for outcome in lab.settle_within(300)] == [Result.SUCCEEDED]
    assert len(lab.migrations(101)) == 1
    assert lab.store.memory().origins[Vmid(101)].expected == PVE2


def test_an_earlier_task_is_not_taken_for_the_one_that_never_was(lab: Lab) -> None:
    for there, back in ((PVE1, PVE2), (PVE2, PVE1)):
        lab.execute(move(103, back, source=there))
        lab.settle_within(300)
    lab.fault("refuse", status=596, reason="Connection timed out")
    assert [outcome.result for outcome in lab.execute(move(103))] == [Result.UNKNOWN]
    (outcome,) = lab.settle_within(300)
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.NOT_SUBMITTED)
    assert lab.store.memory() == Memory()


@pytest.mark.parametrize(
    ("status", "reason", "why"),
    [
        (595, "Connection refused", Why.NOT_SUBMITTED),
        (500, "VM is locked (backup)", Why.GUEST_LOCKED),
        (500, "cluster not ready - no quorum?", Why.NOT_SUBMITTED),
        (500, "can't migrate running VM without --online", Why.STATE_CHANGED),
    ],
)
def test_a_call_that_certainly_started_nothing_leaves_nothing_behind(
    lab: Lab, status: int, reason: str, why: Why
) -> None:
    lab.fault("refuse", status=status, reason=reason)
    (outcome,) = lab.execute(move(101))
    assert (outcome.result, outcome.why) == (Result.REFUSED, why)
    assert lab.store.memory() == Memory(), "neither a flight nor a back-off nor a home"
    assert [outcome.result for outcome in lab.execute(move(101))] == [Result.STARTED]


@pytest.mark.parametrize(
    ("status", "reason", "why"),
    [
        (403, "Permission check failed (/vms/101, VM.Migrate)", Why.PERMISSION_MISSING),
        (500, "something that nobody has ever seen", Why.PVE_ERROR),
    ],
)
def test_a_call_that_pve_denies_or_rejects_backs_off(lab: Lab, status: int, reason: str, why: Why) -> None:
    for failures, wait in ((1, 20), (2, 40)):
        lab.fault("refuse", status=status, reason=reason)
        (outcome,) = lab.execute(move(101))
        assert (outcome.result, outcome.why) == (Result.REFUSED, why)
        held = lab.store.memory().backoffs[Vmid(101)]
        assert (held.failures, held.until - lab.clock.wall()) == (failures, wait)
    assert lab.store.memory().flights == {}
    assert len(lab.store.attempts(10)) == 1, "refusals in a row are one line of history"


def test_an_unreadable_source_is_refused_and_not_guessed(lab: Lab) -> None:
    lab.fault("pveproxy-down", node="pve1")
    (outcome,) = lab.execute(move(101))
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.NODE_UNREACHABLE)
    assert lab.pve.posts == []
    assert lab.store.memory() == Memory()


# The disk


def test_without_a_working_disk_nothing_is_started(lab: Lab) -> None:
    lab.store._database.execute("PRAGMA query_only = ON")
    outcomes = lab.execute(move(101), move(102))
    assert [(outcome.result, outcome.why) for outcome in outcomes] == [(Result.REFUSED, Why.STORE_FAILED)] * 2
    assert lab.pve.posts == []


def test_a_disk_that_fails_behind_the_call_costs_nothing_but_a_warning(lab: Lab) -> None:
    def fill(_when: str, _path: str) -> None:
        lab.store._database.execute("PRAGMA query_only = ON")

    lab.pve.on_post = fill
    (outcome,) = lab.execute(move(101))
    assert outcome.result is Result.STARTED
    assert "could not be noted" in outcome.warning
    with pytest.raises(Retry):
        lab.store.pin("x")
    lab.store._database.execute("PRAGMA query_only = OFF")
    assert lab.settle() == ()
    assert [lab.store.memory().flights[Vmid(101)].upid] == lab.migrations(101)
    assert [outcome.result for outcome in lab.settle_within(300)] == [Result.SUCCEEDED]


# How it ends, with a PVE that misbehaves

ENDS: dict[str, tuple[Callable[[Lab], None], Result, Why, str]] = {
    "OK that moved nothing": (
        lambda lab: lab.fault("hollow-ok", guest=101), Result.FAILED, Why.MIGRATION_FAILED, "still on pve1"
    ),
    "phase 1 fails": (
        lambda lab: lab.fault("migration-fails", guest=101, phase=1), Result.FAILED, Why.MIGRATION_ABORTED, "at the start"
    ),
    "phase 2 fails": (
        lambda lab: lab.fault("migration-fails", guest=101, phase=2), Result.FAILED, Why.MIGRATION_ABORTED, "still on pve1"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_failures_leave_the_guest_where_it_was_and_say_why(lab: Lab, name: str) -> None:
    prepare, result, why, says = ENDS[name]
    prepare(lab)
    lab.execute(move(101))
    (outcome,) = lab.settle_within(300)
    assert (outcome.result, outcome.why) == (result, why)
    assert says in outcome.message
    assert lab.store.memory().backoffs[Vmid(101)].failures == 1
    assert lab.store.memory().origins == {}, "it never left home"
    lab.later(20)
    lab.execute(move(101))
    assert [outcome.result for outcome in lab.settle_within(300)] == [Result.SUCCEEDED], "the next attempt goes through"
    assert lab.store.memory().backoffs == {}


def test_a_move_that_an_administrator_stops_is_a_failure_with_the_guest_well(lab: Lab) -> None:
    lab.execute(move(101))
    lab.later(12)
    lab.fault("task-stop", guest=101)
    (outcome,) = lab.settle_within(300)
    assert (outcome.result, outcome.why) == (Result.FAILED, Why.MIGRATION_FAILED)
    assert "broke off while copying" in outcome.message
    assert (lab.node_of(101), lab.world.guests[101].running) == ("pve1", True)


def test_a_killed_worker_leaves_a_lock_that_is_told_and_not_touched(lab: Lab) -> None:
    lab.execute(move(101))
    lab.later(5)
    lab.fault("worker-kill", guest=101)
    began = lab.clock.monotonic()
    (outcome,) = lab.settle_within(3600)
    assert (outcome.result, outcome.why) == (Result.STUCK, Why.LOCK_LEFT_BEHIND)
    assert lab.clock.monotonic() - began >= 600
    assert lab.world.guests[101].lock == "migrate"
    assert lab.pve.posts == ["/nodes/pve1/qemu/101/migrate"], "nothing was stopped, unlocked or removed"


def test_a_vanished_task_is_no_obstacle_to_seeing_the_guest_arrive(lab: Lab) -> None:
    lab.execute(move(101))
    lab.later(5)
    lab.fault("task-vanish", guest=101)
    (outcome,) = lab.settle_within(300)
    assert outcome.result is Result.SUCCEEDED
    assert "without a result" in outcome.warning


def test_a_source_that_dies_in_the_middle_is_told(lab: Lab) -> None:
    lab.execute(move(101))
    lab.later(5)
    lab.fault("node-crash", node="pve1")
    (outcome,) = lab.settle_within(600)
    assert (outcome.result, outcome.why) == (Result.STUCK, Why.NODE_OFFLINE)


def test_a_view_without_quorum_ends_nothing(lab: Lab) -> None:
    lab.execute(move(101))
    lab.later(5)
    lab.fault("partition", nodes=["pve3"])  # the node that answers us is alone, and calls all others offline
    assert lab.settle_within(600) == ()
    lab.fault("heal")
    (outcome,) = lab.settle_within(60)
    assert outcome.result is Result.SUCCEEDED


def test_a_target_that_dies_in_the_middle_is_a_failure_with_the_guest_well(lab: Lab) -> None:
    lab.execute(move(101))
    lab.later(5)
    lab.fault("node-crash", node="pve2")
    (outcome,) = lab.settle_within(600)
    assert outcome.result is Result.FAILED
    assert (lab.node_of(101), lab.world.guests[101].running) == ("pve1", True)


def test_a_guest_removed_in_the_middle_is_forgotten(lab: Lab) -> None:
    lab.fault("hollow-ok", guest=101)
    lab.execute(move(101))
    lab.later(5)
    lab.fault("admin-destroy", guest=101)
    (outcome,) = lab.settle_within(600)
    assert (outcome.result, outcome.why) == (Result.GONE, Why.GUEST_GONE)
    assert lab.store.memory() == Memory()


def test_ha_moves_its_guest_with_a_task_of_its_own(lab: Lab) -> None:
    lab.later(60)
    lab.execute(move(106))
    assert lab.store.memory().flights[Vmid(106)].ha
    (outcome,) = lab.settle_within(600)
    assert outcome.result is Result.SUCCEEDED
    assert outcome.upid is not None
    assert ":qmigrate:106:root@pam:" in outcome.upid
    assert lab.node_of(106) == "pve2"
