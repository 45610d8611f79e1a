"""The placement problem in plain numbers: bins (nodes), items (guests), groups (rules), and what an answer looks like.

Built by the planner from what is seen and wanted; solved by `solve`, ordered by `sequence`, levelled by `balance`. Nodes, guests
and rules are integers here: their index in `Problem.bins`, `Problem.items` and `Problem.groups`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, Flag, auto


class GroupKind(Enum):
    """What a group asks of its members."""

    APART = "apart"
    """At most `limit` members in one domain."""
    TOGETHER = "together"
    """All members in one domain."""
    SPREAD = "spread"
    """Between the fullest domain and the emptiest that members may go to lie at most `limit` members."""


@dataclass(frozen=True, slots=True)
class Bin:
    """A node. What is reserved, or used by what is no item, has been taken off its capacity already."""

    capacity: tuple[int | None, ...]
    """One per resource, in the units of `Item.need` (bytes, milli-CPUs; a local storage is one more resource). None is unknown:
    nothing that needs this resource may come."""
    open: bool = True
    """False: nothing may come; what is here and need not leave stays. A bin that holds more of a resource than it has takes
    nothing that needs this resource, either."""


@dataclass(frozen=True, slots=True)
class Item:
    """A guest."""

    at: int
    """The bin where it is; of one in flight the bin where it will be."""
    need: tuple[int | None, ...]
    """One per resource. None is unknown: it may not move, and its bin takes nothing more of this resource."""
    fixed: bool = False
    """Stays at `at` whatever happens (foreign, in flight, unmanaged, blocked, cooling down)."""
    must_leave: bool = False
    """Has to leave `at`: a drain, or a Must about nodes. `at` is then no place for it, whatever `allowed` says."""
    allowed: frozenset[int] | None = None
    """The bins that every Must about nodes, storage and network allows; None is all. An item that is elsewhere and need not
    leave may stay."""
    cost: tuple[int, ...] | int = 0
    """Bytes to move it: the same everywhere, or one number per target bin (a fresh replica makes it cheaper)."""
    preference: Mapping[int, int] = field(default_factory=dict)
    """Penalty per bin, 0 where nothing is said: the written order of nodes, Should-rules about nodes, home."""


@dataclass(frozen=True, slots=True)
class Group:
    """A rule over several items. A bin without a domain (None) takes no new member of a Must group."""

    kind: GroupKind
    members: frozenset[int]
    domain: tuple[int | None, ...]
    """The domain of every bin: its own index for "per node", a number per rack for "per rack"."""
    limit: int = 1
    """The most in one domain (APART) or the greatest difference (SPREAD); nothing to TOGETHER."""
    weight: int = 0
    """0 is a Must; more is a Should: the penalty for each unit of violation."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything the solver may know. Equal problems get equal answers."""

    bins: tuple[Bin, ...]
    items: tuple[Item, ...]
    groups: tuple[Group, ...] = ()
    hint: Mapping[int, int] = field(default_factory=dict)
    """Item -> target of the last plan. Kept as long as it is possible and hardly worse than what a fresh search finds."""
    movable_for_room: bool = True
    """Whether items that need not move may be moved to make room for those that must."""
    soft_may_move: frozenset[int] = frozenset()
    """Items that may be moved only because a Should, or a preference, asks for it (voluntary moves)."""


class Proof(Flag):
    """What is proven about a solution."""

    NONE = 0
    MINIMAL_MOVES = auto()
    """No plan that places everything has fewer moves; voluntary moves are not counted."""
    MINIMAL_BYTES = auto()
    """No plan with as few moves, and as little penalty, carries fewer bytes; voluntary moves are not counted."""
    INFEASIBLE = auto()
    """No plan whatsoever places all that must leave: `Solution.cores` says why. Without this flag what is left unplaced was only
    not placed within the budget. Going to where a Must is broken is no plan, even if it is as broken where the item is."""


class Shortage(Enum):
    """Why a set of items cannot be placed."""

    NO_BIN = "no-bin"
    """No open bin is allowed for the item."""
    TOO_BIG = "too-big"
    """The item fits into none of its bins, even with everything movable gone."""
    CAPACITY = "capacity"
    """All that has to be on these bins needs more of a resource than they have."""
    DOMAINS = "domains"
    """The members of a group need more domains than there are for them."""
    TOGETHER = "together"
    """The members of a group have no bin, or domain, in common that takes them all."""
    UNKNOWN = "unknown"
    """What the item needs is not known, so it is not moved."""
    EXHAUSTED = "exhausted"
    """No single number shows it, but every arrangement of these items was tried."""


@dataclass(frozen=True, slots=True)
class Core:
    """A proof, as small as was found, that some of these items cannot all have a place."""

    shortage: Shortage
    items: tuple[int, ...]
    bins: tuple[int, ...] = ()
    """The bins these items are confined to."""
    resource: int | None = None
    group: int | None = None
    need: int = 0
    """What the items need of the resource, or the number of members."""
    room: int = 0
    """What the bins have of it, or the number of members the domains can take."""


@dataclass(frozen=True, slots=True)
class Solution:
    """An answer. It never makes a Must worse than it is, whatever it leaves undone."""

    places: tuple[int, ...]
    """The bin of every item afterwards."""
    unplaced: tuple[int, ...]
    """Items that must leave and stay where they are: no place was found."""
    broken: tuple[int, ...]
    """Must groups that are still violated."""
    voluntary: frozenset[int]
    """Items that are moved only because a Should or a preference asks for it."""
    moves: int
    bytes: int
    """Of all moves, the voluntary ones included."""
    penalty: int
    """Of all Shoulds and preferences afterwards."""
    proof: Proof
    cores: tuple[Core, ...] = ()
