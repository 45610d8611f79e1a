"""What people release before Drover does it: steps of a plan, their digest, and what was approved. `approval: Manual`.

Made by `decide.approval`; remembered by `report.store`; shown by `report` and `cli`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from controller.model.ids import ObjectRef
from controller.model.reasons import Why

ANNOTATION = "drover.dev/approved-digest"
"""On the object that asks, or on its PveCluster: digests that a commit approves, with commas between them."""


class StepVerb(StrEnum):
    """What is done to whom."""

    MOVE = "Move"
    SHUTDOWN = "Shutdown"
    HA_RULE = "HaRule"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is approved or not. Two are equal when the same is done for the same reason; the name is for people."""

    verb: StepVerb
    subject: str  # the guest's number, or the name of a rule of PVE HA
    source: str  # where the guest is; what is done to the rule
    target: str  # where it goes, "" when it does not move
    why: Why
    cause: ObjectRef
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        if self.verb is StepVerb.HA_RULE:
            return f"{self.source.lower()} rule {self.subject} of PVE HA ({self.cause})"
        who = f"{self.subject} {self.name}".strip()
        if self.verb is StepVerb.SHUTDOWN:
            return f"shut {who} down on {self.source} ({self.cause})"
        return f"{who} {self.source} -> {self.target} ({self.why})"


@dataclass(frozen=True, slots=True)
class Approved:
    """What somebody released. It counts while nothing but these steps is wanted, by specs that say the same."""

    gate: ObjectRef
    digest: str
    steps: tuple[Step, ...]
    stamps: Mapping[str, str]  # fingerprints of the specs that the steps come from
    by: str
    at: float  # epoch seconds, our clock
    by_commit: bool = False  # it ends when the digest is taken out of the repository
    used: bool = False  # all of it is done: the same digest releases nothing a second time


@dataclass(frozen=True, slots=True)
class Approval:
    """What one object with `approval: Manual` asks for now. `steps` are those that are not done yet."""

    gate: ObjectRef
    steps: tuple[Step, ...]
    stamps: Mapping[str, str]
    released: Approved | None  # what releases it; None: it waits
    changes: tuple[str, ...] = ()  # what is different from what was approved before

    @property
    def digest(self) -> str:
        """Twelve hex digits over the steps with their reasons, and what the specs behind them say: the same on every machine."""
        content = {
            "gate": str(self.gate),
            "steps": sorted([s.verb, s.subject, s.source, s.target, s.why, str(s.cause)] for s in self.steps),
            "specs": sorted([ref, stamp] for ref, stamp in self.stamps.items()),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def waits(self) -> bool:
        """Whether nobody has released it."""
        return self.released is None
