"""What the daemon logs: one line per decision with the keys that are documented, and nothing while nothing changes."""

import ast
import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from controller.rehearse import virtual_time
from controller.rehearse.stage import Stage
from controller.report import log
from controller.settings import LogSettings
from controller.simulator.seed import load
from tests.loop.test_two_names import FILE
from tests.sources.writing import apart, cluster, write

ROOT = Path(__file__).parents[2]
METHODS = ("debug", "info", "warning", "error", "exception", "bind")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    written = io.StringIO()
    log.configure(LogSettings(format="json", level="info"), stream=written)
    yield written
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def documented() -> set[str]:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    table = text.partition("## The log")[2].partition("\n## ")[0]
    return {key for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}


def lines(stream: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_decision_is_a_line_and_a_tick_that_changes_nothing_is_none(tmp_path: Path, stream: io.StringIO) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    write(manifests, a=cluster(more="mode: Enforce"), p=apart("p"))
    stage = Stage(load(FILE), manifests, tmp_path / "state")

    async def play() -> list[int]:
        stage.start()
        counts = []
        for seconds in (300, 3600):
            await asyncio.sleep(seconds)
            counts.append(len(lines(stream)))
        await stage.stop()
        return counts

    ticks = stage.metrics.registry
    settled, later = virtual_time.run(play(), stage.loop)
    told = lines(stream)
    assert [line["reason"] for line in told] == [
        *("MoveStarted", "Connected", "Armed", "PolicyViolated", "PolicyCompliant", "MoveSucceeded"),
    ]
    assert (ticks.get_sample_value("drover_reconcile_total", {"cluster": "default", "result": "Success"}) or 0) > 300
    assert settled == later == len(told)
    for line in told:
        assert {"timestamp", "level", "logger", "message", "cluster", "type", "reason", "about"} == set(line)
        assert set(line) <= documented()


def written_keys(file: Path) -> set[str]:
    """Names of what is given to a logger anywhere in a file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            name = ast.unparse(node.func.value)
            if re.search(r"(^|[._])log$|get_logger\(\)", name):
                found |= {each.arg or "**" for each in node.keywords}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "write" and file.name == "publish.py":
            found |= {each.arg or "**" for each in node.keywords}
    return found - {"exc_info"}


def test_every_key_that_is_written_is_documented_and_the_other_way_round() -> None:
    written = set().union(*(written_keys(file) for file in (ROOT / "controller").rglob("*.py")))
    assert "message" not in written, "the sentence has this name in JSON: it would replace what is given here"
    assert written | {"timestamp", "level", "logger", "message", "exception"} == documented()
