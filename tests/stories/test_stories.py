"""Every story is played on virtual time and its log compared with the golden one beside it.

`make accept` writes the golden logs anew; a missing one fails.
"""

from pathlib import Path

import pytest

from controller.rehearse import story
from controller.simulator.seed import Version

STORIES = sorted(Path(__file__).parent.glob("*.yaml"))
ON_MORE_VERSIONS = [(path, version) for path in STORIES for version in story.load(path).versions]


def test_there_are_stories() -> None:
    assert STORIES


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_goes_as_it_is_told(path: Path, tmp_path: Path, accept: bool) -> None:
    told = story.play(story.load(path), tmp_path).log
    golden = path.with_suffix(".log")
    if accept:
        golden.write_text(told, encoding="utf-8")
        return
    assert golden.exists(), f"{golden.name} is missing: write it with `make accept`, read it, and commit it"
    assert told == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(("path", "version"), ON_MORE_VERSIONS, ids=lambda each: getattr(each, "stem", each))
def test_the_story_goes_the_same_on_another_version(path: Path, version: Version, tmp_path: Path, accept: bool) -> None:
    """What differs has a golden of its own, `NAME.VERSION.log`; without one the log is that of the version it is told on."""
    file = story.load(path)
    told = story.play(file.on(version), tmp_path).log
    golden, own = path.with_suffix(".log"), path.with_suffix(f".{version}.log")
    if accept:
        own.unlink(missing_ok=True)
        if told != golden.read_text(encoding="utf-8"):
            own.write_text(told, encoding="utf-8")
        return
    assert version != file.cluster.version
    assert told == (own if own.exists() else golden).read_text(encoding="utf-8")


ENDINGS = {
    "MoveSucceeded": "NodeMaintenance",
    "MoveFailed": "MigrationAborted MigrationFailed TaskLost TargetMismatch RecoveredByHa Stalled DowntimeExceeded TimedOutMoving",
    "MoveStuck": "LockLeftBehind NotRunningAfterwards NodeOffline",
    "GuestGone": "GuestGone IdentityChanged",
    "MoveRefused": "NotSubmitted",
}


@pytest.mark.parametrize(("event", "why"), [(event, why) for event, whys in ENDINGS.items() for why in whys.split()])
def test_every_way_a_move_ends_has_a_story(event: str, why: str) -> None:
    logs = [path.with_suffix(".log").read_text(encoding="utf-8") for path in STORIES]
    assert any(f" {event}: " in line and f"({why})" in line for log in logs for line in log.splitlines())


def test_a_story_repeats_byte_by_byte(tmp_path: Path) -> None:
    logs = []
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        logs.append(story.play(story.load(STORIES[0]), tmp_path / run).log)
    assert logs[0] == logs[1]
