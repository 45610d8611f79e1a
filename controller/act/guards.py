"""When a move that is under way has to be stopped, judged by what its task's log says. Pure; called by `act.abort`.

PVE itself never gives up: it doubles the pause that it allows itself until the guest's memory fits into it, and has no limit
of time (qemu-server: PVE/QemuMigrate.pm).
"""

import math
from dataclasses import dataclass

from controller.decide.estimate import allowed_seconds
from controller.model.ids import Upid
from controller.model.memory import Abort, Flight, Limits, Verify
from controller.model.outcome import Progress, Stream
from controller.model.reasons import Why
from controller.pve.tasklog import DISKS, MEMORY
from controller.specs import MigrationPolicy, Specs
from controller.specs.migrationpolicy import MigrationPolicySpec, OnDowntimeExceeded

_DEFAULTS = MigrationPolicy.model_validate({"metadata": {"name": "defaults"}, "spec": {"guestSelector": {}}}).spec
_GIB = 1 << 30
_MEMORY = "memory"  # what `pve.tasklog` calls this stream
_LESS = (
    0.95  # QEMU slows the guest down step by step (auto-converge), which takes its time and is progress; noise is not
)
_FOREVER_SECONDS = 86_400  # who needs a day for the memory alone makes no progress


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of one task between two looks at its log. Monotonic seconds."""

    upid: Upid
    since: float  # when it began to send
    streams: tuple[str, ...]  # what `least` is the sum of: something new to send is no step back
    least: float  # bytes left, the fewest so far
    gap: float  # bytes per second by which the guest changes its memory faster than it is sent, the fewest so far
    better_at: float  # when there was progress
    lines: int


def limits(policy: str, specs: Specs) -> Limits:
    """What the moves of a MigrationPolicy may cost; "" or a policy that is gone: the defaults."""
    spec = _spec(policy, specs)
    aborts = spec.on_downtime_exceeded is OnDowntimeExceeded.ABORT
    return Limits(
        downtime_ms=spec.max_downtime_milliseconds if aborts else 0,
        stall_seconds=spec.stall_timeout_seconds,
        seconds_per_gib=spec.completion_timeout_seconds_per_gib,
    )


def verify(policy: str, specs: Specs) -> Verify:
    """What has to be seen after the moves of a MigrationPolicy; "" or a policy that is gone: the defaults."""
    spec = _spec(policy, specs).verify
    return Verify(spec.min_healthy_seconds, spec.guest_agent_ping)


def _spec(policy: str, specs: Specs) -> MigrationPolicySpec:
    found = specs.migrations.get(policy)
    return found.spec if found is not None else _DEFAULTS


def sends(progress: Progress) -> bool:
    """Whether the move can still be called off without harm: preparing takes as long as it takes, and an end is an end."""
    handing_over = any(stream.name == _MEMORY and stream.done for stream in progress.streams)
    return progress.phase in (DISKS, MEMORY) and not handing_over


def remember(before: History | None, flight: Flight, progress: Progress, *, now: float, age: float) -> History:
    """The history after one more look. now: monotonic seconds. age: seconds since the move began, by our wall clock.

    The age counts only for a live move of which nothing is known, as after a restart: containers are shut down first, and
    PVE HA begins when it likes.
    """
    assert flight.upid is not None
    streams = tuple(stream.name for stream in progress.streams)
    left = sum(_left(stream) for stream in progress.streams if not stream.done)
    gap = progress.dirty_bytes_s - _memory_rate(progress) if progress.dirty_bytes_s is not None else math.inf
    if before is None or before.upid != flight.upid:
        passed = max(0.0, age) if flight.options.online and not flight.ha else 0.0
        return History(flight.upid, now - passed, streams, left, gap, now, progress.lines)
    new = streams != before.streams
    closer = gap < before.gap * _LESS  # against where it was last closer: many small steps are one
    better = new or left < before.least or (progress.lines > before.lines and (_gains(progress) or closer))
    return History(
        upid=flight.upid,
        since=before.since,
        streams=streams,
        least=left if new else min(left, before.least),
        gap=gap if new or closer else before.gap,
        better_at=now if better else before.better_at,
        lines=progress.lines,
    )


def judge(flight: Flight, progress: Progress, history: History, *, now: float, held: bool = False) -> Abort | None:
    """Why the move has to be stopped at `now` (monotonic seconds); None: it may go on. held: its pause is (`act.pilot`)."""
    if not sends(progress):
        return None
    return (
        (None if held else _downtime(flight, progress))
        or _stall(flight, progress, history, now)
        or _timeout(flight, progress, history, now)
    )


def _downtime(flight: Flight, progress: Progress) -> Abort | None:
    allowed, limit = flight.limits.downtime_ms, progress.downtime_limit_ms or 0
    # A limit that PVE has not raised is the guest's own `migrate_downtime`, which somebody wanted.
    if not allowed or not progress.downtime_raised or limit <= allowed:
        return None
    text = (
        f"the guest changes its memory faster than it can be sent, and PVE would let it stand still for {limit} ms;"
        f" the policy allows {allowed} ms"
    )
    return Abort(Why.DOWNTIME_EXCEEDED, text)


def _stall(flight: Flight, progress: Progress, history: History, now: float) -> Abort | None:
    allowed = flight.limits.stall_seconds
    spoken = any(stream.sent_bytes and not stream.done for stream in progress.streams)  # some tools copy without a word
    if not allowed or not spoken or now - history.better_at < allowed:
        return None
    return Abort(Why.STALLED, f"what is left to send has not become less for {allowed} s")


def _timeout(flight: Flight, progress: Progress, history: History, now: float) -> Abort | None:
    size = _size(flight, progress)
    if not flight.limits.seconds_per_gib or not size:
        return None
    allowed = allowed_seconds(flight.limits.seconds_per_gib, size)
    if now - history.since <= allowed:
        return None
    text = f"it takes longer than the {allowed:.0f} s that the policy allows for {size / _GIB:.1f} GiB"
    return Abort(Why.TIMED_OUT_MOVING, text)


def _size(flight: Flight, progress: Progress) -> int | None:
    """Bytes that have to be sent, memory and disks; None when nobody knows."""
    totals = [stream.total_bytes for stream in progress.streams if stream.name != _MEMORY]
    memory = flight.memory_bytes if flight.options.online else 0
    return memory + sum(total or 0 for total in totals) if None not in totals else None


def _left(stream: Stream) -> float:
    """Bytes left of a stream; of one without a known end the fewer the more is sent."""
    if stream.total_bytes is None:
        return float(-stream.sent_bytes)
    if stream.share is not None:
        return stream.total_bytes * (1.0 - stream.share)
    return float(max(0, stream.total_bytes - stream.sent_bytes))


def _gains(progress: Progress) -> bool:
    """Whether memory is sent faster than the guest changes it: the log does not say how much of it is left."""
    total = sum(stream.total_bytes or 0 for stream in progress.streams if stream.name == _MEMORY)
    return _memory_rate(progress) - (progress.dirty_bytes_s or 0.0) > total / _FOREVER_SECONDS


def _memory_rate(progress: Progress) -> float:
    return sum(stream.rate_bytes_s or 0.0 for stream in progress.streams if stream.name == _MEMORY and not stream.done)
