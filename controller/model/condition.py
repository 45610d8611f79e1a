"""Conditions, the user interface of a controller: type, status, reason, message. Built by `report.conditions`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Status(StrEnum):
    """Kubernetes' three answers."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """One statement about one object. `since` is the last flip of `status` (epoch seconds, our clock)."""

    type: str
    status: Status
    reason: str
    message: str
    since: float
    observed_generation: int


def with_condition(old: Mapping[str, Condition], new: Condition) -> dict[str, Condition]:
    """`old` with `new` in place of the one of its type; the time moves only when the status flips."""
    last = old.get(new.type)
    since = last.since if last is not None and last.status is new.status else new.since
    return {**old, new.type: replace(new, since=since)}
