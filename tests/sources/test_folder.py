"""A folder is read whole, with every problem at once, and never half."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.model.ids import ObjectRef
from controller.sources.base import Snapshot
from controller.sources.folder import FolderSource
from tests.sources.writing import apart, cluster, node, write


def read(path: Path) -> Snapshot:
    return FolderSource(path, watch=False).read_now()


def names(snapshot: Snapshot) -> list[str]:
    return sorted(str(resource.ref) for resource in snapshot.objects)


def said(snapshot: Snapshot) -> list[str]:
    return [str(problem) for problem in snapshot.problems]


def test_all_manifests_below_are_read_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    write(tmp_path, a=cluster() + "---\n" + node("n1"))
    write(tmp_path / "deep" / "er", b=node("n2"))
    (tmp_path / "deep" / "c.yml").write_text(node("n3"))
    for junk in (
        ".git/x.yaml",
        ".a.yaml.swp",
        ".hidden.yaml",
        "a.yaml~",
        "#a.yaml#",
        "~a.yaml",
        "4913",
        "a.yaml.tmp",
        "README.md",
    ):
        (tmp_path / junk).write_text("junk: [")
    (tmp_path / ".#lock.yaml").symlink_to("nobody@nowhere:1")
    found = read(tmp_path)
    assert names(found) == ["PveCluster/default", "PveNode/n1", "PveNode/n2", "PveNode/n3"]
    assert (found.complete, found.problems) == (True, ())
    assert {resource.name: resource.origin for resource in found.objects}["n2"] is not None
    assert str(found.objects[0].origin) == f"{tmp_path}/a.yaml:1:1"


def test_a_single_file_is_a_source_too(tmp_path: Path) -> None:
    write(tmp_path, a=cluster(), b="broken: [")
    assert names(read(tmp_path / "a.yaml")) == ["PveCluster/default"]


def test_the_revision_names_the_content(tmp_path: Path) -> None:
    write(tmp_path, a=cluster(), b=node("n1"))
    first = read(tmp_path)
    os.utime(tmp_path / "a.yaml", (1, 1))
    assert read(tmp_path).revision == first.revision
    write(tmp_path, b=node("n1") + "# more\n")
    second = read(tmp_path)
    assert second.revision != first.revision
    write(tmp_path, b=node("n1"))
    assert read(tmp_path).revision == first.revision
    (tmp_path / "b.yaml").rename(tmp_path / "c.yaml")
    assert read(tmp_path).revision not in (first.revision, second.revision)


def test_all_problems_come_at_once_and_good_objects_beside_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=cluster(more="mode: enforce, limits: {maxMigration: 1}"),
        b=node("n1") + "---\n" + node("n2", label="yes"),
        c="x: [\n",
        d=node("n4") + "---\nkind: PveNode\nkind: PveNode\n",
    )
    found = read(tmp_path)
    assert names(found) == ["PveNode/n1", "PveNode/n4"]
    assert [line.split(": ")[0].removeprefix(f"{tmp_path}/") for line in said(found)] == [
        "a.yaml:4:72",  # an unknown word
        "a.yaml:4:90",  # an unknown field
        "b.yaml:8:55",  # an unknown value of the label
        "c.yaml:2:1",  # no YAML
        "d.yaml:6:1",  # no apiVersion
        "d.yaml:6:1",  # no metadata
        "d.yaml:7:1",  # a key twice
    ]
    assert found.complete
    assert found.broken == {ObjectRef("PveCluster", "default"), ObjectRef("PveNode", "n2")}
    assert found.broken_files == {f"{tmp_path}/c.yaml", f"{tmp_path}/d.yaml"}


def test_a_name_used_twice_rejects_both_and_names_both_places(tmp_path: Path) -> None:
    write(tmp_path, a=node("n1") + "---\n" + node("n2"), b="\n" + node("n1"))
    found = read(tmp_path)
    here, there = f"{tmp_path}/a.yaml:3:18", f"{tmp_path}/b.yaml:4:18"
    assert names(found) == ["PveNode/n2"]
    assert said(found) == [
        f"{here}: metadata.name: PveNode/n1 is also at {there}; none of them counts; allowed: a name used once",
        f"{there}: metadata.name: PveNode/n1 is also at {here}; none of them counts; allowed: a name used once",
    ]
    assert found.broken == {ObjectRef("PveNode", "n1")}


def test_a_broken_twin_rejects_the_good_one(tmp_path: Path) -> None:
    write(tmp_path, a=node("n1"), b=node("n1", label="maybe"))
    assert names(read(tmp_path)) == []


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n---\n"])
def test_an_empty_folder_is_a_problem_and_no_revision(tmp_path: Path, content: str) -> None:
    if content:
        write(tmp_path, a=content)
    found = read(tmp_path)
    assert (found.complete, found.empty, found.objects) == (False, True, ())
    assert len(found.problems) == 1


def test_a_folder_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    found = read(tmp_path / "nowhere")
    assert (found.complete, found.empty) == (False, False)
    assert "cannot be read: No such file or directory" in said(found)[0]


def test_a_folder_below_that_cannot_be_read_makes_the_snapshot_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    write(tmp_path, a=cluster())
    scandir = os.scandir

    def refuse(path: Path) -> object:  # root may read everything, so permissions alone would not refuse the tests
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = read(tmp_path)
    assert names(found) == ["PveCluster/default"]
    assert not found.complete
    assert "closed:1:1: cannot be read: Permission denied" in said(found)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1:1: the file is empty"),
        (b"  \n\n", ":1:1: the file is empty"),
        (b"a: 1\nb: \xff\n", ":2:4: the text is not UTF-8"),
        (b"#" * (4 * 1024 * 1024 + 1), ":1:1: is larger than 4 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_may_hold_anything(tmp_path: Path, content: bytes, message: str) -> None:
    write(tmp_path, a=cluster())
    (tmp_path / "b.yaml").write_bytes(content)
    found = read(tmp_path)
    assert message in said(found)[0]
    assert found.broken_files == {f"{tmp_path}/b.yaml"}
    assert found.complete


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, a=cluster())
    os.mkfifo(tmp_path / "b.yaml")
    (tmp_path / "c.yaml").symlink_to("nowhere")
    assert [line.split(": ", 1)[1].split(";")[0] for line in said(read(tmp_path))] == [
        "is not a file",
        "is a link that leads nowhere",
    ]


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "here").mkdir()
    write(tmp_path / "other", a=cluster())
    (tmp_path / "here" / "base").symlink_to("../other")
    (tmp_path / "here" / "loop").symlink_to(".")
    assert names(read(tmp_path / "here")) == ["PveCluster/default"]


def test_the_links_of_git_sync_and_of_kubernetes_volumes_are_followed(tmp_path: Path) -> None:
    git, volume = tmp_path / "git", tmp_path / "volume"
    (git / ".worktrees" / "1").mkdir(parents=True)
    write(git / ".worktrees" / "1", a=cluster())
    (git / "current").symlink_to(".worktrees/1")
    assert names(read(git / "current")) == ["PveCluster/default"]
    (volume / "..2026").mkdir(parents=True)
    write(volume / "..2026", a=cluster())
    (volume / "..data").symlink_to("..2026")
    (volume / "a.yaml").symlink_to("..data/a.yaml")
    assert names(read(volume)) == ["PveCluster/default"]


def git_sync(root: Path, number: int) -> Path:
    """A new tree, and the link swapped in one step; what has not changed is the same file on disk."""
    tree = root / f"tree-{number}"
    tree.mkdir()
    old = root / "current" / "same.yaml"
    if old.exists():
        (tree / "same.yaml").hardlink_to(old)
    else:
        write(tree, same=node("same"))
    write(tree, **{f"only-{number}": node(f"only-{number}")})
    (root / "fresh").symlink_to(tree.name)
    (root / "fresh").replace(root / "current")
    shutil.rmtree(root / f"tree-{number - 1}", ignore_errors=True)
    return root / "current"


def git_sync_adding(root: Path, number: int) -> Path:
    """The same with a file more: nothing that was there before is another file now."""
    tree = root / f"tree-{number}"
    tree.mkdir()
    for old in (root / "current").glob("*.yaml"):
        (tree / old.name).hardlink_to(old)
    write(tree, **{f"new-{number}": node(f"new-{number}")})
    (root / "fresh").symlink_to(tree.name)
    (root / "fresh").replace(root / "current")
    return root / "current"


def kubernetes_volume(root: Path, number: int) -> Path:
    """A new hidden tree, and the hidden link to it swapped in one step."""
    tree = root / f"..{number}"
    tree.mkdir()
    write(tree, same=node(f"same-{number}"), other=node(f"other-{number}"))
    (root / "..data_tmp").symlink_to(tree.name)
    (root / "..data_tmp").replace(root / "..data")
    for name in ("same", "other"):
        if not (root / f"{name}.yaml").is_symlink():
            (root / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    shutil.rmtree(root / f"..{number - 1}", ignore_errors=True)
    return root


def in_place(root: Path, number: int) -> Path:
    """Somebody who writes file after file."""
    write(root, same=node(f"same-{number}"), other=node(f"other-{number}"))
    return root


@pytest.mark.parametrize("publish", [git_sync, git_sync_adding, kubernetes_volume, in_place])
def test_a_change_in_the_middle_of_reading_starts_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publish: Callable[[Path, int], Path]
) -> None:
    path = publish(tmp_path, 1)
    read_bytes, reads = Path.read_bytes, 0

    def change_after_the_first(file: Path) -> bytes:
        nonlocal reads
        reads += 1
        content = read_bytes(file)
        if reads == 1:
            publish(tmp_path, 2)
        return content

    monkeypatch.setattr(Path, "read_bytes", change_after_the_first)
    found = read(path)
    monkeypatch.undo()
    assert found.complete
    assert names(found) == names(read(path))
    assert any(name.endswith("-2") for name in names(found))


@pytest.mark.parametrize("publish", [git_sync, kubernetes_volume])
def test_links_that_are_swapped_all_the_time_never_mix_two_revisions(
    tmp_path: Path, publish: Callable[[Path, int], Path]
) -> None:
    source, done = FolderSource(publish(tmp_path, 0), watch=False), threading.Event()

    def swap() -> None:
        for number in range(1, 100):
            publish(tmp_path, number)
        done.set()

    thread = threading.Thread(target=swap)
    thread.start()
    while not done.is_set():
        found = source.read_now()
        if found.complete and not found.broken_files:
            numbers = {name.split("-")[1] for name in names(found) if "-" in name}
            assert (len(numbers), len(names(found))) == (1, 2), names(found)
    thread.join()
    assert any(name.endswith("-99") for name in names(source.read_now()))


def test_a_folder_that_never_rests_is_a_problem_and_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a=cluster())
    read_bytes = Path.read_bytes

    def change_always(file: Path) -> bytes:
        content = read_bytes(file)
        file.write_bytes(content + b"# more\n")
        return content

    monkeypatch.setattr(Path, "read_bytes", change_always)
    found = read(tmp_path)
    assert not found.complete
    assert "changes faster than it can be read" in said(found)[0]


def test_only_files_that_changed_are_parsed_again(tmp_path: Path) -> None:
    write(tmp_path, a=cluster(), b=node("n1"))
    source = FolderSource(tmp_path, watch=False)
    first = source.read_now()
    write(tmp_path, b=node("n1", spec="{maxInbound: 1}"), c=apart("p"))
    second = source.read_now()
    assert second.objects[0] is first.objects[0]
    assert second.objects[1] is not first.objects[1]
    assert names(second) == ["PlacementPolicy/p", "PveCluster/default", "PveNode/n1"]
