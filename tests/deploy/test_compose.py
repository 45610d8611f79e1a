"""The compose file and what it mounts fit together, although no engine runs here: paths, names, rights, versions."""

import json
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from controller.report.access import is_loopback
from controller.settings import Settings
from tests.programs import program

FOLDER = Path(__file__).parents[2] / "deploy/compose"
FILE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
USERS_OWN = {"./drover", "./grafana-admin.password"}


def mounts(service: str) -> dict[str, str]:
    """What is mounted, by where the container sees it."""
    split = [volume.split(":") for volume in SERVICES[service]["volumes"]]
    return {inside: outside for outside, inside, *_ in split}


def outside(service: str, inside: str) -> Path:
    """The file of the repository behind a path of the container."""
    for mounted, source in mounts(service).items():
        if PurePosixPath(inside).is_relative_to(mounted) and source.startswith("."):
            return FOLDER / source / PurePosixPath(inside).relative_to(mounted)
    raise AssertionError(f"{service} does not mount {inside}")


def parsed(service: str, inside: str) -> dict[str, Any]:
    content = yaml.safe_load(outside(service, inside).read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_few_rights_and_is_reached_from_this_machine_alone(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9][0-9]*:[0-9]+", service["user"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "privileged" not in service
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]) or service["image"].startswith("localhost/")
    for volume in service["volumes"]:
        assert volume.endswith(":ro") or volume.split(":")[0] in FILE["volumes"], f"{volume} could be written to"


def test_everything_that_is_mounted_or_built_from_is_there() -> None:
    build = SERVICES["drover"]["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).is_file()
    sources = [source for name in SERVICES for source in mounts(name).values()]
    assert all((FOLDER / source).exists() for source in sources if source.startswith(".") and source not in USERS_OWN)
    assert {source for source in sources if not source.startswith(".")} == set(FILE["volumes"])
    ignored = (FOLDER / ".gitignore").read_text().splitlines()
    assert "/drover/" in ignored
    assert "*.password" in ignored


def test_every_secret_comes_from_a_file_and_is_one_that_is_handed_over() -> None:
    handed = {name: SERVICES[name].get("secrets", []) for name in SERVICES}
    assert {secret for each in handed.values() for secret in each} == set(FILE["secrets"])
    assert {secret["file"] for secret in FILE["secrets"].values()} <= USERS_OWN
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            assert not re.search("password|token|secret", key, re.IGNORECASE) or key.endswith("__FILE")
            if key.endswith("__FILE"):
                assert PurePosixPath(value).parts[:3] == ("/", "run", "secrets")
                assert PurePosixPath(value).name in handed[name]


def test_drover_may_write_where_it_keeps_what_it_remembers() -> None:
    defaults, given = Settings(), mounts("drover")
    assert given[str(defaults.state_directory)] == "state"
    assert any(each.startswith(f"{defaults.socket.parent}:uid=65532") for each in SERVICES["drover"]["tmpfs"])
    recipe = (FOLDER / "../container/Containerfile").read_text()
    assert f"USER {SERVICES['drover']['user']}" in recipe
    assert "-o 65532 -g 65532" in recipe


def test_prometheus_understands_its_configuration_and_the_rules_that_are_mounted(tmp_path: Path) -> None:
    for inside, source in mounts("prometheus").items():
        if source.startswith("."):
            file = tmp_path / PurePosixPath(inside).relative_to("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(FOLDER / source, file)
    [config] = [arg.partition("=")[2] for arg in SERVICES["prometheus"]["command"] if arg.startswith("--config.file")]
    file = tmp_path / PurePosixPath(config).relative_to("/")
    done = subprocess.run(
        [program("promtool"), "check", "config", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"SUCCESS: \d+ rules? found", done.stdout), "the rules are found by the path in the configuration"
    [stored] = [arg.partition("=")[2] for arg in SERVICES["prometheus"]["command"] if "tsdb.path" in arg]
    assert mounts("prometheus")[stored] == "metrics"


def test_grafana_is_given_the_metrics_and_every_dashboard() -> None:
    [source] = parsed("grafana", "/etc/grafana/provisioning/datasources/drover.yaml")["datasources"]
    port = SERVICES["prometheus"]["ports"][0].rpartition(":")[2]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", f"http://prometheus:{port}", True)
    scraped = parsed("prometheus", "/etc/prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    [provider] = parsed("grafana", "/etc/grafana/provisioning/dashboards/drover.yaml")["providers"]
    assert provider["type"] == "file"
    folder = outside("grafana", provider["options"]["path"])
    boards = sorted(folder.glob("*.json"))
    assert len(boards) >= 4
    assert all(json.loads(board.read_text())["uid"] for board in boards)
    home = outside("grafana", SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home in boards


def test_the_page_asks_for_a_token_because_it_is_bound_to_more_than_loopback() -> None:
    host = SERVICES["drover"]["environment"]["DROVER_LISTEN"].rpartition(":")[0]
    assert not is_loopback(host)
