"""What moves put on the network: specs, what is seen and what was learned, in the terms of `decide.timing`. Called by `order`.

A link is what a PveNode or the PveCluster says. Where nobody says it, what moves have achieved tells how long things take,
and two at once from or to a node is all that is risked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from controller.decide.capacity import MIB
from controller.decide.estimate import dirty_of
from controller.decide.placement import Intent
from controller.decide.scene import Scene, seen_moving
from controller.decide.timing import guess
from controller.decide.timing.guess import UNSEEN, Habit
from controller.decide.timing.load import Job, Running, Wires
from controller.model.ids import GuestKind, NodeName, Vmid
from controller.model.memory import Flight
from controller.model.observed import Guest
from controller.model.plan import Move

UNKNOWN_LINK = 2
"""Moves at once from or to a node while nobody has said what its link carries: PVE's own tools use 1 to 4."""
USUAL_STREAM = 500.0 * MIB
"""Bytes per second of one stream while nobody has said or learned it: ssh, on one core, does 400 to 1000 MiB/s."""
USUAL_DIRTY = 30.0 * MIB
"""Bytes per second that a guest is assumed to write before it has to share a link with others; nine of ten write less."""
WORKING = 0.1
"""Part of a guest's memory that is written again and again, as long as nobody knows."""
OFFLINE_SETUP, RESTART_SETUP = 1.0, 5.0
"""Seconds before a stopped guest's disks are copied, and until a container has been shut down."""
NOWHERE = NodeName("")
"""The target of a move of which nobody knows it."""


@dataclass(frozen=True)
class Traffic:
    """Everything about the network that one plan asks for."""

    scene: Scene

    @cached_property
    def wires(self) -> Wires:
        """What links carry for moves, as far as somebody has said it: by that it is decided who may share one."""
        links = {node: link for node in self.scene.seen.nodes if (link := self.link(node)) is not None}
        return Wires(links, links)

    @cached_property
    def believed(self) -> Wires | None:
        """The same with what was learned in place of what nobody said; None when there is a link that nobody knows."""
        learned = self.scene.memory.links
        found = dict(self.wires.out)
        for node in self.scene.seen.nodes.keys() - found.keys():
            if node in learned:
                found[node] = UNKNOWN_LINK * learned[node].bytes_s_per_stream
        if not found:
            return None
        # Nodes that have never sent or received are probably like the others.
        return Wires(found, found, sorted(found.values())[len(found) // 2])

    def link(self, node: NodeName) -> float | None:
        """Bytes per second of a node's link that moves may fill; None: nobody has said."""
        network = self.scene.cluster.spec.network
        written = self.scene.specs.node(node)
        mibps = (written.spec.link_mibps if written is not None else 0) or network.link_mibps
        return float(mibps * MIB) * network.share_percent / 100 if mibps else None

    @cached_property
    def habit(self) -> Habit:
        """How much of their memory guests of this cluster send."""
        guests, rates = self.scene.seen.guests, self.scene.memory.rates
        pairs = [
            (_used(guests[vmid]), rate.sent_share * (guests[vmid].memory_bytes or 0))
            for vmid, rate in sorted(rates.items())
            if vmid in guests and rate.sent_share is not None
        ]
        return guess.habit(pairs, self._usual_stream)

    @cached_property
    def _usual_stream(self) -> float:
        """What one stream in this cluster reaches with the network to itself."""
        links = sorted(self.wires.out.values())
        streams = sorted(self._stream(node, NOWHERE, 0) for node in self.scene.seen.nodes)
        stream = streams[len(streams) // 2] if streams else USUAL_STREAM
        return min(stream, links[len(links) // 2]) if links else stream

    def job(self, intent: Intent, target: NodeName) -> Job:
        """What the move will put on the network."""
        return self._job(intent.guest, intent.guest.node, target, intent.options.bandwidth_limit_mib_s)

    def of_move(self, move: Move) -> Job:
        """The same of a move that is there already."""
        guest = self.scene.seen.guests[move.vmid]
        return self._job(guest, move.source, move.target, move.options.bandwidth_limit_mib_s)

    @cached_property
    def running(self) -> tuple[Running, ...]:
        """Moves under way, by VMID: ours as far as their logs say, those of others as if they had just begun."""
        scene, found = self.scene, dict[Vmid, Running]()
        for vmid, flight in scene.memory.flights.items():
            if flight.sends and (one := self._flying(flight)) is not None:
                found[vmid] = one
        for vmid in scene.foreign & seen_moving(scene.seen):
            guest = scene.seen.guests[vmid]
            job = self._job(guest, guest.node, NOWHERE, 0)
            found[vmid] = guess.running(job, self.habit, age=job.setup, sent=0.0)
        return tuple(one for _, one in sorted(found.items()))

    def _flying(self, flight: Flight) -> Running | None:
        """How far one of our moves is; None when it sends nothing any more."""
        guest = self.scene.seen.guests.get(flight.vmid)
        progress = self.scene.memory.progress.get(flight.vmid)
        if guest is None or (progress is not None and progress.phase == "Finishing"):
            return None
        job = self._job(guest, flight.source, flight.target, flight.options.bandwidth_limit_mib_s)
        sent = float(progress.transferred_bytes) if progress is not None else 0.0
        return guess.running(job, self.habit, age=max(0.0, self.scene.seen.at - flight.started_at), sent=sent)

    def _job(self, guest: Guest, source: NodeName, target: NodeName, limit_mib_s: int) -> Job:
        live = guest.power.holds_memory and guest.kind is GuestKind.QEMU
        memory = float(guest.memory_bytes or 0) if live else 0.0
        disks = float(self.scene.cargo(guest.vmid).bytes_to(target)) if target and guest.node != target else 0.0
        dirty = dirty_of(self.scene.memory, guest.identity) if live else 0.0
        setup = {} if live else {"setup": RESTART_SETUP if guest.power.holds_memory else OFFLINE_SETUP}
        return Job(
            vmid=guest.vmid,
            source=source,
            target=target,
            size=(_used(guest) if live else 0.0) * self.habit.mean + disks,
            dirty=dirty or 0.0,  # what unknown guests write while they are sent is part of the habit
            working=WORKING * memory,
            cap=self._stream(source, target, limit_mib_s),
            doubt=USUAL_DIRTY if dirty is None else 0.0,
            **setup,
        )

    def _stream(self, source: NodeName, target: NodeName, limit_mib_s: int) -> float:
        """The most that one move reaches: its policy's limit, and one stream as said, learned or usual."""
        said, learned = self.scene.cluster.spec.network.stream_mibps, self.scene.memory.links
        streams = [learned[node].bytes_s_per_stream for node in (source, target) if node in learned]
        if said:
            streams = [float(said * MIB)]
        elif not streams or source in self.wires.out:
            # Beside others a stream gets its part of the link, which says nothing about what it could reach.
            streams = [max(USUAL_STREAM, *streams)] if streams else [USUAL_STREAM]
        return min([*streams, float(limit_mib_s * MIB)] if limit_mib_s else streams)


def _used(guest: Guest) -> float:
    """Bytes of its memory that the guest uses, as far as anybody knows."""
    most = float(guest.memory_bytes or 0)
    return UNSEEN * most if not guest.memory_used_bytes else min(float(guest.memory_used_bytes), most)


def by_vmid(jobs: Iterable[Job]) -> Mapping[Vmid, int]:
    """Place of each job in their order."""
    return {job.vmid: place for place, job in enumerate(jobs)}
