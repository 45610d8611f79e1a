"""What happened, as rows of the state file: how moves ended, and events. Bounded, the oldest go first.

Used by `report.store` alone, inside its transactions.
"""

import re
import sqlite3
from collections.abc import Iterable
from typing import TypeAlias

from pydantic import TypeAdapter

from controller.model.event import Event, EventFilter, EventType
from controller.model.ids import ObjectRef, Vmid
from controller.model.outcome import Outcome, Result

ATTEMPTS_PER_GUEST = 5
ATTEMPTS = 500
EVENTS = 1000
MESSAGES_PER_REASON = 20
"""Different messages that are kept of one object and reason: what says something else every time pushes out nothing else."""
QUIET_SECONDS = 86400.0
"""What comes again after so long is news, and counted from one."""
EVENT_SECONDS = 30 * 86400.0
"""How long an event is kept after it happened last."""

_OUTCOME = TypeAdapter(Outcome)
_EventRow: TypeAlias = tuple[int, str, str, str, str, str, float, float, int]
_MEASURED = re.compile(r"\b(?:\d+(?:\.\d+)?\s?(?:[KMGT]i?B|B|ms|min|[dhms]|%)(?![A-Za-z]))+(?:/s)?")


def alike(message: str) -> str:
    """The message without measured numbers (`3.2 GiB`, `41s`, `12%`): the same for events that are counted together."""
    return _MEASURED.sub("#", message)


def append_attempt(database: sqlite3.Connection, outcome: Outcome) -> None:
    """Append to the history. Of refusals in a row only the last is kept: they would push out what really happened."""
    statement = "SELECT id, body FROM attempts WHERE vmid = ? ORDER BY id DESC LIMIT 1"
    newest = database.execute(statement, (outcome.vmid,)).fetchone()
    if (
        newest is not None
        and outcome.result is Result.REFUSED
        and _OUTCOME.validate_json(newest[1]).result is Result.REFUSED
    ):
        database.execute("DELETE FROM attempts WHERE id = ?", (newest[0],))
    row = (outcome.vmid, _OUTCOME.dump_json(outcome).decode())
    database.execute("INSERT INTO attempts (vmid, body) VALUES (?, ?)", row)
    database.execute(
        "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE vmid = ? ORDER BY id DESC LIMIT -1 OFFSET ?)",
        (outcome.vmid, ATTEMPTS_PER_GUEST),
    )
    database.execute(
        "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts ORDER BY id DESC LIMIT -1 OFFSET ?)", (ATTEMPTS,)
    )


def attempts(database: sqlite3.Connection, limit: int, vmid: Vmid | None) -> tuple[Outcome, ...]:
    """The newest attempts, of one guest with `vmid`."""
    rows = database.execute(
        "SELECT body FROM attempts WHERE ? IS NULL OR vmid = ? ORDER BY id DESC LIMIT ?", (vmid, vmid, limit)
    )
    return tuple(_OUTCOME.validate_json(body) for (body,) in rows)


def record_events(database: sqlite3.Connection, events: Iterable[Event]) -> None:
    """Insert events, or count them where one says the same but for measured numbers (`3.2 GiB`, `41s`, `12%`)."""
    for event in events:
        values = (event.about.kind, event.about.name, alike(event.message), event.message)
        database.execute(
            "INSERT INTO events (type, reason, kind, name, alike, message, first, last, count)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (type, reason, kind, name, alike) DO UPDATE SET"
            " message = excluded.message, last = excluded.last,"
            " first = iif(last < excluded.first - ?, excluded.first, first),"
            " count = iif(last < excluded.first - ?, 0, count) + excluded.count",
            (event.type, event.reason, *values, event.first, event.last, event.count, QUIET_SECONDS, QUIET_SECONDS),
        )
    database.execute(
        "DELETE FROM events WHERE id IN (SELECT id FROM (SELECT id, last,"
        " row_number() OVER (PARTITION BY type, reason, kind, name ORDER BY last DESC, id DESC) AS alike,"
        " row_number() OVER (ORDER BY last DESC, id DESC) AS position, max(last) OVER () AS newest FROM events)"
        " WHERE alike > ? OR position > ? OR last < newest - ?)",
        (MESSAGES_PER_REASON, EVENTS, EVENT_SECONDS),
    )


def events(database: sqlite3.Connection, limit: int, wanted: EventFilter) -> tuple[Event, ...]:
    """The newest events that are asked for."""
    rows = database.execute(
        "SELECT id, type, reason, kind, name, message, first, last, count FROM events"
        " WHERE (:kind = '' OR kind = :kind COLLATE NOCASE) AND (:name = '' OR name = :name) AND (:type = '' OR type = :type)"
        " AND (:reasons = '' OR instr(:reasons, ',' || reason || ',')) AND last >= :since"
        " ORDER BY last DESC, id DESC LIMIT :limit",
        {
            "kind": wanted.kind,
            "name": wanted.name,
            "type": wanted.type or "",
            "reasons": f",{','.join(sorted(wanted.reasons))}," if wanted.reasons else "",
            "since": wanted.since,
            "limit": limit,
        },
    )
    return tuple(_event(row) for row in rows)


def _event(row: _EventRow) -> Event:
    number, severity, reason, kind, name, message, first, last, count = row
    return Event(EventType(severity), reason, ObjectRef(kind, name), message, first, last, count, number)
