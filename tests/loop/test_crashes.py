"""The daemon dies before and after every store write and every mutating call of a drain-and-return, and starts again.

Whatever the moment: nothing is submitted twice, the drain ends, and everybody is home again in the end.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from controller.model.ids import ClusterName
from controller.pve.transport import Json, Params, Transport
from controller.rehearse import story
from controller.rehearse.stage import Stage
from controller.rehearse.virtual_time import run
from controller.report.store import Store

T = TypeVar("T")

STORY = story.StoryFile.model_validate(
    {
        "why": "Two guests are drained from pve2 and come home.",
        "cluster": {
            "nodes": {"pve1": {"memory": "32GiB"}, "pve2": {"memory": "32GiB"}, "pve3": {"memory": "32GiB"}},
            "storages": {"ceph": {"type": "rbd", "size": "1TiB"}},
            "guests": {
                101: {"name": "db", "node": "pve2", "memory": "2GiB", "disks": {"scsi0": {"storage": "ceph"}}},
                102: {"name": "web", "node": "pve2", "memory": "1GiB", "disks": {"scsi0": {"storage": "ceph"}}},
            },
        },
        "until": 0,
    }
)
LABEL_AT, UNLABEL_AT, END_AT = 15.0, 150.0, 400.0


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ours may catch it."""


@dataclass
class Fate:
    """Counts the points where the process could die, and lets it die at one of them."""

    die_at: int | None = None
    points: list[str] = field(default_factory=list)
    died: asyncio.Event | None = None

    def pass_by(self, point: str) -> None:
        self.points.append(point)
        if self.die_at is not None and len(self.points) == self.die_at + 1:
            assert self.died is not None
            self.died.set()
            raise Killed(point)


class MortalTransport:
    """Dies right before a mutating call leaves, or right after its answer came."""

    def __init__(self, inner: Transport, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate

    async def get(self, path: str, params: Params | None = None) -> Json:
        return await self._inner.get(path, params)

    async def post(self, path: str, params: Params | None = None) -> Json:
        return await self._mutate(self._inner.post, path, params)

    async def put(self, path: str, params: Params | None = None) -> Json:
        return await self._mutate(self._inner.put, path, params)

    async def delete(self, path: str, params: Params | None = None) -> Json:
        return await self._mutate(self._inner.delete, path, params)

    async def _mutate(self, call: Callable[..., object], path: str, params: Params | None) -> Json:
        self._fate.pass_by(f"before {path}")
        answer: Json = await call(path, params)  # type: ignore[misc]  # one of the four verbs above
        self._fate.pass_by(f"after {path}")
        return answer


def mortal_store(fate: Fate) -> Callable[[Path, ClusterName], Store]:
    class MortalStore(Store):
        def _write(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
            fate.pass_by(f"before {name}")
            result = super()._write(name, work)
            fate.pass_by(f"after {name}")
            return result

    return MortalStore.open


def live(folder: Path, die_at: int | None) -> tuple[Fate, Stage]:
    """Play the drain and the way back; die at point `die_at` and start again four seconds later."""
    fate = Fate(die_at)
    folder.mkdir()
    manifests = folder / "manifests"
    stage = story.stage_of(
        STORY, folder, wrap=lambda inner: MortalTransport(inner, fate), open_store=mortal_store(fate)
    )

    async def people() -> None:
        for at, value in ((LABEL_AT, "true"), (UNLABEL_AT, None)):
            await stage.clock.sleep(at - stage.clock.monotonic())
            story.label(manifests, "pve2", value)
            stage.source.changed()

    async def main() -> None:
        fate.died = asyncio.Event()
        editing = asyncio.create_task(people())
        stage.start()
        end = asyncio.create_task(stage.clock.sleep(END_AT))
        death = asyncio.create_task(fate.died.wait())
        await asyncio.wait({end, death}, return_when=asyncio.FIRST_COMPLETED)
        if death.done():
            await stage.stop()
            await stage.clock.sleep(4.0)
            stage.start()
        await end
        await editing
        await stage.stop()

    run(main(), stage.loop)
    return fate, stage


def rehearsal() -> list[str]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return live(Path(folder) / "whole", None)[0].points


POINTS = rehearsal()


def submitted(stage: Stage) -> Counter[str]:
    return Counter(f"{task.type}:{task.id}" for task in stage.world.tasks.by_upid.values())


def test_the_rehearsal_passes_the_points_that_matter() -> None:
    names = {point.split()[1] for point in POINTS}
    assert {"begin_flight", "attach_task", "end_flight"} <= names
    assert sum(point.startswith("before /nodes/") for point in POINTS) == 4


@pytest.mark.parametrize("point", range(len(POINTS)), ids=lambda number: f"{number}-{POINTS[number].replace('/', '.')}")
def test_killed_at_any_moment_nothing_is_done_twice_and_everybody_comes_home(point: int, tmp_path: Path) -> None:
    fate, stage = live(tmp_path / "life", point)
    assert len(fate.points) > point, "the process never reached the point where it should have died"
    assert {vmid: (guest.node, guest.run, guest.lock) for vmid, guest in stage.world.guests.items()} == {
        101: ("pve2", "running", None),
        102: ("pve2", "running", None),
    }
    moves = {key: count for key, count in submitted(stage).items() if key.startswith("qmigrate")}
    assert moves == {"qmigrate:101": 2, "qmigrate:102": 2}, "away and back, and not once more"
