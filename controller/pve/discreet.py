"""A Transport around a Transport: takes known secrets out of what PVE says in words, should it ever repeat one.

Put around the real transport by `app`: errors and task logs end in conditions, events, notifications and the state file.
"""

from collections.abc import Awaitable, Callable

from controller.pve.transport import HttpFailure, Json, Params, Transport


class Discreet:
    """`hide` gives a text without secrets. Lists of thousands of guests are not looked through: they hold no words of PVE's."""

    def __init__(self, transport: Transport, hide: Callable[[str], str]) -> None:
        self._transport = transport
        self._hide = hide

    async def get(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.get`."""
        answer = await self._checked(self._transport.get(path, params))
        return self._without(answer) if "/tasks/" in path or path.startswith("/access") else answer

    async def post(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.post`."""
        return await self._checked(self._transport.post(path, params))

    async def put(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.put`."""
        return await self._checked(self._transport.put(path, params))

    async def delete(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.delete`."""
        return await self._checked(self._transport.delete(path, params))

    async def _checked(self, call: Awaitable[Json]) -> Json:
        try:
            return await call
        except HttpFailure as failure:
            raise HttpFailure(
                status=failure.status,
                reason=self._hide(failure.reason),
                message=self._hide(failure.message),
                errors={key: self._hide(text) for key, text in failure.errors.items()},
                delivered=failure.delivered,
                tls=failure.tls,
                endpoint=failure.endpoint,
            ) from None

    def _without(self, value: Json) -> Json:
        if isinstance(value, str):
            return self._hide(value)
        if isinstance(value, list):
            return [self._without(item) for item in value]
        if isinstance(value, dict):
            return {key: self._without(item) for key, item in value.items()}
        return value
