"""The state store: everything that must survive `kill -9`, in one SQLite file per cluster.

Opened by `loop` for the daemon and by `cli` for one-shots; written by `act` (moves) and `loop` (the rest), from the loop's
thread only. Every verb is one transaction, on disk when it returns. Nothing secret ever goes in.
"""

import contextlib
import os
from pathlib import Path
from typing import Self

from controller.model.errors import DroverError, Rejected
from controller.model.ids import ClusterName
from controller.model.memory import Memory
from controller.model.reasons import Why
from controller.report import statefile
from controller.report.store_cluster import ClusterStore
from controller.report.store_drift import DriftStore
from controller.report.store_maintenance import MaintenanceStore
from controller.report.store_moves import MoveStore
from controller.report.store_notices import NoticeStore
from controller.report.store_replication import ReplicationStore


class Store(MoveStore, ReplicationStore, DriftStore, MaintenanceStore, ClusterStore, NoticeStore):
    """What Drover remembers about one cluster. `memory()` is what the file says; a verb that fails leaves both unchanged.

    Verbs raise Retry(STORE_FAILED) when the disk is full, read-only or broken. They are told by subject in `report.store_*`.
    """

    @classmethod
    def open(cls, directory: Path, cluster: ClusterName) -> Self:
        """The store of `cluster`, for the one process that may write it.

        Raises Busy(NOT_LEADER) while another process has it, Retry(STORE_FAILED) when the disk refuses, and Rejected
        (STORE_FAILED) for a file of a newer Drover or of another program.
        """
        path = statefile.path_of(directory, cluster)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, statefile.lock(path))
            database = undo.enter_context(contextlib.closing(statefile.open_writable(path)))
            store = cls(path, database, undo)
            store._closing = undo.pop_all()
            return store

    @classmethod
    def read_only(cls, directory: Path, cluster: ClusterName) -> Self:
        """The store of `cluster` for reading, without its lock. Raises Rejected(NOT_FOUND) when there is no file."""
        path = statefile.path_of(directory, cluster)
        if not path.exists():
            raise Rejected(Why.NOT_FOUND, f"there is no state file {path}")
        with contextlib.ExitStack() as undo:
            database = undo.enter_context(contextlib.closing(statefile.open_readable(path)))
            store = cls(path, database, undo)
            store._closing = undo.pop_all()
            return store


def read_memory(directory: Path, cluster: ClusterName) -> Memory | None:
    """What is remembered about `cluster`, for one-shots; None when nothing ever was. Raises Retry(STORE_FAILED)."""
    if not statefile.path_of(directory, cluster).exists():
        return None
    store = Store.read_only(directory, cluster)
    try:
        return store.memory()
    finally:
        store.close()


def stored_sources(directory: Path) -> tuple[str, ...]:
    """The last good specs of every readable state file, the file written last at the end.

    Unreadable files are left out: the loop of their cluster reports them when it opens them.
    """
    found = []
    for path in sorted(directory.glob("*.sqlite3")):
        with contextlib.suppress(DroverError, OSError):
            store = Store.read_only(directory, ClusterName(path.stem))
            try:
                found.append((path.stat().st_mtime, store.source()))
            finally:
                store.close()
    return tuple(text for _, text in sorted(found, key=lambda item: item[0]) if text is not None)
