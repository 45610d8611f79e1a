"""How long a move takes, how long its guest stands still, how much is sent. Pure; the one place that reckons so.

Called by the checks of windows and timeouts, and by whoever shows a plan. The arithmetic is that of QEMU's pre-copy: what the
guest changes while its memory is sent has to be sent again, so at rate r and with changes at rate d it takes (M - r*t)/(r - d)
seconds until the rest fits into the pause t; where d reaches r it never does by itself.
"""

import math
from dataclasses import dataclass

from controller.decide.words import GIB, MIB, duration, size
from controller.model.ids import GuestIdentity, GuestKind, NodeName
from controller.model.memory import Memory
from controller.specs import PveCluster, Specs

ASSUMED_BYTES_S = 112 * MIB
"""What one stream achieves while nobody has said or learned it: a link of one gigabit per second."""
PAUSE_SECONDS = 0.1
"""The pause that PVE allows itself at first (qemu-server: PVE/QemuServer.pm, migrate_downtime)."""
LIVE_SECONDS = 11.0
"""Starting QEMU and the tunnel on the target, and tidying up afterwards."""
RESTART_SECONDS = 20.0
"""Shutting a container down and starting it on the target."""
OFFLINE_SECONDS = 5.0
LEAST_SECONDS = 60.0
"""Time that every move may take, however small it is."""
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes per second that one move may use. `known`: somebody said so, or it was learned."""

    bytes_s: float
    known: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """One move. `seconds`: inf when its memory is changed faster than it can be sent."""

    seconds: float
    bytes: int
    rate: Rate
    downtime_seconds: float | None  # that the guest stands still; None: nobody knows how long
    dirty_bytes_s: float | None = None  # learned from its earlier moves
    live: bool = False

    @property
    def converges(self) -> bool:
        """Whether the memory of a running guest arrives without QEMU slowing the guest down."""
        return self.seconds < math.inf

    def __str__(self) -> str:
        """Such as `4 GiB at 112 MiB/s (assumed) take about 48 s`."""
        assumed = "" if self.rate.known else " (assumed)"
        sent = f"{size(self.bytes)} at {self.rate.bytes_s / MIB:.0f} MiB/s{assumed}"
        if not self.converges:
            return f"{sent} never arrive: it changes {size(int(self.dirty_bytes_s or 0))}/s of its memory"
        changing = f", of which it changes {size(int(self.dirty_bytes_s))}/s," if self.dirty_bytes_s else ""
        return f"{sent}{changing} take about {duration(self.seconds)}"


def estimate(
    *,
    kind: GuestKind,
    running: bool,
    memory_bytes: int,
    disk_bytes: int,
    rate: Rate,
    dirty_bytes_s: float | None,
) -> Estimate:
    """Reckon one move. `disk_bytes`: what is copied of its disks, without what a replica on the target already has."""
    disks = disk_bytes / rate.bytes_s
    if kind is GuestKind.LXC or not running:
        seconds = disks + (RESTART_SECONDS if running else OFFLINE_SECONDS)
        return Estimate(seconds, disk_bytes, rate, seconds if running else 0.0)
    dirty = dirty_bytes_s or 0.0
    everything = memory_bytes + disk_bytes
    if dirty >= rate.bytes_s:
        return Estimate(math.inf, everything, rate, None, dirty_bytes_s, live=True)
    memory = max(0.0, memory_bytes - rate.bytes_s * PAUSE_SECONDS) / (rate.bytes_s - dirty)
    sent = int(memory_bytes / (1.0 - dirty / rate.bytes_s))
    seconds = LIVE_SECONDS + disks + memory + PAUSE_SECONDS
    return Estimate(seconds, disk_bytes + sent, rate, PAUSE_SECONDS, dirty_bytes_s, live=True)


def rate_of(
    source: NodeName, target: NodeName | None, *, limit_mib_s: int, cluster: PveCluster, specs: Specs, memory: Memory
) -> Rate:
    """The narrowest of the move's own limit, one stream, and the share of both links that moves may fill.

    One QEMU migration is one TCP stream (qemu-server: PVE/QemuMigrate.pm). What nobody wrote down was perhaps learned.
    """
    network = cluster.spec.network
    nodes = [source] if target is None else [source, target]
    written = [specs.node(name) for name in nodes]
    links = [(node.spec.link_mibps if node is not None else 0) or network.link_mibps for node in written]
    said = [float(width * network.share_percent // 100 * MIB) for width in links if width]
    streams = [memory.links[name].bytes_s_per_stream for name in nodes if name in memory.links]
    if network.stream_mibps:
        streams = [float(network.stream_mibps * MIB)]
    known = [value for value in (*said, *streams) if value > 0]
    limit = [float(limit_mib_s * MIB)] if limit_mib_s else []
    if known:
        return Rate(min(known + limit), known=True)
    return Rate(min([float(ASSUMED_BYTES_S), *limit]), known=bool(limit) and limit[0] <= ASSUMED_BYTES_S)


def dirty_of(memory: Memory, identity: GuestIdentity) -> float | None:
    """Bytes per second that the guest changed when it was moved before; None: it never was."""
    learned = memory.rates.get(identity.vmid)
    return learned.dirty_bytes_s if learned is not None and learned.identity.same_as(identity) else None


def at_most(expected: Estimate, seconds_per_gib: int) -> float:
    """Seconds after which the move is over one way or another: Drover stops one that takes longer than its policy allows."""
    if not expected.live or not seconds_per_gib:
        return min(expected.seconds, DAY)
    return min(expected.seconds, LIVE_SECONDS + allowed_seconds(seconds_per_gib, expected.bytes))


def allowed_seconds(seconds_per_gib: int, count: int) -> float:
    """Seconds that a policy allows for sending `count` bytes; Drover stops a move that takes longer (`act.guards`)."""
    return max(LEAST_SECONDS, seconds_per_gib * count / GIB)
