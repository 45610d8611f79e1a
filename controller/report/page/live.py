"""One rendering for all readers: made when the board has changed and somebody asks, in a thread, at most once a second.

Used by `report.page.routes`.
"""

import asyncio
import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from controller.report.board import Board
from controller.report.overview import take
from controller.report.page import render
from controller.report.page.content import Content, Rooms, content

PAUSE_SECONDS = 1.0
"""Between two renderings, however fast the board changes."""
KEPT = 32
"""Lists of guests that are kept rendered: readers who look at the same one share it."""


@dataclass(frozen=True, slots=True)
class Part:
    """The main part of a page, as text and as gzip; `etag` changes with its text."""

    text: str
    packed: bytes
    etag: str
    title: str
    now: float


class Live:
    """The pages of one board."""

    def __init__(self, board: Board, rooms: Rooms | None) -> None:
        self.board = board
        self._rooms = rooms
        self._lock = asyncio.Lock()
        self._content: Content | None = None
        self._of = -1  # the board's version that it was made of
        self._made_at = -PAUSE_SECONDS
        self._parts: OrderedDict[object, Part] = OrderedDict()
        self.renderings = 0
        """How often anything was rendered: what readers cost."""

    async def part(
        self, key: object, template: str, title: str, choose: Callable[[Content], dict[str, object]]
    ) -> Part:
        """The part that `template` makes of what `choose` picks; the same `key` is rendered once per state of the board."""
        async with self._lock:
            shown = await self._current()
            if key not in self._parts:
                self._parts[key] = await asyncio.to_thread(_rendered, template, title, choose, shown)
                self.renderings += 1
                while len(self._parts) > KEPT:
                    self._parts.popitem(last=False)
            return self._parts[key]

    async def change(self, seen: int, stopping: asyncio.Event) -> int:
        """Return the board's version once it is another than `seen` and the last rendering is old enough."""
        while self.board.version == seen:
            await self.board.change()
        if (left := self._made_at + PAUSE_SECONDS - asyncio.get_running_loop().time()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), left)
        return self.board.version

    async def _current(self) -> Content:
        if self._content is None or self._of != self.board.version:
            self._of, snapshot = self.board.version, take(self.board)
            self._content = await asyncio.to_thread(content, snapshot, self._rooms)
            self._parts.clear()
            self._made_at = asyncio.get_running_loop().time()
        return self._content


def _rendered(template: str, title: str, choose: Callable[[Content], dict[str, object]], shown: Content) -> Part:
    text = render.main(template, at=shown.at, **choose(shown))
    raw = text.encode()
    return Part(text, packed(raw), hashlib.sha256(raw).hexdigest()[:16], title, shown.at)


def packed(raw: bytes) -> bytes:
    """`raw` as gzip."""
    made = zlib.compressobj(5, zlib.DEFLATED, 31)
    return made.compress(raw) + made.flush()
