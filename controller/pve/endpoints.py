"""Which endpoint of a cluster is asked next: sticky, and a dead one is not asked first each time.

Used by `pve.proxmoxer_transport` alone. Pure bookkeeping: time comes in as a number of seconds that never jumps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0


@dataclass(slots=True)
class _Health:
    failures: int = 0
    rests_until: float = 0.0


class Endpoints:
    """The order in which the endpoints of one cluster are tried."""

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise ValueError("a cluster needs at least one endpoint")
        self._health = {name: _Health() for name in names}
        self._sticky = names[0]

    def order(self, now: float) -> list[str]:
        """Every endpoint once: the one in use, the others in the given order after it, those that rest last.

        Resting only puts an endpoint behind the others: with nobody better left it is asked all the same.
        """
        names = list(self._health)
        start = names.index(self._sticky)
        ring = names[start:] + names[:start]
        awake = [name for name in ring if self._health[name].rests_until <= now]
        resting = [name for name in ring if self._health[name].rests_until > now]
        return awake + sorted(resting, key=lambda name: self._health[name].rests_until)

    def answered(self, name: str) -> None:
        """`name` works: it is the one in use from now on, and its failures are forgotten."""
        self._health[name] = _Health()
        self._sticky = name

    def failed(self, name: str, now: float) -> None:
        """`name` did not answer: it rests, twice as long after every failure in a row, five minutes at most."""
        health = self._health[name]
        pause = min(FIRST_PAUSE_SECONDS * 2**health.failures, LONGEST_PAUSE_SECONDS)
        self._health[name] = _Health(min(health.failures + 1, 10), now + pause)
