"""What Drover means to do: moves with their reasons, and a word about every other guest.

Made by `decide`; carried out by `act`; shown by `report` and `cli`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from controller.model.approval import Approval
from controller.model.conflict import Conflict
from controller.model.ha_rules import Coordination
from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, ObjectRef, Vmid
from controller.model.reasons import Why
from controller.model.replication import JobAction, Replicas


class Lane(IntEnum):
    """Which kind of work goes first. Only `BALANCE` is voluntary."""

    DRAIN = 100
    REPAIR = 30
    RETURN = 20
    BALANCE = 10


@dataclass(frozen=True, slots=True)
class MoveOptions:
    """How PVE is asked to move the guest, frozen when the move starts."""

    online: bool
    restart: bool = False  # containers: stop, move, start
    with_local_disks: bool = False
    target_storage: str = ""  # `a:b,c:d`: local storages that are called otherwise on the target
    bandwidth_limit_mib_s: int = 0  # 0 = none of our own
    conntrack: bool = False  # take the firewall's connection tracking along
    policy: str = ""  # the MigrationPolicy that won, "" = defaults


@dataclass(frozen=True, slots=True)
class Move:
    """One guest, from, to, why."""

    identity: GuestIdentity
    name: str
    source: NodeName
    target: NodeName
    why: Why
    cause: ObjectRef
    message: str  # a sentence for people: what makes this move necessary and why to this node
    lane: Lane
    memory_bytes: int  # what it will occupy on the target
    options: MoveOptions
    returns: bool = False  # remember where it came from: it goes back there after the maintenance
    rebalances: bool = False  # or, with `returns`, it may be moved once by balance then
    aborts: bool = False  # stop it when its maintenance is called off
    asks: bool = False  # it was approved, and so is its way back
    partners: frozenset[Vmid] = frozenset()  # it is kept together with them, and leaves only when they can

    @property
    def vmid(self) -> Vmid:
        """The guest's number."""
        return self.identity.vmid

    @property
    def kind(self) -> GuestKind:
        """VM or container."""
        return self.identity.kind


@dataclass(frozen=True, slots=True)
class Waiting:
    """A guest that has to move, but not now; `move` when its target is already chosen."""

    vmid: Vmid
    why: Why
    message: str
    cause: ObjectRef
    move: Move | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """A guest that ought to move and can't until somebody changes something. `remedy` says what."""

    vmid: Vmid
    why: Why
    message: str
    remedy: str
    cause: ObjectRef


class PowerVerb(StrEnum):
    """What a guest is asked to do besides moving."""

    SHUTDOWN = "Shutdown"
    START = "Start"


@dataclass(frozen=True, slots=True)
class PowerAction:
    """A guest that is shut down because a maintenance says so, or started again after that."""

    verb: PowerVerb
    identity: GuestIdentity
    name: str
    node: NodeName
    cause: ObjectRef
    message: str  # a sentence for people
    elsewhere: bool = False  # it is to be moved while it is down, and started there

    @property
    def vmid(self) -> Vmid:
        """The guest's number."""
        return self.identity.vmid


class DrainMode(StrEnum):
    """What a maintenance wants of its node."""

    EVACUATE = "Evacuate"
    CORDON = "Cordon"


@dataclass(frozen=True, slots=True)
class Outlook:
    """How long an evacuation still takes, in seconds from the look that the plan is made from."""

    likely_seconds: float  # as likely longer as shorter
    late_seconds: float  # nine times in ten it is over by then
    bound_seconds: float  # no order of the same moves is faster


@dataclass(frozen=True, slots=True)
class Drain:
    """Where one node's maintenance stands, computed from what is observed."""

    ref: ObjectRef
    node: NodeName
    mode: DrainMode
    remaining: tuple[Vmid, ...]  # guests that still have to leave, moving ones included
    moving: tuple[Vmid, ...]
    blocked: tuple[Blocked, ...]
    staying: tuple[Vmid, ...]  # left on purpose (Skip rules, templates)
    remaining_bytes: int
    drained: bool  # seen empty twice
    overdue: bool = False  # it has taken longer than its deadline
    empty: bool = False  # nothing that has to leave is seen there, and nothing on its way
    reason: str = ""  # the audit text of the spec
    hold: Why | None = None  # why nothing of it is started: SUSPENDED, TOO_MANY_UNAVAILABLE, DEADLINE_EXCEEDED
    message: str = ""  # one sentence: how far it is, or what it waits for
    outlook: Outlook | None = None  # None: nobody knows what the links carry, or something keeps it from ending


@dataclass(frozen=True, slots=True)
class Announced:
    """A maintenance that has not begun yet: how far it is prepared, and how long the evacuation will take."""

    ref: ObjectRef
    node: NodeName
    leaving: int  # guests that will be moved, as things stand
    to_copy: int  # of them those with disks on local ZFS that are replicated before they move
    copied: int  # of those the ones with a replica where they will go
    blocked: tuple[Blocked, ...]  # guests that could not leave, as things stand
    seconds: float  # that the evacuation takes when all replicas are there
    seconds_without: float  # and when all disks that are not replicated anyway have to be copied first


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold right now, and whom it concerns."""

    cause: ObjectRef
    why: Why
    vmids: tuple[Vmid, ...]
    message: str
    must: bool = False  # its policy says Must


@dataclass(frozen=True, slots=True)
class Reserve:
    """Whether the cluster bears the failure of as many nodes as it should, when the plan is done; one sentence for people."""

    sufficient: bool
    message: str


@dataclass(frozen=True, slots=True)
class Load:
    """What one node holds now, and what it may hold. Bytes of memory; None where PVE does not tell."""

    limit_bytes: int | None  # of its memory, what guests may have
    needed_bytes: int  # by the guests that run there, as far as their size is known
    guests: int  # those that do not run included


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole difference between what is wanted and what is. Every guest is in exactly one of the five groups."""

    cluster: ClusterName
    at: float
    moves: tuple[Move, ...] = ()  # may start now, in this order
    waiting: tuple[Waiting, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    flying: tuple[Vmid, ...] = ()  # being moved, by us or by somebody else
    fine: frozenset[Vmid] = frozenset()
    drains: tuple[Drain, ...] = ()
    announced: tuple[Announced, ...] = ()  # evacuations to come
    violations: tuple[Violation, ...] = ()
    splits: tuple[Violation, ...] = ()  # groups that are kept together and are not just now, also on their way
    conflicts: tuple[Conflict, ...] = ()
    matched: Mapping[ObjectRef, tuple[Vmid, ...]] = field(default_factory=dict)  # guests that each policy selects
    jobs: tuple[
        JobAction, ...
    ] = ()  # all that is asked of replication jobs, in this order; `act` takes a few at a time
    replicas: Replicas = field(default_factory=Replicas)
    ha: Coordination = field(default_factory=Coordination)  # rules of PVE HA that are written for policies
    approvals: tuple[Approval, ...] = ()  # what objects with `approval: Manual` ask for, released or not
    power: tuple[PowerAction, ...] = ()  # guests that are asked to shut down or start
    forget_halted: tuple[Vmid, ...] = ()  # guests that run again, or are others by now
    forget_origins: tuple[Vmid, ...] = ()  # origins that no longer mean anything: moved by hand, another guest, Stay
    unsafe: tuple[str, ...] = ()  # the independent check's findings; non-empty: nothing of this plan is done
    unread: frozenset[Vmid] = frozenset()  # guests about which more could be said if their configs were known
    generations: Mapping[ObjectRef, int] = field(default_factory=dict)
    reserve: Reserve | None = None  # None: no failure of nodes is to be borne
    loads: Mapping[NodeName, Load] = field(default_factory=dict)  # before any move of this plan
    spare_bytes: int | None = (
        None  # of memory, left when the largest nodes fail that should be able to; negative: it lacks; None: unknown
    )
    restless_since: float | None = None  # since when (epoch seconds, our clock) voluntary moves have been wanted
    minimal_moves: bool = False  # proven: who has to move, and voluntary moves apart, needs no fewer moves
    minimal_bytes: bool = False  # proven: as many moves can't carry fewer bytes
    next_start_seconds: float | None = (
        None  # when a move that waits for a link should be asked for; None: nobody waits for one
    )

    @property
    def all_moves(self) -> tuple[Move, ...]:
        """Moves that may start now, then those that wait with a chosen target."""
        return self.moves + tuple(item.move for item in self.waiting if item.move is not None)

    @property
    def hindered_by_rights(self) -> bool:
        """Whether something is held up because the token lacks a right."""
        reasons = [*(word.why for word in self.blocked), *(item.why for item in self.replicas.lacking)]
        return Why.PERMISSION_MISSING in reasons

    @property
    def digest(self) -> str:
        """Twelve hex digits over moves, reasons and spec generations; no times and no measured numbers, so it can be approved."""
        content = {
            "moves": sorted([m.vmid, m.kind, m.source, m.target, m.why, str(m.cause)] for m in self.all_moves),
            "power": sorted([p.verb, p.vmid, p.node, str(p.cause)] for p in self.power),
            "blocked": sorted([b.vmid, b.why, str(b.cause)] for b in self.blocked),
            "generations": sorted([str(ref), generation] for ref, generation in self.generations.items()),
        }
        if self.jobs:
            content["jobs"] = sorted([j.verb, j.job_id, j.target, j.why] for j in self.jobs)
        if self.ha.actions:
            content["haRules"] = sorted([a.verb, a.rule.name, str(a.cause)] for a in self.ha.actions)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
