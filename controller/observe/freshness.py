"""How old each part of the picture is, and which parts are due again. Ages by the monotonic clock, in seconds.

Used by `observe.cluster`. What changes by the second is read at every look; what changes by the hour only now and then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Part(StrEnum):
    """The parts of a look that come with calls of their own."""

    CLUSTER = "cluster"  # membership, rows and tasks, which are only good together
    HA = "ha"
    HA_RULES = "ha-rules"  # only while HA has resources
    OPTIONS = "options"  # of the datacenter; only while HA has resources
    REPLICATION = "replication"
    RIGHTS = "rights"
    VERSIONS = "versions"


PERIODS: Final[Mapping[Part, float]] = MappingProxyType(
    {
        Part.CLUSTER: 0.0,
        Part.HA: 0.0,
        Part.HA_RULES: 60.0,
        Part.OPTIONS: 600.0,
        Part.REPLICATION: 60.0,
        Part.RIGHTS: 600.0,
        Part.VERSIONS: 600.0,
    }
)
"""Seconds between two reads of a part; 0 = at every look."""
RETRY_SECONDS: Final = 60.0
"""When a part that could not be read is tried again, at the latest."""


@dataclass(slots=True)
class _Reads:
    tried: float
    succeeded: float | None


class Freshness:
    """When each part was tried and read. `now` is always monotonic seconds."""

    def __init__(self) -> None:
        self._reads: dict[Part, _Reads] = {}

    def due(self, part: Part, now: float) -> bool:
        """Whether `part` is to be tried at a look that happens `now`; after a failed try sooner, but not at once."""
        reads = self._reads.get(part)
        if reads is None:
            return True
        failed = reads.succeeded != reads.tried
        return now - reads.tried >= (min(PERIODS[part], RETRY_SECONDS) if failed else PERIODS[part])

    def note(self, part: Part, now: float, *, ok: bool) -> None:
        """`part` was tried `now`."""
        before = self._reads.get(part)
        self._reads[part] = _Reads(now, now if ok else before.succeeded if before else None)

    def forget(self, part: Part) -> None:
        """What is known of `part` is out of date: it is due at the next look."""
        self._reads.pop(part, None)

    def ages(self, now: float) -> Mapping[Part, float | None]:
        """Seconds since each part was read well; None = never."""
        found = {part: reads.succeeded for part, reads in self._reads.items()}
        return {part: None if (read := found.get(part)) is None else now - read for part in Part}

    def stale(self, now: float, *, grace_seconds: float = 60.0) -> tuple[Part, ...]:
        """Parts that are older than their period allows, give or take `grace_seconds`, or were never read."""
        ages = self.ages(now)
        return tuple(part for part in Part if (age := ages[part]) is None or age > PERIODS[part] + grace_seconds)
