"""Every story is played on virtual time and its log compared with the golden one beside it.

`make accept` writes the golden logs anew; a missing one fails.
"""

from pathlib import Path

import pytest

from controller.rehearse import story

STORIES = sorted(Path(__file__).parent.glob("*.yaml"))


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


def test_a_story_repeats_byte_by_byte(tmp_path: Path) -> None:
    logs = []
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        logs.append(story.play(story.load(STORIES[0]), tmp_path / run).log)
    assert logs[0] == logs[1]
