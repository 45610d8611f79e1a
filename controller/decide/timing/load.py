"""What the network carries and what each move puts on it: the input of everything in `decide.timing`.

Built by `decide.traffic` from specs, what is seen and what was learned; by the benchmark from what the API showed it.
Bytes, bytes per second, seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.model.ids import NodeName, Vmid

MIB = float(1 << 20)
SETUP = 4.0
"""Seconds from the request until memory is copied: scan, QEMU on the target, tunnel (qemu-server: PVE/QemuMigrate.pm)."""
TAIL = 3.0
"""Seconds from the switch-over until the task has tidied up."""
LOOK = 2.0
"""Seconds between two looks while moves are under way."""
SEEN = LOOK / 2
"""Seconds, on average, until somebody sees that a move is over, and asks for another in its place."""
TWICE = 2.0
"""Seconds from the look that finds a node empty to the one that calls it drained."""
DOWNTIME = 0.1
"""Allowed downtime in seconds unless `migrate_downtime` says otherwise (qemu-server: PVE/QemuServer.pm)."""
SLOWED = 0.2
"""Part of its rate that a stream still gains on a guest that writes faster: auto-converge slows the guest down."""
RHO = 0.35
"""A stream should write at most this part of what it is sent at; beyond, what is sent again grows out of hand."""


@dataclass(frozen=True, slots=True)
class Wires:
    """What every node's link carries for moves, each way. Nodes that are missing carry `otherwise`."""

    out: Mapping[NodeName, float] = field(default_factory=dict)
    into: Mapping[NodeName, float] = field(default_factory=dict)
    otherwise: float = float("inf")

    def leaving(self, node: NodeName) -> float:
        """Bytes per second away from the node."""
        return self.out.get(node, self.otherwise)

    def arriving(self, node: NodeName) -> float:
        """Bytes per second to the node."""
        return self.into.get(node, self.otherwise)


@dataclass(frozen=True, slots=True)
class Sync:
    """A copy of a guest's disks by replication, which has to be there before its move is asked for."""

    size: float  # bytes still to send
    minute: float  # seconds until PVE's scheduler looks for jobs that are due, which it does once a minute
    began: bool = False  # it is being written
    again: float = 0.0  # how likely a second, short round follows, because the first takes long


@dataclass(frozen=True, slots=True)
class Job:
    """One move: what has to be sent at least, how fast the guest writes meanwhile, and the most that its stream carries."""

    vmid: Vmid
    source: NodeName
    target: NodeName
    size: float
    dirty: float = 0.0
    working: float = 0.0  # the part of memory that is written again and again
    cap: float = float("inf")
    doubt: float = 0.0  # how fast it is assumed to write when nobody knows, before it has to share a link
    setup: float = SETUP
    tail: float = TAIL
    sync: Sync | None = None
    after: frozenset[Vmid] = frozenset()  # moves that make room for it or that a Must wants first

    def rate(self, wires: Wires) -> float:
        """What it is sent at with the network to itself."""
        return min(self.cap, wires.leaving(self.source), wires.arriving(self.target))

    def needs(self, wires: Wires) -> float:
        """What it should be sent at, at least, while it shares a link."""
        return min(max(self.dirty, self.doubt) / RHO, self.rate(wires))

    def copying(self, rate: float) -> float:
        """Seconds of copying at a rate that does not change."""
        if rate == float("inf") or not self.size:
            return 0.0
        first = self.size / rate
        rest = min(self.dirty * first, self.working)
        return first + (rest / gain(rate, self.dirty) if rest > rate * DOWNTIME else 0.0)

    def sent(self, rate: float) -> float:
        """Bytes that cross the wire at a rate that does not change: what is written meanwhile is sent again."""
        return self.copying(rate) * rate if rate != float("inf") else self.size

    def alone(self, wires: Wires) -> float:
        """Seconds from the request to the end with the network to itself."""
        rate = self.rate(wires)
        first = self.sync.size / rate if self.sync is not None else 0.0
        return first + self.setup + self.copying(rate) + self.tail


@dataclass(frozen=True, slots=True)
class Running:
    """A move under way: `setup` seconds before its copy begins, `left` bytes to copy: likely, at least and at most."""

    job: Job
    setup: float
    left: float
    least: float
    most: float

    def lasts(self, rate: float, seconds: float) -> float:
        """How likely it is, 0 to 1, that it still copies after so many seconds at that rate."""
        sent = rate * max(0.0, seconds - self.setup)
        if sent <= self.least:
            return 1.0
        return max(0.0, (self.most - sent) / (self.most - self.least)) if self.most > self.least else 0.0

    def unsure_in(self, rate: float, ahead: float) -> float:
        """Seconds until it is worth asking again whether it lasts `ahead` seconds: until the answer has changed by a fifth."""
        certain = self.setup + self.least / rate - ahead
        return certain if certain > 0 else (self.most - self.least) / rate / 5


def gain(rate: float, dirty: float) -> float:
    """Bytes per second by which the rest shrinks while the guest writes."""
    return max(rate - dirty, SLOWED * rate)
