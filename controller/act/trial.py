"""The second look without the move: everything that would speak against moves that nobody starts.

Called by `app` for `drover preflight`. Only reads.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.decide import preflight
from controller.decide.preflight import Finding, Level
from controller.decide.preflight.wish import Wish
from controller.model.errors import DroverError
from controller.model.memory import Memory
from controller.model.observed import Guest, Observed
from controller.model.plan import Move
from controller.observe.cluster import Observer
from controller.specs import Specs

AT_ONCE = 4
"""Moves that are looked at side by side, each with about a dozen calls."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One move as it would be made, with what every check says; `move` is None when planning finds no target."""

    guest: Guest
    move: Move | None
    findings: tuple[Finding, ...]

    @property
    def feasible(self) -> bool:
        """Whether it could start now."""
        return self.move is not None and all(found.level is not Level.FAIL for found in self.findings)


async def trials(
    wishes: Sequence[Wish], *, specs: Specs, seen: Observed, memory: Memory, observer: Observer
) -> tuple[Trial, ...]:
    """Look at every wish, a few at a time; in the same order."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(wish: Wish) -> Trial:
        if wish.move is None:
            return Trial(wish.guest, None, wish.said)
        try:
            async with turn:
                fresh = await observer.fresh(wish.move, mapped_to=preflight.mapped_to(wish.move, specs))
        except DroverError as error:
            failed = Finding(Level.FAIL, error.why, error.message, error.why.remedy, check="everything can be read")
            return Trial(wish.guest, wish.move, (*wish.said, failed))
        found = preflight.findings(wish.move, fresh, specs, seen, memory)
        refined = preflight.refine(wish.move, fresh, specs, seen, memory)
        return Trial(wish.guest, refined, (*_new(wish.said, found), *found))

    return tuple(await asyncio.gather(*(one(wish) for wish in wishes)))


def _new(said: Iterable[Finding], found: Iterable[Finding]) -> tuple[Finding, ...]:
    """What planning says and the checks don't say better."""
    known = {each.why for each in found if each.level is Level.FAIL}
    return tuple(each for each in said if each.why not in known)
