"""What changes the daemon's mind: a Unix socket that only its owner may open. Two verbs: confirm a deletion, look again now.

Served beside `report.http` by `app`; asked by `drover confirm` and `drover look`.
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from aiohttp import web


def application(*, confirm: Callable[[str], bool], look: Callable[[], None]) -> web.Application:
    """The application. `confirm` takes a revision and says whether it was the one that waits; `look` wakes every loop."""

    async def on_confirm(request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.text())
        except ValueError:
            body = None
        revision = body.get("revision") if isinstance(body, dict) else None
        if not isinstance(revision, str) or not revision:
            return _answer(400, 'the body has to be {"revision": "..."}')
        if not confirm(revision):
            return _answer(409, f"revision {revision} does not wait for confirmation")
        return _answer(200, f"revision {revision} is confirmed")

    async def on_look(_request: web.Request) -> web.StreamResponse:
        look()
        return _answer(200, "looking again")

    app = web.Application(client_max_size=4096)
    app.add_routes([web.post("/confirm", on_confirm), web.post("/look", on_look)])
    return app


class Serving:
    """A socket that is served; `close()` ends it and removes the socket."""

    def __init__(self, runner: web.AppRunner, socket: Path) -> None:
        self._runner = runner
        self._socket = socket

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()
        await asyncio.to_thread(self._socket.unlink, missing_ok=True)


async def serve(socket: Path, *, confirm: Callable[[str], bool], look: Callable[[], None]) -> Serving:
    """Serve the two verbs on `socket`, mode 0600. Raises OSError when the path can't be used or a process answers on it."""
    if await _is_answered(socket):
        raise FileExistsError(f"another process answers on {socket}")
    await asyncio.to_thread(socket.unlink, missing_ok=True)
    await asyncio.to_thread(socket.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
    runner = web.AppRunner(application(confirm=confirm, look=look), access_log=None)
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
