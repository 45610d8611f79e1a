"""Where guests were and what people changed by hand: a daemon that starts again goes on from there."""

import contextlib
from pathlib import Path

from controller.model.drift import MovedByHand, Place
from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, Vmid
from controller.report.store import Store

LAB, V = ClusterName("lab"), Vmid(101)
WHO = GuestIdentity(V, GuestKind.QEMU, "ctime:5")


def test_places_moves_and_since_when_things_differ_survive_a_restart(tmp_path: Path) -> None:
    moved = MovedByHand(WHO, NodeName("pve1"), NodeName("pve2"), 1700.0, "eve@pam")
    with contextlib.closing(Store.open(tmp_path, LAB)) as store:
        assert store.places() == {}
        store.note_places({V: Place(WHO, NodeName("pve2"))}, {V: moved})
        store.note_differing({"ReplicationJob/101-0": 1600.0, "HaRule/apart": 1650.0})
        store.note_differing({"ReplicationJob/101-0": 1600.0})
    with contextlib.closing(Store.open(tmp_path, LAB)) as store:
        assert store.places() == {V: Place(WHO, NodeName("pve2"))}
        assert store.memory().moved_by_hand == {V: moved}
        assert store.memory().differing == {"ReplicationJob/101-0": 1600.0}
        store.note_places({}, {})
        assert (store.places(), store.memory().moved_by_hand) == ({}, {})
