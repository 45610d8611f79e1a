"""Whether one more copy makes anything faster. Called by `timing.dispatch` and `timing.forecast`.

Memory that is written while it is copied is sent again, so sharing a link is pure loss once the link is full. A copy joins
only where both links have something left, and where afterwards every guest is still sent much faster than it writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.decide.timing.load import Job, Wires
from controller.model.ids import NodeName

FULL = 0.97
"""Part of a link that counts as all of it."""
MOST_OUT = 8
MOST_IN = 4
"""Copies at once from and to a node, however many would fit: each is a process on both sides."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Moves at once by node, where somebody wrote them down or no link is known."""

    out: Mapping[NodeName, int] = field(default_factory=dict)
    into: Mapping[NodeName, int] = field(default_factory=dict)
    everywhere: int | None = None  # in the whole cluster; None = no limit

    def leaving(self, node: NodeName) -> int:
        """Moves at once away from the node."""
        return self.out.get(node, MOST_OUT)

    def arriving(self, node: NodeName) -> int:
        """Moves at once to the node."""
        return self.into.get(node, MOST_IN)


@dataclass(frozen=True, slots=True)
class Beside:
    """The copies at one port: how many, what they take by themselves, and what the most delicate of them needs."""

    copies: int = 0
    load: float = 0.0
    needs: float = 0.0


def joins(job: Job, leaving: Beside, arriving: Beside, wires: Wires) -> bool:
    """Whether the job is welcome beside the copies from its source and those to its target."""
    out, into = wires.leaving(job.source), wires.arriving(job.target)
    if leaving.load >= FULL * out or arriving.load >= FULL * into:
        return False
    if not leaving.copies and not arriving.copies:
        return True
    share = min(out / (leaving.copies + 1), into / (arriving.copies + 1))
    return max(leaving.needs, arriving.needs, job.needs(wires)) <= share
