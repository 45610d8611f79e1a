"""The state store keeps its promises under crashes, full disks, rivals and damage.

Run as a program it is the victim of the crash tests: `test_store.py DIRECTORY` does `STEPS` once for every SQL statement in
them and dies right before it; `test_store.py DIRECTORY half` dies with a transaction half written to the disk.
"""

import contextlib
import dataclasses
import itertools
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model.condition import Condition, Status
from controller.model.errors import Busy, DroverError, Rejected, Retry
from controller.model.event import Event, EventFilter, EventType
from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, ObjectRef, Upid, Vmid
from controller.model.memory import Backoff, Ejected, Flight, FlightPhase, GuestRate, LinkRate, Memory, Origin, Refusal
from controller.model.outcome import Outcome, Progress, Result
from controller.model.override import Order, Override
from controller.model.plan import Lane, MoveOptions
from controller.model.reasons import Why
from controller.model.replication import AskedSync, JobVerb, RefusedJob, ReplicationMemory, TemporaryJob
from controller.report.store import Store, read_memory, stored_sources

LAB = ClusterName("lab")
PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")
DRAIN = ObjectRef("NodeMaintenance", "label-pve1")
GUEST = ObjectRef("Guest", "101")
UPID = Upid("UPID:pve1:0000AAAA:00BBBBBB:6A1B2C3D:qmigrate:101:drover@pve!t:")


def identity(vmid: int = 101, born: str = "ctime:1700000000") -> GuestIdentity:
    return GuestIdentity(Vmid(vmid), GuestKind.QEMU, born)


def flight(vmid: int = 101) -> Flight:
    return Flight(
        id=0,
        identity=identity(vmid),
        name=f"web{vmid}",
        source=PVE1,
        target=PVE2,
        why=Why.NODE_MAINTENANCE,
        cause=DRAIN,
        lane=Lane.DRAIN,
        memory_bytes=4 << 30,
        options=MoveOptions(online=True, bandwidth_limit_mib_s=100, policy="gentle"),
        was_running=True,
        phase=FlightPhase.SUBMITTING,
        started_at=1000.5,
        tasks_before=frozenset({"UPID:a", "UPID:b"}),
    )


def origin(vmid: int = 101, node: NodeName = PVE1, expected: NodeName = PVE1, born: str = "ctime:1700000000") -> Origin:
    return Origin(identity(vmid, born), node, DRAIN, since=1000.0, expected=expected)


def backoff(vmid: int = 101, failures: int = 1) -> Backoff:
    return Backoff(
        identity(vmid), failures, until=2000.0, why=Why.MIGRATION_FAILED, message="it broke off", under="x@1"
    )


def refusal(vmid: int = 101, target: NodeName = PVE2) -> Refusal:
    return Refusal(identity(vmid), target, Why.NETWORK_MISSING, "pve2 has no vmbr1", until=2000.0, under="x@1", looks=1)


def outcome(vmid: int = 101, result: Result = Result.SUCCEEDED, at: float = 1100.0) -> Outcome:
    return Outcome(
        identity=identity(vmid),
        name=f"web{vmid}",
        source=PVE1,
        target=PVE2,
        result=result,
        why=Why.NODE_MAINTENANCE,
        cause=DRAIN,
        lane=Lane.DRAIN,
        message="moved",
        at=at,
        seconds=99.5,
        upid=UPID,
        progress=Progress(phase="Memory", transferred_bytes=1 << 32, downtime_ms=57),
    )


def event(message: str, at: float = 1.0, about: ObjectRef = DRAIN, reason: str = "Draining", count: int = 1) -> Event:
    return Event(EventType.NORMAL, reason, about, message, first=at, last=at, count=count)


def condition(status: Status = Status.TRUE, message: str = "", since: float = 5.0) -> Condition:
    return Condition("Draining", status, "Draining", message, since, observed_generation=2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(tmp_path, LAB)) as opened:
        yield opened


# What comes back is what went in


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    with contextlib.closing(Store.open(tmp_path, LAB)) as before:
        begun = before.begin_flight(flight(), origin=origin())
        before.attach_task(begun.id, UPID, ha=True)
        before.flight_phase(begun.id, FlightPhase.VERIFYING, waiting="the lock", since=1234.5)
        before.back_off(backoff(102))
        before.refuse(refusal(102))
        before.learn([GuestRate(identity(102), 5e6, 1000.0)], {PVE1: LinkRate(1e9, 1000.0)})
        before.pin("production")
        before.save_source("{}")
        before.record_event(event("on its way"))
        before.save_conditions({DRAIN: {"Draining": condition()}})
        ended = before.begin_flight(flight(103), origin=None)
        before.end_flight(ended.id, outcome(103), backoff=None, origin=None)
        remembered = before.memory()

    with contextlib.closing(Store.open(tmp_path, LAB)) as after:
        expected = dataclasses.replace(
            flight(),
            id=begun.id,
            upid=UPID,
            ha=True,
            phase=FlightPhase.VERIFYING,
            waiting="the lock",
            waiting_since=1234.5,
        )
        assert after.memory() == remembered
        assert after.memory() == Memory(
            flights={Vmid(101): expected},
            origins={Vmid(101): origin()},
            backoffs={Vmid(102): backoff(102)},
            refusals={Vmid(102): {PVE2: refusal(102)}},
            rates={Vmid(102): GuestRate(identity(102), 5e6, 1000.0)},
            links={PVE1: LinkRate(1e9, 1000.0)},
        )
        assert after.pinned() == "production"
        assert after.source() == "{}"
        assert after.events(10) == (event("on its way"),)
        assert after.conditions() == {DRAIN: {"Draining": condition()}}
        assert after.attempts(10) == (outcome(103),)
        assert after.begin_flight(flight(104), origin=None).id > ended.id, "ids are never used again"


_text = st.text(max_size=20)
_float = st.floats(allow_nan=False, allow_infinity=False)
_identities = st.builds(
    GuestIdentity, st.integers(100, 999999999).map(Vmid), st.sampled_from(GuestKind), st.sampled_from(["", "ctime:1"])
)


@settings(max_examples=25, deadline=None)
@given(
    flown=st.builds(
        Flight,
        id=st.just(0),
        identity=_identities,
        name=_text,
        source=_text.map(NodeName),
        target=_text.map(NodeName),
        why=st.sampled_from(Why),
        cause=st.builds(ObjectRef, _text, _text),
        lane=st.sampled_from(Lane),
        phase=st.sampled_from(FlightPhase),
        started_at=_float,
        tasks_before=st.frozensets(_text, max_size=3),
        upid=st.none() | _text.map(Upid),
    ),
    held=st.builds(Backoff, identity=_identities, until=_float, why=st.sampled_from(Why), message=_text),
    told=st.builds(
        Outcome,
        identity=_identities,
        result=st.sampled_from(Result),
        why=st.sampled_from(Why),
        lane=st.sampled_from(Lane),
        at=_float,
        seconds=st.none() | _float,
        progress=st.none()
        | st.builds(Progress, rate_bytes_s=st.none() | _float, dirty_bytes_s=st.none() | _float, phase=_text),
    ),
)
def test_any_value_comes_back_as_it_went_in(
    flown: Flight, held: Backoff, told: Outcome, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("state")
    with contextlib.closing(Store.open(directory, LAB)) as before:
        # The disk's honesty is tested elsewhere; here only the shapes matter.
        before._database.execute("PRAGMA synchronous = OFF")
        begun = before.begin_flight(flown, origin=None)
        other = before.begin_flight(
            dataclasses.replace(flown, identity=dataclasses.replace(told.identity, vmid=Vmid(7))), origin=None
        )
        before.end_flight(other.id, told, backoff=None, origin=None)
        before.back_off(held)
    with contextlib.closing(Store.read_only(directory, LAB)) as after:
        assert after.memory().flights[flown.vmid] == begun
        assert after.memory().backoffs == {held.identity.vmid: held}
        assert after.attempts(1) == (told,)


# Moves


def test_a_guest_is_never_in_two_flights(store: Store) -> None:
    first = store.begin_flight(flight(), origin=None)
    with pytest.raises(Busy) as refused:
        store.begin_flight(flight(), origin=None)
    assert refused.value.why is Why.NOT_OBSERVED_YET
    assert store.memory().flights == {Vmid(101): first}
    assert store.failure() == "", "a refusal is no failure of the disk"
    store.pin("and the next write goes through")


def test_the_first_evacuation_sets_the_origin_and_later_ones_keep_it(store: Store) -> None:
    first = store.begin_flight(flight(), origin=origin(node=PVE1))
    store.end_flight(first.id, outcome(), backoff=None, origin=store.memory().origins[Vmid(101)])
    store.begin_flight(flight(), origin=origin(node=PVE2))
    assert store.memory().origins[Vmid(101)].node == PVE1


def test_the_origin_of_another_guest_with_the_same_vmid_is_replaced(store: Store) -> None:
    first = store.begin_flight(flight(), origin=origin(born="ctime:1"))
    store.end_flight(first.id, outcome(), backoff=None, origin=origin(born="ctime:1"))
    store.begin_flight(flight(), origin=origin(node=PVE3, born="ctime:2"))
    assert store.memory().origins[Vmid(101)].node == PVE3


def test_the_end_of_a_flight_says_exactly_what_is_remembered_from_then_on(store: Store) -> None:
    begun = store.begin_flight(flight(), origin=origin())
    store.end_flight(begun.id, outcome(result=Result.FAILED), backoff=backoff(), origin=origin(expected=PVE2))
    assert store.memory() == Memory(origins={Vmid(101): origin(expected=PVE2)}, backoffs={Vmid(101): backoff()})
    begun = store.begin_flight(flight(), origin=None)
    store.end_flight(begun.id, outcome(), backoff=None, origin=None)
    assert store.memory() == Memory()


def test_who_has_moved_starts_anew_with_every_target_and_who_failed_does_not(store: Store) -> None:
    store.refuse(refusal(target=PVE2))
    begun = store.begin_flight(flight(), origin=None)
    failed = dataclasses.replace(refusal(target=PVE3), failures=1)
    store.end_flight(begun.id, outcome(result=Result.FAILED), backoff=None, origin=None, refusal=failed)
    assert store.memory().refusals == {Vmid(101): {PVE2: refusal(), PVE3: failed}}
    store.forget_refusals([(Vmid(101), PVE2), (Vmid(102), PVE2)])
    assert store.memory().refusals == {Vmid(101): {PVE3: failed}}
    begun = store.begin_flight(flight(), origin=None)
    store.end_flight(begun.id, outcome(), backoff=None, origin=None)
    assert store.memory().refusals == {}


def test_forgetting_is_by_guest_and_writes_nothing_when_there_is_nothing_to_forget(store: Store) -> None:
    store.back_off(backoff(101))
    store.back_off(backoff(102))
    store.clear_backoff([Vmid(101)])
    assert list(store.memory().backoffs) == [102]
    changes = store._database.total_changes
    store.clear_backoff([Vmid(101)])
    store.forget_origins([Vmid(101)])
    assert store._database.total_changes == changes


def test_five_attempts_are_kept_per_guest_and_500_in_all(store: Store) -> None:
    store._database.execute("PRAGMA synchronous = OFF")
    for number in range(7):
        begun = store.begin_flight(flight(), origin=None)
        store.end_flight(begun.id, outcome(at=float(number)), backoff=None, origin=None)
    assert [told.at for told in store.attempts(10, Vmid(101))] == [6.0, 5.0, 4.0, 3.0, 2.0]
    for vmid in range(1000, 1500):
        begun = store.begin_flight(flight(vmid), origin=None)
        store.end_flight(begun.id, outcome(vmid), backoff=None, origin=None)
    assert len(store.attempts(1000)) == 500
    assert store.attempts(10, Vmid(101)) == ()


def test_refusals_in_a_row_do_not_push_real_attempts_out_of_the_history(store: Store) -> None:
    results = [Result.SUCCEEDED, *[Result.REFUSED] * 6, Result.FAILED]
    for at, result in enumerate(results):
        begun = store.begin_flight(flight(), origin=None)
        store.end_flight(begun.id, outcome(result=result, at=at), backoff=None, origin=None)
    assert [(told.result, told.at) for told in store.attempts(10)] == [
        (Result.FAILED, 7.0),
        (Result.REFUSED, 6.0),
        (Result.SUCCEEDED, 0.0),
    ]


# Events and conditions


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ("3 guests remain", "3 guests remain", True),
        ("needs 32 GiB; most room is 4.2 GiB on pve1", "needs 32 GiB; most room is 900 MiB on pve1", True),
        ("took 3m12s at 88.5 MiB/s", "took 41s at 90 MiB/s", True),
        ("12% done", "13 % done", True),
        ("VM 101 moved", "VM 102 moved", False),
        ("moved to pve1", "moved to pve2", False),
        ("3 guests remain", "2 guests remain", False),
        ("3 drains", "4 drains", False),
    ],
)
def test_events_that_differ_in_measured_numbers_only_are_counted_together(
    store: Store, first: str, second: str, merged: bool
) -> None:
    store.record_event(event(first, at=1.0), event(second, at=2.0, count=2))
    kept = store.events(10)
    assert [each.message for each in kept] == ([second] if merged else [second, first])
    if merged:
        assert (kept[0].first, kept[0].last, kept[0].count) == (1.0, 2.0, 3)


def test_the_newest_thousand_events_are_kept_and_found_by_object(store: Store) -> None:
    guests = [ObjectRef("Guest", str(100 + n)) for n in range(100)]
    store.record_event(
        event("old", at=0.5), *[event(f"n{n}", at=float(n), about=guests[n % 100]) for n in range(1, 1001)]
    )
    assert len(store.events(5000)) == 1000
    assert store.events(10, EventFilter("NodeMaintenance", DRAIN.name)) == ()
    assert [each.message for each in store.events(2, EventFilter("guest", "101"))] == ["n901", "n801"]
    assert [each.message for each in store.events(2, EventFilter("guest"))] == ["n1000", "n999"]
    assert len(store.events(1000, EventFilter(since=991.0))) == 10


def test_an_object_that_says_something_else_every_time_pushes_nothing_else_out(store: Store) -> None:
    store.record_event(event("drained", at=0.5), *[event(f"n{n}", at=float(n), about=GUEST) for n in range(1, 100)])
    kept = store.events(1000)
    assert [each.message for each in kept] == [*(f"n{n}" for n in range(99, 79, -1)), "drained"]


def test_what_comes_again_after_a_quiet_day_is_counted_from_one(store: Store) -> None:
    day = 86400.0
    for at in (0.0, day, 2 * day + 1):
        store.record_event(event("drained", at=at))
    [kept] = store.events(10)
    assert (kept.first, kept.last, kept.count) == (2 * day + 1, 2 * day + 1, 1)


def test_events_older_than_a_month_are_forgotten(store: Store) -> None:
    store.record_event(event("old", at=0.0), event("young", at=30 * 86400.0))
    assert len(store.events(10)) == 2
    store.record_event(event("now", at=30 * 86400.0 + 1))
    assert [each.message for each in store.events(10)] == ["now", "young"]


def test_events_are_found_by_type_and_reason(store: Store) -> None:
    store.record_event(event("a", at=1.0), event("b", at=2.0, about=GUEST))
    [some] = store.events(10, EventFilter(kind="GUEST"))
    assert some.message == "b"
    assert store.events(10, EventFilter(type=some.type, reasons=frozenset({some.reason, "Else"})))
    assert store.events(10, EventFilter(reasons=frozenset({"Else", some.reason[:-1]}))) == ()


def test_conditions_are_written_when_something_flips_not_when_words_change(store: Store) -> None:
    store.save_conditions({DRAIN: {"Draining": condition(message="3 of 9")}})
    changes = store._database.total_changes
    store.save_conditions({DRAIN: {"Draining": condition(message="4 of 9")}})
    assert store._database.total_changes == changes
    store.save_conditions({DRAIN: {"Draining": condition(Status.FALSE, since=9.0)}})
    assert store.conditions()[DRAIN]["Draining"].since == 9.0
    store.save_conditions({})
    assert store.conditions() == {}


# One writer, many readers


def _rival(directory: Path) -> "subprocess.Popen[str]":
    program = (
        "import sys; from pathlib import Path; from controller.report.store import Store;"
        "store = Store.open(Path(sys.argv[1]), 'lab'); print('open', flush=True); sys.stdin.read()"
    )
    rival = subprocess.Popen(
        [sys.executable, "-c", program, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert rival.stdout is not None
    assert rival.stdout.readline() == "open\n"
    return rival


def test_a_second_process_is_told_who_has_the_store_and_gets_it_when_that_one_is_killed(tmp_path: Path) -> None:
    with _rival(tmp_path) as rival:
        with pytest.raises(Busy) as refused:
            Store.open(tmp_path, LAB)
        assert refused.value.why is Why.NOT_LEADER
        assert f"pid {rival.pid}" in refused.value.message
        Store.open(tmp_path, ClusterName("other")).close()
        rival.kill()
    Store.open(tmp_path, LAB).close()


def test_reading_needs_no_lock_and_can_not_write(store: Store, tmp_path: Path) -> None:
    begun = store.begin_flight(flight(), origin=None)
    with contextlib.closing(Store.read_only(tmp_path, LAB)) as reader:
        assert reader.memory().flights == {Vmid(101): begun}
        with pytest.raises(Retry) as refused:
            reader.pin("mine")
        assert refused.value.why is Why.STORE_FAILED
    assert read_memory(tmp_path, LAB) == store.memory()


def test_nothing_remembered_is_none_and_not_an_error(tmp_path: Path) -> None:
    assert read_memory(tmp_path, LAB) is None
    assert stored_sources(tmp_path) == ()
    with pytest.raises(Rejected) as refused:
        Store.read_only(tmp_path, LAB)
    assert refused.value.why is Why.NOT_FOUND


def test_sources_come_oldest_first_and_damaged_files_are_left_out(tmp_path: Path) -> None:
    for age, name in ((30, "b"), (10, "c"), (20, "a")):
        with contextlib.closing(Store.open(tmp_path, ClusterName(name))) as each:
            each.save_source(name)
        os.utime(tmp_path / f"{name}.sqlite3", (1e9 - age, 1e9 - age))
    (tmp_path / "d.sqlite3").write_bytes(b"not a database at all, just some bytes" * 100)
    assert stored_sources(tmp_path) == ("b", "a", "c")


def test_files_are_for_their_owner_only(store: Store, tmp_path: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


# Disks that refuse


@contextlib.contextmanager
def _file_size_limit(store: Store, path: Path) -> Iterator[None]:
    """No file may grow: writes fail in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def _no_pages_left(store: Store, path: Path) -> Iterator[None]:
    """SQLite's own 'database or disk is full'."""
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        store._database.execute("PRAGMA max_page_count = 1000000")


@contextlib.contextmanager
def _read_only_medium(store: Store, path: Path) -> Iterator[None]:
    store._database.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        store._database.execute("PRAGMA query_only = OFF")


@pytest.mark.parametrize("trouble", [_file_size_limit, _no_pages_left, _read_only_medium])
def test_a_disk_that_refuses_costs_the_write_and_nothing_else(
    store: Store, tmp_path: Path, trouble: Callable[[Store, Path], contextlib.AbstractContextManager[None]]
) -> None:
    begun = store.begin_flight(flight(), origin=origin())
    before = store.memory()
    big = dataclasses.replace(flight(102), tasks_before=frozenset(f"UPID:{n:050d}" for n in range(3000)))
    with trouble(store, tmp_path / "lab.sqlite3"):
        with pytest.raises(Retry) as failed:
            store.begin_flight(big, origin=None)
        assert failed.value.why is Why.STORE_FAILED
        assert "begin_flight" in failed.value.message
        assert store.memory() == before
    assert store.failure() == "", "the disk is well again, and asking finds out"
    store.attach_task(begun.id, UPID, ha=False)
    store.close()
    with contextlib.closing(Store.open(tmp_path, LAB)) as after:
        assert after.memory().flights[Vmid(101)].upid == UPID
        assert list(after.memory().flights) == [101]


def test_a_store_that_fails_says_so_until_it_can_be_written(store: Store, tmp_path: Path) -> None:
    with _read_only_medium(store, tmp_path):
        with pytest.raises(Retry):
            store.pin("lab")
        assert "read" in store.failure()
        assert store.failure() != "", "asking again does not make it well"


def test_a_directory_that_can_not_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Retry) as failed:
        Store.open(tmp_path / "file" / "state", LAB)
    assert failed.value.why is Why.STORE_FAILED


# Files that are not what they should be


def test_a_file_of_a_newer_drover_is_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path, LAB).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "lab.sqlite3")) as database:
        database.execute("PRAGMA user_version = 99")
    before = (tmp_path / "lab.sqlite3").read_bytes()
    with pytest.raises(Rejected) as refused:
        Store.open(tmp_path, LAB)
    assert "newer Drover (schema 99" in refused.value.message
    assert (tmp_path / "lab.sqlite3").read_bytes() == before


def test_a_file_of_the_first_version_is_brought_up_to_date_and_read_before_that(tmp_path: Path) -> None:
    with contextlib.closing(Store.open(tmp_path, LAB)) as store:
        store.begin_flight(flight(), origin=origin())
    with contextlib.closing(sqlite3.connect(tmp_path / "lab.sqlite3")) as database:
        for table in ("media", "replication", "refusals", "rates", "links", "notes"):
            database.execute(f"DROP TABLE {table}")
        database.execute("PRAGMA user_version = 1")
    with contextlib.closing(Store.read_only(tmp_path, LAB)) as reading:
        assert list(reading.memory().flights) == [101]
        assert reading.memory().media == {}
        assert reading.memory().replication == ReplicationMemory()
        assert not reading.memory().refusals
        assert not reading.memory().rates
        assert not reading.memory().links
        assert reading.memory().overrides == {}
    with contextlib.closing(Store.open(tmp_path, LAB)) as store:
        assert list(store.memory().flights) == [101]
        store.set_override(Override(PVE1, Order.DRAIN, "anna", 5.0, "[]"))
        store.remember_media(Ejected(flight().identity, NodeName("pve1"), {"ide2": "local:iso/a.iso"}, "", 1.0))
    with contextlib.closing(Store.open(tmp_path, LAB)) as store:
        assert store.memory().media[Vmid(101)].drives == {"ide2": "local:iso/a.iso"}
        assert store.memory().overrides == {PVE1: Override(PVE1, Order.DRAIN, "anna", 5.0, "[]")}
        store.forget_media([Vmid(101)])
        store.end_override(PVE1)
        assert store.memory().media == {}
        store.refuse(refusal())
        assert store.memory().refusals == {Vmid(101): {PVE2: refusal()}}
        assert store.memory().overrides == {}


def test_what_replication_needs_is_remembered_until_it_is_forgotten(tmp_path: Path) -> None:
    cause = ObjectRef("NodeMaintenance", "m")
    job = TemporaryJob("101-0", flight().identity, NodeName("pve1"), NodeName("pve2"), cause, 1.0)
    no = RefusedJob("101-1", flight().identity, JobVerb.CREATE, NodeName("pve3"), Why.NO_QUORUM, "no quorum", 2, 60.0)
    asked = AskedSync("101-0", NodeName("pve1"), NodeName("pve2"), 3.0, times=2)
    with contextlib.closing(Store.open(tmp_path, LAB)) as store:
        store.remember_job(job)
        store.refuse_job(no)
        store.ask_sync(asked)
        store.note_replication({"office": "RemoveJob"}, {NodeName("pve3"): 12.5})
    with contextlib.closing(Store.open(tmp_path, LAB)) as store:
        assert store.memory().replication == ReplicationMemory(
            {"101-0": job}, {"101-1": no}, {"101-0": asked}, {"office": "RemoveJob"}, {NodeName("pve3"): 12.5}
        )
        store.forget_jobs(["101-0", "101-9"])
        store.forget_refused(["101-1"])
        store.forget_asked(["101-0"])
        store.note_replication({}, {})
        assert store.memory().replication == ReplicationMemory()
    with contextlib.closing(Store.read_only(tmp_path, LAB)) as reading:
        assert reading.memory().replication == ReplicationMemory()


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "lab.sqlite3")) as database:
        database.execute("CREATE TABLE precious (x)")
    with pytest.raises(Rejected, match="not a state file of Drover"):
        Store.open(tmp_path, LAB)


@pytest.mark.parametrize("first", [0, 100, 4096])
def test_a_damaged_file_is_an_error_and_not_an_empty_memory(tmp_path: Path, first: int) -> None:
    with contextlib.closing(Store.open(tmp_path, LAB)) as store:
        store.begin_flight(flight(), origin=origin())
    path = tmp_path / "lab.sqlite3"
    content = bytearray(path.read_bytes())
    content[first : first + 8192] = b"\xa5" * 8192
    path.write_bytes(content)
    for opener in (Store.open, Store.read_only):
        with pytest.raises(DroverError) as failed:
            opener(tmp_path, LAB)
        assert failed.value.why is Why.STORE_FAILED
        assert path not in open_files(), "a daemon asks again every few seconds"
    with pytest.raises(DroverError):
        read_memory(tmp_path, LAB)


def open_files() -> set[Path]:
    """The files that this process has open."""
    return {entry.resolve() for entry in Path("/proc/self/fd").iterdir()}


# Crashes. Every verb that writes is one step.

STEPS: tuple[Callable[[Store], object], ...] = (
    lambda s: s.pin("production"),
    lambda s: s.save_source("{}"),
    lambda s: s.begin_flight(flight(101), origin=origin(101)),
    lambda s: s.attach_task(1, UPID, ha=False),
    lambda s: s.record_event(event("a"), event("b")),
    lambda s: s.begin_flight(flight(102), origin=origin(102)),
    lambda s: s.flight_phase(1, FlightPhase.VERIFYING, waiting="x", since=1.0),
    lambda s: s.end_flight(1, outcome(101), backoff=None, origin=origin(101, expected=PVE2)),
    lambda s: s.save_conditions({DRAIN: {"Draining": condition()}}),
    lambda s: s.end_flight(2, outcome(102, Result.FAILED), backoff=backoff(102), origin=None),
    lambda s: s.back_off(backoff(103)),
    lambda s: s.clear_backoff([Vmid(102), Vmid(103)]),
    lambda s: s.forget_origins([Vmid(101)]),
)


def _everything(store: Store) -> object:
    return (
        store.memory(),
        store.pinned(),
        store.source(),
        store.events(100),
        store.attempts(100),
        dict(store.conditions()),
    )


def _victim(directory: Path, statement: int) -> None:
    """Do `STEPS`, and die before SQL statement number `statement`."""
    store = Store.open(directory, LAB)
    numbers = itertools.count()

    def count(_sql: str) -> None:
        if next(numbers) == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    store._database.set_trace_callback(count)
    for step in STEPS:
        step(store)


def _crash_grid(directory: Path) -> None:
    """One child per SQL statement, until one of them survives all of `STEPS`."""
    for statement in itertools.count():
        child = os.fork()
        if child == 0:
            _victim(directory / str(statement), statement)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return
        assert os.WTERMSIG(status) == signal.SIGKILL


def test_a_kill_before_any_statement_leaves_the_state_of_a_whole_step(tmp_path: Path) -> None:
    states = []
    with contextlib.closing(Store.open(tmp_path / "sane", LAB)) as store:
        states.append(_everything(store))
        for step in STEPS:
            step(store)
            states.append(_everything(store))
    assert all(a != b for a, b in itertools.pairwise(states)), "every step leaves a trace"

    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, __file__, str(tmp_path / "grid")], check=True, cwd=root, env={"PYTHONPATH": str(root)}
    )

    found = []
    for number in itertools.count():
        directory = tmp_path / "grid" / str(number)
        if not directory.exists():
            break
        with contextlib.closing(Store.open(directory, LAB)) as store:
            state = _everything(store)
            assert state in states, f"killed before statement {number}: a state between two steps"
            found.append(states.index(state))
    assert found == sorted(found), "what was committed is never lost again"
    assert set(found) == set(range(len(states))), "kills fell into every step"


def _half_written(directory: Path) -> None:
    """Leave a file of which pages are written, but not committed."""
    store = Store.open(directory, LAB)
    store.begin_flight(flight(101), origin=None)
    store._database.execute("PRAGMA cache_size = 1")
    store._database.execute("BEGIN IMMEDIATE")
    store._database.execute("DELETE FROM flights")
    for vmid in range(1000, 1500):
        store._database.execute("INSERT INTO origins VALUES (?, ?)", (vmid, "x" * 1000))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("opener", [Store.read_only, Store.open])
def test_whoever_opens_first_after_a_kill_sees_what_was_committed(
    tmp_path: Path, opener: Callable[[Path, ClusterName], Store]
) -> None:
    root = Path(__file__).parents[2]
    victim = [sys.executable, __file__, str(tmp_path), "half"]
    assert subprocess.run(victim, check=False, cwd=root, env={"PYTHONPATH": str(root)}).returncode == -signal.SIGKILL
    assert (tmp_path / "lab.sqlite3-journal").stat().st_size > 0
    with contextlib.closing(opener(tmp_path, LAB)) as store:
        assert list(store.memory().flights) == [101]
        assert store.memory().origins == {}


def test_a_store_killed_while_it_was_being_made_opens(tmp_path: Path) -> None:
    (tmp_path / "lab.sqlite3").touch()
    Store.open(tmp_path, LAB).close()


if __name__ == "__main__":
    _half_written(Path(sys.argv[1])) if "half" in sys.argv else _crash_grid(Path(sys.argv[1]))
