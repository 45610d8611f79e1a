"""Values as PVE's JSON writes them: a number here is text there, a flag is 1, "1" or true, and anything may be absent.

Used by `pve.decode` and `pve.decode_guest`.
"""

import math
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from controller.model.ids import NodeName, Vmid
from controller.model.observed import Power
from controller.pve.transport import Json

Row = Mapping[str, Json]
Noun = TypeVar("Noun")


class DecodeError(ValueError):
    """An answer that is not what the call answers with."""


def integer(value: Json) -> int | None:
    """A whole number in any of PVE's forms; None for anything else."""
    number = real(value)
    return None if number is None else int(value) if isinstance(value, int) else int(number)


def real(value: Json) -> float | None:
    """A finite number, also as text; None for anything else."""
    if not isinstance(value, int | float | str) or value == "":
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def amount(value: Json) -> int | None:
    """A number that can't be negative: bytes, seconds, CPUs."""
    number = integer(value)
    return number if number is not None and number >= 0 else None


def flag(value: Json) -> bool:
    """PVE's booleans: 1 and "1", JSON's true in a few places; absent is false."""
    return value in (1, "1", True)


def text(value: Json) -> str:
    """Text, "" when absent; numbers as they are written."""
    return value if isinstance(value, str) else "" if value is None or isinstance(value, list | dict) else str(value)


def words(value: Json) -> frozenset[str]:
    """A list in one string, such as tags; hand-written files also hold commas and blanks (pve-guest-common: GuestHelpers.pm)."""
    return frozenset(word for word in re.split(r"[;,\s]+", text(value)) if word)


def rows(answer: Json) -> list[Row]:
    """The rows of a list. Raises DecodeError when the answer is none."""
    if not isinstance(answer, list):
        raise DecodeError(f"a list was expected, not {type(answer).__name__}")
    return [row for row in answer if isinstance(row, dict)]


def record(answer: Json) -> Row:
    """The object of an answer. Raises DecodeError when it is none."""
    if not isinstance(answer, dict):
        raise DecodeError(f"an object was expected, not {type(answer).__name__}")
    return answer


def part(row: Row, key: str) -> Row:
    """The object below `key`, empty when there is none."""
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def texts(value: Json) -> tuple[str, ...]:
    """The items of a list as text, () when it is none."""
    return tuple(text(item) for item in value) if isinstance(value, list) else ()


def known(decoded: Iterable[Noun | None]) -> tuple[Noun, ...]:
    """Without the rows that made no sense."""
    return tuple(noun for noun in decoded if noun is not None)


def node_name(value: Json) -> NodeName | None:
    """The name of a node; one object per name, however many rows there are."""
    return NodeName(sys.intern(value)) if isinstance(value, str) and value else None


def vmid(value: Json) -> Vmid | None:
    """The number of a guest."""
    number = integer(value)
    return Vmid(number) if number is not None and number > 0 else None


_PAUSED: Final = frozenset(
    {
        "paused", "suspended", "prelaunch", "inmigrate", "postmigrate", "finish-migrate", "io-error", "internal-error",
        "guest-panicked", "watchdog", "debug", "colo", "save-vm", "restore-vm", "shutdown",
    }
)  # fmt: skip
"""QEMU's run states with a process that holds memory but does not run (QEMU: qapi/run-state.json)."""


def power(word: Json) -> Power:
    """A run state; a word we do not know is UNKNOWN."""
    state = text(word)
    if state in ("running", "stopped"):
        return Power(state)
    return Power.PAUSED if state in _PAUSED else Power.UNKNOWN
