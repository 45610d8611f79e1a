"""Cron's five fields: what they mean, also where clocks change, and what is wrong with those that mean nothing."""

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.cron import CronError, parse

FIVE = "not five fields with one blank between them (minute, hour, day of the month, month, weekday) at character 1"
VIENNA = ZoneInfo("Europe/Vienna")


def moments(schedule: str, start: str, count: int, zone: ZoneInfo = VIENNA) -> list[str]:
    epoch = datetime.fromisoformat(start).replace(tzinfo=zone).timestamp()
    found = islice(parse(schedule).after(epoch, zone), count)
    return [datetime.fromtimestamp(each, zone).strftime("%m-%d %H:%M %Z") for each in found]


@pytest.mark.parametrize(
    ("schedule", "start", "expected"),
    [
        ("0 22 * * *", "2026-11-23 22:00", ["11-24 22:00 CET", "11-25 22:00 CET"]),
        ("*/20 22-23 * * MON-FRI", "2026-11-27 23:00", ["11-27 23:20 CET", "11-27 23:40 CET", "11-30 22:00 CET"]),
        ("0 2 * * SAT,SUN", "2026-11-23 00:00", ["11-28 02:00 CET", "11-29 02:00 CET", "12-05 02:00 CET"]),
        ("0 2 * * 6-7", "2026-11-23 00:00", ["11-28 02:00 CET", "11-29 02:00 CET"]),
        ("0 0 * * FRI-MON", "2026-11-23 00:00", ["11-27 00:00 CET", "11-28 00:00 CET", "11-29 00:00 CET"]),
        ("0 22-1 * * *", "2026-11-23 21:00", ["11-23 22:00 CET", "11-23 23:00 CET", "11-24 00:00 CET"]),
        ("10/25 3 * * *", "2026-11-23 00:00", ["11-23 03:10 CET", "11-23 03:35 CET", "11-24 03:10 CET"]),
        ("0 0 13 * FRI", "2026-11-01 00:00", ["11-06 00:00 CET", "11-13 00:00 CET", "11-20 00:00 CET"]),
        ("0 0 */15 * FRI", "2026-11-01 00:00", ["01-01 00:00 CET"]),
        ("0 0 29 FEB *", "2026-11-01 00:00", ["02-29 00:00 CET"]),
        ("0 3 1 JAN-MAR *", "2026-11-01 00:00", ["01-01 03:00 CET", "02-01 03:00 CET", "03-01 03:00 CET"]),
    ],
)
def test_moments_are_those_that_cron_knows(schedule: str, start: str, expected: list[str]) -> None:
    assert moments(schedule, start, len(expected)) == expected


def test_an_hour_that_spring_leaves_out_comes_later_and_none_is_lost() -> None:
    assert moments("30 2 * * *", "2027-03-27 12:00", 2) == ["03-28 03:30 CEST", "03-29 02:30 CEST"]
    assert moments("0 * * * *", "2027-03-28 00:30", 3) == ["03-28 01:00 CET", "03-28 03:00 CEST", "03-28 04:00 CEST"]


def test_the_hour_that_autumn_repeats_comes_once_and_twice_where_every_hour_is_meant() -> None:
    assert moments("30 2 * * *", "2026-10-24 12:00", 2) == ["10-25 02:30 CEST", "10-26 02:30 CET"]
    assert moments("0 * * * *", "2026-10-25 01:30", 3) == ["10-25 02:00 CEST", "10-25 02:00 CET", "10-25 03:00 CET"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 22 * *", FIVE),
        ("0  22 * * *", FIVE),
        ("0 25 * * *", "'25' is no hour (0 to 23) at character 3"),
        ("0 2,x * * *", "'x' is no hour (0 to 23) at character 5"),
        ("0 2 * FOO *", "'FOO' is no month (1 to 12 or JAN to DEC) at character 7"),
        ("*/0 2 * * *", "'0' is no step (1 to 99) at character 3"),
        ("0 2 30,31 2 *", "this day never comes in these months at character 5"),
    ],
)
def test_what_is_no_schedule_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(CronError) as raised:
        parse(text)
    assert str(raised.value) == said


@given(
    st.sampled_from(["0 22 * * *", "*/7 1-5 * * MON", "15 2 1,15 * *", "0 * * * SUN", "30 2 * 3,10 *"]),
    st.integers(1_700_000_000, 1_900_000_000),
    st.sampled_from(["UTC", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_moments_come_in_order_and_every_one_says_what_was_asked(schedule: str, epoch: int, zone: str) -> None:
    cron, where = parse(schedule), ZoneInfo(zone)
    found = list(islice(cron.after(epoch, where), 20))
    assert found == sorted(set(found))
    assert all(each > epoch for each in found)
    for each in found:
        local = datetime.fromtimestamp(each, where)
        assert local.month in cron.months
        earlier = datetime.fromtimestamp(each - 3 * 3600, where)
        if local.utcoffset() == earlier.utcoffset():  # else the clock may have left that time out
            assert local.minute in cron.minutes
            assert local.hour in cron.hours


def test_nothing_is_left_out_between_two_moments() -> None:
    start = int(datetime(2026, 10, 24, tzinfo=UTC).timestamp())
    cron = parse("*/30 1-3 * * *")
    found = set(islice(cron.after(start, VIENNA), 30))
    for minute in range(start // 60 + 1, int(max(found)) // 60):
        local = datetime.fromtimestamp(minute * 60, VIENNA)
        wanted = local.hour in {1, 2, 3} and local.minute in {0, 30} and not local.fold
        assert (minute * 60 in found) is wanted, local
