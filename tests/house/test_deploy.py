"""What deploy/ holds fits this version: the unit is tight, files that are mounted are there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from controller.report.access import is_allowed_host
from controller.settings import DEFAULT_FILE, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd/drover.service"


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


def test_prometheus_asks_for_drover_by_a_name_that_it_answers_to() -> None:
    services = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
    scrape = yaml.safe_load((DEPLOY / "compose/prometheus.yaml").read_text())["scrape_configs"]
    name, port = services["drover"]["hostname"], services["drover"]["environment"]["DROVER_LISTEN"].split(":")[1]
    groups = [group for job in scrape if job["job_name"] == "drover" for group in job["static_configs"]]
    targets = [target for group in groups for target in group["targets"]]
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
