"""The plan in the making: one word about every guest, and where everybody would be.

Filled by the planners, in order of importance; read by `decide.pipeline`.
"""

from dataclasses import dataclass, field

from controller.decide.placement import Intent, assign_as_is
from controller.decide.scene import Scene
from controller.decide.solve.problem import Proof
from controller.decide.stage import Stage
from controller.decide.staging import Staging
from controller.model.approval import Approval
from controller.model.ha_rules import Coordination
from controller.model.ids import NodeName, Vmid
from controller.model.observed import Guest
from controller.model.plan import Blocked, Move, Outlook, PowerAction, Waiting


@dataclass(slots=True)
class Board:
    """What has been said so far. The first word about a guest counts: later planners skip it."""

    assigned: list[tuple[Intent, NodeName]] = field(default_factory=list)  # to be put in order by `decide.order`
    moves: list[Move] = field(default_factory=list)
    waiting: dict[Vmid, Waiting] = field(default_factory=dict)
    blocked: dict[Vmid, Blocked] = field(default_factory=dict)
    flying: set[Vmid] = field(default_factory=set)
    staying: set[Vmid] = field(default_factory=set)  # left on a node in maintenance on purpose
    approvals: list[Approval] = field(default_factory=list)
    power: list[PowerAction] = field(default_factory=list)
    forget_halted: set[Vmid] = field(default_factory=set)
    forget: set[Vmid] = field(default_factory=set)  # origins that mean nothing any more
    proof: Proof = Proof.NONE  # what is known about the moves that are not voluntary
    restless_since: float | None = None  # since when voluntary moves have been wanted
    outlooks: dict[NodeName, Outlook] = field(default_factory=dict)  # of nodes that are evacuated
    next_start: float | None = None  # seconds until a move that waits for a link should be asked for
    _spoken: set[Vmid] = field(default_factory=set)

    def put(self, word: Waiting | Blocked) -> None:
        """What became of a guest that was assigned."""
        if isinstance(word, Waiting):
            self.waiting[word.vmid] = word
        else:
            self.blocked[word.vmid] = word

    def knows(self, vmid: Vmid) -> bool:
        """Whether there is a word about the guest."""
        return vmid in self._spoken

    def fly(self, vmid: Vmid) -> None:
        """Somebody is moving it."""
        self._once(vmid)
        self.flying.add(vmid)

    def stay(self, vmid: Vmid) -> None:
        """It is left where it is on purpose."""
        self._once(vmid)
        self.staying.add(vmid)

    def say(self, word: Waiting | Blocked) -> None:
        """It waits or is blocked."""
        self._once(word.vmid)
        self.put(word)

    def assign(self, intent: Intent, target: NodeName) -> None:
        """It has a target; when it may start is decided later."""
        self._once(intent.guest.vmid)
        self.assigned.append((intent, target))

    def _once(self, vmid: Vmid) -> None:
        assert vmid not in self._spoken, f"guest {vmid} would get two words"
        self._spoken.add(vmid)


@dataclass(slots=True)
class Draft:
    """What the planners work on one after the other."""

    scene: Scene
    now: Stage  # who counts where at this instant, flights on both sides
    later: Stage  # who counts where when everything that is planned so far is done
    board: Board = field(default_factory=Board)
    downs: list[Guest] = field(default_factory=list)  # guests that leave by being shut down, and stay
    kept: dict[Vmid, NodeName] = field(default_factory=dict)  # places of guests that leave later
    ha: Coordination = field(default_factory=Coordination)  # what is asked of PVE HA's rules
    staging: Staging = field(init=False)

    def __post_init__(self) -> None:
        self.staging = Staging(self.scene)

    def where(self) -> dict[Vmid, NodeName]:
        """The node of every guest once everything that is decided so far is done."""
        found = {vmid: guest.node for vmid, guest in self.scene.seen.guests.items()}
        found.update((vmid, flight.target) for vmid, flight in self.scene.memory.flights.items())
        found.update((intent.guest.vmid, target) for intent, target in self.board.assigned)
        found.update(self.kept)
        return found

    def place_as_is(self, intent: Intent) -> NodeName | None:
        """A target that makes nothing worse (`placement.assign_as_is`)."""
        return assign_as_is(intent, self.now, self.later)
