"""Where Drover serves, and the token of page and objects.

Read by `whole`; used by `report.http` and `report.access`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller.settings.table import Secret, SettingsError, Table, given

TOKEN_LENGTH = 16
"""Characters that the token of page and objects has at least: it can be tried over the network."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where metrics, health, status and the page are served, all of it read-only.

    token: what page and objects ask for; None = nothing on loopback, elsewhere one that Drover makes itself. names: Host names
    it is asked for besides addresses and the machine's own, such as that of a reverse proxy.
    """

    host: str = "127.0.0.1"
    port: int = 9808
    token: Secret | None = None
    names: tuple[str, ...] = ()


def read_http(listen: str, table: Table, env: Mapping[str, str], *, secrets: bool) -> HttpSettings:
    """The table `http`. listen: `HOST:PORT`, from the file or the environment."""
    host, colon, port = listen.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise table.error("listen", f"{listen!r} is not an address; use HOST:PORT such as 127.0.0.1:9808")
    names = table.texts("names") if table.has("names") else ()
    return HttpSettings(host.strip("[]"), int(port), _http_token(table, env, secrets=secrets), names)


def _http_token(table: Table, env: Mapping[str, str], *, secrets: bool) -> Secret | None:
    """The token of page and objects, if one is given."""
    try:
        token = given(table, "token", env)
    except SettingsError:
        if secrets:
            raise
        token = None  # who only asks the daemon may know it otherwise
    if env.get("DROVER_TOKEN"):
        token = Secret(env["DROVER_TOKEN"])
    if token is not None and len(token.reveal()) < TOKEN_LENGTH:
        raise table.error("token", f"is too short to be a token: {TOKEN_LENGTH} characters or more, at random")
    return token
