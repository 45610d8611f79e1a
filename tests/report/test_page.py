"""The page as HTML: what it says, that it escapes, that it stays small, that readers share it; and who may read it."""

import asyncio
import itertools
import re
import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest

from controller.app import rooms
from controller.model.drift import Drift, DriftKind
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.reasons import Why
from controller.model.room import NodeRoom
from controller.model.view import ClusterView, Finding
from controller.report import access, http
from controller.report.board import Board
from controller.report.overview import take
from controller.report.page import render
from controller.report.page.bars import room_pieces
from controller.report.page.content import CHIPS, CHIPS_OF_MANY, DRIFTS, Content, content
from controller.report.page.live import Live
from controller.report.page.routes import ROWS, Asked, listed
from controller.report.store import Store
from controller.settings import HttpSettings, Secret
from tests.report import scene
from tests.report.scene import GIB, PROBLEM, PVE1, SPECS, VIEW, StillClock

TOKEN = "a-token-of-the-tests-0123456789"
VOID = ("meta", "link", "input", "img", "br")


class Tags(HTMLParser):
    """What elements and what text a page has; blanks count once."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.open: list[str] = []
        self._text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs), attrs
        self.elements.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self._text += data

    @property
    def text(self) -> str:
        return " ".join(self._text.split())


def shown(board: Board) -> Content:
    return content(take(board), rooms)


def page(board: Board) -> str:
    seen = shown(board)
    return render.whole(render.main("overview.html", at=seen.at, shown=seen), title="Drover", now=seen.at, etag="e")


def of_view(view: ClusterView, store: Store | None = None) -> str:
    return page(scene.board(view, store=store)[0])


def test_the_page_says_in_words_what_its_bars_and_arrows_show(tmp_path: Path) -> None:
    state = scene.store(tmp_path)
    text = of_view(scene.FORESEEN, state)
    state.close()
    tags = Tags(text)
    assert tags.open == [], "every element is closed"
    for words in (
        "pve1 is being drained · 1 guest on the way · 2 guests still to move · mistakes in the manifests · 1 guest can't move",
        "1 of 5 guests moved away from pve1, 1 moving, 1 blocked, 2 waiting, 1 shut down",
        "since 5m00s · about 1m30s left (nine times in ten within 2m00s)",
        "6m30s in all, no order is faster than 6m00s (1.08x)",
        "VM 104 web-2 on pve2 after 41s",
        "VM 101 db-1 to pve2, Memory 50 %",
        "CT 201 dns waits: SlotTaken, then to pve2",
        "VM 105 build blocked: NoTargetFits",
        "VM 101 db-1 pve1 →to pve2",
        "4.0 GiB of 8.0 GiB · 112 MiB/s · 36s left · downtime up to 1000 ms",
        "1 move out, 112 MiB/s",
        "1 move in, 112 MiB/s",
        "65.0 GiB of 57.6 GiB promised · 8.0 GiB leaving · 7.4 GiB too much",
        "6.0 GiB of 57.6 GiB promised · 8.0 GiB arriving · 43.6 GiB free",
        "guest 900 crm of pve1: starts again when pve1 is back; asked to shut down",
        scene.BLOCKED.message,
        "1 guest NoTargetFits What to do: Free memory, add a node, or relax a policy. VM 105 build on pve1",
        "pve1 sends 2 guests already",
        "a move waits for it",
        "2 jobs: 1 InSync, 1 Syncing; the oldest replica is 40s old",
        "PlacementPolicy/databases-apart Compliant False",
        "VM 101 db-1 and VM 102 db-2 are both on pve1",
        "MoveSucceeded",
        str(PROBLEM),
    ):
        assert words in tags.text, words


def test_shapes_are_hidden_from_those_who_have_the_words() -> None:
    text = of_view(scene.FORESEEN)
    svgs = re.findall(r"<svg [^>]*>", text)
    assert len(svgs) > 8
    assert all("aria-hidden" in svg for svg in svgs), "what words say is not read out twice"
    for landmark in ("<main", "<header", "<footer", "<nav", 'role="search"', 'aria-live="polite"'):
        assert text.count(landmark) == 1, landmark
    assert all('scope="' in head for head in re.findall(r"<th[ >][^>]*", text))
    assert all("aria-label=" in bar for bar in re.findall(r"<progress[^>]*>", text))
    levels = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert levels[0] == levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_the_page_escapes_whatever_others_have_written() -> None:
    evil = "<script>alert(1)</script><b onclick='x'>\"&"
    bad = replace(scene.GUESTS[scene.PLAN.blocked[0].vmid], name=evil)
    stop = replace(scene.BLOCKED, message=evil, remedy=evil)
    plan = replace(scene.PLAN, blocked=(stop,), drains=(replace(scene.DRAIN, reason=evil, blocked=(stop,)),))
    flight = replace(scene.FLIGHT, name=evil)
    view = replace(
        VIEW,
        seen=replace(scene.SEEN, guests={**scene.GUESTS, bad.vmid: bad}, pve_name=evil),
        plan=plan,
        memory=replace(scene.MEMORY, flights={flight.vmid: flight}),
        progress={flight.vmid: replace(scene.PROGRESS, phase=evil)},
        armed=Finding(ok=False, why=Why.NO_QUORUM, message=evil),
        connected=Finding(ok=False, why=Why.PVE_ERROR, message=evil),
    )
    board, _ = scene.board(view)
    board.show_source(SPECS, evil, (replace(PROBLEM, message=evil),), complete=False, awaiting=evil)
    text = page(board)
    assert Tags(text).elements.count("script") == 1, "our own"
    assert text.count("&lt;script&gt;") > 6
    assert not re.search(r"<b onclick|<script>", text)
    asked = Asked(evil, evil, evil, evil)
    listing = render.main("guests.html", at=0.0, **listed(asked, shown(board)))
    assert "script" not in Tags(listing).elements


def test_an_empty_board_has_a_page_too() -> None:
    assert "No cluster has been looked at yet" in page(Board(StillClock()))


def test_a_blind_cluster_says_why() -> None:
    blind = replace(
        VIEW, seen=None, plan=None, connected=Finding(ok=False, why=Why.TLS_FAILED, message="wrong fingerprint")
    )
    text = of_view(blind)
    for words in ("TLSFailed", "wrong fingerprint", "never looked at"):
        assert words in text


def test_the_bar_of_a_node_is_its_ledger() -> None:
    room = NodeRoom(80, held_bytes=30, leaving_bytes=10, arriving_bytes=20)
    pieces = {piece.kind: (piece.x, piece.width) for piece in room_pieces(room, 100, 100)}
    assert pieces == {"kept": (80, 20), "held": (0, 20), "leaving": (20, 10), "arriving": (30, 20)}
    full = {piece.kind: (piece.x, piece.width) for piece in room_pieces(replace(room, held_bytes=70), 100, 100)}
    assert full["over"] == (80, 10)
    smaller = {piece.kind: (piece.x, piece.width) for piece in room_pieces(room, 100, 200)}
    assert smaller["none"] == (50, 50), "bars of all nodes have one scale"


def test_a_guest_on_its_way_counts_on_both_nodes_until_it_is_seen_on_one() -> None:
    assert rooms(VIEW, SPECS)[PVE1] == NodeRoom(61847529063, 65 * GIB, 8 * GIB, 0)
    assert rooms(VIEW, SPECS)[scene.PVE2] == NodeRoom(61847529063, 6 * GIB, 0, 8 * GIB)
    assert VIEW.seen is not None
    there = {**VIEW.seen.guests, scene.FLIGHT.vmid: replace(VIEW.seen.guests[scene.FLIGHT.vmid], node=scene.PVE2)}
    landed = rooms(replace(VIEW, seen=replace(VIEW.seen, guests=there)), SPECS)
    assert (landed[PVE1].leaving_bytes, landed[scene.PVE2].arriving_bytes) == (0, 0)
    assert landed[scene.PVE2].held_bytes == 14 * GIB


def wide(nodes: int, guests: int) -> ClusterView:
    """Many nodes and guests, half of those on the first node blocked."""
    names = [NodeName(f"pve{number:02}") for number in range(nodes)]
    made = scene.by_vmid(*(scene.guest(1000 + n, f"g{n}", names[n % nodes]) for n in range(guests)))
    stuck = tuple(replace(scene.BLOCKED, vmid=vmid) for vmid in list(made)[: guests // 2])
    fine = frozenset(made) - {item.vmid for item in stuck}
    plan = replace(scene.PLAN, moves=(), waiting=(), blocked=stuck, flying=(), fine=fine, drains=(), violations=())
    seen: Observed = replace(scene.SEEN, nodes={name: scene.node(name) for name in names}, guests=made)
    return replace(VIEW, seen=seen, plan=plan, memory=Memory(), progress={})


@pytest.mark.parametrize("view", [scene.crowded(5000), wide(32, 5000)], ids=["one node", "32 nodes"])
def test_thousands_of_guests_stay_readable_and_bounded(view: ClusterView) -> None:
    text = of_view(view)
    tags = Tags(text)
    assert len(text) < 200_000
    assert len(tags.elements) < 3_000
    assert text.count('class="chip ') <= max(3 * CHIPS, 32 * CHIPS_OF_MANY)
    assert "Blocked guests 2500" in tags.text
    assert re.search(r"and \d+ more guests", tags.text)


def test_every_guest_can_be_found_and_lists_are_cut_into_pages() -> None:
    seen = shown(scene.board(wide(32, 5000))[0])
    every = listed(Asked("", "", "", ""), seen)
    assert (every["count"], every["pages"], len(every["rows"])) == (5000, 50, ROWS)  # type: ignore[arg-type]  # rows
    rows = {row.vmid for n in range(1, 51) for row in listed(Asked("", "", "", "", n), seen)["rows"]}  # type: ignore[attr-defined]  # rows
    assert len(rows) == 5000
    for asked, count in (
        (Asked("g4711", "", "", ""), 1),
        (Asked("ct 5711", "", "", ""), 1),
        (Asked("G4711", "", "pve00", ""), 0),
        (Asked("", "", "", "Blocked"), 2500),
        (Asked("", "default", "pve03", ""), 157),
        (Asked("", "other", "", ""), 0),
        (Asked("", "", "", "", 999), 5000),
    ):
        assert listed(asked, seen)["count"] == count, asked


def test_readers_share_one_rendering_and_an_unchanged_board_costs_none() -> None:
    async def main() -> None:
        board, _ = scene.board()
        live = Live(board, rooms)

        async def read() -> str:
            return (await live.part("", "overview.html", "Drover", lambda seen: {"shown": seen})).etag

        tags = await asyncio.gather(*(read() for _ in range(20)))
        assert (len(set(tags)), live.renderings) == (1, 1)
        board.publish(VIEW, SPECS, scene.said_of(VIEW), None)
        assert await read() == tags[0], "the same is shown, and nobody loads it again"
        assert live.renderings == 2
        board.publish(replace(VIEW, progress={}), SPECS, scene.said_of(VIEW), None)
        assert await read() != tags[0]

    asyncio.run(main())


def served(settings: HttpSettings, talk: object) -> None:
    async def main() -> None:
        board, metrics = scene.board()
        server = await http.serve(board, metrics, settings, None, rooms)
        try:
            async with aiohttp.ClientSession(server.address, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                await talk(session, board)  # type: ignore[operator]  # a coroutine function
        finally:
            await server.close()

    asyncio.run(main())


def test_a_browser_that_has_the_page_gets_what_is_new_and_else_nothing() -> None:
    async def talk(session: aiohttp.ClientSession, board: Board) -> None:
        async with session.get("/live") as stream:
            assert await stream.content.readline() == b"event: news\n"
            assert b'"now": 1800000000.0' in await stream.content.readline()
            async with session.get("/", headers={"Drover-Part": "main"}) as answer:
                etag, text = answer.headers["ETag"], await answer.text()
            assert text.startswith('<main id="main"')
            async with session.get("/", headers={"Drover-Part": "main", "If-None-Match": etag}) as answer:
                assert (answer.status, await answer.text()) == (304, "")
            board.publish(replace(VIEW, progress={}), SPECS, scene.said_of(VIEW), None)
            assert await stream.content.readline() == b"\n"
            assert await stream.content.readline() == b"event: news\n"
            async with session.get("/", headers={"Drover-Part": "main", "If-None-Match": etag}) as answer:
                assert answer.status == 200

    served(HttpSettings(port=0), talk)


def test_without_scripts_the_page_loads_itself_as_often_as_asked() -> None:
    async def talk(session: aiohttp.ClientSession, board: Board) -> None:
        for query, meta in (("", 'content="5"'), ("?refresh=30", 'content="30"'), ("?refresh=x", 'content="5"')):
            async with session.get(f"/{query}") as answer:
                assert f'<noscript><meta http-equiv="refresh" {meta}></noscript>' in await answer.text()
        async with session.get("/?refresh=0") as answer:
            assert "http-equiv" not in await answer.text()

    served(HttpSettings(port=0), talk)


def test_whoever_has_no_token_reads_health_and_metrics_and_nothing_else() -> None:
    async def talk(session: aiohttp.ClientSession, board: Board) -> None:
        for path in ("/", "/guests", "/live", "/apis/drover.dev/v1alpha1/guests", "/apis/drover.dev/v1alpha1/overview"):
            async with session.get(path) as answer:
                assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), path
                assert "db-1" not in await answer.text()
            async with session.get(path, headers={"Accept": "text/html"}, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, "/login")
            async with session.get(path, headers={"Authorization": "Bearer wrong"}) as answer:
                assert answer.status == 401
        for path in ("/healthz", "/metrics", "/login", "/static/page.css"):
            async with session.get(path) as answer:
                assert answer.status == 200, path
        async with session.get("/", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200
        async with session.post("/login", data={"token": "wrong"}) as answer:
            assert answer.status == 403
        async with session.post("/login", data={"token": TOKEN}, allow_redirects=False) as answer:
            cookie = answer.headers["Set-Cookie"]
            assert TOKEN not in cookie
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
        async with session.get("/") as answer:
            assert answer.status == 200
            assert TOKEN not in await answer.text()

    served(HttpSettings(port=0, token=Secret(TOKEN)), talk)


def test_bound_elsewhere_without_a_token_one_is_made_and_kept(tmp_path: Path) -> None:
    assert access.token_of(HttpSettings(), tmp_path) is None
    for host in ("0.0.0.0", "::", "192.168.1.7", "drover.lan"):
        made = access.token_of(HttpSettings(host), tmp_path)
        assert made is not None
        again = access.token_of(HttpSettings(host), tmp_path)
        assert again is not None
        assert again.reveal() == made.reveal()
        assert len(made.reveal()) >= 40
    file = tmp_path / access.TOKEN_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    given = access.token_of(HttpSettings("0.0.0.0", token=Secret(TOKEN)), tmp_path)
    assert given is not None
    assert given.reveal() == TOKEN


def test_what_people_changed_by_hand_is_told_with_what_drover_does_about_it() -> None:
    moved = Drift(
        kind=DriftKind.GUEST_MOVED,
        about=ObjectRef("Guest", "105"),
        vmid=Vmid(105),
        what="VM 105 <build> was moved by hand from pve2 to pve1 by root@pam",
        since=scene.SEEN.at - 60,
        will="nothing: no rule minds",
        why=Why.AS_EXPECTED,
    )
    many = tuple(replace(moved, about=ObjectRef("Guest", str(number))) for number in range(DRIFTS + 3))
    text = Tags(of_view(replace(VIEW, drifts=many))).text
    assert "Changed by hand GuestMoved VM 105 <build> was moved by hand from pve2 to pve1 by root@pam" in text
    assert "Drover: nothing: no rule minds" in text
    assert "and 3 more: drover drift tells them all" in text
    assert "Changed by hand" not in of_view(VIEW)
