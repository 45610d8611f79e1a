"""What the store remembers of maintenances: guests asked to halt, evacuations begun, turns, hooks, orders by hand.

Written by `act` and `loop`; a part of `report.store.Store`.
"""

import sqlite3
from collections.abc import Iterable, Mapping

from controller.model.approval import Approved
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.memory import Begun, Halted
from controller.model.override import Override
from controller.model.turn import HookRun, Turn
from controller.report import recall, statefile
from controller.report.store_base import StoreBase


class MaintenanceStore(StoreBase):
    """Maintenances, and what people order by hand."""

    def remember_halted(self, halted: Halted) -> None:
        """Write that a guest is asked to shut down, or to start again, before the call."""
        body = recall.text(recall.HALTED, halted)
        self._remember("remember_halted", lambda db: statefile.note(db, recall.HALTS, str(halted.identity.vmid), body))

    def forget_halted(self, vmids: Iterable[Vmid]) -> None:
        """Forget guests that run again, or that were never asked."""
        gone = [vmid for vmid in vmids if vmid in self._memory.halted]

        def work(database: sqlite3.Connection) -> None:
            for vmid in gone:
                statefile.note(database, recall.HALTS, str(vmid), None)

        if gone:
            self._remember("forget_halted", work)

    def note_begun(self, begun: Iterable[Begun]) -> None:
        """Remember exactly these evacuations as begun; nothing is written when they are known."""
        wanted = {each.node: each for each in begun}
        if wanted == self._memory.begun:
            return

        def work(database: sqlite3.Connection) -> None:
            for node in self._memory.begun.keys() | wanted.keys():
                body = recall.text(recall.BEGUN, wanted[node]) if node in wanted else None
                statefile.note(database, recall.BEGINNINGS, node, body)

        self._remember("note_begun", work)

    def note_turns(self, turns: Iterable[Turn]) -> None:
        """Remember exactly these turns of nodes; nothing is written when they are known."""
        wanted = {turn.key: turn for turn in turns}
        known = self._memory.turns
        changed = {key: wanted.get(key) for key in known.keys() | wanted.keys() if known.get(key) != wanted.get(key)}

        def work(database: sqlite3.Connection) -> None:
            for key, turn in changed.items():
                statefile.note(database, recall.TURNS, key, None if turn is None else recall.text(recall.TURN, turn))

        if changed:
            self._remember("note_turns", work)

    def note_hook(self, run: HookRun) -> None:
        """Write that a hook is about to start, or how it ended."""
        body = recall.text(recall.HOOK, run)
        self._remember("note_hook", lambda db: statefile.note(db, recall.HOOKS, run.call.key, body))

    def forget_hooks(self, keys: Iterable[str]) -> None:
        """Forget hooks of which nobody will ask again."""
        gone = [key for key in keys if key in self._memory.hooks]

        def work(database: sqlite3.Connection) -> None:
            for key in gone:
                statefile.note(database, recall.HOOKS, key, None)

        if gone:
            self._remember("forget_hooks", work)

    def note_approvals(self, approvals: Mapping[ObjectRef, Approved]) -> None:
        """Remember exactly these approvals; nothing is written when they are known."""
        known = self._memory.approvals
        changed = {r: approvals.get(r) for r in known.keys() | approvals.keys() if known.get(r) != approvals.get(r)}

        def work(database: sqlite3.Connection) -> None:
            for ref, one in changed.items():
                body = None if one is None else recall.text(recall.APPROVED, one)
                statefile.note(database, recall.APPROVALS, str(ref), body)

        if changed:
            self._remember("note_approvals", work)

    def set_override(self, override: Override) -> None:
        """Remember an order about a node, in place of an earlier one."""
        body = recall.text(recall.OVERRIDE, override)
        self._remember("set_override", lambda db: statefile.note(db, recall.OVERRIDES, override.node, body))

    def end_override(self, node: NodeName) -> None:
        """Forget the order about a node."""
        self._remember("end_override", lambda db: statefile.note(db, recall.OVERRIDES, node, None))
