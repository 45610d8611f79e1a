"""The simulated cluster behind Drover's seam, in the same process: no sockets, any clock.

Built by `rehearse` for stories and what-if, and by tests.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from controller.clock import Clock
from controller.pve.transport import HttpFailure, Json, Params
from controller.simulator.api import Request, Response
from controller.simulator.routes import Simulator

CONNECT_SECONDS = 3.0
"""How long a dead node's address is tried before the next endpoint gets its turn."""


class SimTransport:
    """Implements `controller.pve.transport.Transport`; world time is the clock's wall time.

    auth: value of the Authorization header. endpoints: node names; the one that worked last is asked first.
    """

    def __init__(self, simulator: Simulator, *, clock: Clock, auth: str, endpoints: Sequence[str]) -> None:
        if not endpoints:
            raise ValueError("at least one endpoint is needed")
        self._simulator = simulator
        self._clock = clock
        self._auth = auth
        self._endpoints = list(endpoints)

    async def get(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.get`."""
        return await self._call("GET", path, params)

    async def post(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.post`."""
        return await self._call("POST", path, params)

    async def put(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.put`."""
        return await self._call("PUT", path, params)

    async def delete(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.delete`."""
        return await self._call("DELETE", path, params)

    async def _call(self, method: str, path: str, params: Params | None) -> Json:
        form = _form(params or {})
        for node in tuple(self._endpoints):
            self._simulator.world.advance(self._clock.wall())
            if not self._simulator.reachable(node):
                if not self._simulator.home(node).nodes[node].powered:
                    await self._clock.sleep(CONNECT_SECONDS)
                continue
            self._prefer(node)
            response = self._simulator.handle(Request(method, path, form, auth=self._auth, node=node))
            if response.delay:
                await self._clock.sleep(response.delay)
            return _outcome(response, node)
        raise HttpFailure(
            status=None, reason="Connection refused", delivered=False, endpoint=f"{self._endpoints[-1]}:8006"
        )

    def _prefer(self, node: str) -> None:
        while self._endpoints[0] != node:
            self._endpoints.append(self._endpoints.pop(0))


def _form(params: Mapping[str, Any]) -> dict[str, Any]:
    """Write parameters as form data carry them: text, booleans as 0 and 1, repeated keys as lists."""
    return {
        key: [_text(entry) for entry in value] if isinstance(value, (list, tuple)) else _text(value)
        for key, value in params.items()
    }


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _outcome(response: Response, node: str) -> Json:
    endpoint = f"{node}:8006"
    if response.lost:
        raise HttpFailure(status=None, reason="Connection aborted.", endpoint=endpoint)
    body = response.body or {}
    if response.status >= 400:
        raise HttpFailure(
            status=response.status,
            reason=response.reason.partition("\n")[0],
            message=str(body.get("message", "")),
            errors=body.get("errors"),
            endpoint=endpoint,
        )
    return cast("Json", body.get("data"))
