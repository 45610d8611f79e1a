"""Bars as pieces of 100 percent: the memory of a node, that of a cluster, a guest of a drain on its axis of time. Pure.

Called by `report.page.content`. Percentages become coordinates of SVG: a style attribute would need a weaker
Content-Security-Policy.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from controller.model.room import NodeRoom
from controller.report.evacuation import BarLine


@dataclass(frozen=True, slots=True)
class Piece:
    """From `x`, `width` wide, both in percent; `kind` is a class of the style sheet."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Track:
    """One guest of a drain. `bound`: where no order would be faster."""

    bar: BarLine
    pieces: tuple[Piece, ...]
    bound: float | None
    words: str


def room_pieces(room: NodeRoom, memory_bytes: int | None, scale_bytes: int) -> tuple[Piece, ...]:
    """What stays, what leaves, what arrives and what is kept free of one node; `scale_bytes` is the whole width."""
    whole = max(scale_bytes, room.held_bytes + room.arriving_bytes)
    limit = room.limit_bytes or 0
    memory = max(memory_bytes or 0, limit)
    over = max(0, room.held_bytes + room.arriving_bytes - limit) if room.limit_bytes is not None else 0
    staying = room.held_bytes - room.leaving_bytes
    pieces = _row([("held", staying), ("leaving", room.leaving_bytes), ("arriving", room.arriving_bytes)], whole)
    outside = [Piece("none", 100 * memory / whole, 100 - 100 * memory / whole)] if memory < whole and whole else []
    kept = [Piece("kept", 100 * limit / whole, 100 * (memory - limit) / whole)] if whole and memory > limit else []
    beyond = [Piece("over", 100 * limit / whole, 100 * over / whole)] if over and whole else []
    return (*outside, *kept, *pieces, *beyond)


def total_pieces(limit: int, held: int, arriving: int, kept: int) -> tuple[Piece, ...]:
    """The memory of all nodes together; what is kept for failing nodes stands at its end."""
    whole = max(limit, held + arriving, 1)
    reserve = [Piece("reserve", 100 * (whole - kept) / whole, 100 * kept / whole)] if kept else []
    return (*reserve, *_row([("held", held), ("arriving", arriving)], whole))


def _row(parts: Iterable[tuple[str, int]], whole: int) -> list[Piece]:
    found, x = [], 0.0
    for kind, part in parts:
        if part > 0 and whole:
            found.append(Piece(kind, x, 100 * part / whole))
            x += 100 * part / whole
    return found


def track(bar: BarLine, span: float, elapsed: float, bound: float | None, words: str) -> Track:
    """`bar` on an axis of `span` seconds, `elapsed` of which have passed."""
    pieces: list[Piece] = []
    if bar.begin_seconds is not None:
        moving = bar.state == "Moving"
        until = elapsed if moving else bar.end_seconds or bar.begin_seconds
        pieces.append(_piece("moving" if moving else "away", bar.begin_seconds, until, span))
        if moving and bar.end_seconds is not None and bar.end_seconds > elapsed:
            pieces.append(_piece("rest", elapsed, bar.end_seconds, span))
    return Track(bar, tuple(pieces), 100 * bound / span if bound else None, words)


def _piece(kind: str, begin: float, end: float, span: float) -> Piece:
    return Piece(kind, 100 * begin / span, max(0.4, 100 * (end - begin) / span))
