"""Logging: structlog through the standard library's handlers, so that urllib3, aiohttp and proxmoxer speak the same way.

`configure` is called once by `cli`; everybody else says `structlog.get_logger()`. No line leaves without passing `Redactor`.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from controller.settings import LogSettings, Secret

HIDDEN = "****"

_SECRET_KEY = re.compile(
    r"(?i)(secret|password|passwd|passphrase|authorization|cookie|csrf\w*token|ticket|api_?key|private_?key|^token$|_token$)"
)
# Applied to the finished line. The identity of a token (user@realm!name) may show; what follows it may not.
_PATTERNS = (
    (re.compile(r"(PVEAPIToken=[^\s=\"':]+)[=:][^\s\"',;&\\]+"), rf"\1={HIDDEN}"),
    (re.compile(r"([A-Za-z0-9._-]+@[A-Za-z0-9._-]+![A-Za-z0-9._-]+)=[0-9a-fA-F-]{8,}"), rf"\1={HIDDEN}"),
    (
        re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:bearer\s+|basic\s+)?)(?!PVEAPIToken)[^\s\"',;\\]+"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(PVE(?:Auth|API)?[A-Za-z]*Cookie=)[^\s\"';\\]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(PVE:[^\s:]+@[^\s:]+:[0-9A-F]{8}::)[A-Za-z0-9+/=%]+"), rf"\1{HIDDEN}"),
    (
        re.compile(r"(?i)((?:csrfpreventiontoken|password|secret)[\"']?\s*[:=]\s*[\"']?)(?!\*{4})[^\s\"',;&\\]+"),
        rf"\1{HIDDEN}",
    ),
)


class Redactor:
    """Takes secrets out of log lines: by the name of a key, by the shape of a credential, and by known value."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        values = {secret.reveal() for secret in secrets}
        spelled = {form for value in values if value for form in (value, json.dumps(value)[1:-1], repr(value)[1:-1])}
        # The longest first: one secret may contain another.
        self._known = sorted(spelled, key=len, reverse=True)

    def keys(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Hide the values of keys that name a secret, at any depth."""
        return {key: self._hide(key, value) for key, value in event.items()}

    def text(self, _logger: WrappedLogger, _method: str, line: str) -> str:
        """Hide what looks like a credential, or is one, in the finished line (tracebacks included)."""
        line = self.known(line)
        for pattern, replacement in _PATTERNS:
            line = pattern.sub(replacement, line)
        return line

    def known(self, text: str) -> str:
        """Hide the secrets that are known by value."""
        for value in self._known:
            text = text.replace(value, HIDDEN)
        return text

    def _hide(self, key: str, value: object) -> object:
        if _SECRET_KEY.search(key):
            return HIDDEN
        if isinstance(value, dict):
            return {name: self._hide(str(name), item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._hide("", item) for item in value]
        return value


def configure(
    settings: LogSettings,
    *,
    stream: TextIO,
    wall: Callable[[], float] | None = None,
    secrets: Iterable[Secret] = (),
) -> None:
    """Send all logging of the process to `stream`, as JSON or for a console.

    Times come from `wall` (epoch seconds: an accelerated or virtual clock), else from the logging library.
    """
    console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    redactor = Redactor(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                _timestamper(wall, console=console),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redactor.keys,
                *_renderer(stream, console=console),
                redactor.text,  # type: ignore[list-item] # runs behind the renderer, so it gets the line, not the event
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    logging.captureWarnings(capture=True)
    _quiet_others(settings.level)


def about(**context: str | int) -> AbstractContextManager[None]:
    """Bind `cluster`, `tick` and the like to every line logged inside the block, by this task and those it starts."""
    return structlog.contextvars.bound_contextvars(**context)


def _renderer(stream: TextIO, *, console: bool) -> list[Processor]:
    if console:
        colors = stream.isatty()
        # Plain tracebacks: the pretty ones print local variables, and secrets with them.
        return [
            structlog.dev.ConsoleRenderer(
                colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=32, sort_keys=False
            )
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(default=str),
    ]


def _timestamper(wall: Callable[[], float] | None, *, console: bool) -> Processor:
    form = "%H:%M:%S" if console else "%Y-%m-%dT%H:%M:%S.%fZ"

    def stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        record: logging.LogRecord = event["_record"]
        at = record.created if wall is None else wall()
        return {"timestamp": datetime.fromtimestamp(at, UTC).strftime(form), **event}

    return stamp


def _quiet_others(level: str) -> None:
    """Keep libraries from telling of every request unless that is asked for."""
    chatty = logging.DEBUG if level == "debug" else logging.WARNING
    for name in ("aiohttp.access", "asyncio", "urllib3", "proxmoxer"):
        logging.getLogger(name).setLevel(chatty)
    # It tells of every change near the manifests: of a log file there it would tell for ever, each line causing the next.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)


class _Handler(logging.StreamHandler[TextIO]):
    """The standard one prints the whole record, secrets included, to stderr when a line can't be written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name for it
        """Drop the line: neither a closed pipe nor a record that can't be formatted may stop the daemon."""
