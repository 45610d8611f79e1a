"""The configs of guests, kept and re-read a few at a time: so few that a cluster of 5,000 is asked no more than one of 60.

Used by `observe.cluster`. Bookkeeping only; the reading is done there. Times are monotonic seconds.
"""

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from controller.model.ids import NodeName, Vmid
from controller.model.observed import Guest, GuestConfig, Power

READS_PER_SECOND: Final = 0.2
MOST_AT_ONCE: Final = 5
REREAD_SECONDS: Final = 300.0
"""A config that was read within this time is not read again unless its guest has changed."""


@dataclass(slots=True)
class _Entry:
    guest: Guest
    config: GuestConfig | None = None
    looked: tuple[object, ...] = ()  # how the guest looked when its config was read
    tried: float | None = None

    def changed(self) -> bool:
        return self.tried is not None and self.guest.power is not Power.UNKNOWN and self.looked != _look(self.guest)


def _look(guest: Guest) -> tuple[object, ...]:
    """What the rows show of a config: volumes get new names in a move, the rest is edited by people."""
    return guest.node, guest.name, guest.memory_bytes, guest.tags


class ConfigCache:
    """One entry per guest; gone with the guest, or when its number now belongs to another kind of guest."""

    def __init__(self) -> None:
        self._entries: dict[Vmid, _Entry] = {}
        self._allowance = float(MOST_AT_ONCE)
        self._counted_at: float | None = None

    def see(self, guests: Mapping[Vmid, Guest]) -> None:
        """These are the guests now."""
        old = self._entries
        self._entries = {}
        for vmid, guest in guests.items():
            entry = old.get(vmid)
            if entry is None or entry.guest.kind is not guest.kind:
                entry = _Entry(guest)
            entry.guest = guest
            self._entries[vmid] = entry

    def due(self, now: float, *, not_on: Collection[NodeName] = (), most: int | None = None) -> list[Guest]:
        """Guests whose configs are to be read `now`: changed ones, then unread ones, then the oldest. They count as tried.

        Never more than the rate allows, whatever there is to read, or than `most` where that is given; none on the nodes `not_on`.
        """
        if self._counted_at is not None:
            self._allowance = min(MOST_AT_ONCE, self._allowance + (now - self._counted_at) * READS_PER_SECOND)
        self._counted_at = now
        waiting = (
            (rank, vmid)
            for vmid, entry in self._entries.items()
            if entry.guest.node not in not_on and (rank := _rank(entry, now)) is not None
        )
        count = int(self._allowance) if most is None else most
        chosen = [self._entries[vmid] for _, vmid in heapq.nsmallest(count, waiting)]
        for entry in chosen:
            entry.tried, entry.looked = now, _look(entry.guest)
        if most is None:
            self._allowance -= len(chosen)
        return [entry.guest for entry in chosen]

    def put(self, config: GuestConfig) -> None:
        """The config of a guest has been read."""
        entry = self._entries.get(config.identity.vmid)
        if entry is not None and entry.guest.kind is config.identity.kind:
            entry.config = config

    @property
    def configs(self) -> dict[Vmid, GuestConfig]:
        """Every config that is known."""
        return {vmid: entry.config for vmid, entry in self._entries.items() if entry.config is not None}


def _rank(entry: _Entry, now: float) -> tuple[int, float] | None:
    """Lower goes first; None = not now."""
    if entry.tried is None:
        return 1, 0.0
    if entry.changed():
        return 0, entry.tried
    return (2, entry.tried) if now - entry.tried >= REREAD_SECONDS else None
