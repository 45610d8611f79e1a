"""The simulated cluster on real sockets: one TLS port per node, each node's own pveproxy.

Served by `drover simulate`, the demo and end-to-end tests. World time is the clock's wall time; start the world there
(`file.model_copy(update={"start": clock.wall()})`). An accelerated clock makes an accelerated cluster.
"""

import asyncio
import contextlib
import hashlib
import json
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote
from weakref import WeakKeyDictionary

import trustme
from aiohttp import web

from controller.clock import Clock
from controller.simulator.api import Request, Response
from controller.simulator.routes import Simulator

PREFIX = "/api2/json"
REQUESTS_PER_CONNECTION = 100
"""pve-manager: PVE/Service/pveproxy.pm."""
_HEARTBEAT = 1.0


class _Listener:
    """One node's port. Closed while the node or its pveproxy is down."""

    def __init__(self, node: str, server: "Server", context: ssl.SSLContext, host: str, port: int) -> None:
        self.node = node
        self.port = port
        self._host = host
        self._context = context
        self._web = web.Server(lambda request: server.answer(self.node, request), access_log=None)
        self._socket: asyncio.Server | None = None

    @property
    def open(self) -> bool:
        return self._socket is not None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._socket = await loop.create_server(self._web, self._host, self.port, ssl=self._context)
        self.port = self._socket.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for connection in list(self._web.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def close(self) -> None:
        await self.stop()
        await self._web.shutdown(0.1)


class Server:
    """A served cluster; made by `serve`.

    endpoints: `https://127.0.0.1:8006` per node. fingerprints: SHA-256 of each node's certificate, by node.
    """

    def __init__(self, simulator: Simulator, clock: Clock, folder: Path) -> None:
        self._simulator = simulator
        self._clock = clock
        self._listeners: dict[str, _Listener] = {}
        self._served: WeakKeyDictionary[asyncio.BaseTransport, int] = WeakKeyDictionary()
        self._heart: asyncio.Task[None] | None = None
        self.at_end = contextlib.ExitStack()
        self.ca_file = folder / "ca.pem"
        self.fingerprints: dict[str, str] = {}

    @property
    def endpoints(self) -> list[str]:
        """The addresses of the nodes, in their order."""
        return [f"https://127.0.0.1:{listener.port}" for listener in self._listeners.values()]

    async def start(self, folder: Path, host: str, base_port: int) -> None:
        """Make certificates and listen."""
        names = list(self._simulator.world.file.nodes)
        certificates = _certificates(folder, names, host)
        for number, name in enumerate(names):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates[name])
            self.fingerprints[name] = fingerprint(certificates[name].read_text(encoding="ascii"))
            listener = _Listener(name, self, context, host, base_port + number if base_port else 0)
            await listener.start()
            self._listeners[name] = listener
        for name in names:
            self._simulator.home(name).fingerprints[name] = self.fingerprints[name]
        self._heart = asyncio.create_task(self._beat())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._heart is not None:
            self._heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heart
        for listener in self._listeners.values():
            await listener.close()
        self.at_end.close()

    async def _beat(self) -> None:
        """Keep time passing while nobody asks, and ports in step with what is up."""
        while True:
            self._simulator.world.advance(self._clock.wall())
            for name, listener in self._listeners.items():
                if self._simulator.reachable(name) != listener.open:
                    await (listener.stop() if listener.open else listener.start())
            await self._clock.sleep(_HEARTBEAT)

    async def answer(self, node: str, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request that came in on a node's port."""
        path = unquote(request.rel_url.raw_path)
        if not path.startswith(PREFIX):
            return web.Response(status=501, reason=f"no such file '{path}'"[:200], text="")
        raw = await request.read()
        if raw and request.method in ("GET", "DELETE"):
            text = f"Unexpected content for method '{request.method}'"
            return _closing(web.Response(status=501, reason=text, text=text))
        try:
            params, is_json = _params(request, raw)
        except ValueError as error:
            return _closing(web.Response(status=500, reason=str(error).partition("\n")[0][:200]))
        self._simulator.world.advance(self._clock.wall())
        if not self._simulator.reachable(node):
            return await _hang_up(request)
        response = self._simulator.handle(
            Request(
                request.method,
                path.removeprefix(PREFIX) or "/",
                params,
                auth=request.headers.get("Authorization", ""),
                node=node,
                json=is_json,
                cookie=request.cookies.get("PVEAuthCookie", ""),
                csrf=request.headers.get("CSRFPreventionToken", ""),
            )
        )
        if response.delay:
            await self._clock.sleep(response.delay)
        if response.lost or not self._simulator.reachable(node):
            return await _hang_up(request)
        return self._written(request, response)

    def _written(self, request: web.BaseRequest, response: Response) -> web.Response:
        body = b"" if response.body is None else json.dumps(response.body, separators=(",", ":")).encode()
        headers = {"Server": "pve-api-daemon/3.0", "Cache-Control": "max-age=0", "Pragma": "no-cache"}
        if response.body is not None:
            headers["Content-Type"] = "application/json;charset=UTF-8"
        reason = response.reason.partition("\n")[0]
        answer = web.Response(status=response.status, reason=reason, body=body, headers={**headers, **response.headers})
        served = 0
        if request.transport is not None:
            served = self._served.get(request.transport, 0) + 1
            self._served[request.transport] = served
        return _closing(answer) if response.status >= 400 or served >= REQUESTS_PER_CONNECTION else answer


async def serve(
    simulator: Simulator, *, clock: Clock, host: str = "127.0.0.1", base_port: int = 8006, tls: Path | None = None
) -> Server:
    """Serve a cluster: node n on `base_port` + n - 1, or on free ports when that is 0.

    tls: where certificates are kept and found again, so that fingerprints stay; None = new ones in a temporary directory.
    Raises OSError when a port is taken.
    """
    passing = tempfile.TemporaryDirectory(prefix="drover-simulator-") if tls is None else None
    folder = Path(passing.name) if passing is not None else tls
    assert folder is not None
    server = Server(simulator, clock, folder)
    if passing is not None:
        server.at_end.callback(passing.cleanup)
    try:
        await server.start(folder, host, base_port)
    except BaseException:
        await server.close()
        raise
    return server


def fingerprint(pem: str) -> str:
    """Return the SHA-256 of the first certificate in `pem`, in colon-hex as PVE shows it."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    first = begin + pem.partition(begin)[2].partition(end)[0] + end
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 64, 2))


def _certificates(folder: Path, names: list[str], host: str) -> dict[str, Path]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = {name: folder / f"{name}.pem" for name in names}
    if (folder / "ca.pem").exists() and all(path.exists() for path in found.values()):
        return found
    authority = trustme.CA(organization_name="Simulated Proxmox VE cluster")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name, path in found.items():
        authority.issue_cert(host, "localhost", name).private_key_and_cert_chain_pem.write_to_path(str(path))
        path.chmod(0o600)
    return found


def _params(request: web.BaseRequest, raw: bytes) -> tuple[dict[str, Any], bool]:
    """Merge body and query; raises ValueError for a body that cannot be read."""
    params: dict[str, Any] = {}
    is_json = request.content_type == "application/json"
    if raw and is_json:
        try:
            body = json.loads(raw)
        except json.JSONDecodeError as error:
            where = f"at character offset {error.pos}"
            raise ValueError(
                f"malformed JSON string, neither tag, array, object, number, string or atom, {where}"
            ) from error
        if not isinstance(body, Mapping):
            raise ValueError("Not a HASH reference")
        params.update(body)
    elif raw:
        _merge(params, parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
    _merge(params, parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
    return params, is_json


def _merge(params: dict[str, Any], pairs: list[tuple[str, str]]) -> None:
    fresh: dict[str, Any] = {}
    for key, value in pairs:
        if key in fresh:
            fresh[key] = [*(fresh[key] if isinstance(fresh[key], list) else [fresh[key]]), value]
        else:
            fresh[key] = value
    params.update(fresh)


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response


async def _hang_up(request: web.BaseRequest) -> web.Response:
    """Let the connection die without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
