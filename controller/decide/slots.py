"""How many moves at once: per source, per target and in the whole cluster, with everything in flight counted.

Called by `decide.order`.
"""

from collections import Counter
from collections.abc import Callable

from controller.decide.scene import Scene, seen_moving
from controller.model.ids import NodeName
from controller.model.memory import FlightPhase
from controller.model.observed import NodeState
from controller.specs import PveNode

UNKNOWN_LINK = 2
"""Moves at once from or to a node while nobody has said what its link carries: PVE's own tools use 1 to 4."""


class Slots:
    """The free slots. Mutable: taken one by one."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._written = {node.node_name: node for node in scene.specs.nodes.values()}
        self._out: Counter[NodeName] = Counter()
        self._in: Counter[NodeName] = Counter()
        self._all = 0
        for flight in scene.memory.flights.values():
            # A task that has ended sends nothing any more; only its guest is still being watched.
            if flight.phase is not FlightPhase.VERIFYING:
                self._count(flight.source, flight.target)
        # A lock alone sends nothing: its owner may have died.
        for vmid in scene.foreign & seen_moving(scene.seen):
            self._count(scene.seen.guests[vmid].node, None)

    def take(self, source: NodeName, target: NodeName) -> str | None:
        """Take a slot on both sides and in the cluster, or say which limit is reached."""
        full = self._full(source, target)
        if full is None:
            self._count(source, target)
        return full

    def _full(self, source: NodeName, target: NodeName) -> str | None:
        if self._all >= self.cluster_limit():
            return f"{self._all} moves are under way, the limit of the cluster is {self.cluster_limit()}"
        if self._out[source] >= self.outbound_limit(source):
            return f"{self._out[source]} moves leave {source}, its limit is {self.outbound_limit(source)}"
        if self._in[target] >= self.inbound_limit(target):
            return f"{self._in[target]} moves go to {target}, its limit is {self.inbound_limit(target)}"
        return None

    def cluster_limit(self) -> int:
        """Moves at once in the cluster: as written, or one for each node that is online, at least two."""
        online = sum(node.state is NodeState.ONLINE for node in self._scene.seen.nodes.values())
        return self._scene.cluster.spec.limits.max_migrations or max(2, online)

    def outbound_limit(self, node: NodeName) -> int:
        """Moves at once away from the node."""
        limits = self._scene.cluster.spec.limits
        return self._limit(node, lambda spec: spec.spec.max_outbound, limits.max_outbound_per_node)

    def inbound_limit(self, node: NodeName) -> int:
        """Moves at once to the node."""
        limits = self._scene.cluster.spec.limits
        return self._limit(node, lambda spec: spec.spec.max_inbound, limits.max_inbound_per_node)

    def _limit(self, node: NodeName, own: Callable[[PveNode], int], everywhere: int) -> int:
        """The node's own word, the cluster's, or the streams that fill our share of the link and one to hide the next start."""
        spec = self._written.get(node)
        if said := (own(spec) if spec else 0) or everywhere:
            return said
        network = self._scene.cluster.spec.network
        link = ((spec.spec.link_mibps if spec else 0) or network.link_mibps) * network.share_percent // 100
        return link // network.stream_mibps + 1 if link and network.stream_mibps else UNKNOWN_LINK

    def _count(self, source: NodeName, target: NodeName | None) -> None:
        self._all += 1
        self._out[source] += 1
        if target is not None:
            self._in[target] += 1
