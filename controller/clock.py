"""Time as a thing that is passed in: the `Clock` protocol and the machine's own clock.

Only `app` and `rehearse` construct one. Nothing else in Drover reads the machine's time, sleeps, or calls `asyncio.sleep`.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where the rest of the program gets its time from; seconds everywhere."""

    def wall(self) -> float:
        """Seconds since the epoch. For people and for comparison with PVE's time stamps, never for durations."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump. The only source of durations, ages and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock have passed."""
        ...


class SystemClock:
    """The machine's clock, optionally running `speed` times as fast (demo and simulator; production uses 1).

    Wall and monotonic time are read together once, so both sides of an accelerated demo agree on what time it is.
    """

    def __init__(self, speed: float = 1.0, *, epoch: float | None = None) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.speed = speed
        self._epoch = time.time() if epoch is None else epoch
        self._start = time.monotonic()

    def wall(self) -> float:
        """See `Clock.wall`. At speed 1 this follows the machine's clock, corrections included."""
        return time.time() if self.speed == 1.0 else self._epoch + self.monotonic()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return (time.monotonic() - self._start) * self.speed

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds / self.speed)
