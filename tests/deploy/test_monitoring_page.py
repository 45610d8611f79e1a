"""docs/monitoring.md: what it tells people to write is valid, and every alert, runbook and dashboard that it names is there."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from tests.programs import program

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
YAML = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
RULES = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
ALERTS = {rule["alert"] for group in RULES for rule in group["rules"] if "alert" in rule}


def test_prometheus_takes_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    shutil.copy(ROOT / "deploy/prometheus/alerts.yaml", tmp_path / "rules/drover.yaml")
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(YAML[0]))
    done = subprocess.run(
        [program("promtool"), "check", "config", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_grafana_finds_the_dashboards_where_the_page_puts_them() -> None:
    [source] = YAML[1]["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://localhost:9090")
    [provider] = YAML[2]["providers"]
    assert f"-t {provider['options']['path']} deploy/grafana/dashboards/*.json" in PAGE
    titles = {yaml.safe_load(file.read_text())["title"] for file in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
    assert set(re.findall(r"\*(Drover / [\w ]+)\*", PAGE)) == titles


def test_every_alert_that_is_named_exists_and_has_its_runbook() -> None:
    named = re.findall(r"\[(Drover\w+)\]\((runbooks/\w+\.md)\)", PAGE)
    assert named
    for alert, page in named:
        assert alert in ALERTS
        assert (ROOT / "docs" / page).is_file()
