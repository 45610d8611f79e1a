"""Dashboards: fresh, complete, importable, and every query asks for series that exist."""

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.deploy.promql import exists, selectors

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"


def builder() -> ModuleType:
    found = importlib.util.spec_from_file_location("grafana_build", GRAFANA / "build.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    import sys

    sys.modules[found.name] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


FILES: Mapping[str, str] = builder().files()
BOARDS: Mapping[str, dict[str, Any]] = {name: json.loads(text) for name, text in FILES.items()}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"]]
NAMES = [f"{name}: {panel['title']}" for name, panel in PANELS]


def filled(expression: str, range_: str = "1m") -> str:
    """A query as Grafana sends it, for all clusters."""
    return expression.replace("$cluster", ".*").replace("$__rate_interval", range_)


def test_the_files_are_what_the_builder_makes() -> None:
    there = {path.name: path.read_text(encoding="utf-8") for path in (GRAFANA / "dashboards").iterdir()}
    assert there == dict(FILES), "write them anew with: python deploy/grafana/build.py"


def test_there_are_the_four_that_people_are_promised() -> None:
    titles = {board["title"].removeprefix("Drover / ") for board in BOARDS.values()}
    assert titles == {"Controller", "Evacuation", "Replication and RPO", "Cluster placement"}


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_can_be_imported_anywhere(name: str) -> None:
    board = BOARDS[name]
    assert "id" not in board
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource", "cluster"}
    sources = re.findall(r'"uid": "(\$?[^"]+)"', FILES[name])
    assert set(sources) == {"${datasource}", board["uid"]}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_dashboards_have_names_of_their_own() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=NAMES)
def test_a_panel_says_what_it_shows_in_which_unit_and_what_to_do(name: str, panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 20
    assert panel["description"].endswith((".", "”", "`"))
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=NAMES)
def test_a_panel_asks_for_series_that_exist(name: str, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        asked = list(selectors(filled(target["expr"])))
        assert asked
        for metric, labels in asked:
            assert metric.startswith("process_") or exists(metric, labels), (metric, labels)


@pytest.mark.parametrize(
    "query", ["drover_nothing", 'drover_guests{state="Lost"}', 'drover_move_sent_bytes{guest="1"}']
)
def test_a_planted_typo_is_noticed(query: str) -> None:
    assert not all(exists(metric, labels) for metric, labels in selectors(query))
