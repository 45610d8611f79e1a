"""Change windows: whether moves may start now, until when, and when that changes. Pure.

Called by `decide.gate` and `decide.preflight` (per guest), by `act.guardrails` (the whole cluster) and by `loop` (when to look
again). Deny beats Allow; where an Allow exists it is closed outside of them. Time zones come from `zoneinfo`.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import merge
from itertools import groupby, islice

from controller.decide.words import duration
from controller.model import cron, zones
from controller.specs import PveCluster, Specs
from controller.specs.pvecluster import Window, WindowKind

_EDGES = 600  # looked at before "for ever" is the answer: windows that overlap without end
_FLIPS = 128  # looked at to say how long it is open at most


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


class Openings:
    """How it stands for the guests of each MigrationPolicy at one moment. Computed when asked: thousands share a few policies."""

    def __init__(self, specs: Specs, cluster: PveCluster, at: float) -> None:
        self._specs, self._cluster, self._at = specs, cluster, at
        self._known: dict[str, Opening] = {}
        self._longest: dict[str, float] = {}

    def of(self, policy: str) -> Opening:
        """For guests of the policy; "" = those without one."""
        if policy not in self._known:
            self._known[policy] = opening(of_policy(policy, self._specs, self._cluster), self._at)
        return self._known[policy]

    def longest(self, policy: str) -> float:
        """Seconds at a stretch at most, for guests of the policy."""
        if policy not in self._longest:
            self._longest[policy] = longest(of_policy(policy, self._specs, self._cluster), self._at)
        return self._longest[policy]


def of_policy(policy: str, specs: Specs, cluster: PveCluster) -> tuple[Window, ...]:
    """The windows that count for a guest of a MigrationPolicy: those of the cluster that it names; Denies count anyway."""
    found = specs.migrations.get(policy)
    names = found.spec.windows if found is not None else ()
    if not names:
        return cluster.spec.windows
    return tuple(w for w in cluster.spec.windows if w.name in names or w.kind is WindowKind.DENY)


def opening(windows: Sequence[Window], at: float) -> Opening:
    """How it stands at `at` (epoch seconds)."""
    if not windows:
        return ALWAYS
    if broken := _broken(windows):
        return Opening(False, message=broken)
    line = _timeline(windows, at)
    _, now, _ = next(line)
    until, _, cause = next(line, (math.inf, not now, ""))
    if now:
        return Opening(True, until, name=cause, zone=_zone_of(windows, cause))
    return _closed(windows, at, until, cause)


def longest(windows: Sequence[Window], at: float) -> float:
    """Seconds that it is open at a stretch at most, as far as one can see; inf when it never closes."""
    if not windows:
        return math.inf
    if _broken(windows):
        return 0.0
    best, since = 0.0, math.inf
    for edge, now, _ in islice(_timeline(windows, at), _FLIPS):
        if now:
            since = edge
        else:
            best, since = max(best, edge - since), math.inf
    return best if since == math.inf else max(best, opening(windows, since).until - since)


def next_change(specs: Specs, cluster: PveCluster, at: float) -> float | None:
    """When it opens or closes next, for the cluster or for the guests of one of its policies; None: it stays as it is."""
    if not cluster.spec.windows:
        return None
    openings = Openings(specs, cluster, at)
    soonest = min(openings.of(policy).until for policy in ("", *specs.migrations))
    return None if soonest == math.inf else soonest


def clock(epoch: float, zone: str) -> str:
    """A moment as people who wrote the window read it: `Mon 2026-11-23 22:00 CET`."""
    return datetime.fromtimestamp(epoch, zones.find(zone) or UTC).strftime("%a %Y-%m-%d %H:%M %Z")


def _closed(windows: Sequence[Window], at: float, until: float, cause: str) -> Opening:
    denying = next((w for w in windows if w.kind is WindowKind.DENY and _inside(w, at)), None)
    reason = f"window {denying.name} (Deny) is open" if denying is not None else "no Allow window is open"
    if until == math.inf:
        return Opening(False, message=f"{reason}, and none of the windows ever lets anything start")
    zone = _zone_of(windows, cause)
    return Opening(False, until, f"{reason}; moves may start again {clock(until, zone)}", cause, zone)


def _timeline(windows: Sequence[Window], at: float) -> Iterator[tuple[float, bool, str]]:
    """How it stands at `at`, then every later moment at which that changes, with the name of a window that is the cause."""
    edges = merge(*(_edges_of(index, window, at) for index, window in enumerate(windows)))
    active = Counter[WindowKind]()
    restricted = any(window.kind is WindowKind.ALLOW for window in windows)
    state: bool | None = None
    for moment, same in islice(groupby(edges, key=lambda edge: edge[0]), _EDGES):
        if state is None and moment > at:
            state = _is_open(active, restricted=restricted)
            yield at, state, ""
        cause = ""
        for _, index, delta in same:
            cause = windows[index].name
            active[windows[index].kind] += delta
        now = _is_open(active, restricted=restricted)
        if state is not None and now is not state:
            yield moment, now, cause
            state = now
    if state is None:
        yield at, _is_open(active, restricted=restricted), ""


def _is_open(active: Counter[WindowKind], *, restricted: bool) -> bool:
    return not active[WindowKind.DENY] and (bool(active[WindowKind.ALLOW]) or not restricted)


def _edges_of(index: int, window: Window, at: float) -> Iterator[tuple[float, int, int]]:
    """Beginnings (1) and ends (-1) of a window; those that have begun by `at` come at that moment."""
    seconds = window.duration_seconds
    begins = ((max(start, at), index, 1) for start in _starts(window, at - seconds))
    ends = ((start + seconds, index, -1) for start in _starts(window, at - seconds))
    return merge(begins, ends)


def _inside(window: Window, at: float) -> bool:
    return next(_starts(window, at - window.duration_seconds), math.inf) <= at


def _starts(window: Window, after: float) -> Iterator[float]:
    zone = zones.find(window.time_zone)
    assert zone is not None, "asked only for windows that are not broken"
    return cron.parse(window.schedule).after(after, zone)


def _zone_of(windows: Sequence[Window], name: str) -> str:
    return next((window.time_zone for window in windows if window.name == name), "UTC")


def _broken(windows: Sequence[Window]) -> str:
    """What keeps anybody from knowing when a window is open: then nothing starts."""
    for window in windows:
        if zones.find(window.time_zone) is None:
            return (
                f"window {window.name} counts by {window.time_zone}, which the time zone data of this machine does not"
                " have: check the name, or install tzdata"
            )
    return ""


def too_short(opening_: Opening, least_seconds: float, longest_seconds: float, at: float) -> tuple[str, bool] | None:
    """Why a move that takes so long may not start now, and whether it never may. None: it may, or all moves have to wait."""
    takes = f"the move is estimated to take {duration(least_seconds)}"
    if least_seconds > longest_seconds:
        return f"{takes}, and no window is open for more than {duration(longest_seconds)} at a stretch", True
    if not opening_.open or opening_.has_room_for(least_seconds, at):
        return None
    return f"{takes}, but the window closes {clock(opening_.until, opening_.zone)}", False
