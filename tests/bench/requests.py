"""Requests of a steady tick: the same for 60 and for 5,000 guests. On virtual time, through the whole line."""

import tempfile
import time
from collections import Counter
from pathlib import Path

from controller.rehearse.stage import SECRET, TOKEN, Stage
from controller.rehearse.virtual_time import run
from controller.simulator.generate import generate

WARM_UP_TICKS, TICKS, INTERVAL = 30, 60, 10.0
BACKGROUND = ("/config", "/version", "/time", "/access/permissions")
"""Reads that keep caches fresh, spread over time at a bounded rate."""


def main() -> None:
    """Print requests per tick for growing clusters."""
    print(f"Steady ticks, averaged over {TICKS} (bounds: 6 + nodes per tick, background 1/s)")
    print("  nodes  guests  per tick  bound  background/s  CPU ms/tick")
    for nodes, guests in ((3, 60), (3, 1000), (16, 1000), (32, 5000)):
        steady, background, cpu = measure(nodes, guests)
        print(f"  {nodes:5}  {guests:6}  {steady:8.1f}  {6 + nodes:5}  {background:12.2f}  {cpu:11.1f}")


def measure(nodes: int, guests: int) -> tuple[float, float, float]:
    """Requests per tick, background requests per second, and CPU milliseconds per tick (simulator included)."""
    file = generate(nodes=nodes, guests=guests, seed=1, token=TOKEN, secret=SECRET)
    with tempfile.TemporaryDirectory() as folder:
        manifests = Path(folder) / "manifests"
        manifests.mkdir()
        (manifests / "cluster.yaml").write_text(CLUSTER)
        stage = Stage(file, manifests, Path(folder) / "state")
        spent: list[float] = []

        async def play() -> None:
            stage.start()
            await stage.clock.sleep(WARM_UP_TICKS * INTERVAL)
            stage.calls.clear()
            spent.append(time.process_time())
            await stage.clock.sleep(TICKS * INTERVAL)
            spent.append(time.process_time())
            await stage.stop()

        run(play(), stage.loop)
    kinds = Counter("background" if call.path.endswith(BACKGROUND) else "steady" for call in stage.calls)
    return kinds["steady"] / TICKS, kinds["background"] / (TICKS * INTERVAL), 1000 * (spent[1] - spent[0]) / TICKS


CLUSTER = """\
apiVersion: drover.dev/v1alpha1
kind: PveCluster
metadata: {name: default}
spec:
  endpoints: [https://pve1:8006]
  auth: {credentialsRef: stage}
  mode: Enforce
"""
