"""What the status page costs during a drain: CPU of a rendering, bytes, elements, and what another reader adds."""

import asyncio
import re
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.app import rooms
from controller.clock import SystemClock
from controller.model.ids import ClusterName
from controller.model.reasons import Why
from controller.model.view import ClusterView, Finding
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.rehearse.stage import SECRET, TOKEN, Stage
from controller.rehearse.virtual_time import run
from controller.report.board import Board
from controller.report.conditions import statuses
from controller.report.page.live import Live, Part
from controller.simulator.generate import generate
from controller.sources import Held, merge
from controller.sources.folder import FolderSource
from controller.specs import Specs
from tests.bench.planner import LABELLED, planned
from tests.bench.requests import CLUSTER

READERS = 100


def main() -> None:
    """Print one row per size."""
    print("The status page, pve2 in maintenance")
    print(f"  nodes  guests  CPU ms  elements    KiB  gzip  ms per further reader (of {READERS})")
    for nodes, guests in ((3, 60), (16, 1000), (32, 5000)):
        with tempfile.TemporaryDirectory() as folder:
            view, specs = drained(nodes, guests, Path(folder))
            asyncio.run(measure(view, specs, nodes, guests))


def drained(nodes: int, guests: int, folder: Path) -> tuple[ClusterView, Specs]:
    """A view of a generated cluster with the plan of a drain."""
    (folder / "cluster.yaml").write_text(CLUSTER)
    (folder / "node.yaml").write_text(LABELLED)
    stage = Stage(generate(nodes=nodes, guests=guests, seed=1, token=TOKEN, secret=SECRET), folder, folder)
    observer = Observer(PveClient(stage.transport()), cluster=ClusterName("default"), clock=stage.clock)
    seen = run(_looked(stage, observer), stage.loop)
    plan, _ = planned(seen, folder)
    specs = merge(Held.empty(), FolderSource(folder, watch=False).read_now()).specs
    fine = Finding(ok=True, why=Why.ARMED, message="Drover may start moves")
    return ClusterView(ClusterName("default"), seen.at, fine, fine, seen=seen, plan=plan), specs


async def _looked(stage: Stage, observer: Observer) -> Any:
    await stage.clock.sleep(30)
    await observer.look()
    return await observer.look()


async def measure(view: ClusterView, specs: Specs, nodes: int, guests: int) -> None:
    """Print one row."""
    board = Board(SystemClock())
    board.show_source(specs, "1", (), complete=True)
    live = Live(board, rooms)

    def read() -> Coroutine[Any, Any, Part]:
        return live.part("", "overview.html", "Drover", lambda shown: {"shown": shown})

    said, times = statuses(specs, (), view, {}), []
    for round_ in range(5):
        board.publish(replace(view, ticks=round_), specs, said, None)
        began = time.process_time()
        await read()
        times.append(time.process_time() - began)
    began = time.process_time()
    await asyncio.gather(*(read() for _ in range(READERS)))
    each, part = (time.process_time() - began) / READERS, await read()
    elements, size = len(re.findall("<[a-z]", part.text)), len(part.text.encode())
    print(
        f"  {nodes:5}  {guests:6}  {1000 * sorted(times)[2]:6.1f}  {elements:8}  {size / 1024:5.1f}"
        f"  {len(part.packed) / 1024:4.1f}  {1000 * each:.3f}"
    )
