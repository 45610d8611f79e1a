"""Every guest is accounted for exactly once; and numbers as people read them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.ids import Vmid
from controller.model.memory import Caution, Memory
from controller.model.reasons import Why
from controller.report.guests import GuestState, states, verdicts
from controller.report.units import count_of, duration, epoch_of, plain, rate, size, some, timestamp
from controller.report.views import guest_list, migration_list
from tests.report.scene import FLIGHT, GUESTS, PLAN, VIEW

GROUPS = st.sampled_from(["moves", "waiting", "blocked", "flying", "fine", "nowhere"])


def test_every_guest_has_one_state() -> None:
    assert states(VIEW) == {
        101: GuestState.MOVING, 102: GuestState.PLANNED, 103: GuestState.FINE, 104: GuestState.FINE, 105: GuestState.BLOCKED,
        106: GuestState.FINE, 201: GuestState.WAITING,
    }  # fmt: skip


@given(st.fixed_dictionaries(dict.fromkeys(GUESTS, GROUPS)), st.sets(st.sampled_from(sorted(GUESTS))))
def test_states_count_every_guest_once_whatever_the_plan(groups: dict[Vmid, str], flying: set[Vmid]) -> None:
    plan = replace(
        PLAN,
        moves=tuple(replace(PLAN.moves[0], identity=GUESTS[v].identity) for v, g in groups.items() if g == "moves"),
        waiting=tuple(replace(PLAN.waiting[0], vmid=v) for v, g in groups.items() if g == "waiting"),
        blocked=tuple(replace(PLAN.blocked[0], vmid=v) for v, g in groups.items() if g == "blocked"),
        flying=tuple(v for v, g in groups.items() if g == "flying"),
        fine=frozenset(v for v, g in groups.items() if g == "fine"),
    )
    flights = {vmid: replace(FLIGHT, identity=GUESTS[vmid].identity) for vmid in flying}
    found = states(replace(VIEW, plan=plan, memory=Memory(flights=flights)))
    assert set(found) == set(GUESTS)
    assert all(found[vmid] is GuestState.MOVING for vmid in flying)
    assert sum(state is GuestState.UNPLANNED for state in found.values()) == sum(
        group == "nowhere" and vmid not in flying for vmid, group in groups.items()
    )


def test_a_guest_in_flight_that_the_look_missed_is_still_told_of() -> None:
    assert VIEW.seen is not None
    guests = {vmid: guest for vmid, guest in GUESTS.items() if vmid != 101}
    assert verdicts(replace(VIEW, seen=replace(VIEW.seen, guests=guests)))[Vmid(101)].state is GuestState.MOVING


def test_what_a_move_waits_for_is_told() -> None:
    waiting = replace(FLIGHT, waiting="PVE HA to fence pve1 and recover it")
    memory = replace(VIEW.memory, flights={waiting.vmid: waiting})
    said = verdicts(replace(VIEW, memory=memory))[waiting.vmid].message
    assert said == "pve1 -> pve2; waiting for PVE HA to fence pve1 and recover it"


def test_what_the_look_before_a_move_warned_of_stands_beside_the_guest_and_the_move() -> None:
    warned = replace(FLIGHT, cautions=(Caution(Why.CHANGE_PENDING, "changes of cpu wait"),))
    view = replace(VIEW, memory=replace(VIEW.memory, flights={warned.vmid: warned}))
    for item in (*guest_list(view), *migration_list(view, ())):
        status = item["status"]
        assert isinstance(status, dict)
        expected = [{"reason": "ChangePending", "message": "changes of cpu wait"}] if status["vmid"] == 101 else None
        assert status.get("warnings") == expected


def test_a_blocked_guest_says_what_to_do() -> None:
    verdict = verdicts(VIEW)[Vmid(105)]
    assert (verdict.why, verdict.remedy) == (Why.NO_TARGET_FITS, Why.NO_TARGET_FITS.remedy)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (size(None), "-"),
        (size(0), "0 B"),
        (size(1023), "1023 B"),
        (size(1 << 20), "1.0 MiB"),
        (size(8 << 30), "8.0 GiB"),
        (size(128 << 30), "128 GiB"),
        (size(3 << 40), "3.0 TiB"),
        (rate(112 << 20), "112 MiB/s"),
        (rate(None), "-"),
        (duration(None), "-"),
        (duration(-3), "0s"),
        (duration(41.9), "41s"),
        (duration(192), "3m12s"),
        (duration(18180), "5h03m"),
        (duration(12 * 86400 + 4 * 3600), "12d04h"),
        (timestamp(1_800_000_000.9), "2027-01-15T08:00:00Z"),
        (count_of(1, "guest"), "1 guest"),
        (count_of(0, "guest"), "0 guests"),
        (count_of(2, "policy"), "2 policies"),
        (some(["a", "b", "c"]), "a, b, c"),
        (some(["a", "b", "c", "d", "e"]), "a, b, c and 2 more"),
        (plain("a\x1b[2Jb\u202ec"), "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c"),
    ],
)
def test_numbers_and_words_are_for_people(said: str, expected: str) -> None:
    assert said == expected


@given(st.integers(0, 4_000_000_000))
def test_a_timestamp_can_be_read_back(seconds: int) -> None:
    assert epoch_of(timestamp(seconds)) == seconds
    assert epoch_of("yesterday") is None
