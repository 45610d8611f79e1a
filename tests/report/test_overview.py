"""The live view of a drain: what the overview counts."""

from dataclasses import replace
from pathlib import Path

from controller.model.ids import Vmid
from controller.report.evacuation import AWAY, NEXT, STUCK, DrainLine
from controller.report.maintenance import MaintenanceState
from controller.report.overview import GUESTS, overview
from tests.report import scene


def drain_of(view: object = scene.FORESEEN) -> DrainLine:
    board, _ = scene.board(view)  # type: ignore[arg-type]  # a view
    return overview(board).clusters[0].drains[0]


def test_a_drain_has_counts_estimates_and_what_no_order_could_beat() -> None:
    drain = drain_of()
    assert (drain.total, drain.away, drain.moving, drain.waiting, drain.blocked, drain.shut_down) == (5, 1, 1, 2, 1, 1)
    assert (drain.elapsed_seconds, drain.eta_seconds, drain.late_seconds) == (300.0, 90.0, 120.0)
    assert (drain.makespan_seconds, drain.makespan_bound_seconds) == (390.0, 360.0)
    assert drain.ratio == 390 / 360


def test_an_estimate_is_counted_from_the_look_it_was_made_of() -> None:
    assert scene.FORESEEN.plan is not None
    older = replace(scene.FORESEEN, plan=replace(scene.FORESEEN.plan, at=scene.NOW - 30))
    drain = drain_of(older)
    assert (drain.eta_seconds, drain.late_seconds, drain.lower_bound_seconds) == (60.0, 90.0, 30.0)


def test_every_guest_of_a_drain_has_one_bar_in_the_order_of_leaving(tmp_path: Path) -> None:
    state = scene.store(tmp_path)
    board, _ = scene.board(scene.FORESEEN, store=state)
    bars = overview(board).clusters[0].drains[0].bars
    state.close()
    assert [(bar.vmid, bar.state, bar.target, bar.reason) for bar in bars] == [
        (104, "Away", "pve2", ""),
        (101, "Moving", "pve2", "Memory"),
        (102, "Waiting", "pve3", ""),
        (201, "Waiting", "pve2", "SlotTaken"),
        (105, "Blocked", "", "NoTargetFits"),
    ]
    assert [(bar.begin_seconds, round(bar.end_seconds or 0)) for bar in bars[:2]] == [(253.5, 295), (259.0, 337)]


def test_a_guest_that_was_shut_down_says_so() -> None:
    memory = replace(scene.MEMORY, halted={Vmid(102): replace(scene.FORESEEN.memory.halted[Vmid(900)])})
    states = {bar.vmid: bar.state for bar in drain_of(replace(scene.FORESEEN, memory=memory)).bars}
    assert states[102] == "ShutDown"


def test_an_empty_node_that_is_looked_at_once_more_is_not_blocked() -> None:
    nobody = replace(scene.DRAIN, remaining=(), moving=(), blocked=())
    assert MaintenanceState.of(nobody) is MaintenanceState.DRAINING
    assert (
        MaintenanceState.of(replace(nobody, remaining=(Vmid(105),), blocked=(scene.BLOCKED,)))
        is MaintenanceState.BLOCKED
    )


def test_thousands_of_guests_stay_readable_and_bounded() -> None:
    board, _ = scene.board(scene.crowded(5000))
    seen = overview(board)
    [cluster] = seen.clusters
    [drain] = cluster.drains
    assert len(cluster.troubled) == GUESTS
    assert [(wait.reason, wait.count, len(wait.guests)) for wait in cluster.waits] == [
        ("NoTargetFits", 2500, 3),
        ("SlotTaken", 2500, 3),
    ]
    assert len(drain.bars) == NEXT + STUCK <= AWAY + NEXT + STUCK
    assert drain.more_bars == 5000 - NEXT - STUCK
