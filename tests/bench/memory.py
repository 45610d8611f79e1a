"""Peak memory of the daemon through a drain, at 60 and at 5,000 guests, in a process of its own."""

import tempfile
import time
from pathlib import Path

from controller.simulator.generate import generate
from tests.e2e.lab import SECRET, TOKEN, Lab


def main() -> None:
    """Print the peaks and their difference."""
    print("Peak memory of the daemon through a drain (bounds: 160 MiB at 5,000, at most 80 MiB above 60)")
    peaks = [measure(nodes, guests) for nodes, guests in ((3, 60), (32, 5000))]
    print(f"  60 guests {peaks[0]:.0f} MiB, 5,000 guests {peaks[1]:.0f} MiB, difference {peaks[1] - peaks[0]:.0f} MiB")


def measure(nodes: int, guests: int) -> float:
    """MiB at the peak, from the kernel's own count (VmHWM)."""
    file = generate(nodes=nodes, guests=guests, seed=1, token=TOKEN, secret=SECRET)
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        try:
            lab.simulate(file.model_dump_json(exclude_defaults=True), speed=20)
            lab.cluster(endpoints=lab.endpoints[:3])
            lab.endpoints = lab.endpoints[:3]
            lab.settings()
            daemon = lab.run()
            lab.until(lambda: len(lab.guests()) == guests, "the first look", 120)
            lab.label("pve2", "true")
            lab.until(lambda: lab.condition("nodemaintenances", "label-pve2", "Draining")[0] == "True", "draining", 120)
            end = time.monotonic() + 60
            while time.monotonic() < end and lab.condition("nodemaintenances", "label-pve2", "Drained")[0] != "True":
                time.sleep(1)
            status = Path(f"/proc/{daemon.pid}/status").read_text()
        finally:
            lab.close()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
