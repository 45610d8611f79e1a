"""A folder of manifests (or a single file), read whole.

Constructed by `app` and `rehearse`; read by `loop.daemon`, and through `validate` by the command line.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controller import yamlpos
from controller.model.ids import ObjectRef
from controller.sources.base import Snapshot
from controller.sources.watch import Watch
from controller.specs import InvalidError, Problem, Resource, identify, parse
from controller.yamlpos import Document, Position

SUFFIXES = (".yaml", ".yml")
MAX_FILE_BYTES = 4 * 1024 * 1024
RESCAN_SECONDS = 30.0
SETTLE_SECONDS = 0.1
"""A change is believed when the folder reads the same twice with this pause in between: editors write in several steps."""
_SETTLE_ROUNDS = 15
_READ_ROUNDS = 5


class _ChangedMeanwhileError(Exception):
    """The folder is not what it was when reading began."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What one file says."""

    digest: str
    objects: tuple[Resource, ...]
    problems: tuple[Problem, ...]
    seen: tuple[tuple[ObjectRef, Position], ...]
    """Every object that the file has, good or not, with its place."""
    nameless: bool
    """Something in it does not say which object it is."""


class FolderSource:
    """Reads `path` whole: every `*.yaml` and `*.yml` below it, hidden and temporary files left out.

    `watch=False` and `in_thread=False` are for virtual time, where nothing may happen beside the loop. Files are named as they
    are found, with `shown_below` as they are called in that folder.
    """

    def __init__(
        self, path: Path | str, *, watch: bool = True, in_thread: bool = True, shown_below: Path | None = None
    ) -> None:
        self._path = Path(path)
        self._shown_below = shown_below
        self._wake = asyncio.Event()
        self._watch = Watch(self._path, self._wake) if watch else None
        self._in_thread = in_thread
        self._parsed: dict[str, _Parsed] = {}
        self._last: Snapshot | None = None

    @property
    def name(self) -> str:
        """The path, as configured."""
        return str(self._path)

    @property
    def view(self) -> None:
        """A folder has no history to tell of."""
        return

    def look_now(self) -> None:
        """End the present wait."""
        self._wake.set()

    def confirm(self, revision: str) -> bool:  # noqa: ARG002 - nothing of a folder ever waits for a word
        """See `Source.confirm`."""
        return False

    async def read(self) -> Snapshot:
        """Read the folder, and after a change again until it has come to rest."""
        if self._watch is not None:
            self._watch.start()
        before = self._last
        found = await self._read_once()
        if self._watch is None:
            return found
        for _ in range(_SETTLE_ROUNDS):
            if before is not None and found.revision == before.revision and found.complete == before.complete:
                break
            await self._pause(SETTLE_SECONDS)
            before, found = found, await self._read_once()
        return found

    async def wait_change(self) -> None:
        """Return after a hint of a change, and without one every `RESCAN_SECONDS`: hints get lost."""
        await self._pause(RESCAN_SECONDS)

    async def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            await self._watch.close()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def _read_once(self) -> Snapshot:
        return await asyncio.to_thread(self.read_now) if self._in_thread else self.read_now()

    def read_now(self) -> Snapshot:
        """Read the folder once, in this thread; anew when it changes underneath."""
        for _ in range(_READ_ROUNDS):
            try:
                self._last = self._read()
            except _ChangedMeanwhileError:
                continue
            return self._last
        return self._unreadable(self._path, "changes faster than it can be read")

    def _unreadable(self, path: Path, what: str, *, empty: bool = False) -> Snapshot:
        problem = Problem(
            Position(self._called(path), 1, 1), "", what, "a readable folder with manifests (*.yaml, *.yml)"
        )
        return Snapshot(
            f"unread-{_digest(what.encode())}", complete=False, objects=(), problems=(problem,), empty=empty
        )

    def _read(self) -> Snapshot:
        real = os.path.realpath(self._path)
        faults: list[Problem] = []
        try:
            kind = self._path.stat().st_mode
        except OSError as error:
            return self._unreadable(self._path, f"cannot be read: {error.strerror}")
        files = sorted(_manifests(self._path, faults)) if stat.S_ISDIR(kind) else [self._path]
        before = [_signature(file) for file in files]
        contents = {self._called(file): _content(file) for file in files}
        if os.path.realpath(self._path) != real or [_signature(file) for file in files] != before:
            raise _ChangedMeanwhileError
        if not files and not faults:
            return self._unreadable(self._path, "holds no manifests", empty=True)
        self._parsed = {file: self._parse(file, content) for file, content in contents.items()}
        return self._assemble(faults)

    def _called(self, path: Path) -> str:
        below = self._shown_below
        return str(path.relative_to(below) if below is not None and path.is_relative_to(below) else path)

    def _parse(self, file: str, content: bytes | str) -> _Parsed:
        if isinstance(content, str):
            return _unread(file, content, "a readable file of manifests")
        digest, known = _digest(content), self._parsed.get(file)
        return known if known is not None and known.digest == digest else _parse(file, content, digest)

    def _assemble(self, faults: list[Problem]) -> Snapshot:
        parsed = self._parsed
        places: dict[ObjectRef, list[Position]] = {}
        for one in parsed.values():
            for ref, place in one.seen:
                places.setdefault(ref, []).append(place)
        twice = {ref: found for ref, found in places.items() if len(found) > 1}
        objects = tuple(r for one in parsed.values() for r in one.objects if r.ref not in twice)
        good = {resource.ref for resource in objects}
        problems = [*faults, *(problem for one in parsed.values() for problem in one.problems), *_duplicates(twice)]
        revision = _digest("\0".join(f"{file}\0{one.digest}" for file, one in parsed.items()).encode())
        if not objects and not problems:
            return self._unreadable(self._path, "holds files, but not one object", empty=True)
        return Snapshot(
            revision,
            complete=not faults,
            objects=objects,
            problems=tuple(sorted(problems, key=lambda problem: (problem.position, problem.field))),
            broken=frozenset(places) - good,
            broken_files=frozenset(file for file, one in parsed.items() if one.nameless),
        )


def _duplicates(twice: dict[ObjectRef, list[Position]]) -> Iterator[Problem]:
    for ref, places in twice.items():
        for place in places:
            others = ", ".join(str(other) for other in places if other != place)
            yield Problem(
                place, "metadata.name", f"{ref} is also at {others}; none of them counts", "a name used once", ref
            )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _signature(file: Path) -> tuple[int, int, int, int]:
    try:
        found = file.stat()
    except OSError:  # `_content` tells what is wrong
        return (0, 0, 0, 0)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _is_manifest(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith((".", "#", "~"))


def _manifests(folder: Path, faults: list[Problem], above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Yield the manifests below `folder`. Links are followed, but not in a circle."""
    try:
        here = folder.stat()
        entries = sorted((entry.name, entry.is_dir()) for entry in os.scandir(folder))
    except FileNotFoundError:
        raise _ChangedMeanwhileError from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        faults.append(Problem(Position(str(folder), 1, 1), "", what, "a readable folder"))
        return
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        return
    for name, is_folder in entries:
        if is_folder and not name.startswith("."):
            yield from _manifests(folder / name, faults, (*above, identity))
        elif not is_folder and _is_manifest(name):
            yield folder / name


def _content(file: Path) -> bytes | str:
    """Return what is in a file, or say why that cannot be told."""
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            return "is not a file"
        if found.st_size > MAX_FILE_BYTES:
            return f"is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB"
        return file.read_bytes()
    except FileNotFoundError:
        if file.is_symlink():
            return "is a link that leads nowhere"
        raise _ChangedMeanwhileError from None
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _unread(file: str, what: str, allowed: str, line: int = 1, column: int = 1) -> _Parsed:
    problem = Problem(Position(file, line, column), "", what, allowed)
    return _Parsed(_digest(what.encode()), (), (problem,), (), nameless=True)


def _is_of_kustomize(document: Document) -> bool:
    """Flux and `kubectl kustomize` want such a file beside the manifests. Known by what it says: a name could hide an object."""
    version = document.value.get("apiVersion") if isinstance(document.value, dict) else None
    return isinstance(version, str) and version.startswith("kustomize.config.k8s.io/")


def _parse(file: str, content: bytes, digest: str) -> _Parsed:
    if not content.strip():
        # What an editor leaves between truncating and writing; a file that is meant to go has to go.
        return _unread(file, "the file is empty", "at least one object, or no such file")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        return _unread(file, "the text is not UTF-8", "UTF-8", line, column)
    stream = yamlpos.read(text, file)
    objects: list[Resource] = []
    problems: list[Problem] = []
    seen: list[tuple[ObjectRef, Position]] = []
    nameless = stream.error is not None
    for document in stream.documents:
        if _is_of_kustomize(document):
            continue
        ref = identify(document)
        nameless |= ref is None
        if ref is not None:
            seen.append((ref, document.position(("metadata", "name"))))
        try:
            objects.append(parse(document))
        except InvalidError as error:
            problems += error.problems
    if stream.error is not None:
        problems.append(Problem(stream.error.position, "", stream.error.problem))
    return _Parsed(digest, tuple(objects), tuple(problems), tuple(seen), nameless)
