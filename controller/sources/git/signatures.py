"""Who signed: commits and tags are held against the keys that the machine's settings trust.

Used by `source`. git does the verifying with gpg or ssh-keygen; here is decided what its verdicts are worth.
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, SubprocessError, run

from controller.model.errors import Rejected
from controller.model.reasons import Why
from controller.model.revision import Revision
from controller.settings import VerifySettings
from controller.sources.git.command import Git, Ran

_GPG_CONFIG = "batch\nno-autostart\nno-auto-key-retrieve\nno-auto-key-locate\ntrust-model always\n"
# Every key of the keyring was put there to be trusted; what expired or was revoked is told by gpg all the same.
_IMPORT_SECONDS = 30.0
_VALID_BEFORE = re.compile(r'valid-before="?(\d{8})(\d{4})?(\d{2})?(Z)?"?', re.IGNORECASE)
_OF_TAG = re.compile(r'Good "git" signature for (?P<who>\S+) with \S+ key (?P<key>\S+)|GOODSIG \S+ (?P<name>.+)')
_GPG_KEY = re.compile(r"VALIDSIG (\S+)")
FIELDS = ("%H", "%an", "%ae", "%ct", "%s", "%G?", "%GS", "%GF")
"""What is asked of a commit whose signature counts; without verification the first five."""


@dataclass(frozen=True, slots=True)
class _Signed:
    """What git says of one commit."""

    revision: Revision
    verdict: str
    """git's letter: G is good; all others are not (git: pretty-formats, `%G?`)."""


class Signatures:
    """Verifies what git has fetched; without settings it reads who made a commit, and asks for nothing."""

    def __init__(self, git: Git, settings: VerifySettings | None) -> None:
        self._git = git
        self._settings = settings
        self._keys = ""  # digest of the keys that were set up last

    @property
    def wanted(self) -> bool:
        """Whether signatures are asked for."""
        return self._settings is not None

    def prepare(self, now: float) -> None:
        """Set the trusted keys up, anew when their files have changed. `now`: epoch seconds. Raises Rejected, OSError."""
        if self._settings is None:
            return
        if self._settings.ssh_allowed_signers is not None:
            self._git.extra = self._of_ssh(self._settings.ssh_allowed_signers, self._settings.ssh_revoked_keys, now)
        else:
            assert self._settings.gpg_keyring is not None
            self._git.extra = self._of_gpg(self._settings.gpg_keyring)

    def _of_ssh(self, allowed: Path, revoked: Path | None, now: float) -> dict[str, str]:
        """An expired key is left out: git itself would hold it against the date that the commit claims to have."""
        kept = [line for line in allowed.read_text(encoding="utf-8").splitlines() if not _expired(line, now)]
        signers = self._git.home / "allowed_signers"
        signers.write_text("\n".join(kept) + "\n", encoding="utf-8")
        extra = {"gpg.program": "/bin/false", "gpg.ssh.allowedSignersFile": str(signers)}
        if revoked is not None:
            revoked.read_bytes()  # ssh-keygen would take a list that is not there for one without keys
            extra["gpg.ssh.revocationFile"] = str(revoked)
        return {
            **extra,
            "gpg.ssh.program": "ssh-keygen",
            "gpg.x509.program": "/bin/false",
            "gpg.minTrustLevel": "fully",
        }

    def _of_gpg(self, keyring: Path) -> dict[str, str]:
        digest = hashlib.sha256(keyring.read_bytes()).hexdigest()
        home = self._git.home / "gnupg"
        if digest != self._keys:
            shutil.rmtree(home, ignore_errors=True)  # not added to: a key that was taken out has to go
            home.mkdir(mode=0o700)
            (home / "gpg.conf").write_text(_GPG_CONFIG, encoding="utf-8")
            _import(keyring, home)
            self._keys = digest
        return {
            "gpg.program": "gpg",
            "gpg.ssh.program": "ssh-keygen",  # which has to be there: without it git ends instead of saying no
            "gpg.ssh.allowedSignersFile": "/dev/null",
            "gpg.x509.program": "/bin/false",
            "gpg.minTrustLevel": "fully",
        }

    async def commit(self, commit: str) -> Revision:
        """Who made a commit and, if that is asked for, who signed it; the verdict is not judged."""
        [signed] = await self._read("-1", commit)
        return signed.revision

    async def judge(self, base: str | None, tip: str) -> Revision:
        """Verify `tip`, and with a `base` everything that is reachable from it but not from `base`. Raises Rejected."""
        if not self.wanted:
            return await self.commit(tip)
        found = await self._read("-1", tip)
        if base is not None:
            found += await self._read(f"{base}..{tip}")
        for signed in found:
            if why := _objection(signed):
                raise Rejected(*why)
        return found[0].revision

    async def judge_tag(self, name: str, tag: str) -> None:
        """Verify the tag object `tag`, which has to carry its own name: a signed tag of old must not stand in. Raises Rejected."""
        if not self.wanted:
            return
        kind = (await self._git.run("cat-file", "-t", tag)).text
        if kind != "tag":
            raise Rejected(
                Why.NOT_SIGNED, f"tag {name} is a mere name of a commit; a signed one is asked for (git tag -s)"
            )
        ran = await self._git.run("verify-tag", "--raw", tag, codes=(0, 1, 128))
        said = f"{ran.text}\n{ran.errors}"
        if ran.code != 0 or not _OF_TAG.search(said):
            raise Rejected(*_objection_to_tag(name, said))
        head = (await self._git.run("cat-file", "tag", tag)).text.partition("\n\n")[0]
        if f"tag {name}" not in head.splitlines():
            raise Rejected(Why.BAD_SIGNATURE, f"tag {name} was signed under another name: somebody has renamed it")

    async def _read(self, *what: str) -> list[_Signed]:
        fields = FIELDS if self.wanted else FIELDS[:5]
        ran = await self._git.run(
            "log", "-z", f"--format=tformat:{'%x00'.join(fields)}", "--no-show-signature", *what, "--"
        )
        return _records(ran, len(fields))


def _records(ran: Ran, fields: int) -> list[_Signed]:
    parts = ran.output.decode(errors="replace").split("\0")[:-1]
    found = []
    for start in range(0, len(parts), fields):
        commit, author, email, at, subject, *signed = (_plain(part) for part in parts[start : start + fields])
        verdict, signer, key = signed or ("", "", "")
        good = verdict == "G"
        revision = Revision(commit, author, email, float(at), subject, signer if good else "", key if good else "")
        found.append(_Signed(revision, verdict))
    return found


def _plain(text: str) -> str:
    """Text of strangers: one line, printable, not endless."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


_VERDICTS = {
    "N": (Why.NOT_SIGNED, "is not signed"),
    "B": (Why.BAD_SIGNATURE, "has a signature that does not belong to it: it was changed after signing, or forged"),
    "U": (Why.SIGNER_NOT_TRUSTED, "is signed with a key that is not among the trusted ones"),
    "E": (Why.SIGNER_NOT_TRUSTED, "is signed with a key that is not among the trusted ones"),
    "X": (Why.SIGNER_NOT_TRUSTED, "has a signature that has expired"),
    "Y": (Why.SIGNER_NOT_TRUSTED, "is signed with a key that has expired"),
    "R": (Why.SIGNER_NOT_TRUSTED, "is signed with a key that was revoked"),
}


def _objection(signed: _Signed) -> tuple[Why, str] | None:
    if signed.verdict == "G" and signed.revision.key:
        return None
    why, what = _VERDICTS.get(signed.verdict, (Why.SIGNER_NOT_TRUSTED, "has a signature that git can't judge"))
    return why, f"commit {signed.revision.short} by {signed.revision.author} ({signed.revision.subject}) {what}"


def _objection_to_tag(name: str, said: str) -> tuple[Why, str]:
    for pattern, letter in (
        ("no signature found|is not signed", "N"),
        (r"BADSIG|incorrect signature|Could not verify|Signature verification failed: incorrect", "B"),
        ("EXPSIG", "X"),
        ("EXPKEYSIG", "Y"),
        ("REVKEYSIG", "R"),
    ):
        if re.search(pattern, said):
            why, what = _VERDICTS[letter]
            return why, f"tag {name} {what}"
    return _VERDICTS["U"][0], f"tag {name} {_VERDICTS['U'][1]}"


def _expired(line: str, now: float) -> bool:
    """Whether the validity of a line of allowed signers is over (ssh-keygen(1): YYYYMMDD[HHMM[SS]][Z], else local time)."""
    found = _VALID_BEFORE.search(line)
    if found is None:
        return False
    day, minute, second, zulu = found.groups()
    try:
        naive = datetime.strptime(day + (minute or "0000") + (second or "00"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - zone below
    except ValueError:
        return False  # ssh-keygen says no to such a line by itself
    until = naive.replace(tzinfo=UTC) if zulu else naive.astimezone()
    return until.timestamp() <= now


def _import(keyring: Path, home: Path) -> None:
    """Fill a home of gpg's with the trusted keys; only their public halves are taken. Raises Rejected."""
    command = ["gpg", "--homedir", str(home), "--batch", "--no-autostart", "--import", str(keyring)]
    try:
        done = run(  # noqa: S603 - our own words, and no shell
            command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, timeout=_IMPORT_SECONDS, check=False
        )
    except (OSError, SubprocessError) as error:
        raise Rejected(Why.GIT_FAILED, f"gpg can't be run to read {keyring}: {error}") from error
    if done.returncode:
        told = _plain(done.stdout.decode(errors="replace"))
        raise Rejected(Why.GIT_FAILED, f"{keyring} holds no keys that gpg can read (gpg --export them): {told}")
