"""The configs of guests, kept and re-read a few at a time: so few that a cluster of 5,000 is asked no more than one of 60.

Used by `observe.cluster`. Bookkeeping only; the reading is done there. Times are monotonic seconds. Guests whose config a plan
waits for are read first and faster, at a rate of their own that ends with the last of them.
"""

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from controller.model.ids import NodeName, Vmid
from controller.model.observed import Guest, GuestConfig, Power

READS_PER_SECOND: Final = 0.2
MOST_AT_ONCE: Final = 5
NEEDED_PER_SECOND: Final = 1.0
NEEDED_AT_ONCE: Final = 10
"""Rate of configs that a plan waits for: those of 500 guests take eight minutes. Each of them is needed once."""
AGAIN_SECONDS: Final = 60.0
"""After which a needed config that could not be read is tried again."""
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
        self._needed_allowance = float(NEEDED_AT_ONCE)
        self._needed: frozenset[Vmid] = frozenset()
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

    def need(self, vmids: Collection[Vmid]) -> None:
        """A plan waits for the configs of these guests, and no longer for those of others; known ones are not read again for it."""
        self._needed = frozenset(vmids)

    def due(self, now: float, *, not_on: Collection[NodeName] = (), most: int | None = None) -> list[Guest]:
        """Guests whose configs are to be read `now`: needed ones, changed ones, unread ones, the oldest. They count as tried.

        Never more than the rates allow, whatever there is to read, or than `most` where that is given; none on the nodes `not_on`.
        """
        self._count(now)
        reachable = {vmid: entry for vmid, entry in self._entries.items() if entry.guest.node not in not_on}
        first = sorted(vmid for vmid in self._needed & reachable.keys() if _is_wanted(reachable[vmid], now))
        first = first[: int(self._needed_allowance) if most is None else most]
        others = ((rank, v) for v, e in reachable.items() if v not in first and (rank := _rank(e, now)) is not None)
        rest = heapq.nsmallest(int(self._allowance) if most is None else most - len(first), others)
        chosen = [self._entries[vmid] for vmid in [*first, *(vmid for _, vmid in rest)]]
        for entry in chosen:
            entry.tried, entry.looked = now, _look(entry.guest)
        if most is None:
            self._allowance -= len(rest)
            self._needed_allowance -= len(first)
        return [entry.guest for entry in chosen]

    def _count(self, now: float) -> None:
        """Earn what may be read since the last time."""
        passed = now - self._counted_at if self._counted_at is not None else 0.0
        self._allowance = min(MOST_AT_ONCE, self._allowance + passed * READS_PER_SECOND)
        self._needed_allowance = min(NEEDED_AT_ONCE, self._needed_allowance + passed * NEEDED_PER_SECOND)
        self._counted_at = now

    def put(self, config: GuestConfig) -> None:
        """The config of a guest has been read."""
        entry = self._entries.get(config.identity.vmid)
        if entry is not None and entry.guest.kind is config.identity.kind:
            entry.config = config

    @property
    def configs(self) -> dict[Vmid, GuestConfig]:
        """Every config that is known."""
        return {vmid: entry.config for vmid, entry in self._entries.items() if entry.config is not None}


def _is_wanted(entry: _Entry, now: float) -> bool:
    return entry.config is None and (entry.tried is None or now - entry.tried >= AGAIN_SECONDS)


def _rank(entry: _Entry, now: float) -> tuple[int, float] | None:
    """Lower goes first; None = not now."""
    if entry.tried is None:
        return 1, 0.0
    if entry.changed():
        return 0, entry.tried
    return (2, entry.tried) if now - entry.tried >= REREAD_SECONDS else None
