"""Which events a request asks for, and the stream of those that come: Kubernetes' `ADDED` and `MODIFIED`, one per line.

Used by `report.http`.
"""

import contextlib
import json
import re
from collections.abc import Mapping

from aiohttp import web

from controller.model.errors import DroverError
from controller.model.event import Event, EventFilter, EventType
from controller.model.ids import ClusterName
from controller.report import views
from controller.report.board import Board
from controller.report.units import epoch_of

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def wanted(query: Mapping[str, str], now: float) -> EventFilter:
    """The filter of `about=KIND[/NAME]`, `type`, `reason` (with commas between several) and `since`. Raises HTTPBadRequest.

    since: a time as events have it, or how long ago: `90s`, `15m`, `2h`, `7d`.
    """
    kind, _, name = query.get("about", "").partition("/")
    type_ = query.get("type", "")
    known = {each.lower(): each for each in EventType}
    if type_ and type_.lower() not in known:
        raise web.HTTPBadRequest(text=f"there is no type {type_!r} of events; known: {', '.join(EventType)}")
    reasons = frozenset(filter(None, query.get("reason", "").split(",")))
    return EventFilter(kind, name, known.get(type_.lower()), reasons, _since(query.get("since", ""), now))


def _since(text: str, now: float) -> float:
    if not text:
        return 0.0
    ago = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if ago is not None:
        return now - int(ago[1]) * _UNITS[ago[2]]
    at = epoch_of(text)
    if at is None:
        raise web.HTTPBadRequest(
            text=f"since={text}: write how long ago (90s, 15m, 2h, 7d) or a time (2026-11-23T12:00:00Z)"
        )
    return at


class EventWatch:
    """What has been told to one reader."""

    def __init__(self, board: Board, asked: EventFilter, cluster: str | None) -> None:
        self._board = board
        self._asked = asked
        self._cluster = cluster
        self._told: dict[tuple[ClusterName, int], tuple[float, int]] = {}
        self._first = True

    def news(self) -> bytes:
        """The lines about events that are new or were counted since the call before, the oldest first.

        What is there already comes first; a `BOOKMARK` ends it, so that a reader knows what is new.
        """
        found: list[tuple[float, ClusterName, Event]] = []
        for name, shown in self._board.clusters.items():
            if self._cluster not in (None, name):
                continue
            with contextlib.suppress(
                DroverError
            ):  # the disk's trouble is told by the condition Armed; the next change reads again
                found += [(event.last, name, event) for event in shown.events(self._asked)]
        lines = [line for _, name, event in sorted(found, key=lambda item: item[0]) for line in self._line(name, event)]
        self._told = {key: told for key, told in self._told.items() if key in {(n, e.number) for _, n, e in found}}
        if self._first:
            lines.append({"type": "BOOKMARK", "object": {"kind": "Event"}})
        self._first = False
        return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)

    def _line(self, name: ClusterName, event: Event) -> list[dict[str, object]]:
        before, now = self._told.get((name, event.number)), (event.last, event.count)
        if before == now:
            return []
        self._told[name, event.number] = now
        [told] = views.event_list(name, [event])
        return [{"type": "ADDED" if before is None else "MODIFIED", "object": told}]
