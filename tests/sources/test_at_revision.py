"""Manifests at a revision of a real Git repository: what is read, and that nothing of the work tree or its settings takes part."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.model.errors import Rejected
from controller.sources.at_revision import find, read

NODE = "apiVersion: drover.dev/v1alpha1\nkind: PveNode\nmetadata: {name: %s}\nspec: {}\n"
Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    repo = tmp_path / "repo"
    repo.mkdir()

    def run(*words: str) -> str:
        who = ("-c", "user.name=Eve", "-c", "user.email=eve@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", *who, *words], cwd=repo, check=True, capture_output=True, text=True, env=None
        ).stdout.strip()

    run("init", "-q", "-b", "main")
    return run


def commit(git: Git, repo: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text, encoding="utf-8")
    git("add", "-A")
    git("commit", "-q", "-m", "more")
    return git("rev-parse", "HEAD")


def names(repo: Path, revision: str, path: str = "") -> list[str]:
    snapshot = read(repo, find(repo, revision), path)
    assert not snapshot.problems
    return sorted(each.name for each in snapshot.objects)


def test_each_revision_is_read_as_it_was_and_the_work_tree_is_not_touched(git: Git, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    first = commit(git, repo, {"m/a.yaml": NODE % "pve1"})
    commit(git, repo, {"m/b.yaml": NODE % "pve2", "other/c.yaml": NODE % "pve3"})
    (repo / "m/a.yaml").write_text("{not yaml", encoding="utf-8")
    assert names(repo, first, "m") == ["pve1"]
    assert names(repo, "main", "m") == ["pve1", "pve2"]
    assert names(repo, "main") == ["pve1", "pve2", "pve3"]
    assert git("status", "--short") == "M m/a.yaml"
    assert str(find(repo, "main")) == f"main ({git('rev-parse', 'main')[:12]})"
    assert str(find(repo, first)) == first[:12]


def test_problems_name_the_file_of_the_repository(git: Git, tmp_path: Path) -> None:
    commit(git, tmp_path / "repo", {"m/a.yaml": "kind: PveNode\n"})
    problems = read(tmp_path / "repo", find(tmp_path / "repo", "HEAD"), "m").problems
    assert problems
    assert all(str(problem).startswith("m/a.yaml:") for problem in problems)


@pytest.mark.parametrize("target", ["/etc", "../../x.yaml"])
def test_a_link_that_leads_out_is_refused(git: Git, tmp_path: Path, target: str) -> None:
    repo = tmp_path / "repo"
    (repo / "m").mkdir()
    (repo / "m" / "a.yaml").symlink_to(target)
    commit(git, repo, {})
    with pytest.raises(Rejected, match="leads out of the repository"):
        read(repo, find(repo, "HEAD"))


def test_a_link_inside_is_followed(git: Git, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    (repo / "m").mkdir()
    (repo / "m" / "b.yaml").symlink_to("../common/a.yaml")
    commit(git, repo, {"common/a.yaml": NODE % "pve1"})
    assert names(repo, "HEAD", "m") == ["pve1"]


def test_what_is_not_there_says_so(git: Git, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    commit(git, repo, {"m/a.yaml": NODE % "pve1"})
    with pytest.raises(Rejected, match="there is no revision 'topic'"):
        find(repo, "topic")
    with pytest.raises(Rejected, match="there is no revision '--output=x'"):
        find(repo, "--output=x")
    with pytest.raises(Rejected, match="there are no manifests in n"):
        read(repo, find(repo, "main"), "n")
    with pytest.raises(Rejected, match="is in no Git repository"):
        find(tmp_path, "main")


def test_a_shallow_clone_says_what_to_do(git: Git, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    first = commit(git, repo, {"a.yaml": NODE % "pve1"})
    commit(git, repo, {"b.yaml": NODE % "pve2"})
    subprocess.run(["git", "clone", "-q", "--depth", "1", repo.as_uri(), str(tmp_path / "clone")], check=True)
    with pytest.raises(Rejected, match="fetch-depth: 0"):
        find(tmp_path / "clone", first)
    assert names(tmp_path / "clone", "HEAD") == ["pve1", "pve2"]


def test_settings_and_hooks_of_the_clone_run_nothing(git: Git, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    commit(git, repo, {"a.yaml": NODE % "pve1", ".gitattributes": "*.yaml filter=evil\n"})
    for key in ("core.fsmonitor", "filter.evil.smudge", "core.pager", "core.sshCommand"):
        git("config", key, f"touch {tmp_path}/ran")
    assert names(repo, "HEAD") == ["pve1"]
    assert not (tmp_path / "ran").exists()
