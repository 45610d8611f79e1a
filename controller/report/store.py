"""The state store: everything that must survive `kill -9`, in one SQLite file per cluster.

Opened by `loop` for the daemon and by `cli` for one-shots; written by `act` (moves) and `loop` (the rest), from the loop's
thread only. Every verb is one transaction, on disk when it returns. Nothing secret ever goes in.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from controller.model.condition import Condition
from controller.model.errors import Busy, DroverError, Rejected
from controller.model.event import Event
from controller.model.ids import ClusterName, NodeName, ObjectRef, Upid, Vmid
from controller.model.memory import (
    Abort,
    Backoff,
    Begun,
    Ejected,
    Flight,
    FlightPhase,
    GuestRate,
    Halted,
    LinkRate,
    Memory,
    Origin,
    Refusal,
)
from controller.model.outcome import Outcome, Result
from controller.model.override import Override
from controller.model.reasons import Why
from controller.model.replication import AskedSync, RefusedJob, ReplicationMemory, TemporaryJob
from controller.model.turn import HookRun, Turn
from controller.report import history, statefile

_T = TypeVar("_T")
_FLIGHT = TypeAdapter(Flight)
_ORIGIN = TypeAdapter(Origin)
_BACKOFF = TypeAdapter(Backoff)
_EJECTED = TypeAdapter(Ejected)
_TEMPORARY = TypeAdapter(TemporaryJob)
_REFUSED = TypeAdapter(RefusedJob)
_REFUSAL = TypeAdapter(Refusal)
_RATE = TypeAdapter(GuestRate)
_LINK = TypeAdapter(LinkRate)
_ASKED = TypeAdapter(AskedSync)
_OVERRIDE = TypeAdapter(Override)
_OVERRIDES = "overrides"
_HALTED = TypeAdapter(Halted)
_HALTS = "halted"
_BEGUN = TypeAdapter(Begun)
_BEGINNINGS = "begun"
_TURN = TypeAdapter(Turn)
_TURNS = "turns"
_HOOK = TypeAdapter(HookRun)
_HOOKS = "hooks"
_CONDITIONS = TypeAdapter(dict[str, Condition])


class Store:
    """What Drover remembers about one cluster. `memory()` is what the file says; a verb that fails leaves both unchanged.

    Verbs raise Retry(STORE_FAILED) when the disk is full, read-only or broken.
    """

    def __init__(self, path: Path, database: sqlite3.Connection, closing: contextlib.ExitStack) -> None:
        self._path = path
        self._database = database
        self._closing = closing
        self._failure = ""
        self._memory = self._read("reading it", self._load)
        self._conditions: Mapping[ObjectRef, Mapping[str, Condition]] | None = None

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

    def close(self) -> None:
        """Let go of file and lock."""
        self._closing.close()

    # Moves

    def memory(self) -> Memory:
        """Flights, origins, back-offs and ejected media as they are on disk."""
        return self._memory

    def begin_flight(self, flight: Flight, *, origin: Origin | None) -> Flight:
        """Write the intent to move a guest, before the call; returns it with its id.

        With `origin` the guest's home is remembered in the same transaction, unless one is remembered already.
        Raises Busy(NOT_OBSERVED_YET) when a move of the guest is not over.
        """

        def work(database: sqlite3.Connection) -> Flight:
            if database.execute("SELECT 1 FROM flights WHERE vmid = ?", (flight.vmid,)).fetchone():
                raise Busy(
                    Why.NOT_OBSERVED_YET, f"a move of guest {flight.vmid} has begun and its end is not observed yet"
                )
            row = (flight.vmid, _text(_FLIGHT, flight))
            number = database.execute("INSERT INTO flights (vmid, body) VALUES (?, ?)", row).lastrowid
            assert number is not None
            known = self._memory.origins.get(flight.vmid)
            if origin is not None and (known is None or not known.identity.same_as(origin.identity)):
                _put(database, "origins", origin.identity.vmid, _text(_ORIGIN, origin))
            return replace(flight, id=number)

        return self._remember("begin_flight", work)

    def attach_task(self, flight_id: int, upid: Upid, *, ha: bool) -> None:
        """Write PVE's answer: the task that moves the guest, or with `ha` the one that asks PVE HA to do it."""
        self._change(
            "attach_task", flight_id, lambda f: replace(f, upid=upid, ha=ha, phase=FlightPhase.RUNNING, waiting="")
        )

    def flight_phase(self, flight_id: int, phase: FlightPhase, *, waiting: str = "", since: float = 0.0) -> None:
        """Write how far a move has got, and what its end waits for since when (epoch seconds, our clock)."""
        self._change("flight_phase", flight_id, lambda f: replace(f, phase=phase, waiting=waiting, waiting_since=since))

    def abort_flight(self, flight_id: int, abort: Abort) -> None:
        """Write that a move is to be stopped and why, before PVE is asked; or that PVE has refused."""
        self._change("abort_flight", flight_id, lambda f: replace(f, abort=abort))

    def end_flight(
        self,
        flight_id: int,
        outcome: Outcome,
        *,
        backoff: Backoff | None,
        origin: Origin | None,
        refusal: Refusal | None = None,
    ) -> None:
        """Forget the intent, append `outcome` to the history, and remember exactly this back-off and origin from now on.

        With `refusal` what the target did is remembered, too. Who has moved (or is gone) starts anew with every target.
        """

        def work(database: sqlite3.Connection) -> None:
            ended = database.execute("DELETE FROM flights WHERE id = ?", (flight_id,)).rowcount
            assert ended == 1, f"flight {flight_id} is not in the store"
            history.append_attempt(database, outcome)
            _put(database, "backoffs", outcome.vmid, None if backoff is None else _text(_BACKOFF, backoff))
            _put(database, "origins", outcome.vmid, None if origin is None else _text(_ORIGIN, origin))
            if outcome.result in (Result.SUCCEEDED, Result.GONE):
                database.execute("DELETE FROM refusals WHERE vmid = ?", (outcome.vmid,))
            elif refusal is not None:
                _put_refusal(database, refusal)

        self._remember("end_flight", work)

    def refuse(self, refusal: Refusal) -> None:
        """Remember that a guest is not to be moved to one node for a while."""
        self._remember("refuse", lambda db: _put_refusal(db, refusal))

    def forget_refusals(self, pairs: Iterable[tuple[Vmid, NodeName]]) -> None:
        """Let these guests be moved to these nodes again."""
        known = [(vmid, node) for vmid, node in pairs if node in self._memory.refusals.get(vmid, {})]
        if known:
            statement = "DELETE FROM refusals WHERE vmid = ? AND node = ?"
            self._remember("forget_refusals", lambda db: db.executemany(statement, known))

    def learn(self, rates: Iterable[GuestRate], links: Mapping[NodeName, LinkRate]) -> None:
        """Remember these rates in place of what was known of the same guests and nodes."""
        guests = [(rate.identity.vmid, _text(_RATE, rate)) for rate in rates]
        nodes = [(node, _text(_LINK, link)) for node, link in links.items()]

        def work(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO rates VALUES (?, ?)", guests)
            database.executemany("INSERT OR REPLACE INTO links VALUES (?, ?)", nodes)

        if guests or nodes:
            self._remember("learn", work)

    def back_off(self, backoff: Backoff) -> None:
        """Remember that a guest is not to be moved for a while, when there is no flight to end."""
        self._remember("back_off", lambda db: _put(db, "backoffs", backoff.identity.vmid, _text(_BACKOFF, backoff)))

    def clear_backoff(self, vmids: Iterable[Vmid]) -> None:
        """Let these guests be moved again."""
        self._forget("clear_backoff", "backoffs", [vmid for vmid in vmids if vmid in self._memory.backoffs])

    def forget_origins(self, vmids: Iterable[Vmid]) -> None:
        """Forget where these guests came from."""
        self._forget("forget_origins", "origins", [vmid for vmid in vmids if vmid in self._memory.origins])

    def remember_media(self, ejected: Ejected) -> None:
        """Write what is about to be taken out of a guest's drives, in place of what was before."""
        row = (ejected.identity.vmid, _text(_EJECTED, ejected))
        self._remember("remember_media", lambda db: _put(db, "media", *row))

    def forget_media(self, vmids: Iterable[Vmid]) -> None:
        """Forget what was in the drives of these guests."""
        self._forget("forget_media", "media", [vmid for vmid in vmids if vmid in self._memory.media])

    # Replication jobs

    def remember_job(self, job: TemporaryJob) -> None:
        """Write that a job is about to be made for one move alone."""
        self._remember("remember_job", lambda db: _keep(db, "temporary", {job.job_id: _text(_TEMPORARY, job)}))

    def forget_jobs(self, job_ids: Iterable[str]) -> None:
        """Forget jobs that were made for one move, once they are gone."""
        self._drop("forget_jobs", "temporary", self._memory.replication.temporary, job_ids)

    def refuse_job(self, refused: RefusedJob) -> None:
        """Remember that PVE refused a change of a job, and until when it is not asked for again."""
        self._remember("refuse_job", lambda db: _keep(db, "refused", {refused.job_id: _text(_REFUSED, refused)}))

    def forget_refused(self, job_ids: Iterable[str]) -> None:
        """Let these jobs be changed again."""
        self._drop("forget_refused", "refused", self._memory.replication.refused, job_ids)

    def ask_sync(self, asked: AskedSync) -> None:
        """Remember that a job was asked to run at once."""
        self._remember("ask_sync", lambda db: _keep(db, "asked", {asked.job_id: _text(_ASKED, asked)}))

    def forget_asked(self, job_ids: Iterable[str]) -> None:
        """Forget when these jobs were asked to run."""
        self._drop("forget_asked", "asked", self._memory.replication.asked, job_ids)

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

    def attempts(self, limit: int, vmid: Vmid | None = None) -> tuple[Outcome, ...]:
        """How moves ended, the newest first; of one guest with `vmid`. 5 are kept per guest, 500 in all."""
        return self._read("reading attempts", lambda db: history.attempts(db, limit, vmid))

    # The cluster, its specs, and what is told about them

    def pin(self, pve_name: str) -> None:
        """Remember PVE's own name of the cluster, once and for all: another name is another cluster."""
        self._write("pin", lambda db: _set_meta(db, "pve_name", pve_name))

    def pinned(self) -> str | None:
        """PVE's own name of the cluster at first contact ("" for a node without cluster); None before it."""
        return self._meta("pve_name")

    def save_source(self, text: str) -> None:
        """Keep the last good specs."""
        if text != self._meta("source"):
            self._write("save_source", lambda db: _set_meta(db, "source", text))

    def source(self) -> str | None:
        """The last good specs, as `save_source` got them."""
        return self._meta("source")

    def record_event(self, *events: Event) -> None:
        """Keep events; one that says the same about the same object again is counted, measured numbers aside."""
        if events:
            self._write("record_event", lambda db: history.record_events(db, events))

    def events(self, limit: int, about: ObjectRef | None = None) -> tuple[Event, ...]:
        """What happened, the newest first; at most 1000 are kept."""
        return self._read("reading events", lambda db: history.events(db, limit, about))

    def save_conditions(self, conditions: Mapping[ObjectRef, Mapping[str, Condition]]) -> None:
        """Keep all conditions, in place of those before. Not written while only messages differ: nothing flipped."""
        before = self.conditions()
        if {ref: _flips(of) for ref, of in conditions.items()} == {ref: _flips(of) for ref, of in before.items()}:
            return

        def work(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM conditions")
            rows = [(ref.kind, ref.name, _text(_CONDITIONS, dict(of))) for ref, of in conditions.items()]
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

    # Maintenance

    def remember_halted(self, halted: Halted) -> None:
        """Write that a guest is asked to shut down, or to start again, before the call."""
        body = _text(_HALTED, halted)
        self._remember("remember_halted", lambda db: statefile.note(db, _HALTS, str(halted.identity.vmid), body))

    def forget_halted(self, vmids: Iterable[Vmid]) -> None:
        """Forget guests that run again, or that were never asked."""
        gone = [vmid for vmid in vmids if vmid in self._memory.halted]

        def work(database: sqlite3.Connection) -> None:
            for vmid in gone:
                statefile.note(database, _HALTS, str(vmid), None)

        if gone:
            self._remember("forget_halted", work)

    def note_begun(self, begun: Iterable[Begun]) -> None:
        """Remember exactly these evacuations as begun; nothing is written when they are known."""
        wanted = {each.node: each for each in begun}
        if wanted == self._memory.begun:
            return

        def work(database: sqlite3.Connection) -> None:
            for node in self._memory.begun.keys() | wanted.keys():
                body = _text(_BEGUN, wanted[node]) if node in wanted else None
                statefile.note(database, _BEGINNINGS, node, body)

        self._remember("note_begun", work)

    def note_turns(self, turns: Iterable[Turn]) -> None:
        """Remember exactly these turns of nodes; nothing is written when they are known."""
        wanted = {turn.key: turn for turn in turns}
        known = self._memory.turns
        changed = {key: wanted.get(key) for key in known.keys() | wanted.keys() if known.get(key) != wanted.get(key)}

        def work(database: sqlite3.Connection) -> None:
            for key, turn in changed.items():
                statefile.note(database, _TURNS, key, None if turn is None else _text(_TURN, turn))

        if changed:
            self._remember("note_turns", work)

    def note_hook(self, run: HookRun) -> None:
        """Write that a hook is about to start, or how it ended."""
        body = _text(_HOOK, run)
        self._remember("note_hook", lambda db: statefile.note(db, _HOOKS, run.call.key, body))

    def forget_hooks(self, keys: Iterable[str]) -> None:
        """Forget hooks of which nobody will ask again."""
        gone = [key for key in keys if key in self._memory.hooks]

        def work(database: sqlite3.Connection) -> None:
            for key in gone:
                statefile.note(database, _HOOKS, key, None)

        if gone:
            self._remember("forget_hooks", work)

    # What people order by hand

    def set_override(self, override: Override) -> None:
        """Remember an order about a node, in place of an earlier one."""
        body = _text(_OVERRIDE, override)
        self._remember("set_override", lambda db: statefile.note(db, _OVERRIDES, override.node, body))

    def end_override(self, node: NodeName) -> None:
        """Forget the order about a node."""
        self._remember("end_override", lambda db: statefile.note(db, _OVERRIDES, node, None))

    # Health

    def failure(self) -> str:
        """Why the file can't be written, "" when it can. After a failure every call tries again."""
        if self._failure:
            with contextlib.suppress(DroverError):
                self._remember("recheck", lambda db: _set_meta(db, "checked", self._failure))
        return self._failure

    # The one way in and the one way out

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
        result, self._memory = self._write(name, lambda database: (work(database), self._load(database)))
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

    def _load(self, database: sqlite3.Connection) -> Memory:
        flights = (
            replace(_FLIGHT.validate_json(body), id=number)
            for number, body in database.execute("SELECT id, body FROM flights ORDER BY id")
        )
        origins = (
            _ORIGIN.validate_json(body) for (body,) in database.execute("SELECT body FROM origins ORDER BY vmid")
        )
        backoffs = (
            _BACKOFF.validate_json(body) for (body,) in database.execute("SELECT body FROM backoffs ORDER BY vmid")
        )
        media = (_EJECTED.validate_json(body) for _, body in statefile.rows(database, "media"))
        refusals: dict[Vmid, dict[NodeName, Refusal]] = {}
        for body in statefile.refusals(database):
            refusal = _REFUSAL.validate_json(body)
            refusals.setdefault(refusal.identity.vmid, {})[refusal.target] = refusal
        rates = (_RATE.validate_json(body) for _, body in statefile.rows(database, "rates"))
        overrides = (_OVERRIDE.validate_json(body) for body in statefile.notes(database, _OVERRIDES))
        halts = (_HALTED.validate_json(body) for body in statefile.notes(database, _HALTS))
        turns = (_TURN.validate_json(body) for body in statefile.notes(database, _TURNS))
        hooks = (_HOOK.validate_json(body) for body in statefile.notes(database, _HOOKS))
        beginnings = (_BEGUN.validate_json(body) for body in statefile.notes(database, _BEGINNINGS))
        return Memory(
            flights={flight.vmid: flight for flight in flights},
            origins={origin.identity.vmid: origin for origin in origins},
            backoffs={backoff.identity.vmid: backoff for backoff in backoffs},
            refusals=refusals,
            rates={rate.identity.vmid: rate for rate in rates},
            links={NodeName(node): _LINK.validate_json(body) for node, body in statefile.rows(database, "links")},
            media={ejected.identity.vmid: ejected for ejected in media},
            replication=_replication(database),
            overrides={override.node: override for override in overrides},
            halted={halted.identity.vmid: halted for halted in halts},
            begun={begun.node: begun for begun in beginnings},
            turns={turn.key: turn for turn in turns},
            hooks={run.call.key: run for run in hooks},
        )

    def _change(self, name: str, flight_id: int, change: Callable[[Flight], Flight]) -> None:
        def work(database: sqlite3.Connection) -> None:
            row = database.execute("SELECT body FROM flights WHERE id = ?", (flight_id,)).fetchone()
            assert row is not None, f"flight {flight_id} is not in the store"
            body = _text(_FLIGHT, change(_FLIGHT.validate_json(row[0])))
            database.execute("UPDATE flights SET body = ? WHERE id = ?", (body, flight_id))

        self._remember(name, work)

    def _forget(self, name: str, table: str, vmids: list[Vmid]) -> None:
        if not vmids:
            return

        def work(database: sqlite3.Connection) -> None:
            for vmid in vmids:
                _put(database, table, vmid, None)

        self._remember(name, work)

    def _drop(self, name: str, section: str, known: Iterable[str], keys: Iterable[str]) -> None:
        rows = [(section, key) for key in {*known} & {*keys}]
        if rows:
            statement = "DELETE FROM replication WHERE section = ? AND key = ?"
            self._remember(name, lambda db: db.executemany(statement, rows))

    def _meta(self, key: str) -> str | None:
        def work(database: sqlite3.Connection) -> str | None:
            row = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            return None if row is None else str(row[0])

        return self._read(f"reading {key}", work)


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


def _text(adapter: TypeAdapter[_T], value: _T) -> str:
    return adapter.dump_json(value).decode()


def _put(database: sqlite3.Connection, table: str, vmid: Vmid, body: str | None) -> None:
    """Write or delete a guest's row of `origins`, `backoffs` or `media`."""
    assert table in ("origins", "backoffs", "media")
    if body is None:
        database.execute(f"DELETE FROM {table} WHERE vmid = ?", (vmid,))  # noqa: S608 - one of three table names
    else:
        database.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (vmid, body))  # noqa: S608 - same


def _put_refusal(database: sqlite3.Connection, refusal: Refusal) -> None:
    row = (refusal.identity.vmid, refusal.target, _text(_REFUSAL, refusal))
    database.execute("INSERT OR REPLACE INTO refusals VALUES (?, ?, ?)", row)


def _set_meta(database: sqlite3.Connection, key: str, value: str) -> None:
    database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _flips(conditions: Mapping[str, Condition]) -> object:
    return {name: replace(condition, message="") for name, condition in conditions.items()}


def _keep(database: sqlite3.Connection, section: str, bodies: Mapping[str, str]) -> None:
    rows = [(section, key, body) for key, body in bodies.items()]
    database.executemany("INSERT OR REPLACE INTO replication VALUES (?, ?, ?)", rows)


def _replication(database: sqlite3.Connection) -> ReplicationMemory:
    sections = ("temporary", "refused", "asked", "policy", "gone")
    temporary, refused, asked, policies, gone = (dict(statefile.replication(database, each)) for each in sections)
    return ReplicationMemory(
        temporary={key: _TEMPORARY.validate_json(body) for key, body in temporary.items()},
        refused={key: _REFUSED.validate_json(body) for key, body in refused.items()},
        asked={key: _ASKED.validate_json(body) for key, body in asked.items()},
        policies=policies,
        gone_since={NodeName(node): float(since) for node, since in gone.items()},
    )
