"""`drover plan --from --to`, from a repository, a recording and a daemon's snapshot to the comment that people read."""

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controller.cli import drover
from controller.report.review import MARKER
from tests.cli.daemon import Daemon
from tests.golden import held

HERE = Path(__file__).parent
CLUSTER = """\
nodes: {pve1: {memory: 32GiB}, pve2: {memory: 32GiB}, pve3: {memory: 32GiB}, pve4: {memory: 32GiB}}
storages: {ceph: {type: rbd, size: 1TiB}}
guests:
  101: {name: web-1, node: pve1, memory: 4GiB, tags: [web], disks: {scsi0: {storage: ceph}}}
  102: {name: web-2, node: pve1, memory: 2GiB, tags: [web], disks: {scsi0: {storage: ceph}}}
  103: {name: web-3, node: pve2, memory: 2GiB, tags: [web], disks: {scsi0: {storage: ceph}}}
  104: {name: db, node: pve2, memory: 8GiB, dirty: 80MiB, disks: {scsi0: {storage: ceph}}}
  105: {name: gpu, node: pve2, memory: 2GiB, disks: {scsi0: {storage: ceph}}}
access:
  users: {drover@pve: {}}
  tokens: {"drover@pve!drover": {secret: 00000000-0000-4000-8000-000000000000, privsep: false}}
  acl: [{role: Administrator, to: drover@pve}]
"""
BASE = """\
apiVersion: drover.dev/v1alpha1
kind: PveCluster
metadata: {name: default}
spec: {endpoints: ["https://pve1:8006"], auth: {credentialsRef: lab}, mode: Enforce, network: {linkMiBps: 110}}
---
apiVersion: drover.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: gpu}
spec: {guestSelector: {vmids: [105]}, nodeAffinity: {nodes: [pve2]}}
"""
MORE = """\
apiVersion: drover.dev/v1alpha1
kind: NodeMaintenance
metadata: {name: firmware}
spec: {nodeName: pve2, approval: Manual}
---
apiVersion: drover.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: web-apart}
spec: {guestSelector: {tags: {any: [web]}}, keepApart: {}}
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with two commits: `main~1` and `main`; beside it a recording."""
    folder = tmp_path / "repo"
    (folder / "m").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "m" / "cluster.yaml").write_text(BASE, encoding="utf-8")
    commit(folder, "first")
    (folder / "m" / "more.yaml").write_text(MORE, encoding="utf-8")
    commit(folder, "second")
    (tmp_path / "cluster.yaml").write_text(CLUSTER, encoding="utf-8")
    return folder


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=Eve", "-c", "user.email=eve@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, subject: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", subject)


def plan(repo: Path, *words: str, output: str = "markdown") -> Result:
    given = ["plan", "m", "--repo", str(repo), "--against", str(repo.parent / "cluster.yaml"), "-o", output]
    return CliRunner().invoke(drover, [*given, *words])


def test_the_comment_is_the_golden_one(repo: Path, accept: bool) -> None:
    done = plan(repo, "--from", "main~1", "--to", "main")
    assert done.exit_code == 3, done.output
    *lines, end = done.stdout.splitlines()
    assert end.startswith("<sub>plan default `")
    assert "main\\~1" in end
    held(HERE / "review.md", "\n".join(lines) + "\n", accept=accept)


def test_the_same_revision_twice_changes_nothing(repo: Path) -> None:
    done = plan(repo, "--from", "main~1", "--to", "main~1")
    assert (done.exit_code, done.stdout.splitlines()[:2]) == (0, [MARKER, "### Drover, cluster default: nothing to do"])


def test_folders_do_as_well_as_revisions(repo: Path) -> None:
    from_git = plan(repo, "--from", "main~1", "--to", "main").stdout.splitlines()[:-1]
    (repo.parent / "old").mkdir()
    (repo.parent / "old" / "cluster.yaml").write_text(BASE, encoding="utf-8")
    folders = plan(repo, "--from", str(repo.parent / "old"), "--to", str(repo / "m"))
    assert folders.stdout.splitlines()[:-1] == from_git


def test_a_broken_manifest_is_a_problem_and_an_error(repo: Path) -> None:
    (repo / "m" / "more.yaml").write_text(MORE.replace("keepApart", "keepAppart"), encoding="utf-8")
    commit(repo, "third")
    done = plan(repo, "--from", "main~1", "--to", "main")
    assert done.exit_code == 1
    assert "m/more.yaml:9:" in done.stdout
    assert "did you mean keepApart?" in done.stdout


def test_a_cluster_that_goes_says_so(repo: Path) -> None:
    (repo / "m" / "cluster.yaml").write_text(BASE.replace("name: default", "name: other"), encoding="utf-8")
    commit(repo, "third")
    done = plan(repo, "--from", "main~1", "--to", "main", "--cluster", "default")
    assert done.exit_code == 1
    assert "stays in force" in done.stdout or "there is no PveCluster default any more" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--from", "main"), 64, "--from needs --to"),
        (("--from", "nope", "--to", "main"), 1, "there is no revision 'nope'"),
        (("--to", "main", "--against", "nowhere.json"), 1, "nowhere.json can't be read as a snapshot"),
    ],
)
def test_what_can_not_be_read_is_one_sentence(repo: Path, words: tuple[str, ...], code: int, says: str) -> None:
    done = plan(repo, *words)
    assert (done.exit_code, says in done.stderr, "Traceback" in done.output) == (code, True, False), done.stderr


def test_text_and_json_plan_the_second_revision(repo: Path) -> None:
    text = plan(repo, "--from", "main~1", "--to", "main", output="text")
    assert "drover approve" in text.stdout
    data = json.loads(plan(repo, "--to", "main", output="json").stdout)
    assert len(data["items"][0]["status"]["approvals"][0]["steps"]) == 2


def test_a_snapshot_of_the_daemon_is_planned_on_without_a_token(daemon: Daemon, tmp_path: Path) -> None:
    file, manifests = tmp_path / "snapshot.json", tmp_path / "m"
    manifests.mkdir()
    (manifests / "cluster.yaml").write_text(BASE, encoding="utf-8")
    fetched = CliRunner().invoke(drover, ["snapshot", str(file), "--server", daemon.url, "--cluster", "default"])
    assert fetched.exit_code == 0, fetched.output
    done = CliRunner().invoke(drover, ["plan", str(manifests), "--against", str(file), "-o", "markdown"])
    assert done.exit_code in (0, 2, 3), done.output
    assert done.stdout.startswith(MARKER)
    assert "looked at 20" in done.stdout
    unknown = CliRunner().invoke(drover, ["snapshot", str(file), "--server", daemon.url, "--cluster", "nope"])
    assert (unknown.exit_code, "there is no cluster nope" in unknown.stderr) == (1, True)
