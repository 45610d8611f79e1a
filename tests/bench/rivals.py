"""What pvecontrol and ProxLB plan for the clusters that `endtoend` plans, over HTTPS from the same simulator.

Called by `endtoend`. Neither is let carry anything out: pvecontrol prints its plan in a dry run, ProxLB as JSON in one.
Rules reach ProxLB as tags; it has none for racks, so no rule for racks is held against either. pvecontrol knows no rules.
"""

import asyncio
import json
import os
import re
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from controller.clock import SystemClock
from controller.rehearse.stage import SECRET, TOKEN
from controller.simulator.http import serve
from controller.simulator.seed import ClusterFile
from controller.simulator.world import World
from tests.bench import environment
from tests.bench.checker import Flight, at_the_end, violations
from tests.bench.clients import HOME, LOCK, Watched, versions
from tests.bench.clusters import Cluster

CUT_OFF = 420.0
"""Seconds by the wall after which a program is stopped; ProxLB sleeps a tenth of one at most of its requests."""
SPEED = 20.0
"""Of the simulated cluster, whose answers take as long as a real one's."""
USER, _, NAME = TOKEN.partition("!")
Serve = Callable[..., ClusterFile]
Move = tuple[int, str]
MIGRATING = re.compile(r"^Migrating VM (\d+) .* to (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended: what it printed, None when it was cut off."""

    said: str | None
    cpu: float
    mebibytes: float


def tags(cluster: Cluster) -> Mapping[int, tuple[str, ...]]:
    """The rules in ProxLB's tags."""
    found: dict[int, tuple[str, ...]] = defaultdict(tuple)
    for word, groups in (("anti_affinity", cluster.apart), ("affinity", cluster.together)):
        for number, group in enumerate(groups):
            for vmid in group:
                found[vmid] += (f"plb_{word}_{number}",)
    for vmid, names in cluster.pinned.items():
        found[vmid] += tuple(f"plb_pin_{name}" for name in names)
    return found


def compare(cluster: Cluster, served: Serve) -> None:
    """Print a line for each program."""
    environment.install(HOME, LOCK)
    asyncio.run(_play(cluster, served))


async def _play(cluster: Cluster, served: Serve) -> None:
    clock = SystemClock(SPEED)
    simulator = Watched(World(served(cluster, tags(cluster), start=clock.wall()), seed=0))
    with tempfile.TemporaryDirectory() as folder:
        async with await serve(simulator, clock=clock, base_port=0) as server:
            host = server.endpoints[0].removeprefix("https://")
            for name, plan in (("pvecontrol", _pvecontrol), ("proxlb", _proxlb)):
                asked = simulator.requests
                ran, moves = await asyncio.to_thread(plan, cluster, host, Path(folder))
                _tell(name, cluster, ran, moves, simulator.requests - asked)


def _tell(name: str, cluster: Cluster, ran: Ran, moves: list[Move], requests: int) -> None:
    who = f"{cluster.name.split()[0]:2} {name:11} {versions()[name]:6}"
    program = f"  {who} {requests:6} requests {ran.cpu:6.1f} s CPU {ran.mebibytes:4.0f} MiB"
    if ran.said is None:
        print(f"{program}  cut off after {CUT_OFF:.0f} s", flush=True)
        return
    judged = replace(cluster, apart_racks=())
    # Everybody leaves before anybody arrives: only what is wrong at the end counts, for neither says in which order it moves.
    flights = [Flight(vmid, target, start=1.0, end=0.0) for vmid, target in moves]
    places = at_the_end(cluster, flights)
    left = sum(node in cluster.maintenance for node in places.values())
    sizes = {guest.vmid: guest.memory for guest in cluster.guests}
    wrong = len(violations(judged, flights))
    before = sum(guest.node in cluster.maintenance for guest in cluster.guests)
    print(
        f"{program}  {len(moves)} moves ({before} needed), {sum(sizes[v] for v, _ in moves) >> 30} GiB,"
        f" {left} left on the node, {wrong} violations at the end",
        flush=True,
    )


def _pvecontrol(cluster: Cluster, host: str, folder: Path) -> tuple[Ran, list[Move]]:
    login = {"user": USER, "token_name": NAME, "token_value": SECRET, "ssl_verify": False}
    config = folder / "pvecontrol.yaml"
    config.write_text(yaml.safe_dump({"clusters": [{"name": "lab", "host": host, **login}]}), encoding="utf-8")
    words = ["--config", str(config), "-c", "lab", "node", "evacuate", cluster.maintenance[0], "--dry-run"]
    ran = _run([str(HOME / "bin" / "pvecontrol"), *words], folder)
    return ran, [(int(vmid), target) for vmid, target in MIGRATING.findall(ran.said or "")]


def _proxlb(cluster: Cluster, host: str, folder: Path) -> tuple[Ran, list[Move]]:
    login = {"user": USER, "token_id": NAME, "token_secret": SECRET, "ssl_verification": False}
    content = {
        "proxmox_api": {"hosts": [host], **login},
        "proxmox_cluster": {"maintenance_nodes": list(cluster.maintenance)},
        "balancing": {
            "enable": True,
            "method": "memory",
            "mode": "assigned",
            "balanciness": 5,
            "enforce_affinity": True,
            "enforce_pinning": True,
        },
        "service": {"daemon": False},
    }
    config = folder / "proxlb.yaml"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    ran = _run([str(HOME / "bin" / "python"), "-m", "proxlb", "--dry-run", "--json", "--config", str(config)], folder)
    if ran.said is None:
        return ran, []
    guests = _document(ran.said)["guests"].values()
    return ran, [(g["id"], g["node_target"]) for g in guests if g["node_target"] != g["node_current"]]


def _document(said: str) -> Any:
    """The JSON in what was printed; log lines stand before it."""
    start = 0 if said.startswith("{") else said.index("\n{\n") + 1
    return json.JSONDecoder().raw_decode(said[start:])[0]


def _run(command: list[str], folder: Path) -> Ran:
    """One process, with what it alone has used; it answers yes to whatever it asks."""
    surroundings = {**os.environ, "HOME": str(folder), "PYTHONWARNINGS": "ignore", "TERM": "dumb", "COLUMNS": "200"}
    answer, said = folder / "answer", folder / "said"
    answer.write_text("yes\n", encoding="utf-8")
    with answer.open() as given, said.open("w") as printed:
        actions = [(os.POSIX_SPAWN_DUP2, given.fileno(), 0)]
        actions += [(os.POSIX_SPAWN_DUP2, printed.fileno(), number) for number in (1, 2)]
        pid = os.posix_spawn(command[0], command, surroundings, file_actions=actions)
    end = time.monotonic() + CUT_OFF
    ended, status, used = os.wait4(pid, os.WNOHANG)
    peak = 0.0
    while not ended and time.monotonic() < end:
        time.sleep(0.05)
        peak = max(peak, _peak(pid))
        ended, status, used = os.wait4(pid, os.WNOHANG)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        _, _, used = os.wait4(pid, 0)
    text = said.read_text(encoding="utf-8")
    assert not status, f"{' '.join(command)}:\n{text[-3000:]}"
    return Ran(text if ended else None, used.ru_utime + used.ru_stime, peak)


def _peak(pid: int) -> float:
    """MiB of memory at the peak so far; 0 once it has ended. What `wait4` says counts the parent it was forked from."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0) / 1024
