"""The next look comes with the interval, or when the clock alone changes something before that."""

from dataclasses import replace

import pytest

from controller.loop.requeue import next_look_seconds
from controller.model.ids import ClusterName
from controller.model.reasons import Why
from controller.model.view import ClusterView, Finding

VIEW = ClusterView(ClusterName("lab"), 1000.0, Finding(True, Why.CONNECTED, ""), Finding(True, Why.ARMED, ""))


@pytest.mark.parametrize(
    ("again_at", "seconds"), [(None, 30.0), (1012.0, 12.0), (1000.2, 1.0), (900.0, 30.0), (9999.0, 30.0)]
)
def test_a_window_that_opens_ends_the_wait(again_at: float | None, seconds: float) -> None:
    assert next_look_seconds(replace(VIEW, again_at=again_at), now=1000.0, interval=30.0) == seconds
