"""When a move is stopped, row by row: what the log says, second after second, and after how many seconds it is too much."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.act.guards import History, judge, limits, remember
from controller.model.ids import Upid
from controller.model.memory import Abort, Flight, Limits
from controller.model.outcome import Progress
from controller.model.plan import MoveOptions
from controller.model.reasons import Why
from controller.pve import tasklog
from controller.specs import Meta, MigrationPolicy, Specs
from controller.specs.migrationpolicy import MigrationPolicySpec
from tests.act.desk import FLIGHT, OURS, upid

MOVE = replace(FLIGHT, upid=OURS, memory_bytes=4 << 30, limits=Limits(1000, 60, 20))
OFFLINE = replace(MOVE, options=MoveOptions(online=False), was_running=False)
START = ("starting migration of VM 101 to node 'pve2' (10.0.0.2)", "starting online/live migration on unix:/x")
SECONDS = 1000


def memory(sent_gib: float, rate: str = "100.0 MiB", dirty: str = "") -> str:
    busy = f", VM dirties lots of memory: {dirty}/s" if dirty else ""
    return f"migration active, transferred {sent_gib:.1f} GiB of 4.0 GiB VM-state, {rate}/s{busy}"


def mirror(percent: float, total: str = "2.0 TiB", sent: str = "1.0 TiB") -> str:
    return f"mirror-scsi0: transferred {sent} of {total} ({percent:.2f}%) in 10s"


def ends(flight: Flight, lines: Callable[[int], Iterable[str]], *, age: float = 0.0) -> tuple[int, Abort] | None:
    """Second by second; when the guard has had enough, and why."""
    progress, history = Progress(), None
    for second in range(SECONDS):
        progress = tasklog.follow(progress, list(lines(second)))
        history = remember(history, flight, progress, now=second, age=age + second)
        if (abort := judge(flight, progress, history, now=second)) is not None:
            return second, abort
    return None


def live(after: Callable[[int], str | None]) -> Callable[[int], Sequence[str]]:
    """A log that begins as every live migration, and then says a line a second."""

    def lines(second: int) -> Sequence[str]:
        line = after(second)
        return (*(START if second == 0 else ()), *((line,) if line else ()))

    return lines


def disks(after: Callable[[int], str | None]) -> Callable[[int], Sequence[str]]:
    def lines(second: int) -> Sequence[str]:
        line = after(second)
        return (*(("starting storage migration",) if second == 0 else ()), *((line,) if line else ()))

    return lines


@dataclass(frozen=True)
class Row:
    lines: Callable[[int], Iterable[str]]
    at: int | None  # the second at which the move is stopped
    why: Why | None = None
    flight: Flight = MOVE
    age: float = 0.0


NO_TIMEOUT = replace(MOVE, limits=Limits(1000, 60, 0))
ONLY_STALL = replace(MOVE, limits=Limits(0, 60, 0))
ROWS = {
    "a quiet guest is never stopped": Row(live(lambda s: memory(min(4.0, s / 10))), 81, Why.TIMED_OUT_MOVING),
    "a quiet guest under a policy without limit of time": Row(live(lambda s: memory(s / 10)), None, flight=NO_TIMEOUT),
    "nothing is sent any more": Row(
        live(lambda s: memory(s / 10) if s < 20 else None), 79, Why.STALLED, flight=NO_TIMEOUT
    ),
    "a trickle is no progress": Row(
        live(lambda s: memory(s / 10) if s < 20 else memory(2.0, "2.0 KiB")), 80, Why.STALLED, flight=NO_TIMEOUT
    ),
    "it writes as fast as it is sent, all the time": Row(
        live(lambda s: memory(s / 10, dirty="180.0 MiB" if s > 40 else "")), 101, Why.STALLED, flight=NO_TIMEOUT
    ),
    "it writes too fast now and then: a saw-tooth": Row(
        live(lambda s: memory(s / 10, dirty="180.0 MiB" if s % 50 else "")), None, flight=ONLY_STALL
    ),
    "QEMU slows it down, step by step": Row(
        live(lambda s: memory(s / 10, dirty=f"{2000 * 0.8 ** (s // 50):.1f} MiB")), None, flight=ONLY_STALL
    ),
    "it writes less and less": Row(
        live(lambda s: memory(s / 10, dirty=f"{2000 * 0.998**s:.1f} MiB")), None, flight=ONLY_STALL
    ),
    "what it writes is only noise": Row(
        live(lambda s: memory(s / 10 if s < 45 else 4.5, dirty=f"{800 - s % 7 - s / 50:.1f} MiB")),
        100,
        Why.STALLED,
        flight=ONLY_STALL,
    ),
    "PVE raises its limit up to the policy's": Row(
        live(lambda s: f"auto-increased downtime to continue migration: {100 * 2**s} ms" if s < 4 else memory(s / 10)),
        None,
        flight=NO_TIMEOUT,
    ),
    "PVE raises its limit over the policy's": Row(
        live(lambda s: f"auto-increased downtime to continue migration: {100 * 2**s} ms"), 4, Why.DOWNTIME_EXCEEDED
    ),
    "the guest's own limit is what somebody wanted": Row(
        live(lambda s: "migration downtime limit: 4000 ms" if s == 0 else memory(s / 10)), None, flight=NO_TIMEOUT
    ),
    "nobody minds a pause": Row(
        live(lambda s: f"auto-increased downtime to continue migration: {100 * 2**s} ms" if s < 9 else memory(s / 10)),
        None,
        flight=ONLY_STALL,
    ),
    "a huge disk moves in steps finer than its text": Row(
        disks(lambda s: mirror(s / 50)), None, flight=ONLY_STALL
    ),
    "a disk that is written as fast as it is sent": Row(
        disks(lambda s: mirror(50.0 - s % 3)), 60, Why.STALLED, flight=ONLY_STALL
    ),
    "a disk that the guest fills while it moves: a saw-tooth": Row(
        disks(lambda s: mirror(s / 20 - 2 * (s % 40 > 30))), None, flight=ONLY_STALL
    ),
    "the memory begins when the disks are there": Row(
        lambda s: ("starting storage migration", mirror(100.0) + ", ready") if s == 0 else (START[1], memory(s / 10)),
        None,
        flight=ONLY_STALL,
    ),
    "the next disk begins its own time": Row(
        disks(lambda s: mirror(s) if s < 50 else mirror(1.0).replace("scsi0", "scsi1") if s > 90 else None),
        151,
        Why.STALLED,
        flight=ONLY_STALL,
    ),
    "a tool that copies without a word": Row(
        disks(lambda s: "Formatting '/x', fmt=qcow2 size=107374182400" if s == 0 else None), None, flight=ONLY_STALL
    ),
    "shutting a container down takes as long as it takes": Row(
        lambda s: ("shutdown CT 101",) if s == 0 else (), None, flight=OFFLINE
    ),
    "small moves have a minute": Row(
        live(lambda s: memory(s / 100)), 61, Why.TIMED_OUT_MOVING, flight=replace(MOVE, memory_bytes=1 << 30)
    ),
    "disks that are copied get their time": Row(
        disks(lambda s: mirror(s / 50, "8.0 GiB", "1.0 GiB")), 241, Why.TIMED_OUT_MOVING
    ),
    "a restart of Drover gives no time": Row(live(lambda s: memory(s / 100)), 51, Why.TIMED_OUT_MOVING, age=30.0),
    "what PVE HA was asked for waits for HA": Row(
        live(lambda s: memory(s / 100)), 81, Why.TIMED_OUT_MOVING, flight=replace(MOVE, ha=True), age=30.0
    ),
    "the size of an offline copy is not known": Row(
        disks(lambda s: "mirror-scsi0: x" if s else "drive mirror is starting for drive-scsi0"), None, flight=OFFLINE
    ),
    "never once the memory is over": Row(
        lambda s: (
            (*START, memory(1.0), "auto-increased downtime to continue migration: 9000 ms",
             "migration completed, transferred 3.9 GiB VM-state") if s == 0 else ()
        ),
        None,
    ),
    "never at the end": Row(
        lambda s: (*START, memory(1.0), "stopping NBD storage migration server on target.") if s == 0 else (), None
    ),
    "a policy that limits nothing": Row(
        live(lambda s: f"auto-increased downtime to continue migration: {100 * 2**min(s, 14)} ms"),
        None,
        flight=replace(MOVE, limits=Limits()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_move_is_stopped_when_it_is_too_much_and_not_before(row: Row) -> None:
    found = ends(row.flight, row.lines, age=row.age)
    assert (found[0], found[1].why) == (row.at, row.why) if found else (row.at, row.why) == (None, None)


@settings(max_examples=25)
@given(st.lists(st.sampled_from([None, "", "50.0 MiB", "99.0 MiB", "300.0 MiB"]), min_size=300, max_size=300))
def test_a_guest_that_lets_memory_through_once_in_a_while_is_never_called_stalled(dirty: list[str | None]) -> None:
    said = [value if second % 59 else "" for second, value in enumerate(dirty)]

    def line(second: int) -> str | None:
        value = said[second % 300]
        return None if value is None else memory(9.9, dirty=value)

    assert ends(ONLY_STALL, live(line)) is None


def test_another_task_of_the_same_guest_begins_anew() -> None:
    progress = tasklog.follow(Progress(), [*START, memory(2.0)])
    before = History(Upid(upid(number=7)), 0.0, ("memory",), 0.0, 0.0, 0.0, 99)
    assert remember(before, MOVE, progress, now=500.0, age=1.0).better_at == 500.0


def test_the_limits_are_those_of_the_policy_or_the_defaults() -> None:
    spec = {
        "guestSelector": {},
        "maxDowntimeMilliseconds": 50,
        "onDowntimeExceeded": "Continue",
        "stallTimeoutSeconds": 5,
    }
    policy = MigrationPolicy(metadata=Meta(name="calm"), spec=MigrationPolicySpec.model_validate(spec))
    specs = Specs.of([policy])
    assert limits("calm", specs) == Limits(0, 5, 20)
    assert limits("", specs) == limits("gone", specs) == Limits(1000, 60, 20)
