"""A change of any kind wakes the reader soon, and what is read then is the whole change."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller.sources import folder, watch
from controller.sources.folder import FolderSource
from controller.sources.watch import layout
from tests.sources.git.repo import Repository
from tests.sources.writing import cluster, node, write

SOON = 8.0
"""Seconds in which a loaded machine notices; an idle one needs a tenth of a second."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.1)


@asynccontextmanager
async def watched(path: Path) -> AsyncIterator[FolderSource]:
    """A source that has been read once and whose watch stands."""
    source = FolderSource(path)
    try:
        await source.read()
        assert await wakes(source) <= 3
        yield source
    finally:
        await source.close()


async def wakes(source: FolderSource) -> int:
    """Read as often as the source asks for it; return how often that was before it came to rest."""
    for count in range(100):
        waiting = asyncio.create_task(source.wait_change())
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        if not done:
            waiting.cancel()
            return count
        await source.read()
    raise AssertionError("the source never comes to rest")


async def until(source: FolderSource, wanted: set[str] | None) -> int:
    """Wait for hints and read; return how many readings it took. None: until nothing can be read."""
    readings = 0
    async with asyncio.timeout(SOON):
        while True:
            await source.wait_change()
            readings += 1
            snapshot = await source.read()
            names = {resource.name for resource in snapshot.objects} if snapshot.complete else None
            if names == wanted:
                return readings


async def see(path: Path, change: Callable[[], None], wanted: set[str]) -> None:
    """Change something and expect a hint long before the next full rescan."""
    async with watched(path) as source:
        change()
        await until(source, wanted)


def run(work: Awaitable[None]) -> None:
    async def main() -> None:
        await work

    asyncio.run(main())


def test_a_file_written_in_place_is_seen(tmp_path: Path) -> None:
    write(tmp_path, a=cluster())
    run(see(tmp_path, lambda: write(tmp_path, a=cluster(name="b")), {"b"}))


def test_a_file_replaced_by_renaming_is_seen(tmp_path: Path) -> None:
    write(tmp_path, a=cluster())

    def save_like_vim() -> None:
        (tmp_path / "a.yaml").rename(tmp_path / "a.yaml~")
        (tmp_path / "4913").touch()
        (tmp_path / "4913").unlink()
        write(tmp_path, a=cluster(name="b"))
        (tmp_path / "a.yaml~").unlink()

    run(see(tmp_path, save_like_vim, {"b"}))


def test_a_file_in_a_new_folder_is_seen(tmp_path: Path) -> None:
    write(tmp_path, a=cluster())

    def add() -> None:
        (tmp_path / "x" / "y").mkdir(parents=True)
        write(tmp_path / "x" / "y", n=node("n1"))

    run(see(tmp_path, add, {"default", "n1"}))


def test_the_flipped_link_of_git_sync_is_seen(tmp_path: Path) -> None:
    trees = tmp_path / ".worktrees"
    for number in (1, 2):
        (trees / f"{number}").mkdir(parents=True)
        (trees / f"{number}" / ".git").write_text("gitdir: ../../.git/worktrees/1\n")
        write(trees / f"{number}", a=cluster(name=f"c{number}"))
    (tmp_path / "current").symlink_to(".worktrees/1")

    def flip() -> None:
        (tmp_path / "fresh").symlink_to(".worktrees/2")
        (tmp_path / "fresh").replace(tmp_path / "current")
        shutil.rmtree(trees / "1")

    run(see(tmp_path / "current", flip, {"c2"}))


def test_the_swapped_data_of_a_mounted_configmap_is_seen(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        write(tmp_path / f"..{number}", a=cluster(name=f"c{number}"))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")

    def swap() -> None:
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        shutil.rmtree(tmp_path / "..1")

    run(see(tmp_path, swap, {"c2"}))


def test_a_pull_into_a_plain_clone_is_seen(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "remote").make()
    repo.commit("Begin", lab__a=cluster())
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "-b", "main", repo.url, str(clone)], check=True)
    repo.commit("Add a node", lab__n=node("n1"))

    def pull() -> None:
        subprocess.run(["git", "-C", str(clone), "pull", "-q", "--ff-only"], check=True)

    run(see(clone, pull, {"default", "n1"}))


def test_a_link_far_up_the_path_is_seen(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"v{number}" / "manifests").mkdir(parents=True)
        write(tmp_path / f"v{number}" / "manifests", a=cluster(name=f"c{number}"))
    (tmp_path / "release").symlink_to("v1")

    def swap() -> None:
        (tmp_path / "fresh").symlink_to("v2")
        (tmp_path / "fresh").replace(tmp_path / "release")

    run(see(tmp_path / "release" / "manifests", swap, {"c2"}))


def test_a_folder_deleted_and_made_anew_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "manifests"
    root.mkdir()
    write(root, a=cluster())

    async def main() -> None:
        async with watched(root) as source:
            shutil.rmtree(root)
            await until(source, None)
            root.mkdir()
            write(root, a=cluster(name="b"))
            await until(source, {"b"})
            await wakes(source)
            write(root, a=cluster(name="c"))
            await until(source, {"c"})

    asyncio.run(main())


def test_a_folder_that_comes_later_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "x" / "manifests"

    async def main() -> None:
        async with watched(root) as source:
            root.mkdir(parents=True)
            write(root, a=cluster())
            await until(source, {"default"})

    asyncio.run(main())


def test_a_burst_is_read_a_few_times_and_completely(tmp_path: Path) -> None:
    write(tmp_path, a=cluster())
    wanted = {"default", *(f"n{number}" for number in range(300))}

    async def main() -> None:
        async with watched(tmp_path) as source:
            for number in range(300):
                write(tmp_path, **{f"n{number}": node(f"n{number}")})
            assert await until(source, wanted) < 10

    asyncio.run(main())


def test_a_half_written_file_is_waited_for(tmp_path: Path) -> None:
    """A file truncated and written a moment later is never read as a deletion."""
    write(tmp_path, a=cluster() + "---\n" + node("n1"))

    async def main() -> None:
        async with watched(tmp_path) as source:
            with (tmp_path / "a.yaml").open("w") as file:
                file.write(cluster())
                file.flush()
                reading = asyncio.create_task(source.read())
                await asyncio.wait([reading], timeout=0.05)
                file.write("---\n" + node("n2"))
            assert {resource.name for resource in (await reading).objects} == {"default", "n2"}

    asyncio.run(main())


def test_a_lost_event_is_made_good_by_the_rescan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise OSError(28, "inotify watch limit reached")

    async def main() -> None:
        source = FolderSource(tmp_path)
        await source.read()
        write(tmp_path, a=cluster(name="b"))
        await until(source, {"b"})
        await source.close()

    monkeypatch.setattr(watch, "awatch", refuse)
    monkeypatch.setattr(folder, "RESCAN_SECONDS", 0.2)
    write(tmp_path, a=cluster())
    asyncio.run(main())


def test_what_does_not_concern_the_folder_wakes_nobody(tmp_path: Path) -> None:
    root = tmp_path / "manifests"
    root.mkdir()
    write(root, a=cluster())

    async def main() -> None:
        async with watched(root) as source:
            write(tmp_path, beside=cluster())
            assert await wakes(source) == 0

    asyncio.run(main())


def test_the_names_on_the_way_are_the_path_and_its_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "one").symlink_to("a")
    (tmp_path / "a" / "two").symlink_to(tmp_path / "a" / "b")
    path = tmp_path / "one" / "two"
    found = layout(path)
    assert found.root == (tmp_path / "a" / "b").resolve()
    assert found.names == {path, tmp_path / "one", tmp_path / "a" / "two"}
    assert set(found.parents) == {tmp_path / "one", tmp_path, tmp_path / "a"}


def test_a_link_in_a_circle_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert layout(tmp_path / "a").root is None
    assert layout(tmp_path / "nowhere" / "x").parents == (tmp_path,)
    assert os.path.lexists(tmp_path / "a")
