"""The fluid model, who may share a link, forecasts, and what `decide` makes of them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide import decide
from controller.decide.timing import guess
from controller.decide.timing.admission import Beside, Limits, joins
from controller.decide.timing.fluid import Fluid
from controller.decide.timing.forecast import bound, forecast
from controller.decide.timing.load import Job, Running, Wires
from controller.model.ids import NodeName, Vmid
from controller.model.memory import GuestRate
from controller.model.outcome import Progress
from controller.model.plan import Plan
from controller.model.reasons import Why
from tests.bench.evacuation import CELLS, OURS, Cell, measure
from tests.decide.build import (
    AT,
    GIB,
    cluster,
    flight,
    guest,
    in_maintenance,
    memory,
    migration,
    node,
    seen,
    specs,
)

MIB = float(1 << 20)
TEN = Wires(otherwise=1000 * MIB)


def job(vmid: int, gib: float = 10.0, **more: Any) -> Job:
    return Job(Vmid(vmid), NodeName("a"), NodeName("b"), gib * GIB, **more)


def test_streams_share_a_link_and_take_all_of_it_when_others_are_done() -> None:
    fluid = Fluid(TEN)
    for one in (job(1, 1000 * MIB / GIB), job(2, 3000 * MIB / GIB)):
        fluid.start(one)
    ends = []
    while fluid.next() is not None:
        ends.append(round(fluid.now, 6))
    assert ends == [2.0, 4.0]


def test_a_slow_stream_leaves_its_part_to_others() -> None:
    fluid = Fluid(TEN)
    fluid.start(job(1, 1.0, cap=100 * MIB))
    fluid.start(replace(job(2, 9000 * MIB / GIB), target=NodeName("c")))
    done = fluid.next()
    assert done is not None
    assert (done.vmid, round(fluid.now, 6)) == (2, 10.0)


def test_what_is_written_meanwhile_is_sent_again() -> None:
    cold, hot = job(1), job(1, dirty=500 * MIB, working=4.0 * GIB)
    rate = cold.rate(TEN)
    assert hot.copying(rate) == pytest.approx(cold.copying(rate) + 4.0 * GIB / (500 * MIB))


SHARING = [
    (job(1), Beside(), Beside(), True),
    (job(1, dirty=900 * MIB), Beside(), Beside(), True),  # alone everybody may
    (job(1), Beside(1, 500 * MIB), Beside(), True),
    (job(1), Beside(2, 1000 * MIB), Beside(), False),  # the link is full: sharing makes nothing faster
    (job(1), Beside(), Beside(1, 1000 * MIB), False),
    (job(1), Beside(1, 500 * MIB, needs=600 * MIB), Beside(), False),  # it would disturb who is there
    (job(1, dirty=200 * MIB), Beside(1, 500 * MIB), Beside(), False),  # or be disturbed
    (job(1, dirty=170 * MIB), Beside(1, 500 * MIB), Beside(), True),
    (job(1, dirty=200 * MIB, cap=400 * MIB), Beside(1, 400 * MIB), Beside(), True),  # it can't have more anyway
]


@pytest.mark.parametrize(("wanted", "leaving", "arriving", "welcome"), SHARING)
def test_cold_guests_are_packed_and_hot_ones_nearly_alone(
    wanted: Job, leaving: Beside, arriving: Beside, welcome: bool
) -> None:
    assert joins(wanted, leaving, arriving, TEN) is welcome


jobs = st.builds(
    lambda vmid, source, target, gib, dirty, cap: Job(
        Vmid(vmid), NodeName(source), NodeName(target), gib * GIB, dirty * MIB, gib * GIB / 10, cap * MIB
    ),
    vmid=st.integers(100, 10_000),
    source=st.sampled_from("ab"),
    target=st.sampled_from("cde"),
    gib=st.sampled_from((0.0, 0.5, 2.0, 8.0, 64.0)),
    dirty=st.integers(0, 300),
    cap=st.sampled_from((100, 500, 5000)),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(jobs, min_size=1, max_size=25, unique_by=lambda one: one.vmid), st.integers(0, 3), st.sampled_from((1, 8))
)
def test_every_move_ends_none_before_it_can_and_the_last_not_before_the_bound(
    some: list[Job], flying: int, most: int
) -> None:
    """No drain starves: whatever the limits, everybody has an end."""
    limits = Limits({NodeName("a"): most, NodeName("b"): most})
    running = [Running(one, 0.0, one.size, one.size, one.size) for one in some[:flying]]
    plan = forecast(TEN, limits, running, some[flying:])
    assert plan.ends.keys() == {one.vmid for one in some}
    assert sorted(one.vmid for one in plan.order) == sorted(one.vmid for one in some[flying:])
    for one in some:
        assert plan.ends[one.vmid] >= one.copying(one.rate(TEN)) - 1e-6
    begun = [replace(one.job, setup=0.0) for one in running] + some[flying:]
    assert plan.makespan >= bound(TEN, begun) - 4.0 - 1e-6


def test_finished_moves_teach_what_is_sent() -> None:
    assert guess.habit([], 500 * MIB).mean == guess.prior(500 * MIB)
    taught = guess.habit([(8.0 * GIB, 16.0 * GIB)] * 50, 500 * MIB)
    assert 1.8 < taught.mean < 2.0
    assert taught.spread < 0.4


def test_before_any_move_has_told_a_slower_link_is_expected_to_send_more() -> None:
    expected = [guess.prior(rate * MIB) for rate in (115, 500, 1200)]
    assert expected == sorted(expected, reverse=True)
    assert guess.prior(float("inf")) == 1.0 < expected[-1]


# Through `decide`

FIVE = [node(f"pve{n}", 512) for n in range(1, 6)]
TENS = [guest(101 + n, "pve1", 16, memory_used_bytes=16 * GIB) for n in range(6)]
KNOWN = {"linkMiBps": 1250, "streamMiBps": 1200}


def planned(sent_gib: float | None = None, *, rates: dict[int, float] | None = None, **network: int) -> Plan:
    wanted = specs(cluster(network=KNOWN | network), in_maintenance("pve1"))
    remembered = memory()
    if sent_gib is not None:
        progress = Progress(phase="Memory", transferred_bytes=int(sent_gib * GIB), total_bytes=16 * GIB)
        begun = replace(flight(TENS[0], "pve2"), started_at=AT - 10)
        remembered = replace(memory([begun]), progress={Vmid(101): progress})
    learned = {
        Vmid(v): GuestRate(next(g.identity for g in TENS if g.vmid == v), dirty, AT)
        for v, dirty in (rates or {}).items()
    }
    plan = decide(wanted, seen(FIVE, TENS), replace(remembered, rates=learned))
    assert plan.unsafe == ()
    return plan


def test_the_next_move_is_asked_for_when_the_link_will_be_free_and_not_before() -> None:
    early = planned(1.0)
    assert early.moves == ()
    assert {word.why for word in early.waiting} == {Why.SLOT_TAKEN}
    assert "one move leaving pve1 will still use its link" in early.waiting[0].message
    assert early.next_start_seconds is not None
    assert early.next_start_seconds > 2.0
    assert [move.vmid for move in planned(15.0).moves] == [102]


def test_a_guest_that_is_known_to_write_fast_goes_first_and_alone() -> None:
    calm = planned(streamMiBps=400)
    assert len(calm.moves) == 3
    busy = planned(streamMiBps=400, rates={104: 300 * MIB})
    assert busy.moves[0].vmid == 104
    assert len(busy.moves) == 2


def test_a_drain_says_how_long_it_takes() -> None:
    outlook = planned().drains[0].outlook
    assert outlook is not None
    # All of the link, 1250 MiB/s: the share of it that moves should fill slows none of them down.
    assert 6 * 16 * 1024 / 1250 < outlook.bound_seconds <= outlook.likely_seconds < outlook.late_seconds < 200
    assert planned(linkMiBps=0, streamMiBps=0).drains[0].outlook is None


def test_a_limit_of_the_policy_and_the_share_of_the_link_count() -> None:
    slow = migration("slow", {"vmids": [g.vmid for g in TENS]}, bandwidthLimitMiBps=250)
    wanted = specs(cluster(network=KNOWN), in_maintenance("pve1"), slow)
    assert len(decide(wanted, seen(FIVE, TENS), memory()).moves) == 4
    assert len(planned(sharePercent=10).moves) == 1


GBE, PLAIN, SSH = {1: 117, 10: 1150, 25: 2900}, 1150, 500
COMPUTED = [
    (1, PLAIN, 0, 1),
    (10, PLAIN, 0, 1),  # the second is asked for when the first is nearly through: two are under way then
    (25, PLAIN, 0, 3),
    (1, SSH, 0, 1),
    (10, SSH, 0, 3),
    (25, SSH, 0, 6),
    (10, 800, 0, 2),
    (10, 800, 300, 1),  # hot ones leave alone
    (25, PLAIN, 600, 2),
    (25, SSH, 600, 5),  # beside others each has all that ssh lets through, and nothing more alone
]


@pytest.mark.parametrize(("gbe", "stream", "dirty", "count"), COMPUTED)
def test_limits_that_nobody_wrote_follow_from_link_stream_and_what_guests_write(
    gbe: int, stream: int, dirty: int, count: int
) -> None:
    rates = {int(who.vmid): dirty * MIB for who in TENS}
    plan = planned(linkMiBps=GBE[gbe], streamMiBps=stream, sharePercent=100, rates=rates)
    assert len(plan.moves) == count <= GBE[gbe] // stream + 1
    assert {word.why for word in plan.waiting} <= {Why.SLOT_TAKEN}


# What comes otherwise than expected


def under_way(sent_gib: float, rate_mib: float, *, for_seconds: float = 20.0) -> Plan:
    """Two moves have left the link of pve1 full; 101 has come so far, at that rate, 102 as foretold."""
    progress = {
        Vmid(101): Progress("Memory", int(sent_gib * GIB), 16 * GIB, rate_mib * MIB),
        Vmid(102): Progress("Memory", int(7 * GIB), 16 * GIB, 500 * MIB),
    }
    begun = [replace(flight(TENS[n], f"pve{2 + n}", id=n), started_at=AT - for_seconds) for n in range(2)]
    wanted = specs(cluster(network={"linkMiBps": 1250, "streamMiBps": 500}), in_maintenance("pve1"))
    return decide(wanted, seen(FIVE, TENS), replace(memory(begun), progress=progress))


def likely(plan: Plan) -> float:
    outlook = plan.drains[0].outlook
    assert outlook is not None
    return outlook.likely_seconds


def test_another_guest_uses_what_a_move_at_a_tenth_of_its_rate_leaves_and_the_end_follows() -> None:
    sound, creeping = under_way(7.0, 500.0), under_way(0.7, 50.0)
    assert len(sound.moves) == 0
    assert len(creeping.moves) == 1
    left = 15 * 1024 / 50  # MiB at MiB/s: nothing else takes as long
    assert likely(sound) < left < likely(creeping) < 2 * left


@pytest.mark.parametrize(
    ("sent_gib", "rate_mib", "seconds"), [(0.7, 500.0, 20.0), (7.0, 50.0, 20.0), (0.1, 50.0, 6.0)], ids=str
)
def test_a_move_is_not_believed_to_creep_because_of_one_slow_moment(
    sent_gib: float, rate_mib: float, seconds: float
) -> None:
    """Its beginning was slow, or just now it is, or it has only begun."""
    plan = under_way(sent_gib, rate_mib, for_seconds=seconds)
    assert len(plan.moves) == 0
    assert likely(plan) < 150


def test_inbound_load_is_spread() -> None:
    plan = planned(streamMiBps=300, linkMiBps=1250)
    assert len({move.target for move in plan.moves}) == len(plan.moves) == 4


def test_a_target_that_is_just_as_good_is_taken_when_the_chosen_one_is_busy() -> None:
    """Placement prefers pve2, which is the emptiest, for both; only one at a time may go there."""
    nodes = [node("pve1", 512), node("pve2", 900), node("pve3", 128), node("pve4", 512)]
    narrow = cluster(network=KNOWN, limits={"maxInboundPerNode": 1}, safety={"maxUnavailableNodes": 2})
    both = specs(narrow, in_maintenance("pve1"), in_maintenance("pve4"))
    plan = decide(both, seen(nodes, [guest(101, "pve1", 16), guest(102, "pve4", 16)]), memory())
    assert {move.target for move in plan.moves} == {"pve2", "pve3"}


@pytest.mark.parametrize("cell", [CELLS[4], CELLS[7]], ids=str)
def test_the_bars_hold_on_an_instance_of_the_bench(cell: Cell) -> None:
    result = measure(cell, 3)
    assert result.ratio(OURS) < 1.35
    assert result.downtime[OURS] < 1000
    assert result.faster("2/node, 5/cluster") > 1.1
