"""Where replicas may be kept, and which node is the best: the ledger of bytes on storages. Called by `replication.jobs`.

A replica counts with the whole size of its volumes from the moment it is planned, until its first sync shows in what PVE says of
the storage. Targets are chosen so that the bytes of all replicas spread evenly over nodes.
"""

from collections import defaultdict
from collections.abc import Mapping

from controller.decide.replicable import ZFS, Load, Rows
from controller.decide.scene import Scene
from controller.decide.selectors import node_labels
from controller.decide.words import size
from controller.model.ids import NodeName
from controller.model.observed import Guest
from controller.model.reasons import Why
from controller.specs.replicationpolicy import Targets

Objection = tuple[Why, str]
"""Why a node can't take a replica: the end of a sentence that begins with the node."""


class Sheet:
    """Bytes of replicas per node, and what storages still hold. Mutable: one planner's sheet of paper."""

    def __init__(self, scene: Scene, rows: Rows) -> None:
        self._scene = scene
        self._rows = rows
        self._labels = node_labels(scene.seen.nodes, scene.specs.nodes.values())
        self._claimed: dict[tuple[NodeName, str], int] = defaultdict(int)
        self._kept: dict[NodeName, int] = defaultdict(int)

    def keep(self, node: NodeName, load: Load, *, synced: bool) -> None:
        """A replica is (or will be) on the node; until it is synced its bytes are not in what PVE says is used."""
        self._kept[node] += load.bytes
        if not synced:
            for storage, count in load.by_storage.items():
                self._claimed[node, storage] += count

    def bytes_on(self, node: NodeName) -> int:
        """Bytes of replicas on the node."""
        return self._kept[node]

    def objection(self, node: NodeName, guest: Guest, load: Load) -> Objection | None:
        """What keeps the node from taking a replica of the guest, or None."""
        if node == guest.node:
            return Why.NO_REPLICA_TARGET, "is where it runs"
        if node not in self._scene.seen.nodes:
            return Why.UNKNOWN_NODE, "is no node of the cluster"
        if node in self._scene.shut:
            gone = not self._scene.seen.nodes[node].usable
            return Why.TARGET_OFFLINE if gone else Why.TARGET_IN_MAINTENANCE, self._scene.shut[node]
        found = (self._of_storage(node, name, count) for name, count in sorted(load.by_storage.items()))
        return next((objection for objection in found if objection is not None), None)

    def _of_storage(self, node: NodeName, name: str, count: int) -> Objection | None:
        row = self._rows.get((node, name))
        if row is None or row.type != ZFS:
            return Why.STORAGE_MISSING, f"has no ZFS storage called {name}"
        if not row.available or row.free_bytes is None:
            return Why.STORAGE_OFFLINE, f"has {name}, but it is not available"
        free = row.free_bytes - self._claimed[node, name]
        if count > free:
            return Why.NO_SPACE, f"has {size(max(0, free))} left on {name}, {size(count)} are needed"
        return None

    def wanted(self, node: NodeName, guest: Guest, targets: Targets) -> bool:
        """Whether the policy lets Drover choose the node for this guest; of a node that is no member nobody knows."""
        labels = self._labels.get(node)
        if labels is None or (targets.node_selector is not None and not targets.node_selector.matches(labels)):
            return False
        return self._apart(node, guest.node, targets)

    def selected(self, node: NodeName, targets: Targets) -> bool:
        """Whether the policy's selector means the node at all, wherever a guest is."""
        labels = self._labels.get(node)
        return labels is not None and (targets.node_selector is None or targets.node_selector.matches(labels))

    def _apart(self, node: NodeName, other: NodeName, targets: Targets) -> bool:
        """Whether both are in different domains; a node without the label is in none that anybody knows."""
        key = targets.anti_affinity_topology_key
        if key is None:
            return True
        here, there = self._labels[node].get(key), self._labels.get(other, {}).get(key)
        return here is not None and there is not None and here != there

    def not_wanted(self, node: NodeName, guest: Guest, targets: Targets) -> str:
        """Why the policy does not let the node be chosen, for people."""
        key = targets.anti_affinity_topology_key
        if key is None or not self.selected(node, targets):
            return "is not selected"
        domain = self._labels[node].get(key)
        return f"has no label {key}" if domain is None else f"is in the same {key} ({domain}) as {guest.node}"

    def best(
        self, guest: Guest, load: Load, targets: Targets, avoid: Mapping[NodeName, Objection]
    ) -> tuple[NodeName | None, dict[NodeName, Objection]]:
        """The node with the fewest bytes of replicas that can take one, and what speaks against all others when there is none.

        avoid: nodes that are out of the question for this guest, and why.
        """
        against: dict[NodeName, Objection] = {}
        fit: list[NodeName] = []
        for node in sorted(self._scene.seen.nodes.keys() - {guest.node}):
            if node in avoid:
                against[node] = avoid[node]
            elif not self.wanted(node, guest, targets):
                against[node] = Why.NO_REPLICA_TARGET, self.not_wanted(node, guest, targets)
            elif objection := self.objection(node, guest, load):
                against[node] = objection
            else:
                fit.append(node)
        if not fit:
            return None, against
        # Between equals the node that would have most left.
        return min(fit, key=lambda node: (self._kept[node], -self._left(node, load), node)), {}

    def _left(self, node: NodeName, load: Load) -> int:
        rows = ((self._rows[node, name].free_bytes or 0) - self._claimed[node, name] for name in load.by_storage)
        return min(rows)
