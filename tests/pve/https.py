"""A TLS server that says byte for byte what a test wants: PVE's odd status lines, HTML, half answers, silence.

Used by the tests of the transport; runs in the event loop of the test.
"""

import asyncio
import hashlib
import itertools
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trustme


@dataclass
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: str


_numbers = itertools.count()
Writer = asyncio.StreamWriter
Script = Callable[[Asked, Writer], Awaitable[None]]


@dataclass
class Server:
    port: int
    ca_file: Path
    fingerprint: str
    asked: list[Asked] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"


def response(status: int, reason: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(status: int, reason: str, body: object, *headers: str) -> Script:
    """Always the same; `body`: bytes as they are, None for an empty body, anything else as JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()

    async def script(asked: Asked, writer: Writer) -> None:
        writer.write(response(status, reason, raw, *headers))

    return script


def data(value: object) -> Script:
    return answer(200, "OK", {"data": value})


async def reset(asked: Asked, writer: Writer) -> None:
    writer.transport.abort()


async def half(asked: Asked, writer: Writer) -> None:
    """The connection ends in the middle of the answer."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"data": ')
    await writer.drain()
    writer.transport.abort()


async def silence(asked: Asked, writer: Writer) -> None:
    await asyncio.Event().wait()


async def drip(asked: Asked, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(script: Script, folder: Path, *, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    """A server whose certificate is for `host`, from an authority of its own."""
    authority = trustme.CA()
    certificate = authority.issue_cert(host)
    ca_file = folder / f"ca-{next(_numbers)}.pem"
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
        server.connections += 1
        handlers.add(task := asyncio.current_task())  # type: ignore[arg-type] # a handler always has a task
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                asked = await _read(reader)
                server.asked.append(asked)
                server.arrived.set()
                await script(asked, writer)
                await writer.drain()
                if asked.headers.get("connection") == "close":
                    break
        handlers.discard(task)
        writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    server = Server(listening.sockets[0].getsockname()[1], ca_file, hashlib.sha256(der).hexdigest())
    try:
        yield server
    finally:
        listening.close()
        for task in tuple(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body.decode())


def dead_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
