"""What the store remembers of the cluster: its pinned name, the last good specs, events, and every condition's `since`.

Written by `loop`; a part of `report.store.Store`.
"""

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from controller.model.condition import Condition
from controller.model.event import Event, EventFilter
from controller.model.ids import ObjectRef
from controller.report import history, recall
from controller.report.store_base import StoreBase, set_meta

_CONDITIONS = TypeAdapter(dict[str, Condition])
_ALL = EventFilter()


class ClusterStore(StoreBase):
    """The cluster, its specs, and what is told about them."""

    def __init__(self, path: Path, database: sqlite3.Connection, closing: contextlib.ExitStack) -> None:
        super().__init__(path, database, closing)
        self._conditions: Mapping[ObjectRef, Mapping[str, Condition]] | None = None

    def pin(self, pve_name: str) -> None:
        """Remember PVE's own name of the cluster, once and for all: another name is another cluster."""
        self._write("pin", lambda db: set_meta(db, "pve_name", pve_name))

    def pinned(self) -> str | None:
        """PVE's own name of the cluster at first contact ("" for a node without cluster); None before it."""
        return self._meta("pve_name")

    def save_source(self, text: str) -> None:
        """Keep the last good specs."""
        if text != self._meta("source"):
            self._write("save_source", lambda db: set_meta(db, "source", text))

    def source(self) -> str | None:
        """The last good specs, as `save_source` got them."""
        return self._meta("source")

    def record_event(self, *events: Event) -> None:
        """Keep events; one that says the same about the same object again is counted, measured numbers aside."""
        if events:
            self._write("record_event", lambda db: history.record_events(db, events))

    def events(self, limit: int, wanted: EventFilter = _ALL) -> tuple[Event, ...]:
        """What happened, the newest first; at most 1000 are kept, for 30 days."""
        return self._read("reading events", lambda db: history.events(db, limit, wanted))

    def save_conditions(self, conditions: Mapping[ObjectRef, Mapping[str, Condition]]) -> None:
        """Keep all conditions, in place of those before. Not written while only messages differ: nothing flipped."""
        before = self.conditions()
        if {ref: _flips(of) for ref, of in conditions.items()} == {ref: _flips(of) for ref, of in before.items()}:
            return

        def work(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM conditions")
            rows = [(ref.kind, ref.name, recall.text(_CONDITIONS, dict(of))) for ref, of in conditions.items()]
            database.executemany("INSERT INTO conditions VALUES (?, ?, ?)", rows)

        self._write("save_conditions", work)
        self._conditions = dict(conditions)

    def conditions(self) -> Mapping[ObjectRef, Mapping[str, Condition]]:
        """The conditions of every object as they were saved, so that `since` survives a restart."""
        if self._conditions is None:
            statement = "SELECT kind, name, body FROM conditions"
            self._conditions = self._read(
                "reading conditions",
                lambda db: {
                    ObjectRef(kind, name): _CONDITIONS.validate_json(body) for kind, name, body in db.execute(statement)
                },
            )
        return self._conditions


def _flips(conditions: Mapping[str, Condition]) -> object:
    return {name: replace(condition, message="") for name, condition in conditions.items()}
