"""What a commit holds, put on disk: looked through before the first byte is written, whole or not at all.

Used by `source`. Nothing of git's own checkout takes part: no filter, no attribute, no hook, no submodule.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from controller.model.errors import Rejected
from controller.model.reasons import Why
from controller.settings import GitSettings
from controller.sources.folder import SUFFIXES
from controller.sources.git.command import Git

_LINK, _SUBMODULE = "120000", "160000"
_LONGEST_LINK = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or link of a commit; size in bytes."""

    mode: str
    blob: str
    size: int
    path: PurePosixPath

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == _LINK


async def entries(git: Git, commit: str, settings: GitSettings) -> list[Entry]:
    """The manifests and links below the path. Raises Rejected: nothing there, too much, or something that can't be safe."""
    below = ("--", settings.path) if settings.path else ()
    if settings.path:
        found = await git.run("cat-file", "-e", f"{commit}:{settings.path}", codes=(0, 1, 128))
        if found.code:
            raise Rejected(Why.PATH_MISSING, f"commit {commit[:12]} has nothing at {settings.path}")
    ran = await git.run("ls-tree", "-r", "-z", "--long", "--full-tree", commit, *below)
    wanted = [entry for entry in _listed(ran.output) if _counts(entry, settings.path)]
    if len(wanted) > settings.max_files:
        text = f"commit {commit[:12]} has {len(wanted)} manifests; maxFiles is {settings.max_files}"
        raise Rejected(Why.REVISION_TOO_LARGE, text)
    mib = sum(entry.size for entry in wanted) / 1024 / 1024
    if mib > settings.max_tree_mib:
        text = f"the manifests of commit {commit[:12]} take {mib:.1f} MiB; maxTreeMiB is {settings.max_tree_mib}"
        raise Rejected(Why.REVISION_TOO_LARGE, text)
    return wanted


async def contents(git: Git, wanted: Sequence[Entry]) -> list[bytes]:
    """What is in the entries, in their order. Raises DroverError."""
    if not wanted:
        return []
    size = sum(entry.size + 128 for entry in wanted)
    asked = "".join(f"{entry.blob}\n" for entry in wanted).encode()
    ran = await git.run("cat-file", "--batch", data=asked, at_most=size)
    found, at = [], 0
    for entry in wanted:
        end = ran.output.index(b"\n", at)
        at = end + 1 + entry.size
        found.append(ran.output[end + 1 : at])
        at += 1
    return found


def write(folder: Path, wanted: Sequence[Entry], found: Sequence[bytes], path: str) -> None:
    """Write it all below `folder`, which must not exist, and sync it. Raises Rejected(UNSAFE_TREE), OSError."""
    try:
        folder.mkdir(parents=True, mode=0o700)
        if not wanted or PurePosixPath(path) not in {entry.path for entry in wanted}:
            (folder / path).mkdir(parents=True, exist_ok=True)
        # Links last: no file can be written through one.
        for entry, content in sorted(zip(wanted, found, strict=True), key=lambda pair: pair[0].is_link):
            place = folder / entry.path
            place.parent.mkdir(parents=True, exist_ok=True)
            if entry.is_link:
                place.symlink_to(os.fsdecode(content))
            else:
                _write_file(place, content)
        _refuse_links_that_leave(folder, wanted)
        for below in {folder, *(folder / entry.path.parent for entry in wanted)}:
            sync(below)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sync(folder: Path) -> None:
    """Have the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_file(place: Path, content: bytes) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _refuse_links_that_leave(folder: Path, wanted: Iterable[Entry]) -> None:
    root = os.path.realpath(folder)
    for entry in wanted:
        if not entry.is_link:
            continue
        real = os.path.realpath(folder / entry.path)
        if os.path.commonpath((root, real)) != root:
            raise Rejected(Why.UNSAFE_TREE, f"{entry.path} is a link that leaves the checked-out manifests")


def _listed(output: bytes) -> Iterator[Entry]:
    """Entries as `git ls-tree -rz --long` lists them: MODE TYPE OBJECT SIZE<tab>PATH."""
    for record in output.split(b"\0"):
        head, tab, name = record.partition(b"\t")
        if not tab:
            continue
        mode, _, blob, size = head.split()
        path = os.fsdecode(name)
        parts = path.split("/")
        if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
            raise Rejected(Why.UNSAFE_TREE, f"the revision holds the impossible path {path!a}")
        if mode.decode() != _SUBMODULE:
            yield Entry(mode.decode(), blob.decode(), int(size), PurePosixPath(path))


def _counts(entry: Entry, path: str) -> bool:
    """What a folder of manifests would be read for: nothing hidden below the path, and of files only manifests."""
    if str(entry.path) == path:
        return True
    below = entry.path.relative_to(path) if path else entry.path
    if any(part.startswith(".") for part in below.parts):
        return False
    return entry.is_link if entry.size <= _LONGEST_LINK and entry.is_link else entry.path.name.endswith(SUFFIXES)


def discard(folder: Path, keep: Iterable[Path]) -> None:
    """Remove what lies in `folder` but for `keep`."""
    kept = {path.name for path in keep}
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
