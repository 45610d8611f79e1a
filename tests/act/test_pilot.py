"""Moves that are measured and steered through QEMU's monitor, and what happens without the right to."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.act import pilot
from controller.act.pilot import Pilot
from controller.model.memory import FlightPhase, Limits
from controller.model.outcome import Progress, Stream
from controller.pve import monitor
from controller.pve.transport import HttpFailure, Json
from controller.specs import PveCluster, Specs
from tests.act.desk import FLIGHT, OURS, PVE1, WEB, Desk

SAY = "POST /nodes/pve1/qemu/101/monitor"
FLYING = replace(FLIGHT, upid=OURS, phase=FlightPhase.RUNNING, steered=True, limits=Limits(150))
COPYING = Progress(phase="Memory", streams=(Stream("memory", 1, 2),))


def specs(link: int = 0) -> Specs:
    spec = {
        "endpoints": ["https://pve1:8006"],
        "auth": {"credentialsRef": "lab"},
        "network": {"linkMiBps": link, "sharePercent": 80},
    }
    return Specs.of([PveCluster.model_validate({"metadata": {"name": "lab"}, "spec": spec})])


def told(desk: Desk) -> list[object]:
    return [params["command"] for _, path, params in desk.pve.asked if path.endswith("/monitor")]


def steer(desk: Desk, made: Pilot, progress: Progress, link: int = 0) -> int:
    desk.pve.asked.clear()
    return len(desk.loop.run_until_complete(made.steer([FLYING], {WEB.vmid: progress}, specs(link))))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.answers({SAY: ""})
    yield made
    made.close()


@pytest.mark.parametrize(
    ("answer", "rate"),
    [
        ("Status: measured\nStart Time: 1 (ms)\nPeriod: 1 (sec)\nDirty rate: 12 (MB/s)\n", 12.0 * (1 << 20)),
        ("Status: measuring\nDirty rate: (not ready)\n", None),
        ("Status: unstarted\nDirty rate: 3 (MB/s)\n", None),
        ("", None),
    ],
)
def test_a_rate_is_what_qemu_has_measured(answer: str, rate: float | None) -> None:
    assert monitor.dirty_rate(answer) == rate


def test_the_pause_is_set_back_each_time_pve_raises_it(desk: Desk) -> None:
    made = Pilot(desk.store, desk.client, desk.clock)
    commands = []
    for limit in (100, 200, 200, 400):
        steer(desk, made, replace(COPYING, downtime_limit_ms=limit, downtime_raised=limit > 100))
        commands.append(told(desk))
    assert commands == [[], [monitor.set_downtime(150)], [], [monitor.set_downtime(150)]]
    assert made.holds(FLYING)


def test_moves_share_what_they_may_fill_of_a_link(desk: Desk) -> None:
    made = Pilot(desk.store, desk.client, desk.clock)
    steer(desk, made, COPYING, link=1000)
    assert told(desk) == [monitor.set_bandwidth(800)]
    assert pilot.share(FLYING, [FLYING, replace(FLYING, id=2)], specs(1000)) == 400
    assert (
        pilot.share(replace(FLYING, options=replace(FLYING.options, bandwidth_limit_mib_s=50)), [], specs(1000)) == 50
    )
    assert pilot.share(FLYING, [FLYING], specs()) == 0, "nobody knows the link"


def test_without_the_right_it_says_so_once_and_asks_again_later(desk: Desk) -> None:
    def refuse() -> Json:
        raise HttpFailure(status=403, reason="Permission check failed (/, Sys.Modify)")

    desk.answers({SAY: refuse})
    made = Pilot(desk.store, desk.client, desk.clock)
    raised = replace(COPYING, downtime_limit_ms=400, downtime_raised=True)
    assert [steer(desk, made, raised), steer(desk, made, raised)] == [1, 0]
    assert told(desk) == []
    assert not made.holds(FLYING), "the guard judges by the log"
    desk.later(pilot.DENIED_SECONDS)
    assert steer(desk, made, raised) == 0, "told already"
    assert told(desk)


def test_nothing_is_said_of_moves_without_the_policy(desk: Desk) -> None:
    made = Pilot(desk.store, desk.client, desk.clock)
    flight = replace(FLYING, steered=False, source=PVE1)
    desk.loop.run_until_complete(made.steer([flight], {WEB.vmid: COPYING}, specs(1000)))
    assert told(desk) == []
