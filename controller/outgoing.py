"""Word to other people's servers over HTTPS: JSON out, a small answer in, and a result that says what to do next.

Used for notifications, webhook hooks and the status of commits. What can be secret (all of the URL but its host, tokens, keys)
shows up in no result. Proxies come from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, never for the machine itself; `~/.netrc` is
not read.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, TypeAlias

import aiohttp
from yarl import URL

from controller.settings import Secret, Target

ANSWER_BYTES: Final = 256 * 1024
"""What is read of an answer; the rest is left where it is."""
CONNECT_SECONDS: Final = 5.0
LONGEST_WAIT_SECONDS: Final = 3600.0
"""The most that a Retry-After is believed."""
_REDIRECTS: Final = 3
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_TOLD_CHARACTERS: Final = 200
_SECRET_CHARACTERS: Final = 6  # shorter pieces of a URL are words such as `api` and `v4`
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Ok:
    """Taken, with what the server said to it."""

    status: int
    body: bytes

    def data(self) -> object:
        """The JSON of the answer; None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Later:
    """Not now: trying again may help. sent: the server may have taken it all the same. after_seconds: what it asks to wait."""

    message: str
    sent: bool
    after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """No, until somebody changes something. status: None when nobody was asked."""

    message: str
    status: int | None = None


Answer: TypeAlias = Ok | Later | Refused


async def get(target: Target, *, headers: Mapping[str, str] | None = None) -> Answer:
    """GET the target. Never raises but for cancellation; ends after `target.timeout_seconds`, whatever the server does."""
    return await _Call(target, "GET", None, dict(headers or {})).run()


async def post(
    target: Target, data: object, *, headers: Mapping[str, str] | None = None, message_id: str = "", at: float = 0.0
) -> Answer:
    """POST `data` as JSON; as `get`.

    With a signing key in the target the message carries `webhook-id`, `webhook-timestamp` (`at`, epoch seconds) and
    `webhook-signature` (Standard Webhooks: HMAC-SHA256 of `id.timestamp.body`). A repetition carries the same `message_id`.
    """
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    if message_id:
        sent |= {"webhook-id": message_id, "webhook-timestamp": str(int(at))}
    if target.signing_key is not None:
        sent["webhook-signature"] = signature(target.signing_key, message_id, int(at), body)
    return await _Call(target, "POST", body, sent).run()


def signature(key: Secret, message_id: str, at: int, body: bytes) -> str:
    """`v1,BASE64`: what a receiver computes as well. A key that begins with `whsec_` is base64 behind it."""
    raw = key.reveal()
    value = base64.b64decode(raw[6:], validate=True) if raw.startswith("whsec_") else raw.encode()
    signed = b"%s.%d.%s" % (message_id.encode(), at, body)
    return "v1," + base64.b64encode(hmac.digest(value, signed, hashlib.sha256)).decode()


def shown(target: Target) -> str:
    """Where a target is, for people: scheme, host and port, nothing of what may be secret."""
    try:
        url = URL(target.url.reveal())
        return str(url.origin()) if url.host else "an address without a host"
    except ValueError:
        return "an address that is none"


class _Call:
    """One request with its redirects, under one deadline."""

    def __init__(self, target: Target, method: str, body: bytes | None, headers: dict[str, str]) -> None:
        self._target, self._method, self._body = target, method, body
        self._headers = {"User-Agent": "drover", "Accept": "application/json", **headers}
        if target.token is not None:
            self._headers["Authorization"] = f"Bearer {target.token.reveal()}"
        self._name = shown(target)
        self._sent = False

    async def run(self) -> Answer:
        try:
            url = URL(self._target.url.reveal())
        except ValueError:
            return Refused("the address is not a URL")
        if wrong := _unfit(url):
            return Refused(wrong)
        if url.user is not None and self._target.token is None:
            self._headers["Authorization"] = _basic(url.user, url.password or "")
        try:
            async with asyncio.timeout(self._target.timeout_seconds):
                return await self._talk(url.with_user(None))
        except TimeoutError:
            return Later(f"{self._name} did not answer within {self._target.timeout_seconds:g} s", self._sent)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._broken(error)

    def _broken(self, error: Exception) -> Answer:
        """What an exception means. Its own words may repeat the address, so only what is known to be harmless is told."""
        match error:
            case aiohttp.ClientConnectorCertificateError():
                return Refused(f"the certificate of {self._name} is not trusted: {_certificate(error)}; see caFile")
            case aiohttp.ClientHttpProxyError() | aiohttp.ClientProxyConnectionError():
                return Later(f"the proxy before {self._name} does not let it through", sent=False)
            case aiohttp.ClientConnectorError():
                told = error.os_error.strerror or type(error.os_error).__name__
                return Later(f"{self._name} can't be reached: {self._clean(told)}", sent=False)
            case aiohttp.ClientError() | OSError():
                return Later(f"{self._name} broke off ({type(error).__name__})", self._sent)
        return Refused(f"{self._name} can't be asked: something in its address, token or headers is malformed")

    async def _talk(self, url: URL) -> Answer:
        try:
            trust = await asyncio.to_thread(_trust, self._target.ca_file)
        except ssl.SSLError:
            return Refused(f"caFile {self._target.ca_file} holds no certificate in PEM")
        except OSError as error:
            return Refused(f"caFile {self._target.ca_file} can't be read: {error.strerror}")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        connector = aiohttp.TCPConnector(ssl=trust, force_close=True)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, trace_configs=[self._trace()]
        ) as session:
            origin = url.origin()
            for _ in range(_REDIRECTS + 1):
                async with session.request(
                    self._method, url, data=self._body, headers=self._headers, allow_redirects=False, proxy=_proxy(url)
                ) as response:
                    if not 300 <= response.status < 400:
                        return await self._judge(response)
                    onward = url.join(URL(response.headers.get("Location", "")))
                    if onward.origin() != origin or (self._method == "POST" and response.status not in (307, 308)):
                        where = f" to {onward.origin()}" if onward.origin() != origin else ""
                        return Refused(f"{self._name} redirects{where}; name the right address", response.status)
                    url = onward.with_user(None)
        return Refused(f"{self._name} redirects without end")

    def _trace(self) -> aiohttp.TraceConfig:
        async def sent(*_: object) -> None:
            self._sent = True

        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(sent)
        return trace

    async def _judge(self, response: aiohttp.ClientResponse) -> Answer:
        body = await _capped(response)
        if response.status < 300:
            return Ok(response.status, body)
        said = f"{self._name} answers {response.status}{self._said(body)}"
        if response.status in _AGAIN:
            return Later(said, response.status >= 500, _retry_after(response.headers))
        return Refused(said, response.status)

    def _said(self, body: bytes) -> str:
        """The server's own words, as far as they are short, printable and hold nothing of ours."""
        text = body[:4096].decode(errors="replace")
        if text.lstrip().startswith("{"):
            try:
                told = json.loads(body)
            except ValueError:
                told = {}
            text = next((str(told[k]) for k in ("message", "error", "detail") if isinstance(told.get(k), str)), "")
        if text.lstrip().startswith("<"):
            return ""
        line = self._clean(" ".join(text.split()))[:_TOLD_CHARACTERS]
        return f": {line}" if line else ""

    def _clean(self, text: str) -> str:
        printable = "".join(c if c.isprintable() else "?" for c in text)
        for secret in sorted(self._secrets(), key=len, reverse=True):
            printable = printable.replace(secret, "****")
        return printable

    def _secrets(self) -> set[str]:
        target, raw = self._target, self._target.url.reveal()
        url = URL(raw)
        pieces = {raw, url.raw_path_qs, *re.split(r"[/?&=]", url.raw_path_qs), *re.split(r"[/?&=]", url.path_qs)}
        pieces |= {url.user or "", url.password or "", url.raw_password or ""}
        pieces |= set(self._headers.get("Authorization", "").split(" "))
        pieces |= {each.reveal() for each in (target.token, target.signing_key) if each is not None}
        return {piece for piece in pieces if len(piece) >= _SECRET_CHARACTERS}


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _unfit(url: URL) -> str:
    """What is wrong with an address, "" for one that secrets may be sent to."""
    if url.scheme not in ("https", "http") or not url.host:
        return "the address is no https:// URL"
    if url.scheme == "http" and url.host not in _LOOPBACK:
        return f"{url.origin()} is not encrypted; use https:// (http:// is for this machine itself)"
    return ""


def _proxy(url: URL) -> URL | None:
    """The proxy that the environment names for `url`."""
    host = url.host or ""
    if host in _LOOPBACK or urllib.request.proxy_bypass(host):
        return None
    named = urllib.request.getproxies().get(url.scheme, "")
    return URL(named if "://" in named else f"http://{named}") if named else None


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))


async def _capped(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= ANSWER_BYTES:
            response.close()
            break
    return bytes(body[:ANSWER_BYTES])


def _certificate(error: aiohttp.ClientConnectorCertificateError) -> str:
    inner = error.certificate_error
    return str(getattr(inner, "verify_message", "") or type(inner).__name__)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, of a number or of a date by the server's own clock."""
    said = headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", said):
        return min(float(said), LONGEST_WAIT_SECONDS)
    try:
        seconds = (parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)
