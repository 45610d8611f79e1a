"""What people want of one cluster, boiled down to nodes and guests: the policies' sum, before anything is planned.

Made by `decide.desired` from specs and what is seen; read by the planners in `decide`. Holds no measured numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from controller.model.conflict import Conflict
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.plan import DrainMode
from controller.model.reasons import Why


class Leaving(StrEnum):
    """What happens to a guest of a node that has to be empty."""

    MIGRATE = "Migrate"
    MIGRATE_IF_POSSIBLE = "MigrateIfPossible"  # one that can't be moved stays and doesn't count
    SHUTDOWN = "Shutdown"  # it is shut down, stays, and is started again after the maintenance
    SHUTDOWN_AND_RESTART_ELSEWHERE = "ShutdownAndRestartElsewhere"  # it is shut down, moved, and started there
    SKIP = "Skip"  # it stays as it is

    @property
    def shuts_down(self) -> bool:
        """Whether a running guest is shut down for it."""
        return self in (Leaving.SHUTDOWN, Leaving.SHUTDOWN_AND_RESTART_ELSEWHERE)


@dataclass(frozen=True, slots=True)
class Departure:
    """How a guest leaves, and when: guests of a lower order leave first."""

    how: Leaving = Leaving.MIGRATE
    order: int = 0


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What is asked of one node: the one maintenance that counts for it, explicit or implied."""

    ref: ObjectRef
    node: NodeName
    mode: DrainMode
    suspended: bool = False  # still in maintenance (nothing comes), but starts nothing
    default: Leaving = Leaving.MIGRATE
    departures: Mapping[Vmid, Departure] = field(default_factory=lambda: MappingProxyType({}))  # by rule, of its guests
    restart_containers: bool = True
    include_stopped: bool = True
    include_templates: bool = False
    override_must: bool = False
    returns: bool = True  # where guests came from is remembered
    rebalances: bool = False  # with `returns`: they are levelled once instead of going home
    aborts: bool = False  # moves under way are stopped when it is called off
    deadline_seconds: int = 0  # that the evacuation may take; 0 = no limit
    shuts_down_remaining: bool = False  # at the deadline, instead of leaving them to people
    reason: str = ""

    def departure(self, vmid: Vmid) -> Departure:
        """What the first rule that matches the guest says, else the default."""
        return self.departures.get(vmid, Departure(self.default))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One PlacementPolicy, or one rule of PVE HA, over the guests that it concerns.

    Its place in the order is `priority`, then name. A Must that had to give way to others is here as a Should.
    """

    ref: ObjectRef
    members: frozenset[Vmid]
    corrects: bool  # moves guests that are placed wrongly now
    priority: int = 0
    weight: int = 0  # 0: Must; 1 to 100: Should, and how much it is worth

    @property
    def must(self) -> bool:
        """Whether it has to hold at every instant."""
        return self.weight == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRule(Rule):
    """Where each member by itself may be."""

    why: Why  # NODE_AFFINITY or NODE_ANTI_AFFINITY
    nodes: frozenset[NodeName]  # the allowed ones
    order: tuple[NodeName, ...] = ()  # the allowed ones in order of preference; empty: no preference


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRule(Rule):
    """How the members may be placed towards each other. Of a Must no member may come to a node without the label."""

    topology_key: str
    domains: Mapping[NodeName, str]  # nodes without the label are missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart(GroupRule):
    """A domain may hold at most `most` members."""

    most: int

    @property
    def why(self) -> Why:
        """What a guest is moved for that breaks it."""
        return Why.KEEP_APART


@dataclass(frozen=True, slots=True, kw_only=True)
class Together(GroupRule):
    """All members in one domain; on the way from one to another it may be split from the first departure to the last arrival."""

    @property
    def why(self) -> Why:
        """As in Apart."""
        return Why.KEEP_TOGETHER


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread(GroupRule):
    """The fullest and the emptiest domain differ by at most `skew` members.

    As the emptiest counts only a domain of `reachable` that has a node which accepts guests at this moment; a guest in flight
    counts at both ends in the fullest, at neither in the emptiest.
    """

    skew: int
    reachable: frozenset[str]  # domains with a node that the Musts about nodes allow to at least one member

    @property
    def why(self) -> Why:
        """As in Apart."""
        return Why.SPREAD


Group: TypeAlias = Apart | Together | Spread


@dataclass(frozen=True, slots=True)
class Fence:
    """All Musts about nodes that concern a guest, intersected. `order` is that of the policy with the highest priority."""

    rules: tuple[NodeRule, ...]
    nodes: frozenset[NodeName]
    order: tuple[NodeName, ...]


@dataclass(frozen=True, slots=True)
class Carriage:
    """How a guest may be moved: what its MigrationPolicy says. `limit` counts further attempts after the first."""

    policy: str = ""
    live_only: bool = False
    offline_only: bool = False
    bandwidth_limit_mib_s: int = 0
    retry_limit: int = 5
    seconds_per_gib: int = 20  # after which a move is stopped; 0: never
    windowed: bool = False  # only some of the cluster's windows count for it


@dataclass(frozen=True, slots=True)
class Desired:
    """The sum of all policies of one cluster over the nodes and guests that are seen."""

    managed: frozenset[Vmid]
    fences: Mapping[Vmid, Fence]  # only guests that a Must about nodes concerns
    wishes: Mapping[
        Vmid, tuple[NodeRule, ...]
    ]  # Shoulds about nodes, the highest priority first; only guests that have any
    groups: tuple[Group, ...]  # Musts and Shoulds, the highest priority first
    groups_of: Mapping[Vmid, tuple[int, ...]]  # indexes into `groups`
    maintenance: Mapping[NodeName, Maintenance]
    closed: Mapping[NodeName, ObjectRef]  # `unschedulable` nodes, with the object that says so
    carriages: Mapping[Vmid, Carriage]  # only guests that a MigrationPolicy selects
    matched: Mapping[ObjectRef, tuple[Vmid, ...]]
    conflicts: tuple[Conflict, ...] = ()  # Musts that can't hold together, and who gave way

    def carriage(self, vmid: Vmid) -> Carriage:
        """How the guest may be moved; the defaults when no policy selects it."""
        return self.carriages.get(vmid, _DEFAULT_CARRIAGE)


_DEFAULT_CARRIAGE = Carriage()
