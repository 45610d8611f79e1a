"""What deploy/ci/ gives people: the files parse, ask for little, and their steps are done for real against a forge in memory."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.report.review import MARKER
from tests.cli.test_plan_revisions import BASE, CLUSTER, MORE, commit, git

ROOT = Path(__file__).parents[2]
CI = ROOT / "deploy" / "ci"
FORGES = {"github": ".github/drover", "gitlab": ".gitlab/drover", "forgejo": ".forgejo/drover"}


class Forge(ThreadingHTTPServer):
    """Comments of one merge request, as GitHub, GitLab and Forgejo keep them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.comments: list[dict[str, Any]] = [{"id": 1, "body": "looks good"}, {"id": 2, "body": None}]
        self.calls: list[tuple[str, str]] = []
        self.tokens: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    server: Forge

    def answer(self, data: object) -> None:
        self.server.calls.append((self.command, self.path))
        self.server.tokens.add(self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or "")
        text = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def body(self) -> str:
        said: str = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
        return said

    def do_GET(self) -> None:
        first = "page=1" in self.path or "page" not in self.path
        self.answer(self.server.comments if first else [])

    def do_POST(self) -> None:
        self.server.comments.append({"id": 40 + len(self.server.comments), "body": self.body()})
        self.answer({})

    def do_PATCH(self) -> None:
        number = int(self.path.rsplit("/", 1)[1])
        next(row for row in self.server.comments if row["id"] == number)["body"] = self.body()
        self.answer({})

    do_PUT = do_PATCH  # noqa: N815 - the name is the server's

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def forge() -> Iterator[Forge]:
    server = Forge()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A user's repository with the scripts in it, a base, and a change on top."""
    folder = tmp_path / "repo"
    for below in FORGES.values():
        (folder / below).mkdir(parents=True)
        for name in ("review.sh", "comment.py"):
            (folder / below / name).write_bytes((CI / name).read_bytes())
    (folder / "manifests").mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "manifests" / "cluster.yaml").write_text(BASE, encoding="utf-8")
    commit(folder, "base")
    (folder / "manifests" / "more.yaml").write_text(MORE, encoding="utf-8")
    for below in FORGES.values():  # who writes a merge request does not choose what is run for it
        for name in ("review.sh", "comment.py"):
            (folder / below / name).write_text(f"touch {tmp_path}/evil\n", encoding="utf-8")
    commit(folder, "change")
    (tmp_path / "cluster.yaml").write_text(CLUSTER, encoding="utf-8")
    return folder


def document(forge: str) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load((CI / f"{forge}.yaml").read_text(encoding="utf-8"))
    return loaded


def steps(forge: str) -> list[str]:
    """What a runner would give to its shell, without the installation."""
    if forge == "gitlab":
        job = document(forge)["drover"]
        before = [line for line in job["before_script"] if "install" not in line]
        return ["\n".join([*before, *job["script"]])]
    job = document(forge)["jobs"]["review"]
    return [step["run"] for step in job["steps"] if "run" in step and "install" not in step["run"]]


def commit_of(repo: Path, name: str) -> str:
    found = subprocess.run(["git", "rev-parse", name], cwd=repo, check=True, capture_output=True, text=True)
    return found.stdout.strip()


def runs(repo: Path, forge: Forge, kind: str, **more: str) -> list[int]:
    """Do the steps as a runner would; the exit code of each."""
    temporary = repo.parent / "runner"
    temporary.mkdir(exist_ok=True)

    address = f"http://127.0.0.1:{forge.server_address[1]}"
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(temporary),
        "FROM": commit_of(repo, "main~1"),
        "TO": commit_of(repo, "main"),
        "MANIFESTS": "manifests",
        "CLUSTER": "default",
        "SNAPSHOT": str(repo.parent / "cluster.yaml"),
        "DROVER_SNAPSHOT": str(repo.parent / "cluster.yaml"),
        "RUNNER_TEMP": str(temporary),
        "GITHUB_STEP_SUMMARY": str(temporary / "summary.md"),
        "API": address,
        "REPOSITORY": "eve/cluster",
        "NUMBER": "7",
        "TOKEN": "s3cret",
        "CI_API_V4_URL": address,
        "CI_PROJECT_ID": "12",
        "CI_MERGE_REQUEST_IID": "7",
        "DROVER_COMMENT_TOKEN": "s3cret",
        **more,
    }
    codes = []
    for script in steps(kind):
        # A runner's machine is its own; here several runs share one.
        line = ["bash", "-e", "-c", script.replace("/opt/drover", str(temporary))]
        codes.append(subprocess.run(line, check=False, cwd=repo, env=env, timeout=120).returncode)
    return codes


@pytest.mark.parametrize("kind", list(FORGES))
def test_the_steps_write_one_comment_and_renew_it(repo: Path, forge: Forge, kind: str) -> None:
    assert not any(runs(repo, forge, kind))
    [comment] = [row for row in forge.comments if str(row["body"]).startswith(MARKER)]
    assert "3 moves" in comment["body"]
    base = commit_of(repo, "main~1")
    (repo / "manifests" / "more.yaml").unlink()
    commit(repo, "back again")
    assert not any(runs(repo, forge, kind, FROM=base))
    assert not (repo.parent / "evil").exists()
    [again] = [row for row in forge.comments if str(row["body"]).startswith(MARKER)]
    assert (again["id"], "nothing to do" in again["body"], len(forge.comments)) == (comment["id"], True, 3)
    [token] = forge.tokens
    assert token.endswith("s3cret")
    places = {
        "github": "/repos/eve/cluster/issues",
        "forgejo": "/repos/eve/cluster/issues",
        "gitlab": "/projects/12/merge",
    }
    assert all(path.startswith(places[kind]) for _, path in forge.calls)


def test_broken_manifests_fail_and_are_told_in_the_comment(repo: Path, forge: Forge) -> None:
    base = commit_of(repo, "main~1")
    (repo / "manifests" / "more.yaml").write_text(MORE.replace("keepApart", "keepAppart"), encoding="utf-8")
    commit(repo, "broken")
    assert any(runs(repo, forge, "github", FROM=base))
    assert "did you mean keepApart?" in forge.comments[-1]["body"]


@pytest.mark.parametrize("kind", list(FORGES))
def test_rights_are_few_and_versions_are_pinned(kind: str) -> None:
    text, whole = (CI / f"{kind}.yaml").read_text(encoding="utf-8"), document(kind)
    assert "pull_request_target" not in re.sub(r"(?m)^\s*#.*$", "", text)
    assert not re.search(r"run:.*\$\{\{", text), "what others may choose is never pasted into a script"
    for step in whole.get("jobs", {}).get("review", {}).get("steps", []):
        if "uses" in step:
            assert re.search(r"@v\d+\.\d+\.\d+$", step["uses"]), step["uses"]
            assert step["uses"].startswith("actions/setup") or step["with"]["persist-credentials"] is False
    if kind == "github":
        assert whole["permissions"] == {"contents": "read"}
        assert whole["jobs"]["review"]["permissions"] == {"contents": "read", "pull-requests": "write"}
        assert "head.repo.full_name == github.repository" in whole["jobs"]["review"]["steps"][-1]["if"]


def test_the_pre_commit_hook_checks_the_folder(tmp_path: Path) -> None:
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert (hook["id"], hook["pass_filenames"], hook["language"]) == ("drover-validate", False, "python")
    (tmp_path / "cluster.yaml").write_text(BASE, encoding="utf-8")
    line = [str(Path(sys.executable).parent / "drover"), *hook["entry"].split()[1:], *hook["args"]]
    (tmp_path / "more.yaml").write_text("kind: PveNod\n", encoding="utf-8")
    assert subprocess.run(line, check=False, cwd=tmp_path, capture_output=True).returncode == 1


@pytest.mark.parametrize(
    ("words", "env", "code", "says"),
    [
        (["github"], {}, 2, "values to unpack"),
        (["sourcehut", "FILE"], {}, 2, "unknown forge"),
        (["github", "FILE"], {"API": "http://forge.example.org"}, 2, "https://"),
        (["github", "FILE"], {"TOKEN": None}, 2, "TOKEN is not in the environment"),
        (["github", "FILE"], {"API": "http://127.0.0.1:9"}, 1, "can't be reached"),
        (["github", "OTHER"], {}, 2, "was not made by drover plan"),
    ],
)
def test_wrong_usage_is_one_sentence(
    tmp_path: Path, words: list[str], env: dict[str, str | None], code: int, says: str
) -> None:
    (tmp_path / "FILE").write_text(MARKER, encoding="utf-8")
    (tmp_path / "OTHER").write_text("hello", encoding="utf-8")
    given = {"API": "https://127.0.0.1:9", "REPOSITORY": "a/b", "NUMBER": "1", "TOKEN": "s3cret", **env}
    ran = subprocess.run(
        [sys.executable, str(CI / "comment.py"), *words],
        cwd=tmp_path,
        env={key: value for key, value in given.items() if value is not None},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (ran.returncode, says in ran.stderr, "s3cret" in ran.stderr) == (code, True, False), ran.stderr
