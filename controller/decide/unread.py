"""Whose configs a plan waits for: replicas and moves are decided by disks, which only the config of a guest tells.

Called by `decide.pipeline`; the looks that follow read them before those of other guests.
"""

from collections.abc import Container, Iterable

from controller.decide.replication.wanted import winners
from controller.decide.scene import Scene
from controller.model.ids import Vmid
from controller.model.plan import DrainMode


def unread(scene: Scene, leaving: Iterable[Vmid], known: Container[Vmid]) -> frozenset[Vmid]:
    """Guests without a known config that a ReplicationPolicy means, or that leave a node. leaving: who moves now or later.

    known: guests whose configs have been read.
    """
    evacuated = (
        guest.vmid
        for node, maintenance in scene.wanted.maintenance.items()
        if maintenance.mode is DrainMode.EVACUATE
        for guest in scene.residents.get(node, ())
    )
    asked = {vmid for vmid in (*winners(scene), *evacuated, *leaving) if vmid in scene.seen.guests}
    return frozenset(vmid for vmid in asked if vmid not in known and not scene.seen.guests[vmid].template)
