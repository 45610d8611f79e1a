"""What Drover serves over HTTP: metrics, health, objects, the page. Read-only, for anybody who may reach the port.

Built by `app`. Nothing in here can change the daemon's mind: that goes through `report.control`.
"""

import asyncio
import json
from collections.abc import Callable
from typing import TypeAlias

from aiohttp import web

from controller.model.event import EventFilter
from controller.model.explanation import Explanation
from controller.model.ids import Vmid
from controller.model.view import ClusterView
from controller.report import access, event_watch, objects, views
from controller.report import snapshot as snapshots
from controller.report.access import Access
from controller.report.board import Board, Published
from controller.report.metrics import Metrics, Scrape
from controller.report.objects import Data
from controller.report.overview import overview
from controller.report.page.content import Rooms
from controller.report.page.routes import PageRoutes
from controller.report.wake_up import PATH, WakeUp
from controller.settings import HttpSettings
from controller.specs import API_VERSION, KINDS, Specs

API = f"/apis/{API_VERSION}"

Explainer: TypeAlias = Callable[[ClusterView, Specs, Vmid], Explanation]
"""Explains one guest of a view that has a plan (`decide.candidates`, which this room does not know)."""


class Serving:
    """A server that runs. `address` is its URL; `close()` ends it."""

    def __init__(self, runner: web.AppRunner, address: str) -> None:
        self.address = address
        self._runner = runner

    async def close(self) -> None:
        """Stop listening; streams end, other requests get a moment to finish."""
        await self._runner.cleanup()


async def serve(
    board: Board,
    metrics: Metrics,
    settings: HttpSettings,
    explain: Explainer | None = None,
    rooms: Rooms | None = None,
    *,
    wake_up: WakeUp | None = None,
) -> Serving:
    """Listen where `settings` say; port 0 takes a free one. Raises OSError when that is not possible.

    `wake_up` takes a forge's word that something was pushed.
    `rooms` tells how much memory of every node is taken, on its way and kept free (`decide.capacity`).
    """
    app = application(
        board,
        Scrape(metrics.registry, board.clock.monotonic),
        Access(settings.host, settings.names, settings.token),
        explain=explain,
        rooms=rooms,
    )
    if wake_up is not None:
        app.add_routes([web.post(PATH, wake_up.take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError:
        await runner.cleanup()
        raise
    host, port = runner.addresses[0][:2]
    return Serving(runner, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def application(
    board: Board, scrape: Scrape, rules: Access, *, explain: Explainer | None = None, rooms: Rooms | None = None
) -> web.Application:
    """The application; `rules` say who may ask."""
    app = web.Application(middlewares=[access.guard(rules, board)])
    served, page = _Served(board, scrape, explain), PageRoutes(board, rules, rooms)
    app.add_routes(
        [
            *page.routes(),
            web.get("/metrics", served.metrics),
            web.get("/healthz", served.healthz),
            web.get("/readyz", served.readyz),
            web.get(f"{API}/overview", served.overview),
            web.get(f"{API}/overview/watch", served.watch),
            web.get(API, served.kinds),
            web.get(f"{API}/explanations/{{name}}", served.explanation),
            web.get(f"{API}/clusters/{{name}}/snapshot", served.snapshot),
            web.get(f"{API}/{{plural}}", served.listing),
            web.get(f"{API}/{{plural}}/{{name}}", served.one),
        ]
    )
    app.on_shutdown.append(served.stop)
    app.on_shutdown.append(page.stop)
    return app


class _Served:
    """The handlers, around one board."""

    def __init__(self, board: Board, scrape: Scrape, explain: Explainer | None) -> None:
        self._board = board
        self._explain = explain
        self._scrape = scrape
        self._stopping = asyncio.Event()

    async def stop(self, _app: web.Application) -> None:
        """End the streams, which would otherwise hold a shutdown up."""
        self._stopping.set()

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        made = await self._scrape.exposition(request.headers.get("Accept", ""))
        return web.Response(body=made.text, headers={"Content-Type": made.content_type})

    async def healthz(self, _request: web.Request) -> web.StreamResponse:
        return _verdict(self._board.not_alive())

    async def readyz(self, _request: web.Request) -> web.StreamResponse:
        return _verdict(self._board.not_alive() or self._board.not_ready())

    async def overview(self, _request: web.Request) -> web.StreamResponse:
        text = overview(self._board).model_dump_json(by_alias=True)
        return web.Response(text=text, content_type="application/json")

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """One overview per line: now, and after every change, until the reader or the daemon goes."""
        return await self._stream(
            request, lambda: overview(self._board).model_dump_json(by_alias=True).encode() + b"\n"
        )

    async def _stream(self, request: web.Request, news: Callable[[], bytes]) -> web.StreamResponse:
        """Write `news()` now and after every change of the board."""
        stream = web.StreamResponse(headers={**access.headers(self._board), "Content-Type": "application/x-ndjson"})
        await stream.prepare(request)
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            while not stopped.done():
                change = asyncio.ensure_future(self._board.change())
                await stream.write(news())
                await asyncio.wait({change, stopped}, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
        except ConnectionResetError:
            pass  # the reader has gone
        finally:
            stopped.cancel()
        return stream

    async def kinds(self, _request: web.Request) -> web.StreamResponse:
        written = [
            {"name": kind.plural, "kind": name, "shortNames": list(kind.short_names), "verbs": ["get", "list"]}
            for name, kind in KINDS.items()
        ]
        shown = [
            {"name": plural, "kind": kind, "shortNames": list(others), "verbs": ["get", "list"]}
            for plural, (kind, others) in views.VIEWS.items()
        ]
        return _json({"kind": "APIResourceList", "groupVersion": API_VERSION, "resources": written + shown})

    async def listing(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") in ("1", "true"):
            return await self._watch_events(request)
        kind, items = await self._items(request)
        # Thousands of objects are too much work for the loop's thread; nobody changes them any more.
        text = await asyncio.to_thread(json.dumps, objects.as_list(kind, items), ensure_ascii=False)
        return web.Response(text=text, content_type="application/json")

    async def _watch_events(self, request: web.Request) -> web.StreamResponse:
        """What there is and then what comes, one change per line as Kubernetes has it; until the reader or the daemon goes."""
        if views.view_of(request.match_info["plural"]) != "events":
            raise web.HTTPBadRequest(text="only events can be watched this way")
        watch = event_watch.EventWatch(
            self._board, event_watch.wanted(request.query, self._board.clock.wall()), request.query.get("cluster")
        )
        return await self._stream(request, watch.news)

    async def one(self, request: web.Request) -> web.StreamResponse:
        """One object; a guest answers to its number and to its name, which need not be unique."""
        kind, items = await self._items(request)
        name = request.match_info["name"]
        found = [item for item in items if name in _names(item)]
        if not found:
            raise web.HTTPNotFound(text=f"there is no {kind} {name}")
        if len(found) > 1:
            which = ", ".join(f"{_names(item)[0]} in cluster {_cluster_of(item)}" for item in found)
            raise web.HTTPConflict(text=f"{name} is ambiguous: {which}")
        return _json(found[0])

    async def explanation(self, request: web.Request) -> web.StreamResponse:
        """Every node with its verdict about one guest, as the last plan has it."""
        name, cluster = request.match_info["name"], request.query.get("cluster")
        found = [
            (shown, guest.vmid)
            for key, shown in self._board.clusters.items()
            if shown.view.seen is not None and cluster in (None, key)
            for guest in shown.view.seen.guests.values()
            if name in (str(guest.vmid), guest.name)
        ]
        if not found:
            raise web.HTTPNotFound(text=f"there is no Guest {name}")
        if len(found) > 1:
            which = ", ".join(f"{vmid} in cluster {shown.view.cluster}" for shown, vmid in found)
            raise web.HTTPConflict(text=f"{name} is ambiguous: {which}")
        [(shown, vmid)] = found
        if shown.view.plan is None or self._explain is None:
            raise web.HTTPNotFound(text=f"cluster {shown.view.cluster} has no plan yet")
        told = await asyncio.to_thread(self._explain, shown.view, shown.specs, vmid)
        return _json(views.explanation_data(told, shown.view.cluster))

    async def snapshot(self, request: web.Request) -> web.StreamResponse:
        """One look at a cluster as a file, for planning elsewhere."""
        name = request.match_info["name"]
        shown = next((one for key, one in self._board.clusters.items() if key == name), None)
        if shown is None:
            known = ", ".join(sorted(self._board.clusters)) or "none"
            raise web.HTTPNotFound(text=f"there is no cluster {name} (known: {known})")
        if shown.view.seen is None:
            raise web.HTTPNotFound(text=f"cluster {name} has not been looked at yet")
        data = await asyncio.to_thread(snapshots.to_data, shown.view)
        text = await asyncio.to_thread(json.dumps, data, ensure_ascii=False)
        return web.Response(text=text, content_type="application/json")

    async def _items(self, request: web.Request) -> tuple[str, list[Data]]:
        plural, board = request.match_info["plural"], self._board
        cluster = request.query.get("cluster")
        view = views.view_of(plural)
        if view == "sources":
            return views.VIEWS[view][0], views.source_list(board.source.revision, board.source.view)
        if view is not None:
            shown = [item for name, item in board.clusters.items() if cluster in (None, name)]
            wanted = event_watch.wanted(request.query, board.clock.wall())
            return views.VIEWS[view][0], [item for one in shown for item in await _view_items(view, one, wanted)]
        kind = objects.kind_of(plural)
        if kind is None:
            known = ", ".join([*(item.plural for item in KINDS.values()), *views.VIEWS])
            raise web.HTTPNotFound(text=f"there is no kind {plural}; known: {known}")
        items = objects.of_kind(kind, board.source.specs, board.statuses, board.drains)
        return kind, [item for item in items if cluster in (None, _cluster_of(item))]


async def _view_items(plural: str, shown: Published, wanted: EventFilter) -> list[Data]:
    view = shown.view
    if plural == "guests":
        # Off the loop's thread, as there may be thousands; all of it is frozen.
        return await asyncio.to_thread(views.guest_list, view)
    if plural == "migrations":
        return views.migration_list(view, shown.attempts())
    if plural == "replication":
        return await asyncio.to_thread(views.job_list, view)
    if plural == "drifts":
        return views.drift_list(view)
    if plural == "events":
        return views.event_list(view.cluster, shown.events(wanted))
    return [views.plan_data(view.plan, view.seen)] if view.plan is not None else []


def _names(item: Data) -> list[str]:
    metadata, status = item["metadata"], item.get("status")
    names = [str(metadata["name"])] if isinstance(metadata, dict) else []
    if item["kind"] == "Guest" and isinstance(status, dict) and status.get("name"):
        names.append(str(status["name"]))
    return names


def _cluster_of(item: Data) -> str:
    spec = item.get("spec")
    reference = spec.get("clusterRef") if isinstance(spec, dict) else None
    if isinstance(reference, dict):
        return str(reference.get("name"))
    return _names(item)[0]


def _verdict(trouble: str) -> web.Response:
    return web.Response(status=503 if trouble else 200, text=f"{trouble or 'ok'}\n")


def _json(data: Data) -> web.Response:
    return web.json_response(data, dumps=lambda value: json.dumps(value, ensure_ascii=False))
