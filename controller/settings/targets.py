"""Servers that word is sent to, and the sinks of notifications.

Read by `whole`, `hooks` and `git`; used by `outgoing` and `report`.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from controller.settings.table import Secret, Table, given, needed

_HOST_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")  # of a mail server, say: no secret, and to be read in other lines


_PIECE_CHARACTERS = 8  # shorter pieces of an address are words such as `api` and `hook`


@dataclass(frozen=True, slots=True)
class Target:
    """A server that word is sent to (`outgoing`): notifications, webhooks, the status of commits.

    url: `https://…`, or `http://` on this machine; all of it but the host may be secret. token: sent as a bearer token.
    signing_key: messages are signed with it (Standard Webhooks). ca_file: PEM, in place of the system's authorities.
    """

    url: Secret
    token: Secret | None = None
    signing_key: Secret | None = None
    ca_file: Path | None = None
    timeout_seconds: float = 10.0


class SinkType(StrEnum):
    """How a sink is spoken to: JSON over HTTPS, or an address of apprise (Slack, ntfy, e-mail and a hundred more)."""

    WEBHOOK = "webhook"
    APPRISE = "apprise"


@dataclass(frozen=True, slots=True)
class Sink:
    """Where notifications go; PveClusters name it. For apprise only `url` and `timeout_seconds` of the target count."""

    name: str
    type: SinkType
    target: Target


def read_sink(name: str, table: Table, env: Mapping[str, str]) -> Sink:
    """A table of `sinks`."""
    type_ = SinkType(table.choice("type", tuple(SinkType), SinkType.WEBHOOK))
    if type_ is SinkType.WEBHOOK:
        target = read_target(table, env)
    else:
        target = Target(needed(table, "url", env), timeout_seconds=table.number("timeoutSeconds", 20.0, least=1.0))
    table.refuse_unknown()
    return Sink(name, type_, target)


def read_target(table: Table, env: Mapping[str, str]) -> Target:
    """`url`, `token` and `signingKey` (each as it is, or by `…Env` or `…File`), `caFile`, `timeoutSeconds`."""
    url = needed(table, "url", env)
    target = Target(
        url,
        given(table, "token", env),
        given(table, "signingKey", env),
        Path(table.text("caFile")) if table.has("caFile") else None,
        table.number("timeoutSeconds", 10.0, least=1.0),
    )
    if problem := _bad_address(url.reveal()):
        raise table.error("url", problem)
    if target.signing_key is not None and not _is_signing_key(target.signing_key.reveal()):
        raise table.error("signingKey", "is no signing key: one word, or whsec_ followed by base64")
    return target


def _is_signing_key(key: str) -> bool:
    try:
        return not key.startswith("whsec_") or bool(base64.b64decode(key[6:], validate=True))
    except binascii.Error:
        return False


def _bad_address(url: str) -> str:
    """What is wrong with an address, without a word of it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("https", "http") or not host:
        return "is no https:// URL"
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        return "is not encrypted; use https:// (http:// is for this machine itself)"
    return ""


def pieces_of(url: Secret) -> list[Secret]:
    """An address and what is secret in it by itself: libraries tell of paths and users without the rest."""
    raw = url.reveal()
    scheme, _, rest = raw.partition("://")
    if scheme in ("https", "http"):
        user, at, _ = rest.partition("/")[0].rpartition("@")
        rest = f"{user}{at}/{rest.partition('/')[2]}"
    found = {raw, *re.split(r"[/:@?&=]", rest), *re.split(r"[/:@?&=]", unquote(rest))}
    long = (piece for piece in sorted(found) if len(piece) >= _PIECE_CHARACTERS)
    return [Secret(piece) for piece in long if not _HOST_NAME.fullmatch(piece)]
