"""`drover export` of a simulated cluster over HTTPS: what it writes is planned without a change; what it says when it can't."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from controller.simulator.generate import generate
from controller.simulator.http import Server
from controller.simulator.seed import ClusterFile
from tests.cli.served import served_cluster

Said = Callable[..., Result]
TOKEN, SECRET = "drover@pve!export", "4c1a0d3e-7d0b-4a55-8a5e-5ec2e7f0cccc"


def lived_in() -> ClusterFile:
    file = generate(nodes=3, guests=5, seed=3, token=TOKEN, secret=SECRET)
    tags = {100: ("plb_anti_affinity_db",), 101: ("plb_anti_affinity_db",)}
    guests = {
        vmid: guest.model_copy(update={"tags": tags.get(vmid, guest.tags), "node": "pve1"} if vmid in tags else {})
        for vmid, guest in file.guests.items()
    }
    return file.model_copy(update={"guests": guests})


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    with served_cluster(lived_in()) as server:
        yield server


@pytest.fixture
def machine(served: Server, said: Said, tmp_path: Path) -> Server:
    (tmp_path / "drover.toml").write_text(
        f'source = "{tmp_path / "out"}"\nstateDirectory = "{tmp_path / "state"}"\n'
        f'[credentials.lab]\ntokenId = "{TOKEN}"\nsecret = "{SECRET}"\nendpoints = ["{served.endpoints[0]}"]\n'
    )
    return served


@pytest.mark.e2e
def test_an_export_is_planned_without_a_change(machine: Server, said: Said, tmp_path: Path) -> None:
    done = said("export", "--cluster", "lab", "--ca-file", str(machine.ca_file), "--to", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "5 manifests in" in done.output
    assert "1 PveCluster, 3 PveNode, 1 PlacementPolicy" in done.output
    assert "Broken today, and left so until correctExisting goes" in (tmp_path / "out" / "placement.yaml").read_text()
    valid = said("validate", str(tmp_path / "out"))
    assert valid.exit_code == 0, valid.output
    plan = said("plan", str(tmp_path / "out"))
    assert plan.exit_code == 0, plan.output
    assert "Nothing to do" in plan.output
    again = said("export", "--cluster", "lab", "--manifests", str(tmp_path / "out"))
    assert again.exit_code == 0
    assert (tmp_path / "out" / "nodes.yaml").read_text() in again.stdout, "the same, reached by its own manifests"


@pytest.mark.e2e
def test_what_is_there_is_never_overwritten(machine: Server, said: Said, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    done = said("export", "--cluster", "lab", "--ca-file", str(machine.ca_file), "--to", str(tmp_path / "out"))
    assert done.exit_code == 1
    assert "what is there is never overwritten" in done.output
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--cluster", "Not Valid", "--credential", "lab"), 1, "no PveCluster can be made of it: metadata.name"),
        (("--cluster", "lab", "--credential", "other"), 1, "the settings define no credential 'other' (defined: lab)"),
        (("--cluster", "lab", "--fingerprint", "12"), 1, "fingerprint"),
        (("--cluster", "lab", "--manifests", ".", "--credential", "lab"), 64, "--manifests says how to reach"),
        ((), 64, "Missing option '--cluster'"),
    ],
)
@pytest.mark.e2e
def test_wrong_words_are_one_sentence(
    machine: Server, said: Said, words: tuple[str, ...], code: int, sentence: str
) -> None:
    done = said("export", *words)
    assert done.exit_code == code
    assert sentence in done.output
    assert "Traceback" not in done.output
