"""Hints that a folder may have changed. Only hints: whoever is woken reads everything again.

Started by `folder`. Watched are the folder with all below it, and the parent of the path and of every link on the way to it: a
link that is swapped (git-sync, `..data` of Kubernetes volumes) makes no event at the folder itself.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import structlog
from watchfiles import Change, awatch

_LOOK_SECONDS = 1.0
"""How often to check that what is watched is still what the path leads to."""
_RETRY_SECONDS = 60.0
"""How long to do without a watch that the system refused."""
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Layout:
    """What a path leads to now."""

    root: Path | None
    """The real folder or file; None when there is none."""
    identity: tuple[int, int]
    """Device and inode of the root: a folder that was made anew is another one."""
    names: frozenset[Path]
    """The path itself and the links on the way; a change of one of these may change everything."""

    @property
    def parents(self) -> tuple[Path, ...]:
        """The folders that hold these names, the nearest existing ones."""
        return tuple(sorted({_nearest(name.parent) for name in self.names}))


def layout(path: Path) -> Layout:
    """Follow `path` link by link."""
    start = path.absolute()
    names, here, steps = {start}, Path("/"), deque(start.parts[1:])
    hops = 0
    while steps and hops < _MOST_LINKS:
        step = steps.popleft()
        here = here.parent if step == ".." else here / step
        if here.is_symlink():
            hops += 1
            names.add(here)
            target = here.readlink()
            here = Path("/") if target.is_absolute() else here.parent
            steps.extendleft(reversed(target.parts[target.is_absolute() :]))
    try:
        found = start.stat()
        return Layout(start.resolve(), (found.st_dev, found.st_ino), frozenset(names))
    except OSError:
        return Layout(None, (0, 0), frozenset(names))


def _nearest(folder: Path) -> Path:
    return next(above for above in (folder, *folder.parents) if above.is_dir())


class Watch:
    """Sets `wake` when something below or on the way to `path` may have changed."""

    def __init__(self, path: Path, wake: asyncio.Event) -> None:
        self._path = path
        self._wake = wake
        self._closed = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop; a second call does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"watch {self._path}")

    async def close(self) -> None:
        """Stop."""
        self._closed.set()
        self._stop.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _run(self) -> None:
        log = structlog.get_logger().bind(source=str(self._path))
        while not self._closed.is_set():
            now = layout(self._path)
            self._stop = stop = asyncio.Event()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._follow(now, stop, now.parents, recursive=False))
                    if now.root is not None:
                        group.create_task(self._follow(now, stop, (now.root,), recursive=True))
            except* OSError as errors:  # too many watches, a file system without events, a folder that has just gone
                log.warning("cannot watch, reading from time to time instead", error=str(errors.exceptions[0]))
                await self._rest(_LOOK_SECONDS if layout(self._path) != now else _RETRY_SECONDS)

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            return

    async def _follow(self, now: Layout, stop: asyncio.Event, paths: tuple[Path, ...], *, recursive: bool) -> None:
        def concerns(_: Change, changed: str) -> bool:
            return "/.git/" not in changed if recursive else now.root is None or Path(changed) in now.names

        started = False
        async for changes in awatch(
            *paths,
            recursive=recursive,
            watch_filter=concerns,
            stop_event=stop,
            rust_timeout=int(_LOOK_SECONDS * 1000),
            yield_on_timeout=True,
        ):
            if changes or not started:  # what happened before the watch stood was not seen
                started = True
                self._wake.set()
            if self._closed.is_set() or layout(self._path) != now:
                self._wake.set()
                stop.set()
