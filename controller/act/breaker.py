"""The circuit breaker: when moves of several guests fail one after the other, the fault is not the guests'. Pure.

Called by `loop.tick` with the latest attempts. One guest that fails again and again is a matter of its own back-off.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from controller.model.ids import NodeName, Vmid
from controller.model.outcome import Outcome, Result
from controller.model.view import BreakerState
from controller.specs.pvecluster import CircuitBreaker

ATTEMPTS = 200
"""How many of the latest attempts are looked at: more than can end in any window that makes sense."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Trip:
    """Why no move is started, or only one for a try. until: epoch seconds, our clock."""

    open: bool  # False: half open, one move at a time shows whether things work again
    until: float
    message: str


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of the cluster (None: closed), and those of nodes that take nobody for a while."""

    cluster: Trip | None = None
    nodes: Mapping[NodeName, Trip] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def state(self) -> BreakerState:
        """That of the cluster, in a word."""
        if self.cluster is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.cluster.open else BreakerState.HALF_OPEN


def state(attempts: Sequence[Outcome], policy: CircuitBreaker, now: float) -> Breaker:
    """The breakers after `attempts`, the newest first; `now` in epoch seconds, our clock."""
    ended = [attempt for attempt in attempts if attempt.result in (Result.SUCCEEDED, Result.FAILED, Result.STUCK)]
    targets = {attempt.target for attempt in ended}
    tried = {node: _trip([a for a in ended if a.target == node], policy, now, f"to {node} ") for node in targets}
    nodes = {node: trip for node, trip in sorted(tried.items()) if trip is not None and trip.open}
    return Breaker(_of_cluster(ended, nodes, policy, now), MappingProxyType(nodes))


def _of_cluster(
    ended: Sequence[Outcome], nodes: Mapping[NodeName, Trip], policy: CircuitBreaker, now: float
) -> Trip | None:
    """A target that refuses everybody is left out; what fails elsewhere, too, stops the cluster."""
    return _trip([attempt for attempt in ended if attempt.target not in nodes], policy, now, "")


def _trip(ended: Sequence[Outcome], policy: CircuitBreaker, now: float, where: str) -> Trip | None:
    failed = _since_success(ended)
    if not failed:
        return None
    last = failed[0].at
    guests: dict[Vmid, str] = {a.vmid: a.name for a in failed if a.at >= last - policy.window_seconds}
    half_open, closed = last + policy.open_seconds, last + 2 * policy.open_seconds
    if len(guests) < policy.failures or now >= closed:
        return None
    named = ", ".join(list(guests.values())[:_NAMED]) + (" and others" if len(guests) > _NAMED else "")
    happened = f"the last moves {where}of {len(guests)} guests failed ({named})"
    if now < half_open:
        again = datetime.fromtimestamp(half_open, UTC).strftime("%H:%M:%S UTC")
        return Trip(True, half_open, f"{happened}; nothing is started {where}before {again}")
    return Trip(False, closed, f"{happened}; one move at a time is tried {where}until one succeeds")


def _since_success(ended: Iterable[Outcome]) -> list[Outcome]:
    found = []
    for attempt in ended:
        if attempt.result is Result.SUCCEEDED:
            break
        found.append(attempt)
    return found
