"""A second opinion about a plan, written apart from the planners: replay it and name each broken promise.

Called by `decide.pipeline` for every plan. Shares no arithmetic with the planners, only the meaning of a selector; a fault in
one of the two shows as a disagreement, and then nothing is done.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from controller.decide.selectors import matches
from controller.decide.verify_musts import Ground, Musts, gave_way_rightly
from controller.model.ids import NodeName, Vmid
from controller.model.memory import Memory
from controller.model.observed import Guest, HaNodeState, NodeState, Observed, Power
from controller.model.plan import Lane, Move, Plan, PowerVerb
from controller.specs import NODE_LABEL, Specs
from controller.specs.nodemaintenance import Behavior, OnDeadline
from controller.specs.pvecluster import Coexistence, MemoryBasis


def verify(plan: Plan, specs: Specs, seen: Observed, memory: Memory) -> tuple[str, ...]:
    """Every broken promise as a sentence; empty when the plan keeps all of them.

    Moves are replayed one after the other with all earlier ones still in flight, on both sides: a crash may stop us after any
    of them, and any of them may be over sooner, which only frees places. So no other interleaving is worse.
    """
    broken = [*_accounting(plan, seen), *_shutdowns(plan, specs, seen), *gave_way_rightly(plan, specs)]
    if not plan.moves:
        return tuple(broken)
    replay = _Replay(plan, specs, seen, memory)
    for number, move in enumerate(plan.moves, start=1):
        broken += [f"move {number} ({move.vmid} to {move.target}): {text}" for text in replay.step(move)]
    return tuple(broken)


def _accounting(plan: Plan, seen: Observed) -> Iterator[str]:
    words = Counter(move.vmid for move in plan.moves)
    words.update(word.vmid for word in plan.waiting)
    words.update(word.vmid for word in plan.blocked)
    words.update(plan.flying)
    words.update(plan.fine)
    for vmid, count in sorted(words.items()):
        if count > 1:
            yield f"guest {vmid} is accounted for {count} times"
        if vmid not in seen.guests:
            yield f"guest {vmid} is planned for but not there"
    for vmid in sorted(seen.guests.keys() - words.keys()):
        yield f"guest {vmid} is not accounted for"


def _shutdowns(plan: Plan, specs: Specs, seen: Observed) -> Iterator[str]:
    """Nobody is shut down unless a maintenance of its node has the word in it."""
    cluster = next(cluster for cluster in specs.clusters.values() if cluster.name == seen.cluster).spec
    for action in plan.power:
        guest = seen.guests.get(action.vmid)
        if guest is None or guest.identity != action.identity or guest.node != action.node:
            yield f"guest {action.vmid} is another one, or not on {action.node}"
        elif action.verb is PowerVerb.SHUTDOWN:
            written = specs.maintenances.get(action.cause.name)
            how = written.spec if written is not None else cluster.maintenance.template
            rules = (rule.behavior for rule in how.rules if matches(rule.guest_selector, guest))
            said = next(rules, how.default_behavior) in (Behavior.SHUTDOWN, Behavior.SHUTDOWN_AND_RESTART_ELSEWHERE)
            if not said and not (how.deadline_seconds and how.on_deadline is OnDeadline.SHUTDOWN_REMAINING):
                yield f"guest {action.vmid} would be shut down, and {action.cause} does not say so"
            if not matches(cluster.managed_guests, guest):
                yield f"guest {action.vmid} would be shut down and is not managed"


class _Replay:
    """The cluster as the plan unfolds: on which nodes each guest may be at the same time."""

    def __init__(self, plan: Plan, specs: Specs, seen: Observed, memory: Memory) -> None:
        self._specs, self._seen, self._memory = specs, seen, memory
        self._cluster = next(cluster for cluster in specs.clusters.values() if cluster.name == seen.cluster).spec
        self._labels = {name: {NODE_LABEL: str(name)} for name in seen.nodes}
        self._labels.update({n.node_name: dict(n.labels) for n in specs.nodes.values() if n.node_name in seen.nodes})
        self._foreign = {vmid for vmid in seen.guests if self._moved_by_others(vmid)}
        self._places: dict[Vmid, set[NodeName]] = defaultdict(set)
        for vmid, guest in seen.guests.items():
            self._places[vmid].add(guest.node)
            if vmid in self._foreign:
                self._places[vmid].update(seen.nodes)
        for vmid, flight in memory.flights.items():
            self._places[vmid].update(flight.nodes)
        accepting = frozenset(node for node in seen.nodes if node not in memory.spared and not any(self._refuses(node)))
        self._musts = Musts(plan, specs, seen, memory, Ground(self._labels, accepting))

    def _moved_by_others(self, vmid: Vmid) -> bool:
        guest = self._seen.guests[vmid]
        task = any(t.running and t.migrates and t.vmid == vmid for t in self._seen.tasks)
        return vmid not in self._memory.flights and (
            task
            or (guest.lock == "migrate" and vmid not in self._seen.idle_locks)
            or guest.ha_state in ("migrate", "relocate")
        )

    def step(self, move: Move) -> list[str]:
        """What the next move breaks, with all before it in flight."""
        guest = self._seen.guests.get(move.vmid)
        if guest is None:
            return ["there is no such guest"]
        broken = [*self._guest(move, guest), *self._target(move), *self._overcommits(move)]
        if not self._overrides(move):
            broken += self._musts.broken_by(move, guest, self._places)
        self._places[move.vmid].add(move.target)
        return broken

    def _guest(self, move: Move, guest: Guest) -> Iterator[str]:
        if guest.identity != move.identity or guest.node != move.source:
            yield "it is another guest, or not on the source"
        if not matches(self._cluster.managed_guests, guest):
            yield "it is not managed"
        if guest.lock:
            yield f"it is locked ({guest.lock})"
        if move.vmid in self._memory.flights or move.vmid in self._foreign:
            yield "it is being moved already"
        ignored = self._cluster.ha.coexistence is Coexistence.IGNORE
        if guest.ha_managed and move.lane is not Lane.DRAIN and not ignored:
            yield "PVE HA manages it, and this is no evacuation"
        leads = {job.target for job in self._seen.jobs if job.vmid == move.vmid}
        if leads and move.target not in leads and move.options.online and not guest.ha_managed:
            yield "it is replicated, but not to the target: PVE would refuse"
        if (guest.power is not Power.STOPPED) != (move.options.online or move.options.restart):
            yield "the options do not fit its run state"

    def _target(self, move: Move) -> Iterator[str]:
        if move.target == move.source:
            yield "source and target are the same"
        yield from self._refuses(move.target)

    def _refuses(self, name: NodeName) -> Iterator[str]:
        node = self._seen.nodes.get(name)
        if node is None or node.state is not NodeState.ONLINE:
            yield "the target is not online"
        elif node.ha not in (HaNodeState.NONE, HaNodeState.ONLINE):
            yield f"the target is in HA state {node.ha.value}"
        label = self._labels.get(name, {}).get(self._cluster.maintenance.label_key, "false")
        explicit = [
            m.ref
            for m in self._specs.maintenances.values()
            if m.spec.node_name == name and not m.is_announced(self._seen.at)
        ]
        if explicit or label.lower() not in ("", "false"):
            yield f"the target is in maintenance or cordoned ({', '.join(map(str, explicit)) or 'label'})"
        if any(n.spec.unschedulable for n in self._specs.nodes.values() if n.node_name == name):
            yield "the target is unschedulable"

    # Memory

    def _overcommits(self, move: Move) -> Iterator[str]:
        own = self._bytes(move.vmid)
        if own == 0:
            return
        node = self._seen.nodes.get(move.target)
        sizes = [self._bytes(v) for v, nodes in self._places.items() if move.target in nodes and v != move.vmid]
        known = [size for size in (*sizes, own) if size is not None]
        if node is None or node.memory_bytes is None or len(known) <= len(sizes):
            yield "a size that has to be known is not"
        elif sum(known) > self._allowance(move.target, node.memory_bytes):
            yield f"{sum(known)} bytes on the target at once, {self._allowance(move.target, node.memory_bytes)} are allowed"

    def _allowance(self, name: NodeName, memory: int) -> int:
        capacity = self._cluster.capacity
        own = [n.spec.reserve.memory_mib for n in self._specs.nodes.values() if n.node_name == name]
        in_mib = max([capacity.reserve_memory_mib, *own])
        kept = max(in_mib * 1024 * 1024, memory * capacity.reserve_memory_percent // 100)
        return max(0, int((memory - kept) * capacity.memory_overcommit_ratio))

    def _bytes(self, vmid: Vmid) -> int | None:
        guest, flight = self._seen.guests.get(vmid), self._memory.flights.get(vmid)
        size: int | None = 0
        if guest is not None and guest.power is not Power.STOPPED:
            used = guest.memory_used_bytes if self._cluster.capacity.memory_basis is MemoryBasis.USED else None
            size = used if used is not None else guest.memory_bytes
        return max(size or 0, flight.memory_bytes) if flight is not None else size

    # Musts

    def _overrides(self, move: Move) -> bool:
        """Whether the maintenance that causes it says that Musts give way."""
        if move.cause.kind != "NodeMaintenance" or move.lane is not Lane.DRAIN:
            return False
        written = self._specs.maintenances.get(move.cause.name)
        if written is not None:
            return written.spec.override_must
        return self._cluster.maintenance.template.override_must
