"""How long it all takes: several orders tried on the fluid model, the best one kept, and what no order could beat.

Called by `decide.order`.
"""

import heapq
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.decide.timing.admission import FULL, Beside, Limits, joins
from controller.decide.timing.fluid import Fluid
from controller.decide.timing.load import LOOK, SEEN, Job, Running, Wires
from controller.model.ids import NodeName, Vmid

_DEEP = 6
"""So many of a node's queue are tried when its first can't start."""
_WORK = 12_000
"""Moves that all candidate orders together may simulate: bounds the time of a plan, the same on every machine."""
_WORTH = 0.02
"""By which part an order has to be faster than the one before it: less is noise, and orders should not change with every look."""

MINUTE = 60.0
"""Seconds between two looks of PVE's scheduler for replication jobs that are due (pve-manager: PVE/Service/pvescheduler.pm)."""
SYNC_BEGIN = 5.0
"""Seconds from there until bytes flow: snapshots, the state of the target, `zfs send`."""
SYNC_SEEN = 8.0
"""Seconds, on average, from the last byte until a look shows the run ended: tidying up, and half of the usual interval."""
SYNC_AGAIN = 45.0
"""Seconds of the round after a long one: half a minute until the scheduler begins it, its few bytes, and a look."""

_Slot = tuple[str, NodeName]
"""Away from a node, to a node, or anywhere."""


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


def forecast(
    wires: Wires, limits: Limits, running: Iterable[Running], jobs: Iterable[Job], admits: Wires | None = None
) -> Forecast:
    """Simulate candidate orders of `jobs` after what is `running`, and keep the first unless another ends much earlier.

    `admits`: the part of the links by which it is decided who may start, where that is not all that they carry.
    """
    under_way, waiting = list(running), list(jobs)
    best: Forecast | None = None
    work = _WORK
    tried: set[tuple[Job, ...]] = set()
    for name, key in _candidates(wires).items():
        order = tuple(sorted(waiting, key=key))
        if order in tried:
            continue
        tried.add(order)
        ends = simulate(wires, limits, under_way, order, admits)
        found = Forecast(order, ends, name)
        if best is None or found.makespan < best.makespan * (1.0 - _WORTH):
            best = found
        work -= len(waiting) + len(under_way)
        if work <= 0:
            break
    assert best is not None
    return best


def simulate(
    wires: Wires, limits: Limits, running: Sequence[Running], order: Sequence[Job], admits: Wires | None = None
) -> dict[Vmid, float]:
    """When each is done: at every moment the first of each node's queue that fits starts, the fullest queue first."""
    return _Simulation(wires, admits or wires, limits, running, order).run()


class _Simulation:
    """One order on the fluid model, with everything that a move waits for before it copies, and holds on to afterwards.

    Where links are what is short, preparation is hidden behind other copies, because moves are asked for ahead of time
    (`timing.dispatch`). Where slots are, a move is asked for when another one's task has ended and somebody has seen that.
    """

    def __init__(
        self, wires: Wires, admits: Wires, limits: Limits, running: Sequence[Running], order: Sequence[Job]
    ) -> None:
        self._wires, self._admits, self._limits, self._order = wires, admits, limits, order
        self._fluid = Fluid(wires)
        self._fluid.resume(running)
        everybody = [*order, *(one.job for one in running)]
        self._jobs = {job.vmid: job for job in everybody}
        self._facts = {job.vmid: (job.rate(admits), job.needs(admits)) for job in everybody}
        self._ranks = {job.vmid: rank for rank, job in enumerate(order)}
        self._ends: dict[Vmid, float] = {}
        self._queues: dict[NodeName, list[Job]] = defaultdict(list)
        self._held: dict[Vmid, set[Vmid]] = {}  # who waits for whose end
        self._syncs: dict[NodeName, list[Job]] = defaultdict(list)
        self._load: dict[NodeName, float] = defaultdict(float)
        self._leaving: dict[NodeName, list[Vmid]] = defaultdict(list)  # asked for, and not yet sent
        self._arriving: dict[NodeName, list[Vmid]] = defaultdict(list)
        self._used: Counter[_Slot] = Counter()
        self._free_since: dict[_Slot, float] = defaultdict(float)
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        for one in running:
            self._occupy(one.job)
        for job in order:
            self._load[job.source] += job.size
            if job.sync is None:
                self._admit(job)
            else:
                self._syncs[job.source].append(job)
        for node, queue in sorted(self._syncs.items()):
            queue.sort(key=lambda job: not (job.sync is not None and job.sync.began))
            self._next_sync(node)

    def run(self) -> dict[Vmid, float]:
        fluid = self._fluid
        while True:
            waiting = [node for node, queue in self._queues.items() if queue]
            for node in sorted(waiting, key=lambda n: (-self._load[n] / self._wires.leaving(n), n)):
                self._fill(node)
            due = self._later[0][0] if self._later else float("inf")
            done = fluid.next(due)
            if done is not None:
                self._sent(done)
            elif self._later:
                _, _, happen = heapq.heappop(self._later)
                happen()
            else:
                break
        for job in self._order:  # where a limit is none
            self._ends.setdefault(job.vmid, fluid.now + job.alone(self._wires))
        return self._ends

    def _at(self, moment: float, happen: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._later, (moment, self._serial, happen))

    def _slots(self, job: Job) -> tuple[tuple[_Slot, int | None], ...]:
        limits = self._limits
        return (
            (("out", job.source), limits.leaving(job.source)),
            (("in", job.target), limits.arriving(job.target)),
            (("all", NodeName("")), limits.everywhere),
        )

    def _full(self, job: Job) -> bool:
        return any(most is not None and self._used[slot] >= most for slot, most in self._slots(job))

    def _occupy(self, job: Job) -> None:
        self._leaving[job.source].append(job.vmid)
        self._arriving[job.target].append(job.vmid)
        for slot, _ in self._slots(job):
            self._used[slot] += 1

    def _sent(self, job: Job) -> None:
        """A copy is complete: a move's, or one of disks that goes before its move."""
        now = self._fluid.now
        if job.vmid < 0:
            self._at(now + SYNC_SEEN + SYNC_AGAIN * job.doubt, lambda: self._synced(job))
            return
        self._leaving[job.source].remove(job.vmid)
        self._arriving[job.target].remove(job.vmid)
        self._ends[job.vmid] = now + job.tail
        self._at(now + job.tail + SEEN, lambda: self._release(job))

    def _release(self, job: Job) -> None:
        for slot, most in self._slots(job):
            if most is not None and self._used[slot] >= most:
                self._free_since[slot] = self._fluid.now
            self._used[slot] -= 1
        for vmid, others in list(self._held.items()):
            others.discard(job.vmid)
            if not others:
                del self._held[vmid]
                self._enqueue(self._jobs[vmid])

    def _admit(self, job: Job) -> None:
        """It may be asked for, unless others have to go first."""
        if before := {vmid for vmid in job.after if vmid in self._jobs and vmid not in self._ends}:
            self._held[job.vmid] = before
        else:
            self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        insort(self._queues[job.source], job, key=lambda one: self._ranks[one.vmid])

    def _next_sync(self, node: NodeName) -> None:
        """PVE runs the jobs of a node one after the other, and looks once a minute for those that are due."""
        if not self._syncs[node]:
            return
        job, now = self._syncs[node][0], self._fluid.now
        assert job.sync is not None
        # `doubt` of a copy of disks: how likely a second round follows it.
        copy = Job(Vmid(-job.vmid), job.source, job.target, job.sync.size, cap=job.cap, doubt=job.sync.again)
        # When the one before ends nobody knows so well that the minute could be told: half of one, on average.
        wait = 0.0 if job.sync.began else (MINUTE / 2 if now else job.sync.minute) + SYNC_BEGIN
        self._fluid.resume([Running(copy, wait, copy.size, copy.size, copy.size)])

    def _synced(self, copy: Job) -> None:
        job = self._syncs[copy.source].pop(0)
        self._admit(job)
        self._next_sync(copy.source)

    def _fill(self, node: NodeName) -> None:
        """Start what fits; the first few of the queue are looked at."""
        queue, index = self._queues[node], 0
        leaving = self._beside(self._leaving[node])
        while index < min(len(queue), _DEEP):
            if leaving.load >= FULL * self._admits.leaving(node) or self._used["out", node] >= self._limits.leaving(
                node
            ):
                return
            job = queue[index]
            arriving = self._beside(self._arriving[job.target])
            if not self._full(job) and (not job.size or joins(job, leaving, arriving, self._admits)):
                del queue[index]
                self._load[node] -= job.size
                self._start(job)
                leaving = self._beside(self._leaving[node])
                index = 0
            else:
                index += 1

    def _start(self, job: Job) -> None:
        asked = max(self._free_since[slot] for slot, _ in self._slots(job))
        if job.after or job.sync is not None:
            asked = self._fluid.now
        self._occupy(job)
        setup = asked + job.setup - self._fluid.now
        if setup > 0:
            self._fluid.resume([Running(job, setup, job.size, job.size, job.size)])
        else:
            self._fluid.start(job, self._lost(job))

    def _lost(self, job: Job) -> float:
        """Bytes that the link does not carry until the next look begins another copy: what all but one stream leave of it."""
        rate = job.rate(self._wires)
        link = min(self._wires.leaving(job.source), self._wires.arriving(job.target))
        if not job.size or rate == float("inf"):
            return 0.0
        return LOOK * (link % rate if link != float("inf") else rate)

    def _beside(self, vmids: Sequence[Vmid]) -> Beside:
        facts = [self._facts[vmid] for vmid in vmids if self._jobs[vmid].size]
        return Beside(len(facts), sum(rate for rate, _ in facts), max((needs for _, needs in facts), default=0.0))


def bound(wires: Wires, jobs: Sequence[Job]) -> float:
    """Seconds that no order beats: what each link has to carry at least, and the longest of all moves alone."""
    if not jobs:
        return 0.0
    out: dict[NodeName, float] = defaultdict(float)
    into: dict[NodeName, float] = defaultdict(float)
    for job in jobs:
        sent = job.sent(job.rate(wires))
        sent += job.sync.size if job.sync is not None else 0.0
        out[job.source] += sent
        into[job.target] += sent
    fixed = min(job.setup for job in jobs) + min(job.tail for job in jobs)
    ports = [sent / wires.leaving(node) for node, sent in out.items()]
    ports += [sent / wires.arriving(node) for node, sent in into.items()]
    return max(max(ports) + fixed, *(job.alone(wires) for job in jobs))
