"""What a drain publishes about its end, compared with how the story of the links that are known really went."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from controller.loop.publish import Statuses
from controller.model.event import Event
from controller.model.view import ClusterView
from controller.rehearse import story
from controller.rehearse.virtual_time import run

STORY = Path(__file__).with_name("complaint_06_links_are_filled_and_the_end_is_foretold.yaml")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[float, float, float]]]:
    """By maintenance: when it was said, what the whole takes in seconds, and what no order could beat."""
    found: dict[str, list[tuple[float, float, float]]] = {}

    def hear(_: ClusterView, statuses: Statuses, __: Sequence[Event]) -> None:
        for ref, status in statuses.items():
            if ref.kind == "NodeMaintenance" and "makespanSeconds" in status.fields:
                whole, bound = status.fields["makespanSeconds"], status.fields["lowerBoundSeconds"]
                assert isinstance(whole, float)
                assert isinstance(bound, float)
                found.setdefault(ref.name, []).append((stage.clock.monotonic() - LABELLED, whole, bound))

    folder, file = tmp_path_factory.mktemp("story"), story.load(STORY)
    stage = story.stage_of(file, folder, listeners=(hear,))
    run(story.perform(file, stage, folder / story.MANIFESTS), stage.loop)
    assert not stage.faults
    return found


LABELLED = 20.0
TOOK = {"label-pve1": 69.5, "label-pve2": 57.5}
"""Seconds until Drained, from the log of the story."""


@pytest.mark.parametrize("name", TOOK)
def test_the_end_that_is_foretold_at_first_is_at_most_an_eighth_off(
    told: dict[str, list[tuple[float, float, float]]], name: str
) -> None:
    at, whole, _ = told[name][0]
    assert at < 10
    assert whole == pytest.approx(TOOK[name], rel=0.125)


@pytest.mark.parametrize("name", TOOK)
def test_the_end_that_is_foretold_halfway_is_at_most_a_sixth_late(
    told: dict[str, list[tuple[float, float, float]]], name: str
) -> None:
    whole = next(whole for at, whole, _ in told[name] if at >= TOOK[name] / 2)
    assert 0 <= whole / TOOK[name] - 1 <= 1 / 6


@pytest.mark.parametrize("name", TOOK)
def test_the_lower_bound_is_kept_and_not_beaten(told: dict[str, list[tuple[float, float, float]]], name: str) -> None:
    bounds = {bound for _, _, bound in told[name]}
    assert len(bounds) == 1
    assert max(bounds) <= TOOK[name] + 0.1
    assert told[name][-1][1] == pytest.approx(TOOK[name], rel=0.125)
