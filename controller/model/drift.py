"""What differs from what Drover left or wants: guests that people moved, jobs and rules of PVE HA that people changed.

`decide.drift` makes it, `report.store` remembers the first part of it, `report` shows it.
"""

from dataclasses import dataclass
from enum import StrEnum

from controller.model.ids import GuestIdentity, NodeName, ObjectRef, Vmid
from controller.model.reasons import Why


class DriftKind(StrEnum):
    """What was changed."""

    GUEST_MOVED = "GuestMoved"
    JOB_CHANGED = "JobChanged"
    HA_RULE_CHANGED = "HaRuleChanged"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a guest was seen last."""

    identity: GuestIdentity
    node: NodeName


@dataclass(frozen=True, slots=True)
class MovedByHand:
    """A guest that neither Drover nor PVE HA has moved to where it is. at: epoch seconds, our clock, when that was seen."""

    identity: GuestIdentity
    source: NodeName  # where it was before people began to move it
    node: NodeName
    at: float
    by: str = ""  # the user of PVE's task; "" = no task was seen


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference, in sentences for people. since: epoch seconds, our clock; None = not known yet."""

    kind: DriftKind
    about: ObjectRef  # Guest/101, ReplicationJob/101-0, HaRule/apart
    vmid: Vmid | None
    what: str
    since: float | None
    will: str  # what Drover does about it
    why: Why
