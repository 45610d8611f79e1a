"""Alerts: promtool makes each fire and not fire, each asks for series that exist, and each has a runbook that can be followed."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from controller.cli import drover
from tests.deploy.promql import exists, selectors
from tests.programs import program

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
BOOKS = ROOT / "docs" / "runbooks"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Remedy"]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )


def test_prometheus_understands_the_rules() -> None:
    done = promtool("check", "rules", "alerts.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    done = promtool("test", "rules", "alerts_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_never_fires_and_one_that_always_does_are_noticed(tmp_path: Path) -> None:
    text = (FOLDER / "alerts.yaml").read_text()
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())
    tests["tests"] = [test for test in tests["tests"] if test["name"].startswith("DroverDrainOverdue ")]
    (tmp_path / "alerts_test.yaml").write_text(yaml.safe_dump(tests))
    rule = "drover_maintenance_overdue_nodes > 0"
    assert rule in text
    for planted, got in ((f"{rule}9", "got: nil"), (rule.replace(">", ">="), "exp: nil")):
        (tmp_path / "alerts.yaml").write_text(text.replace(rule, planted))
        done = promtool("test", "rules", str(tmp_path / "alerts_test.yaml"))
        assert done.returncode != 0
        assert "DroverDrainOverdue" in done.stderr
        assert got in done.stderr


def test_every_alert_is_tested_both_ways() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    for name, rule in RULES.items():
        fires, quiet = (
            [test for test in tests if test["name"] == f"{name} {word}"] for word in ("fires", "stays quiet")
        )
        assert len(fires) == len(quiet) == 1, name
        [asked] = fires[0]["promql_expr_test"]
        assert f'alertname="{name}"' in asked["expr"]
        assert rule["labels"]["severity"] in asked["exp_samples"][0]["labels"]
        [asked] = quiet[0]["promql_expr_test"]
        assert f'alertname="{name}"' in asked["expr"]
        assert asked["exp_samples"] == []
    assert len(tests) == 2 * len(RULES)


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_asks_for_series_that_exist(alert: str) -> None:
    asked = list(selectors(RULES[alert]["expr"]))
    assert asked
    assert all(exists(name, labels) for name, labels in asked), asked


@pytest.mark.parametrize(
    "expression",
    [
        "drover_no_such_metric > 0",
        'drover_armed{reason="StoreFaild"} == 1',
        'increase(drover_reconcile{result="Error"}[5m]) > 0',
    ],
)
def test_a_planted_typo_in_an_alert_is_noticed(expression: str) -> None:
    assert not all(exists(name, labels) for name, labels in selectors(expression))


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_where_to_look(alert: str) -> None:
    rule = RULES[alert]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{alert}.md"
    kept = re.search(r"by \(([^)]*)\)", rule["expr"])
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert kept is None or named <= set(kept[1].split(", "))


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_has_a_runbook_with_meaning_impact_diagnosis_and_remedy(alert: str) -> None:
    text = (BOOKS / f"{alert}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {alert}\n\nSeverity: {RULES[alert]['labels']['severity']}.\n")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    assert parts[1::2] == HEADINGS
    assert all(len(part.strip()) > 15 for part in parts[2::2])


def test_there_is_no_runbook_without_an_alert() -> None:
    assert {path.stem for path in BOOKS.glob("*.md")} == set(RULES)


@pytest.mark.parametrize("alert", RULES)
def test_a_runbook_names_verbs_and_options_that_there_are(alert: str) -> None:
    text = " ".join((BOOKS / f"{alert}.md").read_text(encoding="utf-8").split())
    for command in re.findall(r"`drover ([^`]+)`", text):
        verb, *words = command.split()
        help_ = CliRunner().invoke(drover, [verb, "--help"])
        assert help_.exit_code == 0, command
        options = set(re.findall(r"(?<![\w-])-{1,2}[a-z][a-z-]*", help_.output))
        assert {word for word in words if word.startswith("-")} <= options, command
