"""Tokens and users, and where their secrets may be sent.

Read by `whole`; used by `app`, which connects with them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller.settings.table import Secret, Table, secret_of


@dataclass(frozen=True, slots=True)
class Credential:
    """An API token, or a user with a password, and where it may be sent.

    login: `user@realm!name` for a token, `user@realm` for a user, who is logged in for tickets: PVE keeps a few parameters from
    tokens (qemu-server: PVE/API2/Qemu.pm). secret: the token's value or the password, given as it is, by the name of a variable
    (`secretEnv`) or of a file (`secretFile`; a relative name is looked for in systemd's `$CREDENTIALS_DIRECTORY`, else beside
    the settings file). endpoints: the URLs it may be sent to; a PveCluster that names this credential with any other endpoint
    is refused.
    fingerprint_sha256: when set, the only certificate it is sent to.
    """

    name: str
    login: str
    secret: Secret
    endpoints: tuple[str, ...]
    fingerprint_sha256: str = ""

    @property
    def is_token(self) -> bool:
        """Whether it is an API token."""
        return "!" in self.login


def _login(table: Table) -> str:
    """The token's id, or the user."""
    if table.has("user") == table.has("tokenId"):
        raise table.error("tokenId", "exactly one of tokenId and user has to be given")
    if table.has("user"):
        user = table.text("user")
        if not re.fullmatch("[^@!]+@[^@!]+", user):
            raise table.error("user", f"{user!r} is not a user; use USER@REALM such as root@pam")
        return user
    token_id = table.text("tokenId")
    if "@" not in token_id or "!" not in token_id:
        raise table.error("tokenId", f"{token_id!r} is not a token id; use USER@REALM!NAME such as drover@pve!main")
    return token_id


def read_credential(name: str, table: Table, env: Mapping[str, str]) -> Credential:
    """A table of `credentials`."""
    login = _login(table)
    sources = [key for key in ("secret", "secretFile", "secretEnv") if table.has(key)]
    if len(sources) != 1:
        raise table.error("secretFile", "exactly one of secretFile, secretEnv and secret has to be given")
    endpoints = table.texts("endpoints")
    if not endpoints:
        raise table.error("endpoints", "names no endpoint; list the URLs this token may be sent to: https://HOST:8006")
    credential = Credential(
        name,
        login,
        secret_of(table, sources[0], env, token="!" in login),
        endpoints,
        table.text("fingerprintSha256", ""),
    )
    table.refuse_unknown()
    return credential
