"""What moves put on the network: specs, what is seen and what was learned, in the terms of `decide.timing`. Called by `order`.

A link is what a PveNode or the PveCluster says. Where nobody says it, what moves have achieved tells how long things take,
and two at once from or to a node is all that is risked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from controller.decide.capacity import MIB
from controller.decide.estimate import dirty_of
from controller.decide.placement import Intent
from controller.decide.replicable import Load
from controller.decide.scene import Scene, seen_moving
from controller.decide.staging import SMALL_SECONDS
from controller.decide.timing import guess
from controller.decide.timing.forecast import MINUTE
from controller.decide.timing.guess import UNSEEN, Habit
from controller.decide.timing.load import SETUP, TAIL, Job, Running, Sync, Wires
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
OFFLINE_SETUP, RESTART_SETUP = 1.5, 6.0
"""Seconds before a stopped guest's disks are copied, and until a container has been shut down."""
OFFLINE_TAIL, RESTART_TAIL = 2.0, 3.5
"""Seconds afterwards: the configuration is handed over, what is left on the source freed, a container started again."""
FOLLOWING = 8.0
"""Seconds that a move of a guest with a replica takes longer: it begins with a run of its job (qemu-server: PVE/QemuMigrate.pm)."""
FILLED, FILLED_WEIGHT = 0.5, 3
"""Part of a volume that is written at all, while nobody has seen one being copied, and for how many copies that counts."""
LEAST_LEFT = 0.05
"""Part of a first copy that is still to come, at least, when it runs longer than was expected."""
CREEPS, CREEPS_AFTER = 0.5, 10.0
"""A move that has copied for so many seconds at less than this part of its share is held up by something: no log says by what."""
FINISHING = "Finishing"
"""`Progress.phase` of a move that has sent everything."""
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
        """What links carry in all, learned where nobody said it; None when there is a link that nobody knows."""
        network = self.scene.cluster.spec.network
        return self._learned({node: link * 100 / network.share_percent for node, link in self.wires.out.items()})

    @cached_property
    def admits(self) -> Wires | None:
        """The same, but of what somebody said only the part that moves together should fill."""
        return self._learned(dict(self.wires.out))

    def _learned(self, found: dict[NodeName, float]) -> Wires | None:
        learned = self.scene.memory.links
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
    def filled(self) -> float:
        """Part of a volume that is sent when it is copied: as first runs of replication jobs have shown, and a prior for three."""
        shares = []
        for state in self.scene.seen.states.values():
            load = self.scene.replicable(state.vmid)
            if (
                isinstance(load, Load)
                and load.bytes
                and state.sent_bytes
                and state.sent_bytes > LEAST_LEFT * load.bytes
            ):
                shares.append(min(1.0, state.sent_bytes / load.bytes))
        return (sum(shares) + FILLED_WEIGHT * FILLED) / (len(shares) + FILLED_WEIGHT)

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

    def awaited(self, intent: Intent, target: NodeName) -> Job:
        """The same, with the copy of its disks that has to be on the target before it is asked for."""
        job, scene, vmid = self.job(intent, target), self.scene, intent.guest.vmid
        load = scene.replicable(vmid)
        if not isinstance(load, Load):
            return job
        made = next((each for each in scene.jobs.get(vmid, ()) if each.target == target), None)
        state = scene.seen.states.get(made.id) if made is not None else None
        copied = (
            job.size
            if target in scene.cargo(vmid).replicas
            else job.size - self.filled * scene.cargo(vmid).bytes_to(target)
        )
        job = replace(job, size=max(0.0, copied), setup=job.setup + FOLLOWING)
        if state is not None and state.last_sync:
            return job
        clock, size = scene.seen.clocks.get(job.source), self.filled * load.bytes
        there = scene.seen.at + (clock.ahead_seconds if clock is not None else 0.0)
        rate = job.rate(self.believed or self.wires)
        began = state is not None and state.running
        if state is not None and began and state.last_try:
            told = scene.seen.syncs.get(state.job_id)
            if told is not None and told.total_bytes:
                size = max(0.0, float(told.total_bytes - told.transferred_bytes))
            else:
                size = max(LEAST_LEFT * size, size - rate * max(0.0, there - state.last_try))
        # How much of a volume is written is a guess, so whether its copy takes so long is one, too.
        again = min(1.0, max(0.0, load.bytes * self.filled / rate / SMALL_SECONDS - 0.5))
        return replace(job, sync=Sync(size, MINUTE - there % MINUTE, began, again))

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
        """How far one of our moves is; None when its guest is gone. One that tidies up holds its slot, and sends nothing."""
        guest = self.scene.seen.guests.get(flight.vmid)
        progress = self.scene.memory.progress.get(flight.vmid)
        if guest is None:
            return None
        job = self._job(guest, flight.source, flight.target, flight.options.bandwidth_limit_mib_s)
        if progress is not None and progress.phase == FINISHING:
            return Running(job, 0.0, 0.0, 0.0, 0.0)
        sent = float(progress.transferred_bytes) if progress is not None else 0.0
        age = max(0.0, self.scene.seen.at - flight.started_at)
        if progress is not None and progress.rate_bytes_s and age - job.setup > CREEPS_AFTER:
            # Pages of zeros cost nothing: only what is slow now and was so all the time is believed to stay so.
            rate = max(progress.rate_bytes_s, sent / (age - job.setup))
            if rate < CREEPS * self._share(flight, job):
                job = replace(job, cap=rate)
        return guess.running(job, self.habit, age=age, sent=sent)

    def _share(self, flight: Flight, job: Job) -> float:
        """Bytes per second that the move gets at least while links are divided fairly."""
        wires, sending = self.believed or self.wires, [one for one in self.scene.memory.flights.values() if one.sends]
        leaving = sum(one.source == flight.source for one in sending)
        arriving = sum(one.target == flight.target for one in sending)
        return min(job.cap, wires.leaving(flight.source) / leaving, wires.arriving(flight.target) / arriving)

    def _job(self, guest: Guest, source: NodeName, target: NodeName, limit_mib_s: int) -> Job:
        live = guest.power.holds_memory and guest.kind is GuestKind.QEMU
        memory = float(guest.memory_bytes or 0) if live else 0.0
        disks = float(self.scene.cargo(guest.vmid).bytes_to(target)) if target and guest.node != target else 0.0
        disks *= self.filled
        dirty = dirty_of(self.scene.memory, guest.identity) if live else 0.0
        restarted, offline = (RESTART_SETUP, RESTART_TAIL), (OFFLINE_SETUP, OFFLINE_TAIL)
        setup, tail = (SETUP, TAIL) if live else restarted if guest.power.holds_memory else offline
        return Job(
            vmid=guest.vmid,
            source=source,
            target=target,
            size=(_used(guest) if live else 0.0) * self.habit.mean + disks,
            dirty=dirty or 0.0,  # what unknown guests write while they are sent is part of the habit
            working=WORKING * memory,
            cap=self._stream(source, target, limit_mib_s),
            doubt=USUAL_DIRTY if dirty is None else 0.0,
            setup=setup,
            tail=tail,
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
