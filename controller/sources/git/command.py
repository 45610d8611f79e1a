"""The git program, kept on a short leash: nothing of the machine's or the repository's own settings takes part.

Used by the other modules of this folder; nobody else runs git. Secrets reach it through a pipe that the askpass helper reads, and
keys by the name of a file: neither is in an argument, in a variable or in the URL.
"""

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.model.errors import DroverError, Rejected, Retry
from controller.model.reasons import Why
from controller.settings import GitSettings

OUTPUT_BYTES = 64 * 1024 * 1024
"""The most that is read of what git says, unless somebody asks for more."""
_TOLD_CHARACTERS = 300
_REAP_SECONDS = 5.0
_HANDED_ON = ("PATH", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
_ASKPASS = """\
#!/bin/sh
case "$1" in
Username*) printf '%s\\n' "$DROVER_GIT_USERNAME" ;;
*) cat "/dev/fd/$DROVER_GIT_PIPE" ;;
esac
"""
# The shell sets the limit that git itself lacks: no file of more than so many half KiB. `exec` leaves nothing of it behind.
_LIMITED = ("/bin/sh", "-c", 'ulimit -f "$1" && ulimit -c 0 && shift && exec "$@"', "sh")
_FIXED = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "credential.helper": "",
    "fetch.fsckObjects": "true",
    "transfer.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",
    "transfer.bundleURI": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "http.sslVerify": "true",
    "protocol.version": "2",
    "protocol.allow": "never",
}

# What git, curl and ssh say when the server or the way to it is at fault; the first that fits counts.
_REMOTE: tuple[tuple[str, Why], ...] = (
    (r"No space left|quota exceeded|unable to (create|write)", Why.GIT_FAILED),
    (r"signal 25|File too large|file size limit", Why.REVISION_TOO_LARGE),
    (r"Host key verification failed|HOST IDENTIFICATION HAS CHANGED|host key is known", Why.SOURCE_NOT_TRUSTED),
    (r"certificate|SSL: no alternative|TLS connect error|SSL_ERROR", Why.SOURCE_NOT_TRUSTED),
    (r"fsck error|fsck_error|error in (tree|commit|tag|blob)|object corrupt|badTree|hasDot", Why.UNSAFE_TREE),
    (r"[Rr]epository not found|repository '.*' not found|does not appear to be a git repo", Why.REPOSITORY_NOT_FOUND),
    (r"not found: did you run|returned error: 404|project .* could not be found", Why.REPOSITORY_NOT_FOUND),
    (
        r"Authentication failed|could not read (Username|Password)|Permission denied|returned error: 40[13]",
        Why.SOURCE_AUTH_FAILED,
    ),
    (r"access denied|HTTP Basic: Access denied|terminal prompts disabled", Why.SOURCE_AUTH_FAILED),
    (r"couldn't find remote ref|no such remote ref|not our ref", Why.REF_MISSING),
    (r"returned error: 30", Why.REPOSITORY_NOT_FOUND),
    (r"resolve host|[Cc]onnect|timed out|too slow|early EOF|hung up|reset by peer|broken pipe", Why.SOURCE_UNREACHABLE),
    (r"returned error: 5|unable to access|Could not read from remote|RPC failed|disconnect", Why.SOURCE_UNREACHABLE),
    # All that is left of an index-pack that the limit has ended.
    (r"invalid index-pack output", Why.REVISION_TOO_LARGE),
)


@dataclass(frozen=True, slots=True)
class Ran:
    """How git ended. errors: what it said, printable and without secrets."""

    code: int
    output: bytes
    errors: str

    @property
    def told(self) -> str:
        """As much of what it said as fits into a sentence."""
        return self.errors[:_TOLD_CHARACTERS]

    @property
    def text(self) -> str:
        """The output as text, whatever is in it."""
        return self.output.decode(errors="replace").strip()


class Git:
    """Runs git with a home of its own below `folder`, about the mirror there."""

    def __init__(self, settings: GitSettings, folder: Path) -> None:
        self._settings = settings
        self.home = folder / "home"
        self.mirror = folder / "mirror.git"
        self.extra: dict[str, str] = {}
        """Further configuration: how signatures are checked."""

    def prepare(self) -> None:
        """Make home and mirror where there are none. Raises OSError."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Signatures are verified from files; the system's own folder for those may be missing or read-only.
        shutil.rmtree(self.home / "tmp", ignore_errors=True)
        (self.home / "tmp").mkdir(mode=0o700)
        helper = self.home / "askpass"
        if not helper.exists() or helper.read_text(encoding="utf-8") != _ASKPASS:
            made = self.home / "askpass.new"
            made.write_text(_ASKPASS, encoding="utf-8")
            made.chmod(0o700)
            made.replace(helper)

    async def run(
        self, *arguments: str, data: bytes = b"", codes: tuple[int, ...] = (0,), at_most: int = OUTPUT_BYTES
    ) -> Ran:
        """Run git about the mirror. Raises Rejected(GIT_FAILED) for another exit code than `codes`."""
        ran = await self._run(("--git-dir", str(self.mirror), *arguments), data, at_most, pipe=None)
        if ran.code not in codes:
            raise Rejected(Why.GIT_FAILED, f"git {arguments[0]} failed (exit code {ran.code}): {ran.told or 'no word'}")
        return ran

    async def ask(self, *arguments: str) -> Ran:
        """Run git with the remote's server on the other side. Raises DroverError with what is wrong there."""
        with _secret_pipe(self._settings) as pipe:
            ran = await self._run(("--git-dir", str(self.mirror), *arguments), b"", OUTPUT_BYTES, pipe=pipe)
        if ran.code:
            raise _failed(ran, arguments[0], self._settings)
        return ran

    async def _run(self, arguments: tuple[str, ...], data: bytes, at_most: int, *, pipe: int | None) -> Ran:
        limit = self._settings.max_fetch_mib * 2048
        options = [part for key, value in self._config() for part in ("-c", f"{key}={value}")]
        try:
            process = await asyncio.create_subprocess_exec(
                *_LIMITED,
                str(limit),
                "git",
                *options,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment(pipe),
                cwd="/",
                pass_fds=() if pipe is None else (pipe,),
                start_new_session=True,
            )
        except OSError as error:
            raise Retry(Why.GIT_FAILED, f"git can't be run: {error}") from error
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                output, errors = await _talk(process, data, at_most)
                code = await process.wait()
        except TimeoutError:
            text = f"git {arguments[2]} took longer than {self._settings.timeout_seconds:g} s"
            raise Retry(Why.SOURCE_UNREACHABLE if pipe is not None else Why.GIT_FAILED, text) from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REAP_SECONDS):
                    await process.wait()
        if len(output) > at_most:
            raise Rejected(Why.REVISION_TOO_LARGE, f"git {arguments[2]} says more than {at_most // 1024 // 1024} MiB")
        return Ran(code, output, _printable(errors, self._settings))

    def _config(self) -> Iterator[tuple[str, str]]:
        yield from _FIXED.items()
        yield f"protocol.{self._settings.protocol}.allow", "always"
        if self._settings.ca_file is not None:
            yield "http.sslCAInfo", str(self._settings.ca_file)
        yield from self.extra.items()

    def _environment(self, pipe: int | None) -> dict[str, str]:
        settings = self._settings
        inherited = {key: os.environ[key] for key in _HANDED_ON if key in os.environ}
        return {
            **inherited,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "GNUPGHOME": str(self.home / "gnupg"),
            "LC_ALL": "C",
            "TZ": "UTC",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": settings.protocol,
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_SSH_VARIANT": "ssh",
            "GIT_SSH_COMMAND": _ssh(settings),
            "GIT_ASKPASS": str(self.home / "askpass")
            if settings.token is not None and pipe is not None
            else "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            "SSH_ASKPASS_REQUIRE": "never",
            "DROVER_GIT_USERNAME": settings.username,
            "DROVER_GIT_PIPE": str(pipe) if pipe is not None else "",
        }


def _ssh(settings: GitSettings) -> str:
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": str(settings.ssh_key or "/dev/null"),
        "UserKnownHostsFile": str(settings.known_hosts or "/dev/null"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "PasswordAuthentication": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "15",
    }
    return " ".join(
        ["ssh", "-F", "/dev/null", *(f"-o {shlex.quote(f'{key}={value}')}" for key, value in options.items())]
    )


@contextlib.contextmanager
def _secret_pipe(settings: GitSettings) -> Iterator[int]:
    """The reading end of a pipe with the token in it: read once, by the askpass helper, and nowhere to be seen."""
    reading, writing = os.pipe()
    try:
        secret = settings.token.reveal() if settings.token is not None else ""
        os.write(writing, secret.encode())
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


async def _talk(process: asyncio.subprocess.Process, data: bytes, at_most: int) -> tuple[bytes, bytes]:
    """Feed standard input; read both outputs, of the first no more than `at_most` and a byte."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr

    async def feed() -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(data)
            await stdin.drain()
        stdin.close()

    async def read(stream: asyncio.StreamReader, most: int) -> bytes:
        kept = bytearray()
        while chunk := await stream.read(65536):
            kept += chunk[: most - len(kept)]
            if stream is stdout and len(kept) >= most:
                process.kill()  # else it would wait for us to read on
                break
        return bytes(kept)

    _, output, errors = await asyncio.gather(feed(), read(stdout, at_most + 1), read(stderr, 16384))
    return output, errors


def _failed(ran: Ran, verb: str, settings: GitSettings) -> DroverError:
    why = next((why for pattern, why in _REMOTE if re.search(pattern, ran.errors)), Why.GIT_FAILED)
    told = ran.told or f"git {verb} ended with exit code {ran.code} and said nothing"
    if why is Why.REVISION_TOO_LARGE:
        told = f"the fetch brings more than maxFetchMiB ({settings.max_fetch_mib}) allows"
    kind = Retry if why is Why.SOURCE_UNREACHABLE else Rejected
    return kind(why, f"{settings.url}: {told}")


def _printable(errors: bytes, settings: GitSettings) -> str:
    text = errors.decode(errors="replace")
    if settings.token is not None:
        text = text.replace(settings.token.reveal(), "****")
    lines = [" ".join("".join(c if c.isprintable() else " " for c in line).split()) for line in text.splitlines()]
    told = [line for line in lines if line and not line.startswith(("hint:", "warning: redirecting", "@@@"))]
    return "; ".join(told)
