"""The one way into the state file and the one way out: transactions, what memory is read back, and whether the disk works.

Every subject of the store (`report.store_*`) builds on it; nothing else calls it.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from controller.model.errors import DroverError
from controller.model.memory import Memory
from controller.report import recall, statefile

_T = TypeVar("_T")


class StoreBase:
    """One state file and what it says. A verb that fails leaves both unchanged and raises Retry(STORE_FAILED)."""

    def __init__(self, path: Path, database: sqlite3.Connection, closing: contextlib.ExitStack) -> None:
        self._path = path
        self._database = database
        self._closing = closing
        self._failure = ""
        self._memory = self._read("reading it", recall.memory)

    def close(self) -> None:
        """Let go of file and lock."""
        self._closing.close()

    def memory(self) -> Memory:
        """Flights, origins, back-offs and ejected media as they are on disk."""
        return self._memory

    def failure(self) -> str:
        """Why the file can't be written, "" when it can. After a failure every call tries again."""
        if self._failure:
            with contextlib.suppress(DroverError):
                self._remember("recheck", lambda db: set_meta(db, "checked", self._failure))
        return self._failure

    def _write(self, name: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do `work` in one transaction; it is on disk when this returns, and has left no trace when it raises."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._database)
                self._database.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
        except (sqlite3.Error, ValidationError) as error:
            failure = statefile.failed(self._path, f"writing ({name})", error)
            self._failure = failure.message
            raise failure from error
        self._failure = ""
        return result

    def _remember(self, name: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """A write that changes memory, which is read back inside the transaction: it changes exactly when the file does."""
        result, self._memory = self._write(name, lambda database: (work(database), recall.memory(database)))
        return result

    def _roll_back(self) -> None:
        # SQLite has often rolled back by itself; whatever else fails here is already being reported by the first error.
        with contextlib.suppress(sqlite3.Error):
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    def _read(self, doing: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            return work(self._database)
        except (sqlite3.Error, ValidationError) as error:
            raise statefile.failed(self._path, doing, error) from error

    def _meta(self, key: str) -> str | None:
        def work(database: sqlite3.Connection) -> str | None:
            row = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            return None if row is None else str(row[0])

        return self._read(f"reading {key}", work)


def set_meta(database: sqlite3.Connection, key: str, value: str) -> None:
    """Write one of the single values of the file."""
    database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
