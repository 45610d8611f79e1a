"""The README and the pages beside it tell the truth: their commands run, their examples are valid, their words exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from controller import cli
from controller.cli.frame import VERBS
from controller.model.reasons import Why
from controller.model.revision import OUTCOMES
from controller.report.conditions import TYPES
from controller.report.metrics import Metrics
from controller.settings import SettingsError, load
from controller.simulator import seed
from controller.simulator.faults import FAULTS
from controller.sources import validate
from controller.specs import KINDS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.yaml")),
]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def blocks(file: Path, language: str) -> list[str]:
    """The examples of one language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def manifests() -> list[str]:
    return [text for text in blocks(README, "yaml") if "apiVersion: drover.dev" in text]


def drover(*arguments: str) -> Result:
    """What a command prints, and its exit code."""
    return CliRunner().invoke(cli.drover, arguments)


def test_nothing_is_left_to_be_filled_in() -> None:
    assert not re.search(r"@@|TODO|FIXME|TBD", README.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    spoken = re.findall(r"(?:`|: |\()drover ([a-z]+)", text)
    typed = re.findall(r"^(?:\$ )?(?:sudo )?drover ([a-z]+)", "\n".join(blocks(page, "(?:sh|console)")), re.MULTILINE)
    assert set(spoken + typed) <= set(VERBS)


def test_the_changelog_names_every_command() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert all(f"`{verb}`" in text or f"`drover {verb}`" in text for verb in VERBS)


def test_a_reader_of_the_readme_finds_every_page() -> None:
    found = set(re.findall(r"\]\((docs/[\w.-]+\.md)\)", README.read_text(encoding="utf-8")))
    assert found == {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}


def test_every_make_target_that_is_named_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"make ([a-z]+)", "\n".join(blocks(README, "sh")))
    assert {"demo", "test", "check"} <= set(named) <= set(targets)


@pytest.mark.parametrize("example", range(len(manifests())))
def test_the_manifests_pass_drover_validate(tmp_path: Path, example: int) -> None:
    (tmp_path / "all.yaml").write_text(manifests()[0])
    if example:  # the first one is a folder's worth, the others change an object of it
        objects = [*yaml.safe_load_all(manifests()[0]), *yaml.safe_load_all(manifests()[example])]
        last = {(one["kind"], one["metadata"]["name"]): one for one in objects}
        (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(last.values()))
    done = drover("validate", str(tmp_path))
    assert done.exit_code == 0, done.output


def test_validate_refuses_a_folder_with_a_mistake_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(manifests()[0].replace("mode: Plan", "mode: Plann"))
    done = drover("validate", str(tmp_path))
    assert done.exit_code == 1
    assert re.search(r"all\.yaml:\d+:\d+: spec\.mode: .*Observe, Plan, Enforce", done.output)


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "manifests").iterdir() if path.is_dir()))
def test_the_manifests_to_start_from_are_valid(folder: str) -> None:
    report = validate(ROOT / "manifests" / folder)
    assert not report.problems


@pytest.mark.parametrize("command", [("version",), ("rights",), ("--help",), ("plan", "--help"), ("demo", "--help")])
def test_commands_that_need_no_cluster_run(command: tuple[str, ...]) -> None:
    done = drover(*command)
    assert done.exit_code == 0, done.output
    assert done.stdout


def test_the_command_that_is_installed_is_the_one_that_was_tested() -> None:
    done = subprocess.run([sys.executable, "-m", "controller", "version"], capture_output=True, text=True, check=True)
    assert done.stdout == drover("version").stdout


def test_the_kinds_in_the_table_are_the_kinds() -> None:
    _, _, section = README.read_text(encoding="utf-8").partition("## What this version acts upon")
    rows = re.findall(r"^\| ([A-Z]\w+) \| [^a-z]*", section.partition("\n## ")[0], re.MULTILINE)
    assert [row for row in rows if row != "Kind"] == list(KINDS)


def test_the_rooms_of_the_picture_exist() -> None:
    named = re.findall(r"`(controller/[\w./]+)`", README.read_text(encoding="utf-8"))
    assert len(named) > 10
    assert all((ROOT / name).exists() for name in named)


# docs/settings.md


def known_settings(folder: Path, table: str, within: str) -> set[str]:
    """What Drover says is known in a table when it is given something unknown."""
    file = folder / "drover.toml"
    head = f"[{table}]\n" if table else ""
    file.write_text(within.replace(head, f"{head}no-such-setting = 1\n") if head else f"no-such-setting = 1\n{within}")
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    return set(str(caught.value).partition("known here: ")[2].split(", "))


def test_the_settings_example_is_whole_and_valid(tmp_path: Path) -> None:
    [example] = blocks(ROOT / "docs/settings.md", "toml")
    (tmp_path / "lab.token").write_text("secret")
    (tmp_path / "root-lab.password").write_text("secret")
    (tmp_path / "http.token").write_text("a-token-of-the-tests")
    (tmp_path / "drover.toml").write_text(example)
    settings = load(tmp_path / "drover.toml", {})
    assert settings.credentials["lab"].secret.reveal() == "secret"
    for table in ("", "http", "log", "loop"):
        known = known_settings(tmp_path, table, example)
        for key in known - {
            f"{key.removesuffix('File')}{end}" for key in known for end in ("", "Env") if key.endswith("File")
        }:
            assert re.search(rf"^(\[?{key}[.\] ])", example, re.MULTILINE), f"{table}.{key} is not in docs/settings.md"


def test_the_settings_of_the_readme_are_valid(tmp_path: Path) -> None:
    [example] = blocks(README, "toml")
    (tmp_path / "lab.token").write_text("secret")
    (tmp_path / "root-lab.password").write_text("secret")
    (tmp_path / "drover.toml").write_text(example)
    assert load(tmp_path / "drover.toml", {}).credentials["lab"].login == "drover@pve!main"


def test_every_variable_that_wins_over_the_file_is_named() -> None:
    modules = (ROOT / "controller/settings").glob("*.py")
    read = {name for file in modules for name in re.findall(r"DROVER_[A-Z]+", file.read_text(encoding="utf-8"))}
    assert read == set(re.findall(r"DROVER_[A-Z]+", (ROOT / "docs/settings.md").read_text(encoding="utf-8")))


# docs/simulator.md


def test_the_cluster_file_is_valid() -> None:
    [example] = blocks(ROOT / "docs/simulator.md", "yaml")
    file = seed.load(example)
    assert file.guests
    assert [fault.do for fault in file.faults if fault.do not in FAULTS] == []


# Words


def words() -> set[str]:
    """Every CamelCase word that Drover itself says somewhere."""
    return {*Why, *KINDS, *(type_ for types in TYPES.values() for type_ in types)}


@pytest.mark.parametrize("page", ["docs/operations.md", "docs/settings.md"])
def test_every_reason_and_condition_that_is_named_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z]+[a-z]*)*)(?:=\w+)?`", text)) - {"Monospace", "Host"}
    assert named
    assert named <= words()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_metric_that_is_named_exists(page: Path) -> None:
    metrics = Metrics().registry
    known = {f"{family.name}_total" if family.type == "counter" else family.name for family in metrics.collect()}
    assert set(re.findall(r"\bdrover_[a-z_]+", page.read_text(encoding="utf-8"))) <= known


# docs/gitops.md


def test_the_settings_of_a_git_source_are_valid_and_all_there(tmp_path: Path) -> None:
    example = next(text for text in blocks(ROOT / "docs/gitops.md", "toml") if "[source.git]" in text)
    for name in ("git.token", "webhook.secret", "status.token"):
        (tmp_path / name).write_text("a-secret-of-the-tests")
    (tmp_path / "drover.toml").write_text(example)
    settings = load(tmp_path / "drover.toml", {})
    assert settings.git is not None
    assert settings.git.verify is not None
    for table in ("source.git", "source.git.verify", "source.git.webhook", "source.git.commitStatus"):
        known = known_settings(tmp_path, table, example)
        optional = {f"{key.removesuffix('File')}{end}" for key in known for end in ("", "Env")} - {"url", "token"}
        for key in known - {key for key in optional if f"{key.removesuffix('Env')}File" in known} - _OF_TARGETS:
            assert re.search(rf"^(# |\[source\.git\.)?{key}\b", example, re.MULTILINE), (
                f"{table}.{key} is not in docs/gitops.md"
            )


_OF_TARGETS = {"urlEnv", "urlFile", "token", "tokenEnv", "signingKey", "signingKeyEnv", "signingKeyFile"}
"""Words of every target, which docs/notifications.md explains."""


def test_every_reason_of_the_git_source_is_in_its_table() -> None:
    text = (ROOT / "docs/gitops.md").read_text(encoding="utf-8")
    assert [why for why in (*OUTCOMES, Why.HISTORY_REWRITTEN) if f"`{why}`" not in text] == []
