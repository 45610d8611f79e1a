from dataclasses import replace

import pytest

from controller.model.condition import Condition, Status
from controller.model.event import EventType
from controller.model.ids import ObjectRef
from controller.model.outcome import Outcome, Result
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.report.conditions import statuses
from controller.report.events import Told, of_flips, of_outcomes, of_problems, sentence
from controller.report.statement import ObjectStatus
from tests.report.scene import FAILURE, LABEL, NOW, PLAN, PROBLEM, SPECS, SUCCESS, VIEW

CLUSTER = ObjectRef("PveCluster", "default")


def status(type_: str, word: Status, reason: str = "AsExpected", message: str = "said") -> ObjectStatus:
    return ObjectStatus((Condition(type_, word, reason, message, NOW, 0),))


LATE = status("Connected", Status.FALSE, "TimedOut")


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (SUCCESS, "VM 104 web-2 pve1 -> pve2 in 41s, 2.0 GiB, downtime 63 ms (NodeMaintenance)"),
        (replace(SUCCESS, progress=None), "VM 104 web-2 pve1 -> pve2 in 41s (NodeMaintenance)"),
        (
            replace(SUCCESS, progress=None, warning="see the log"),
            "VM 104 web-2 pve1 -> pve2 in 41s (NodeMaintenance); see the log",
        ),
        (FAILURE, "CT 201 dns pve1 -> pve2 (MigrationFailed): no route to host"),
        (replace(SUCCESS, result=Result.STARTED), "VM 104 web-2 pve1 -> pve2 (NodeMaintenance)"),
    ],
)
def test_an_outcome_is_a_sentence(outcome: Outcome, expected: str) -> None:
    assert sentence(outcome) == expected


@pytest.mark.parametrize("result", Result)
def test_every_result_makes_one_event_about_the_guest(result: Result) -> None:
    [event] = of_outcomes([replace(SUCCESS, result=result)])
    assert event.about == ObjectRef("Guest", "104")
    assert event.reason in set(Told)
    fine = result in (Result.STARTED, Result.SUCCEEDED)
    assert event.type is (EventType.NORMAL if fine else EventType.WARNING)


def test_a_success_with_a_warning_is_a_warning() -> None:
    [event] = of_outcomes([replace(SUCCESS, warning="look at the log")])
    assert (event.type, event.reason) == (EventType.WARNING, Told.MOVE_SUCCEEDED)


@pytest.mark.parametrize(
    ("ref", "before", "after", "told"),
    [
        (LABEL, None, status("Draining", Status.TRUE), Told.DRAIN_STARTED),
        (LABEL, status("Blocked", Status.FALSE), status("Blocked", Status.TRUE), Told.DRAIN_BLOCKED),
        (LABEL, status("Blocked", Status.TRUE), status("Blocked", Status.FALSE), Told.DRAIN_UNBLOCKED),
        (LABEL, None, status("Blocked", Status.FALSE), None),
        (LABEL, status("Drained", Status.FALSE), status("Drained", Status.TRUE), Told.DRAINED),
        (LABEL, status("Drained", Status.TRUE), status("Drained", Status.TRUE, message="other words"), None),
        (CLUSTER, None, status("Connected", Status.TRUE), Told.CONNECTED),
        (CLUSTER, status("Connected", Status.TRUE), status("Connected", Status.FALSE), Told.DISCONNECTED),
        (CLUSTER, LATE, status("Connected", Status.FALSE, "AuthFailed"), Told.DISCONNECTED),
        (CLUSTER, LATE, LATE, None),
        (CLUSTER, None, status("Quorate", Status.TRUE), None),
        (CLUSTER, status("Quorate", Status.FALSE), status("Quorate", Status.TRUE), Told.QUORUM_GAINED),
        (CLUSTER, None, status("Accepted", Status.FALSE, "UnknownNode"), Told.NOT_ACCEPTED),
        (CLUSTER, None, status("Accepted", Status.FALSE, "Invalid"), None),
        (CLUSTER, status("Accepted", Status.FALSE, "Invalid"), status("Accepted", Status.TRUE), None),
        (CLUSTER, None, status("Accepted", Status.TRUE), None),
        (CLUSTER, status("Accepted", Status.FALSE), status("Accepted", Status.TRUE), Told.ACCEPTED),
        (CLUSTER, None, status("Fresh", Status.TRUE), None),
        (LABEL, status("Drained", Status.TRUE), None, Told.MAINTENANCE_ENDED),
        (CLUSTER, status("Ready", Status.TRUE), None, None),
    ],
)  # fmt: skip
def test_a_flip_is_told_once(
    ref: ObjectRef, before: ObjectStatus | None, after: ObjectStatus | None, told: Told | None
) -> None:
    old, new = ({} if one is None else {ref: one} for one in (before, after))
    assert [event.reason for event in of_flips(old, new, at=NOW)] == ([] if told is None else [told])


def test_a_second_look_at_the_same_thing_is_no_news() -> None:
    made = statuses(SPECS, (PROBLEM,), VIEW, {})
    assert {event.reason for event in of_flips({}, made, at=NOW)} >= {
        Told.DRAIN_STARTED,
        Told.DRAIN_BLOCKED,
        Told.POLICY_VIOLATED,
    }
    assert of_flips(made, statuses(SPECS, (PROBLEM,), replace(VIEW, at=NOW + 9), made), at=NOW + 9) == []


def test_trouble_names_its_reason_and_good_news_does_not() -> None:
    made = statuses(SPECS, (), replace(VIEW, armed=Finding(False, Why.NO_QUORUM, "half of it is gone")), {})
    assert "NoQuorum: half of it is gone" in [event.message for event in of_flips({}, made, at=NOW)]
    made = statuses(SPECS, (), replace(VIEW, plan=replace(PLAN, drains=())), {})
    messages = [event.message for event in of_flips({}, made, at=NOW) if event.about == CLUSTER]
    assert "the API answers" in messages
    [blocked] = [
        event for event in of_flips({}, statuses(SPECS, (), VIEW, {}), at=NOW) if event.reason == Told.DRAIN_BLOCKED
    ]
    assert blocked.message == "1 guest NoTargetFits (105 build)"


def test_problems_of_manifests_come_and_go() -> None:
    [broke] = of_problems((), (PROBLEM,), at=NOW)
    assert (broke.reason, broke.about, broke.message) == (Told.INVALID_MANIFEST, PROBLEM.ref, str(PROBLEM))
    assert of_problems((PROBLEM,), (PROBLEM,), at=NOW) == []
    nameless = replace(PROBLEM, ref=None)
    [mended] = of_problems((nameless,), (), at=NOW)
    assert (mended.reason, mended.about) == (Told.MANIFEST_MENDED, ObjectRef("File", "policies/apart.yaml"))
    other = replace(PROBLEM, message="another mistake in the same object")
    assert [event.reason for event in of_problems((PROBLEM,), (other,), at=NOW)] == [Told.INVALID_MANIFEST]


@pytest.mark.parametrize(
    ("why", "type_"),
    [
        (Why.WINDOW_CLOSED, EventType.NORMAL),
        (Why.MODE_PLAN, EventType.NORMAL),
        (Why.SUSPENDED, EventType.NORMAL),
        (Why.NO_QUORUM, EventType.WARNING),
        (Why.STORE_FAILED, EventType.WARNING),
    ],
)
def test_what_people_want_is_no_warning_and_says_its_reason_all_the_same(why: Why, type_: EventType) -> None:
    before, after = status("Armed", Status.TRUE), status("Armed", Status.FALSE, why)
    [told] = of_flips({CLUSTER: before}, {CLUSTER: after}, at=1.0)
    assert (told.type, told.reason, told.message) == (type_, Told.DISARMED, f"{why}: said")
