"""All settings together, from the file and the environment.

`load` is called by `cli`, once.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from controller.settings.credentials import Credential, read_credential
from controller.settings.git import GitSettings, read_git
from controller.settings.hooks import Hook, read_hook
from controller.settings.http import HttpSettings, read_http
from controller.settings.table import Secret, SettingsError, Table
from controller.settings.targets import Sink, pieces_of, read_sink

DEFAULT_FILE = Path("/etc/drover/drover.toml")


GIT_FOLDER = "source"
"""Below the state directory: what the Git source keeps."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """format: `auto` (console on a terminal, JSON otherwise), `json` or `console`. level: debug, info, warning, error."""

    format: str = "auto"
    level: str = "info"


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """interval_seconds: how often a cluster is looked at when nothing happens.

    planner_seconds: a plan that takes longer is discarded.
    """

    interval_seconds: float = 10.0
    planner_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it.

    source: the folder of manifests; with `git` that of the revision in force. state_directory: one state file per cluster, and
    what the Git source keeps. socket: the control socket.
    """

    source: Path = Path("/etc/drover/manifests")
    git: GitSettings | None = None
    state_directory: Path = Path("/var/lib/drover")
    socket: Path = Path("/run/drover/control.sock")
    http: HttpSettings = field(default_factory=HttpSettings)
    log: LogSettings = LogSettings()
    loop: LoopSettings = LoopSettings()
    credentials: Mapping[str, Credential] = field(default_factory=lambda: MappingProxyType({}))
    hooks: Mapping[str, Hook] = field(default_factory=lambda: MappingProxyType({}))
    sinks: Mapping[str, Sink] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """All of them, for those who have to keep them out of what they write."""
        webhooks = [hook.webhook for hook in self.hooks.values() if hook.webhook is not None]
        targets = [*(sink.target for sink in self.sinks.values()), *(webhook.target for webhook in webhooks)]
        of_hooks = [header for webhook in webhooks for header in webhook.headers.values()]
        of_targets = [each for to in targets for each in (to.token, to.signing_key) if each is not None]
        pieces = [piece for to in targets for piece in pieces_of(to.url)]
        of_git = self.git.secrets if self.git is not None else ()
        own = (self.http.token,) if self.http.token is not None else ()
        return (
            *(credential.secret for credential in self.credentials.values()),
            *own,
            *of_targets,
            *of_hooks,
            *pieces,
            *of_git,
        )


def load(file: Path | None = None, env: Mapping[str, str] | None = None, *, secrets: bool = True) -> Settings:
    """Settings from `file`, else from `$DROVER_CONFIG`, else from /etc/drover/drover.toml when that exists, else defaults.

    `$DROVER_SOURCE`, `$DROVER_STATE`, `$DROVER_SOCKET`, `$DROVER_LISTEN` and `$DROVER_TOKEN` win over the file. Raises
    SettingsError.

    `secrets=False` leaves the credentials out, for those who only ask the daemon and may not read the files of its secrets.
    """
    env = os.environ if env is None else env
    chosen = file or (Path(env["DROVER_CONFIG"]) if env.get("DROVER_CONFIG") else None)
    if chosen is None and not DEFAULT_FILE.exists():
        return _settings(Table({}, "environment", ""), env, secrets=secrets)
    chosen = chosen or DEFAULT_FILE
    try:
        content = tomllib.loads(chosen.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{chosen}: can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{chosen}: not valid TOML: {error}") from error
    return _settings(Table(content, str(chosen), ""), env, secrets=secrets)


def _settings(top: Table, env: Mapping[str, str], *, secrets: bool) -> Settings:
    http, log, loop = top.table("http"), top.table("log"), top.table("loop")

    def either(variable: str, in_file: str) -> str:
        return env.get(variable) or in_file

    credentials, sinks = top.tables("credentials"), top.tables("sinks")
    listen = either("DROVER_LISTEN", http.text("listen", "127.0.0.1:9808"))
    state_directory = Path(either("DROVER_STATE", top.text("stateDirectory", "/var/lib/drover")))
    source, git = _source(top, env, state_directory, secrets=secrets)
    settings = Settings(
        source=source,
        git=git,
        state_directory=state_directory,
        socket=Path(either("DROVER_SOCKET", top.text("socket", "/run/drover/control.sock"))),
        http=read_http(listen, http, env, secrets=secrets),
        log=LogSettings(
            format=log.choice("format", ("auto", "json", "console"), "auto"),
            level=log.choice("level", ("debug", "info", "warning", "error"), "info"),
        ),
        loop=LoopSettings(
            interval_seconds=loop.number("intervalSeconds", 10.0, least=1.0),
            planner_seconds=loop.number("plannerSeconds", 60.0, least=1.0),
        ),
        credentials=MappingProxyType({n: read_credential(n, t, env) for n, t in credentials.items() if secrets}),
        hooks=MappingProxyType({n: read_hook(n, t, env) for n, t in top.tables("hooks").items() if secrets}),
        sinks=MappingProxyType({n: read_sink(n, t, env) for n, t in sinks.items() if secrets}),
    )
    for table in (top, http, log, loop):
        table.refuse_unknown()
    return settings


def _source(
    top: Table, env: Mapping[str, str], state_directory: Path, *, secrets: bool
) -> tuple[Path, GitSettings | None]:
    """Where manifests are read, and the repository that they are taken from."""
    given = env.get("DROVER_SOURCE", "")
    if not top.holds_table("source"):
        folder = top.text("source", "/etc/drover/manifests")
        return Path(given or folder), None
    source = top.table("source")
    git = read_git(source.table("git"), env, secrets=secrets)
    source.refuse_unknown()
    if given:
        return Path(given), None
    return state_directory / GIT_FOLDER / "current" / git.path, git
