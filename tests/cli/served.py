"""A simulated cluster that serves over HTTPS on a thread of its own. Used by the tests of verbs that read a cluster once."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from controller.rehearse.serving import Serving, serve
from controller.simulator.http import Server
from controller.simulator.seed import ClusterFile
from controller.simulator.world import World


@contextmanager
def served_cluster(file: ClusterFile) -> Iterator[Server]:
    """Serve `file` for as long as the block lasts."""
    servers: list[Server] = []
    listening, loops = threading.Event(), []
    stop = asyncio.Event()

    def ready(_world: World, server: Server) -> None:
        servers.append(server)
        loops.append(asyncio.get_running_loop())
        listening.set()

    thread = threading.Thread(target=lambda: asyncio.run(serve(file, Serving(port=0), stop, ready=ready)))
    thread.start()
    assert listening.wait(20)
    yield servers[0]
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(20)
