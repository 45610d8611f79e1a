"""What Drover remembers between ticks and across restarts, as one frozen value.

Kept on disk by `report.store`; read by `decide`; changed only through the store's verbs, which `act` calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from controller.model.approval import Approved
from controller.model.drift import MovedByHand
from controller.model.ids import GuestIdentity, NodeName, ObjectRef, Upid, Vmid
from controller.model.outcome import Progress
from controller.model.override import Override
from controller.model.plan import Lane, MoveOptions
from controller.model.reasons import Why
from controller.model.replication import ReplicationMemory
from controller.model.turn import HookRun, Turn


class FlightPhase(StrEnum):
    """How far a move has got. The intent is on disk before the call that can't be repeated."""

    SUBMITTING = "Submitting"  # intent written; the call may or may not have reached PVE
    RUNNING = "Running"  # PVE's task is known
    VERIFYING = "Verifying"  # the task has ended; the guest is not yet proven well
    ARRIVED = "Arrived"  # it is well on the target and has left the source; watched for as long as its policy says


@dataclass(frozen=True, slots=True)
class Limits:
    """What a move may cost, as its MigrationPolicy said when it began. 0 = no limit."""

    downtime_ms: int = 0  # that PVE may allow itself after having raised its own limit
    stall_seconds: int = 0  # without progress
    seconds_per_gib: int = 0  # of what has to be sent


@dataclass(frozen=True, slots=True)
class Verify:
    """What has to be seen before a move counts as done, as its MigrationPolicy said when it began."""

    healthy_seconds: int = 0  # that the guest has to run on its target, seen so each time
    agent_ping: bool = False  # its guest agent has to answer


@dataclass(frozen=True, slots=True)
class Abort:
    """Why a move under way is to be stopped; `ABORT_NOT_PERMITTED` once PVE has refused that."""

    why: Why
    message: str

    @property
    def refused(self) -> bool:
        """Whether the move goes on because Drover may not stop it."""
        return self.why is Why.ABORT_NOT_PERMITTED


@dataclass(frozen=True, slots=True)
class Caution:
    """What the look right before a move found worth knowing, although the move could start."""

    why: Why
    message: str


@dataclass(frozen=True, slots=True)
class Flight:
    """One attempt to move one guest. A UPID names the guest, not the target: the target is remembered here."""

    id: int  # from the store, unique per cluster; 0 before it is written
    identity: GuestIdentity
    name: str
    source: NodeName
    target: NodeName
    why: Why
    cause: ObjectRef
    lane: Lane
    memory_bytes: int
    options: MoveOptions
    was_running: bool
    phase: FlightPhase
    started_at: float  # epoch seconds, our clock
    tasks_before: frozenset[str] = frozenset()  # UPIDs of the guest on the source before the call: what is new is ours
    upid: Upid | None = None
    ha: bool = False  # requested from PVE HA: the real task is another one
    waiting: str = ""  # what keeps it from being called ended, one of `act.ending`'s words; "" = nothing unusual
    waiting_since: float = 0.0  # epoch seconds, our clock: the wait has to outlive restarts
    limits: Limits = Limits()
    aborts: bool = False  # it is stopped when its maintenance is called off, as that said when the move began
    abort: Abort | None = None  # written before PVE is asked to stop the task
    cautions: tuple[Caution, ...] = ()
    verify: Verify = Verify()
    steered: bool = False  # its MigrationPolicy wants it measured and steered through QEMU's monitor

    @property
    def sends(self) -> bool:
        """Whether it may use its nodes' links: a task that has ended does not, only its guest is still being watched."""
        return self.phase in (FlightPhase.SUBMITTING, FlightPhase.RUNNING)

    @property
    def nodes(self) -> tuple[NodeName, ...]:
        """Where the guest may be."""
        return (self.target,) if self.phase is FlightPhase.ARRIVED else (self.source, self.target)

    @property
    def vmid(self) -> Vmid:
        """The guest's number."""
        return self.identity.vmid


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a guest lived before the first evacuation; kept by later drains, cleared by return or a manual move."""

    identity: GuestIdentity
    node: NodeName
    maintenance: ObjectRef
    since: float
    expected: NodeName  # where Drover last put it: elsewhere means that somebody moved it by hand
    rebalances: bool = False  # after the maintenance it goes where balance wants it, once, instead of home
    asks: bool = False  # its maintenance says `approval: Manual`: it goes home when that is approved


@dataclass(frozen=True, slots=True)
class Backoff:
    """A guest that is not moved again before `until` (epoch seconds, our clock).

    `failures` counts moves that failed one after the other. 0: nothing failed, but the look right before the move found an
    obstacle that waiting does not remove; `why` and `message` name it, and `until` is when it is looked at again.
    """

    identity: GuestIdentity
    failures: int
    until: float
    why: Why
    message: str
    under: str = ""  # the spec generations it failed under (`act.backoff.mark`): a changed spec starts anew


@dataclass(frozen=True, slots=True)
class Refusal:
    """What speaks against one target for one guest: another target may be free of it.

    Before `until` (epoch seconds, our clock) the target is no candidate; then it is looked at again. `failures` counts moves
    of the guest to it that failed: after one, others are preferred. All of it is forgotten when the guest has moved.
    """

    identity: GuestIdentity
    target: NodeName
    why: Why
    message: str
    until: float = 0.0
    under: str = ""  # the spec generations it was found under (`act.backoff.mark`): a changed spec starts anew
    looks: int = 0  # how often it was found, one after the other: it is looked at again less and less often
    failures: int = 0


@dataclass(frozen=True, slots=True)
class GuestRate:
    """How fast a guest changes its memory, learned from the logs of its moves. Bytes per second; epoch seconds, our clock."""

    identity: GuestIdentity
    dirty_bytes_s: float
    measured_at: float
    sent_share: float | None = None  # bytes sent for each byte of its memory, the last time all of it was sent


@dataclass(frozen=True, slots=True)
class LinkRate:
    """What one migration stream from or to a node achieves, learned from moves that no limit of ours slowed down."""

    bytes_s_per_stream: float
    measured_at: float  # epoch seconds, our clock


@dataclass(frozen=True, slots=True)
class Ejected:
    """Local media that were taken out of a guest's drives so that it could leave `node`."""

    identity: GuestIdentity
    node: NodeName
    drives: Mapping[str, str]  # ide2 -> local:iso/debian.iso
    policy: str  # the MigrationPolicy that wanted it, "" = defaults
    at: float  # epoch seconds, our clock


@dataclass(frozen=True, slots=True)
class Halted:
    """A guest that Drover has asked to shut down so that its node gets empty; it is started again when that is over.

    Or a container whose restart on another node broke off before it ran again.
    """

    identity: GuestIdentity
    name: str
    node: NodeName  # where it ran
    maintenance: ObjectRef
    elsewhere: bool  # it is moved and started on another node, instead of after the maintenance
    at: float  # epoch seconds, our clock: when it was asked
    sent: bool = False  # PVE has been asked to shut it down; until that is known it is asked again, which does no harm
    started_at: float = 0.0  # epoch seconds, our clock: when it was asked to start again; 0 = not yet


@dataclass(frozen=True, slots=True)
class Begun:
    """An evacuation that has begun, and when (epoch seconds, our clock): its deadline counts from there."""

    maintenance: ObjectRef
    node: NodeName
    at: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything remembered about one cluster."""

    flights: Mapping[Vmid, Flight] = field(default_factory=lambda: MappingProxyType({}))
    origins: Mapping[Vmid, Origin] = field(default_factory=lambda: MappingProxyType({}))
    backoffs: Mapping[Vmid, Backoff] = field(default_factory=lambda: MappingProxyType({}))
    refusals: Mapping[Vmid, Mapping[NodeName, Refusal]] = field(default_factory=lambda: MappingProxyType({}))
    rates: Mapping[Vmid, GuestRate] = field(default_factory=lambda: MappingProxyType({}))
    links: Mapping[NodeName, LinkRate] = field(default_factory=lambda: MappingProxyType({}))
    media: Mapping[Vmid, Ejected] = field(default_factory=lambda: MappingProxyType({}))
    halted: Mapping[Vmid, Halted] = field(default_factory=lambda: MappingProxyType({}))
    begun: Mapping[NodeName, Begun] = field(default_factory=lambda: MappingProxyType({}))
    overrides: Mapping[NodeName, Override] = field(default_factory=lambda: MappingProxyType({}))
    turns: Mapping[str, Turn] = field(default_factory=lambda: MappingProxyType({}))  # by `Turn.key`
    hooks: Mapping[str, HookRun] = field(default_factory=lambda: MappingProxyType({}))  # by `HookCall.key`
    approvals: Mapping[ObjectRef, Approved] = field(
        default_factory=lambda: MappingProxyType({})
    )  # by what asked for it
    moved_by_hand: Mapping[Vmid, MovedByHand] = field(default_factory=lambda: MappingProxyType({}))
    differing: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({})
    )  # what else was changed by hand, and since when (epoch seconds, our clock)
    emptied: frozenset[NodeName] = frozenset()  # drains that the look before found empty; filled by the loop
    spared: Mapping[NodeName, str] = field(default_factory=lambda: MappingProxyType({}))  # by the breaker; the reason
    voluntary: tuple[
        tuple[Vmid, float], ...
    ] = ()  # voluntary moves that ended, with their time (epoch seconds, our clock)
    restless_since: float | None = None  # as in the plan before
    targets: Mapping[Vmid, NodeName] = field(
        default_factory=lambda: MappingProxyType({})
    )  # of the plan before; kept if possible
    progress: Mapping[Vmid, Progress] = field(default_factory=lambda: MappingProxyType({}))  # of flights, as last asked
    replication: ReplicationMemory = field(default_factory=ReplicationMemory)
