"""Events: what happened, to which object, how often. Kept by `report.store`, shown by `drover events`."""

from dataclasses import dataclass
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
