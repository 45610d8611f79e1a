"""The machine's side of the configuration: credentials, hooks, paths, ports. Never from Git.

Read once by `cli` and `app` from a TOML file and a few environment variables, then passed on as frozen values; nobody imports
a setting as a value. Git may *name* a credential or a hook; what the name means, and to which endpoints a secret may be sent,
is decided here.
"""

import base64
import binascii
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

DEFAULT_FILE = Path("/etc/drover/drover.toml")
_HOST_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")  # of a mail server, say: no secret, and to be read in other lines
_PIECE_CHARACTERS = 8  # shorter pieces of an address are words such as `api` and `hook`
TOKEN_LENGTH = 16
"""Characters that the token of page and objects has at least: it can be tried over the network."""


class SettingsError(Exception):
    """The settings can't be used: names the file, the key, what is wrong and what would be right."""


class Secret:
    """A string that never shows itself in logs, tracebacks or dumps; `reveal()` is the only way to read it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; call it only where it goes onto the wire."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"


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


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """Whose signatures count: exported GnuPG keys, or OpenSSH allowed signers with keys that were revoked; exactly one of both."""

    gpg_keyring: Path | None = None
    ssh_allowed_signers: Path | None = None
    ssh_revoked_keys: Path | None = None


@dataclass(frozen=True, slots=True)
class WakeUpSettings:
    """Who may wake the Git source over HTTP. kind: whose way of signing is expected (github, gitlab, gitea, generic)."""

    kind: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class CommitStatusSettings:
    """Where the status of commits is told. kind: github, gitlab or gitea (Forgejo too). target: the API's root, with a token."""

    kind: str
    target: Target
    repository: str
    context: str = "drover"
    page_url: str = ""


@dataclass(frozen=True, slots=True)
class GitSettings:
    """A Git repository as the source. Secrets and keys are the machine's own and never part of `url`.

    ref: a branch, a tag, or HEAD, the server's default branch. path: the folder or file in the repository, "" for all of it.
    depth: commits that are fetched, 0 = all. max_*: what a fetch may bring, and what the manifests of one revision may be.
    """

    url: str
    ref: str = "HEAD"
    path: str = ""
    interval_seconds: float = 60.0
    timeout_seconds: float = 120.0
    depth: int = 0
    max_fetch_mib: int = 256
    max_tree_mib: int = 16
    max_files: int = 5000
    username: str = "git"
    token: Secret | None = None
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None
    verify: VerifySettings | None = None
    webhook: WakeUpSettings | None = None
    commit_status: CommitStatusSettings | None = None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """All of them, for whoever keeps them out of logs."""
        named = [self.token, self.webhook.secret if self.webhook is not None else None]
        named += [self.commit_status.target.token] if self.commit_status is not None else []
        return tuple(secret for secret in named if secret is not None)

    @property
    def protocol(self) -> str:
        """The only one that git may speak: https, ssh or file."""
        return self.url.partition("://")[0] if "://" in self.url else "ssh"


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
    http: HttpSettings = HttpSettings()
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
        pieces = [piece for to in targets for piece in _pieces(to.url)]
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
        return _settings(_Table({}, "environment", ""), env, secrets=secrets)
    chosen = chosen or DEFAULT_FILE
    try:
        content = tomllib.loads(chosen.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{chosen}: can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{chosen}: not valid TOML: {error}") from error
    return _settings(_Table(content, str(chosen), ""), env, secrets=secrets)


def _settings(top: "_Table", env: Mapping[str, str], *, secrets: bool) -> Settings:
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
        http=_http(listen, http, env, secrets=secrets),
        log=LogSettings(
            format=log.choice("format", ("auto", "json", "console"), "auto"),
            level=log.choice("level", ("debug", "info", "warning", "error"), "info"),
        ),
        loop=LoopSettings(
            interval_seconds=loop.number("intervalSeconds", 10.0, least=1.0),
            planner_seconds=loop.number("plannerSeconds", 60.0, least=1.0),
        ),
        credentials=MappingProxyType({n: _credential(n, t, env) for n, t in credentials.items() if secrets}),
        hooks=MappingProxyType({n: _hook(n, t, env) for n, t in top.tables("hooks").items() if secrets}),
        sinks=MappingProxyType({n: _sink(n, t, env) for n, t in sinks.items() if secrets}),
    )
    for table in (top, http, log, loop):
        table.refuse_unknown()
    return settings


GIT_FOLDER = "source"
"""Below the state directory: what the Git source keeps."""


def _source(
    top: "_Table", env: Mapping[str, str], state_directory: Path, *, secrets: bool
) -> tuple[Path, GitSettings | None]:
    """Where manifests are read, and the repository that they are taken from."""
    given = env.get("DROVER_SOURCE", "")
    if not top.holds_table("source"):
        folder = top.text("source", "/etc/drover/manifests")
        return Path(given or folder), None
    source = top.table("source")
    git = _git(source.table("git"), env, secrets=secrets)
    source.refuse_unknown()
    if given:
        return Path(given), None
    return state_directory / GIT_FOLDER / "current" / git.path, git


_LOCATION = re.compile(
    r"https://(?P<login>[^/@]*@)?[A-Za-z0-9.\[\]:-]+/\S+|ssh://([\w.-]+@)?[A-Za-z0-9.\[\]:][A-Za-z0-9.\[\]:-]*/\S+|"
    r"[\w.-]+@[A-Za-z0-9.][A-Za-z0-9.-]*:(?!/?-)\S+|file:///\S+"
)
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*")


def _git(table: "_Table", env: Mapping[str, str], *, secrets: bool) -> GitSettings:
    url, ref, path = table.text("url"), table.text("ref", "HEAD"), table.text("path", "").strip("/")
    location = _LOCATION.fullmatch(url)
    if location is None:
        raise table.error(
            "url", f"{url!r} is not a place of a repository: https://…, ssh://…, USER@HOST:PATH or file:///…"
        )
    if location["login"]:
        raise table.error("url", "holds a user or a token; use username and tokenFile, so that it shows up nowhere")
    if not _REF.fullmatch(ref) or ".." in ref or "@{" in ref or ref.endswith(("/", ".lock", ".")):
        raise table.error("ref", f"{ref!r} is not the name of a branch or tag")
    if any(part in ("", ".", "..") or part.startswith(".") for part in path.split("/") if path):
        raise table.error("path", f"{path!r} has to be a folder or file inside the repository that is not hidden")
    verify = table.table("verify") if table.has("verify") else None
    webhook = table.table("webhook") if table.has("webhook") else None
    status = table.table("commitStatus") if table.has("commitStatus") else None
    depth = table.number("depth", 0, least=0)
    git = GitSettings(
        url=url,
        ref=ref,
        path=path,
        interval_seconds=table.number("intervalSeconds", 60.0, least=5.0),
        timeout_seconds=table.number("timeoutSeconds", 120.0, least=1.0),
        depth=int(depth),
        max_fetch_mib=int(table.number("maxFetchMiB", 256, least=1)),
        max_tree_mib=int(table.number("maxTreeMiB", 16, least=1)),
        max_files=int(table.number("maxFiles", 5000, least=1)),
        username=table.text("username", "git"),
        token=_given(table, "token", env) if secrets else None,
        ssh_key=_file(table, "sshKeyFile", env),
        known_hosts=_file(table, "knownHostsFile", env),
        ca_file=_file(table, "caFile", env),
        verify=_verify(verify, env) if verify is not None else None,
        webhook=_wake_up(webhook, env) if webhook is not None and secrets else None,
        commit_status=_commit_status(status, env) if status is not None and secrets else None,
    )
    if git.protocol == "ssh" and (git.ssh_key is None or git.known_hosts is None):
        missing = "sshKeyFile" if git.ssh_key is None else "knownHostsFile"
        raise table.error(
            missing, "is needed for SSH: a key of the machine's own, and the keys of the servers it may talk to"
        )
    if git.verify is not None and git.depth:
        raise table.error(
            "depth", "can't be limited with verify: all commits since the last one in force are looked at"
        )
    if secrets:
        table.refuse_unknown()
    return git


def _verify(table: "_Table", env: Mapping[str, str]) -> VerifySettings:
    verify = VerifySettings(
        _file(table, "gpgKeyringFile", env),
        _file(table, "sshAllowedSignersFile", env),
        _file(table, "sshRevokedKeysFile", env),
    )
    if (verify.gpg_keyring is None) == (verify.ssh_allowed_signers is None):
        raise table.error("gpgKeyringFile", "exactly one of gpgKeyringFile and sshAllowedSignersFile has to be given")
    table.refuse_unknown()
    return verify


def _wake_up(table: "_Table", env: Mapping[str, str]) -> WakeUpSettings:
    kind = table.choice("kind", ("github", "gitlab", "gitea", "generic"), "generic")
    secret = _given(table, "secret", env)
    if secret is None or len(secret.reveal()) < 16:
        raise table.error(
            "secretFile", "exactly one of secretFile, secretEnv and secret has to be given, 16 characters or more"
        )
    table.refuse_unknown()
    return WakeUpSettings(kind, secret)


def _commit_status(table: "_Table", env: Mapping[str, str]) -> CommitStatusSettings:
    kind = table.choice("kind", ("github", "gitlab", "gitea"), "")
    target, repository = read_target(table, env), table.text("repository")
    if target.token is None:
        raise table.error("tokenFile", "exactly one of tokenFile, tokenEnv and token has to be given")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)+", repository):
        raise table.error("repository", f"{repository!r} is not OWNER/NAME")
    page_url = table.text("pageUrl", "")
    settings = CommitStatusSettings(kind, target, repository, table.text("context", "drover"), page_url)
    table.refuse_unknown()
    return settings


def _file(table: "_Table", key: str, env: Mapping[str, str]) -> Path | None:
    """A file of the machine; a relative name is looked for where the secrets are."""
    return (table.folder(env) / table.text(key)).absolute() if table.has(key) else None


def _hook(name: str, table: "_Table", env: Mapping[str, str]) -> Hook:
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


def _webhook(table: "_Table", env: Mapping[str, str], seconds: float) -> Webhook:
    headers = {}
    for header, source in table.tables("headers").items():
        value = _given(source, "value", env)
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


def _poll(table: "_Table") -> Poll:
    poll = Poll(
        url_field=table.text("urlField"),
        status_field=table.text("statusField"),
        done=table.texts("done"),
        failed=table.texts("failed"),
        every_seconds=table.number("everySeconds", 15.0, least=1.0),
    )
    table.refuse_unknown()
    return poll


def _http(listen: str, table: "_Table", env: Mapping[str, str], *, secrets: bool) -> HttpSettings:
    host, colon, port = listen.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise table.error("listen", f"{listen!r} is not an address; use HOST:PORT such as 127.0.0.1:9808")
    names = table.texts("names") if table.has("names") else ()
    return HttpSettings(host.strip("[]"), int(port), _http_token(table, env, secrets=secrets), names)


def _http_token(table: "_Table", env: Mapping[str, str], *, secrets: bool) -> Secret | None:
    """The token of page and objects, if one is given."""
    try:
        token = _given(table, "token", env)
    except SettingsError:
        if secrets:
            raise
        token = None  # who only asks the daemon may know it otherwise
    if env.get("DROVER_TOKEN"):
        token = Secret(env["DROVER_TOKEN"])
    if token is not None and len(token.reveal()) < TOKEN_LENGTH:
        raise table.error("token", f"is too short to be a token: {TOKEN_LENGTH} characters or more, at random")
    return token


def _credential(name: str, table: "_Table", env: Mapping[str, str]) -> Credential:
    login = _login(table)
    sources = [key for key in ("secret", "secretFile", "secretEnv") if table.has(key)]
    if len(sources) != 1:
        raise table.error("secretFile", "exactly one of secretFile, secretEnv and secret has to be given")
    endpoints = table.texts("endpoints")
    if not endpoints:
        raise table.error("endpoints", "names no endpoint; list the URLs this token may be sent to: https://HOST:8006")
    credential = Credential(
        name, login, _secret(table, sources[0], env, token="!" in login), endpoints, table.text("fingerprintSha256", "")
    )
    table.refuse_unknown()
    return credential


def _login(table: "_Table") -> str:
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


def read_target(table: "_Table", env: Mapping[str, str]) -> Target:
    """`url`, `token` and `signingKey` (each as it is, or by `…Env` or `…File`), `caFile`, `timeoutSeconds`."""
    url = _needed(table, "url", env)
    target = Target(
        url,
        _given(table, "token", env),
        _given(table, "signingKey", env),
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


def _sink(name: str, table: "_Table", env: Mapping[str, str]) -> Sink:
    type_ = SinkType(table.choice("type", tuple(SinkType), SinkType.WEBHOOK))
    if type_ is SinkType.WEBHOOK:
        target = read_target(table, env)
    else:
        target = Target(_needed(table, "url", env), timeout_seconds=table.number("timeoutSeconds", 20.0, least=1.0))
    table.refuse_unknown()
    return Sink(name, type_, target)


def _pieces(url: Secret) -> list[Secret]:
    """An address and what is secret in it by itself: libraries tell of paths and users without the rest."""
    raw = url.reveal()
    scheme, _, rest = raw.partition("://")
    if scheme in ("https", "http"):
        user, at, _ = rest.partition("/")[0].rpartition("@")
        rest = f"{user}{at}/{rest.partition('/')[2]}"
    found = {raw, *re.split(r"[/:@?&=]", rest), *re.split(r"[/:@?&=]", unquote(rest))}
    long = (piece for piece in sorted(found) if len(piece) >= _PIECE_CHARACTERS)
    return [Secret(piece) for piece in long if not _HOST_NAME.fullmatch(piece)]


def _needed(table: "_Table", name: str, env: Mapping[str, str]) -> Secret:
    found = _given(table, name, env)
    if found is None:
        raise table.error(name, f"exactly one of {name}, {name}Env and {name}File has to be given")
    return found


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


def _given(table: "_Table", name: str, env: Mapping[str, str]) -> Secret | None:
    """A word that may be secret: `NAME`, `NAMEEnv` or `NAMEFile`; None when none of them is there."""
    sources = [key for key in (name, f"{name}Env", f"{name}File") if table.has(key)]
    if not sources:
        return None
    if len(sources) > 1:
        raise table.error(sources[1], f"only one of {name}, {name}Env and {name}File can be given")
    return _secret(table, sources[0], env, token=True, what=f"holds no {name}")


def _secret(
    table: "_Table", source: str, env: Mapping[str, str], *, token: bool, what: str = "holds no token's secret"
) -> Secret:
    given = table.text(source)
    if source.endswith("Env"):
        if not env.get(given):
            raise table.error(source, f"the environment variable {given} is not set")
        given = env[given]
    elif source.endswith("File"):
        path = table.folder(env) / given  # an absolute path stays what it is
        try:
            given = path.read_text(encoding="utf-8")
        except OSError as error:
            raise table.error(source, f"{path} can't be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise table.error(
                source, f"{path} holds no text; put the token's secret or the password into it, alone"
            ) from error
    if not token:
        return Secret(given.rstrip("\r\n"))  # a password may hold anything but the line break of its file
    # It becomes part of a header: a blank or a line break in it would be an error of the wire that no one understands.
    secret = given.strip()
    if not re.fullmatch("[!-~]+", secret):
        raise table.error(source, f"{what}: one word of printable ASCII, alone")
    return Secret(secret)


class _Table:
    """One TOML table with typed, named access, so that every mistake names the file and the key."""

    def __init__(self, content: Mapping[str, object], file: str, path: str) -> None:
        self._content, self._file, self._path = content, file, path
        self._asked: set[str] = set()

    def error(self, key: str, problem: str) -> SettingsError:
        return SettingsError(f"{self._file}: {self._path}{key}: {problem}")

    def folder(self, env: Mapping[str, str]) -> Path:
        """Where files with relative names are: what systemd's LoadCredential= hands over, else beside the settings file."""
        return Path(env.get("CREDENTIALS_DIRECTORY") or Path(self._file).parent)

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._content

    def text(self, key: str, default: str | None = None) -> str:
        self._asked.add(key)
        value = self._content.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if not isinstance(value, str):
            raise self.error(key, f"has to be a string, not {type(value).__name__}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        self._asked.add(key)
        value = self._content.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, "has to be a list of strings")
        return tuple(str(item) for item in value)

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(key, default)
        if value not in allowed:
            raise self.error(key, f"{value!r} is not known; one of {', '.join(allowed)}")
        return value

    def number(self, key: str, default: float, *, least: float) -> float:
        self._asked.add(key)
        value = self._content.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
            raise self.error(key, f"has to be a number of at least {least:g}")
        return float(value)

    def raw(self, key: str) -> Mapping[str, object] | None:
        """A table as it is written, None when it is not there."""
        self.table(key)  # says so when it is none
        value = self._content.get(key)
        return value if isinstance(value, dict) else None

    def names(self) -> tuple[str, ...]:
        return tuple(self._content)

    def table(self, key: str) -> "_Table":
        self._asked.add(key)
        value = self._content.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, "has to be a table")
        return _Table(value, self._file, f"{self._path}{key}.")

    def holds_table(self, key: str) -> bool:
        return isinstance(self._content.get(key), dict)

    def tables(self, key: str) -> dict[str, "_Table"]:
        group = self.table(key)
        return {name: group.table(name) for name in group.names()}

    def refuse_unknown(self) -> None:
        unknown = sorted(set(self._content) - self._asked)
        if unknown:
            raise self.error(unknown[0], f"is not a setting; known here: {', '.join(sorted(self._asked))}")
