"""Time zones by name. Used by `sources` to check what windows say, and by `decide.windows` to read them."""

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo


def find(name: str) -> tzinfo | None:
    """The time zone, from the machine's data or the package tzdata; None when there is none of this name."""
    if name == "UTC":
        return UTC  # known everywhere
    try:
        return ZoneInfo(name)
    except (
        OSError,
        ValueError,
        KeyError,
    ):  # ZoneInfoNotFoundError is a KeyError; of a directory such as Europe an OSError
        return None
