"""Time in the simulation: one heap of events at virtual seconds, and processes (generators) that wait on it.

Used by everything in `simulator` that takes time. There are no threads and nothing is asynchronous: `Engine.advance` runs
what is due, in an order that depends on nothing but the seed and the calls made.
"""

import heapq
from collections.abc import Callable, Generator
from typing import Any, TypeAlias


class Timer:
    """An action at a moment; `cancel` makes it do nothing."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Callable[[], None]) -> None:
        self.when = when
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Forget the action. May be called twice and after the event."""
        self.action = None


class Signal:
    """Something that happens once and that processes wait for; carries a value."""

    __slots__ = ("fired", "value", "waiters")

    def __init__(self) -> None:
        self.fired = False
        self.value: Any = None
        self.waiters: list[Callable[[], None]] = []

    def fire(self, value: Any = None) -> None:
        """Wake all who wait. A second call changes nothing."""
        if self.fired:
            return
        self.fired, self.value = True, value
        waiters, self.waiters = self.waiters, []
        for wake in waiters:
            wake()


Wait: TypeAlias = float | Signal | tuple[Signal, float]
"""What a process may yield: seconds, a signal (the value comes back), or both (False comes back after the time)."""
Body: TypeAlias = Generator[Wait, Any, None]


class Interrupted(Exception):  # noqa: N818 - a signal, named as PVE logs it
    """SIGTERM, raised inside a process at the point where it waits."""


class Engine:
    """The clock and the heap. `now` is virtual epoch seconds."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._heap: list[tuple[float, int, Timer]] = []
        self._serial = 0

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Do `action` at `when` (at once when that is over)."""
        timer = Timer(max(when, self.now), action)
        self._serial += 1
        heapq.heappush(self._heap, (timer.when, self._serial, timer))
        return timer

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do `action` in `seconds`."""
        return self.at(self.now + seconds, action)

    def advance(self, to: float) -> None:
        """Run every event up to and including `to`. Going back in time is ignored."""
        heap = self._heap
        while heap and heap[0][0] <= to:
            when, _, timer = heapq.heappop(heap)
            if timer.action is None:
                continue
            self.now = max(self.now, when)
            action, timer.action = timer.action, None
            action()
        self.now = max(self.now, to)


class Process:
    """A generator that is run on the engine.

    `on_end` actions run whatever ends it, `kill` included: they stand for what a kernel takes back (locks, sockets).
    Bodies must not clean up in `finally`: SIGKILL asks nobody.
    """

    def __init__(self, engine: Engine, body: Body, ended: Callable[[BaseException | None], None]) -> None:
        self._engine = engine
        self._body: Body | None = body
        self._ended = ended
        self._turn = 0
        self._timer: Timer | None = None
        self.on_end: list[Callable[[], None]] = []

    @property
    def alive(self) -> bool:
        """False once it has returned, raised, or been killed."""
        return self._body is not None

    def start(self) -> None:
        """Run to the first wait."""
        self._resume(None)

    def interrupt(self) -> None:
        """Deliver SIGTERM: raises Interrupted where the body waits."""
        if self._body is not None:
            self._resume(None, Interrupted("interrupted by signal"))

    def kill(self) -> None:
        """Deliver SIGKILL: the body never runs again."""
        if self._body is not None:
            self._finish()

    def _finish(self) -> None:
        self._body = None
        self._turn += 1
        if self._timer is not None:
            self._timer.cancel()
        actions, self.on_end = self.on_end, []
        for action in actions:
            action()

    def _resume(self, value: Any, error: Exception | None = None) -> None:
        body = self._body
        if body is None:
            return
        self._turn += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            wait = body.throw(error) if error is not None else body.send(value)
        except StopIteration:
            self._finish()
            self._ended(None)
        except (Interrupted, ProcessFailed) as failure:
            self._finish()
            self._ended(failure)
        else:
            self._wait(wait)

    def _wait(self, wait: Wait) -> None:
        turn = self._turn

        def wake(value: Any) -> None:
            if turn == self._turn:
                self._resume(value)

        if isinstance(wait, tuple):
            signal, seconds = wait
            self._listen(signal, lambda: wake(signal.value if signal.value is not None else True))
            self._timer = self._engine.after(seconds, lambda: wake(False))
        elif isinstance(wait, Signal):
            self._listen(wait, lambda: wake(wait.value))
        else:
            self._timer = self._engine.after(wait, lambda: wake(None))

    def _listen(self, signal: Signal, action: Callable[[], None]) -> None:
        if signal.fired:
            self._engine.after(0.0, action)
        else:
            signal.waiters.append(action)


class ProcessFailed(Exception):  # noqa: N818 - the base of refusals that end a worker, each worded by PVE
    """A body gives up; its text is what PVE's `die` would have said."""
