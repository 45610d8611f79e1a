"""What a scrape costs at 5,000 guests: CPU off the loop for its text, on the loop for taking a view in, series and bytes."""

import asyncio
import time
from dataclasses import replace

from controller.model.ids import NodeName, Vmid
from controller.model.plan import Load
from controller.report.metrics import Metrics, Scrape
from tests.report.scene import FLIGHT, PROGRESS, PVE1, crowded, guest, said_of

ROUNDS = 20


def main() -> None:
    """Print the cost of a drain of 5,000 guests on 32 nodes with 16 moves under way."""
    print("A scrape at 5,000 guests, 32 nodes, 16 moves under way (bounds: 100 ms CPU off the loop, 2,000 series)")
    flights = {Vmid(1000 + n): replace(FLIGHT, id=n, identity=guest(1000 + n, "x", PVE1).identity) for n in range(16)}
    view = crowded(5000)
    assert view.plan is not None
    loads = {NodeName(f"n{number:02}"): Load(1 << 40, 1 << 39, 157) for number in range(32)}
    view = replace(
        view,
        plan=replace(view.plan, loads=loads),
        memory=replace(view.memory, flights=flights),
        progress=dict.fromkeys(flights, replace(PROGRESS, dirty_bytes_s=1.0)),
    )
    statuses, metrics = said_of(view), Metrics()
    began = time.process_time()
    for _ in range(ROUNDS):
        metrics.publish(view, statuses)
    taken_in = (time.process_time() - began) / ROUNDS
    for name, accept in (("text", ""), ("OpenMetrics", "application/openmetrics-text")):
        scrapes = [Scrape(metrics.registry, time.monotonic) for _ in range(ROUNDS)]  # a new one has nothing to repeat
        began = time.process_time()
        made = [asyncio.run(scrape.exposition(accept)) for scrape in scrapes][-1]
        seconds = (time.process_time() - began) / ROUNDS
        series = sum(not line.startswith(b"#") for line in made.text.splitlines())
        print(f"  {name}: {1000 * seconds:.0f} ms CPU, {series:,} series, {len(made.text) / 1024:.0f} KiB")
    print(f"  taking a view in, on the loop: {1000 * taken_in:.0f} ms CPU")
