"""Change windows: open or closed, until when, why, and who fits in."""

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide.windows import Opening, longest, opening, too_short
from controller.specs.pvecluster import Window

UTC = "UTC"
VIENNA = "Europe/Vienna"


def window(name: str, schedule: str, minutes: int, kind: str = "Allow", zone: str = UTC) -> Window:
    return Window.model_validate(
        {"name": name, "kind": kind, "schedule": schedule, "durationSeconds": minutes * 60, "timeZone": zone}
    )


def at(text: str, zone: str = UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


NIGHTS = window("nights", "0 22 * * *", 8 * 60)
FREEZE = window("freeze", "0 0 24 12 *", 3 * 24 * 60, "Deny")


def test_without_windows_it_is_always_open() -> None:
    assert opening((), 0.0) == Opening(True)
    assert longest((), 0.0) == math.inf


def test_an_allow_closes_everything_outside_of_it_and_says_when_it_opens() -> None:
    closed = opening([NIGHTS], at("2026-11-23 12:00"))
    assert not closed.open
    assert closed.until == at("2026-11-23 22:00")
    assert closed.message == "no Allow window is open; moves may start again Mon 2026-11-23 22:00 UTC"
    night = opening([NIGHTS], at("2026-11-24 03:00"))
    assert (night.open, night.until) == (True, at("2026-11-24 06:00"))
    assert not opening([NIGHTS], at("2026-11-24 06:00")).open, "the end is outside"
    assert opening([NIGHTS], at("2026-11-23 22:00")).open, "the beginning is inside"


def test_a_deny_beats_an_allow_and_closes_alone() -> None:
    both = opening([NIGHTS, FREEZE], at("2026-12-24 23:00"))
    assert not both.open
    assert both.until == at("2026-12-27 00:00")
    assert both.message.startswith("window freeze (Deny) is open; moves may start again Sun 2026-12-27 00:00")
    before = opening([NIGHTS, FREEZE], at("2026-12-23 23:00"))
    assert (before.open, before.until) == (True, at("2026-12-24 00:00")), "it closes in the middle of the night"
    alone = opening([FREEZE], at("2026-11-23 12:00"))
    assert (alone.open, alone.until) == (True, at("2026-12-24 00:00")), "without an Allow all other times are fine"


def test_windows_that_touch_or_overlap_are_one() -> None:
    late = window("late", "0 6 * * *", 60)
    early = window("early", "0 21 * * *", 120)
    found = opening([NIGHTS, late, early], at("2026-11-23 21:30"))
    assert (found.open, found.until) == (True, at("2026-11-24 07:00"))
    assert longest([NIGHTS, late, early], at("2026-11-23 12:00")) == 10 * 3600
    always = window("always", "* * * * *", 1)
    assert opening([always], at("2026-11-23 21:30")).until == math.inf
    assert longest([always], at("2026-11-23 21:30")) == math.inf


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-10-24 23:00", 9.0), ("2027-03-27 23:00", 7.0), ("2026-11-23 23:00", 8.0)]
)
def test_a_night_in_which_clocks_change_begins_when_people_say_and_lasts_as_long_as_written(
    day: str, hours: float
) -> None:
    nights = window("nights", "0 22 * * *", 8 * 60, zone=VIENNA)
    found = opening([nights], at(day, VIENNA))
    assert found.until - at(day[:11] + "22:00", VIENNA) == 8 * 3600
    until = datetime.fromtimestamp(found.until, ZoneInfo(VIENNA))
    assert until.hour == 6 + (8 - hours), "by the clock on the wall it ends an hour off"


def test_a_zone_that_the_machine_does_not_know_closes_and_says_so() -> None:
    broken = window("nights", "0 22 * * *", 480, zone="Europe/Atlantis")
    found = opening([NIGHTS, broken], at("2026-11-23 23:00"))
    assert not found.open
    assert found.message.startswith("window nights counts by Europe/Atlantis, which the time zone data")
    assert longest([broken], 0.0) == 0.0


def test_a_freeze_that_is_never_lifted_says_so() -> None:
    always = window("always", "* * * * *", 1, "Deny")
    found = opening([NIGHTS, always], at("2026-11-23 23:00"))
    assert (found.open, found.until) == (False, math.inf)
    assert found.message == "window always (Deny) is open, and none of the windows ever lets anything start"


def test_a_move_starts_only_if_it_is_over_in_time() -> None:
    now = at("2026-11-24 05:50")
    night, most = opening([NIGHTS], now), longest([NIGHTS], now)
    assert too_short(night, 600.0, most, now) is None
    assert too_short(night, 601.0, most, now) == (
        "the move is estimated to take 10 min, but the window closes Tue 2026-11-24 06:00 UTC",
        False,
    )
    assert too_short(night, 8 * 3600 + 1, most, now) == (
        "the move is estimated to take 8.0 h, and no window is open for more than 8.0 h at a stretch",
        True,
    )
    assert too_short(opening([NIGHTS], at("2026-11-24 12:00")), 601.0, most, now) is None, "closed: all have to wait"


SCHEDULES = st.sampled_from(["0 22 * * *", "*/30 * * * *", "15 3 * * SAT,SUN", "0 0 1 * *", "5 * * * MON-FRI"])
WINDOWS = st.lists(
    st.builds(
        lambda schedule, minutes, kind, zone: window("w", schedule, minutes, kind, zone),
        SCHEDULES,
        st.integers(1, 3000),
        st.sampled_from(["Allow", "Deny"]),
        st.sampled_from([UTC, VIENNA, "America/New_York"]),
    ),
    max_size=3,
)


@settings(deadline=None, max_examples=40)
@given(WINDOWS, st.integers(1_790_000_000, 1_800_000_000), st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3))
def test_until_is_the_next_moment_at_which_it_changes(windows: list[Window], now: int, shares: list[float]) -> None:
    found = opening(windows, now)
    if found.until == math.inf:
        return
    assert found.until > now
    assert opening(windows, found.until).open is not found.open
    for share in shares:
        moment = now + share * (found.until - now) * 0.999
        assert opening(windows, moment).open is found.open
