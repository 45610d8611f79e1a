"""Where `decide` runs: in a worker thread with a watchdog (production), or inline (virtual time).

Called by `loop.tick`; chosen by `app` and `rehearse`.
"""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from controller.decide import decide
from controller.model.errors import DroverError
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.specs import Specs


class Planner(Protocol):
    """Turns specs, what is seen and what is remembered into a plan."""

    def __call__(self, specs: Specs, seen: Observed, memory: Memory) -> Awaitable[Plan]:
        """Raise DroverError when there is no plan to be had this time."""
        ...


async def plan_inline(specs: Specs, seen: Observed, memory: Memory) -> Plan:
    """A `Planner` that computes at once, on the loop: deterministic, for virtual time and one-shots."""
    return decide(specs, seen, memory)


class ThreadPlanner:
    """A `Planner` in a worker thread. Its deadline never changes a plan: an overrun discards it.

    A thread can't be ended from outside, so while an overrun computation still burns, no second one is started beside it.
    """

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline = deadline_seconds
        self._running: asyncio.Future[Plan] | None = None

    async def __call__(self, specs: Specs, seen: Observed, memory: Memory) -> Plan:
        """See `Planner`. Raises DroverError(PLANNER_OVERRAN)."""
        if self._running is not None and not self._running.done():
            raise DroverError(Why.PLANNER_OVERRAN, "the planner still works on an earlier, discarded plan")
        self._running = asyncio.ensure_future(asyncio.to_thread(decide, specs, seen, memory))
        try:
            return await asyncio.wait_for(asyncio.shield(self._running), self._deadline)
        except TimeoutError:
            # Whoever awaits it later is nobody: without this its late error would be reported as never retrieved.
            self._running.add_done_callback(lambda future: future.cancelled() or future.exception())
            text = f"planning took longer than {self._deadline:g} s; this tick's plan is discarded"
            raise DroverError(Why.PLANNER_OVERRAN, text) from None
