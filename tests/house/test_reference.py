"""The reference pages say what the code says: written from it, fresh, and complete."""

from pathlib import Path

import pytest

from controller.cli.schema import pages
from controller.decide.preflight import CHECKS
from controller.model.reasons import Why
from controller.report.conditions import TYPES
from controller.specs import KINDS
from tests.act.checks import ROWS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = pages()


@pytest.mark.parametrize("page", PAGES)
def test_the_page_on_disk_is_what_the_code_says(page: str) -> None:
    assert (DOCS / page).read_text(encoding="utf-8") == PAGES[page], "write it anew with: drover schema --write ."


def test_every_reason_is_explained_once() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGES["reasons.md"].splitlines() if line.startswith("| `")]
    assert [word.strip("`") for word, *_ in rows] == list(Why)
    for word, *sentences in rows:
        assert len(sentences) == 3, f"{word}: meaning, how it is found, what to do"
        assert all(sentence.endswith(".") for sentence in sentences), f"{word} has an empty or unfinished sentence"


def test_every_reason_of_every_check_is_told_end_to_end() -> None:
    told = {(check.name, why) for check in CHECKS for why in check.tells}
    assert {(row.check, row.why) for row in ROWS} == told, "a row per reason of a check: tests/act/checks.py"


def test_every_kind_has_its_fields_and_conditions() -> None:
    for name in KINDS:
        _, _, below = PAGES["resources.md"].partition(f"\n## {name}\n")
        section = below.partition("\n## ")[0]
        assert "| `suspend` |" in section
        assert all(f"`{type_}`" in section for type_ in TYPES[name])


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("`notifications[].minSeverity`", "Info, Warning, Critical"),
        ("`endpoints`", "required"),
        ("`capacity.memoryBasis`", "`Configured`"),
        ("`maintenance.template`", "[NodeMaintenance](#nodemaintenance)"),
        ("`rules[].behavior`", "ShutdownAndRestartElsewhere"),
    ],
)
def test_a_row_says_what_there_is_to_know(field: str, said: str) -> None:
    rows = [line for line in PAGES["resources.md"].splitlines() if line.startswith(f"| {field} |")]
    assert rows
    assert all(said in row for row in rows)


def test_fields_that_this_version_acts_upon_are_not_marked() -> None:
    rows = [line for line in PAGES["resources.md"].splitlines() if line.startswith(("| `mode`", "| `keepApart"))]
    assert rows
    assert not any("Not yet" in row for row in rows)


def test_metrics_name_their_labels() -> None:
    assert "| `drover_reconcile_total` | counter | `cluster`, `result` (" in PAGES["metrics.md"]
