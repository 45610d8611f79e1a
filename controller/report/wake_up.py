"""The door at which a forge may knock: `POST /hooks/source` says "look now", and nothing else that it says is believed.

Served by `report.http` when the settings have `[source.git.webhook]`. The body is only ever held against its signature.
"""

import hashlib
import hmac
import re
from collections import OrderedDict, deque
from collections.abc import Callable

import structlog
from aiohttp import web

from controller.clock import Clock
from controller.report.metrics import Metrics
from controller.report.metrics.source import WakeUpResult
from controller.settings import WakeUpSettings

PATH = "/hooks/source"
BODY_BYTES = 1024 * 1024
"""The most that is read of a body; forges send a few KiB, more for pushes of very many commits."""
REQUESTS_PER_MINUTE = 60
"""What is listened to, from all callers together; polling goes on whatever happens here."""
REMEMBERED_SECONDS = 600.0
"""How long the same signed message does not count again."""
_REMEMBERED = 1000
_SKEW_SECONDS = 300.0
_HEADERS = {
    "github": ("X-Hub-Signature-256",),
    "gitea": ("X-Gitea-Signature", "X-Forgejo-Signature", "X-Hub-Signature-256"),
    "generic": ("X-Drover-Signature-256",),
}


class WakeUp:
    """Takes a forge's word that something was pushed. `wake` is called for every message that is genuine and new."""

    def __init__(self, settings: WakeUpSettings, wake: Callable[[], None], clock: Clock, metrics: Metrics) -> None:
        self._settings = settings
        self._wake = wake
        self._clock = clock
        self._metrics = metrics
        self._arrived: deque[float] = deque()
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._log = structlog.get_logger()

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; the answer tells nothing but whether it counted."""
        if self._crowded():
            return self._answer(WakeUpResult.LIMITED, 429)
        if (request.content_length or 0) > BODY_BYTES:
            return self._answer(WakeUpResult.TOO_LARGE, 413)
        body = await request.content.read(BODY_BYTES + 1)
        while len(body) <= BODY_BYTES and not request.content.at_eof():
            body += await request.content.read(BODY_BYTES + 1 - len(body))
        if len(body) > BODY_BYTES:
            return self._answer(WakeUpResult.TOO_LARGE, 413)
        mark = self._genuine(request, body)
        if mark is None:
            return self._answer(WakeUpResult.REFUSED, 401)
        if self._repeated(mark):
            return self._answer(WakeUpResult.REPEATED, 200)
        self._wake()
        return self._answer(WakeUpResult.ACCEPTED, 202)

    def _genuine(self, request: web.Request, body: bytes) -> bytes | None:
        """What tells this message from others; None when it does not prove to know the secret."""
        secret = self._settings.secret.reveal().encode()
        if self._settings.kind == "gitlab":
            # GitLab sends the secret itself and signs nothing, so one message can't be told from another.
            given = request.headers.get("X-Gitlab-Token", "").encode(errors="replace")
            return b"" if hmac.compare_digest(given, secret) else None
        signed = body
        if self._settings.kind == "generic" and "X-Drover-Timestamp" in request.headers:
            stamp = request.headers["X-Drover-Timestamp"]
            if not re.fullmatch("[0-9]{1,12}", stamp) or abs(self._clock.wall() - int(stamp)) > _SKEW_SECONDS:
                return None
            signed = stamp.encode() + b"." + body
        wanted = hmac.digest(secret, signed, hashlib.sha256)
        given_all = [request.headers[name] for name in _HEADERS[self._settings.kind] if name in request.headers]
        right = wanted.hex().encode()
        fits = [hmac.compare_digest(one.removeprefix("sha256=").encode(errors="replace"), right) for one in given_all]
        return wanted if fits and all(fits) else None

    def _crowded(self) -> bool:
        now = self._clock.monotonic()
        while self._arrived and now - self._arrived[0] > 60:
            self._arrived.popleft()
        if len(self._arrived) >= REQUESTS_PER_MINUTE:
            return True
        self._arrived.append(now)
        return False

    def _repeated(self, mark: bytes) -> bool:
        """Whether a signed message was here already, a moment ago; one without a mark never was."""
        now, known = self._clock.monotonic(), self._known
        while known and (len(known) >= _REMEMBERED or now - next(iter(known.values())) > REMEMBERED_SECONDS):
            known.popitem(last=False)
        if not mark or mark in known:
            return bool(mark)
        known[mark] = now
        return False

    def _answer(self, result: WakeUpResult, status: int) -> web.Response:
        self._metrics.wake_up(result)
        if status >= 400:
            self._log.info("webhook of the source", result=result, status=status)
        return web.json_response({"message": result}, status=status)
