"""What the store remembers of moves: flights, homes, back-offs, refusals, rates, media, and how attempts ended.

Written by `act`; a part of `report.store.Store`.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from controller.model.errors import Busy
from controller.model.ids import NodeName, Upid, Vmid
from controller.model.memory import Abort, Backoff, Ejected, Flight, FlightPhase, GuestRate, LinkRate, Origin, Refusal
from controller.model.outcome import Outcome, Result
from controller.model.reasons import Why
from controller.report import history, recall
from controller.report.store_base import StoreBase


class MoveStore(StoreBase):
    """Moves: the intent before the call, the end after it, and what was learned."""

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
            row = (flight.vmid, recall.text(recall.FLIGHT, flight))
            number = database.execute("INSERT INTO flights (vmid, body) VALUES (?, ?)", row).lastrowid
            assert number is not None
            known = self._memory.origins.get(flight.vmid)
            if origin is not None and (known is None or not known.identity.same_as(origin.identity)):
                _put(database, "origins", origin.identity.vmid, recall.text(recall.ORIGIN, origin))
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
            _put(database, "backoffs", outcome.vmid, None if backoff is None else recall.text(recall.BACKOFF, backoff))
            _put(database, "origins", outcome.vmid, None if origin is None else recall.text(recall.ORIGIN, origin))
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
        guests = [(rate.identity.vmid, recall.text(recall.RATE, rate)) for rate in rates]
        nodes = [(node, recall.text(recall.LINK, link)) for node, link in links.items()]

        def work(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO rates VALUES (?, ?)", guests)
            database.executemany("INSERT OR REPLACE INTO links VALUES (?, ?)", nodes)

        if guests or nodes:
            self._remember("learn", work)

    def back_off(self, backoff: Backoff) -> None:
        """Remember that a guest is not to be moved for a while, when there is no flight to end."""
        self._remember(
            "back_off", lambda db: _put(db, "backoffs", backoff.identity.vmid, recall.text(recall.BACKOFF, backoff))
        )

    def clear_backoff(self, vmids: Iterable[Vmid]) -> None:
        """Let these guests be moved again."""
        self._forget("clear_backoff", "backoffs", [vmid for vmid in vmids if vmid in self._memory.backoffs])

    def forget_origins(self, vmids: Iterable[Vmid]) -> None:
        """Forget where these guests came from."""
        self._forget("forget_origins", "origins", [vmid for vmid in vmids if vmid in self._memory.origins])

    def remember_media(self, ejected: Ejected) -> None:
        """Write what is about to be taken out of a guest's drives, in place of what was before."""
        row = (ejected.identity.vmid, recall.text(recall.EJECTED, ejected))
        self._remember("remember_media", lambda db: _put(db, "media", *row))

    def forget_media(self, vmids: Iterable[Vmid]) -> None:
        """Forget what was in the drives of these guests."""
        self._forget("forget_media", "media", [vmid for vmid in vmids if vmid in self._memory.media])

    def attempts(self, limit: int, vmid: Vmid | None = None) -> tuple[Outcome, ...]:
        """How moves ended, the newest first; of one guest with `vmid`. 5 are kept per guest, 500 in all."""
        return self._read("reading attempts", lambda db: history.attempts(db, limit, vmid))

    def _change(self, name: str, flight_id: int, change: Callable[[Flight], Flight]) -> None:
        def work(database: sqlite3.Connection) -> None:
            row = database.execute("SELECT body FROM flights WHERE id = ?", (flight_id,)).fetchone()
            assert row is not None, f"flight {flight_id} is not in the store"
            body = recall.text(recall.FLIGHT, change(recall.FLIGHT.validate_json(row[0])))
            database.execute("UPDATE flights SET body = ? WHERE id = ?", (body, flight_id))

        self._remember(name, work)

    def _forget(self, name: str, table: str, vmids: list[Vmid]) -> None:
        if not vmids:
            return

        def work(database: sqlite3.Connection) -> None:
            for vmid in vmids:
                _put(database, table, vmid, None)

        self._remember(name, work)


def _put(database: sqlite3.Connection, table: str, vmid: Vmid, body: str | None) -> None:
    """Write or delete a guest's row of `origins`, `backoffs` or `media`."""
    assert table in ("origins", "backoffs", "media")
    if body is None:
        database.execute(f"DELETE FROM {table} WHERE vmid = ?", (vmid,))  # noqa: S608 - one of three table names
    else:
        database.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (vmid, body))  # noqa: S608 - same


def _put_refusal(database: sqlite3.Connection, refusal: Refusal) -> None:
    row = (refusal.identity.vmid, refusal.target, recall.text(recall.REFUSAL, refusal))
    database.execute("INSERT OR REPLACE INTO refusals VALUES (?, ?, ?)", row)
