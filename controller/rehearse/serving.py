"""A simulated cluster served by itself, for anybody's client. Called by `drover simulate`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controller.clock import SystemClock
from controller.simulator import http
from controller.simulator.routes import Simulator
from controller.simulator.seed import ClusterFile
from controller.simulator.world import World


@dataclass(frozen=True, slots=True)
class Serving:
    """How to serve. port: of the first node, 0 takes free ones. speed: seconds that pass in one real second."""

    host: str = "127.0.0.1"
    port: int = 8006
    speed: float = 1.0
    seed: int = 0
    tls: Path | None = None  # a folder that keeps the certificates


async def serve(
    file: ClusterFile, how: Serving, stop: asyncio.Event, *, ready: Callable[[World, http.Server], None]
) -> None:
    """Serve until `stop`; `ready` is told once it listens. Raises OSError.

    Time is the simulator's own: a controller that is pointed at it keeps its own clock, too.
    """
    clock = SystemClock(how.speed)
    world = World(file.model_copy(update={"start": clock.wall()}), seed=how.seed)
    listening = http.serve(Simulator(world), clock=clock, host=how.host, base_port=how.port, tls=how.tls)
    async with await listening as server:
        ready(world, server)
        await stop.wait()
