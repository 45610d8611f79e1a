"""What a check is, what it may look at, and what it says.

Used by the checks of this package, and by whoever shows findings or documents checks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from controller.decide.capacity import need
from controller.model.facts import Facts, Topic
from controller.model.ids import GuestKind, NodeName
from controller.model.memory import Memory
from controller.model.observed import Fresh, Guest, Observed
from controller.model.plan import Move
from controller.model.reasons import Why
from controller.specs import PveCluster, Specs
from controller.specs.migrationpolicy import MigrationPolicySpec


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement about a move that is about to start. `busy`: it passes by itself, nobody has to do anything."""

    level: Level
    why: Why
    message: str
    remedy: str = ""
    busy: bool = False
    elsewhere: bool = False  # it is about this target: another one may be free of it
    check: str = ""  # the sentence that does not hold, or holds: the name of the check


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that a check may know."""

    move: Move
    fresh: Fresh
    specs: Specs
    seen: Observed
    memory: Memory

    @property
    def guest(self) -> Guest | None:
        """The guest as read just now, if it is where and who the plan says; the checks of identity speak about all else."""
        guest = self.fresh.guest
        return guest if guest is not None and guest.node == self.move.source else None

    @property
    def running(self) -> bool:
        """Whether the guest, as read just now, holds memory."""
        return self.fresh.guest is not None and self.fresh.guest.power.holds_memory

    @property
    def live(self) -> bool:
        """Whether a running VM is to move without a stop."""
        return self.move.kind is GuestKind.QEMU and self.running

    @property
    def facts(self) -> Facts:
        """What was read for this move alone."""
        return self.fresh.facts

    @property
    def named(self) -> str:
        """The guest as people call it."""
        return f"{self.move.kind.noun} {self.move.vmid} {self.move.name}"

    @property
    def cluster(self) -> PveCluster:
        """Settings of the cluster."""
        return self.specs.clusters[self.seen.cluster]

    @property
    def policy(self) -> MigrationPolicySpec:
        """The MigrationPolicy that won when the move was planned, or the defaults."""
        found = self.specs.migrations.get(self.move.options.policy)
        return found.spec if found else DEFAULTS

    @property
    def replication_targets(self) -> frozenset[NodeName]:
        """Nodes that the guest's replication jobs lead to, without those that are being removed."""
        jobs = (job for job in self.fresh.jobs if job.vmid == self.move.vmid and not job.removing)
        return frozenset(job.target for job in jobs)

    @property
    def size(self) -> int | None:
        """Bytes that the guest will occupy on the target; None when unknown."""
        guest = self.fresh.guest
        return need(guest, self.cluster.spec.capacity.memory_basis) if guest is not None else None


Judge = Callable[[Look], tuple[Finding, ...]]


@dataclass(frozen=True, slots=True)
class Check:
    """Looks at one thing and returns what is wrong or worth knowing; nothing when all is well."""

    name: str  # a sentence: "target is online"
    topic: str
    how: str  # how it is found, and where PVE itself decides it
    tells: tuple[Why, ...]  # every reason that it can give; a test holds it complete
    judge: Judge

    def __call__(self, look: Look) -> tuple[Finding, ...]:
        """Everything that it has to say, at least that all is well, under its own name."""
        found = self.judge(look) or (Finding(Level.OK, Why.AS_EXPECTED, self.name),)
        return tuple(replace(finding, check=self.name) for finding in found)


def check(*tells: Why) -> Callable[[Judge], Check]:
    """Make a check of a function: its name is the sentence, its docstring says how it is found, its module is the topic."""

    def made(judge: Judge) -> Check:
        name, topic = judge.__name__.replace("_", " "), judge.__module__.rpartition(".")[2]
        return Check(name, topic, " ".join((judge.__doc__ or "").split()), tells, judge)

    return made


OF_THE_TARGET = frozenset(
    {
        Why.CPU_INCOMPATIBLE,
        Why.HA_WOULD_UNDO,
        Why.MACHINE_UNKNOWN,
        Why.NETWORK_MISSING,
        Why.NOT_ALLOWED_BY_PVE,
        Why.NOT_A_REPLICATION_TARGET,
        Why.NO_SPACE,
        Why.PINNED_TO_HARDWARE,
        Why.REPLICATION_FAILING,
        Why.STORAGE_CONTENT,
        Why.STORAGE_MISSING,
        Why.STORAGE_OFFLINE,
        Why.TARGET_OLDER,
        Why.TOO_FEW_CPUS,
    }
)
"""Reasons that speak against one target and not against moving the guest; the planner chooses another."""

DEFAULTS = MigrationPolicySpec.model_validate({"guestSelector": {}})


def fail(why: Why, message: str, remedy: str = "", *, elsewhere: bool = False) -> tuple[Finding, ...]:
    """The move must not start, until somebody changes something. `elsewhere`: to this target, whatever its reason."""
    return (Finding(Level.FAIL, why, message, remedy or why.remedy, elsewhere=elsewhere or why in OF_THE_TARGET),)


def wait(why: Why, message: str) -> tuple[Finding, ...]:
    """The move must not start now; that passes by itself."""
    return (Finding(Level.FAIL, why, message, why.remedy, busy=True),)


def warn(why: Why, message: str, remedy: str = "") -> tuple[Finding, ...]:
    """Worth knowing; the move may start."""
    return (Finding(Level.WARN, why, message, remedy or why.remedy),)


def unchecked(look: Look, topic: Topic, question: str) -> tuple[Finding, ...]:
    """Nobody knows the answer, and why; a call that this PVE does not have is no reason to worry about."""
    unread = look.facts.unread.get(topic)
    reason = unread.message if unread is not None else f"{topic.value} were not read"
    text = f"not checked {question}: {reason}"
    if unread is not None and not unread.supported:
        return (Finding(Level.OK, Why.NOT_SUPPORTED, text),)
    return warn(Why.NOT_CHECKED, text)
