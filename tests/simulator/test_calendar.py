"""Calendar events as PVE reads them (pve-docs: calendar-events.adoc)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.simulator.calendar import parse

MONDAY_NOON = 1795435200  # 2026-11-23 12:00:00 UTC


@pytest.mark.parametrize(
    ("event", "after", "expected"),
    [
        ("*/1", 0, 60),
        ("*/15", 0, 900),
        ("0:30", 0, 1800),
        ("0:00", 0, 86400),
        ("30", 0, 1800),
        ("22/1:0", 0, 79200),
        ("mon..fri 22:00", MONDAY_NOON, MONDAY_NOON + 10 * 3600),
        ("sat", MONDAY_NOON, MONDAY_NOON + 4 * 86400 + 12 * 3600),
        ("Sunday 1:00", MONDAY_NOON, MONDAY_NOON + 5 * 86400 + 13 * 3600),
        ("hourly", MONDAY_NOON, MONDAY_NOON + 3600),
        ("*/2", MONDAY_NOON, MONDAY_NOON + 120),
        ("12:00 UTC", MONDAY_NOON, MONDAY_NOON + 86400),
        ("5/0", 0, 300),
        ("2-29", 0, 68169600),
        ("2019-1-1", MONDAY_NOON, 0),
    ],
)
def test_the_next_event_is_strictly_later(event: str, after: int, expected: int) -> None:
    assert parse(event).next_after(after) == expected


@pytest.mark.parametrize(
    "event", ["", "nope", "every now and then", "*/60", "*/0", "mon-fri", "25:00", "1,*", "8:00 mon"]
)
def test_what_is_not_an_event_is_refused(event: str) -> None:
    with pytest.raises(ValueError, match="unable to parse calendar event"):
        parse(event)


@given(
    st.sampled_from(["*/7", "mon,thu 3:15", "*-1 0:0", "8..17/3:*/20", "sat..mon 12:30:15"]),
    st.integers(min_value=0, max_value=4_000_000_000),
)
def test_asking_again_at_the_found_moment_goes_forward_and_asking_before_it_finds_it(event: str, after: int) -> None:
    found = parse(event).next_after(after)
    assert found > after
    assert parse(event).next_after(found - 1) == found
