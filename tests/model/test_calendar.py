"""PVE's calendar events, by their grammar and by the clock."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.calendar import CalendarError, CalendarEvent, parse

VIENNA = ZoneInfo("Europe/Vienna")


def after(event: str, moment: str, zone: str = "UTC") -> str | None:
    tz = ZoneInfo(zone)
    start = datetime.fromisoformat(moment)
    found = parse(event).next_after((start if start.tzinfo else start.replace(tzinfo=tz)).timestamp(), tz)
    return None if found is None else datetime.fromtimestamp(found, tz).isoformat(sep=" ")[:19]


@pytest.mark.parametrize(
    ("event", "expected"),
    [  # after Monday 2026-11-23 10:07:30
        ("*/15", "2026-11-23 10:15:00"),
        ("*", "2026-11-23 10:08:00"),
        ("30", "2026-11-23 10:30:00"),
        ("5", "2026-11-23 11:05:00"),
        ("8:00", "2026-11-24 08:00:00"),
        ("22:30", "2026-11-23 22:30:00"),
        ("22/1:0", "2026-11-23 22:00:00"),
        ("8..17/2:00", "2026-11-23 12:00:00"),
        ("*:*:0/20", "2026-11-23 10:07:40"),
        ("mon..fri 22:00", "2026-11-23 22:00:00"),
        ("sat", "2026-11-28 00:00:00"),
        ("Sunday,tue 1:00", "2026-11-24 01:00:00"),
        ("fri..mon 9:00", "2026-11-27 09:00:00"),
        ("*-05", "2026-12-05 00:00:00"),
        ("12-24 18:00", "2026-12-24 18:00:00"),
        ("2028-2-29", "2028-02-29 00:00:00"),
        ("2-29", "2028-02-29 00:00:00"),
        ("mon *-1..7 3:00", "2026-12-07 03:00:00"),  # weekday and date are ANDed
        ("2-30", None),
        ("2025-*-*", None),
        ("5/0", "2026-11-23 11:05:00"),
        ("1,5..6,50/3", "2026-11-23 10:50:00"),
        ("minutely", "2026-11-23 10:08:00"),
        ("hourly", "2026-11-23 11:00:00"),
        ("daily", "2026-11-24 00:00:00"),
        ("weekly", "2026-11-30 00:00:00"),
        ("monthly", "2026-12-01 00:00:00"),
        ("quarterly", "2027-01-01 00:00:00"),
        ("semiannually", "2027-01-01 00:00:00"),
        ("semi-annually", "2027-01-01 00:00:00"),
        ("yearly", "2027-01-01 00:00:00"),
        ("annually", "2027-01-01 00:00:00"),
        ("  daily  ", "2026-11-24 00:00:00"),
    ],
)
def test_the_next_event(event: str, expected: str | None) -> None:
    assert after(event, "2026-11-23 10:07:30") == expected


def test_an_event_is_strictly_later() -> None:
    assert after("10:00", "2026-11-23 10:00:00") == "2026-11-24 10:00:00"
    assert after("10:00", "2026-11-23 09:59:59") == "2026-11-23 10:00:00"


def test_events_follow_the_zone_of_the_node_unless_they_say_utc() -> None:
    assert after("8:00", "2026-11-23 10:00:00", "Europe/Vienna") == "2026-11-24 08:00:00"
    assert after("8:00 UTC", "2026-11-23 10:00:00", "Europe/Vienna") == "2026-11-24 09:00:00"
    assert after("daily UTC", "2026-07-01 00:00:00", "Europe/Vienna") == "2026-07-01 02:00:00"


def test_clocks_that_change_lose_no_event_and_never_go_back() -> None:
    assert after("2:30", "2026-03-28 12:00:00", "Europe/Vienna") == "2026-03-29 03:30:00"  # 2:30 does not exist
    assert after("2:30", "2026-10-24 12:00:00", "Europe/Vienna") == "2026-10-25 02:30:00"
    moment, steps = datetime(2026, 10, 25, 0, 0, tzinfo=UTC).timestamp(), []
    for _ in range(12):
        found = parse("*/15").next_after(moment, VIENNA)
        assert found is not None
        steps.append(found - moment)
        moment = found
    assert min(steps) >= 900
    assert max(steps) <= 5400


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("", "nothing says when at character 1"),
        ("  UTC", "nothing says when at character 1"),
        ("*/60", "60 is out of range for the minute (0 to 59) at character 3"),
        ("*/0", "a step of 0 in the minute at character 3"),
        ("*/00", "a step of 0 in the minute at character 3"),
        ("*/24:00", "24 is out of range for the hour (0 to 23) at character 3"),
        ("24:00", "24 is out of range for the hour (0 to 23) at character 1"),
        ("8:60", "60 is out of range for the minute (0 to 59) at character 3"),
        ("5..3", "5..3 runs backwards at character 1"),
        ("mon-fri", "days from one to another are written mon..fri, not with '-' at character 4"),
        ("moo 8:00", "'moo' is no day of the week (mon, monday, tue, …) at character 1"),
        ("Daily", "'daily' is no day of the week (mon, monday, tue, …) at character 1"),
        ("8:00 CET", "unexpected 'CET' at character 6"),
        ("8:00:00.5", "unexpected '.5' at character 8"),
        ("*,5", "unexpected ',5' at character 2"),
        ("13-1", "13 is out of range for the month (1 to 12) at character 1"),
        ("0-1", "0 is out of range for the month (1 to 12) at character 1"),
        ("*-32", "32 is out of range for the day (1 to 31) at character 3"),
        ("2200-1-1", "2200 is out of range for the year (0 to 2199) at character 1"),
        ("1,,2", "a number was expected for the minute, not ',' at character 3"),
        ("8:", "a number was expected for the minute at character 3"),
        ("1:2:3:4", "unexpected ':4' at character 6"),
        ("99999999999999999999", "99999999999999999999 is out of range for the minute (0 to 59) at character 1"),
        ("٣", "a number was expected for the minute, not '٣' at character 1"),
    ],
)
def test_what_is_no_event_is_refused_at_its_place(event: str, message: str) -> None:
    with pytest.raises(CalendarError) as refused:
        parse(event)
    assert str(refused.value) == message


@given(st.text(alphabet="0123456789*/,.:- montueUTC", max_size=14), st.integers(0, 4_000_000_000))
def test_no_text_breaks_the_reader_and_no_event_lies_in_the_past(text: str, moment: int) -> None:
    try:
        event = parse(text)
    except CalendarError as refused:
        event, place = CalendarEvent(), refused.position
    else:
        place = 1
    assert 1 <= place <= len(text) + 1
    found = event.next_after(moment, VIENNA)
    assert found is None or found > moment


SETS = {part: st.frozensets(st.integers(low, high), min_size=1, max_size=3) for part, low, high in (
    ("weekdays", 0, 6), ("months", 1, 12), ("days", 1, 28), ("hours", 0, 23), ("minutes", 0, 59),
)}  # fmt: skip


@given(st.builds(CalendarEvent, **SETS), st.integers(1_700_000_000, 1_800_000_000))
def test_the_next_event_is_the_first_minute_that_fits(event: CalendarEvent, moment: int) -> None:
    found = event.next_after(moment, UTC)
    if found is None:
        return
    last = datetime.fromtimestamp(found, UTC)
    assert last.weekday() in event.weekdays
    assert (last.month in event.months, last.day in event.days) == (True, True)
    assert (last.hour in event.hours, last.minute in event.minutes, last.second) == (True, True, 0)
    earlier = event.next_after(found - 1, UTC)
    assert earlier == found
