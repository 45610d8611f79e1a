"""What the store remembers of notifications: those that no sink has taken yet, what was told last, how many were given up.

Written by `report.notifier`; a part of `report.store.Store`.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from controller.model.notice import Notice, Told
from controller.report import recall, statefile
from controller.report.store_base import StoreBase

_NOTICE, _NOTICES = TypeAdapter(Notice), "notices"
_TOLD, _TOLDS = TypeAdapter(dict[str, Told]), "notices told"
_GIVEN_UP = "notices given up"


@dataclass(frozen=True, slots=True)
class Outbox:
    """queue: by key, the oldest first. told: by sink, what was told when. given_up: by sink, not told of yet."""

    queue: Mapping[str, Notice] = field(default_factory=dict)
    told: Mapping[str, Mapping[str, Told]] = field(default_factory=dict)
    given_up: Mapping[str, int] = field(default_factory=dict)


class NoticeStore(StoreBase):
    """Notifications."""

    def __init__(self, path: Path, database: sqlite3.Connection, closing: contextlib.ExitStack) -> None:
        super().__init__(path, database, closing)
        self._outbox: Outbox | None = None

    def outbox(self) -> Outbox:
        """All of it, as it is on disk."""
        if self._outbox is None:
            self._outbox = self._read("reading notifications", _load)
        return self._outbox

    def change_outbox(
        self,
        *,
        put: Iterable[Notice] = (),
        take: Iterable[str] = (),
        told: Mapping[str, Mapping[str, Told]] | None = None,
        given_up: Mapping[str, int] | None = None,
    ) -> None:
        """Put notices in (or in place of those with their key), take some out, and replace what is said of some sinks."""
        put, take = tuple(put), tuple(take)

        def work(database: sqlite3.Connection) -> Outbox:
            for key in take:
                statefile.note(database, _NOTICES, key, None)
            for notice in put:
                statefile.note(database, _NOTICES, notice.key, recall.text(_NOTICE, notice))
            for sink, said in (told or {}).items():
                statefile.note(database, _TOLDS, sink, recall.text(_TOLD, dict(said)))
            for sink, count in (given_up or {}).items():
                statefile.note(database, _GIVEN_UP, sink, str(count) if count else None)
            return _load(database)

        self._outbox = self._write("change_outbox", work)


def _load(database: sqlite3.Connection) -> Outbox:
    notices = (_NOTICE.validate_json(body) for body in statefile.notes(database, _NOTICES))
    return Outbox(
        queue={notice.key: notice for notice in notices},
        told={sink: _TOLD.validate_json(body) for sink, body in statefile.named_notes(database, _TOLDS)},
        given_up={sink: int(body) for sink, body in statefile.named_notes(database, _GIVEN_UP)},
    )
