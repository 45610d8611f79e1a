"""The repository is the interface: commits drive the real daemon, over HTTPS with a token, and bad ones don't."""

import hashlib
import hmac
import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.forge import TOKEN, Forge, StatusBoard
from tests.e2e.lab import Lab
from tests.sources.git.repo import Repository, SshKey

pytestmark = pytest.mark.e2e
HOME = {101: "pve2", 102: "pve2", 103: "pve1"}
KNOCK = "correct-horse-battery"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    (tmp_path / "served").mkdir()
    return Repository(tmp_path / "served").make()


@pytest.fixture
def forge(repo: Repository) -> Iterator[Forge]:
    forge = Forge(repo.folder)
    yield forge
    forge.stop()


class Team:
    """People who push signed commits with the lab's manifests."""

    def __init__(self, lab: Lab, repo: Repository, key: SshKey) -> None:
        self.lab, self.repo, self.key = lab, repo, key
        lab.folder.joinpath("signers").write_text(f"ada@example.org {key.public}\n")

    def commit(self, message: str, *, signed: bool = True) -> str:
        """Commit what is in the lab's manifests."""
        target = self.repo.work / "clusters" / "lab"
        target.mkdir(parents=True, exist_ok=True)
        for old in target.iterdir():
            old.unlink()
        for file in self.lab.manifests.iterdir():
            (target / file.name).write_text(file.read_text())
        self.repo.git("add", "-A")
        self.repo.git(*(self.key.options if signed else ()), "commit", "-q", "--allow-empty", "-m", message)
        return self.repo.push()

    def settings(self, url: str, more: str = "", interval: float = 5) -> None:
        """The lab's settings, with the repository in place of the folder."""
        file = self.lab.settings()
        text = file.read_text()
        source = text.splitlines()[0]
        git = (
            f'[source.git]\nurl = "{url}"\nref = "main"\npath = "clusters/lab"\nintervalSeconds = {interval}\n{more}'
            '[source.git.verify]\nsshAllowedSignersFile = "signers"\n'
        )
        file.write_text(text.replace(source + "\n", "") + git)


@pytest.fixture
def team(tmp_path: Path, repo: Repository) -> Iterator[Team]:
    lab = Lab(tmp_path)
    try:
        lab.simulate()
        lab.cluster()
        yield Team(lab, repo, SshKey(tmp_path, "ada"))
    finally:
        lab.close()


def drained(lab: Lab) -> bool:
    return lab.condition("nodemaintenances", "label-pve2", "Drained")[0] == "True"


def test_a_label_in_a_commit_drains_a_node_and_its_revert_brings_everybody_home(
    team: Team, repo: Repository, forge: Forge
) -> None:
    lab = team.lab
    (lab.folder / "forge.token").write_text(TOKEN + "\n")
    access = f'username = "drover"\ntokenFile = "forge.token"\ncaFile = "{forge.ca_file}"\n'
    team.settings(forge.url(repo.bare), access)
    team.commit("The lab")
    daemon = lab.run("--speed", "10")
    lab.until(lambda: lab.guests() == HOME, "the first look")
    lab.label("pve2", "true")
    label = team.commit("pve2 gets a new disk")
    lab.until(lambda: drained(lab), "pve2 is drained")
    assert lab.guests()[101] != "pve2"
    told = lab.drover("status").stdout
    assert f"In force: {label[:12]} pve2 gets a new disk (Ada, " in told
    assert "signed by ada@example.org" in told
    assert label[:12] in lab.drover("get", "source").stdout

    # An unsigned commit that would end the maintenance changes nothing, and everybody can see why.
    lab.label("pve2", None)
    bad = team.commit("Sneak", signed=False)
    lab.until(lambda: lab.condition("pveclusters", "default", "SourceReady")[1] == "NotSigned", "the refusal is told")
    assert bad[:12] in lab.condition("pveclusters", "default", "SourceReady")[2]
    metrics = lab.get("/metrics") or ""
    assert 'drover_source_refused_total{reason="NotSigned"} 1.0' in metrics
    assert re.search(rf'drover_source_revision_info{{.*revision="{label[:12]}".*state="InForce"}} 1.0', metrics)
    assert "RevisionRefused" in (lab.get("/apis/drover.dev/v1alpha1/events") or "")
    assert drained(lab)

    # The server goes away, and the daemon dies: what was in force goes on from disk.
    repo.git("reset", "-q", "--hard", label)
    repo.push()
    forge.stop()
    lab.until(
        lambda: lab.condition("pveclusters", "default", "SourceReady")[1] == "SourceUnreachable", "the server is away"
    )
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    lab.run("--speed", "10")
    lab.until(lambda: drained(lab), "the maintenance is still in force after the restart")
    lab.until(
        lambda: lab.condition("pveclusters", "default", "SourceReady")[1] == "SourceUnreachable", "the server is away"
    )
    forge.start()
    revert = team.commit("Revert: pve2 is back")
    assert lab.drover("look").returncode == 0
    lab.until(lambda: lab.guests() == HOME, "everybody is home")
    assert revert[:12] in (lab.get("/metrics") or "")
    assert TOKEN not in lab.log
    state = lab.folder / "state"
    assert not [file for file in state.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]


@pytest.fixture
def statuses() -> Iterator[StatusBoard]:
    board = StatusBoard()
    yield board
    board.stop()


def test_a_push_that_the_forge_tells_of_counts_at_once_and_it_is_told_how_the_commit_fares(
    team: Team, repo: Repository, statuses: StatusBoard
) -> None:
    lab = team.lab
    team.commit("The lab")
    team.settings(
        repo.url,
        f'[source.git.webhook]\nkind = "github"\nsecret = "{KNOCK}"\n'
        f'[source.git.commitStatus]\nkind = "gitea"\nurl = "{statuses.url}"\nrepository = "ops/lab"\ntoken = "{TOKEN}"\n',
        interval=36000,
    )
    lab.run("--speed", "10")
    lab.until(lambda: lab.guests() == HOME, "the first look")
    lab.label("pve2", "true")
    commit = team.commit("pve2 gets a new disk")
    body = json.dumps({"ref": "refs/heads/main"}).encode()

    def knock(secret: str) -> int:
        mac = hmac.digest(secret.encode(), body, hashlib.sha256).hex()
        headers = {"X-Hub-Signature-256": f"sha256={mac}"}
        request = urllib.request.Request(lab.address + "/hooks/source", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert knock("wrong-horse-battery") == 401
    assert commit[:12] not in (lab.get("/metrics") or "")
    assert knock(KNOCK) == 202
    lab.until(lambda: drained(lab), "pve2 is drained")
    lab.until(lambda: (commit, "success") in [told[:2] for told in statuses.told], "the forge shows a success")
    bad = team.commit("Sneak", signed=False)
    body += b" "
    assert knock(KNOCK) == 202
    lab.until(lambda: (bad, "failure") in [told[:2] for told in statuses.told], "the forge shows the refusal")
    assert "NotSigned" in statuses.told[-1][2]
    assert KNOCK not in lab.log
    assert TOKEN not in lab.log
