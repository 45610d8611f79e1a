"""From a saved file to the first POST, in real processes over HTTPS on an idle three-node cluster."""

import statistics
import tempfile
import time
from pathlib import Path

from tests.e2e.lab import Lab

TIMES = 20


def main() -> None:
    """Print the median and the 95th percentile of twenty saves, and one burst of forty files."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        try:
            saves, burst = measure(lab)
        finally:
            lab.close()
    saves.sort()
    p95 = saves[round(0.95 * len(saves)) - 1]
    print(
        f"A saved file to the first POST, {TIMES} times: median {statistics.median(saves):.2f} s (bound 1),"
        f" p95 {p95:.2f} s (bound 3)"
    )
    print(f"  the same as the last of a burst of forty files: {burst:.2f} s (bound 4)")


def measure(lab: Lab) -> tuple[list[float], float]:
    """Seconds of every save, and of the burst."""
    lab.simulate(speed=30)
    lab.cluster()
    lab.settings()
    lab.run()
    lab.until(lambda: len(lab.guests()) == 3, "the first look")
    saves = [once(lab, number) for number in range(TIMES)]
    for number in range(39):
        lab.write("MigrationPolicy", f"m{number}", {"guestSelector": {"vmids": [200 + number]}})
    return saves, once(lab, TIMES)


def once(lab: Lab, number: int) -> float:
    """Write a rule that moves guest 103 to the other node, and wait for its task."""
    before, node = len(posts(lab)), ("pve3", "pve1")[number % 2]
    began = time.monotonic()
    lab.write("PlacementPolicy", "here", {"guestSelector": {"vmids": [103]}, "nodeAffinity": {"nodes": [node]}})
    lab.until(lambda: len(posts(lab)) > before, "the POST")
    took = time.monotonic() - began
    lab.until(lambda: lab.guests()[103] == node, "the move")
    lab.until(lambda: 'drover_moves_in_flight{cluster="default"} 0.0' in (lab.get("/metrics") or ""), "the end")
    time.sleep(0.5)
    return took


def posts(lab: Lab) -> list[str]:
    """The migrations that the simulated cluster has been asked for."""
    return [line for line in lab.migrations() if line.startswith("103 ")]
