"""`drover validate` offline, and the examples."""

from pathlib import Path

import pytest

from controller.sources import validate
from controller.sources.folder import FolderSource
from controller.specs import KINDS, Mode, Specs
from tests.sources.writing import apart, cluster, obj, write

EXAMPLES = sorted((Path(__file__).parents[2] / "manifests").iterdir())


def test_a_folder_without_problems(tmp_path: Path) -> None:
    write(tmp_path, a=cluster(), b=apart("p") + "---\n" + apart("q"))
    report = validate(tmp_path)
    assert report.ok
    assert report.counts == dict.fromkeys(KINDS, 0) | {"PveCluster": 1, "PlacementPolicy": 2}


def test_problems_of_files_and_between_objects_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    write(tmp_path, a=apart("p"), b=obj("PveNode", "n", "{x: 1}"), c="{")
    report = validate(tmp_path)
    assert not report.ok
    assert [problem.field for problem in report.problems] == ["spec.clusterRef.name", "spec.x", ""]


def test_nothing_there_is_a_problem(tmp_path: Path) -> None:
    assert not validate(tmp_path).ok
    assert not validate(tmp_path / "nowhere").ok


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_every_example_is_valid(folder: Path) -> None:
    report = validate(folder)
    assert [str(problem) for problem in report.problems] == []
    assert report.counts["PveCluster"] == 1


def example(name: str) -> Specs:
    return Specs.of(FolderSource(EXAMPLES[0].parent / name, watch=False).read_now().objects)


def test_the_examples_for_beginners_say_enforce_in_plain_sight() -> None:
    for name in ("homelab", "drain"):
        [found] = example(name).clusters.values()
        assert found.spec.mode is Mode.ENFORCE
