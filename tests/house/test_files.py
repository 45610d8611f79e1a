"""What is committed suits any machine: no paths of ours, no package index, no broken link, a Makefile that fits a page."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import controller

ROOT = Path(__file__).parents[2]
OURS = ("controller", "crds", "manifests", "deploy", "docs", "tests", "requirements", ".ci")

# Written so that no pattern finds itself.
OUR_MACHINE = re.compile(r"(?<![\w.~>-])/(wor[k]|tm[p]|hom[e]/\w|roo[t]/)(?=[/\s\"'`)]|\w)")
NEIGHBOUR = re.compile(r"\.\./share[d](?!/pve/recorde[d])")
INDEX = re.compile(
    r"\b(pyp[i]\.(org|io)|pythonhoste[d]\.org|registr[y]\.npmjs|prox[y]\.golang|crate[s]\.io)\b", re.IGNORECASE
)


def committed() -> Iterator[tuple[Path, str]]:
    """Every text file of the project: what lies in its folders and beside them."""
    files = [file for file in ROOT.iterdir() if file.is_file()]
    files += [file for room in OURS for file in (ROOT / room).rglob("*") if file.is_file()]
    for file in sorted(files):
        if (
            file.suffix not in (".pyc", ".lock", ".png")
            and "__pycache__" not in file.parts
            and not file.name.startswith(".git")
        ):
            yield file.relative_to(ROOT), file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "pattern", [OUR_MACHINE, NEIGHBOUR, INDEX], ids=["our machine", "our neighbours", "a package index"]
)
def test_no_committed_file_mentions(pattern: re.Pattern[str]) -> None:
    found = [
        f"{file}:{number}: {line.strip()[:100]}"
        for file, text in committed()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_locks_name_no_package_index_and_hash_everything() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.lock")):
        text = lock.read_text(encoding="utf-8")
        assert not INDEX.search(text), lock
        pinned = re.findall(r"^[a-z0-9][\w.-]*(?:\[[\w,-]+\])?==", text, re.MULTILINE | re.IGNORECASE)
        assert pinned
        assert text.count("--hash=sha256:") >= len(pinned), lock


LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
MARKDOWN = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("file", MARKDOWN, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    broken = [target for target, _ in LINK.findall(text) if not (file.parent / target).exists()]
    assert not broken
    for target, anchor in LINK.findall(text):
        if anchor and target.endswith(".md"):
            assert anchor[1:] in anchors((file.parent / target).read_text(encoding="utf-8")), f"{target}{anchor}"


def anchors(markdown: str) -> set[str]:
    """The names that headings get: lower case, no punctuation, dashes for blanks."""
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_makefile_fits_a_page_and_help_comes_first() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    targets = [line.split(":")[0] for line in lines if re.match(r"[a-z]+:", line)]
    assert targets[0] == "help"
    assert {"setup", "demo", "test", "check", "accept", "bench", "lint"} <= set(targets)
    assert all("## " in line for line in lines if re.match(r"[a-z]+:", line)), "every target says what it does"


def test_ci_runs_what_a_person_runs() -> None:
    assert "make --no-print-directory check" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_the_changelog_knows_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text or f"## [{controller.__version__}]" in text


def test_the_licence_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.strip().startswith("Apache License")
    assert "Version 2.0, January 2004" in text
