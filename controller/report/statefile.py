"""The file behind the state store: where it is, who may write it, which shape it has.

Used by `report.store` alone. SQLite with a rollback journal and `synchronous=EXTRA`: what is committed has been fsynced, the
directory entry of the journal included, so neither `kill -9` nor a power cut takes it back.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from controller.model.errors import Busy, Rejected, Retry
from controller.model.ids import ClusterName
from controller.model.reasons import Why

SCHEMA_VERSION = 5
"""Raised with every change of the tables; a file with a higher one was written by a newer Drover and is left alone."""

_APPLICATION_ID = 0x44727672  # "Drvr": tells our file from any other SQLite file
_BUSY_SECONDS = 5.0  # readers (`drover status`) hold the file for milliseconds

# UNIQUE in flights: at most one move per guest, whatever the code above thinks.
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE flights (id INTEGER PRIMARY KEY AUTOINCREMENT, vmid INTEGER NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE origins (vmid INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE backoffs (vmid INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE attempts (id INTEGER PRIMARY KEY AUTOINCREMENT, vmid INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX attempts_of_guest ON attempts (vmid);
CREATE TABLE events (
  id INTEGER PRIMARY KEY, type TEXT NOT NULL, reason TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  alike TEXT NOT NULL, message TEXT NOT NULL, first REAL NOT NULL, last REAL NOT NULL, count INTEGER NOT NULL,
  UNIQUE (type, reason, kind, name, alike)
);
CREATE TABLE conditions (kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE media (vmid INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE replication (section TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (section, key)) WITHOUT ROWID;
CREATE TABLE refusals (vmid INTEGER NOT NULL, node TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (vmid, node)) WITHOUT ROWID;
CREATE TABLE rates (vmid INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE links (node TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (topic TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (topic, name)) WITHOUT ROWID
"""
_CHANGES = {
    2: "CREATE TABLE media (vmid INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    3: "CREATE TABLE replication (section TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,"
    " PRIMARY KEY (section, key)) WITHOUT ROWID",
    4: """
CREATE TABLE refusals (vmid INTEGER NOT NULL, node TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (vmid, node)) WITHOUT ROWID;
CREATE TABLE rates (vmid INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE links (node TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID
""",
    5: "CREATE TABLE notes (topic TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (topic, name)) WITHOUT ROWID",
}
"""What brings a file to this version from the one before."""


def path_of(directory: Path, cluster: ClusterName) -> Path:
    """Where the state of `cluster` is kept."""
    return directory / f"{cluster}.sqlite3"


def failed(path: Path, doing: str, error: Exception) -> Retry:
    """The one error of everything that disks do to us."""
    return Retry(Why.STORE_FAILED, f"the state file {path} failed while {doing}: {error}")


def lock(path: Path) -> int:
    """Take the lock of the state file at `path` until the returned descriptor is closed or the process ends.

    Raises Busy(NOT_LEADER) while another process holds it, Retry(STORE_FAILED) when the directory can't be used.
    A file of its own: closing any descriptor of a SQLite file would drop SQLite's locks in this process.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise failed(path, "taking its lock", error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
        os.close(descriptor)
        text = f"another Drover process (pid {holder}) holds the state file {path}; this one waits and starts nothing"
        raise Busy(Why.NOT_LEADER, text) from None
    except OSError as error:
        os.close(descriptor)
        raise failed(path, "taking its lock", error) from error
    return descriptor


def open_writable(path: Path) -> sqlite3.Connection:
    """Open the file, creating it if there is none. Raises Retry(STORE_FAILED), Rejected(STORE_FAILED)."""
    with contextlib.ExitStack() as undo:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            undo.callback(database.close)
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute("PRAGMA synchronous = EXTRA")
            if _is_ours(database, path):
                _update(database)
            else:
                _create(database)
        except (OSError, sqlite3.Error) as error:
            raise failed(path, "opening it", error) from error
        undo.pop_all()
        return database


def open_readable(path: Path) -> sqlite3.Connection:
    """Open an existing file for reading, beside the daemon that may be writing it. Raises as `open_writable`.

    Not with SQLite's `mode=ro`: after a `kill -9` in the middle of a commit the first reader has to roll that back.
    """
    with contextlib.ExitStack() as undo:
        try:
            address = f"{path.absolute().as_uri()}?mode=rw"
            database = sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
            undo.callback(database.close)
            database.execute("PRAGMA query_only = ON")
            if not _is_ours(database, path):
                raise Rejected(Why.NOT_FOUND, f"the state file {path} is still empty")
        except sqlite3.Error as error:
            raise failed(path, "opening it", error) from error
        undo.pop_all()
        return database


def _is_ours(database: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there; False for an empty file. Raises Rejected for what must not be touched."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables and not version:
        return False
    if application != _APPLICATION_ID:
        raise Rejected(Why.STORE_FAILED, f"{path} is not a state file of Drover; it is left alone")
    if version > SCHEMA_VERSION:
        raise Rejected(
            Why.STORE_FAILED,
            f"the state file {path} was written by a newer Drover (schema {version}; this one knows {SCHEMA_VERSION}):"
            " run that version, or move the file away and lose what it remembers",
        )
    (health,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if health != "ok":
        raise failed(path, "checking it", sqlite3.DatabaseError(f"{health}; move it away to start without memory"))
    return True


def rows(database: sqlite3.Connection, table: str) -> Iterator[tuple[str, str]]:
    """Key and body of every row of a table with two columns that not every version had, in the order of the keys.

    None of a file that only an older version has written to, and that is just read.
    """
    assert table in ("media", "rates", "links")
    if _has(database, table):
        yield from database.execute(f"SELECT * FROM {table} ORDER BY 1")  # noqa: S608 - one of the names above


def refusals(database: sqlite3.Connection) -> Iterator[str]:
    """What is remembered of targets, by guest and node; as `rows`."""
    if _has(database, "refusals"):
        yield from (body for (body,) in database.execute("SELECT body FROM refusals ORDER BY vmid, node"))


def replication(database: sqlite3.Connection, section: str) -> Iterator[tuple[str, str]]:
    """Key and body of what is remembered about replication under `section`; nothing in an older file that is just read."""
    if _has(database, "replication"):
        yield from database.execute("SELECT key, body FROM replication WHERE section = ? ORDER BY key", (section,))


def _has(database: sqlite3.Connection, table: str) -> bool:
    return database.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone() is not None


def notes(database: sqlite3.Connection, topic: str) -> Iterator[str]:
    """Everything noted under `topic`, by name; nothing in a file that so far only an older version has written to."""
    if _has(database, "notes"):
        yield from (
            body for (body,) in database.execute("SELECT body FROM notes WHERE topic = ? ORDER BY name", (topic,))
        )


def named_notes(database: sqlite3.Connection, topic: str) -> Iterator[tuple[str, str]]:
    """As `notes`, each with its name."""
    if _has(database, "notes"):
        yield from database.execute("SELECT name, body FROM notes WHERE topic = ? ORDER BY name", (topic,))


def note(database: sqlite3.Connection, topic: str, name: str, body: str | None) -> None:
    """Note `body` under a topic and a name, in place of what was there; None takes it away."""
    if body is None:
        database.execute("DELETE FROM notes WHERE topic = ? AND name = ?", (topic, name))
    else:
        database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (topic, name, body))


def _update(database: sqlite3.Connection) -> None:
    """Bring an older file up to date, in one transaction."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version < SCHEMA_VERSION:
        numbers = range(version + 1, SCHEMA_VERSION + 1)
        _change(database, (statement for number in numbers for statement in _CHANGES[number].split(";")))


def _create(database: sqlite3.Connection) -> None:
    """Make the tables in one transaction: after a crash there are all or none."""
    _change(database, (*_TABLES.split(";"), f"PRAGMA application_id = {_APPLICATION_ID}"))


def _change(database: sqlite3.Connection, statements: Iterable[str]) -> None:
    database.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.execute("COMMIT")
    except sqlite3.Error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
