"""Rules of PVE HA that Drover writes for policies: what is asked of them, what can't be written, and whose a rule is.

`decide.ha_coordinate` makes `RuleAction`s, `act.ha_rules` carries them out, `report` shows how they stand.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from controller.model.facts import HaRule
from controller.model.ids import ObjectRef
from controller.model.reasons import Why

_OWNED = "managed by drover: "


def rule_owner(comment: str) -> str | None:
    """The PlacementPolicy that a rule belongs to; None for a rule that nobody may touch."""
    return comment.removeprefix(_OWNED) or None if comment.startswith(_OWNED) else None


def rule_comment(policy: str) -> str:
    """The comment by which Drover knows its own rules."""
    return f"{_OWNED}{policy}"


def rule_name(policy: str) -> str:
    """PVE takes letters, digits, - and _ (pve-common: PVE/JSONSchema.pm pve-configid); names of policies have no _."""
    return f"drover-{policy.replace('.', '_')}"


class RuleVerb(StrEnum):
    """What is to be done with a rule."""

    CREATE = "Create"
    UPDATE = "Update"
    REMOVE = "Remove"


@dataclass(frozen=True, slots=True)
class RuleAction:
    """One change of one rule. `rule`: as it is to be; to be removed: as it was seen."""

    verb: RuleVerb
    rule: HaRule
    cause: ObjectRef
    message: str  # a sentence for people


@dataclass(frozen=True, slots=True)
class RuleState:
    """How a policy stands in the rules of PVE HA. written: PVE HA has all of it."""

    policy: ObjectRef
    written: bool
    why: Why
    message: str


@dataclass(frozen=True, slots=True)
class Coordination:
    """What a plan asks of PVE HA's rules. Empty unless `ha.coexistence` is Coordinate."""

    actions: tuple[RuleAction, ...] = ()
    states: tuple[RuleState, ...] = field(default=())
