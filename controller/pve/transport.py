"""THE seam: four verbs and one failure between Drover and a Proxmox VE cluster.

Implemented by `pve.proxmoxer_transport` (real clusters, over HTTPS) and by `simulator.transport` (a cluster in memory);
used by `pve.client` alone.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Param = str | int | float | bool | Sequence[str]
Params = Mapping[str, Param]


class HttpFailure(Exception):  # noqa: N818 - it is the answer of a server as often as an error of the network
    """A call that did not end in 2xx: what PVE or the network said, not yet interpreted.

    status: the HTTP status (PVE's proxy adds 595 connect failed, 596 timed out after connecting, 599 others), or None when
        there was no HTTP answer at all.
    reason: the reason phrase of the status line, which in PVE is the first line of the error; without an answer, what the
        network library said.
    message: the JSON body's `message` with all its lines, or "" (absent on PVE 7.4 and with empty bodies).
    errors: PVE's per-parameter texts of a 400, else empty.
    delivered: False only when it is certain that no server began to work on the request (refused, no route, TLS failure,
        bad fingerprint). True says "may have been carried out".
    tls: the failure was one of TLS: an unknown authority, a wrong name, or a fingerprint that is not the pinned one.
    endpoint: `host:port` that was asked last.
    """

    def __init__(
        self,
        *,
        status: int | None,
        reason: str,
        message: str = "",
        errors: Mapping[str, str] | None = None,
        delivered: bool = True,
        tls: bool = False,
        endpoint: str = "",
    ) -> None:
        super().__init__(f"{status if status is not None else 'no answer'} {reason}")
        self.status = status
        self.reason = reason
        self.message = message
        self.errors: Mapping[str, str] = dict(errors or {})
        self.delivered = delivered
        self.tls = tls
        self.endpoint = endpoint


class Transport(Protocol):
    """One cluster's API below `/api2/json`. Returns the `data` member of the answer; raises `HttpFailure` otherwise.

    `path` starts with a slash and has no prefix: `/nodes/pve1/qemu/100/migrate`. Booleans in `params` go out as 0 and 1
    (PVE refuses `True` and `true` in form data), sequences as repeated keys.
    """

    async def get(self, path: str, params: Params | None = None) -> Json:
        """Read. May be repeated at another endpoint of the same cluster."""
        ...

    async def post(self, path: str, params: Params | None = None) -> Json:
        """Create or start something. Never sent twice unless it is certain that the first one was not delivered."""
        ...

    async def put(self, path: str, params: Params | None = None) -> Json:
        """Change something. Same rule as `post`."""
        ...

    async def delete(self, path: str, params: Params | None = None) -> Json:
        """Remove or stop something; parameters travel in the query string. Same rule as `post`."""
        ...
