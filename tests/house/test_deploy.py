"""What deploy/ holds fits this version: the unit is tight, alerts use metrics that exist, files that are mounted are there."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml

from controller.model.ids import ClusterName
from controller.report.access import is_allowed_host
from controller.report.metrics import Metrics
from controller.settings import DEFAULT_FILE, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]
RULES = {rule["alert"]: rule for group in ALERTS for rule in group["rules"]}
UNIT = DEPLOY / "systemd/drover.service"


@cache
def born() -> list[tuple[str, Mapping[str, str]]]:
    """Every series that exists before anything has happened."""
    metrics = Metrics()
    metrics.add_cluster(ClusterName("default"))
    return [(sample.name, sample.labels) for family in metrics.registry.collect() for sample in family.samples]


def selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the metrics of an expression with the labels that are asked for."""
    for name, labels in re.findall(
        r"\b([a-z]+_[a-z_]+)(?:\{([^}]*)\})?", re.sub(r"\b(by|without) \([^)]*\)", "", expression)
    ):
        yield name, dict(re.findall(r'(\w+)="([^"]*)"', labels))


def has_series(name: str, labels: Mapping[str, str]) -> bool:
    return any(name == known and labels.items() <= given.items() for known, given in born())


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_asks_for_series_that_exist_from_the_first_scrape(alert: str) -> None:
    asked = list(selectors(RULES[alert]["expr"]))
    assert asked
    assert all(has_series(name, labels) for name, labels in asked), asked


@pytest.mark.parametrize(
    "expression",
    [
        "drover_no_such_metric > 0",
        'drover_armed{reason="StoreFaild"} == 1',
        'increase(drover_reconcile{result="Error"}[5m]) > 0',
    ],
)
def test_a_planted_typo_in_an_alert_is_noticed(expression: str) -> None:
    assert not all(has_series(name, labels) for name, labels in selectors(expression))


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_where_to_look(alert: str) -> None:
    rule = RULES[alert]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert {"summary", "description"} <= set(rule["annotations"])
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    [(name, _), *_] = selectors(rule["expr"])
    kept = re.search(r"by \(([^)]*)\)", rule["expr"])
    available = (
        set(kept[1].split(", ")) if kept else {label for known, labels in born() if known == name for label in labels}
    )
    assert named <= available


def test_the_unit_keeps_what_drover_writes_where_it_looks_for_it() -> None:
    lines = UNIT.read_text().splitlines()
    assert f"StateDirectory={Settings().state_directory.name}" in lines
    assert f"RuntimeDirectory={Settings().socket.parent.name}" in lines
    assert f"LoadCredential=lab.token:{DEFAULT_FILE.parent}/lab.token" in lines


def analyze(*arguments: str) -> str:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_finds_the_unit_tight_enough() -> None:
    said = analyze("security", "--offline=true", "--no-pager", "--threshold=20", str(UNIT))
    assert "Overall exposure level" in said


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "drover.service"
    unit.write_text(UNIT.read_text().replace("/opt/drover/bin/drover", "/bin/true"))
    assert "drover.service:" not in analyze("verify", str(unit))


def test_what_compose_mounts_and_builds_is_there() -> None:
    folder = DEPLOY / "compose"
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    build = services["drover"]["build"]
    assert (folder / build["context"] / build["dockerfile"]).is_file()
    named = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    ours = [name for name in named if name.startswith(".") and name != "./drover"]  # that folder is the user's
    assert ours
    assert all((folder / name).is_file() for name in ours)


def test_prometheus_asks_for_drover_by_a_name_that_it_answers_to() -> None:
    services = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
    scrape = yaml.safe_load((DEPLOY / "compose/prometheus.yaml").read_text())["scrape_configs"]
    name, port = services["drover"]["hostname"], services["drover"]["environment"]["DROVER_LISTEN"].split(":")[1]
    targets = [target for job in scrape for group in job["static_configs"] for target in group["targets"]]
    assert targets == [f"{name}:{port}"]
    assert is_allowed_host(targets[0], frozenset({name}))


def test_the_container_installs_what_is_locked() -> None:
    lines = (DEPLOY / "container/Containerfile").read_text()
    assert "--require-hashes" in lines
    for source in re.findall(r"^COPY (?!--from)(\S+)", lines, re.MULTILINE):
        assert (DEPLOY.parent / source).exists(), source


def commands(text: str) -> list[str]:
    """The lines of a script that do something, without comments."""
    lines = [line.partition("   #")[0].strip() for line in text.splitlines() if not line.startswith(("#", "set "))]
    return [line for line in lines if line]


def test_the_script_for_role_and_token_does_what_drover_rights_prints() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "controller", "rights"], capture_output=True, text=True, check=True
    ).stdout
    script = DEPLOY / "pve/role-and-token.sh"
    assert commands(script.read_text()) == commands(printed)
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
