"""Cron's five fields, as in `0 22 * * MON-FRI`: minute, hour, day of the month, month, weekday.

Used by `specs` to check the schedules of windows, and by `decide.windows` to know when they open. The grammar is that of
`man 5 crontab` without its nicknames; a range may run over the end (`22-2`, `FRI-MON`).
"""

import calendar as gregorian
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_YEARS = 9  # in which every combination of day and weekday that exists comes, 29 February included


class CronError(ValueError):
    """Text that is no schedule; `position` counts characters from 1."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(f"{problem} at character {position}")
        self.position = position
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def number(self, text: str, position: int) -> int:
        """The value that a number or a name stands for."""
        if text in self.names:
            return self.names.index(text) + self.low
        allowed = f"{self.low} to {self.high}" + (f" or {self.names[0]} to {self.names[-1]}" if self.names else "")
        digits = len(str(self.high))
        if not (text.isascii() and text.isdigit()) or len(text) > digits or not self.low <= int(text) <= self.high:
            raise CronError(position, f"{text!r} is no {self.name} ({allowed})")
        return int(text)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """Every minute whose parts are all in these sets; weekdays count from Sunday = 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool  # day of the month or weekday is enough: both are restricted (man 5 crontab)

    def after(self, epoch: float, zone: tzinfo) -> Iterator[float]:
        """Every such moment later than `epoch` (seconds), in order; none for a day that never comes, such as 31 February.

        A time that the spring change of clocks leaves out comes an hour later. The hour that autumn repeats comes once, but
        twice where every hour is meant.
        """
        last = epoch
        day = datetime.fromtimestamp(epoch, zone).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
        day -= timedelta(days=1)
        end = day.year + _YEARS
        while day.year < end:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            for moment in sorted(set(self._on(day, zone))) if self._covers(day) else ():
                if moment > last:
                    last, end = moment, day.year + _YEARS
                    yield moment
            day += timedelta(days=1)

    def _covers(self, day: datetime) -> bool:
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_date or by_weekday if self.either else by_date and by_weekday

    def _on(self, day: datetime, zone: tzinfo) -> Iterator[float]:
        folds = (0, 1) if len(self.hours) == 24 else (0,)
        for hour in self.hours:
            for minute in self.minutes:
                for fold in folds:
                    local = day.replace(hour=hour, minute=minute)
                    moment = local.replace(tzinfo=zone, fold=fold).timestamp()
                    # In the hour that spring leaves out the second reading would be an earlier time that was asked for anyway.
                    if not fold or datetime.fromtimestamp(moment, zone).replace(tzinfo=None, fold=0) == local:
                        yield moment


def parse(text: str) -> Cron:
    """The schedule that `text` is. Raises CronError."""
    words = text.split(" ")
    if len(words) != len(_FIELDS) or "" in words:
        names = ", ".join(field.name for field in _FIELDS)
        raise CronError(1, f"not five fields with one blank between them ({names})")
    starts = [1 + sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
    sets = [_field(field, word, start) for field, word, start in zip(_FIELDS, words, starts, strict=True)]
    minutes, hours, days, months, weekdays = sets
    cron = Cron(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        either=not words[2].startswith("*") and not words[4].startswith("*"),
    )
    if not cron.either and not any(_exists(day, month) for day in days for month in months):
        raise CronError(starts[2], "this day never comes in these months")
    return cron


def _exists(day: int, month: int) -> bool:
    return day <= (29 if month == 2 else gregorian.monthrange(2000, month)[1])


def _field(field: _Field, text: str, start: int) -> frozenset[int]:
    found: set[int] = set()
    for item in text.split(","):
        found.update(_item(field, item, start))
        start += len(item) + 1
    return frozenset(found)


def _item(field: _Field, text: str, start: int) -> range | list[int]:
    span, slash, step_text = text.partition("/")
    step = 1
    if slash:
        where = start + len(span) + 1
        if not (step_text.isascii() and step_text.isdigit()) or step_text.startswith("0") or len(step_text) > 2:
            raise CronError(where, f"{step_text!r} is no step (1 to 99)")
        step = int(step_text)
    if span == "*":
        return range(field.low, field.high + 1, step)
    first_text, dash, last_text = span.partition("-")
    first = field.number(first_text, start)
    if not dash:
        return range(first, field.high + 1, step) if slash else [first]
    last = field.number(last_text, start + len(first_text) + 1)
    if first <= last:
        return range(first, last + 1, step)
    everything = [*range(first, field.high + 1), *range(field.low, last + 1)]
    return everything[::step]
