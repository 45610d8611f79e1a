"""How one message reaches a sink: a webhook over HTTPS, or one of the services that apprise speaks to.

Used by `report.notifier` and by `drover notify`. A result never holds a secret.
"""

import asyncio
import logging
import re
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from controller import outgoing
from controller.model.notice import Gravity, Notice
from controller.outgoing import Answer, Later, Ok, Refused
from controller.report import notices
from controller.settings import SettingsError, Sink, SinkType

if TYPE_CHECKING:
    from apprise import Apprise

_STATUS = re.compile(r"\berror\W+([1-5][0-9]{2})\b")
_GRACE_SECONDS = 20.0  # apprise gives every connection 4 s and every answer 4 s, and may need several


class Sender(Protocol):
    """Sends to one sink."""

    async def send(self, notice: Notice, *, at: float) -> Answer:
        """Try once, at `at` (epoch seconds). Ends within seconds and raises nothing."""
        ...

    def close(self) -> None:
        """Let go of threads; a message that is under way may still arrive."""
        ...


def sender(sink: Sink) -> Sender:
    """What sends to `sink`. Raises SettingsError for an address that apprise does not know."""
    return Webhook(sink) if sink.type is SinkType.WEBHOOK else Service(sink)


class Webhook:
    """JSON over HTTPS."""

    def __init__(self, sink: Sink) -> None:
        self._target = sink.target

    async def send(self, notice: Notice, *, at: float) -> Answer:
        """See `Sender.send`."""
        return await outgoing.post(self._target, notices.body(notice), message_id=notice.id, at=at)

    def close(self) -> None:
        """See `Sender.close`."""


class Service:
    """Slack, ntfy, e-mail and the rest: apprise, which blocks, on one thread of its own."""

    def __init__(self, sink: Sink) -> None:
        self._name = sink.name
        self._apprise = _apprise(sink)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"notify-{sink.name}")
        self._status = ""
        self._running: Future[bool] | None = None
        self._deadline = max(sink.target.timeout_seconds, _GRACE_SECONDS)

    async def send(self, notice: Notice, *, at: float) -> Answer:  # noqa: ARG002 - services stamp what they get themselves
        """See `Sender.send`."""
        if self._running is not None and not self._running.done():
            return Later("the message before is still under way", sent=False)
        try:
            self._running = self._thread.submit(self._notify, notice)
            async with asyncio.timeout(self._deadline):
                taken = await asyncio.shield(asyncio.wrap_future(self._running))
        except TimeoutError:
            return Later(f"no answer within {self._deadline:g} s", sent=True)
        return Ok(200, b"") if taken else Later(f"the service did not take it{self._status}", sent=False)

    def close(self) -> None:
        """See `Sender.close`."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _notify(self, notice: Notice) -> bool:
        kind = {Gravity.INFO: "info", Gravity.WARNING: "warning", Gravity.CRITICAL: "failure"}[notice.gravity]
        _DEAF.begin()
        try:
            return bool(self._apprise.notify(body=notices.text(notice), title=notices.title(notice), notify_type=kind))
        finally:
            self._status = _DEAF.end()


class _Deaf(logging.Filter):
    """Stops every line of apprise, as they tell of addresses and bodies; keeps the last status that a service answered.

    Apprise has threads of its own, so what is said while two services are asked can't be told apart and is not used.
    """

    def __init__(self) -> None:
        super().__init__()
        self._status = ""
        self._asked = 0

    def begin(self) -> None:
        """A service is about to be asked."""
        self._asked += 1
        self._status = ""

    def end(self) -> str:
        """A service has answered, with the status if it is certain."""
        self._asked -= 1
        return self._status if self._asked == 0 else ""

    def filter(self, record: logging.LogRecord) -> bool:
        """No line passes; of what is said the number alone is kept."""
        found = _STATUS.search(record.getMessage())
        if found is not None:
            self._status = f" (it answers {found[1]})"
        return False


_DEAF = _Deaf()


def _apprise(sink: Sink) -> "Apprise":
    from apprise import Apprise  # noqa: PLC0415 - a hundred services; not for those who use none

    logging.getLogger("apprise").addFilter(_DEAF)  # adding it again changes nothing
    made = Apprise()
    if not made.add(sink.target.url.reveal()):
        raise SettingsError(
            f"sinks.{sink.name}.url: is no address that apprise knows, such as ntfys://HOST/TOPIC or"
            " mailtos://USER:PASSWORD@HOST?to=ADDRESS; they are described at https://appriseit.com/services/"
        )
    return made


def refused(answer: Answer) -> bool:
    """Whether a sink will never take this message, whoever repairs what."""
    return isinstance(answer, Refused) and answer.status in (400, 413, 415, 422)
