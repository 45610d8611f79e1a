"""The Git source against real repositories on disk: what is put in force, what is not, and what is said of it."""

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from controller.clock import SystemClock
from controller.model.reasons import Why
from controller.settings import GitSettings
from controller.sources.base import Snapshot
from controller.sources.git import GitSource
from tests.sources.git.repo import Repository
from tests.sources.writing import cluster, node


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "remote").make()


class Reader:
    """A source and what it read last."""

    def __init__(self, repo: Repository, state: Path, **changes: object) -> None:
        self.settings = replace(GitSettings(url=repo.url, ref="main"), **changes)  # type: ignore[arg-type]  # by name
        self.state = state
        self.source = GitSource(self.settings, state, SystemClock())

    def read(self) -> Snapshot:
        return asyncio.run(self.source.read())

    def names(self) -> set[str]:
        return {resource.name for resource in self.read().objects}

    @property
    def why(self) -> str:
        finding = self.source.view.finding
        return finding.why if finding is not None else ""

    @property
    def message(self) -> str:
        assert self.source.view.finding is not None
        return self.source.view.finding.message

    @property
    def applied(self) -> str:
        assert self.source.view.applied is not None
        return self.source.view.applied.commit


@pytest.fixture
def reader(repo: Repository, tmp_path: Path) -> Callable[..., Reader]:
    return lambda **changes: Reader(repo, tmp_path / "state", **changes)


def test_a_revision_is_in_force_with_who_made_it(repo: Repository, reader: Callable[..., Reader]) -> None:
    first = repo.commit("Begin", lab__a=cluster(), lab__b=node("pve1"))
    one = reader()
    snapshot = one.read()
    assert {resource.name for resource in snapshot.objects} == {"default", "pve1"}
    assert snapshot.revision == first[:12]
    assert {r.origin.file for r in snapshot.objects if r.origin} == {"lab/a.yaml", "lab/b.yaml"}
    applied = one.source.view.applied
    assert applied is not None
    assert (applied.author, applied.email, applied.subject, applied.verified) == (
        "Ada",
        "ada@example.org",
        "Begin",
        False,
    )
    second = repo.commit("Label", lab__b=node("pve1", "true"))
    assert one.read().revision == second[:12]
    assert one.why == Why.REVISION_APPLIED


def test_a_restart_without_the_remote_goes_on_with_what_was_in_force(
    repo: Repository, reader: Callable[..., Reader]
) -> None:
    commit = repo.commit("Begin", a=cluster())
    reader().read()
    repo.bare.rename(repo.folder / "gone.git")
    again = reader()
    assert again.names() == {"default"}
    assert again.why == "", "the first reading does not wait for the server"
    assert again.names() == {"default"}
    assert again.why == Why.REPOSITORY_NOT_FOUND
    assert f"commit {commit[:12]} stays in force" in again.message
    (repo.folder / "gone.git").rename(repo.bare)
    repo.commit("On", b=node("pve1"))
    assert again.names() == {"default", "pve1"}


def test_a_repository_that_was_never_read_says_so(repo: Repository, reader: Callable[..., Reader]) -> None:
    shutil.rmtree(repo.bare)
    one = reader()
    snapshot = one.read()
    assert not snapshot.complete
    assert "nothing is in force" in str(snapshot.problems[0])


def test_every_way_to_have_no_revision_has_its_own_word(repo: Repository, reader: Callable[..., Reader]) -> None:
    one = reader()
    one.read()
    assert one.why == Why.REPOSITORY_EMPTY
    repo.commit("Begin", lab__a=cluster())
    assert one.names() == {"default"}
    repo.git("push", "-q", "origin", "HEAD:other")
    repo.git("--git-dir", str(repo.bare), "update-ref", "-d", "refs/heads/main")
    assert one.names() == {"default"}
    assert one.why == Why.REF_MISSING
    repo.push()
    repo.git("tag", "main")
    repo.git("push", "-q", "origin", "refs/tags/main")
    one.read()
    assert one.why == Why.REF_MISSING
    assert "refs/heads/main or refs/tags/main" in one.message
    repo.git("push", "-q", "origin", ":refs/tags/main")
    assert one.names() == {"default"}
    assert one.why == Why.REVISION_APPLIED
    missing = reader(path="nowhere")
    missing.read()
    assert missing.why == Why.PATH_MISSING


def test_the_default_branch_is_followed_when_no_ref_is_named(repo: Repository, reader: Callable[..., Reader]) -> None:
    repo.commit("Begin", a=cluster())
    assert reader(ref="HEAD").names() == {"default"}


def test_only_the_path_is_read_and_may_be_one_file(repo: Repository, reader: Callable[..., Reader]) -> None:
    repo.commit("Begin", lab__a=cluster(), other__a=cluster("other"))
    assert reader(path="lab").names() == {"default"}
    assert reader(path="other/a.yaml").names() == {"other"}, "another path is another source: it is read at once"


def test_a_broken_document_keeps_the_last_good_version(repo: Repository, reader: Callable[..., Reader]) -> None:
    repo.commit("Begin", a=cluster(), b=node("pve1"))
    one = reader()
    one.read()
    repo.commit("Break", b="kind: PveNode\nspec: [")
    snapshot = one.read()
    assert one.why == Why.REVISION_APPLIED
    assert snapshot.broken_files == {"b.yaml"}
    assert str(snapshot.problems[0]).startswith("b.yaml:")


def test_a_force_push_is_told_and_nothing_is_lost(repo: Repository, reader: Callable[..., Reader]) -> None:
    first = repo.commit("Begin", a=cluster())
    repo.commit("More", b=node("pve1"))
    one = reader()
    assert one.names() == {"default", "pve1"}
    repo.git("reset", "-q", "--hard", first)
    repo.push()
    assert one.names() == {"default"}
    assert one.why == Why.HISTORY_REWRITTEN
    assert "is older than it" in one.message
    repo.git("checkout", "-q", "--orphan", "fresh")
    repo.commit("Another history", c=node("pve2"))
    assert one.names() == {"default", "pve2"}
    assert "has nothing in common with it" in one.message
    assert one.names() == {"default", "pve2"}
    assert one.why == Why.HISTORY_REWRITTEN, "told for as long as that revision is in force"
    repo.commit("On", d=node("pve3"))
    one.read()
    assert one.why == Why.REVISION_APPLIED


def test_a_tag_that_moves_is_told(repo: Repository, reader: Callable[..., Reader]) -> None:
    repo.commit("Begin", a=cluster())
    repo.git("tag", "-a", "-m", "live", "production")
    repo.git("push", "-q", "origin", "production")
    one = reader(ref="production")
    assert one.names() == {"default"}
    repo.commit("More", b=node("pve1"))
    assert one.names() == {"default"}
    repo.git("tag", "-f", "production")
    repo.git("push", "-q", "-f", "origin", "production")
    assert one.names() == {"default", "pve1"}
    assert one.why == Why.TAG_MOVED


@pytest.mark.parametrize("leads_to", ["/etc", "../outside", "here/../../..", "loop/.."])
def test_a_link_that_leaves_the_tree_refuses_the_revision_as_a_whole(
    repo: Repository, reader: Callable[..., Reader], leads_to: str
) -> None:
    good = repo.commit("Begin", a=cluster())
    one = reader()
    one.read()
    (repo.work / "here").mkdir()
    (repo.work / "loop").symlink_to(".")
    (repo.work / "here" / "x.yaml").write_text(node("pve1"))
    (repo.work / "link").symlink_to(leads_to)
    repo.commit("Link")
    assert one.names() == {"default"}
    assert one.why == Why.UNSAFE_TREE
    assert "link" in one.message
    assert one.applied == good
    assert sorted(p.name for p in (one.state / "trees").iterdir()) == [(one.state / "current").readlink().name]


def test_links_inside_and_folders_that_are_hidden_are_as_in_a_folder(
    repo: Repository, reader: Callable[..., Reader]
) -> None:
    (repo.work / "lab").mkdir()
    (repo.work / "lab" / "b.yaml").symlink_to("../base/node.yaml")
    repo.commit("Begin", lab__a=cluster(), base__node=node("pve1"), _github__x="nonsense: [")
    (repo.work / "_github").rename(repo.work / ".github")
    (repo.work / "base").rename(repo.work / ".base")
    (repo.work / "lab" / "b.yaml").unlink()
    (repo.work / "lab" / "b.yaml").symlink_to("a2.yaml")
    repo.commit("Hide", lab__a2=node("pve2"))
    snapshot = reader().read()
    assert {resource.name for resource in snapshot.objects} == {"default"}
    assert all("pve2 is also at" in str(problem) for problem in snapshot.problems), "a link counts as a file of its own"


def test_what_is_too_large_is_refused_before_anything_is_written(
    repo: Repository, reader: Callable[..., Reader]
) -> None:
    good = repo.commit("Begin", a=cluster())
    one = reader(max_files=2, max_tree_mib=1, max_fetch_mib=2)
    one.read()
    repo.commit("Many", b=node("b"), c=node("c"))
    one.read()
    assert one.why == Why.REVISION_TOO_LARGE
    assert "has 3 manifests; maxFiles is 2" in one.message
    repo.commit("Wide", b=None, c=f"# {'x' * 1100000}\n")
    one.read()
    assert "1.0 MiB; maxTreeMiB is 1" in one.message
    (repo.work / "blob").write_bytes(os.urandom(3 * 1024 * 1024))
    repo.commit("Heavy", c=None)
    one.read()
    assert one.why == Why.REVISION_TOO_LARGE
    assert "maxFetchMiB" in one.message
    assert one.applied == good
    for _ in range(3):
        assert one.names() == {"default"}
    left = sum(path.stat().st_size for path in one.state.rglob("*") if path.is_file())
    assert left < 4 * 1024 * 1024, "what was cut off does not pile up"


def test_nothing_of_the_repository_or_the_machine_takes_part_in_a_checkout(
    repo: Repository, reader: Callable[..., Reader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    config = tmp_path / "config"
    config.write_text(
        f'[core]\nfsmonitor = touch {ran}\n[filter "evil"]\nsmudge = touch {ran}\n[credential]\nhelper = "!touch {ran}"\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {ran}")
    (repo.work / ".gitattributes").write_text("*.yaml filter=evil export-ignore\n")
    (repo.work / ".gitmodules").write_text('[submodule "x"]\npath = x\nurl = file:///etc\n')
    repo.commit("Begin", a=cluster())
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{repo.git('rev-parse', 'HEAD')},x")
    repo.git("commit", "-q", "-m", "Submodule")
    repo.push()
    one = reader()
    assert one.names() == {"default"}
    assert not ran.exists()
    assert not list((one.state / "mirror.git").glob("hooks/*"))


def test_a_mirror_that_is_broken_is_made_anew(repo: Repository, reader: Callable[..., Reader]) -> None:
    repo.commit("Begin", a=cluster())
    one = reader()
    one.read()
    repo.commit("More", b=node("pve1"))
    (one.state / "mirror.git" / "HEAD").write_text("nonsense")
    one.read()
    one.read()
    assert one.names() == {"default", "pve1"}


def test_a_switch_that_was_cut_off_leaves_the_old_revision(
    repo: Repository, reader: Callable[..., Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.commit("Begin", a=cluster())
    one = reader()
    one.read()
    commit = repo.commit("More", b=node("pve1"))

    def power_cut(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", power_cut)
        assert one.names() == {"default"}
        assert one.why == Why.GIT_FAILED
    assert reader().names() == {"default"}, "a restart finds the old one"
    assert one.names() == {"default", "pve1"}
    assert one.applied == commit


def test_while_the_server_is_away_it_is_asked_ever_less_often(repo: Repository, reader: Callable[..., Reader]) -> None:
    repo.commit("Begin", a=cluster())
    one = reader(interval_seconds=60.0, url="https://127.0.0.1:1/repo.git", timeout_seconds=20.0)
    one.read()
    assert one.why == Why.SOURCE_UNREACHABLE
    pauses = []
    for _ in range(7):
        pauses.append(one.source._pause())
        one.read()
    assert all(50 <= pauses[0] <= 70 * 2 for _ in pauses)
    assert pauses[-1] > 700
    assert one.source._pause() <= 900 * 1.15


def test_who_wakes_the_source_is_heard_but_not_obeyed_at_once(repo: Repository, reader: Callable[..., Reader]) -> None:
    repo.commit("Begin", a=cluster())

    async def main() -> list[float]:
        clock = _Counting()
        source = GitSource(reader().settings, repo.folder / "state2", clock)
        await source.read()
        source.look_now()
        await source.wait_change()
        return clock.slept

    assert any(4 < seconds <= 5 for seconds in asyncio.run(main())), "questions keep their distance"


class _Counting(SystemClock):
    """Sleeps are only noted; one of a minute never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds > 10:
            await asyncio.Event().wait()
