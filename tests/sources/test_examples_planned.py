"""The example repositories under manifests/, each as a user would commit it: planned on a simulated cluster that fits."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from controller.cli import drover
from controller.sources import validate
from tests.golden import held

MANIFESTS = Path(__file__).parents[2] / "manifests"
CLUSTERS = Path(__file__).parent / "examples"
EXAMPLES = ("homelab", "rack-aware", "two-datacenters")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_plans_what_people_have_read(name: str, accept: bool) -> None:
    words = [str(MANIFESTS / name), "--against", str(CLUSTERS / f"{name}.yaml"), "-o", "markdown"]
    done = CliRunner().invoke(drover, ["plan", *words])
    assert done.exit_code == 2, done.output
    held(CLUSTERS / f"{name}.md", done.stdout, accept=accept)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_a_folder_as_people_commit_it(name: str) -> None:
    folder = MANIFESTS / name
    assert validate(folder).ok
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("# ")
    assert (folder / ".yamllint").exists()
    for file in sorted({*folder.glob("*.yaml")} - {folder / "kustomization.yaml"}):
        assert "yaml-language-server: $schema=../../crds/json-schema/" in file.read_text(encoding="utf-8"), file
