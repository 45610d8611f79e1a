"""A move that costs too much is stopped once, whatever happens to Drover meanwhile, and the guest is proven well on its source."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.act.abort import Guard
from controller.model.event import Event
from controller.model.memory import Abort, Limits
from controller.model.outcome import Outcome, Progress, Result
from controller.model.reasons import Why
from controller.pve.transport import HttpFailure
from controller.report.events import Told
from tests.act.desk import FLIGHT, OURS, PVE1, PVE2, WEB, Desk, upid
from tests.act.lab import Lab, move
from tests.act.test_crashes import Fate, Killed, mortal

BUSY = Progress(phase="Memory", downtime_limit_ms=1600, downtime_raised=True)
DELETE = f"DELETE /nodes/pve1/tasks/{OURS}"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def dead_link(lab: Lab) -> None:
    """A move has begun, and nothing gets through any more."""
    lab.execute(replace(move(101), memory_bytes=16 << 30))
    lab.later(10)
    lab.watch()
    lab.fault("link", node="pve1", rate=1)


def to_the_end(lab: Lab, seconds: float = 200) -> tuple[list[Event], tuple[Outcome, ...]]:
    """Follow every two seconds, tick every ten."""
    events: list[Event] = []
    until = lab.clock.monotonic() + seconds
    while lab.clock.monotonic() < until:
        for _ in range(5):
            lab.later(2)
            events += lab.watch()
        if outcomes := lab.settle():
            return events, outcomes
    return events, ()


def test_a_stalled_move_is_stopped_and_the_guest_runs_where_it_was(lab: Lab) -> None:
    dead_link(lab)
    events, (outcome,) = to_the_end(lab)
    assert [event.reason for event in events] == [Told.MOVE_ABORTING]
    assert (outcome.result, outcome.why) == (Result.FAILED, Why.STALLED)
    assert "Drover stopped the move" in outcome.message
    assert "still on pve1" in outcome.message
    assert len(lab.pve.deletes) == 1
    assert (lab.node_of(101), lab.world.guests[101].run, lab.world.guests[101].lock) == ("pve1", "running", None)
    assert lab.store.memory().backoffs[move(101).vmid].failures == 1


def run_until_stopped(directory: Path, kill_at: int | None) -> list[str]:
    """A move over a dead link; the names of the points where the process could have died while it is stopped."""
    fate = Fate(None)
    lab = Lab(directory, mortal(fate))
    try:
        dead_link(lab)
        fate.names.clear()
        fate._at = kill_at
        lab.pve.on_delete = lambda when, _path: fate.point(f"{when} DELETE")
        outcomes: tuple[Outcome, ...] = ()
        while not outcomes and lab.store.memory().flights:
            try:
                _, outcomes = to_the_end(lab)
            except Killed:
                lab.store.close()
                lab.start()
        (outcome,) = outcomes or lab.store.attempts(1)
        assert (outcome.result, outcome.why) == (Result.FAILED, Why.STALLED)
        assert not lab.store.memory().flights
        assert (lab.node_of(101), lab.world.guests[101].run, lab.world.guests[101].lock) == ("pve1", "running", None)
        assert len(lab.pve.deletes) == 1
        assert len(lab.migrations(101)) == 1
    finally:
        lab.close()
    return fate.names


POINTS = (
    "before abort_flight",
    "after abort_flight",
    "before DELETE",
    "after DELETE",
    "before end_flight",
    "after end_flight",
    "before learn",
    "after learn",
)


@pytest.mark.parametrize("kill_at", range(len(POINTS)), ids=POINTS)
def test_a_kill_while_a_move_is_being_stopped_changes_nothing_of_the_end(tmp_path: Path, kill_at: int) -> None:
    assert len(run_until_stopped(tmp_path, kill_at)) > kill_at


def test_these_are_the_points(tmp_path: Path) -> None:
    assert tuple(run_until_stopped(tmp_path, None)) == POINTS


@pytest.mark.parametrize(
    ("fault", "deletes"),
    [
        ({"do": "lost-answer"}, 1),
        ({"do": "refuse", "status": 595, "reason": "No route to host"}, 2),
        ({"do": "refuse", "status": 500, "reason": "what is that"}, 1),
    ],
)
def test_pve_is_asked_again_only_when_the_request_has_not_arrived(
    lab: Lab, fault: dict[str, object], deletes: int
) -> None:
    dead_link(lab)
    lab.fault(str(fault.pop("do")), method="DELETE", path="/tasks/", **fault)
    to_the_end(lab, 90)
    assert len(lab.pve.deletes) == deletes


# One look, without a cluster


def guard(desk: Desk, progress: Progress = BUSY) -> tuple[Event, ...]:
    desk.pve.asked.clear()
    made = Guard(desk.store, desk.client, desk.clock)
    return desk.loop.run_until_complete(made.watch({WEB.vmid: progress}, desk.specs))


def fly(desk: Desk, task: str = OURS) -> None:
    desk.fly(upid() if task is OURS else upid(task), flight=replace(FLIGHT, limits=Limits(1000, 60, 20)))
    desk.guest(PVE1, lock="migrate")
    desk.answers({DELETE: None})


def test_the_reason_is_on_disk_before_pve_is_asked(desk: Desk) -> None:
    fly(desk)
    known = []

    def stopping() -> None:
        known.append(desk.flight.abort)

    desk.answers({DELETE: stopping})
    (event,) = guard(desk)
    assert known[0] is not None
    assert known[0].why is Why.DOWNTIME_EXCEEDED
    assert "1600 ms" in event.message


def test_a_guest_that_has_changed_sides_is_left_alone(desk: Desk) -> None:
    fly(desk)
    desk.guest(PVE2, lock="migrate")
    assert guard(desk) == ()
    assert desk.flight.abort is None
    assert all(method == "GET" for method, _, _ in desk.pve.asked)


@pytest.mark.parametrize("progress", [replace(BUSY, phase="Finishing"), replace(BUSY, phase="Preparing"), Progress()])
def test_nothing_is_stopped_that_does_not_send(desk: Desk, progress: Progress) -> None:
    fly(desk)
    desk.store.abort_flight(desk.flight.id, Abort(Why.STALLED, "before a crash"))
    assert guard(desk, progress) == ()
    assert desk.pve.asked == []


def test_the_request_to_pve_ha_is_nothing_to_stop(desk: Desk) -> None:
    fly(desk, "hamigrate")
    assert guard(desk) == ()
    assert desk.pve.asked == []


def test_a_node_that_does_not_answer_is_asked_at_the_next_look(desk: Desk) -> None:
    fly(desk)
    desk.answers({"GET /nodes/pve1/qemu/101/status/current": HttpFailure(status=595, reason="No route to host")})
    assert guard(desk) == ()
    desk.guest(PVE1, lock="migrate")
    assert len(guard(desk)) == 1


def test_what_may_not_be_stopped_goes_on_and_is_told_once_even_after_a_restart(desk: Desk) -> None:
    fly(desk)
    refusal = "Permission check failed (/nodes/pve1, Sys.Modify)"
    desk.answers({DELETE: HttpFailure(status=403, reason=refusal)})
    (event,) = guard(desk)
    assert event.reason == Told.ABORT_NOT_PERMITTED
    assert "Sys.Modify on /nodes/pve1" in event.message
    assert desk.flight.abort is not None
    assert desk.flight.abort.why is Why.ABORT_NOT_PERMITTED
    desk.restart()
    assert guard(desk) == ()
    assert desk.pve.asked == []
    desk.task("OK")
    desk.guest(PVE2)
    (outcome,) = desk.settle()
    assert (outcome.result, outcome.why) == (Result.SUCCEEDED, FLIGHT.why)
    assert "1600 ms" in outcome.warning


def test_a_token_that_is_refused_altogether_asks_again(desk: Desk) -> None:
    fly(desk)
    desk.answers({DELETE: HttpFailure(status=401, reason="authentication failure")})
    assert guard(desk) == ()
    assert desk.flight.abort is not None
    desk.answers({DELETE: None})
    assert [event.reason for event in guard(desk)] == [Told.MOVE_ABORTING]


def test_a_move_that_failed_although_it_may_not_be_stopped_failed_by_itself(desk: Desk) -> None:
    fly(desk)
    desk.store.abort_flight(desk.flight.id, Abort(Why.ABORT_NOT_PERMITTED, "too long"))
    desk.task("migration problems")
    desk.guest(PVE1)
    (outcome,) = desk.settle()
    assert outcome.why is Why.MIGRATION_ABORTED


def test_a_lock_that_stays_after_a_stop_is_told_as_any_other(desk: Desk) -> None:
    fly(desk)
    guard(desk)
    desk.task("unexpected status")
    desk.guest(PVE1, lock="migrate")
    outcomes, _ = desk.settle_for(1000)
    assert [outcome.why for outcome in outcomes] == [Why.LOCK_LEFT_BEHIND]


def test_a_stop_that_came_too_late_is_a_success(desk: Desk) -> None:
    fly(desk)
    guard(desk)
    desk.task("OK")
    desk.guest(PVE2)
    (outcome,) = desk.settle()
    assert (outcome.result, outcome.warning) == (Result.SUCCEEDED, "")


def test_a_store_that_fails_stops_nothing(desk: Desk) -> None:
    fly(desk)
    desk.store._database.execute("PRAGMA query_only = ON")
    assert guard(desk) == ()
    assert DELETE not in {f"{method} {path}" for method, path, _ in desk.pve.asked}
    desk.store._database.execute("PRAGMA query_only = OFF")
