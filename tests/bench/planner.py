"""CPU seconds of one plan, with nothing to do and with one node in maintenance."""

import tempfile
import time
from pathlib import Path

from controller.decide import decide
from controller.model.ids import ClusterName
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.plan import Plan
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.rehearse.stage import SECRET, TOKEN, Stage
from controller.rehearse.virtual_time import run
from controller.simulator.generate import generate
from controller.sources import Held, merge
from controller.sources.folder import FolderSource
from tests.bench.requests import CLUSTER

LABELLED = """\
apiVersion: drover.dev/v1alpha1
kind: PveNode
metadata: {name: pve2, labels: {drover.dev/maintenance: "true"}}
spec: {}
"""


def main() -> None:
    """Print seconds and moves per size."""
    print("One plan (CPU seconds): steady, and with pve2 in maintenance")
    print("  nodes  guests  observe  steady  drain  moves  blocked")
    for nodes, guests in ((3, 60), (16, 1000), (32, 5000)):
        with tempfile.TemporaryDirectory() as folder:
            measure(nodes, guests, Path(folder))


def measure(nodes: int, guests: int, folder: Path) -> None:
    """Print one row."""
    file = generate(nodes=nodes, guests=guests, seed=1, token=TOKEN, secret=SECRET)
    (folder / "cluster.yaml").write_text(CLUSTER)
    stage = Stage(file, folder, folder)
    observer = Observer(PveClient(stage.transport()), cluster=ClusterName("default"), clock=stage.clock)

    async def look() -> tuple[Observed, float]:
        await stage.clock.sleep(30)
        await observer.look()
        began = time.process_time()
        return await observer.look(), time.process_time() - began

    seen, observing = run(look(), stage.loop)
    _, steady = planned(seen, folder)
    (folder / "node.yaml").write_text(LABELLED)
    plan, drain = planned(seen, folder)
    moves, blocked = len(plan.all_moves), len(plan.blocked)
    print(f"  {nodes:5}  {guests:6}  {observing:7.3f}  {steady:6.3f}  {drain:5.3f}  {moves:5}  {blocked:7}")


def planned(seen: Observed, folder: Path) -> tuple[Plan, float]:
    """The plan for the folder's manifests and its CPU seconds."""
    specs = merge(Held.empty(), FolderSource(folder, watch=False).read_now()).specs.for_cluster("default")
    began = time.process_time()
    return decide(specs, seen, Memory()), time.process_time() - began
