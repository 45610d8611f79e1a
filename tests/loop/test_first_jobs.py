"""How soon a new ReplicationPolicy has its jobs, counted in requests: through the whole line, on virtual time."""

from pathlib import Path

from controller.rehearse.stage import Stage
from controller.rehearse.virtual_time import run
from tests.bench import replication
from tests.bench.requests import CLUSTER

GUESTS = 80


def _configs(stage: Stage) -> int:
    return sum(call.path.endswith("/config") for call in stage.calls)


def test_first_jobs_are_made_within_minutes_and_steady_looks_cost_no_more(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "cluster.yaml").write_text(CLUSTER)
    (manifests / "policy.yaml").write_text(replication.POLICY)
    stage = Stage(replication.cluster(GUESTS), manifests, tmp_path / "state")
    made: list[int] = []
    read: list[int] = []

    async def play() -> None:
        stage.start()
        for until in (120, 300, 300):
            stage.calls.clear()
            await stage.clock.sleep(until)
            made.append(len(stage.world.replication))
            read.append(_configs(stage))
        await stage.stop()

    run(play(), stage.loop)
    logs = [call.path for call in stage.calls if call.path.endswith("/log")]
    assert len(logs) <= 2 * GUESTS, "each run's log is read once, and a few at a time"
    assert made[0] == GUESTS, "at 0.2 configs a second it would be a quarter of them"
    assert read[0] <= 2 * GUESTS + 0.2 * 120, "each is read once to plan, and once right before its job is made"
    assert read[2] <= 0.2 * 300 + 5, "afterwards only the trickle is left"
