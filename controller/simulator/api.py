"""What goes into the simulated cluster and what comes out: one request, one answer, one way to refuse.

Spoken by every handler in `simulator.routes`; `simulator.http` and `simulator.transport` carry it to clients.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REASONS = {
    200: "OK",
    400: "Parameter verification failed.",
    401: "No ticket",
    403: "Permission check failed",
    404: "Not Found",
    500: "Internal Server Error",
    501: "Not Implemented",
    595: "Connection refused",
    596: "Connection timed out",
}
"""Reason phrases of pveproxy where the handler does not give its own (pve-http-server: APIServer/AnyEvent.pm)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One API call as pveproxy sees it, below `/api2/json`.

    method: GET, POST, PUT or DELETE. path: starts with a slash, no prefix, no trailing slash.
    params: query and body merged; form data are text (a repeated key is a list of texts), a JSON body keeps its types.
    auth: the raw value of the Authorization header, "" without credentials. cookie: the PVEAuthCookie, "" without one.
    csrf: the value of CSRFPreventionToken. node: whose pveproxy got the call. json: the body was JSON.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    auth: str = ""
    node: str = ""
    json: bool = False
    cookie: str = ""
    csrf: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of pveproxy. `body` is the whole JSON document (`{"data": ...}`), None for an empty body.

    delay: seconds of the cluster's time until the answer arrives. lost: the connection dies instead of an answer.
    """

    status: int
    reason: str
    body: dict[str, Any] | None
    delay: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    lost: bool = False


_WITHOUT_NEWLINE = (424, 501)


class ApiError(Exception):
    """A refusal, worded like PVE's.

    reason: the status line's phrase: by default the first line of `message`. message: the JSON body's `message` without
    its final newline; None = the same as the reason. errors: texts per parameter of a 400. empty: the answer has no body
    at all (401; 595 and 596 of the proxy). delay: seconds until it arrives.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str | None = None,
        errors: Mapping[str, str] | None = None,
        *,
        empty: bool = False,
        delay: float = 0.0,
    ) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.message = reason if message is None else message
        self.errors = dict(errors) if errors else None
        self.empty = empty
        self.delay = delay

    def response(self) -> Response:
        """Return the answer that a client gets."""
        if self.empty:
            return Response(self.status, self.reason, None, self.delay)
        end = "" if self.status in _WITHOUT_NEWLINE else "\n"
        body: dict[str, Any] = {"data": None, "message": self.message + end}
        if self.errors is not None:
            body["errors"] = self.errors
        return Response(self.status, self.reason, body, self.delay)
