"""`drover record` against a simulated cluster over HTTPS, and what it says when it can't."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from controller.simulator import recorded
from controller.simulator.generate import generate
from controller.simulator.http import Server
from controller.simulator.seed import load
from tests.cli.served import served_cluster

Said = Callable[..., Result]
FILE = generate(nodes=2, guests=4, seed=2, token=recorded.TOKEN, secret=recorded.SECRET)

SETTINGS = """\
source = "{folder}/manifests"
[credentials.lab]
tokenId = "{token}"
secretFile = "lab.token"
endpoints = ["{endpoint}"]
"""
MANIFEST = """\
apiVersion: drover.dev/v1alpha1
kind: PveCluster
metadata: {{name: default}}
spec:
  endpoints: ["{endpoint}"]
  auth: {{credentialsRef: lab}}
  tls: {{caFile: {ca}}}
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    with served_cluster(FILE) as server:
        yield server


@pytest.fixture
def record(served: Server, tmp_path: Path, said: Said) -> Callable[..., Result]:
    """Run `drover record` with settings and manifests that lead to the served cluster."""
    (tmp_path / "manifests").mkdir()
    names = {"folder": tmp_path, "token": recorded.TOKEN, "endpoint": served.endpoints[0], "ca": served.ca_file}
    (tmp_path / "drover.toml").write_text(SETTINGS.format(**names))
    (tmp_path / "lab.token").write_text(recorded.SECRET)
    (tmp_path / "lab.token").chmod(0o600)
    (tmp_path / "manifests" / "cluster.yaml").write_text(MANIFEST.format(**names))
    return lambda *words: said("record", "--cluster", "default", "--rate", "1000", *words)


@pytest.mark.e2e
def test_a_cluster_is_written_down_so_that_it_can_be_simulated(record: Said, tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    done = record(str(folder))
    assert done.exit_code == 0, done.output
    calls = len(list((folder / "answers").iterdir()))
    assert f"Recorded 2 nodes, 4 guests in {calls} calls: {folder}" in done.output
    assert "not readable: /cluster/ha/groups (500)" in done.output
    made = load(folder / "cluster.yaml")
    assert set(made.guests) == set(FILE.guests)
    assert all(recorded.SECRET not in file.read_text() for file in (folder / "answers").iterdir())


@pytest.mark.e2e
def test_a_folder_that_holds_something_is_left_alone(record: Said, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    done = record(str(tmp_path / "full"))
    assert done.exit_code == 1
    assert "is not empty; a recording gets a folder of its own" in done.output
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine"]


@pytest.mark.e2e
def test_a_token_that_is_not_accepted_is_one_sentence(record: Said, tmp_path: Path) -> None:
    (tmp_path / "lab.token").write_text("wrong")
    done = record(str(tmp_path / "recording"))
    assert done.exit_code == 1
    assert "Error: GET /cluster/status: " in done.output


def test_an_unknown_cluster_is_named_with_those_that_are_known(said: Said, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    done = said(
        "record", "--cluster", "nowhere", "--manifests", str(tmp_path / "manifests"), str(tmp_path / "recording")
    )
    assert done.exit_code == 1
    assert "there is no PveCluster 'nowhere'" in done.output
    assert not (tmp_path / "recording").exists()
