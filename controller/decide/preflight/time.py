"""Checks of when the move may start and how long it is going to take. Listed in `preflight.CHECKS`."""

import math

from controller.decide.estimate import LIVE_SECONDS, Estimate, allowed_seconds, at_most, dirty_of, estimate, rate_of
from controller.decide.preflight.disks import copied
from controller.decide.preflight.finding import Finding, Level, Look, check, wait, warn
from controller.decide.windows import longest, of_policy, opening, too_short
from controller.decide.words import MIB, duration, size
from controller.model.reasons import Why
from controller.specs.migrationpolicy import OnDowntimeExceeded


def expected(look: Look) -> Estimate:
    """What the move takes, with all that was read just now and all that was learned of its guest and nodes."""
    move = look.move
    return estimate(
        kind=move.kind,
        running=look.running,
        memory_bytes=look.size or 0,
        disk_bytes=sum(disk.size_bytes or 0 for disk in copied(look)),
        rate=rate_of(
            move.source,
            move.target,
            limit_mib_s=move.options.bandwidth_limit_mib_s,
            cluster=look.cluster,
            specs=look.specs,
            memory=look.memory,
        ),
        dirty_bytes_s=dirty_of(look.memory, move.identity),
    )


@check(Why.WINDOW_CLOSED, Why.WINDOW_TOO_SHORT)
def change_window_is_open(look: Look) -> tuple[Finding, ...]:
    """The windows of the PveCluster, and of its Allows those that the guest's MigrationPolicy names; the estimated end counts."""
    windows = of_policy(look.move.options.policy, look.specs, look.cluster)
    now = opening(windows, look.seen.at)
    if now.open and now.until == math.inf:
        return ()
    takes = at_most(expected(look), look.policy.completion_timeout_seconds_per_gib)
    word = too_short(now, takes, longest(windows, look.seen.at), look.seen.at)
    if word is not None:
        return wait(Why.WINDOW_TOO_SHORT, word[0])
    return () if now.open else wait(Why.WINDOW_CLOSED, now.message)


@check(Why.TOO_SLOW, Why.NOT_CHECKED)
def duration_is_within_the_policy(look: Look) -> tuple[Finding, ...]:
    """All that has to be sent, at the rates that were written down or learned, against `completionTimeoutSecondsPerGiB`."""
    allowed = look.policy.completion_timeout_seconds_per_gib
    if look.guest is None or not look.live or not look.size or not allowed:
        return ()
    takes = expected(look)
    if not takes.rate.known:
        return (Finding(Level.OK, Why.NOT_CHECKED, f"{takes}; no bandwidth is set or learned yet"),)
    if not takes.converges:
        return ()  # the next check's matter
    total = look.size + sum(disk.size_bytes or 0 for disk in copied(look))
    most = allowed_seconds(allowed, total)
    text = f"{takes}; the policy allows {duration(most)}"
    return (
        warn(Why.TOO_SLOW, text) if takes.seconds - LIVE_SECONDS > most else (Finding(Level.OK, Why.AS_EXPECTED, text),)
    )


@check(Why.NOT_CONVERGING)
def memory_converges(look: Look) -> tuple[Finding, ...]:
    """How fast the guest changed its memory at earlier moves, against the rate of sending; PVE tells neither beforehand."""
    if look.guest is None or not look.live:
        return ()
    takes = expected(look)
    if takes.dirty_bytes_s is None or not takes.rate.known:
        return ()
    changes, sent = size(int(takes.dirty_bytes_s)), f"{takes.rate.bytes_s / MIB:.0f} MiB/s"
    if takes.converges:
        return (Finding(Level.OK, Why.AS_EXPECTED, f"it changes {changes}/s of its memory, {sent} are sent"),)
    most = look.policy.max_downtime_milliseconds
    aborts = look.policy.on_downtime_exceeded is OnDowntimeExceeded.ABORT
    end = f"Drover stops it when that exceeds {most} ms" if aborts else "the policy lets that happen"
    text = f"it changes {changes}/s of its memory, but only {sent} are sent: PVE would let it stand still for longer; {end}"
    return warn(Why.NOT_CONVERGING, text)
