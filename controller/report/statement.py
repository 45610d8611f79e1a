"""What conditions are built from: statements about one object, and the status that they and the fields make up. Pure.

Used by `report.conditions` and `report.maintenance`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from controller.model.condition import Condition, Status, with_condition
from controller.model.ids import Vmid
from controller.model.observed import Observed
from controller.model.plan import Blocked
from controller.model.reasons import Why
from controller.report.units import count_of, some

ANNOUNCED = "announced: "
"""How conditions of a maintenance begin as long as it has not begun."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A condition without its time: what is said now."""

    type: str
    status: Status
    why: Why
    message: str


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """The status of one object: conditions in the order of the reference, and the other fields by their YAML names.

    `left` and `remaining` are what a maintenance has to remember to count its progress: guests that have left its nodes, and
    those that still had to at the last look.
    """

    conditions: tuple[Condition, ...]
    fields: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    observed_generation: int = 0
    left: frozenset[Vmid] = frozenset()
    remaining: frozenset[Vmid] = frozenset()

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, if there is one."""
        return next((condition for condition in self.conditions if condition.type == type_), None)


def say(type_: str, status: bool | None, why: Why, message: str = "") -> Statement:
    """A statement; None stands for Unknown. Without a message the reason's own meaning is said."""
    word = {True: Status.TRUE, False: Status.FALSE, None: Status.UNKNOWN}[status]
    return Statement(type_, word, why, message or why.meaning)


def conditions(
    statements: Iterable[Statement], previous: ObjectStatus | None, *, at: float, generation: int
) -> tuple[Condition, ...]:
    """The statements as conditions; the time of one moves only when its status flips."""
    old = {condition.type: condition for condition in previous.conditions} if previous is not None else {}
    now: dict[str, Condition] = {}
    for said in statements:
        new = Condition(said.type, said.status, said.why, said.message, at, generation)
        now[said.type] = with_condition(old, new)[said.type]
    return tuple(now.values())


def label(vmid: Vmid, seen: Observed | None) -> str:
    """`101 db-1`, or the number alone when the guest is not known."""
    guest = seen.guests.get(vmid) if seen is not None else None
    return f"{vmid} {guest.name}" if guest is not None and guest.name else str(vmid)


def by_reason(blocked: Iterable[Blocked], seen: Observed | None, *, reasons: int = 5) -> str:
    """Many blocked guests in one line: per reason how many and three names, the most frequent reason first."""
    groups: dict[Why, list[str]] = {}
    for item in blocked:
        groups.setdefault(item.why, []).append(label(item.vmid, seen))
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    parts = [f"{count_of(len(names), 'guest')} {why} ({some(names)})" for why, names in ordered[:reasons]]
    rest = sum(len(names) for _, names in ordered[reasons:])
    return "; ".join(parts) + (f"; and {count_of(rest, 'guest')} for other reasons" if rest else "")
