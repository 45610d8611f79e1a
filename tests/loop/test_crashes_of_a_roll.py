"""The daemon dies before and after every step of a roll with hook and Shutdown rule that is remembered or asked, and starts again.

Whatever the moment: the node is serviced, everybody is home and runs, nobody is asked twice for what is known to have reached PVE.
"""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from controller.model.ids import ClusterName
from controller.model.turn import TurnPhase
from controller.rehearse import story
from controller.rehearse.stage import Stage
from controller.rehearse.virtual_time import run
from controller.report.store import Store
from tests.loop.test_crashes import Fate, MortalTransport, mortal_store

STORY = story.StoryFile.model_validate(
    {
        "why": "pve2 is emptied, patched, and refilled; the appliance is shut down for it.",
        "cluster": {
            "nodes": {"pve1": {"memory": "32GiB"}, "pve2": {"memory": "32GiB"}, "pve3": {"memory": "32GiB"}},
            "storages": {"ceph": {"type": "rbd", "size": "1TiB"}},
            "guests": {
                101: {"name": "web", "node": "pve2", "memory": "1GiB", "disks": {"scsi0": {"storage": "ceph"}}},
                102: {
                    "name": "appliance",
                    "node": "pve2",
                    "memory": "1GiB",
                    "tags": ["down"],
                    "disks": {"scsi0": {"storage": "ceph"}},
                },
            },
        },
        "hooks": {"patch": {"seconds": 8}},
        "objects": [
            {
                "kind": "PveCluster",
                "metadata": {"name": "default"},
                "spec": {
                    "endpoints": ["https://pve1:8006"],
                    "auth": {"credentialsRef": "stage"},
                    "mode": "Enforce",
                    "maintenance": {"drainedHook": "patch"},
                },
            },
            {
                "kind": "NodeMaintenance",
                "metadata": {"name": "patches"},
                "spec": {
                    "nodeSelector": {
                        "matchExpressions": [{"key": "drover.dev/node", "operator": "In", "values": ["pve2"]}]
                    },
                    "rules": [{"guestSelector": {"tags": {"any": ["down"]}}, "behavior": "Shutdown"}],
                },
            },
        ],
        "until": 0,
    }
)
END_AT = 240.0
_PHASES = {"note_turns", "note_hook", "remember_halted", "forget_halted"}


def live(folder: Path, die_at: int | None) -> tuple[Fate, Stage]:
    """Play it; die at point `die_at` and start again four seconds later."""
    fate = Fate(die_at)
    folder.mkdir()
    stage = story.stage_of(
        STORY, folder, wrap=lambda inner: MortalTransport(inner, fate), open_store=mortal_store(fate)
    )

    async def main() -> None:
        fate.died = asyncio.Event()
        stage.start()
        end = asyncio.create_task(stage.clock.sleep(END_AT))
        death = asyncio.create_task(fate.died.wait())
        await asyncio.wait({end, death}, return_when=asyncio.FIRST_COMPLETED)
        if death.done():
            await stage.stop()
            await stage.clock.sleep(4.0)
            stage.start()
        await end
        await stage.stop()

    run(main(), stage.loop)
    return fate, stage


def _rehearsal() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        return live(Path(folder) / "whole", None)[0].points


POINTS = _rehearsal()
CHOSEN = [number for number, point in enumerate(POINTS) if point.split()[1] in _PHASES or "/status/" in point]


def test_the_rehearsal_passes_the_points_that_matter() -> None:
    names = {point.split()[1] for point in POINTS}
    assert names >= _PHASES
    assert {"/nodes/pve2/qemu/102/status/shutdown", "/nodes/pve2/qemu/102/status/start"} <= names


@pytest.mark.parametrize("point", CHOSEN, ids=lambda number: f"{number}-{POINTS[number].replace('/', '.')}")
def test_killed_at_any_moment_of_a_roll_it_goes_on_to_its_end(point: int, tmp_path: Path) -> None:
    fate, stage = live(tmp_path / "life", point)
    assert len(fate.points) > point, "the process never reached the point where it should have died"
    assert {vmid: (guest.node, guest.run, guest.lock) for vmid, guest in stage.world.guests.items()} == {
        101: ("pve2", "running", None),
        102: ("pve2", "running", None),
    }
    turns = Store.open(tmp_path / "life" / "state", ClusterName("default")).memory().turns
    assert {turn.phase for turn in turns.values()} == {TurnPhase.DONE}
    asked = Counter(f"{task.type}:{task.id}" for task in stage.world.tasks.by_upid.values())
    unknown = "/status/" in POINTS[point] or POINTS[point] == "before remember_halted"
    assert asked["qmigrate:101"] == 2, "away and back, and not once more"
    for verb in ("qmshutdown:102", "qmstart:102"):
        assert 1 <= asked[verb] <= 1 + unknown, f"{verb} {asked[verb]}x"
