"""Kill the process before and after every store write and every call that changes something, in a drain and a return.

Whatever the moment: nothing is asked for twice, nobody is lost, everybody comes home. `loop` has the same test over the whole
line; this one is quicker and points at the room to blame.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from controller.model.ids import ClusterName
from controller.model.memory import Memory
from controller.model.reasons import Why
from controller.report.store import Store
from tests.act.lab import PVE1, PVE2, Lab, move

T = TypeVar("T")
GUESTS = (101, 103, 105)


class Killed(BaseException):
    """The process is gone."""


class Fate:
    """Counts the points where a process can die, and kills it at one of them."""

    def __init__(self, at: int | None) -> None:
        self._at = at
        self.names: list[str] = []

    def point(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) - 1 == self._at:
            raise Killed(name)


def mortal(fate: Fate) -> Callable[[Path, ClusterName], Store]:
    """The opener of a store that dies before or after a write."""

    class MortalStore(Store):
        def _write(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
            fate.point(f"before {name}")
            result = super()._write(name, work)
            fate.point(f"after {name}")
            return result

    return MortalStore.open


def drain_and_return(directory: Path, kill_at: int | None) -> list[str]:
    """Everybody leaves pve1 and comes back; the names of the points where the process could have died."""
    fate = Fate(kill_at)
    lab = Lab(directory, mortal(fate))
    lab.pve.on_post = lambda when, _path: fate.point(f"{when} POST")
    try:
        for draining in (True, False):
            while True:
                try:
                    if _tick(lab, draining=draining):
                        break
                except Killed:
                    lab.store.close()
                    lab.start()
                lab.later(10)
                assert lab.clock.monotonic() < 1000, "it has to end"
        _everybody_is_home(lab)
    finally:
        lab.close()
    return fate.names


def _tick(lab: Lab, *, draining: bool) -> bool:
    """One tick of a controller that knows nothing but what it sees and what is on disk; True when there is nothing to do."""
    lab.settle()
    memory = lab.store.memory()
    if draining:
        todo = [move(vmid) for vmid in GUESTS if lab.node_of(vmid) == PVE1 and vmid not in memory.flights]
    else:
        homes = {v: origin.node for v, origin in memory.origins.items() if v not in memory.flights}
        todo = [
            move(vmid, home, source=PVE2, why=Why.RETURN_HOME, returns=False)
            for vmid, home in homes.items()
            if lab.node_of(vmid) == PVE2
        ]
    if todo:
        lab.execute(*todo)
    return not todo and not memory.flights


def _everybody_is_home(lab: Lab) -> None:
    for vmid in GUESTS:
        assert lab.node_of(vmid) == PVE1
        assert len(lab.migrations(vmid)) == 2, "once there, once back"
        assert lab.world.guests[vmid].running == (vmid != 103)
        assert lab.world.guests[vmid].lock is None
    memory = lab.store.memory()
    assert memory == Memory(rates=memory.rates, links=memory.links), "only what was learned stays"


POINTS = 62
"""Of a run without a kill; the last test holds it true."""


@pytest.mark.parametrize("kill_at", range(POINTS))
def test_a_kill_at_any_point_changes_nothing_of_the_end(tmp_path: Path, kill_at: int) -> None:
    names = drain_and_return(tmp_path, kill_at)
    assert len(names) > kill_at, "the process did die"


def test_every_point_is_killed_at(tmp_path: Path) -> None:
    names = drain_and_return(tmp_path, None)
    assert len(names) == POINTS
    assert {name.split()[1] for name in names} == {
        "begin_flight",
        "POST",
        "attach_task",
        "flight_phase",
        "end_flight",
        "learn",
    }
