"""How many moves at once: per source, per target and in the whole cluster, with everything in flight counted.

Called by `decide.order`. What somebody wrote down is never exceeded; beyond that a move may start where it makes the whole
faster, which `decide.timing` tells from what the links carry.
"""

from collections import Counter
from collections.abc import Callable

from controller.decide.scene import Scene, seen_moving
from controller.decide.timing import dispatch, guess
from controller.decide.timing.admission import MOST_IN, MOST_OUT, Limits
from controller.decide.timing.load import Job
from controller.decide.traffic import UNKNOWN_LINK, Traffic
from controller.model.ids import NodeName
from controller.model.observed import NodeState
from controller.specs import PveNode


class Slots:
    """The free slots. Mutable: taken one by one."""

    def __init__(self, scene: Scene, traffic: Traffic) -> None:
        self._scene, self._traffic = scene, traffic
        self._written = {node.node_name: node for node in scene.specs.nodes.values()}
        self._out: Counter[NodeName] = Counter()
        self._in: Counter[NodeName] = Counter()
        self._all = 0
        self._picture = dispatch.ports(traffic.wires, (one for one in traffic.running if one.left))
        self.waits_for_link = False
        for flight in scene.memory.flights.values():
            if flight.sends:
                self._count(flight.source, flight.target)
        # A lock alone sends nothing: its owner may have died.
        for vmid in scene.foreign & seen_moving(scene.seen):
            self._count(scene.seen.guests[vmid].node, None)

    def take(self, job: Job) -> str | None:
        """Take a slot on both sides and in the cluster, or say what has to end first."""
        full = self._full(job.source, job.target) or self._busy(job)
        if full is None:
            self._count(job.source, job.target)
            new = guess.running(job, self._traffic.habit, age=0.0, sent=0.0)
            self._picture.add(new, job.rate(self._traffic.wires))
        return full

    def load(self, node: NodeName) -> float:
        """How much of what the node can receive is spoken for: 0 nothing, 1 all."""
        return self._picture.load(node)

    def open(self, job: Job) -> bool:
        """Whether it could start now."""
        return self._full(job.source, job.target) is None and self._picture.welcome(job)

    def next_start(self) -> float | None:
        """Seconds until a move that waits for a link should be asked for; None when nobody waits for one."""
        return self._picture.gap() if self.waits_for_link else None

    @property
    def limits(self) -> Limits:
        """The limits of all nodes."""
        nodes = self._scene.seen.nodes
        out, into = {n: self.outbound_limit(n) for n in nodes}, {n: self.inbound_limit(n) for n in nodes}
        return Limits(out, into, self.cluster_limit())

    def _busy(self, job: Job) -> str | None:
        if self._picture.welcome(job):
            return None
        self.waits_for_link = True
        leaving, arriving = self._picture.beside(job)
        if leaving:
            return f"{_moves(leaving)} leaving {job.source} will still use its link"
        return f"{_moves(arriving)} going to {job.target} will still use its link"

    def _full(self, source: NodeName, target: NodeName) -> str | None:
        cluster = self.cluster_limit()
        if cluster is not None and self._all >= cluster:
            return f"{self._all} moves are under way, the limit of the cluster is {cluster}"
        if self._out[source] >= self.outbound_limit(source):
            return f"{self._out[source]} moves leave {source}, its limit is {self.outbound_limit(source)}"
        if self._in[target] >= self.inbound_limit(target):
            return f"{self._in[target]} moves go to {target}, its limit is {self.inbound_limit(target)}"
        return None

    def cluster_limit(self) -> int | None:
        """Moves at once in the cluster: as written; else, while a link is unknown, one for each node online, at least two."""
        online = [node.name for node in self._scene.seen.nodes.values() if node.state is NodeState.ONLINE]
        if written := self._scene.cluster.spec.limits.max_migrations:
            return written
        return None if all(self._traffic.link(node) for node in online) else max(2, len(online))

    def outbound_limit(self, node: NodeName) -> int:
        """Moves at once away from the node."""
        limits = self._scene.cluster.spec.limits
        return self._limit(node, lambda spec: spec.spec.max_outbound, limits.max_outbound_per_node, MOST_OUT)

    def inbound_limit(self, node: NodeName) -> int:
        """Moves at once to the node."""
        limits = self._scene.cluster.spec.limits
        return self._limit(node, lambda spec: spec.spec.max_inbound, limits.max_inbound_per_node, MOST_IN)

    def _limit(self, node: NodeName, own: Callable[[PveNode], int], everywhere: int, most: int) -> int:
        """The node's own word, the cluster's, or what is sensible for a link that is known or not."""
        spec = self._written.get(node)
        said = (own(spec) if spec else 0) or everywhere
        return said or (most if self._traffic.link(node) else UNKNOWN_LINK)

    def _count(self, source: NodeName, target: NodeName | None) -> None:
        self._all += 1
        self._out[source] += 1
        if target is not None:
            self._in[target] += 1


def _moves(count: int) -> str:
    return "one move" if count == 1 else f"{count} moves"
