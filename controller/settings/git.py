"""A Git repository as the source of manifests, what wakes it, and where the status of commits is told.

Read by `whole`; used by `sources.git` and `report`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.settings.table import Secret, Table, file_of, given
from controller.settings.targets import Target, read_target

_LOCATION = re.compile(
    r"https://(?P<login>[^/@]*@)?[A-Za-z0-9.\[\]:-]+/\S+|ssh://([\w.-]+@)?[A-Za-z0-9.\[\]:][A-Za-z0-9.\[\]:-]*/\S+|"
    r"[\w.-]+@[A-Za-z0-9.][A-Za-z0-9.-]*:(?!/?-)\S+|file:///\S+"
)


_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*")


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


def read_git(table: Table, env: Mapping[str, str], *, secrets: bool) -> GitSettings:
    """The table `source.git`. Without `secrets` nothing that would need one is read."""
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
        token=given(table, "token", env) if secrets else None,
        ssh_key=file_of(table, "sshKeyFile", env),
        known_hosts=file_of(table, "knownHostsFile", env),
        ca_file=file_of(table, "caFile", env),
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


def _verify(table: Table, env: Mapping[str, str]) -> VerifySettings:
    verify = VerifySettings(
        file_of(table, "gpgKeyringFile", env),
        file_of(table, "sshAllowedSignersFile", env),
        file_of(table, "sshRevokedKeysFile", env),
    )
    if (verify.gpg_keyring is None) == (verify.ssh_allowed_signers is None):
        raise table.error("gpgKeyringFile", "exactly one of gpgKeyringFile and sshAllowedSignersFile has to be given")
    table.refuse_unknown()
    return verify


def _wake_up(table: Table, env: Mapping[str, str]) -> WakeUpSettings:
    kind = table.choice("kind", ("github", "gitlab", "gitea", "generic"), "generic")
    secret = given(table, "secret", env)
    if secret is None or len(secret.reveal()) < 16:
        raise table.error(
            "secretFile", "exactly one of secretFile, secretEnv and secret has to be given, 16 characters or more"
        )
    table.refuse_unknown()
    return WakeUpSettings(kind, secret)


def _commit_status(table: Table, env: Mapping[str, str]) -> CommitStatusSettings:
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
