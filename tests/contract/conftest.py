"""Replays all facts once per run, prints the table of the contract, and leaves out what needs the recordings when they are absent.

Read by pytest.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import recordings, replay, scenes

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "pve"
"""Where the recordings of a real cluster lie for those who have them: beside the checkout."""
collect_ignore = [] if (REFERENCE / "recorded").is_dir() else ["test_reference.py"]
_VERDICTS: list[replay.Verdict] = []


def _play() -> Iterator[replay.Verdict]:
    stage = None
    alone = True
    for call in recordings.load():
        if stage is None or alone != (call.group in scenes.ALONE):
            alone = call.group in scenes.ALONE
            stage = scenes.stage(scenes.SINGLE if alone else scenes.CLUSTER)
        yield stage.play(call, scenes.SCENES)


@pytest.fixture(scope="session")
def verdicts() -> list[replay.Verdict]:
    """Every recorded call, asked of the simulator in order and compared."""
    if not _VERDICTS:
        _VERDICTS.extend(_play())
    return _VERDICTS


@pytest.fixture
def reference() -> Path:
    """The directory with the recordings and the official API schema."""
    return REFERENCE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count per group: compared, equal, different on purpose."""
    if not _VERDICTS:
        return
    terminalreporter.section("held to reality: recorded calls of a PVE 9.2 cluster, asked of the simulator")
    terminalreporter.line(f"{'group':<26}{'compared':>9}{'equal':>7}{'share':>8}{'on purpose':>12}{'otherwise':>11}")
    for group, rows in sorted(replay.by_group(_VERDICTS).items()):
        terminalreporter.line(_row(group, rows))
    terminalreporter.line(_row("all", _VERDICTS))


def _row(name: str, rows: list[replay.Verdict]) -> str:
    equal = sum(verdict.equal for verdict in rows)
    purpose = sum(not verdict.equal and bool(verdict.purpose) for verdict in rows)
    return f"{name:<26}{len(rows):>9}{equal:>7}{equal / len(rows):>8.1%}{purpose:>12}{len(rows) - equal - purpose:>11}"
