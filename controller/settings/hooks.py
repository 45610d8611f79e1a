"""Hooks: the commands and webhooks that specs may name.

Read by `whole`; used by `act`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from controller.settings.table import Secret, Table, given
from controller.settings.targets import Target, read_target


@dataclass(frozen=True, slots=True)
class Poll:
    """How to learn the end of what a webhook has begun. Fields are dotted paths into JSON objects.

    url_field: in the answer to the webhook, the address to ask, of the same server. status_field: in what is read there, the
    word that says how it stands: one of `done`, one of `failed`, or anything else while it goes on.
    """

    url_field: str
    status_field: str
    done: tuple[str, ...]
    failed: tuple[str, ...]
    every_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """A request that does what a hook is for. body: JSON in which `{node}` and its like are filled in; None: all of them."""

    target: Target
    headers: Mapping[str, Secret] = field(default_factory=lambda: MappingProxyType({}))
    body: Mapping[str, object] | None = None
    poll: Poll | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """What specs may name: a command or a webhook, exactly one of them, that may take `timeout_seconds`.

    `argv` is run without a shell, and ended with all it started when its time is over.
    """

    name: str
    argv: tuple[str, ...] = ()
    timeout_seconds: float = 3600.0
    webhook: Webhook | None = None


def read_hook(name: str, table: Table, env: Mapping[str, str]) -> Hook:
    """A table of `hooks`."""
    seconds = table.number("timeoutSeconds", 3600.0, least=1.0)
    if any(table.has(key) for key in ("url", "urlEnv", "urlFile")):
        if table.has("command"):
            raise table.error("command", "a hook is a command or a webhook with a url, not both")
        hook = Hook(name, timeout_seconds=seconds, webhook=_webhook(table, env, seconds))
    else:
        hook = Hook(name, table.texts("command"), seconds)
        if not hook.argv or not hook.argv[0]:
            raise table.error("command", 'names no program; use a list such as ["/usr/local/bin/patch-node"]')
    table.refuse_unknown()
    return hook


def _webhook(table: Table, env: Mapping[str, str], seconds: float) -> Webhook:
    headers = {}
    for header, source in table.tables("headers").items():
        value = given(source, "value", env)
        if value is None or not re.fullmatch("[A-Za-z0-9-]+", header):
            raise source.error("value", "a header is a name with exactly one of value, valueEnv and valueFile")
        source.refuse_unknown()
        headers[header] = value
    return Webhook(
        target=replace(read_target(table, env), timeout_seconds=seconds),
        headers=MappingProxyType(headers),
        body=table.raw("body"),
        poll=_poll(table.table("poll")) if table.has("poll") else None,
    )


def _poll(table: Table) -> Poll:
    poll = Poll(
        url_field=table.text("urlField"),
        status_field=table.text("statusField"),
        done=table.texts("done"),
        failed=table.texts("failed"),
        every_seconds=table.number("everySeconds", 15.0, least=1.0),
    )
    table.refuse_unknown()
    return poll
