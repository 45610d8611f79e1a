"""Real clusters over HTTPS: proxmoxer behind the Transport seam, its traps closed, with endpoints that stand in for each other.

Built by `app`, one per PveCluster. The only importer of proxmoxer and requests; above it only `HttpFailure` is known.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from proxmoxer.backends.https import Backend, JsonSerializer, ProxmoxHTTPAuthBase
from proxmoxer.core import ProxmoxResource, ResourceException
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from controller.pve.attempt import AbandonedError, Attempt, Pool, aside, begin
from controller.pve.endpoints import Endpoints
from controller.pve.ticket import Login, Ticket, TicketAuth
from controller.pve.transport import HttpFailure, Json, Param, Params

CONNECT_SECONDS: Final = 3.05
"""Per connection attempt; just above a multiple of TCP's three-second retransmission."""
READ_SECONDS: Final = 36.0
"""Silence on an open connection: pveproxy itself gives a node behind it 30 s (pve-http-server: APIServer/AnyEvent.pm)."""
QUORUM_SEARCH_SECONDS: Final = 30.0
"""How often all endpoints are asked for a quorate one while none is."""
DEFAULT_PORT: Final = 8006
_GATEWAY_TROUBLE: Final = frozenset({502, 503, 504})  # never PVE's own; a reverse proxy before it


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """An API token: `user@realm!name` and its value, which shows up in no representation."""

    token_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How the server proves who it is.

    ca_file: PEM file of the authority, None for the system's. fingerprint_sha256: hex with or without colons, the only
    certificate that is accepted; without a ca_file it replaces the check of the authority. insecure: no check at all.
    """

    ca_file: Path | None = None
    fingerprint_sha256: str | None = None
    insecure: bool = False

    @property
    def verify(self) -> bool | str:
        """What requests calls `verify`: a path, True for the system's authorities, or False."""
        if self.ca_file is not None:
            return str(self.ca_file)
        return not (self.insecure or self.fingerprint_sha256)


class ProxmoxerTransport:
    """See `pve.transport.Transport`. One per cluster; safe for any number of concurrent calls of one event loop.

    endpoints: `https://host:8006`, in order of preference. workers: calls that run at the same time. deadline_seconds: after
    that a call has failed, whatever the server drips; its connection is cut, so no thread stays behind.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        auth: TokenAuth | TicketAuth,
        tls: TlsOptions,
        *,
        workers: int = 16,
        deadline_seconds: float = 40.0,
    ) -> None:
        servers = [_Server(url, auth, tls, workers) for url in endpoints]
        self._servers = {server.name: server for server in servers}
        self._endpoints = Endpoints(list(self._servers))
        self._deadline = deadline_seconds
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="pve")
        self._running: set[Attempt] = set()
        self._next_quorum_search = 0.0

    async def get(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.get`."""
        answer = await self._request("GET", path, params)
        if path == "/cluster/status" and not _quorate(answer):
            return await self._quorate_status(answer)
        return answer

    async def post(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.post`."""
        return await self._request("POST", path, params)

    async def put(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.put`."""
        return await self._request("PUT", path, params)

    async def delete(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.delete`."""
        return await self._request("DELETE", path, params)

    def close(self) -> None:
        """Cut what is under way and let the threads end. What PVE was told to do goes on there."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for attempt in tuple(self._running):
            attempt.abandon()
        for server in self._servers.values():
            server.close()

    async def _request(self, method: str, path: str, params: Params | None) -> Json:
        """Ask the endpoints in turn; what changes something goes to the next one only if it certainly reached nobody."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._deadline
        told: HttpFailure | None = None
        for name in self._endpoints.order(now()):
            if told is not None and now() >= deadline:
                break
            try:
                answer = await self._attempt(name, method, path, params, deadline)
            except HttpFailure as failure:
                if _is_an_answer_of_pve(failure):
                    self._note_answer(name, failure, now())
                    raise
                self._endpoints.failed(name, now())
                told = failure if told is None or failure.tls or not told.tls else told
                if method != "GET" and failure.delivered:
                    raise
            else:
                self._endpoints.answered(name)
                return answer
        assert told is not None
        raise told

    def _note_answer(self, name: str, failure: HttpFailure, now: float) -> None:
        """A refusal proves that the endpoint works; a 401 may also come from a node whose pmxcfs is down, so others go first."""
        if failure.status == 401:
            self._endpoints.failed(name, now)
        else:
            self._endpoints.answered(name)

    async def _attempt(self, name: str, method: str, path: str, params: Params | None, deadline: float) -> Json:
        loop = asyncio.get_running_loop()
        attempt = Attempt()
        self._running.add(attempt)
        work = self._threads.submit(self._servers[name].perform, attempt, method, path, _wire(params))
        future = asyncio.wrap_future(work)
        try:
            await asyncio.wait({future}, timeout=max(0.0, deadline - loop.time()))
            if not future.done():
                raise HttpFailure(
                    status=None,
                    reason=f"no answer within {self._deadline:g} s",
                    delivered=attempt.abandon(),
                    endpoint=name,
                )
            return future.result()
        finally:
            self._running.discard(attempt)
            if not future.done():
                attempt.abandon()
                future.cancel()

    async def _quorate_status(self, answer: Json) -> Json:
        """The status of an endpoint in the quorate part, which is the one in use from then on; else `answer`."""
        now = asyncio.get_running_loop().time
        if now() < self._next_quorum_search:
            return answer
        in_use, *others = self._endpoints.order(now())
        deadline = now() + self._deadline
        for name in others:
            try:
                second = await self._attempt(name, "GET", "/cluster/status", None, deadline)
            except HttpFailure:
                self._endpoints.failed(name, now())
                continue
            if _quorate(second):
                self._endpoints.answered(name)
                return second
        self._endpoints.answered(in_use)
        self._next_quorum_search = now() + QUORUM_SEARCH_SECONDS
        return answer


def _quorate(status: Json) -> bool:
    """Whether an answer to /cluster/status speaks for a quorate part; a single node without cluster has no such row."""
    rows = status if isinstance(status, list) else []
    return not any(isinstance(row, dict) and row.get("quorate") in (0, "0", "", False) for row in rows)


def _is_an_answer_of_pve(failure: HttpFailure) -> bool:
    status = failure.status
    return status is not None and status >= 400 and status not in _GATEWAY_TROUBLE


def _wire(params: Params | None) -> dict[str, str | list[str]]:
    """Parameters as PVE takes them: booleans as 0 and 1, sequences as repeated keys."""
    return {key: _wire_value(value) for key, value in (params or {}).items()}


def _wire_value(value: Param) -> str | list[str]:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str | int | float):
        return str(value)
    return list(value)


class _Adapter(HTTPAdapter):
    """As many connections as workers, and the pinned certificate."""

    def __init__(self, workers: int, fingerprint: str | None) -> None:
        self._fingerprint = fingerprint
        super().__init__(pool_connections=1, pool_maxsize=workers, pool_block=True, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, assert_fingerprint=self._fingerprint, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"https": Pool}


class _Serializer(JsonSerializer):  # type: ignore[misc] # proxmoxer has no type information
    """Reads PVE's JSON and takes nothing else for an answer.

    proxmoxer's own hands out HTML as a success, drops `message`, loses the errors of a 200 and fails on lists.
    """

    def loads(self, response: requests.Response) -> Json:
        document = _document(response)
        if not isinstance(document, dict) or "data" not in document or document.get("errors"):
            raise HttpFailure(
                status=response.status_code,
                reason="the answer is not one of a Proxmox VE API; check the address",
                errors=_texts(document.get("errors")) if isinstance(document, dict) else None,
            )
        return document["data"]

    def loads_errors(self, response: requests.Response) -> dict[str, Json]:
        document = _document(response)
        return document if isinstance(document, dict) else {}


def _document(response: requests.Response) -> Json:
    try:
        return json.loads(response.content)  # type: ignore[no-any-return] # JSON is what json.loads returns
    except (ValueError, RecursionError):
        return None


def _texts(errors: Json) -> dict[str, str]:
    return {key: str(text) for key, text in errors.items()} if isinstance(errors, dict) else {}


def _refuse_redirect(response: requests.Response, *_: Any, **__: Any) -> None:
    """PVE never redirects: following one would repeat a POST as a GET, and 304 would pass for an empty success."""
    if 300 <= response.status_code < 400:
        target = response.headers.get("location", "")
        response.close()
        raise HttpFailure(
            status=response.status_code, reason=f"redirected to {target or 'nowhere'}; PVE never does that"
        )


class _OnRequests(ProxmoxHTTPAuthBase):  # type: ignore[misc] # proxmoxer has no type information
    """Puts a valid ticket on every request. `settings`: the `auth` in whose place it comes; proxmoxer keeps time-outs there."""

    def __init__(self, ticket: Ticket, settings: ProxmoxHTTPAuthBase) -> None:
        super().__init__(timeout=settings.timeout, verify_ssl=settings.verify_ssl, cert=settings.cert)
        self._ticket = ticket

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._ticket.headers(request.method or "GET"))
        return request


def _login(session: Any, url: str) -> Callable[[str, str], Login | None]:
    token = session.auth
    session.auth = ProxmoxHTTPAuthBase(timeout=token.timeout, verify_ssl=token.verify_ssl, cert=token.cert)

    def log_in(user: str, password: str) -> Login | None:
        with aside():
            answer = session.request("POST", url, data={"username": user, "password": password})
        if answer.status_code == 401:
            return None
        document = _document(answer)
        data = document.get("data") if isinstance(document, dict) else None
        if answer.status_code != 200 or not isinstance(data, dict):
            raise HttpFailure(status=answer.status_code, reason=str(answer.reason), delivered=False)
        if data.get("NeedTFA"):
            reason = f"{user} has a second factor, which a daemon can't give; use an API token, or a user without one"
            raise HttpFailure(status=401, reason=reason)
        return Login(str(data.get("ticket")), str(data.get("CSRFPreventionToken")))

    return log_in


class _Server:
    """One endpoint. Reads keep their connections; each change opens its own.

    pveproxy closes idle connections after 5 s: a request written into one that is just being closed has an unknown outcome,
    which is harmless for a read and costs a whole tick for a POST.
    """

    def __init__(self, url: str, auth: TokenAuth | TicketAuth, tls: TlsOptions, workers: int) -> None:
        host, port = _address(url)
        self.name = f"{host}:{port}"
        # proxmoxer would log in right here, and again in every thread: a ticket is put in the place of an empty token below.
        token = auth if isinstance(auth, TokenAuth) else TokenAuth(f"{auth.user}!", "")
        user, _, token_name = token.token_id.partition("!")
        backend = Backend(
            host,
            port=port,
            user=user,
            token_name=token_name,
            token_value=token.secret,
            verify_ssl=tls.verify,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        )
        self._sessions: list[requests.Session] = []
        self._ticket: Ticket | None = None
        if isinstance(auth, TicketAuth):
            session = self._session(backend, tls, workers, keep_alive=False)
            self._ticket = Ticket(auth, _login(session, f"{backend.get_base_url()}/access/ticket"))
        self._reads = self._resource(backend, tls, workers, keep_alive=True)
        self._writes = self._resource(backend, tls, workers, keep_alive=False)

    def _resource(self, backend: Backend, tls: TlsOptions, workers: int, *, keep_alive: bool) -> ProxmoxResource:
        session = self._session(backend, tls, workers, keep_alive=keep_alive)
        if self._ticket is not None:
            session.auth = _OnRequests(self._ticket, session.auth)
        return ProxmoxResource(base_url=backend.get_base_url(), session=session, serializer=_Serializer())

    def _session(self, backend: Backend, tls: TlsOptions, workers: int, *, keep_alive: bool) -> requests.Session:
        session: requests.Session = backend.get_session()
        session.trust_env = False  # no proxy, netrc or CA bundle from the environment
        session.mount("https://", _Adapter(workers, tls.fingerprint_sha256))
        session.hooks["response"].append(_refuse_redirect)
        if not keep_alive:
            session.headers["Connection"] = "close"
        self._sessions.append(session)
        return session

    def close(self) -> None:
        for session in self._sessions:
            session.close()

    def perform(self, attempt: Attempt, method: str, path: str, params: Mapping[str, str | list[str]]) -> Json:
        """In a worker thread: one attempt at this endpoint. Raises HttpFailure and nothing else that anybody sees."""
        resource = self._reads if method == "GET" else self._writes
        verb: Callable[..., Json] = getattr(resource, method.lower())
        begin(attempt)
        try:
            try:
                return verb(path.lstrip("/"), **params)
            except requests.ConnectionError:
                if method != "GET" or not attempt.reused:
                    raise
                # A kept connection had just been closed: no fault of the endpoint.
                return verb(path.lstrip("/"), **params)
            except ResourceException as error:
                if error.status_code != 401 or self._ticket is None:
                    raise
                # A ticket that lapsed, or was made before the key changed: who is refused at the door has done nothing.
                self._ticket.forget()
                return verb(path.lstrip("/"), **params)
        except HttpFailure as failure:
            failure.endpoint = self.name
            raise
        except ResourceException as error:
            raise self._refusal(error) from None
        except (OSError, HTTPError, AbandonedError, ValueError) as error:
            raise self._no_answer(error, attempt) from None
        finally:
            attempt.ended()

    def _refusal(self, error: ResourceException) -> HttpFailure:
        document: dict[str, Json] = error.errors
        message = document.get("message")
        return HttpFailure(
            status=error.status_code,
            reason=str(error.content or error.status_message or ""),
            message=message if isinstance(message, str) else "",
            errors=_texts(document.get("errors")),
            endpoint=self.name,
        )

    def _no_answer(self, error: Exception, attempt: Attempt) -> HttpFailure:
        tls = isinstance(error, requests.exceptions.SSLError) and not attempt.sent
        missing_ca = isinstance(error, OSError) and not isinstance(error, requests.RequestException)
        return HttpFailure(
            status=None,
            reason=_plain(error),
            delivered=attempt.sent,
            tls=tls or missing_ca,
            endpoint=self.name,
        )


def _address(url: str) -> tuple[str, int]:
    """Host (IPv6 in brackets) and port of `https://host:8006`, where scheme and port may be left out."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError(f"{url!r} is not an address of a Proxmox VE API such as https://pve1.example:8006")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host, parts.port or DEFAULT_PORT


def _plain(error: BaseException) -> str:
    """What lies at the bottom of requests' and urllib3's nested errors, without their object addresses."""
    for _ in range(10):
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if inner is None:
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
