"""How long it all takes: several orders tried on the fluid model, the best one kept, and what no order could beat.

Called by `decide.order`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.decide.timing.admission import FULL, Beside, Limits, joins
from controller.decide.timing.fluid import Fluid, Stream
from controller.decide.timing.load import LOOK, Job, Running, Wires
from controller.model.ids import NodeName, Vmid

_DEEP = 6
"""So many of a node's queue are tried when its first can't start."""
_WORK = 12_000
"""Moves that all candidate orders together may simulate: bounds the time of a plan, the same on every machine."""
_WORTH = 0.02
"""By which part an order has to be faster than the one before it: less is noise, and orders should not change with every look."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When each move is done, in seconds from now, in the best order that was found; `order` holds those not yet started."""

    order: tuple[Job, ...]
    ends: Mapping[Vmid, float]
    candidate: str

    @property
    def makespan(self) -> float:
        """Seconds until the last one is done."""
        return max(self.ends.values(), default=0.0)


_Key = Callable[[Job], tuple[float, ...]]


def _candidates(wires: Wires) -> dict[str, _Key]:
    """Orders worth trying; every key ends with the VMID."""

    def alone(job: Job) -> float:
        return job.alone(wires)

    def heat(job: Job) -> float:
        rate = job.rate(wires)
        return job.dirty / rate if rate != float("inf") else 0.0

    return {
        "longest first": lambda job: (-alone(job), job.vmid),
        "hot first": lambda job: (-round(10 * heat(job)), -alone(job), job.vmid),
        "biggest first": lambda job: (-job.size, job.vmid),
        "hot last": lambda job: (round(10 * heat(job)), -alone(job), job.vmid),
        "shortest first": lambda job: (alone(job), job.vmid),
    }


def forecast(wires: Wires, limits: Limits, running: Iterable[Running], jobs: Iterable[Job]) -> Forecast:
    """Simulate candidate orders of `jobs` after what is `running`, and keep the first unless another ends much earlier."""
    under_way, waiting = list(running), list(jobs)
    best: Forecast | None = None
    work = _WORK
    tried: set[tuple[Job, ...]] = set()
    for name, key in _candidates(wires).items():
        order = tuple(sorted(waiting, key=key))
        if order in tried:
            continue
        tried.add(order)
        ends = simulate(wires, limits, under_way, order)
        found = Forecast(order, ends, name)
        if best is None or found.makespan < best.makespan * (1.0 - _WORTH):
            best = found
        work -= len(waiting) + len(under_way)
        if work <= 0:
            break
    assert best is not None
    return best


def simulate(wires: Wires, limits: Limits, running: Sequence[Running], order: Sequence[Job]) -> dict[Vmid, float]:
    """When each is done: at every moment the first of each node's queue that fits starts, the fullest queue first."""
    return _Simulation(wires, limits, running, order).run()


class _Simulation:
    """One order on the fluid model. Preparation is hidden behind other copies, except that of the very first."""

    def __init__(self, wires: Wires, limits: Limits, running: Sequence[Running], order: Sequence[Job]) -> None:
        self._wires, self._limits, self._order = wires, limits, order
        self._fluid = Fluid(wires)
        self._fluid.now = max((job.setup for job in order), default=0.0) if not running else 0.0
        self._fluid.resume(running)
        self._queues: dict[NodeName, list[Job]] = defaultdict(list)
        self._load: dict[NodeName, float] = defaultdict(float)
        for job in order:
            self._queues[job.source].append(job)
            self._load[job.source] += job.size
        everybody = [*order, *(one.job for one in running)]
        self._facts = {job.vmid: (job.rate(wires), job.needs(wires)) for job in everybody}

    def run(self) -> dict[Vmid, float]:
        ends: dict[Vmid, float] = {}
        while True:
            waiting = [node for node, queue in self._queues.items() if queue]
            for node in sorted(waiting, key=lambda n: (-self._load[n] / self._wires.leaving(n), n)):
                self._fill(node)
            done = self._fluid.next()
            if done is None:
                break
            ends[done.vmid] = self._fluid.now + done.tail
        for queue in self._queues.values():  # where a limit is none
            for job in queue:
                ends[job.vmid] = self._fluid.now + job.alone(self._wires)
        return ends

    def _fill(self, node: NodeName) -> None:
        """Start what fits; the first few of the queue are looked at."""
        queue, index, fluid = self._queues[node], 0, self._fluid
        leaving = self._beside(fluid.leaving[node])
        while index < min(len(queue), _DEEP):
            if leaving.load >= FULL * self._wires.leaving(node) or leaving.copies >= self._limits.leaving(node):
                return
            job = queue[index]
            arriving = self._beside(fluid.arriving[job.target])
            if arriving.copies < self._limits.arriving(job.target) and joins(job, leaving, arriving, self._wires):
                del queue[index]
                self._load[node] -= job.size
                fluid.start(job, self._lost(job))
                leaving = self._beside(fluid.leaving[node])
                index = 0
            else:
                index += 1

    def _lost(self, job: Job) -> float:
        """Bytes that the link does not carry until the next look begins another copy: what all but one stream leave of it."""
        rate, _ = self._facts[job.vmid]
        link = min(self._wires.leaving(job.source), self._wires.arriving(job.target))
        if not job.size or rate == float("inf"):
            return 0.0
        return LOOK * (link % rate if link != float("inf") else rate)

    def _beside(self, streams: list[Stream]) -> Beside:
        facts = [self._facts[stream.job.vmid] for stream in streams]
        return Beside(len(facts), sum(rate for rate, _ in facts), max((needs for _, needs in facts), default=0.0))


def bound(wires: Wires, jobs: Sequence[Job]) -> float:
    """Seconds that no order beats: what each link has to carry at least, and the longest of all moves alone."""
    if not jobs:
        return 0.0
    out: dict[NodeName, float] = defaultdict(float)
    into: dict[NodeName, float] = defaultdict(float)
    for job in jobs:
        sent = job.sent(job.rate(wires))
        out[job.source] += sent
        into[job.target] += sent
    fixed = min(job.setup for job in jobs) + min(job.tail for job in jobs)
    ports = [sent / wires.leaving(node) for node, sent in out.items()]
    ports += [sent / wires.arriving(node) for node, sent in into.items()]
    return max(max(ports) + fixed, *(job.alone(wires) for job in jobs))
