"""Change windows: whether moves may start now, until when, and when that changes. Pure.

Called by `decide.gate` and `decide.preflight` (per guest), by `act.guardrails` (the whole cluster) and by `loop` (when to look
again). Deny beats Allow; where an Allow exists it is closed outside of them. Time zones come from `zoneinfo`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from heapq import merge
from itertools import groupby
from zoneinfo import ZoneInfo

from controller.model import cron
from controller.specs import PveCluster, Specs
from controller.specs.pvecluster import Window, WindowKind

_EDGES = 4000  # looked at before "for ever" is the answer: eleven years of a daily window
_PERIODS = 64  # looked at to say how long it is open at most


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether it is open. `until`: epoch seconds when that changes, inf = it does not. `message`: a sentence when it is closed."""

    open: bool
    until: float = math.inf
    message: str = ""
    name: str = ""  # of the window that closes it, or that opens next
    zone: str = "UTC"

    def has_room_for(self, seconds: float, at: float) -> bool:
        """Whether what starts at `at` and takes that long is over before it closes."""
        return self.open and at + seconds <= self.until


ALWAYS = Opening(True)


def of_cluster(cluster: PveCluster) -> tuple[Window, ...]:
    """The windows that count for everything in the cluster."""
    return cluster.spec.windows


def of_policy(policy: str, specs: Specs, cluster: PveCluster) -> tuple[Window, ...]:
    """The windows that count for a guest of a MigrationPolicy: those of the cluster that it names; Denies count anyway."""
    found = specs.migrations.get(policy)
    names = found.spec.windows if found is not None else ()
    if not names:
        return of_cluster(cluster)
    return tuple(w for w in cluster.spec.windows if w.name in names or w.kind is WindowKind.DENY)


def opening(windows: Sequence[Window], at: float) -> Opening:
    """How it stands at `at` (epoch seconds)."""
    if not windows:
        return ALWAYS
    if _broken(windows):
        return Opening(False, message=_broken(windows))
    state = _state(windows, at)
    until, cause = next(((edge, name) for edge, now, name in _edges(windows, at) if now is not state), (math.inf, ""))
    if state:
        return Opening(True, until, name=cause, zone=_zone_of(windows, cause))
    return _closed(windows, at, until, cause)


def longest(windows: Sequence[Window], at: float) -> float:
    """Seconds that it is open at a stretch at most, as far as one can see; inf when it never closes."""
    if not windows:
        return math.inf
    if _broken(windows):
        return 0.0
    best, since = 0.0, at if _state(windows, at) else None
    flips = 0
    for edge, now, _ in _edges(windows, at):
        if now and since is None:
            since = edge
        elif not now and since is not None:
            best, since, flips = max(best, edge - since), None, flips + 1
            if flips >= _PERIODS:
                return best
    return math.inf if since is not None else best


def clock(epoch: float, zone: str) -> str:
    """A moment as people who wrote the window read it: `Mon 2026-11-23 22:00 CET`."""
    return datetime.fromtimestamp(epoch, _zone(zone) or UTC).strftime("%a %Y-%m-%d %H:%M %Z")


def _closed(windows: Sequence[Window], at: float, until: float, cause: str) -> Opening:
    denying = next((w for w in windows if w.kind is WindowKind.DENY and _inside(w, at)), None)
    reason = f"window {denying.name} (Deny) is open" if denying is not None else "no Allow window is open"
    if until == math.inf:
        return Opening(False, message=f"{reason}, and none of the windows ever lets anything start")
    zone = _zone_of(windows, cause)
    return Opening(False, until, f"{reason}; moves may start again {clock(until, zone)}", cause, zone)


def _state(windows: Sequence[Window], at: float) -> bool:
    allows = [window for window in windows if window.kind is WindowKind.ALLOW]
    if any(_inside(window, at) for window in windows if window.kind is WindowKind.DENY):
        return False
    return not allows or any(_inside(window, at) for window in allows)


def _inside(window: Window, at: float) -> bool:
    start = next(_starts(window, at - window.duration_seconds), math.inf)
    return start <= at


def _edges(windows: Sequence[Window], at: float) -> Iterator[tuple[float, bool, str]]:
    """Moments later than `at` at which a window begins or ends, how it stands from then on, and the name of such a window."""
    streams = [_edges_of(window, at) for window in windows]
    for count, (edge, same) in enumerate(groupby(merge(*streams), key=lambda pair: pair[0])):
        if count >= _EDGES:
            return
        yield edge, _state(windows, edge), next(name for _, name in same)


def _edges_of(window: Window, at: float) -> Iterator[tuple[float, str]]:
    begins = ((start, window.name) for start in _starts(window, at))
    ends = (
        (start + window.duration_seconds, window.name)
        for start in _starts(window, at - window.duration_seconds)
        if start + window.duration_seconds > at
    )
    return merge(begins, ends)


def _starts(window: Window, after: float) -> Iterator[float]:
    zone = _zone(window.time_zone)
    assert zone is not None, "asked only for windows that are not broken"
    return cron.parse(window.schedule).after(after, zone)


def _zone_of(windows: Sequence[Window], name: str) -> str:
    return next((window.time_zone for window in windows if window.name == name), "UTC")


def _broken(windows: Sequence[Window]) -> str:
    """What keeps anybody from knowing when a window is open: then nothing starts."""
    for window in windows:
        if _zone(window.time_zone) is None:
            return (
                f"window {window.name} counts by {window.time_zone}, which the time zone data of this machine does not"
                " have: check the name, or install tzdata"
            )
    return ""


def _zone(name: str) -> tzinfo | None:
    if name == "UTC":
        return UTC  # known on every machine
    try:
        return ZoneInfo(name)
    except (
        OSError,
        ValueError,
        KeyError,
    ):  # ZoneInfoNotFoundError is a KeyError; a directory such as `Europe` an OSError
        return None
