"""What the demo tells of a drain: in lines, and on a screen with bars."""

from collections.abc import Sequence

import pytest

from controller.rehearse.demo.narrator import Narrator
from tests.report import scene


class Paper:
    """A screen that keeps what it is told."""

    def __init__(self, *, moving: bool) -> None:
        self.lines: list[str] = []
        self.rows: Sequence[tuple[str, float, str]] = ()
        self._moving = moving

    def line(self, text: str, *, style: str = "") -> None:  # noqa: ARG002 - a Screen
        self.lines.append(text)

    def bars(self, rows: Sequence[tuple[str, float, str]]) -> bool:
        self.rows = rows
        return self._moving


@pytest.mark.parametrize("moving", [True, False])
def test_a_drain_is_told_with_its_estimate_and_what_no_order_could_beat(moving: bool) -> None:
    paper = Paper(moving=moving)
    told = Narrator(paper, scene.StillClock())
    for _ in range(2):
        told.hear(scene.FORESEEN, scene.said_of(scene.FORESEEN), ())
    assert paper.rows == [
        ("pve1 Draining", 0.08, "about 1m30s left; 1 of 5 away, 2 waiting, 1 shut down; no order beats 6m00s in all"),
        ("db-1", 0.5, "to pve2: 36s left, 112 MiB/s, 4.0 GiB of 8.0 GiB"),
    ]
    said = [line for line in paper.lines if "pve1 8 %: 1 of 5 guests moved away" in line or "6m00s (1.08x)" in line]
    assert len(said) == (0 if moving else 2), "lines only where no bars are drawn, and once"
