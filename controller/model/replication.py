"""Replication jobs: what is asked of them, how they stand, what is remembered about them, and whose they are.

`decide.replication` makes `JobAction`s, `act.jobs` carries them out; `observe` fills in how jobs stand, `report` shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from controller.model.ids import GuestIdentity, NodeName, ObjectRef, Vmid
from controller.model.reasons import Why

DEFAULT_SCHEDULE = "*/15"
"""When PVE runs a job that has no schedule of its own (pve-guest-common: PVE/ReplicationConfig.pm)."""

_OWNED = "managed by drover: "
_FOR_A_MOVE = "managed by drover for a move"


class JobVerb(StrEnum):
    """What is done to a job."""

    CREATE = "Create"
    UPDATE = "Update"  # schedule, rate, comment: everything but source and target, which PVE never changes
    DISABLE = "Disable"
    ENABLE = "Enable"
    REMOVE = "Remove"
    SYNC_NOW = "SyncNow"


@dataclass(frozen=True, slots=True)
class JobAction:
    """One thing that is asked of one job, as the whole of what the job shall be.

    keep_data: the replica on the target stays. force: the entry goes at once and nothing is cleaned up; for targets that are
    gone, whose removal PVE would try for ever (pve-manager: PVE/API2/ReplicationConfig.pm).
    """

    verb: JobVerb
    job_id: str  # 101-0
    vmid: Vmid
    identity: GuestIdentity
    source: NodeName
    target: NodeName
    schedule: str
    rate_mb_s: float | None  # decimal megabytes per second; None = no limit
    comment: str
    keep_data: bool
    force: bool
    why: Why
    cause: ObjectRef
    message: str  # a sentence for people


@dataclass(frozen=True, slots=True)
class ReplicationState:
    """How a job stands, as the node of its guest said at `at` (epoch seconds, our clock). Times are epochs of that node's clock."""

    job_id: str
    vmid: Vmid
    node: NodeName  # whose word this is: where the guest was
    target: NodeName
    at: float
    last_sync: int = 0  # when the last run that succeeded began; 0 = never
    last_try: int = 0  # when the last run began; 0 = never, or it was asked to run at once
    next_sync: int = 0  # when it is due; a small number = now, 0 = not at all while its target is away
    duration_s: float | None = None  # of the last run
    fail_count: int = 0
    error: str = ""  # of the last run, until one succeeds
    why: Why | None = None  # what the error means, where its words are known
    pid: int | None = None  # while it runs
    sent_bytes: int | None = None  # by the last run that ended well; None = its log was not read, or did not tell

    @property
    def running(self) -> bool:
        """Whether a run is under way: one has ended when this is over, not when `last_sync` changes."""
        return self.pid is not None


@dataclass(frozen=True, slots=True)
class NodeClock:
    """How far a node's clock is ahead of ours (seconds, behind when negative), and the zone its schedules are read in."""

    ahead_seconds: float
    zone: str  # an IANA name; "" = not told


@dataclass(frozen=True, slots=True)
class TemporaryJob:
    """A job that was made for one move alone; it goes when that move is over, or no longer wanted."""

    job_id: str
    identity: GuestIdentity
    source: NodeName  # of the move
    target: NodeName
    cause: ObjectRef
    at: float  # epoch seconds, our clock


@dataclass(frozen=True, slots=True)
class AskedSync:
    """A job was asked to run at once: when last (epoch seconds, our clock), and how often since it has had this direction."""

    job_id: str
    source: NodeName
    target: NodeName
    at: float
    times: int = 1


@dataclass(frozen=True, slots=True)
class RefusedJob:
    """A change of a job that PVE refused; it is not asked for again before `until` (epoch seconds, our clock)."""

    job_id: str
    identity: GuestIdentity
    verb: JobVerb
    target: NodeName
    why: Why
    message: str
    failures: int
    until: float


@dataclass(frozen=True, slots=True)
class ReplicationMemory:
    """What is remembered about replication. Policies by name: the deletionPolicy that was in force when they were last seen."""

    temporary: Mapping[str, TemporaryJob] = field(default_factory=lambda: MappingProxyType({}))  # by job id
    refused: Mapping[str, RefusedJob] = field(default_factory=lambda: MappingProxyType({}))  # by job id
    asked: Mapping[str, AskedSync] = field(default_factory=lambda: MappingProxyType({}))  # by job id
    policies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    gone_since: Mapping[NodeName, float] = field(default_factory=lambda: MappingProxyType({}))  # targets; our clock
    told: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # events of jobs that were told


class JobHealth(StrEnum):
    """How a job stands, in one word; also the `state` label of its metric."""

    IN_SYNC = "InSync"
    SYNCING = "Syncing"
    NEW = "New"  # has not run yet
    LAGGING = "Lagging"  # older than its policy allows, although a run was due
    FAILING = "Failing"
    DISABLED = "Disabled"
    REMOVING = "Removing"
    UNKNOWN = "Unknown"  # its node has not told yet, or not for long


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job as people want to see it. Moments are epoch seconds by our clock; `None` where its node has not told."""

    job_id: str
    vmid: Vmid
    source: NodeName
    target: NodeName
    schedule: str
    policy: str  # "" = a job that is not Drover's
    health: JobHealth
    message: str  # a sentence when there is something to say
    why: Why | None = None
    for_move: bool = False
    lag_seconds: float | None = None  # age of the last sync; None = never, or not told
    last_sync: float | None = None
    next_sync: float | None = None
    duration_seconds: float | None = None
    sent_bytes: int | None = None  # by the last run that ended well; None = not told
    failures: int = 0
    read_at: float | None = None
    zone: str = ""  # in which its schedule is read; "" = not told
    stale: bool = False  # read longer ago than its node is usually asked


@dataclass(frozen=True, slots=True)
class Lacking:
    """A replica that a policy wants and that is not to be had now. pending: nobody has to do anything."""

    vmid: Vmid
    cause: ObjectRef
    target: NodeName | None  # None = none could be chosen
    why: Why
    message: str
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Orphan:
    """A job of Drover that belongs to no policy and stays."""

    job_id: str
    vmid: Vmid
    policy: str  # whose it was
    message: str


@dataclass(frozen=True, slots=True)
class Replicas:
    """What policies want of replicas and what is there, by policy; and what is to be remembered of it."""

    policies: Mapping[Vmid, ObjectRef] = field(default_factory=lambda: MappingProxyType({}))  # the one that won
    wanted: Mapping[ObjectRef, int] = field(default_factory=lambda: MappingProxyType({}))
    there: Mapping[ObjectRef, int] = field(default_factory=lambda: MappingProxyType({}))
    lacking: tuple[Lacking, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    deletions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # as ReplicationMemory.policies
    gone_since: Mapping[NodeName, float] = field(default_factory=lambda: MappingProxyType({}))  # as there
    adopted: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({})
    )  # jobs of others that already are as the policy of this name wants them: its own, though their comment does not say so


def comment_of(policy: str, before: str = "") -> str:
    """The comment by which Drover knows its own jobs; `before` is what an administrator had written there."""
    return f"{_OWNED}{policy}" + (f" (before: {before[:1000]})" if before else "")


def owner_of(comment: str) -> str | None:
    """The ReplicationPolicy that a job belongs to; None for a job that nobody may touch."""
    return comment.removeprefix(_OWNED).split(" ")[0] or None if comment.startswith(_OWNED) else None


def comment_for_move(target: NodeName) -> str:
    """The comment of a job that is made for one move to `target`."""
    return f"{_FOR_A_MOVE} to {target}"


def is_for_move(comment: str) -> bool:
    """Whether a job was made for one move alone, also when nothing is remembered of it."""
    return comment.startswith(_FOR_A_MOVE)


def free_job_id(vmid: Vmid, taken: frozenset[str]) -> str:
    """A job id of the guest that is not among `taken`, such as `101-0`."""
    return next(name for number in range(len(taken) + 1) if (name := f"{vmid}-{number}") not in taken)
