"""Which moves to ask for now, so that a copy begins when another ends. Called by `decide.order`.

A move needs seconds of preparation before it sends anything, and the next look comes seconds later: what counts is not who
copies now, but who will when a move that is asked for now, or at the next look, would begin.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from controller.decide.timing.admission import Beside, joins
from controller.decide.timing.fluid import Fluid
from controller.decide.timing.load import LOOK, SETUP, Job, Running, Wires
from controller.model.ids import NodeName

AHEAD = SETUP + LOOK
"""Seconds until a move that is asked for at the next look would begin to copy."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy at one port, and how likely it is to be there."""

    job: Job
    chance: float


@dataclass(frozen=True, slots=True)
class Ports:
    """Copies that will be under way when a move that is asked for now begins to send. Mutable: what is started is added."""

    wires: Wires
    leaving: dict[NodeName, list[Copy]]
    arriving: dict[NodeName, list[Copy]]
    again: list[float]  # seconds until it is worth asking about each of them again

    def welcome(self, job: Job) -> bool:
        """Whether it makes anything faster to ask for it now. What sends nothing is always welcome."""
        return not job.size or joins(job, *self._beside(job), self.wires)

    def add(self, one: Running, rate: float) -> None:
        """It is asked for, or is under way at this rate."""
        job, chance = one.job, one.lasts(rate, AHEAD)
        if not job.size or chance <= 0:
            return
        self.again.append(one.unsure_in(rate, AHEAD))
        self.leaving[job.source].append(Copy(job, chance))
        self.arriving[job.target].append(Copy(job, chance))

    def beside(self, job: Job) -> tuple[int, int]:
        """How many copies the job would have beside it on its source's link and on its target's."""
        return len(self.leaving[job.source]), len(self.arriving[job.target])

    def _beside(self, job: Job) -> tuple[Beside, Beside]:
        return self._sum(self.leaving[job.source]), self._sum(self.arriving[job.target])

    def _sum(self, copies: list[Copy]) -> Beside:
        """What probably is there takes part of the link; only what is more likely there than not wants to be spared."""
        likely = [copy.job for copy in copies if copy.chance >= 0.5]
        load = sum(copy.chance * copy.job.rate(self.wires) for copy in copies)
        return Beside(len(likely), load, max((job.needs(self.wires) for job in likely), default=0.0))

    def gap(self) -> float:
        """Seconds until it is worth asking again whether somebody could start."""
        return max(LOOK, min(self.again, default=LOOK))

    def load(self, node: NodeName) -> float:
        """How much of what the node's link can take is spoken for: 0 nothing, 1 all."""
        into = self.wires.arriving(node)
        copies = self.arriving[node]
        return sum(copy.chance * (copy.job.rate(self.wires) / into if into != float("inf") else 1.0) for copy in copies)


def ports(wires: Wires, running: Iterable[Running]) -> Ports:
    """The picture `AHEAD` seconds from now, if everything goes on at its present rate."""
    under_way = list(running)
    fluid = Fluid(wires)
    fluid.resume(under_way)
    rates = {stream.job.vmid: stream.rate for streams in fluid.leaving.values() for stream in streams}
    picture = Ports(wires, defaultdict(list), defaultdict(list), [])
    for one in sorted(under_way, key=lambda one: one.job.vmid):
        picture.add(one, rates.get(one.job.vmid, one.job.rate(wires)))
    return picture
