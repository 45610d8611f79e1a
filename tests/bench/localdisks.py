"""Guests with disks on local ZFS leave a node in three ways: to a replica, after a first sync, and with a copy of whole disks.

On the simulated cluster, in its time: 10 GbE of which one ssh stream takes 500 MiB/s, 100 GiB written, 2 MiB/s of new writes.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.loop.publish import Statuses
from controller.model.event import Event
from controller.model.outcome import Result
from controller.model.view import ClusterView
from controller.rehearse import story
from controller.rehearse.virtual_time import run
from controller.report.events import Told

GIB = 1 << 30
SYNC_SECONDS = 270
"""Until the drain, per guest: replicas that are there before have been made by then, one after the other."""
COPY = {
    "kind": "MigrationPolicy",
    "metadata": {"name": "copy"},
    "spec": {"guestSelector": {}, "localDisks": "Copy", "completionTimeoutSecondsPerGiB": 0, "stallTimeoutSeconds": 0},
}
WAYS = ("with a replica", "replicate first", "copy of disks")


@dataclass
class Meter:
    """Listens to a drain. Seconds since it began, bytes since then."""

    begin: float
    drained: float | None = None
    sent: int = 0
    moves: list[tuple[float, int]] = field(default_factory=list)  # seconds and milliseconds of downtime
    stage: Any = None

    def hear(self, view: ClusterView, _statuses: Statuses, happened: Sequence[Event]) -> None:
        """A Listener."""
        for outcome in view.outcomes:
            if outcome.result is Result.SUCCEEDED:
                downtime = outcome.progress.downtime_ms if outcome.progress is not None else None
                self.moves.append((outcome.seconds or 0.0, downtime or 0))
        if self.drained is None and any(event.reason == Told.DRAINED for event in happened):
            self.drained = self.stage.clock.monotonic() - self.begin
            self.sent = self._moved() - self.sent

    def start(self) -> None:
        """The drain begins now."""
        self.sent = self._moved()

    def _moved(self) -> int:
        world = self.stage.world
        world.advance(self.stage.clock.wall())
        world.network.settle()
        return int(world.network.moved)


def drain(way: str, guests: int) -> Meter:
    """Empty a node of three that has so many guests of 100 GiB."""
    begin = 300.0 + SYNC_SECONDS * guests
    meter = Meter(begin)
    disk = {"storage": "tank", "size": "100GiB", "used": "100GiB"}
    names = range(101, 101 + guests)
    replicated = way == WAYS[0]
    file = {
        "why": way,
        "cluster": {
            "nodes": {node: {"memory": "256GiB"} for node in ("pve1", "pve2", "pve3")},
            "storages": {"tank": {"type": "zfspool", "size": "8TiB"}},
            "guests": {
                vmid: {"node": "pve1", "memory": "8GiB", "written": "2MiB", "disks": {"scsi0": disk}} for vmid in names
            },
            "replication": {f"{vmid}-0": {"target": f"pve{2 + vmid % 2}"} for vmid in names} if replicated else {},
        },
        "objects": [COPY] if way == WAYS[2] else [],
        "script": [{"at": begin, "label": {"pve1": "true"}}],
        "until": begin + 600 + 900 * guests,
    }
    script = story.StoryFile.model_validate(file)
    with tempfile.TemporaryDirectory() as folder:
        stage = story.stage_of(script, Path(folder), listeners=(meter.hear,))
        meter.stage = stage

        def told(deed: str) -> None:
            if deed.startswith("label"):
                meter.start()

        run(story.perform(script, stage, Path(folder) / story.MANIFESTS, told), stage.loop)
    return meter


def row(way: str, meter: Meter) -> str:
    """One line of the table."""
    drained = "not drained" if meter.drained is None else f"{meter.drained:6.0f} s"
    longest = max((seconds for seconds, _ in meter.moves), default=0.0)
    downtime = max((downtime for _, downtime in meter.moves), default=0)
    sent = f"{meter.sent / GIB:.0f} GiB"
    return f"  {way:<16} {drained}, longest move {longest:4.0f} s, longest downtime {downtime:3d} ms, {sent:>8} sent"


def main() -> None:
    """Print both tables."""
    for guests in (1, 20):
        who = f"{guests} guest{'s' * (guests > 1)} of 8 GiB memory and 100 GiB on local ZFS"
        print(f"{who} leaving a node (simulated, 10 GbE):")
        for way in WAYS:
            print(row(way, drain(way, guests)))


if __name__ == "__main__":
    main()
