"""Hooks that are requests: word to a server that does the work, such as AWX, and if wanted asking until it says how that ended.

Called by `act.hooks`. A request that may have arrived is never sent twice by the same attempt; every attempt of one run carries
the same `webhook-id`, and one that knows where to ask goes on asking instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from yarl import URL

from controller import outgoing
from controller.clock import Clock
from controller.outgoing import Later, Ok
from controller.settings import Poll, Secret, Target, Webhook

_AGAIN_SECONDS = 10.0
"""Between two tries to reach a server that can't be reached."""
_REQUEST_SECONDS = 60.0
"""The most that one request takes where the answer only says that something was begun."""


class WebhookFailed(Exception):  # noqa: N818 - a result, not a fault of the program
    """It did not end well; the words say why, and hold nothing secret."""


async def call(
    webhook: Webhook,
    values: Mapping[str, str],
    *,
    clock: Clock,
    begun: str,
    note: Callable[[str], None],
) -> str:
    """Do it and say how it went. Raises WebhookFailed.

    values: what it is told, by name. begun: where an earlier attempt asked for the result, "" if there was none; `note` is told
    where this one asks. The caller limits the time.
    """
    try:
        return await _Webhook(webhook, values, clock).run(begun, note)
    except WebhookFailed as failed:
        text = str(failed)
        for secret in webhook.headers.values():
            text = text.replace(secret.reveal(), "****")
        raise WebhookFailed(text) from None


class _Webhook:
    def __init__(self, webhook: Webhook, values: Mapping[str, str], clock: Clock) -> None:
        self._webhook, self._values, self._clock = webhook, values, clock
        self._headers = {name: value.reveal() for name, value in webhook.headers.items()}
        self._name = outgoing.shown(webhook.target)

    async def run(self, begun: str, note: Callable[[str], None]) -> str:
        poll = self._webhook.poll
        if poll is None:
            answer = await self._send(self._webhook.target)
            return f"{self._name} answers {answer.status}"
        quick = replace(
            self._webhook.target, timeout_seconds=min(_REQUEST_SECONDS, self._webhook.target.timeout_seconds)
        )
        where = begun
        if not where:
            answer = await self._send(quick)
            where = _word(answer.data(), poll.url_field)
            if not where:
                raise WebhookFailed(
                    f"{self._name} answers {answer.status} without {poll.url_field}, where to ask how it ends"
                )
            if "?" not in where:  # an address with parameters may hold a secret
                note(where)
        return await self._ask(quick, where, poll)

    async def _send(self, target: Target) -> Ok:
        """Until it is taken; a server that was never reached is tried again."""
        data = _filled(self._webhook.body, self._values) if self._webhook.body is not None else dict(self._values)
        ident = f"{self._values['cluster']}/{self._values['run']}"
        while True:
            answer = await outgoing.post(target, data, headers=self._headers, message_id=ident, at=self._clock.wall())
            if isinstance(answer, Ok):
                return answer
            if not isinstance(answer, Later):
                raise WebhookFailed(answer.message)
            if answer.sent:
                raise WebhookFailed(f"{answer.message}; it may have been begun all the same, so it is not sent again")
            await self._clock.sleep(answer.after_seconds or _AGAIN_SECONDS)

    async def _ask(self, target: Target, where: str, poll: Poll) -> str:
        """Until it has ended; what can't be asked for now is asked for again."""
        place = self._place(where)
        while True:
            answer = await outgoing.get(replace(target, url=place), headers=self._headers)
            if isinstance(answer, Ok):
                status = _word(answer.data(), poll.status_field)
                if status in poll.done:
                    return f"{self._name} says {status}"
                if status in poll.failed or not status:
                    said = f"says {status}" if status else f"answers without {poll.status_field}"
                    raise WebhookFailed(f"{self._name} {said}")
            elif not isinstance(answer, Later):
                raise WebhookFailed(answer.message)
            await self._clock.sleep(poll.every_seconds)

    def _place(self, where: str) -> Secret:
        """The address to ask, of the same server: nobody else gets the token."""
        base = URL(self._webhook.target.url.reveal())
        try:
            found = base.join(URL(where))
            if found.origin() == base.origin():
                return Secret(str(found.with_user(base.user).with_password(base.password)))
        except ValueError:
            raise WebhookFailed(f"{self._name} names no address to ask how it ends") from None
        raise WebhookFailed(f"{self._name} names an address of another server to ask how it ends")


def _word(data: object, path: str) -> str:
    """The word or number under a dotted path; "" when there is none."""
    for key in path.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return str(data) if isinstance(data, str | int) else ""


def _filled(body: object, values: Mapping[str, str]) -> object:
    """`body` with `{node}` and its like filled in."""
    if isinstance(body, Mapping):
        return {key: _filled(value, values) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [_filled(value, values) for value in body]
    if isinstance(body, str):
        for name, value in values.items():
            body = body.replace(f"{{{name}}}", value)
    return body
