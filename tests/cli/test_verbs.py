"""Verbs that need no daemon: plan, validate, schema, rights, version, and the frame around all."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
import yaml
from click.testing import Result

from controller import app
from controller.cli import plan
from controller.cli.frame import VERBS
from controller.model.errors import Denied
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.specs import Specs
from tests.report.scene import CLUSTER, PLAN, PROBLEM, SEEN, SPECS, written

Said = Callable[..., Result]
QUIET = Plan(CLUSTER, PLAN.at, fine=PLAN.fine)
ONLY_MOVES = replace(PLAN, blocked=(), waiting=(), drains=())
DENIED = Denied(Why.AUTH_FAILED, "401 no such token")

CLUSTER_YAML = """\
apiVersion: drover.dev/v1alpha1
kind: PveCluster
metadata:
  name: default
spec:
  endpoints: [https://127.0.0.1:1]
  auth:
    credentialsRef: nobody
"""
CLASH_YAML = """\
apiVersion: drover.dev/v1alpha1
kind: PlacementPolicy
metadata:
  name: shop
spec:
  guestSelector: {vmids: [101, 102]}
  priority: 10
  keepTogether: {}
---
apiVersion: drover.dev/v1alpha1
kind: PlacementPolicy
metadata:
  name: quorum
spec:
  guestSelector: {vmids: [102, 101]}
  keepApart: {}
"""
ROOT = Path(__file__).parents[2]


def result(made: Plan | None = PLAN, **changes: object) -> app.PlanResult:
    whole = app.PlanResult(CLUSTER, SPECS, (), SEEN, made, None)
    return replace(whole, **changes)  # type: ignore[arg-type]  # tests name the fields


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([result(QUIET)], 0),
        ([result(replace(QUIET, flying=PLAN.flying))], 0),
        ([result(ONLY_MOVES)], 2),
        ([result(replace(PLAN, blocked=(), moves=()))], 2),
        ([result(PLAN)], 3),
        ([result(replace(QUIET, unsafe=("after 1 step: pve2 is overfull",)))], 3),
        ([result(ONLY_MOVES), result(PLAN)], 3),
        ([result(PLAN), result(None, error=DENIED)], 1),
        ([result(QUIET, problems=(PROBLEM,))], 1),
        ([result(QUIET, lacking=("VM.Audit on /vms",))], 1),
        ([], 1),
    ],
)
def test_the_exit_code_is_the_worst_of_all_clusters(results: list[app.PlanResult], code: int) -> None:
    assert plan.exit_code(results) == code


def test_a_plan_reads_like_a_diff() -> None:
    assert [click.unstyle(line) for line in plan.show(PLAN, SEEN, SPECS)] == [
        "",
        "Starts now: 1 move, 8.0 GiB",
        "  ~ VM 102  db-2  pve1 -> pve3  8.0 GiB  NodeMaintenance: pve1 is in maintenance; pve3 has the most room",
        "      qm migrate 102 pve3 --online",
        "",
        "Waits, with its target chosen: 1 move, 1.0 GiB",
        "  ~ CT 201  dns  pve1 -> pve2  1.0 GiB  SlotTaken: pve1 sends 2 guests already",
        "      pct migrate 201 pve2",
        "",
        "Blocked: 1 guest",
        f"  ! VM 105  build  on pve1  48.0 GiB  NoTargetFits: {PLAN.blocked[0].message}",
        "      Free memory, add a node, or relax a policy.",
        "",
        "Does not hold yet",
        "  PlacementPolicy/databases-apart: VM 101 db-1 and VM 102 db-2 are both on pve1",
        "",
        "1 move to start, 1 waiting, 1 blocked, 1 under way (101); 3 guests fine. Plan b3a2947fe6b3",
    ]


def test_a_plan_with_nothing_to_do_says_so() -> None:
    assert list(plan.show(QUIET, SEEN, SPECS)) == ["", f"Nothing to do; 3 guests fine. Plan {QUIET.digest}"]


def test_a_plan_says_when_the_mode_would_start_nothing() -> None:
    looking = written("PveCluster", "default", {"endpoints": ["https://pve1:8006"], "auth": {"credentialsRef": "lab"}})
    last = list(plan.show(PLAN, SEEN, Specs.of([looking])))[-1]
    assert "mode: Plan, so `drover run` starts none of this" in last


def test_a_plan_of_a_token_without_rights_says_which_and_how_to_grant_them(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = result(QUIET, lacking=("VM.Audit on /vms (to see guests)",), missing_rights=("pveum acl modify /",))
    monkeypatch.setattr(app, "plan_once", lambda *_: [poor])
    monkeypatch.setenv("DROVER_SOURCE", str(tmp_path))
    lines = [line.strip() for line in said("plan").output.splitlines()]
    assert lines[2:5] == [
        "VM.Audit on /vms (to see guests)",
        "As root on any node of the cluster:",
        "pveum acl modify /",
    ]
    [item] = json.loads(said("plan", "-o", "json").output)["items"]
    assert item["status"]["missingRights"] == ["pveum acl modify /"]


def test_the_plan_as_data_has_commands_reasons_and_errors() -> None:
    data = json.loads(json.dumps(plan.as_data([result(PLAN), result(None, error=DENIED, problems=(PROBLEM,))])))
    first, second = (item["status"] for item in data["items"])
    assert first["digest"] == PLAN.digest
    assert first["moves"][0]["command"] == "qm migrate 102 pve3 --online"
    assert first["waiting"][0]["move"]["command"] == "pct migrate 201 pve2"
    assert first["blocked"][0]["remedy"] == Why.NO_TARGET_FITS.remedy
    assert second["error"] == {"reason": "AuthFailed", "message": "401 no such token"}
    assert second["problems"] == [str(PROBLEM)]


def test_a_plan_without_credentials_says_which_and_exits_1(said: Said, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "cluster.yaml").write_text(CLUSTER_YAML)
    done = said("plan", str(tmp_path / "manifests"))
    assert done.exit_code == 1
    assert "NoCredentials: the settings define no credential 'nobody'" in done.output
    data = yaml.safe_load(said("plan", str(tmp_path / "manifests"), "-o", "yaml").output)
    assert data["items"][0]["status"]["error"]["reason"] == "NoCredentials"


def test_a_plan_of_a_folder_without_a_cluster_is_an_error(said: Said, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    done = said("plan", str(tmp_path / "manifests"))
    assert done.exit_code == 1
    assert "has no PveCluster to plan for" in done.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("plan", "/no/such/folder"), 64),
        (("plan", "-o", "xml"), 64),
        (("validate",), 64),
        (("validate", "/no/such/folder"), 64),
        (("dance",), 64),
        (("schema",), 64),
        (("schema", "--print", "nonsense"), 64),
        (("rights", "--user", "drover"), 64),
        (("simulate", "/no/such/file"), 64),
        (("--help",), 0),
        ((), 0),
        (("version",), 0),
    ],
)
def test_wrong_usage_exits_64_without_a_traceback(said: Said, arguments: tuple[str, ...], code: int) -> None:
    done = said(*arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output


def test_a_mistake_in_the_settings_names_file_and_key(said: Said, tmp_path: Path) -> None:
    (tmp_path / "drover.toml").write_text("colour = true\n")
    done = said("plan", str(tmp_path))
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {tmp_path}/drover.toml: colour: is not a setting")


def test_validate_prints_a_line_per_problem_for_editors(said: Said, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER_YAML.replace("auth:", "mode: Sometimes\n  auth:"))
    done = said("validate", str(tmp_path), "-q")
    assert done.exit_code == 1
    [line] = done.output.splitlines()
    assert line.startswith(("cluster.yaml:7:9: spec.mode: ", f"{tmp_path}/cluster.yaml:7:9: spec.mode: "))
    assert "Observe, Plan, Enforce" in line
    data = json.loads(said("validate", str(tmp_path), "-o", "json").output)
    [problem] = data["problems"]
    assert (problem["line"], problem["column"], problem["field"]) == (7, 9, "spec.mode")
    assert problem["object"] == "PveCluster/default"


def test_validate_of_good_manifests_counts_them(said: Said, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER_YAML)
    done = said("validate", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert done.output == "1 object (1 PveCluster): all is well\n"
    assert said("validate", str(tmp_path), "-o", "yaml").exit_code == 0


def test_validate_names_policies_that_can_not_hold_together(said: Said, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER_YAML)
    (tmp_path / "clash.yaml").write_text(CLASH_YAML)
    done = said("validate", str(tmp_path), "-q")
    assert done.exit_code == 1
    [line] = done.output.splitlines()
    assert "clash.yaml:10:1: spec: ContradictoryAffinity: " in line
    assert "PlacementPolicy/shop keeps guest 101, guest 102 together" in line
    assert "must be apart over nodes, however many there are: both can't be" in line
    assert "PlacementPolicy/quorum gives way and counts as a Should: it has the lowest priority (0)" in line
    [problem] = json.loads(said("validate", str(tmp_path), "-o", "json").output)["problems"]
    assert problem["object"] == "PlacementPolicy/quorum"


@pytest.mark.parametrize(
    "folder", sorted(p for p in (ROOT / "manifests").iterdir() if p.is_dir()), ids=lambda p: p.name
)
def test_our_own_examples_hold_together(said: Said, folder: Path) -> None:
    done = said("validate", str(folder))
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].endswith("all is well")


def test_schemas_are_written_and_the_second_time_nothing_changes(said: Said, tmp_path: Path) -> None:
    first = said("schema", "--write", str(tmp_path))
    assert first.exit_code == 0, first.output
    assert (tmp_path / "crds" / "drover.dev_pveclusters.yaml").exists()
    assert (tmp_path / "docs" / "reasons.md").exists()
    assert said("schema", "--write", str(tmp_path)).output.strip().endswith("files, 0 changed")
    assert json.loads(said("schema", "--print", "nm").output)["title"]
    assert "pvecluster" in json.loads(said("schema", "--print", "all").output)


def test_rights_are_lines_for_a_shell(said: Said) -> None:
    lines = said("rights", "--user", "robot@pam", "--token", "t1").output.splitlines()
    typed = [line for line in lines if line and not line.startswith("#")]
    assert all(line.startswith("pveum ") for line in typed)
    order = [
        next(number for number, line in enumerate(typed) if words in line)
        for words in ("user add", "token add", "--tokens")
    ]
    assert order == sorted(order), "a token has to exist before it is given rights"
    assert any("--tokens 'robot@pam!t1'" in line for line in typed)


def test_every_verb_has_help_that_begins_with_a_sentence(said: Said) -> None:
    for verb in VERBS:
        done = said(verb, "--help")
        assert done.exit_code == 0, (verb, done.output)
        text = done.output.splitlines()[2].strip()
        assert text.endswith((".", ":")) or len(text) > 60, (verb, text)


def test_the_help_and_the_version_import_nothing_heavy() -> None:
    code = "import sys; from controller.cli.frame import drover\ntry: drover(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('pydantic', 'aiohttp', 'rich', 'proxmoxer', 'prometheus_client') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m controller schema --print all | head -c 10"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_shell_completion_knows_verbs_and_kinds(tmp_path: Path) -> None:
    def complete(words: str, at: int) -> list[str]:
        env = {"_DROVER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("drover"))], env=env, capture_output=True, text=True, check=False
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert complete("drover pl", 1) == ["plan"]
    assert complete("drover get nodem", 2) == ["nodemaintenances"]
