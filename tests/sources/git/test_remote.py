"""What servers say is told apart, and secrets reach them without being seen on the way."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.model.reasons import Why
from controller.settings import Secret
from tests.e2e.forge import TOKEN, Forge
from tests.sources.git.repo import Repository
from tests.sources.git.test_source import Reader
from tests.sources.writing import cluster


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "served").make()


@pytest.fixture
def forge(repo: Repository) -> Iterator[Forge]:
    forge = Forge(repo.folder)
    yield forge
    forge.stop()


def recording(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch, instead: str = "") -> Path:
    """Put a program in front of the real one that writes down its arguments and environment."""
    real, written = shutil.which(program), folder / f"{program}.calls"
    folder.mkdir(exist_ok=True)
    script = folder / program
    script.write_text(
        f'#!/bin/sh\n{{ printf "%s\\n" "$@"; env; }} >> {written}\n{instead or f"exec {real} {chr(34)}$@{chr(34)}"}\n'
    )
    script.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return written


def test_a_token_opens_the_door_and_is_nowhere_to_be_seen(
    repo: Repository, forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.commit("Begin", a=cluster())
    calls = recording("git", tmp_path / "bin", monkeypatch)
    one = Reader(
        repo,
        tmp_path / "state",
        url=forge.url(repo.bare),
        username="drover",
        token=Secret(TOKEN),
        ca_file=forge.ca_file,
    )
    assert one.names() == {"default"}
    assert one.why == Why.REVISION_APPLIED
    assert "fetch" in calls.read_text()
    assert TOKEN not in calls.read_text()
    assert not [f for f in one.state.rglob("*") if f.is_file() and TOKEN.encode() in f.read_bytes()]


def test_every_no_of_a_server_has_its_own_word(repo: Repository, forge: Forge, tmp_path: Path) -> None:
    repo.commit("Begin", a=cluster())
    good = {"username": "drover", "token": Secret(TOKEN), "ca_file": forge.ca_file, "url": forge.url(repo.bare)}

    def why(**changes: object) -> str:
        one = Reader(repo, tmp_path / "state", **{**good, **changes})
        one.read()
        one.read()
        assert "planted" not in one.message
        return one.why

    assert why(token=Secret("planted-but-wrong")) == Why.SOURCE_AUTH_FAILED
    assert why(token=None) == Why.SOURCE_AUTH_FAILED
    assert why(ca_file=None) == Why.SOURCE_NOT_TRUSTED
    assert why(url=forge.url(repo.folder / "nothing.git")) == Why.REPOSITORY_NOT_FOUND
    assert why() == Why.REVISION_APPLIED
    forge.stop()
    assert why() == Why.SOURCE_UNREACHABLE
    forge.start()


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("Host key verification failed.", Why.SOURCE_NOT_TRUSTED),
        ("git@git.example.org: Permission denied (publickey).", Why.SOURCE_AUTH_FAILED),
        ("ssh: Could not resolve hostname git.example.org: Name or service not known", Why.SOURCE_UNREACHABLE),
        ("ERROR: Repository not found.", Why.REPOSITORY_NOT_FOUND),
    ],
)
def test_ssh_talks_only_to_servers_that_are_known_with_the_machines_own_key(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, why: Why
) -> None:
    calls = recording("ssh", tmp_path / "bin", monkeypatch, f'echo "{says}" >&2; exit 255')
    monkeypatch.setenv("SSH_AUTH_SOCK", "/somebody/elses/agent")
    one = Reader(
        repo,
        tmp_path / "state",
        url="git@git.example.org:ops/cluster.git",
        ssh_key=tmp_path / "a key",
        known_hosts=tmp_path / "known",
    )
    one.read()
    assert one.why == why
    said = calls.read_text()
    for option in (
        "StrictHostKeyChecking=yes",
        f"IdentityFile={tmp_path}/a key",
        f"UserKnownHostsFile={tmp_path}/known",
    ):
        assert f"\n{option}\n" in said
    assert "/somebody/elses/agent" not in said


def test_git_speaks_the_protocol_of_the_url_only(repo: Repository, tmp_path: Path) -> None:
    repo.commit("Begin", a=cluster())
    one = Reader(repo, tmp_path / "state")
    one.source._git._settings = replace(one.settings, url="https://git.example.org/x.git")
    one.read()
    assert one.why != Why.REVISION_APPLIED
    assert "not allowed" in one.message


def test_without_git_that_is_said(repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.commit("Begin", a=cluster())
    monkeypatch.setenv("PATH", str(tmp_path))
    one = Reader(repo, tmp_path / "state")
    one.read()
    assert one.why == Why.GIT_FAILED
    assert "git" in one.message
