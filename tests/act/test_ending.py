"""How every move ends, row by row, in words for somebody tired."""

from dataclasses import dataclass, field, replace
from typing import TypedDict, Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.act.ending import (
    AGENT_SECONDS,
    GRACE_SECONDS,
    HA_RECOVERY_SECONDS,
    HA_START_SECONDS,
    NODE_LOST_SECONDS,
    Facts,
    Verdict,
    Word,
    judge,
)
from controller.model.ids import GuestIdentity, GuestKind, NodeName, ObjectRef, Upid, Vmid
from controller.model.memory import Flight, FlightPhase, Verify
from controller.model.observed import IDLE_LOCK_SECONDS, Guest, Power
from controller.model.outcome import Result
from controller.model.plan import Lane, MoveOptions
from controller.model.reasons import Why

PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")
WEB = GuestIdentity(Vmid(101), GuestKind.QEMU, "ctime:1700000000")
UPID = Upid("UPID:pve1:0000AAAA:00BBBBBB:6A1B2C3D:qmigrate:101:drover@pve!t:")

FLIGHT = Flight(
    id=1,
    identity=WEB,
    name="web",
    source=PVE1,
    target=PVE2,
    why=Why.NODE_MAINTENANCE,
    cause=ObjectRef("NodeMaintenance", "label-pve1"),
    lane=Lane.DRAIN,
    memory_bytes=4 << 30,
    options=MoveOptions(online=True),
    was_running=True,
    phase=FlightPhase.RUNNING,
    started_at=1000.0,
    upid=UPID,
)
OFFLINE_MOVE = replace(FLIGHT, was_running=False, options=MoveOptions(online=False))
HA_MOVE = replace(FLIGHT, ha=True)


def guest(node: NodeName, power: Power = Power.RUNNING, lock: str = "") -> Guest:
    return Guest(identity=WEB, name="web", node=node, power=power, lock=lock)


class More(TypedDict, total=False):
    error: str
    sent: bool
    only_asked: bool
    ha_moving: bool
    ha_managed: bool
    source_lost: bool
    identity: GuestIdentity


def on(node: NodeName, task: Word, power: Power = Power.RUNNING, lock: str = "", **more: Unpack[More]) -> Facts:
    """The node itself says that it has the guest."""
    return Facts(task=task, where=node, guest=guest(node, power, lock), **more)


@dataclass(frozen=True)
class Row:
    facts: Facts
    result: Result | None
    why: Why | None = None
    says: tuple[str, ...] = ()
    patience: float = 0.0
    counts: bool = False
    warns: str = ""
    flight: Flight = field(default=FLIGHT)


ROWS = {
    # A task of ours runs
    "it runs": Row(Facts(Word.RUNNING), None),
    # The task has ended and the guest is on the target
    "well on the target": Row(on(PVE2, Word.OK), Result.SUCCEEDED, Why.NODE_MAINTENANCE, ("VM 101 web runs on pve2",)),
    "stopped guests arrive stopped": Row(
        on(PVE2, Word.OK, Power.STOPPED), Result.SUCCEEDED, says=("is on pve2",), flight=OFFLINE_MOVE
    ),
    "somebody started it meanwhile": Row(on(PVE2, Word.OK), Result.SUCCEEDED, flight=OFFLINE_MOVE),
    "error, but well": Row(
        on(PVE2, Word.ERROR, error="migration problems"), Result.SUCCEEDED, warns="migration problems"
    ),
    "killed, but well": Row(on(PVE2, Word.LOST), Result.SUCCEEDED, warns="without a result"),
    "unreadable, but well": Row(on(PVE2, Word.UNREADABLE), Result.SUCCEEDED, warns="can't be read"),
    "answer lost, but well": Row(on(PVE2, Word.NONE), Result.SUCCEEDED),
    "a backup began right after": Row(on(PVE2, Word.OK, lock="backup"), Result.SUCCEEDED),
    "lock left on the target": Row(
        on(PVE2, Word.LOST, lock="migrate"),
        Result.STUCK,
        Why.LOCK_LEFT_BEHIND,
        ("on pve2", "10 minutes", "unlock", "Drover never does"),
        IDLE_LOCK_SECONDS,
        counts=True,
    ),
    "paused on the target": Row(
        on(PVE2, Word.ERROR, Power.PAUSED),
        Result.STUCK,
        Why.NOT_RUNNING_AFTERWARDS,
        ("now it is paused on pve2", "on no other node", "`qm resume 101` on pve2"),
        GRACE_SECONDS,
        counts=True,
    ),
    "paused and locked on the target": Row(
        on(PVE2, Word.ERROR, Power.PAUSED, lock="migrate"),
        Result.STUCK,
        Why.LOCK_LEFT_BEHIND,
        ("now it is paused on pve2 with the lock", "`qm unlock 101` and `qm resume 101` on pve2"),
        GRACE_SECONDS,
        counts=True,
    ),
    "paused and locked, and nobody knows the task": Row(
        on(PVE1, Word.UNREADABLE, Power.PAUSED, lock="migrate"),
        Result.STUCK,
        Why.LOCK_LEFT_BEHIND,
        patience=IDLE_LOCK_SECONDS,
        counts=True,
    ),
    "HA takes longer to start it": Row(
        on(PVE2, Word.OK, Power.STOPPED),
        Result.STUCK,
        Why.NOT_RUNNING_AFTERWARDS,
        patience=HA_START_SECONDS,
        counts=True,
        flight=HA_MOVE,
    ),
    "nobody knows yet whether it runs": Row(on(PVE2, Word.OK, Power.UNKNOWN), None),
    # The task has ended and the guest is still on the source
    "aborted in preparation": Row(
        on(PVE1, Word.ERROR, error="can't reach pve2"),
        Result.FAILED,
        Why.MIGRATION_ABORTED,
        ("at the start", "still on pve1, as it was", "can't reach pve2"),
        counts=True,
    ),
    "broken off": Row(
        on(PVE1, Word.ERROR, error="migration problems", sent=True),
        Result.FAILED,
        Why.MIGRATION_FAILED,
        ("broke off", "still on pve1, as it was", "migration problems"),
        counts=True,
    ),
    "OK means nothing by itself": Row(
        on(PVE1, Word.OK), Result.FAILED, Why.MIGRATION_FAILED, ("success", "still on pve1"), counts=True
    ),
    "task killed": Row(
        on(PVE1, Word.LOST), Result.FAILED, Why.TASK_LOST, ("without a result", "still on pve1"), counts=True
    ),
    "an offline move failed": Row(
        on(PVE1, Word.ERROR, Power.STOPPED, error="x"), Result.FAILED, counts=True, flight=OFFLINE_MOVE
    ),
    "lock left on the source": Row(
        on(PVE1, Word.LOST, lock="migrate"),
        Result.STUCK,
        Why.LOCK_LEFT_BEHIND,
        ("on pve1",),
        IDLE_LOCK_SECONDS,
        counts=True,
    ),
    "down on the source": Row(
        on(PVE1, Word.ERROR, Power.PAUSED),
        Result.STUCK,
        Why.NOT_RUNNING_AFTERWARDS,
        patience=GRACE_SECONDS,
        counts=True,
    ),
    "unreadable on the source": Row(on(PVE1, Word.UNREADABLE), None),
    # Nobody answered the request, and there is no new task
    "never submitted": Row(
        on(PVE1, Word.NONE),
        Result.REFUSED,
        Why.NOT_SUBMITTED,
        ("never reached PVE", "nothing was started"),
        GRACE_SECONDS,
    ),
    "never submitted, backed up meanwhile": Row(
        on(PVE1, Word.NONE, lock="backup"), Result.REFUSED, Why.NOT_SUBMITTED, patience=GRACE_SECONDS
    ),
    "a lock, but no task to see": Row(
        on(PVE1, Word.NONE, lock="migrate"), Result.STUCK, Why.LOCK_LEFT_BEHIND, patience=IDLE_LOCK_SECONDS, counts=True
    ),
    # PVE HA
    "HA has the request": Row(
        on(PVE1, Word.OK, only_asked=True),
        Result.FAILED,
        Why.MIGRATION_ABORTED,
        ("PVE HA accepted", "journal"),
        HA_START_SECONDS,
        counts=True,
        flight=HA_MOVE,
    ),
    "HA is at it": Row(on(PVE1, Word.OK, only_asked=True, ha_moving=True), None, flight=HA_MOVE),
    "HA refused": Row(
        on(PVE1, Word.ERROR, only_asked=True, error="negative affinity"),
        Result.FAILED,
        Why.MIGRATION_ABORTED,
        ("negative affinity",),
        counts=True,
        flight=HA_MOVE,
    ),
    "HA was quicker than we": Row(on(PVE2, Word.OK, only_asked=True, ha_moving=True), Result.SUCCEEDED, flight=HA_MOVE),
    # Elsewhere, gone, or somebody else
    "moved by somebody else": Row(
        on(PVE3, Word.ERROR), Result.FAILED, Why.TARGET_MISMATCH, ("is on pve3", "instead of to pve2")
    ),
    "down elsewhere": Row(
        on(PVE3, Word.ERROR, Power.STOPPED),
        Result.STUCK,
        Why.NOT_RUNNING_AFTERWARDS,
        patience=GRACE_SECONDS,
        counts=True,
    ),
    "removed": Row(Facts(Word.LOST), Result.GONE, Why.GUEST_GONE, ("no longer exists",), GRACE_SECONDS),
    "another guest": Row(
        on(PVE2, Word.LOST, identity=replace(WEB, born="ctime:1800000000")),
        Result.GONE,
        Why.IDENTITY_CHANGED,
        ("belongs to another guest",),
    ),
    # Nodes that do not answer
    "a node that is slow to answer": Row(Facts(Word.ERROR, where=PVE1), None),
    "the source died": Row(
        Facts(Word.UNREADABLE, where=PVE1, online=False),
        Result.STUCK,
        Why.NODE_OFFLINE,
        ("pve1 went offline with VM 101 web on it",),
        NODE_LOST_SECONDS,
    ),
    "the source died, and HA looks after it": Row(
        Facts(Word.UNREADABLE, where=PVE1, online=False, ha_managed=True, source_lost=True),
        Result.STUCK,
        Why.NODE_OFFLINE,
        ("PVE HA has not recovered it in 10 minutes", "`ha-manager status`"),
        HA_RECOVERY_SECONDS,
    ),
    "HA has recovered it elsewhere": Row(
        on(PVE3, Word.UNREADABLE, ha_managed=True, source_lost=True),
        Result.FAILED,
        Why.RECOVERED_BY_HA,
        ("pve1 went offline during the move", "PVE HA has recovered it on pve3"),
    ),
    "HA has recovered it on the target": Row(
        on(PVE2, Word.UNREADABLE, ha_managed=True, source_lost=True), Result.SUCCEEDED, warns="started it anew there"
    ),
    "the target died with it": Row(
        Facts(Word.OK, where=PVE2, online=False), Result.STUCK, Why.NODE_OFFLINE, ("pve2",), NODE_LOST_SECONDS
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_every_way_a_move_can_stand(row: Row) -> None:
    verdict = judge(row.flight, row.facts)
    if row.result is None:
        assert verdict.ending is None
        assert bool(verdict.waiting) == (row.facts.task is not Word.RUNNING)
        return
    assert verdict.ending is not None
    assert verdict.ending.result is row.result
    assert verdict.ending.why is (row.why or verdict.ending.why)
    assert verdict.patience == row.patience
    assert bool(verdict.waiting) == bool(row.patience), "a wait has a name, and an end has none"
    assert verdict.ending.counts == row.counts
    assert all(words in verdict.ending.message for words in row.says), verdict.ending.message
    assert (row.warns in verdict.ending.warning) if row.warns else not verdict.ending.warning


_facts = st.builds(
    Facts,
    task=st.sampled_from(Word),
    where=st.sampled_from([PVE1, PVE2, PVE3, None]),
    online=st.booleans(),
    identity=st.none() | st.just(WEB),
    error=st.just("e"),
    sent=st.booleans(),
    only_asked=st.booleans(),
    ha_moving=st.booleans(),
).flatmap(
    lambda facts: (
        st.just(facts)
        if facts.where is None
        else st.builds(
            lambda power, lock: replace(facts, guest=guest(facts.where or PVE1, power, lock)),
            st.sampled_from(Power),
            st.sampled_from(["", "migrate", "backup"]),
        )
        | st.just(facts)
    )
)


@given(facts=_facts, flight=st.sampled_from([FLIGHT, OFFLINE_MOVE, HA_MOVE]))
def test_success_is_only_ever_what_was_observed(facts: Facts, flight: Flight) -> None:
    verdict: Verdict = judge(flight, facts)
    if verdict.ending is not None and verdict.ending.result is Result.SUCCEEDED:
        assert facts.task is not Word.RUNNING
        assert facts.guest is not None
        assert facts.guest.node == flight.target
        assert facts.guest.lock != "migrate"
        assert facts.guest.power is Power.RUNNING or not flight.was_running
    if facts.task is Word.RUNNING:
        assert verdict.ending is None, "a running task is never given up"


@given(facts=_facts, flight=st.sampled_from([FLIGHT, OFFLINE_MOVE, HA_MOVE]))
def test_what_has_not_ended_for_sure_is_waited_for(facts: Facts, flight: Flight) -> None:
    ending = judge(flight, facts).ending
    if ending is not None and ending.why in (Why.NOT_SUBMITTED, Why.LOCK_LEFT_BEHIND, Why.NODE_OFFLINE, Why.GUEST_GONE):
        assert judge(flight, facts).patience >= GRACE_SECONDS


# What has to be seen afterwards

WATCHED = replace(FLIGHT, verify=Verify(10, agent_ping=True))
ARRIVED = Facts(Word.OK, where=PVE2, guest=guest(PVE2))


def test_a_guest_has_to_stay_well_for_as_long_as_its_policy_says() -> None:
    verdict = judge(WATCHED, ARRIVED)
    assert verdict.ending is not None
    assert (verdict.ending.result, verdict.ending.warning, verdict.patience) == (Result.SUCCEEDED, "", 10)
    relapse = judge(WATCHED, replace(ARRIVED, guest=guest(PVE2, Power.PAUSED)))
    assert relapse.waiting != verdict.waiting, "a relapse begins the wait anew"


def test_a_silent_agent_gets_a_while_and_then_a_warning() -> None:
    verdict = judge(WATCHED, replace(ARRIVED, agent_error="QEMU guest agent is not running"))
    assert verdict.ending is not None
    assert (verdict.ending.result, verdict.patience) == (Result.SUCCEEDED, AGENT_SECONDS)
    assert verdict.ending.warning == "its guest agent does not answer: QEMU guest agent is not running"
    assert verdict.waiting == judge(WATCHED, ARRIVED).waiting, "when it answers in between nothing begins anew"


def test_a_stopped_guest_has_nothing_to_prove() -> None:
    moved = replace(OFFLINE_MOVE, verify=Verify(10))
    assert judge(moved, replace(ARRIVED, guest=guest(PVE2, Power.STOPPED))).patience == 0


@pytest.mark.parametrize(
    ("facts", "restarts"),
    [
        (Facts(Word.LOST, PVE2, guest(PVE2, Power.STOPPED)), True),
        (Facts(Word.ERROR, PVE2, guest(PVE2, Power.STOPPED)), True),
        (Facts(Word.ERROR, PVE1, guest(PVE1, Power.STOPPED)), True),
        (Facts(Word.LOST, PVE1, guest(PVE1, Power.STOPPED, "migrate")), True),
        (Facts(Word.OK, PVE2, guest(PVE2, Power.STOPPED)), False),
        (Facts(Word.UNREADABLE, PVE2, guest(PVE2, Power.STOPPED)), False),
        (Facts(Word.LOST, PVE2, guest(PVE2, Power.STOPPED), ha_managed=True), False),
    ],
    ids=["lost", "failed", "failed at home", "locked", "it did start", "nobody knows", "PVE HA's"],
)
def test_only_a_container_whose_own_restart_broke_off_is_started_again(facts: Facts, restarts: bool) -> None:
    container = replace(FLIGHT, identity=replace(WEB, kind=GuestKind.LXC))
    for flight, expected in ((container, restarts), (FLIGHT, False), (replace(container, was_running=False), False)):
        ending = judge(flight, facts).ending
        assert (ending is not None and ending.restarts) is expected
        assert not expected or (ending is not None and "Drover starts it again" in ending.message)
