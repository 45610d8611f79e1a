"""How one cluster stands after a tick, as one frozen value.

Made by `loop.tick`; `report` turns it into conditions, metrics, status and pages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from controller.model.drift import Drift
from controller.model.event import Event
from controller.model.ids import ClusterName, NodeName, ObjectRef, Vmid
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.outcome import Outcome, Progress
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.model.replication import JobReport


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement with its reason: why a cluster can't be reached, why Drover is not armed."""

    ok: bool
    why: Why
    message: str


class BreakerState(StrEnum):
    """Whether moves are started although the last ones failed."""

    CLOSED = "Closed"
    HALF_OPEN = "HalfOpen"  # one at a time shows whether things work again
    OPEN = "Open"  # none


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Everything about one cluster that people and machines may ask for. Ages in seconds of the monotonic clock."""

    cluster: ClusterName
    at: float
    connected: Finding
    armed: Finding
    seen: Observed | None = None  # the last complete look
    seen_age_seconds: float = 0.0
    plan: Plan | None = None  # the plan made from it
    memory: Memory = field(default_factory=Memory)
    progress: Mapping[Vmid, Progress] = field(default_factory=lambda: MappingProxyType({}))
    outcomes: tuple[Outcome, ...] = ()  # what ended or was refused since the view before
    drifts: tuple[Drift, ...] = ()  # what people changed by hand, or what differs as if they had
    jobs: tuple[JobReport, ...] = ()  # replication jobs as of the last look, by id
    ha_refused: Mapping[ObjectRef, Finding] = field(
        default_factory=lambda: MappingProxyType({})
    )  # policies whose rules PVE HA refused
    breaker: BreakerState = BreakerState.CLOSED
    spared: tuple[NodeName, ...] = ()  # nodes that take nobody for a while, because moves to them failed
    lacking: tuple[str, ...] = ()  # rights of the token, each with what it is needed for
    events: tuple[Event, ...] = ()  # what else happened since then
    missing_rights: tuple[str, ...] = ()  # the `pveum` lines that would grant them
    notifying: Finding | None = None  # whether word gets through to the sinks; None when none is named
    insecure: bool = False  # TLS verification is switched off
    again_at: float | None = (
        None  # epoch seconds: a change window opens or closes by then, without anything else happening
    )
    ticks: int = 0
    tick_seconds: float = 0.0
