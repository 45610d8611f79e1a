"""Options that several verbs have, and the settings and the server they lead to. Used by the verbs."""

import getpass
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from controller import settings
from controller.cli.client import Client
from controller.report.access import TOKEN_FILE
from controller.settings import Settings

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Decorator = Callable[[Callable[_P, _R]], Callable[_P, _R]]

config: _Decorator[..., object] = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The machine's settings; else $DROVER_CONFIG, else /etc/drover/drover.toml.",
)
server: _Decorator[..., object] = click.option(
    "--server", metavar="URL", help="Where the daemon serves; else $DROVER_SERVER, else as the settings say."
)
output: _Decorator[..., object] = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml"]),
    default="text",
    show_default=True,
    help="How to print.",
)
socket: _Decorator[..., object] = click.option(
    "--socket", type=click.Path(path_type=Path), help="The daemon's control socket, instead of the settings' one."
)
timeout: _Decorator[..., object] = click.option(
    "--timeout", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Give up then; 0: never."
)
by: _Decorator[..., object] = click.option(
    "--by", default=lambda: os.environ.get("SUDO_USER") or getpass.getuser(), help="Who orders it; else who you are."
)
cluster: _Decorator[..., object] = click.option("--cluster", metavar="NAME", help="Only this PveCluster.")


def load(file: Path | None, *, secrets: bool = True) -> Settings:
    """The settings; without `secrets` for verbs that ask the daemon, whose users need not be able to read them."""
    return settings.load(file, secrets=secrets)


def client(url: str | None, file: Path | None) -> Client:
    """A client of the daemon at `url`, at $DROVER_SERVER, or where the settings say that it serves."""
    given, token = url or os.environ.get("DROVER_SERVER"), os.environ.get("DROVER_TOKEN", "")
    if given:
        return Client(given if "://" in given else f"http://{given}", token)
    known = load(file, secrets=False)
    http = known.http
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)  # noqa: S104 - compared with, not bound to
    address = f"http://[{host}]:{http.port}" if ":" in host else f"http://{host}:{http.port}"
    return Client(address, token or (http.token.reveal() if http.token is not None else _made_token(known)))


def _made_token(known: Settings) -> str:
    """The token that a daemon beside us has made; "" where there is none or it is not for us."""
    with suppress(OSError):
        return (known.state_directory / TOKEN_FILE).read_text(encoding="ascii").strip()
    return ""
