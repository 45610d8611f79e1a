"""What `drover status` says when word does not get through to the sinks."""

from dataclasses import replace

import pytest

from controller.cli.status import show
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.report.overview import overview
from tests.report import scene

HEARD = Finding(True, Why.AS_EXPECTED, "every sink takes messages")
LOST = Finding(False, Why.NOT_DELIVERED, "ops: https://hooks.example can't be reached")


@pytest.mark.parametrize(("finding", "lines"), [(LOST, 1), (HEARD, 0), (None, 0)])
def test_a_sink_that_fails_is_named_until_it_takes_messages_again(finding: Finding | None, lines: int) -> None:
    board, _ = scene.board(replace(scene.VIEW, notifying=finding))
    said = [line for line in show(overview(board)) if "Word does not get through" in line]
    assert len(said) == lines
    assert all("ops: https://hooks.example can't be reached (NotDelivered)" in line for line in said)
