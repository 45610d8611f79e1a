"""The daemon: reads the source, keeps one `ClusterLoop` per PveCluster, and never ends because something else did.

Started by `app` (production, demo) and by `rehearse.story` (virtual time).
"""

import asyncio

import structlog

from controller.loop.cluster_loop import ClusterLoop, Wiring
from controller.model.errors import DroverError
from controller.model.ids import ClusterName, NodeName
from controller.model.override import Order
from controller.model.reasons import Why
from controller.sources import Held, Source, merge


class Daemon:
    """Watches one source and reconciles every cluster that it names."""

    def __init__(self, source: Source, wiring: Wiring, *, held: Held) -> None:
        self._source = source
        self._wiring = wiring
        self._held = held
        self._loops: dict[ClusterName, tuple[ClusterLoop, asyncio.Task[None]]] = {}
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Until cancelled; then the loops end too and running migrations go on inside PVE, to be adopted at the next start."""
        try:
            while True:
                await self._read()
                await self._source.wait_change()
        finally:
            tasks = [task for _, task in self._loops.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def confirm(self, revision: str) -> bool:
        """Let a deletion that waits for confirmation happen; False when that revision is not the one waiting."""
        if self._source.confirm(revision):
            return True
        if self._held.awaiting != revision:
            return False
        self._take(self._held.confirm(revision), complete=True)
        return True

    def look_again(self) -> None:
        """Look at every cluster now, and at the source."""
        self._source.look_now()
        for loop, _ in self._loops.values():
            loop.look_again()

    def order(self, cluster: str, node: str, order: Order, *, by: str, reason: str) -> str:
        """Hand what an administrator types to the cluster's loop; "" as cluster means the only one. Raises DroverError."""
        known = ", ".join(sorted(self._loops)) or "none"
        if not cluster and len(self._loops) != 1:
            raise DroverError(Why.NOT_FOUND, f"name one of the clusters with --cluster (known: {known})")
        name = ClusterName(cluster) if cluster else next(iter(self._loops))
        if name not in self._loops:
            raise DroverError(Why.NOT_FOUND, f"there is no PveCluster {cluster!r} (known: {known})")
        return self._loops[name][0].order(NodeName(node), order, by=by, reason=reason)

    def approve(self, digest: str, *, by: str, withdraw: bool) -> str:
        """Release the plan of this digest in the cluster that has it, or take that back. Raises DroverError."""
        for loop, _ in self._loops.values():
            if (done := loop.approve(digest, by=by, withdraw=withdraw)) is not None:
                return done
        if withdraw:
            raise DroverError(Why.NOT_FOUND, f"nothing is approved with the digest {digest}")
        asked = [f"{one.digest} ({one.gate})" for loop, _ in self._loops.values() for one in loop.asked]
        now = f"what waits now is {', '.join(asked)}" if asked else "nothing waits for approval"
        raise DroverError(Why.NOT_FOUND, f"no plan with the digest {digest} waits for approval; {now}")

    async def _read(self) -> None:
        try:
            snapshot = await self._source.read()
        except Exception:  # a source that fails in an unforeseen way leaves the last good specs in force
            self._log.exception("source failed", source=self._source.name)
            self._wiring.publisher.source(self._held, complete=False, view=self._source.view)
            return
        self._take(merge(self._held, snapshot), complete=snapshot.complete)

    def _take(self, held: Held, *, complete: bool) -> None:
        changed = held != self._held
        self._held = held
        self._wiring.publisher.source(held, complete=complete, view=self._source.view)
        wanted = {ClusterName(name) for name in held.specs.clusters}
        for name in sorted(set(self._loops) - wanted):
            _, task = self._loops.pop(name)
            task.cancel()
            self._wiring.publisher.forget(name)
        for name in sorted(wanted):
            if name not in self._loops:
                loop = ClusterLoop(name, held, self._wiring)
                self._loops[name] = (loop, asyncio.create_task(self._supervise(name, loop), name=f"cluster {name}"))
            elif changed:
                self._loops[name][0].feed(held)

    async def _supervise(self, name: ClusterName, loop: ClusterLoop) -> None:
        """Start a loop again after a fault of Drover itself: that costs a tick, never the daemon."""
        while True:
            try:
                await loop.run()
            except Exception:
                self._log.exception("tick failed", cluster=name)
                self._wiring.publisher.tick_failed(name)
                await self._wiring.clock.sleep(self._wiring.interval_seconds)
