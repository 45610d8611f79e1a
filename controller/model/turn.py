"""Where each node of a rolling maintenance stands, and hooks that ran or run: remembered across restarts.

Kept by `report.store` as a part of `Memory`; moved on by `decide.rolling` and `act.hooks`.
"""

from dataclasses import dataclass
from enum import StrEnum

from controller.model.ids import NodeName, ObjectRef


class TurnPhase(StrEnum):
    """How far one node of a rolling maintenance is."""

    PENDING = "Pending"  # its turn has not come
    DRAINING = "Draining"
    DRAINED = "Drained"  # empty: the hook is about to start, or people have it
    SERVICING = "Servicing"  # the hook runs
    WAITING_FOR_NODE = "WaitingForNode"  # serviced; not yet seen healthy for long enough
    RETURNING = "Returning"  # in service again; its guests come home
    DONE = "Done"


class TurnState(StrEnum):
    """What is shown of a node: its phase, or that it failed."""

    PENDING = "Pending"
    DRAINING = "Draining"
    DRAINED = "Drained"
    SERVICING = "Servicing"
    WAITING_FOR_NODE = "WaitingForNode"
    RETURNING = "Returning"
    DONE = "Done"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Turn:
    """One node's turn in one rolling maintenance. Times: epoch seconds, our clock; 0 = not yet."""

    maintenance: ObjectRef
    generation: int
    node: NodeName
    phase: TurnPhase = TurnPhase.PENDING
    since: float = 0.0  # when the phase began
    drained_at: float = 0.0  # names the run of the hook that belongs to it
    booted_at: float = 0.0  # when the node had started, as seen when it was drained: a later start is a reboot
    healthy_since: float = 0.0
    asked: str = ""  # a digest of what its maintenance asks for, whether it is suspended or not
    failure: str = ""  # why nothing more is begun, as a sentence; the phase is then the one in which it happened

    @property
    def state(self) -> TurnState:
        """What is shown of it."""
        return TurnState.FAILED if self.failure else TurnState(self.phase.value)

    @property
    def key(self) -> str:
        """What tells it from all others of the cluster."""
        return f"{self.maintenance.name}/{self.node}"

    @property
    def in_maintenance(self) -> bool:
        """Whether its node has to be, or stay, empty."""
        return self.phase not in (TurnPhase.PENDING, TurnPhase.RETURNING, TurnPhase.DONE)


class HookAction(StrEnum):
    """What a hook is run for; the value is what it is told as `DROVER_ACTION`."""

    DRAINED = "drained"
    ENABLE = "enable"  # PVE HA's maintenance of a node
    DISABLE = "disable"


@dataclass(frozen=True, slots=True)
class HookCall:
    """A hook that has to run. `occasion`: epoch seconds of what it is for; a hook runs to its end once for each."""

    hook: str  # its name in the machine's settings
    action: HookAction
    maintenance: ObjectRef
    node: NodeName
    occasion: float

    @property
    def key(self) -> str:
        """One hook at a time runs under it."""
        return f"{self.action}/{self.maintenance.name}/{self.node}"


@dataclass(frozen=True, slots=True)
class HookRun:
    """A hook that was started, and how it ended if that is known. Times: epoch seconds, our clock."""

    call: HookCall
    attempt: int
    started_at: float
    ended_at: float = 0.0  # 0: it runs, or ran when Drover ended
    exit_code: int | None = None  # None: it was ended, or could not be started
    output: str = ""  # the end of what it said, or why it could not be run
    begun: str = ""  # where a webhook that ran asks how it ends: a later attempt goes on asking there

    @property
    def over(self) -> bool:
        """Whether its result is known."""
        return self.ended_at > 0

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.over and self.exit_code == 0
