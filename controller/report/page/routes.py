"""What a browser asks for: the page, lists of guests, the stream that says that something is new, and signing in.

Routed by `report.http`.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiohttp import web

from controller.report import access
from controller.report.access import Access
from controller.report.board import Board
from controller.report.guests import GuestState
from controller.report.page import render
from controller.report.page.content import Content, GuestRow, Rooms
from controller.report.page.live import Live, Part, packed

BEAT_SECONDS = 5.0
"""How often a stream says that it is still there; the browser calls the connection lost after twice that."""
STREAMS = 256
"""Readers who are told at the same time; more load the page anew by themselves."""
ROWS = 100
"""Guests on one page of a list."""
REFRESH_SECONDS = 5
"""Between two loads in browsers without scripts, unless `?refresh=` says otherwise."""
PART_HEADER = "Drover-Part"


class PageRoutes:
    """The handlers, around one board."""

    def __init__(self, board: Board, rules: Access, rooms: Rooms | None) -> None:
        self._board = board
        self._rules = rules
        self._live = Live(board, rooms)
        self._stopping = asyncio.Event()
        self._streams = 0

    def routes(self) -> Iterable[web.RouteDef]:
        """Everything that is served here."""
        return (
            web.get("/", self.page),
            web.get("/guests", self.guests),
            web.get("/live", self.live),
            web.get("/login", self.login),
            web.post("/login", self.signed_in),
            web.get("/static/{name}", self.static),
        )

    async def stop(self, _app: web.Application) -> None:
        """End the streams, which would otherwise hold a shutdown up."""
        self._stopping.set()

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The overview; `?refresh=30` loads it less often where there are no scripts, `?refresh=0` keeps it still everywhere."""
        part = await self._live.part("", "overview.html", "Drover", lambda shown: {"shown": shown})
        return await _answer(request, part, refresh=_number(request.query.get("refresh", ""), REFRESH_SECONDS))

    async def guests(self, request: web.Request) -> web.StreamResponse:
        """A list of guests: `?q=` in names and numbers, `?cluster=`, `?node=`, `?state=`, `?page=`."""
        query = {key: request.query.get(key, "").strip()[:100] for key in ("q", "cluster", "node", "state")}
        asked = Asked(**query, page=max(1, _number(request.query.get("page", ""), 1)))
        part = await self._live.part(asked, "guests.html", "Guests", lambda shown: listed(asked, shown))
        return await _answer(request, part, query=asked.q)

    async def live(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: `news` with a number that changes when something is new, and a beat in between."""
        if self._streams >= STREAMS:
            raise web.HTTPServiceUnavailable(text="too many readers are told at once")
        stream = web.StreamResponse(
            headers={
                **access.headers(self._board),
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        await stream.prepare(request)
        self._streams += 1
        try:
            await self._tell(stream)
        except ConnectionResetError:
            pass  # the reader has gone
        finally:
            self._streams -= 1
        return stream

    async def _tell(self, stream: web.StreamResponse) -> None:
        stopped = asyncio.ensure_future(self._stopping.wait())
        version = self._board.version
        change = asyncio.ensure_future(self._live.change(version, self._stopping))
        try:
            await stream.write(self._event("news", version))
            while not stopped.done():
                await asyncio.wait({change, stopped}, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if change.done():
                    version = change.result()
                    await stream.write(self._event("news", version))
                    change = asyncio.ensure_future(self._live.change(version, self._stopping))
                else:
                    await stream.write(self._event("beat", version))
        finally:
            change.cancel()
            stopped.cancel()

    def _event(self, name: str, version: int) -> bytes:
        data = json.dumps({"version": version, "now": round(self._board.clock.wall(), 3)})
        return f"event: {name}\ndata: {data}\n\n".encode()

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Script, style and icon; named by their content, so that browsers keep them."""
        name = request.match_info["name"]
        if name not in render.STATIC:
            raise web.HTTPNotFound(text=f"there is no {name}")
        kept = "public, max-age=31536000, immutable" if request.query.get("v") == render.assets() else "no-cache"
        return web.Response(body=render.static(name), content_type=render.STATIC[name], headers={"Cache-Control": kept})

    async def login(self, _request: web.Request) -> web.StreamResponse:
        """The form that asks for the token."""
        return _sign_in_page("")

    async def signed_in(self, request: web.Request) -> web.StreamResponse:
        """Takes the token, and lets the browser in."""
        given = (await request.post()).get("token")
        if not isinstance(given, str) or not self._rules.knows(given):
            return _sign_in_page("That is not the token.")
        answer = web.Response(status=303, headers={"Location": "/"})
        secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
        self._rules.sign_in(answer, secure=secure)
        return answer


@dataclass(frozen=True, slots=True)
class Asked:
    """What a list of guests is asked for; "" = all."""

    q: str
    cluster: str
    node: str
    state: str
    page: int = 1


def listed(asked: Asked, shown: Content) -> dict[str, object]:
    """The rows of one page of a list, and what its filters offer."""
    words = asked.q.casefold().split()
    found = [row for row in shown.rows if _matches(row, asked, words)]
    pages = max(1, -(-len(found) // ROWS))
    page = min(asked.page, pages)
    names = [(one.line.name, [node.name for node in one.line.nodes]) for one in shown.clusters]
    return {
        "asked": asked,
        "rows": found[(page - 1) * ROWS : page * ROWS],
        "count": len(found),
        "page": page,
        "pages": pages,
        "clusters": names,
        "states": list(GuestState),
        "several": len(names) > 1,
    }


def _matches(row: GuestRow, asked: Asked, words: Sequence[str]) -> bool:
    if any(
        want and want != have
        for want, have in ((asked.cluster, row.cluster), (asked.node, row.node), (asked.state, row.state))
    ):
        return False
    text = f"{row.noun} {row.vmid} {row.name} {' '.join(row.tags)}".casefold()
    return all(word in text for word in words)


async def _answer(request: web.Request, part: Part, *, query: str = "", refresh: int = REFRESH_SECONDS) -> web.Response:
    """The whole document, or its main part for the script that has the rest already."""
    zipped = "gzip" in request.headers.get("Accept-Encoding", "")
    headers = {"Cache-Control": "no-cache", "Vary": f"{PART_HEADER}, Accept-Encoding, Cookie"}
    if request.headers.get(PART_HEADER):
        headers["ETag"] = f'"{part.etag}"'
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        raw, body = part.text.encode(), part.packed
    else:
        text = render.whole(part.text, title=part.title, now=part.now, etag=part.etag, query=query, refresh=refresh)
        raw = text.encode()
        body = await asyncio.to_thread(packed, raw) if zipped else b""
    if zipped:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body if zipped else raw, content_type="text/html", charset="utf-8", headers=headers)


def _sign_in_page(trouble: str) -> web.Response:
    text = render.whole(render.main("login.html", trouble=trouble), title="Sign in", now=0.0, etag="", refresh=0)
    return web.Response(text=text, content_type="text/html", status=403 if trouble else 200)


def _number(text: str, default: int) -> int:
    return min(int(text), 1_000_000) if text.isascii() and text.isdigit() and len(text) < 9 else default
