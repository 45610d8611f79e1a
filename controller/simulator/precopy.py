"""The physics of a live migration's memory phase: rounds of copying while the guest goes on writing.

Called by `simulator.migrate`. Each round sends what the last one left dirty; it ends when the rest fits into the allowed
downtime. PVE doubles that downtime whenever the rest has not shrunk in six looks (qemu-server: PVE/QemuMigrate.pm), so a
guest that writes faster than the wire pauses longer instead of never arriving; QEMU slows its CPUs down meanwhile
(auto-converge: 20 percent, then 10 more each time).
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from controller.simulator.engine import Wait
from controller.simulator.guests import Guest
from controller.simulator.network import Flow
from controller.simulator.units import MIB, render_bytes
from controller.simulator.world import World

PAGE = 4096
ZERO_PAGE = 9
"""Bytes on the wire for a page of zeros."""
SWITCH = 0.02
"""Seconds that handing over takes besides the last bytes."""
PATIENCE = 5
DOWNTIME = 0.1
"""Allowed downtime in seconds unless `migrate_downtime` says otherwise (qemu-server: PVE/QemuServer.pm)."""
LONGEST_DOWNTIME = 2000.0


class StreamBroken(Exception):  # noqa: N818 - what QEMU reports, handled at once by the migration
    """The connection to the target was lost."""


@dataclass(slots=True)
class Copied:
    """How a memory phase went: bytes on the wire, seconds of pause and of the whole phase, rounds."""

    transferred: float = 0.0
    downtime: float = 0.0
    seconds: float = 0.0
    rounds: int = 0
    throttle: float = 0.0


class Precopy:
    """One memory phase. `log` writes a line with time stamp into the task's log."""

    def __init__(
        self,
        world: World,
        guest: Guest,
        target: str,
        ceiling: float,
        log: Callable[[str], None],
        *,
        owner: object,
        widest: float = float("inf"),
    ) -> None:
        self._world = world
        self._guest = guest
        self._target = target
        self._ceiling = ceiling
        self._widest = widest
        self._log = log
        self._owner = owner
        self.limit = self._raised = float(guest.config.get("migrate_downtime", DOWNTIME))
        self.result = Copied()
        self.flow: Flow | None = None
        self._sent = 0.0
        self._last_remaining = float("inf")
        self._stalls = 0
        self._slow_rounds = 0
        self._next_poll = 0.0
        self._last_sent = 0.0

    def run(self) -> Generator[Wait, Any, Copied]:
        """Copy until the guest runs on the target; raises StreamBroken when the wire does."""
        world, result = self._world, self.result
        begin = world.now
        self._next_poll = begin + 1.0
        touched = self._guest.memory * self._guest.touched
        remaining = touched + (self._guest.ram - touched) / PAGE * ZERO_PAGE
        while True:
            started = world.now
            yield from self._send(remaining)
            result.rounds += 1
            seconds = max(world.now - started, 1e-9)
            dirty = self._dirtied(seconds)
            if dirty <= remaining / seconds * min(self.limit, LONGEST_DOWNTIME):
                break
            self._throttle(dirty, remaining)
            remaining = dirty
        paused = world.now
        self._next_poll = float("inf")
        if dirty > 0:
            yield from self._send(dirty)
        yield SWITCH
        result.downtime = world.now - paused
        result.transferred = self._sent
        result.seconds = world.now - begin
        return result

    def restrict(self, bytes_s: float) -> None:
        """Change what it may send per second, up to what the stream carries."""
        self._ceiling = min(bytes_s, self._widest)
        if self.flow is not None:
            self._world.network.recap(self.flow, self._ceiling)

    def _dirtied(self, seconds: float) -> float:
        if self._guest.run != "running":
            return 0.0
        rate = self._guest.dirty * (1.0 - self.result.throttle)
        return min(rate * seconds, self._guest.working)

    def _throttle(self, dirty: float, sent: float) -> None:
        self._slow_rounds = self._slow_rounds + 1 if dirty > sent / 2 else 0
        if self._slow_rounds >= 2:
            self._slow_rounds = 0
            self.result.throttle = min(0.99, self.result.throttle + (0.1 if self.result.throttle else 0.2))

    def _send(self, size: float) -> Generator[Wait, Any, None]:
        network = self._world.network
        self.flow = flow = network.start(self._guest.node, self._target, size, self._ceiling, self._owner)
        while not flow.done.fired:
            arrived = yield (flow.done, max(0.0, min(self._next_poll - self._world.now, 3600.0)))
            if arrived is False and self._world.now >= self._next_poll:
                self._poll(flow)
        self.flow = None
        if flow.done.value is False:
            raise StreamBroken("failed")
        self._sent += size

    def _poll(self, flow: Flow) -> None:
        self._next_poll = self._world.now + 1.0
        now_sent = self._world.network.sent(flow)
        sent = self._sent + now_sent
        self._report(sent, sent - self._last_sent)
        self._last_sent = sent
        remaining = max(0.0, flow.size - now_sent)
        if remaining > self._last_remaining or remaining == 0:
            self._stalls += 1
        self._last_remaining = remaining
        if self._stalls > PATIENCE:
            self._stalls = 0
            self.limit = self._raised = min(self._raised * 2, LONGEST_DOWNTIME)
            self._log(f"auto-increased downtime to continue migration: {self.limit * 1000:.0f} ms")

    def _report(self, sent: float, speed: float) -> None:
        total = self._guest.ram
        line = f"migration active, transferred {render_bytes(sent)} of {render_bytes(total)} VM-state, {render_bytes(speed)}/s"
        rate = self._guest.dirty * (1.0 - self.result.throttle) if self._guest.run == "running" else 0.0
        again = self.result.rounds > 0
        if again and rate > speed:
            line += f", VM dirties lots of memory: {render_bytes(rate)}/s"
        self._log(line)
        if again and rate > 64 * MIB:
            pages = int(self._guest.working * 0.1 / PAGE)
            self._log(
                f"xbzrle: send updates to {pages} pages in {render_bytes(pages * 512)} encoded memory, "
                f"cache-miss {min(99.0, rate / max(speed, 1.0) * 20):.2f}%, overflow {pages // 100}"
            )


def cache_size(ram: int) -> int:
    """Return the xbzrle cache: a tenth of memory, rounded up to a power of two (qemu-server: PVE/QemuMigrate.pm)."""
    wanted = max(ram // 10, 1)
    return int(1 << (wanted - 1).bit_length())
