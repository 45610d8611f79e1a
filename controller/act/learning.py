"""What the log of a move teaches: how fast its guest changes memory, and what a stream between its nodes achieves. Pure.

Called by `act.inflight` for moves that ended and by `loop.tick` for those that are under way. Every move counts for 0.4 of what
is known, so that one odd measurement is forgotten after a few moves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.model.ids import NodeName
from controller.model.memory import Flight, GuestRate, LinkRate, Memory
from controller.model.outcome import Measured, Progress

WEIGHT = 0.4
_ENOUGH_LOOKS = 3  # of PVE, about one a second: before that a running move says nothing
_LIMITED = 0.9  # of its own limit: such a stream could perhaps have been faster
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Learned:
    """What to remember in place of what was known."""

    rates: tuple[GuestRate, ...] = ()
    links: Mapping[NodeName, LinkRate] = field(default_factory=dict)


def after(flight: Flight, progress: Progress, memory: Memory, now: float) -> Learned:
    """What is known of the guest and of the nodes after a move that ended, however it did. now: epoch seconds, our clock."""
    measured = progress.measured
    if not measured.looks:
        return Learned()
    known = memory.rates.get(flight.vmid)
    before = known.dirty_bytes_s if known is not None and known.identity.same_as(flight.identity) else None
    dirty = _dirty(progress)
    rates = () if dirty is None else (GuestRate(flight.identity, _mixed(before, dirty), now, _share(progress)),)
    return Learned(rates, {} if _limited(flight, measured) else _links(flight, measured, memory, now))


def meanwhile(flight: Flight, progress: Progress, memory: Memory, now: float) -> Learned:
    """What a move that is under way tells about what nobody knows yet."""
    measured = progress.measured
    if measured.looks < _ENOUGH_LOOKS:
        return Learned()
    known = memory.rates.get(flight.vmid)
    new = known is None or not known.identity.same_as(flight.identity)
    dirty = measured.dirty_bytes_s if new else None
    rates = () if dirty is None else (GuestRate(flight.identity, dirty, now),)
    links = {} if _limited(flight, measured) else _links(flight, measured, Memory(), now)
    return Learned(rates, {node: link for node, link in links.items() if node not in memory.links})


def _dirty(progress: Progress) -> float | None:
    """Bytes per second that the guest changed: as said, or as what was sent a second time tells. None: unknown."""
    measured = progress.measured
    if measured.dirty_bytes_s is not None:
        return measured.dirty_bytes_s
    memory = next((stream for stream in progress.streams if stream.name == "memory"), None)
    if memory is None or not memory.done or not memory.sent_bytes:
        return None
    return measured.bytes_s * max(0.0, 1.0 - measured.total_bytes / memory.sent_bytes)


def _share(progress: Progress) -> float | None:
    """Bytes sent for each byte of memory: pages that were never written cost nothing, others are sent more than once."""
    memory = next((stream for stream in progress.streams if stream.name == "memory" and stream.done), None)
    total = progress.measured.total_bytes
    return memory.sent_bytes / total if memory is not None and total else None


def _links(flight: Flight, measured: Measured, memory: Memory, now: float) -> dict[NodeName, LinkRate]:
    found = {}
    for node in (flight.source, flight.target):
        known = memory.links.get(node)
        before = known.bytes_s_per_stream if known is not None else None
        found[node] = LinkRate(_mixed(before, measured.bytes_s), now)
    return found


def _limited(flight: Flight, measured: Measured) -> bool:
    limit = flight.options.bandwidth_limit_mib_s * _MIB
    return bool(limit) and measured.bytes_s >= limit * _LIMITED


def _mixed(before: float | None, sample: float) -> float:
    return sample if before is None else before + WEIGHT * (sample - before)
