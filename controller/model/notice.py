"""Word of an event that is to go to one sink.

Kept on disk by `report.store` until `report.notifier` has seen the sink take it.
"""

from dataclasses import dataclass
from enum import IntEnum

from controller.model.event import Event
from controller.model.ids import ClusterName


class Gravity(IntEnum):
    """How much it matters: the words of `notifications[].minSeverity`, in order."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def word(self) -> str:
        """As manifests and messages have it."""
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. key: the order of the queue. id: the same for every attempt, so that a receiver can tell repetitions.

    tried: attempts so far. queued_at: epoch seconds, our clock. dropped: messages before it that were given up.
    """

    key: str
    id: str
    sink: str
    cluster: ClusterName
    gravity: Gravity
    event: Event
    queued_at: float
    tried: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """When a sink was last told something about an object, and how often it has happened since without being told again."""

    at: float
    more: int = 0
