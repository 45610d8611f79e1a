"""Moves as streams that share links: when each of them is done, if they start in a given order as soon as there is room.

Called by `timing.forecast` and `timing.dispatch`. Approximates max-min fairness: a source's link is filled by its streams'
ceilings from below, and a target's link is divided equally; what changes at one port is worked out at that port alone, so a
thousand moves take milliseconds.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable

from controller.decide.timing.load import DOWNTIME, Job, Running, Wires, gain
from controller.model.ids import NodeName, Vmid


class Stream:
    """One copy under way. `left` as of `since`."""

    __slots__ = ("again", "began", "ends", "job", "left", "rate", "since", "turn")

    def __init__(self, job: Job, now: float, left: float) -> None:
        self.job = job
        self.left = left
        self.again = False
        self.rate = 0.0
        self.since = now
        self.began = now
        self.turn = 0

    def settle(self, now: float) -> None:
        """Bring `left` up to now."""
        speed = gain(self.rate, self.job.dirty) if self.again else self.rate
        self.left = max(0.0, self.left - speed * (now - self.since)) if self.rate != float("inf") else 0.0
        self.since = now

    def seconds(self) -> float:
        """Seconds to the end of this pass at the present rate."""
        if self.left <= 0 or self.rate == float("inf"):
            return 0.0
        return self.left / (gain(self.rate, self.job.dirty) if self.again else self.rate)


class Fluid:
    """All copies at once, from `now` = 0."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires
        self.now = 0.0
        self.leaving: dict[NodeName, list[Stream]] = defaultdict(list)
        self.arriving: dict[NodeName, list[Stream]] = defaultdict(list)
        self._heap: list[tuple[float, int, int, Stream]] = []
        self._coming: list[tuple[float, int, Running]] = []
        self._serial = 0

    def resume(self, running: Iterable[Running]) -> None:
        """Take in what is under way."""
        for one in running:
            if one.setup > 0:
                self._serial += 1
                heapq.heappush(self._coming, (self.now + one.setup, self._serial, one))
            else:
                self._begin(Stream(one.job, self.now, one.left))

    def start(self, job: Job, lost: float = 0.0) -> None:
        """Begin to copy now. `lost`: bytes that its stream could have carried until somebody looked and it began."""
        self._begin(Stream(job, self.now, job.size + lost))

    def _begin(self, stream: Stream) -> None:
        self.leaving[stream.job.source].append(stream)
        self.arriving[stream.job.target].append(stream)
        self._share(stream.job)

    def next(self, until: float = float("inf")) -> Job | None:
        """Let time pass until a copy is complete, and return it; None when `until` is reached or nothing is under way."""
        while True:
            coming = self._coming[0][0] if self._coming else float("inf")
            ending = self._heap[0][0] if self._heap else float("inf")
            moment = min(coming, ending)
            if moment > until or moment == float("inf"):
                self.now = max(self.now, until) if until != float("inf") else self.now
                return None
            if coming <= ending:
                _, _, one = heapq.heappop(self._coming)
                self.now = max(self.now, coming)
                self._begin(Stream(one.job, self.now, one.left))
                continue
            _, _, turn, stream = heapq.heappop(self._heap)
            if turn != stream.turn:
                continue
            self.now = max(self.now, ending)
            if (done := self._passed(stream)) is not None:
                return done

    def _passed(self, stream: Stream) -> Job | None:
        """A pass is over: the job when that was the last one."""
        job = stream.job
        if not stream.again:
            rest = min(job.dirty * (self.now - stream.began), job.working)
            if rest > stream.rate * DOWNTIME:
                stream.again, stream.left, stream.since = True, rest, self.now
                self._schedule(stream)
                return None
        self.leaving[job.source].remove(stream)
        self.arriving[job.target].remove(stream)
        self._share(job)
        return job

    def _share(self, job: Job) -> None:
        """Work the rates out anew where this job's coming or going changes them."""
        for source in sorted({job.source, *(stream.job.source for stream in self.arriving[job.target])}):
            streams = self.leaving[source]
            arriving, into = self.arriving, self.wires.arriving
            ceilings = sorted(
                (min(s.job.cap, into(s.job.target) / len(arriving[s.job.target])), i) for i, s in enumerate(streams)
            )
            room, many = self.wires.leaving(source), len(streams)
            for ceiling, index in ceilings:
                rate = min(ceiling, room / many)
                room, many = room - rate if rate != float("inf") else room, many - 1
                stream = streams[index]
                if rate != stream.rate or not stream.turn:
                    stream.settle(self.now)
                    stream.rate = rate
                    self._schedule(stream)

    def _schedule(self, stream: Stream) -> None:
        stream.turn += 1
        heapq.heappush(self._heap, (self.now + stream.seconds(), int(stream.job.vmid), stream.turn, stream))


def finishes(fluid: Fluid) -> dict[Vmid, float]:
    """When everything that is under way is done, its tidying up included."""
    found: dict[Vmid, float] = {}
    while (job := fluid.next()) is not None:
        found[job.vmid] = fluid.now + job.tail
    return found
