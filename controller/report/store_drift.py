"""What the store remembers of where guests were, and of what people changed by hand.

Written by `loop`; a part of `report.store.Store`.
"""

import json
import sqlite3
from collections.abc import Collection, Mapping

from controller.model.drift import MovedByHand, Place
from controller.model.ids import GuestIdentity, GuestKind, NodeName, Vmid
from controller.report import recall, statefile
from controller.report.store_base import StoreBase, set_meta

_PLACES = "places"


class DriftStore(StoreBase):
    """Places of guests, and changes by hand."""

    _places: Mapping[Vmid, Place] | None = None

    def places(self) -> Mapping[Vmid, Place]:
        """Where guests were seen last."""
        if self._places is None:
            rows: dict[str, list[str]] = json.loads(self._meta(_PLACES) or "{}")
            self._places = {
                Vmid(int(vmid)): Place(GuestIdentity(Vmid(int(vmid)), GuestKind(kind), born), NodeName(node))
                for vmid, (kind, born, node) in rows.items()
            }
        return self._places

    def note_places(self, places: Mapping[Vmid, Place], moved: Mapping[Vmid, MovedByHand]) -> None:
        """Remember exactly these places and moves by hand, in one transaction; nothing is written when they are known.

        Places are one row: some thousand guests are some hundred kilobytes, written when one of them has moved.
        """
        known = self._memory.moved_by_hand
        changed = {vmid: moved.get(vmid) for vmid in known.keys() | moved.keys() if known.get(vmid) != moved.get(vmid)}
        if not changed and places == self.places():
            return
        rows = {str(v): [str(p.identity.kind), p.identity.born, str(p.node)] for v, p in sorted(places.items())}

        def work(database: sqlite3.Connection) -> None:
            set_meta(database, _PLACES, json.dumps(rows, separators=(",", ":")))
            for vmid, one in changed.items():
                body = None if one is None else recall.text(recall.MOVED, one)
                statefile.note(database, recall.MOVES_BY_HAND, str(vmid), body)

        self._remember("note_places", work)
        self._places = dict(places)

    def note_differing(self, since: Mapping[str, float]) -> None:
        """Remember exactly these differences, each with when it was first seen; nothing is written when they are known."""
        gone: Collection[str] = self._memory.differing.keys() - since.keys()
        new = {name: at for name, at in since.items() if self._memory.differing.get(name) != at}

        def work(database: sqlite3.Connection) -> None:
            for name in gone:
                statefile.note(database, recall.DIFFERING, name, None)
            for name, at in new.items():
                statefile.note(database, recall.DIFFERING, name, json.dumps([name, at]))

        if gone or new:
            self._remember("note_differing", work)
