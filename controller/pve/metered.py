"""A Transport around a Transport: counts every call and keeps any one node from being asked too much at once.

Put around the real transport by `app`, around the simulated one by tests; what it counts is shown by `report.metrics`.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from controller.model.errors import Ambiguous, Busy, Denied, DroverError, Rejected, Stale
from controller.pve.errors import translate
from controller.pve.transport import HttpFailure, Json, Params, Transport


class CallOutcome(StrEnum):
    """How a call ended, sorted by what follows from it."""

    OK = "ok"
    RETRY = "retry"
    AMBIGUOUS = "ambiguous"
    BUSY = "busy"
    DENIED = "denied"
    REJECTED = "rejected"
    STALE = "stale"


_OUTCOMES: dict[type[DroverError], CallOutcome] = {
    Ambiguous: CallOutcome.AMBIGUOUS,
    Busy: CallOutcome.BUSY,
    Denied: CallOutcome.DENIED,
    Rejected: CallOutcome.REJECTED,
    Stale: CallOutcome.STALE,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One finished call. path: a template such as /nodes/{node}/qemu/{vmid}/migrate. status: HTTP's, None without an answer.

    seconds: from the moment it was let through to the answer; waiting for its turn is not counted.
    """

    method: str
    path: str
    outcome: CallOutcome
    status: int | None
    seconds: float


class Metered:
    """At most `per_node` calls at a time per node, and as many to the API itself (paths without a node).

    pveproxy and pvedaemon have three workers each, one call at a time per worker (pve-manager: PVE/Service/pveproxy.pm):
    three slow calls would block the API of a node for everybody. `monotonic`: seconds that never jump.
    """

    def __init__(
        self,
        transport: Transport,
        on_call: Callable[[Call], None],
        *,
        monotonic: Callable[[], float],
        per_node: int = 2,
    ) -> None:
        self._transport = transport
        self._on_call = on_call
        self._monotonic = monotonic
        self._per_node = per_node
        self._turns: dict[str, asyncio.Semaphore] = {}

    async def get(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.get`."""
        return await self._metered("GET", self._transport.get, path, params)

    async def post(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.post`."""
        return await self._metered("POST", self._transport.post, path, params)

    async def put(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.put`."""
        return await self._metered("PUT", self._transport.put, path, params)

    async def delete(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.delete`."""
        return await self._metered("DELETE", self._transport.delete, path, params)

    async def _metered(
        self, method: str, call: Callable[[str, Params | None], Awaitable[Json]], path: str, params: Params | None
    ) -> Json:
        turn = self._turns.setdefault(_node_of(path), asyncio.Semaphore(self._per_node))
        async with turn:
            began = self._monotonic()
            try:
                answer = await call(path, params)
            except HttpFailure as failure:
                error = type(translate(failure, method=method, path=path))
                self._count(method, path, _OUTCOMES.get(error, CallOutcome.RETRY), failure.status, began)
                raise
            self._count(method, path, CallOutcome.OK, 200, began)
            return answer

    def _count(self, method: str, path: str, outcome: CallOutcome, status: int | None, began: float) -> None:
        self._on_call(Call(method, template(path), outcome, status, self._monotonic() - began))


def _node_of(path: str) -> str:
    """The node whose pveproxy works on the call; "" when it is whoever was asked."""
    _, *segments = path.split("/")
    return segments[1] if len(segments) > 1 and segments[0] == "nodes" else ""


_NAMED = (
    (re.compile(r"^(/nodes)/[^/]+"), r"\1/{node}"),
    (re.compile(r"^(/nodes/{node}/(?:qemu|lxc))/[^/]+"), r"\1/{vmid}"),
    (re.compile(r"^(/nodes/{node}/tasks)/[^/]+"), r"\1/{upid}"),
    (re.compile(r"^(/nodes/{node}/storage)/[^/]+"), r"\1/{storage}"),
    (
        re.compile(r"^(/nodes/{node}/replication|/cluster/(?:replication|ha/resources|ha/rules|ha/groups))/[^/]+"),
        r"\1/{id}",
    ),
)


def template(path: str) -> str:
    """`path` without names and numbers, so that it can be counted: /nodes/{node}/qemu/{vmid}/status/current."""
    for pattern, replacement in _NAMED:
        path = pattern.sub(replacement, path)
    return path
