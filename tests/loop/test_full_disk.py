"""The disk of the state file is full for a while: nothing is started without an intent on disk, and nothing is lost."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from controller.model.ids import ClusterName
from controller.rehearse import story
from controller.rehearse.virtual_time import run
from controller.report.store import Store
from controller.simulator.world import Entry

T = TypeVar("T")


def a_drain(full_from: float, full_until: float) -> story.StoryFile:
    return story.StoryFile.model_validate(
        {
            "why": f"pve2 is drained at 20 s and taken back at 200 s; the disk is full from {full_from} to {full_until} s.",
            "cluster": {
                "nodes": {"pve1": {"memory": "32GiB"}, "pve2": {"memory": "32GiB"}},
                "storages": {"ceph": {"type": "rbd", "size": "1TiB"}},
                "guests": {
                    vmid: {"node": "pve2", "memory": "4GiB", "disks": {"scsi0": {"storage": "ceph"}}}
                    for vmid in (101, 102, 103)
                },
            },
            "script": [{"at": 20, "label": {"pve2": "true"}}, {"at": 200, "label": {"pve2": None}}],
            "until": 500,
        }
    )


def a_disk(is_full: Callable[[], bool]) -> Callable[[Path, ClusterName], Store]:
    class StoreOnIt(Store):
        def _write(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
            def on_disk(database: sqlite3.Connection) -> T:
                if is_full():
                    raise sqlite3.OperationalError("database or disk is full")
                return work(database)

            return super()._write(name, on_disk)

    return StoreOnIt.open


@pytest.mark.parametrize(("full_from", "full_until"), [(10.0, 100.0), (25.0, 100.0), (33.0, 150.0), (190.0, 260.0)])
def test_nothing_starts_while_the_disk_is_full_and_nothing_is_lost(
    full_from: float, full_until: float, tmp_path: Path
) -> None:
    file = a_drain(full_from, full_until)

    def is_full() -> bool:
        return full_from <= stage.clock.monotonic() < full_until

    reasons: set[str] = set()
    stage = story.stage_of(
        file, tmp_path, open_store=a_disk(is_full), listeners=(lambda view, *_: reasons.add(view.armed.why),)
    )
    starts: list[float] = []

    def hear(entry: Entry) -> None:
        if entry.kind == "task-start" and str(entry.facts["user"]).startswith("drover@"):
            starts.append(entry.at - stage.world.start)

    stage.world.observers.append(hear)
    run(story.perform(file, stage, tmp_path / story.MANIFESTS), stage.loop)
    assert stage.faults == []
    assert {guest.node for guest in stage.world.guests.values()} == {"pve2"}, "everybody is home again"
    assert sum(call.method == "POST" for call in stage.calls) == 6, "away and back, and not once more"
    assert not [at for at in starts if full_from <= at < full_until]
    assert "StoreFailed" in reasons
