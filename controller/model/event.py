"""Events: what happened, to which object, how often. Kept by `report.store`, shown by `drover events`."""

from dataclasses import dataclass, field
from enum import StrEnum

from controller.model.ids import ObjectRef


class EventType(StrEnum):
    """Kubernetes' two types of event."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened `count` times between `first` and `last` (epoch seconds, our clock)."""

    type: EventType
    reason: str
    about: ObjectRef  # a spec object, or Guest/<vmid>, Node/<name>
    message: str
    first: float
    last: float
    count: int = 1
    number: int = field(default=0, compare=False)  # what the state file calls it; 0 before it is there


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are asked for; what is empty leaves everything in. since: epoch seconds of the last time."""

    kind: str = ""  # in any case: it is what a person types
    name: str = ""
    type: EventType | None = None
    reasons: frozenset[str] = frozenset()
    since: float = 0.0
