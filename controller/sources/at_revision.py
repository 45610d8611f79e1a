"""A folder of manifests as a revision of a local Git repository has it, read without touching the work tree.

Used by `drover plan --from REV --to REV`, on a machine where somebody works or in CI. The daemon's own source is `sources.git`.
"""

import os
import posixpath
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.model.errors import Rejected
from controller.model.reasons import Why
from controller.sources.base import Snapshot
from controller.sources.folder import SUFFIXES, FolderSource

MOST_BYTES = 64 * 1024 * 1024
_SECONDS = 60.0
_LINK = "120000"
_GIT = (
    *("git", "--no-pager", "--literal-pathspecs"),
    # Objects are read and nothing else: whoever owns the clone, no setting of it has anything to run or to fetch.
    *(
        "-c",
        "safe.directory=*",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "protocol.allow=never",
    ),
)


@dataclass(frozen=True, slots=True)
class Revision:
    """One commit. `name` is what was asked for."""

    name: str
    commit: str

    def __str__(self) -> str:
        return self.commit[:12] if self.name.startswith(self.commit[:7]) else f"{self.name} ({self.commit[:12]})"


def find(repo: Path, name: str) -> Revision:
    """The commit that a branch, a tag or a number means. Raises Rejected(NOT_FOUND)."""
    try:
        text = _git(repo, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode()
    except Rejected as error:
        if error.why is not Why.NOT_FOUND:
            raise
        try:
            shallow = _git(repo, "rev-parse", "--is-shallow-repository").strip() == b"true"
        except Rejected:
            raise Rejected(Why.NOT_FOUND, f"{repo.resolve()} is in no Git repository; --repo names one") from None
        hint = "; this clone is shallow: fetch more of it (`fetch-depth: 0`)" if shallow else ""
        raise Rejected(Why.NOT_FOUND, f"there is no revision {name!r} in the Git repository {repo}{hint}") from None
    return Revision(name, text.strip())


def read(repo: Path, revision: Revision, path: str = "") -> Snapshot:
    """What a source would read of `path` (below the top of the repository) at that revision. Raises Rejected."""
    with tempfile.TemporaryDirectory(prefix="drover-") as folder:
        root = Path(folder)
        files = list(_files(repo, revision))
        contents = _contents(repo, [object_id for _, object_id, _ in files])
        for (name, _, mode), content in zip(files, contents, strict=True):
            place = root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if mode == _LINK:
                place.symlink_to(_inside(name, content.decode(errors="replace")))
            else:
                place.write_bytes(content)
        below = root / path
        if not below.exists():
            raise Rejected(Why.NOT_FOUND, f"there are no manifests in {path or 'the repository'} at {revision}")
        return FolderSource(below, watch=False, in_thread=False, shown_below=root).read_now()


def _files(repo: Path, revision: Revision) -> Iterator[tuple[str, str, str]]:
    """Name, object and mode of every manifest and every link: links may lead out of the folder that is read."""
    listed = _git(repo, "ls-tree", "-r", "-z", "-l", "--full-tree", revision.commit)
    size = 0
    for entry in listed.split(b"\0")[:-1]:
        head, _, raw = entry.partition(b"\t")
        mode, kind, object_id, length = head.decode().split()
        name = os.fsdecode(raw)
        if kind != "blob" or not (mode == _LINK or name.endswith(SUFFIXES)):
            continue
        size += int(length)
        if size > MOST_BYTES:
            raise Rejected(Why.INVALID, f"{revision} has more than {MOST_BYTES >> 20} MiB of manifests")
        yield name, object_id, mode


def _inside(name: str, target: str) -> str:
    end = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if target.startswith("/") or end == ".." or end.startswith("../"):
        raise Rejected(Why.INVALID, f"the link {name} leads out of the repository")
    return target


def _contents(repo: Path, object_ids: list[str]) -> Iterator[bytes]:
    answer = _git(repo, "cat-file", "--batch", asks="".join(f"{each}\n" for each in object_ids).encode())
    at = 0
    for _ in object_ids:
        line = answer.index(b"\n", at)
        length = int(answer[at:line].split()[2])
        yield answer[line + 1 : line + 1 + length]
        at = line + length + 2


def _git(repo: Path, *words: str, asks: bytes = b"") -> bytes:
    """What git says. Raises Rejected: NOT_FOUND when it says no, INVALID when it can't be asked."""
    kept = {name: os.environ[name] for name in ("PATH", "GIT_DIR") if name in os.environ}
    alone = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    env = {**kept, **alone, "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        ran = subprocess.run(  # noqa: S603 - fixed words, and names behind --end-of-options or --
            [*_GIT, *words], cwd=repo, input=asks, env=env, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Rejected(Why.INVALID, f"git can't be asked about {repo}: {error}") from error
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        raise Rejected(Why.NOT_FOUND, said[-1] if said else f"git {words[0]} found nothing in {repo}")
    return ran.stdout
