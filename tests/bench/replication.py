"""What 500 replication jobs cost: requests and CPU per steady tick, with and without them. On virtual time, the whole line."""

import tempfile
import time
from collections import Counter
from pathlib import Path

from controller.rehearse.stage import SECRET, TOKEN, Stage
from controller.rehearse.virtual_time import run
from controller.simulator.seed import ClusterFile
from tests.bench.requests import CLUSTER

GUESTS, NODES, INTERVAL = 500, 8, 10.0
WARM_UP, MEASURED = 4000.0, 900.0
"""Until every config has been read and every job made; then one round of the schedule."""
POLICY = """\
apiVersion: drover.dev/v1alpha1
kind: ReplicationPolicy
metadata: {name: everybody}
spec: {guestSelector: {}, targets: {replicas: 1}}
"""


def main() -> None:
    """Print requests and CPU per tick."""
    print(f"{GUESTS} guests on {NODES} nodes, steady ticks (bound: 4 nodes asked of jobs per tick)")
    print("  jobs  requests/tick  of them for jobs  CPU ms/tick")
    for policy in ("", POLICY):
        jobs, every, own, cpu = measure(policy)
        print(f"  {jobs:4}  {every:13.2f}  {own:16.2f}  {cpu:11.1f}")


def measure(policy: str) -> tuple[int, float, float, float]:
    """Jobs there are in the end; requests per tick, those about jobs, and CPU milliseconds (simulator included)."""
    with tempfile.TemporaryDirectory() as folder:
        manifests = Path(folder) / "manifests"
        manifests.mkdir()
        (manifests / "cluster.yaml").write_text(CLUSTER)
        (manifests / "policy.yaml").write_text(policy or "---\n")
        stage = Stage(cluster(), manifests, Path(folder) / "state")
        spent: list[float] = []

        async def play() -> None:
            stage.start()
            await stage.clock.sleep(WARM_UP)
            stage.calls.clear()
            spent.append(time.process_time())
            await stage.clock.sleep(MEASURED)
            spent.append(time.process_time())
            await stage.stop()

        run(play(), stage.loop)
        kinds = Counter("/replication" in call.path for call in stage.calls)
        ticks = MEASURED / INTERVAL
        milliseconds = 1000 * (spent[1] - spent[0]) / ticks
        return len(stage.world.replication), kinds.total() / ticks, kinds[True] / ticks, milliseconds


def cluster(count: int = GUESTS) -> ClusterFile:
    """Guests with 8 GiB on local ZFS, spread over the nodes."""
    disk = {"scsi0": {"storage": "tank", "size": "8GiB", "used": "1GiB"}}
    guests = {
        101 + number: {"node": f"pve{number % NODES + 1}", "memory": "1GiB", "disks": disk} for number in range(count)
    }
    return ClusterFile.model_validate(
        {
            "nodes": {f"pve{number + 1}": {"memory": "256GiB"} for number in range(NODES)},
            "storages": {"tank": {"type": "zfspool", "size": "8TiB"}},
            "guests": guests,
            "access": {
                "users": {"drover@pve": {}},
                "tokens": {TOKEN: {"secret": SECRET, "privsep": False}},
                "acl": [{"role": "Administrator", "to": "drover@pve"}],
            },
        }
    )
