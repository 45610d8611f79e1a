"""PVE's calendar events (`*/15`, `mon..fri 22:00`): parse one, and the next moment it names.

Called by `simulator.formats` to accept a schedule and by `simulator.replication` to follow it. The grammar is that of
proxmox-time (calendar_event.rs); nodes of the simulator live in UTC.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SPECIAL = {
    "minutely": "*:*",
    "hourly": "*:0",
    "daily": "0:0",
    "weekly": "mon 0:0",
    "monthly": "*-1 0:0",
    "quarterly": "1,4,7,10-1 0:0",
    "semiannually": "1,7-1 0:0",
    "semi-annually": "1,7-1 0:0",
    "yearly": "1-1 0:0",
    "annually": "1-1 0:0",
}
_LOOK_AHEAD_DAYS = 9 * 366
"""Far enough for a 29th of February on a given weekday's eve; beyond it an event counts as never."""


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """Every field as the sorted numbers it may have; days of the week count from Monday = 0."""

    weekdays: tuple[int, ...]
    years: tuple[int, ...] | None
    months: tuple[int, ...]
    days: tuple[int, ...]
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]

    def next_after(self, last: float) -> int:
        """Epoch seconds of the first event strictly later than `last`, 0 when there is none any more."""
        moment = datetime.fromtimestamp(int(last), UTC) + timedelta(seconds=1)
        for ahead in range(_LOOK_AHEAD_DAYS):
            day = moment.date() + timedelta(days=ahead)
            if not self._names_day(day.year, day.month, day.day, day.weekday()):
                continue
            start = (moment.hour, moment.minute, moment.second) if ahead == 0 else (0, 0, 0)
            if time := self._first_time_from(start):
                return int(datetime(day.year, day.month, day.day, *time, tzinfo=UTC).timestamp())
        return 0

    def _names_day(self, year: int, month: int, day: int, weekday: int) -> bool:
        in_year = self.years is None or year in self.years
        return in_year and month in self.months and day in self.days and weekday in self.weekdays

    def _first_time_from(self, start: tuple[int, int, int]) -> tuple[int, int, int] | None:
        times = (
            (hour, minute, second)
            for hour in self.hours
            if hour >= start[0]
            for minute in self.minutes
            if (hour, minute, 59) >= start
            for second in self.seconds
            if (hour, minute, second) >= start
        )
        return next(times, None)


@cache
def parse(text: str) -> CalendarEvent:
    """Read an event; raises ValueError `unable to parse calendar event`."""
    words = text.strip().removesuffix("UTC").split()
    if len(words) == 1 and words[0] in SPECIAL:
        words = SPECIAL[words[0]].split()
    weekdays: tuple[int, ...] = tuple(range(7))
    date = time = None
    for word in words:
        if word[0].isalpha() and date is None and time is None and len(weekdays) == 7:
            weekdays = _weekdays(word)
        elif "-" in word and date is None and time is None:
            date = word
        elif time is None:
            time = word
        else:
            raise _unparsable()
    if not words:
        raise _unparsable()
    years, months, days = _date(date)
    hours, minutes, seconds = _time(time)
    return CalendarEvent(weekdays, years, months, days, hours, minutes, seconds)


def _unparsable() -> ValueError:
    return ValueError("unable to parse calendar event")


def _weekday(name: str) -> int:
    for names in (DAYS, _LONG_DAYS):
        if name.lower() in names:
            return names.index(name.lower())
    raise _unparsable()


def _weekdays(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        start = _weekday(first)
        end = _weekday(last) if dots else start
        found.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return tuple(sorted(found))


def _date(text: str | None) -> tuple[tuple[int, ...] | None, tuple[int, ...], tuple[int, ...]]:
    fields = text.split("-") if text else ["*", "*"]
    if len(fields) not in (2, 3):
        raise _unparsable()
    years = _numbers(fields[0], 0, 2199) if len(fields) == 3 and fields[0] != "*" else None
    return years, _numbers(fields[-2], 1, 12), _numbers(fields[-1], 1, 31)


def _time(text: str | None) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    fields = text.split(":") if text else ["0", "0"]
    if len(fields) == 1:
        fields = ["*", *fields]
    if len(fields) > 3:
        raise _unparsable()
    seconds = _numbers(fields[2], 0, 59) if len(fields) == 3 else (0,)
    return _numbers(fields[0], 0, 23), _numbers(fields[1], 0, 59), seconds


_ITEM = re.compile(r"(?P<first>\d+)(\.\.(?P<last>\d+))?(/(?P<step>\d+))?")


def _numbers(text: str, low: int, high: int) -> tuple[int, ...]:
    """One field: `*`, `*/step`, or a comma list of `n`, `n..m`, `n/step`, `n..m/step`."""
    if text == "*":
        return tuple(range(low, high + 1))
    if step := re.fullmatch(r"\*/(\d+)", text):
        return tuple(range(low, high + 1, _step(step[1], high)))
    found: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise _unparsable()
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if not low <= first <= last <= high:
            raise _unparsable()
        if match["step"] and int(match["step"]):
            last = high if match["last"] is None else last
            found.update(range(first, last + 1, _step(match["step"], high)))
        else:
            found.update(range(first, last + 1))
    return tuple(sorted(found))


def _step(text: str, high: int) -> int:
    step = int(text)
    if not 0 < step <= high:
        raise _unparsable()
    return step
