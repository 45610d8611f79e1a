"""What changes the daemon's mind: a Unix socket that only its owner may open.

Served beside `report.http` by `app`; asked by `drover confirm`, `drover look`, `drover drain` and `drover uncordon`.
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from aiohttp import web

from controller.model.errors import DroverError
from controller.model.override import Order

_ORDERS = {"/drain": Order.DRAIN, "/uncordon": Order.IN_SERVICE}


class Mind(Protocol):
    """What can be changed: the daemon."""

    def confirm(self, revision: str) -> bool:
        """Whether that revision was the one that waits for confirmation; then its deletions happen."""
        ...

    def look_again(self) -> None:
        """Wake every loop."""
        ...

    def approve(self, digest: str, *, by: str, withdraw: bool) -> str:
        """Release the plan of that digest, or take that back, and say what was done. Raises DroverError."""
        ...

    def order(self, cluster: str, node: str, order: Order, *, by: str, reason: str) -> str:
        """Carry out an order about a node and say what was done. Raises DroverError."""
        ...


def application(mind: Mind) -> web.Application:
    """The application that changes `mind`."""

    async def on_confirm(request: web.Request) -> web.StreamResponse:
        revision = (await _body(request)).get("revision")
        if not isinstance(revision, str) or not revision:
            return _answer(400, 'the body has to be {"revision": "..."}')
        if not mind.confirm(revision):
            return _answer(409, f"revision {revision} does not wait for confirmation")
        return _answer(200, f"revision {revision} is confirmed")

    async def on_look(_request: web.Request) -> web.StreamResponse:
        mind.look_again()
        return _answer(200, "looking again")

    async def on_approve(request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        digest, by, withdraw = body.get("digest"), body.get("by"), body.get("withdraw", False)
        if not (isinstance(digest, str) and isinstance(by, str) and isinstance(withdraw, bool) and digest and by):
            return _answer(400, 'the body has to be {"digest": "...", "by": "...", "withdraw": false}')
        try:
            return _answer(200, mind.approve(digest, by=by, withdraw=withdraw))
        except DroverError as error:
            return _answer(409, error.message)

    async def on_order(request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        cluster, node, by, reason = (body.get(key, "") for key in ("cluster", "node", "by", "reason"))
        if not (isinstance(cluster, str) and isinstance(node, str) and isinstance(by, str) and isinstance(reason, str)):
            return _answer(400, "cluster, node, by and reason have to be text")
        if not node or not by:
            return _answer(400, 'the body has to be {"node": "...", "by": "..."}')
        try:
            return _answer(200, mind.order(cluster, node, _ORDERS[request.path], by=by, reason=reason))
        except DroverError as error:
            return _answer(409, error.message)

    app = web.Application(client_max_size=4096)
    app.add_routes([web.post("/confirm", on_confirm), web.post("/look", on_look), web.post("/approve", on_approve)])
    app.add_routes([web.post(path, on_order) for path in _ORDERS])
    return app


async def _body(request: web.Request) -> Mapping[str, object]:
    try:
        body = json.loads(await request.text())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


class Serving:
    """A socket that is served; `close()` ends it and removes the socket."""

    def __init__(self, runner: web.AppRunner, socket: Path) -> None:
        self._runner = runner
        self._socket = socket

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()
        await asyncio.to_thread(self._socket.unlink, missing_ok=True)


async def serve(socket: Path, mind: Mind) -> Serving:
    """Serve the verbs on `socket`, mode 0600. Raises OSError when the path can't be used or a process answers on it."""
    if await _is_answered(socket):
        raise FileExistsError(f"another process answers on {socket}")
    await asyncio.to_thread(socket.unlink, missing_ok=True)
    await asyncio.to_thread(socket.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
    runner = web.AppRunner(application(mind), access_log=None)
    await runner.setup()
    # Nobody may connect between bind and chmod: the socket is made in a folder of our own, then moved.
    hidden = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=socket.parent))
    try:
        await web.UnixSite(runner, hidden / "s").start()
        (hidden / "s").chmod(0o600)
        (hidden / "s").rename(socket)
    finally:
        await asyncio.to_thread(shutil.rmtree, hidden, ignore_errors=True)
    return Serving(runner, socket)


async def _is_answered(socket: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    writer.close()
    return True


def _answer(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
