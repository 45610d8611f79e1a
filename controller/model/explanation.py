"""Why a guest is where it is, or goes where it goes: every node with its verdict, the choice and what it costs.

Made by `decide.candidates` when somebody asks; shown by `report` and `cli`.
"""

from dataclasses import dataclass
from enum import StrEnum

from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.reasons import Why


class Fitness(StrEnum):
    """What a node is for the guest."""

    HERE = "Here"
    CHOSEN = "Chosen"
    POSSIBLE = "Possible"
    RULED_OUT = "RuledOut"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One node, and the rest of a sentence that begins with its name."""

    node: NodeName
    fitness: Fitness
    message: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that decides about one guest. `why`, `message` and `cause`: what the plan says of it, nothing when it is fine."""

    vmid: Vmid
    name: str
    node: NodeName
    candidates: tuple[Candidate, ...]
    rules: tuple[ObjectRef, ...] = ()  # policies that select it
    target: NodeName | None = None
    why: Why | None = None
    message: str = ""
    cause: ObjectRef | None = None
    waits: bool = False  # for what `message` says
    move_bytes: int = 0  # to send: memory, and volumes that the target has no replica of
    seconds: float | None = (
        None  # that the move is estimated to take; None: no rate is known, or it never ends by itself
    )
