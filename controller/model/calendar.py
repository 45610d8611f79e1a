"""PVE calendar events: the schedules of replication jobs, such as `*/15`, `mon..fri 22:30` or `*-01 UTC`.

Used by `specs` to check ReplicationPolicy.schedule, and by `decide` to know when a job should have run. The grammar is that of
`proxmox-time: src/calendar_event.rs`; `man 7 pve-calendar-events` describes most of it.
"""

import calendar as gregorian
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EVERY_DAY = frozenset(range(7))
_LAST_YEAR = 2199


class CalendarError(ValueError):
    """Text that is no calendar event; `position` counts characters from 1."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(f"{problem} at character {position}")
        self.position = position
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Part:
    """The name of a part of a date or time, and its first and last value."""

    name: str
    low: int
    high: int

    def all(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))


_YEAR, _MONTH, _DAY = _Part("year", 0, _LAST_YEAR), _Part("month", 1, 12), _Part("day", 1, 31)
_HOUR, _MINUTE, _SECOND = _Part("hour", 0, 23), _Part("minute", 0, 59), _Part("second", 0, 59)
_ZERO = frozenset({0})


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """Every moment whose parts are all in these sets; weekdays count from Monday = 0 and are ANDed with the date."""

    weekdays: frozenset[int] = _EVERY_DAY
    years: frozenset[int] = _YEAR.all()
    months: frozenset[int] = _MONTH.all()
    days: frozenset[int] = _DAY.all()
    hours: frozenset[int] = _ZERO
    minutes: frozenset[int] = _ZERO
    seconds: frozenset[int] = _ZERO
    utc: bool = False

    def next_after(self, epoch: float, zone: tzinfo) -> float | None:
        """Return the first such moment strictly later than `epoch` (seconds), or None when there is none until 2199.

        `zone` is the time zone of the node, unless the event says UTC. A time that the spring change of clocks leaves out
        happens an hour later; in the hour that autumn repeats, an event happens once, as PVE has it.
        """
        zone = UTC if self.utc else zone
        start = datetime.fromtimestamp(int(epoch) + 1, zone).replace(tzinfo=None, fold=0)
        for local in self._from(start):
            for fold in (0, 1):
                found = local.replace(tzinfo=zone, fold=fold).timestamp()
                if found > epoch:
                    return found
        return None

    def _from(self, start: datetime) -> Iterator[datetime]:
        hours, minutes, seconds = sorted(self.hours), sorted(self.minutes), sorted(self.seconds)
        for year, month, day in self._dates_from(start):
            today = (year, month, day) == (start.year, start.month, start.day)
            for hour in hours:
                if today and hour < start.hour:
                    continue
                for minute in minutes:
                    if today and (hour, minute) < (start.hour, start.minute):
                        continue
                    for second in seconds:
                        if not today or (hour, minute, second) >= (start.hour, start.minute, start.second):
                            yield datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the caller adds the zone

    def _dates_from(self, start: datetime) -> Iterator[tuple[int, int, int]]:
        months, days = sorted(self.months), sorted(self.days)
        for year in sorted(y for y in self.years if y >= start.year):
            for month in months:
                if (year, month) < (start.year, start.month):
                    continue
                first, length = gregorian.monthrange(year, month)
                for day in days:
                    if day > length or (year, month, day) < (start.year, start.month, start.day):
                        continue
                    if (first + day - 1) % 7 in self.weekdays:
                        yield year, month, day


_FIRST = frozenset({1})
_SPECIAL = {
    "minutely": CalendarEvent(hours=_HOUR.all(), minutes=_MINUTE.all()),
    "hourly": CalendarEvent(hours=_HOUR.all()),
    "daily": CalendarEvent(),
    "weekly": CalendarEvent(weekdays=_ZERO),
    "monthly": CalendarEvent(days=_FIRST),
    "quarterly": CalendarEvent(months=frozenset({1, 4, 7, 10}), days=_FIRST),
    "semiannually": CalendarEvent(months=frozenset({1, 7}), days=_FIRST),
    "semi-annually": CalendarEvent(months=frozenset({1, 7}), days=_FIRST),
    "yearly": CalendarEvent(months=_FIRST, days=_FIRST),
    "annually": CalendarEvent(months=_FIRST, days=_FIRST),
}


def parse(text: str) -> CalendarEvent:
    """Read a calendar event as PVE does. Raises CalendarError, which knows the place."""
    return _Reader(text).event()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text.rstrip()
        self._utc = self._text.endswith("UTC")
        self._end = len(self._text.removesuffix("UTC").rstrip()) if self._utc else len(self._text)
        self._at = 0
        self._skip_spaces()

    def event(self) -> CalendarEvent:
        """Read all of the text."""
        if self._at >= self._end:
            raise self._error("nothing says when")
        special = _SPECIAL.get(self._text[self._at : self._end])
        if special is not None:
            return CalendarEvent(
                special.weekdays,
                special.years,
                special.months,
                special.days,
                special.hours,
                special.minutes,
                utc=self._utc,
            )
        weekdays = self._weekdays() if self._peek().isalpha() else _EVERY_DAY
        self._skip_spaces()
        years, months, days = self._date() if self._date_follows() else (_YEAR.all(), _MONTH.all(), _DAY.all())
        self._skip_spaces()
        hours, minutes, seconds = self._time() if self._at < self._end else (_ZERO, _ZERO, _ZERO)
        self._skip_spaces()
        if self._at < self._end:
            raise self._error(f"unexpected {self._text[self._at : self._end]!r}")
        return CalendarEvent(weekdays, years, months, days, hours, minutes, seconds, self._utc)

    def _peek(self) -> str:
        return self._text[self._at] if self._at < self._end else ""

    def _take(self, token: str) -> bool:
        if self._text.startswith(token, self._at, self._end):
            self._at += len(token)
            return True
        return False

    def _skip_spaces(self) -> None:
        while self._peek().isspace():
            self._at += 1

    def _error(self, problem: str, at: int | None = None) -> CalendarError:
        return CalendarError((self._at if at is None else at) + 1, problem)

    def _weekdays(self) -> frozenset[int]:
        days: set[int] = set()
        while True:
            first = last = self._weekday()
            if self._take(".."):
                last = self._weekday()
            elif self._peek() == "-":
                raise self._error("days from one to another are written mon..fri, not with '-'")
            days.update((first + step) % 7 for step in range((last - first) % 7 + 1))
            if not self._take(","):
                return frozenset(days)

    def _weekday(self) -> int:
        start = self._at
        while self._peek().isalpha():
            self._at += 1
        word = self._text[start : self._at].lower()
        for number, day in enumerate(_DAYS):
            if word in (day, day[:3]):
                return number
        raise self._error(f"{word!r} is no day of the week (mon, monday, tue, …)", start)

    def _date_follows(self) -> bool:
        """Only a date has '-', and it stands before any ':'."""
        head = self._text[self._at : self._end].split(":")[0]
        return "-" in head

    def _date(self) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
        parts = 3 if self._text[self._at : self._end].split(":")[0].count("-") > 1 else 2
        years = _YEAR.all()
        if parts == 3:
            years = self._list(_YEAR)
            self._expect("-", "between year and month")
        months = self._list(_MONTH)
        self._expect("-", "between month and day")
        return years, months, self._list(_DAY)

    def _time(self) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
        colons = self._text[self._at : self._end].count(":")
        hours = _HOUR.all()
        if colons:
            hours = self._list(_HOUR)
            self._expect(":", "after the hour")
        minutes = self._list(_MINUTE)
        return hours, minutes, self._list(_SECOND) if self._take(":") else _ZERO

    def _expect(self, token: str, where: str) -> None:
        if not self._take(token):
            raise self._error(f"{token!r} is missing {where}")

    def _list(self, part: _Part) -> frozenset[int]:
        if self._take("*"):
            if not self._take("/"):
                return part.all()
            start = self._at
            step = self._number(part, 0)
            if step == 0:
                raise self._error(f"a step of 0 in the {part.name}", start)
            return frozenset(range(part.low, part.high + 1, step))
        values = set(self._item(part))
        while self._take(","):
            values.update(self._item(part))
        return frozenset(values)

    def _item(self, part: _Part) -> range:
        start = self._at
        first = last = self._number(part, part.low)
        ranged = self._take("..")
        if ranged:
            last = self._number(part, part.low)
            if last < first:
                raise self._error(f"{first}..{last} runs backwards", start)
        if not self._take("/"):
            return range(first, last + 1)
        step = self._number(part, 0)
        if step == 0:  # PVE takes `5/0` for 5, though it refuses `*/0`
            return range(first, first + 1)
        return range(first, (last if ranged else part.high) + 1, step)

    def _number(self, part: _Part, low: int) -> int:
        start = self._at
        while self._peek().isdecimal() and self._peek().isascii():
            self._at += 1
        digits = self._text[start : self._at]
        if not digits:
            found = self._peek()
            raise self._error(f"a number was expected for the {part.name}" + (f", not {found!r}" if found else ""))
        number = int(digits) if len(digits) < 10 else 10**9
        if not low <= number <= part.high:
            raise self._error(f"{digits} is out of range for the {part.name} ({low} to {part.high})", start)
        return number
