"""Virtual time: an event loop whose clock jumps to the next timer, so a simulated day takes seconds and repeats bit by bit.

Used by `rehearse.story` and by tests; production never imports it.
"""

import asyncio
import selectors
from collections.abc import Coroutine, Sequence
from typing import TypeVar

T = TypeVar("T")

EPOCH = 1_777_593_600.0
"""Where virtual wall time starts: 2026-05-01 00:00:00 UTC. Any fixed instant would do; stories show seconds since it."""


class NothingScheduledError(RuntimeError):
    """Everything waits and no timer is set: on a real clock the program would hang here."""


class _JumpingSelector(selectors.DefaultSelector):
    """Looks for ready sockets without waiting; where asyncio would wait, it moves the clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: Sequence[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready:
            if timeout is None:
                raise NothingScheduledError("every task waits and no timer is set")
            self.now += max(0.0, timeout)
        return list(ready)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time, starting at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now


class VirtualClock:
    """The `Clock` of a `VirtualLoop`: wall time starts at `EPOCH`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def wall(self) -> float:
        """See `Clock.wall`."""
        return EPOCH + self._loop.time()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)


def run(main: "Coroutine[object, object, T]", loop: VirtualLoop) -> T:
    """Run `main` to its end on `loop`, cancel what it left behind, and close the loop."""
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
