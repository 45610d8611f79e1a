"""Who may read what is served over HTTP: the name it is asked under, the token, and the headers that every answer carries.

Used by `report.http`. On loopback everybody on the machine may read; elsewhere the page and the objects ask for a token.
"""

import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from controller.model.errors import DroverError
from controller.report.board import Board
from controller.report.units import timestamp
from controller.settings import HttpSettings, Secret

TIME_HEADER = "Drover-Time"
"""Every answer tells the daemon's time: ages are counted from it, not from the reader's clock."""
TOKEN_FILE = "http.token"  # noqa: S105 - the name of a file
"""In the state directory: the token that Drover makes when it listens elsewhere and the settings give none."""
COOKIE = "drover"
COOKIE_SECONDS = 30 * 86400
OPEN = ("/healthz", "/readyz", "/metrics", "/login", "/static/", "/hooks/")
"""Asked for without a token: by probes and scrapers, by a browser before somebody has signed in, and by forges, which sign."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_LOOPBACK = ("localhost", "localhost.localdomain", "ip6-localhost")


def token_of(settings: HttpSettings, state_directory: Path) -> Secret | None:
    """The token that readers have to show; None where everybody may read.

    Bound to more than loopback without a token in the settings, one is made and kept in `TOKEN_FILE` with mode 0600. Raises
    OSError when that can't be written.
    """
    if settings.token is not None or is_loopback(settings.host):
        return settings.token
    file = state_directory / TOKEN_FILE
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as new:
            new.write(secrets.token_urlsafe(32) + "\n")
    except FileExistsError:
        pass  # made by a start before this one: readers have it already
    return Secret(file.read_text(encoding="ascii").strip())


def is_loopback(host: str) -> bool:
    """Whether only processes of this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in _LOOPBACK


def is_allowed_host(header: str, names: frozenset[str]) -> bool:
    """Whether a Host header names us, so that a web page that rebinds its own name to our address gets no answer.

    Addresses always pass: they can't be rebound.
    """
    host = header.rsplit(":", 1)[0] if header.rpartition(":")[2].isdigit() and not header.endswith("]") else header
    host = host.strip("[]").lower()
    if host in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Access:
    """The rules of one server. `host`: where it listens; `names`: under which it is asked for besides."""

    def __init__(self, host: str, names: tuple[str, ...] = (), token: Secret | None = None) -> None:
        self.names = frozenset(name.lower() for name in (*_LOOPBACK, host, socket.gethostname(), *names))
        self._token = token.reveal().encode() if token is not None else b""

    def is_allowed(self, request: web.Request) -> bool:
        """Whether the request shows the token, or needs none."""
        if not self._token or request.path.startswith(OPEN):
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.knows(given):
            return True
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._pass().encode())

    def knows(self, token: str) -> bool:
        """Whether that is the token."""
        return hmac.compare_digest(token.strip().encode(), self._token)

    def sign_in(self, answer: web.Response, *, secure: bool) -> None:
        """Let the browser that gets `answer` read from now on, with a cookie that is not the token itself."""
        answer.set_cookie(
            COOKIE, self._pass(), max_age=COOKIE_SECONDS, httponly=True, samesite="Strict", secure=secure, path="/"
        )

    def _pass(self) -> str:
        return hmac.new(self._token, b"a browser that has signed in", hashlib.sha256).hexdigest()


def headers(board: Board) -> Mapping[str, str]:
    """What every answer says: the time, and that browsers load nothing from elsewhere and are framed by nobody."""
    return {
        TIME_HEADER: timestamp(board.clock.wall()),
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def guard(access: Access, board: Board) -> Middleware:
    """Refuses foreign names and readers without the token, turns failures into answers, and adds the headers."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_allowed_host(request.headers.get("Host", ""), access.names):
            return web.Response(
                status=421, text="this Host is not served here; ask by address or by the name of the machine\n"
            )
        try:
            answer = await handler(request) if access.is_allowed(request) else _sign_in_first(request)
        except web.HTTPException as error:
            if error.status < 400:
                answer = web.Response(status=error.status, headers={"Location": error.headers.get("Location", "/")})
            else:
                answer = problem(error.status, error.text or error.reason)
        except DroverError as error:
            answer = problem(503, error.message)
        if not answer.prepared:
            answer.headers.update(headers(board))
            answer.headers.setdefault("Cache-Control", "no-store")
        return answer

    return guarded


def problem(status: int, message: str) -> web.Response:
    """A failure in Kubernetes' words."""
    reason = {401: "Unauthorized", 404: "NotFound"}.get(status, "Failure")
    return web.json_response(
        {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}, status=status
    )


def _sign_in_first(request: web.Request) -> web.StreamResponse:
    if "text/html" in request.headers.get("Accept", ""):
        return web.Response(status=303, headers={"Location": "/login"})
    answer = problem(401, "this needs the token of the page: Authorization: Bearer TOKEN")
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer
