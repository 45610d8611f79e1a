"""The closed lists of reasons and results that label series. Used by the modules of this folder and by tests."""

from collections.abc import Iterable
from enum import StrEnum

from controller.model.outcome import Result
from controller.model.reasons import Why
from controller.model.view import ClusterView


def _section(first: Why, last: Why) -> tuple[Why, ...]:
    """The reasons from `first` to `last` in the order of the list, which is sorted by what they are reasons for."""
    members = tuple(Why)
    return members[members.index(first) : members.index(last) + 1]


MOVES = _section(Why.NODE_MAINTENANCE, Why.BALANCE)
_GOOD_NEWS = (Why.CONNECTED, Why.QUORATE, Why.FRESH)
RULES = (Why.NODE_AFFINITY, Why.NODE_ANTI_AFFINITY, Why.KEEP_APART, Why.KEEP_TOGETHER, Why.SPREAD)
CLASHES = _section(Why.NODE_SETS_DISJOINT, Why.CONFLICTS_WITH_HA_RULE)
OBJECTIONS = (
    *(why for why in _section(Why.SLOT_TAKEN, Why.BUSY) if why not in _GOOD_NEWS),
    *(Why.HA_FENCING, Why.WITHDRAWN, Why.STORE_FAILED, Why.TOO_MANY_UNAVAILABLE),
)
"""Why a guest waits or is blocked, and why a move or a call was refused or failed."""
WAITS = (
    *_section(Why.STABILIZING, Why.NOT_OBSERVED_YET),
    *(Why.HA_UNSETTLED, Why.NOT_A_REPLICATION_TARGET, Why.TOO_MANY_UNAVAILABLE, Why.SUSPENDED, Why.REPLICATE_FIRST),
    *_section(Why.LEAVES_LATER, Why.DID_NOT_START),
)
"""What a guest waits for that will move."""
ARMING = (
    *_section(Why.UNREACHABLE, Why.BUSY),
    *_section(Why.ARMED, Why.TOO_MANY_UNAVAILABLE),
    Why.SUSPENDED,
)
"""Why Drover may or may not act in a cluster."""

_WITH_REASON_OF_THE_MOVE = (Result.STARTED, Result.SUCCEEDED)


class TickResult(StrEnum):
    """How a tick ended."""

    SUCCESS = "Success"
    LOOK_FAILED = "LookFailed"
    PLAN_DISCARDED = "PlanDiscarded"
    ERROR = "Error"

    @classmethod
    def of(cls, view: ClusterView) -> "TickResult":
        """The word for the tick that made `view`."""
        if not view.connected.ok:
            return cls.LOOK_FAILED
        return cls.PLAN_DISCARDED if view.armed.why in (Why.PLANNER_OVERRAN, Why.PLAN_UNSAFE) else cls.SUCCESS


METHODS = ("GET", "POST", "PUT", "DELETE")


def born_moves() -> Iterable[tuple[Why, Result]]:
    """Yield the pairs of reason and result that `drover_moves_total` has from the first scrape."""
    for result in Result:
        for reason in MOVES if result in _WITH_REASON_OF_THE_MOVE else OBJECTIONS:
            yield reason, result
