"""The time that a drain says it still takes, held to what the real loop then needs, on virtual time.

Until Drained, which is what people wait for: set-up and end of every move, looks, first copies of disks, restarts included.
`decide.traffic`'s constants were chosen with seeds 1 to 3 in sight; those below were not looked at while choosing.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from controller.loop.publish import Statuses
from controller.model.event import Event
from controller.model.view import ClusterView
from controller.rehearse import story
from controller.rehearse.virtual_time import run
from controller.simulator.seed import ClusterFile, load

DEMO = Path(story.__file__).parent / "demo" / "cluster.yaml"
SHARED = {"scsi0": {"storage": "ceph", "size": "32GiB"}}
LEAVING, ELSEWHERE = 14, 6


def world(kind: str, seed: int) -> ClusterFile:
    """Four nodes of which the first is drained."""
    dice = random.Random(f"{kind} {seed}")
    guests = {101 + n: _guest(kind, n, dice) for n in range(LEAVING + ELSEWHERE)}
    content = ["images", "rootdir"]
    return ClusterFile.model_validate(
        {
            "nodes": {f"pve{n + 1}": {"memory": "512GiB", "link": "1150MiB", "ssh": "500MiB"} for n in range(4)},
            "storages": {
                "ceph": {"type": "rbd", "content": content, "size": "8TiB"},
                "tank": {"type": "zfspool", "content": content, "size": "8TiB"},
            },
            "guests": guests,
        }
    )


def _guest(kind: str, number: int, dice: random.Random) -> dict[str, Any]:
    busy = dice.random()
    low, high = (1, 20) if busy < 0.6 else (20, 120) if busy < 0.9 else (120, 250)
    found: dict[str, Any] = {
        "node": "pve1" if number < LEAVING else f"pve{dice.randrange(2, 5)}",
        "memory": f"{int(min(64.0, max(0.5, 6 * math.exp(dice.gauss(0, 0.8)))) * 1024)}MiB",
        "touched": dice.uniform(0.3, 0.95),
        "dirty": f"{int(dice.uniform(low, high))}MiB",
        "disks": SHARED,
    }
    if kind == "replicate first" and number % 2 == 0:
        found["disks"] = {"scsi0": {"storage": "tank", "size": "40GiB", "used": f"{dice.randrange(5, 30)}GiB"}}
    if kind == "containers and stopped guests":
        container = {"type": "lxc", "stops_in": dice.uniform(1, 8)}
        local = {"storage": "tank", "size": "16GiB", "used": f"{dice.randrange(2, 14)}GiB"}
        found |= (
            {},
            container | {"disks": {"rootfs": {"storage": "ceph", "size": "8GiB"}}},
            {"status": "stopped", "disks": {"scsi0": local}},
            {"status": "stopped"},
        )[number % 4]
    return found


def objects(kind: str) -> list[story.Document]:
    """What the administrators wrote: the demo's say nothing about links."""
    network = {} if kind == "demo" else {"network": {"linkMiBps": 1150}}
    reach = {"endpoints": ["https://pve1:8006"], "auth": {"credentialsRef": "stage"}, "mode": "Enforce"}
    return [{"kind": "PveCluster", "metadata": {"name": "default"}, "spec": reach | network}]


@dataclass
class Drained:
    """What was foretold while a node was drained. Seconds of the stage's clock, bytes that had crossed the network."""

    stage: Any = None
    began: float | None = None
    ended: float | None = None
    before: float = 0.0
    foretold: list[tuple[float, float, float]] = field(default_factory=list)

    def hear(self, view: ClusterView, statuses: Statuses, happened: Sequence[Event]) -> None:  # noqa: ARG002 - a Listener
        drain = next(iter(view.plan.drains), None) if view.plan is not None else None
        if drain is None or view.plan is None or self.ended is not None:
            return
        network, now = self.stage.world.network, self.stage.clock.wall()
        network.settle()
        if self.began is None:
            self.began, self.before = now, network.moved
        if drain.outlook is not None:
            late = view.plan.at + drain.outlook.late_seconds
            self.foretold.append((network.moved, view.plan.at + drain.outlook.likely_seconds, late))
        if drain.drained:
            self.ended = now

    def after_a_quarter(self) -> tuple[float, bool]:
        """By which part of the whole the likely end was wrong (more = too late), and whether the late one was late enough."""
        assert self.began is not None
        assert self.ended is not None, "it was never drained"
        quarter = self.before + (self.stage.world.network.moved - self.before) / 4
        _, likely, late = next(one for one in self.foretold if one[0] >= quarter)
        return (likely - self.ended) / (self.ended - self.began), late >= self.ended


def drained(kind: str, seed: int, folder: Path) -> Drained:
    file = load(DEMO) if kind == "demo" else world(kind, seed)
    if kind == "demo":
        file = file.model_copy(update={"access": ClusterFile.model_validate({"nodes": {"any": {}}}).access})
    node = "pve2" if kind == "demo" else "pve1"
    told = Drained()
    script = story.StoryFile.model_validate(
        {
            "why": "the time that a drain says it takes is true",
            "cluster": file,
            "objects": objects(kind),
            "script": [{"at": 60.0, "label": {node: "true"}}],
            "until": 5000.0,
            "seed": seed,
        }
    )
    folder.mkdir()
    stage = told.stage = story.stage_of(script, folder, listeners=(told.hear,))

    async def play() -> None:
        playing = asyncio.ensure_future(story.perform(script, stage, folder / story.MANIFESTS))
        while told.ended is None and not playing.done():
            await stage.clock.sleep(5.0)
        playing.cancel()
        await stage.stop()

    run(play(), stage.loop)
    assert stage.faults == []
    return told


@pytest.mark.parametrize(
    ("kind", "most"),
    [("demo", 0.10), ("plain", 0.10), ("containers and stopped guests", 0.10), ("replicate first", 0.20)],
)
def test_a_quarter_into_a_drain_the_time_it_still_takes_is_true(kind: str, most: float, tmp_path: Path) -> None:
    """The median of three drains. `most` is wider where disks are replicated first: how much of a volume is written, and
    whether its copy misses a minute of PVE's scheduler for that, nobody knows before (measured: 8, 16 and 19 percent).
    """
    found = [drained(kind, seed, tmp_path / str(seed)).after_a_quarter() for seed in (11, 12, 13)]
    assert median(abs(off) for off, _ in found) <= most, found
    assert max(abs(off) for off, _ in found) <= 2 * most, found
