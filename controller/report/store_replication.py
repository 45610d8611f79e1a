"""What the store remembers of replication jobs: those made for one move, refused changes, asked syncs.

Written by `act`; a part of `report.store.Store`.
"""

import sqlite3
from collections.abc import Iterable, Mapping

from controller.model.ids import NodeName
from controller.model.replication import AskedSync, RefusedJob, TemporaryJob
from controller.report import recall
from controller.report.store_base import StoreBase


class ReplicationStore(StoreBase):
    """Replication jobs."""

    def remember_job(self, job: TemporaryJob) -> None:
        """Write that a job is about to be made for one move alone."""
        self._remember(
            "remember_job", lambda db: _keep(db, "temporary", {job.job_id: recall.text(recall.TEMPORARY, job)})
        )

    def forget_jobs(self, job_ids: Iterable[str]) -> None:
        """Forget jobs that were made for one move, once they are gone."""
        self._drop("forget_jobs", "temporary", self._memory.replication.temporary, job_ids)

    def refuse_job(self, refused: RefusedJob) -> None:
        """Remember that PVE refused a change of a job, and until when it is not asked for again."""
        self._remember(
            "refuse_job", lambda db: _keep(db, "refused", {refused.job_id: recall.text(recall.REFUSED, refused)})
        )

    def forget_refused(self, job_ids: Iterable[str]) -> None:
        """Let these jobs be changed again."""
        self._drop("forget_refused", "refused", self._memory.replication.refused, job_ids)

    def ask_sync(self, asked: AskedSync) -> None:
        """Remember that a job was asked to run at once."""
        self._remember("ask_sync", lambda db: _keep(db, "asked", {asked.job_id: recall.text(recall.ASKED, asked)}))

    def forget_asked(self, job_ids: Iterable[str]) -> None:
        """Forget when these jobs were asked to run."""
        self._drop("forget_asked", "asked", self._memory.replication.asked, job_ids)

    def note_told(self, told: Mapping[str, str]) -> None:
        """Remember exactly these events of jobs as told; nothing is written when they are known."""
        if dict(told) == dict(self._memory.replication.told):
            return

        def work(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM replication WHERE section = 'told'")
            _keep(database, "told", told)

        self._remember("note_told", work)

    def note_replication(self, policies: Mapping[str, str], gone_since: Mapping[NodeName, float]) -> None:
        """Remember exactly these policies with their deletionPolicy, and since when these targets are gone."""
        now = self._memory.replication
        if (dict(policies), dict(gone_since)) == (dict(now.policies), dict(now.gone_since)):
            return

        def work(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM replication WHERE section IN ('policy', 'gone')")
            _keep(database, "policy", policies)
            _keep(database, "gone", {node: repr(since) for node, since in gone_since.items()})

        self._remember("note_replication", work)

    def _drop(self, name: str, section: str, known: Iterable[str], keys: Iterable[str]) -> None:
        rows = [(section, key) for key in {*known} & {*keys}]
        if rows:
            statement = "DELETE FROM replication WHERE section = ? AND key = ?"
            self._remember(name, lambda db: db.executemany(statement, rows))


def _keep(database: sqlite3.Connection, section: str, bodies: Mapping[str, str]) -> None:
    rows = [(section, key, body) for key, body in bodies.items()]
    database.executemany("INSERT OR REPLACE INTO replication VALUES (?, ?, ?)", rows)
