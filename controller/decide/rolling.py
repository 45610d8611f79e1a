"""Rolling maintenance: whose turn it is, how far each node is, and the specs in which only those nodes are in maintenance. Pure.

Called by `loop.tick` before it plans and by `app` for one-shots. A node's turn: drained, serviced by the hook or by people, seen
healthy for a while, its guests back; then the next one. The first failure stops what has not begun.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from controller.decide import ha_maintenance
from controller.decide.selectors import node_labels
from controller.model.ids import NodeName
from controller.model.memory import Memory, Origin
from controller.model.observed import HaNodeState, Node, NodeState, Observed
from controller.model.override import Order
from controller.model.plan import Lane, Plan
from controller.model.turn import HookAction, HookCall, HookRun, Turn, TurnPhase
from controller.specs import NODE_LABEL, NodeMaintenance, PveCluster, Specs
from controller.specs.common import LabelRequirement, LabelSelector, Operator
from controller.specs.nodemaintenance import AfterMaintenance

HEALTHY_SECONDS = 30.0
"""How long a node has to be seen healthy before guests come back to it."""
BACK_SECONDS = 3600.0
"""How long a node may take from the end of its service until it is healthy: memory tests of large machines take half an hour."""
RETURN_SECONDS = 3600.0
"""How long the way home of a node's guests may take before the roll stops for it."""
_BOOT_SLACK = 60.0
"""By how much the start of a node, as computed from its uptime, may differ without a reboot: rows are up to 10 s old."""


def selected(maintenance: NodeMaintenance, specs: Specs, seen: Observed) -> tuple[NodeName, ...]:
    """The nodes of the cluster that its selector means, by name."""
    selector = maintenance.spec.node_selector
    if selector is None:
        return ()
    labels = node_labels(seen.nodes, specs.nodes.values())
    return tuple(sorted(name for name in seen.nodes if selector.matches(labels[name])))


def advance(specs: Specs, seen: Observed, memory: Memory, plan: Plan | None) -> tuple[Turn, ...]:
    """All turns as they stand with this look; those of maintenances that are gone are left out.

    specs: of this one cluster, with what was ordered by hand laid over them. plan: the one before, None after a start.
    """
    found: list[Turn] = []
    for _, maintenance in sorted(specs.maintenances.items()):
        if maintenance.rolls and not maintenance.is_announced(seen.at):
            found += _Roll(specs, maintenance, seen, memory, plan).turns()
    return tuple(found)


def applied(specs: Specs, turns: Iterable[Turn]) -> Specs:
    """`specs` in which every rolling maintenance selects just the nodes that have to be empty now."""
    empty = [turn for turn in turns if turn.in_maintenance]
    if not any(maintenance.rolls for maintenance in specs.maintenances.values()):
        return specs
    return Specs.of(
        [
            _narrowed(resource, sorted(t.node for t in empty if t.maintenance == resource.ref))
            if isinstance(resource, NodeMaintenance) and resource.rolls
            else resource
            for resource in specs
        ]
    )


def in_turn(specs: Specs, seen: Observed, memory: Memory) -> Specs:
    """What `advance` and `applied` make of `specs`, for one-shots."""
    return applied(specs, advance(specs, seen, memory, None))


def hooks(specs: Specs, plan: Plan, memory: Memory) -> tuple[HookCall, ...]:
    """Hooks that have to run for nodes that are drained at this moment."""
    hook = specs.clusters[plan.cluster].spec.maintenance.drained_hook
    drained = {(drain.ref, drain.node) for drain in plan.drains if drain.drained}
    if hook is None:
        return ()
    calls = []
    for turn in memory.turns.values():
        maintenance = specs.maintenances.get(turn.maintenance.name)
        if maintenance is None or maintenance.spec.suspend or turn.failure:
            continue
        empty = turn.phase is TurnPhase.DRAINED and (turn.maintenance, turn.node) in drained
        if empty or turn.phase is TurnPhase.SERVICING:
            calls.append(HookCall(hook, HookAction.DRAINED, turn.maintenance, turn.node, turn.drained_at))
    return tuple(calls)


def remembers(memory: Memory, key: str) -> bool:
    """Whether a turn still depends on how the hook with this `HookCall.key` ended."""
    return any(HookCall("", HookAction.DRAINED, t.maintenance, t.node, 0.0).key == key for t in memory.turns.values())


def _asked(maintenance: NodeMaintenance) -> str:
    """A digest of what is asked for: who only suspends it, and lets it go on, asks for nothing new."""
    return hashlib.sha256(maintenance.spec.model_dump_json(exclude={"suspend"}).encode()).hexdigest()[:16]


def _narrowed(maintenance: NodeMaintenance, nodes: list[NodeName]) -> NodeMaintenance:
    # Built past the checks of manifests: nobody would write a selector that means no node.
    requirement = LabelRequirement.model_construct(key=NODE_LABEL, operator=Operator.IN, values=tuple(nodes))
    selector = LabelSelector.model_construct(match_labels={}, match_expressions=(requirement,))
    return maintenance.model_copy(
        update={"spec": maintenance.spec.model_copy(update={"node_selector": selector, "max_unavailable": None})}
    )


@dataclass(frozen=True, slots=True)
class _Roll:
    """One rolling maintenance at one look."""

    specs: Specs
    maintenance: NodeMaintenance
    seen: Observed
    memory: Memory
    plan: Plan | None

    def turns(self) -> Iterator[Turn]:
        """Those that are under way moved on, then as many begun as may be."""
        nodes = selected(self.maintenance, self.specs, self.seen)
        turns = {turn.node: self._step(turn) for turn in self._known(nodes)}
        active = [t for t in turns.values() if t.phase not in (TurnPhase.PENDING, TurnPhase.DONE)]
        free = self._limit(len(nodes)) - len(active)
        stopped = self.maintenance.spec.suspend or any(t.failure for t in active) or self._late(active)
        for name, turn in turns.items():
            if turn.phase is TurnPhase.PENDING and free > 0 and not stopped and self.seen.nodes[name].usable:
                turn, free = self._to(turn, TurnPhase.DRAINING), free - 1  # noqa: PLW2901 - the one that is told
            yield turn

    def _known(self, nodes: tuple[NodeName, ...]) -> Iterator[Turn]:
        """What is remembered of the nodes that are meant; what is asked anew takes it over unless all was done."""
        generation, asked = self.maintenance.metadata.generation, _asked(self.maintenance)
        known = {t.node: t for t in self.memory.turns.values() if t.maintenance == self.maintenance.ref}
        finished = all(name in known and known[name].phase is TurnPhase.DONE for name in nodes)
        freed = [
            n for n in known if n in self.seen.nodes and self._freed(n) and known[n].phase is not TurnPhase.PENDING
        ]
        for name in sorted({*nodes, *freed}):
            turn = known.get(name)
            if turn is None:
                yield Turn(self.maintenance.ref, generation, name, asked=asked)
                continue
            anew = turn.generation != generation and turn.asked != asked
            known_now = replace(turn, generation=generation, asked=asked)
            if anew and finished:
                yield Turn(self.maintenance.ref, generation, name, asked=asked)
            else:
                yield self._anew(known_now) if anew else known_now

    def _anew(self, turn: Turn) -> Turn:
        """A node at which the roll had stopped is drained and serviced once more."""
        if not turn.failure or turn.phase is TurnPhase.RETURNING:
            return turn
        return self._to(replace(turn, failure=""), TurnPhase.DRAINING)

    def _step(self, turn: Turn) -> Turn:
        if self._freed(turn.node) and turn.in_maintenance:
            return self._to(replace(turn, failure=""), TurnPhase.RETURNING)
        if turn.failure and turn.phase is not TurnPhase.RETURNING:
            return turn
        steps: Mapping[TurnPhase, Callable[[Turn, Node], Turn]] = {
            TurnPhase.DRAINING: self._emptied,
            TurnPhase.DRAINED: self._begun,
            TurnPhase.SERVICING: self._serviced,
            TurnPhase.WAITING_FOR_NODE: self._healthy,
            TurnPhase.RETURNING: self._returned,
        }
        step = steps.get(turn.phase)
        return turn if step is None else step(turn, self.seen.nodes[turn.node])

    def _emptied(self, turn: Turn, node: Node) -> Turn:
        if not self._drained(turn.node):
            return turn
        at = self.seen.at
        return self._to(replace(turn, drained_at=at, booted_at=_booted(node, at)), TurnPhase.DRAINED)

    def _begun(self, turn: Turn, node: Node) -> Turn:
        """Without a hook a reboot is what shows that people have serviced the node."""
        if self._run(turn) is not None:
            return self._to(turn, TurnPhase.SERVICING)
        rebooted = _booted(node, self.seen.at) > turn.booted_at + _BOOT_SLACK
        return self._to(turn, TurnPhase.WAITING_FOR_NODE) if self._hook is None and rebooted else turn

    def _serviced(self, turn: Turn, _: Node) -> Turn:
        run = self._run(turn)
        if run is None:
            return self._to(turn, TurnPhase.DRAINED)
        if not run.over:
            return turn
        if run.succeeded:
            return self._to(turn, TurnPhase.WAITING_FOR_NODE)
        code = f"ended with exit code {run.exit_code}" if run.exit_code is not None else "failed"
        said = "; ".join(run.output.splitlines()[-3:])
        return replace(turn, failure=f"hook {run.call.hook} {code}" + (f": {said}" if said else ""))

    def _healthy(self, turn: Turn, node: Node) -> Turn:
        at = self.seen.at
        if (node.usable or self._kept_by_us(node)) and self.seen.quorate:
            since = turn.healthy_since
            if not since or _booted(node, at) > since:
                return replace(turn, healthy_since=at)
            return self._to(turn, TurnPhase.RETURNING) if at >= since + HEALTHY_SECONDS else turn
        if at >= turn.since + BACK_SECONDS:
            text = f"{turn.node} is not back {BACK_SECONDS / 60:.0f} min after it was serviced"
            return replace(turn, healthy_since=0.0, failure=text)
        return replace(turn, healthy_since=0.0)

    def _returned(self, turn: Turn, _: Node) -> Turn:
        """Whether everybody is home; a way home that was blocked and no longer is lets the roll go on by itself."""
        node = turn.node
        homeward = {v for v, origin in self.memory.origins.items() if origin.node == node and self._goes_home(origin)}
        homeward |= {vmid for vmid, halted in self.memory.halted.items() if halted.node == node}
        flights = self.memory.flights
        on_the_way = {v for v, f in flights.items() if f.lane is Lane.RETURN and f.target == node}
        if not homeward and not on_the_way:
            return self._to(replace(turn, failure=""), TurnPhase.DONE)
        stuck = {word.vmid: word.message for word in self.plan.blocked} if self.plan is not None else {}
        left = sorted(homeward - flights.keys())
        if left and not on_the_way and all(vmid in stuck for vmid in left):
            return replace(turn, failure=f"guests of {node} can't come home: {stuck[left[0]]}")
        if left and not on_the_way and self.seen.at >= turn.since + RETURN_SECONDS:
            text = f"{len(left)} guests of {node} are not home {RETURN_SECONDS / 60:.0f} min after its service"
            return replace(turn, failure=text)
        return replace(turn, failure="")

    def _goes_home(self, origin: Origin) -> bool:
        """Whether a guest comes back for sure: nobody waits for one that balance may move when the whole roll is over."""
        levelled = self.maintenance.spec.after_maintenance is AfterMaintenance.REBALANCE
        return not origin.rebalances and not (levelled and origin.maintenance == self.maintenance.ref)

    def _kept_by_us(self, node: Node) -> bool:
        """Whether only the HA maintenance that Drover has switched on, and will switch off, keeps guests away."""
        ours = ha_maintenance.switched_on(self.memory, node.name) is not None
        return ours and node.state is NodeState.ONLINE and node.ha is HaNodeState.MAINTENANCE

    def _to(self, turn: Turn, phase: TurnPhase) -> Turn:
        return replace(turn, phase=phase, since=self.seen.at, healthy_since=0.0)

    @property
    def _cluster(self) -> PveCluster:
        return self.specs.clusters[self.seen.cluster]

    @property
    def _hook(self) -> str | None:
        return self._cluster.spec.maintenance.drained_hook

    def _run(self, turn: Turn) -> HookRun | None:
        ref = turn.maintenance
        runs: Mapping[str, HookRun] = self.memory.hooks
        run = runs.get(HookCall("", HookAction.DRAINED, ref, turn.node, turn.drained_at).key)
        return run if run is not None and run.call.occasion == turn.drained_at else None

    def _freed(self, node: NodeName) -> bool:
        order = self.memory.overrides.get(node)
        return order is not None and order.order is Order.IN_SERVICE

    def _drained(self, node: NodeName) -> bool:
        drains = self.plan.drains if self.plan is not None else ()
        return any(d.drained and d.node == node and d.ref == self.maintenance.ref for d in drains)

    def _late(self, active: Iterable[Turn]) -> bool:
        late = {drain.node for drain in self.plan.drains if drain.overdue} if self.plan is not None else set()
        return any(turn.node in late for turn in active)

    def _limit(self, nodes: int) -> int:
        """How many nodes may be out of service for it at once."""
        wanted = self.maintenance.spec.max_unavailable
        if isinstance(wanted, str):
            return max(1, nodes * int(wanted.rstrip("%")) // 100)
        return 1 if wanted is None else wanted


def _booted(node: Node, at: float) -> float:
    """When the node was started, by our clock; 0 when nobody knows at this moment."""
    up = node.uptime_seconds
    return 0.0 if up is None or node.state is not NodeState.ONLINE else at - up
