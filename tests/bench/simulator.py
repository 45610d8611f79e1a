"""The simulator's own speed with 32 nodes and 5,000 guests: `/cluster/resources`, and an hour with 200 migrations."""

import time
from collections.abc import Callable

from controller.simulator.api import Request, Response
from controller.simulator.generate import generate
from controller.simulator.routes import Simulator
from controller.simulator.world import World

NODES, GUESTS, MIGRATIONS = 32, 5000, 200
SECRET = "PVEAPIToken=drover@pve!drover=00000000-0000-4000-8000-000000000000"
ROUNDS = 9


def main() -> None:
    """Print CPU milliseconds per list and CPU seconds per simulated hour."""
    print(f"The simulator with {NODES} nodes and {GUESTS} guests")
    simulator = Simulator(World(generate(nodes=NODES, guests=GUESTS, seed=1), seed=1))
    rebuilt, cached = lists(simulator)
    print(f"  /cluster/resources rebuilt  {rebuilt * 1000:6.1f} ms CPU (bound 90)")
    print(f"  the same from its cache     {cached * 1000:6.1f} ms CPU (bound 5)")
    seconds, moved = hour(simulator)
    print(f"  an hour, {moved} migrations   {seconds:6.1f} s CPU (bound 20)")


def lists(simulator: Simulator) -> tuple[float, float]:
    """Median CPU seconds of a list that is built anew, and of one from the cache."""
    rebuilt, cached = [], []
    _ask(simulator, "GET", "/cluster/resources")
    for _ in range(ROUNDS):
        simulator.world.advance(simulator.world.now + 3)
        rebuilt.append(_cpu(lambda: _ask(simulator, "GET", "/cluster/resources")))
        cached.append(_cpu(lambda: _ask(simulator, "GET", "/cluster/resources")))
    return sorted(rebuilt)[ROUNDS // 2], sorted(cached)[ROUNDS // 2]


def hour(simulator: Simulator) -> tuple[float, int]:
    """CPU seconds of a simulated hour, and the migrations in it."""
    world = simulator.world
    chosen = [guest for guest in world.guests.values() if guest.running and guest.type == "qemu"][:MIGRATIONS]
    begin = world.now

    def play() -> None:
        for guest in chosen:
            world.advance(world.now + 3600 / MIGRATIONS * 0.9)
            target = f"pve{int(guest.node.removeprefix('pve')) % NODES + 1}"
            response = _ask(
                simulator, "POST", f"/nodes/{guest.node}/qemu/{guest.vmid}/migrate", target=target, online="1"
            )
            assert response.status == 200, response
        world.advance(begin + 3600)

    seconds = _cpu(play)
    done = [task for task in world.tasks.by_upid.values() if task.type == "qmigrate" and task.exitstatus == "OK"]
    return seconds, len(done)


def _ask(simulator: Simulator, method: str, path: str, **params: str) -> Response:
    return simulator.handle(Request(method, path, params, auth=SECRET, node="pve1"))


def _cpu(action: Callable[[], object]) -> float:
    begin = time.process_time()
    action()
    return time.process_time() - begin
