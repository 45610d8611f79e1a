"""A bare repository on disk, somebody who pushes to it, and keys to sign with. Used by the tests of the Git source."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.programs import program


@dataclass
class Repository:
    """`bare` is what a server would serve, `work` is a person's clone."""

    folder: Path

    @property
    def bare(self) -> Path:
        return self.folder / "bare.git"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def url(self) -> str:
        return self.bare.as_uri()

    def make(self) -> "Repository":
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.bare)], check=True)
        subprocess.run(["git", "init", "-q", "-b", "main", str(self.work)], check=True)
        self.git("remote", "add", "origin", str(self.bare))
        return self

    def git(self, *arguments: str, **env: str) -> str:
        """Run git as the person who pushes."""
        named = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _PERSON.items()}
        done = subprocess.run(
            ["git", "-C", str(self.work), *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", **named, **env},
        )
        return done.stdout.strip()

    def commit(self, message: str, *options: str, **files: str | None) -> str:
        """Write (or, with None, remove) manifests, commit, push; `__` in names is `/`. Returns the commit."""
        for name, text in files.items():
            path = self.work / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True) if text is None else path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message, *options)
        return self.push()

    def push(self, *options: str) -> str:
        self.git("push", "-q", "--force", "origin", "HEAD:main", *options)
        return self.git("rev-parse", "HEAD")


_PERSON = {"NAME": "Ada", "EMAIL": "ada@example.org"}


class SshKey:
    """A key for signing commits, and the file that trusts it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.file = folder / name
        command = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.file)]
        subprocess.run(command, check=True)

    @property
    def public(self) -> str:
        return " ".join(self.file.with_suffix(".pub").read_text().split()[:2])

    @property
    def options(self) -> tuple[str, ...]:
        """What makes `git` sign with it: to be put before the verb."""
        return ("-c", "gpg.format=ssh", "-c", f"user.signingKey={self.file}", "-c", "commit.gpgSign=true")


class GpgKey:
    """A GnuPG home with one key."""

    def __init__(self, folder: Path, name: str) -> None:
        self.home = folder
        folder.mkdir(mode=0o700)
        self.gpg("--quick-gen-key", f"{name} <{name}@example.org>", "ed25519", "sign", "never")

    def gpg(self, *arguments: str) -> bytes:
        command = [
            program("gpg"),
            "--homedir",
            str(self.home),
            "--batch",
            "--yes",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        return subprocess.run([*command, *arguments], check=True, capture_output=True).stdout

    def export(self, to: Path) -> Path:
        to.write_bytes(self.gpg("--export"))
        return to

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "gpg-agent"], check=False)
