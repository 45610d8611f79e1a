"""One word about each node, from what membership, statistics and PVE HA say of it.

Used by `observe.cluster`. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from controller.model.ids import NodeName
from controller.model.observed import HaNodeState, Node, NodeState
from controller.pve.decode import ClusterStatus, HaStatus


def merged_nodes(
    status: ClusterStatus, rows: Iterable[Node], ha: HaStatus | None, versions: Mapping[NodeName, tuple[int, ...]]
) -> Mapping[NodeName, Node]:
    """Every member, by name. Online means that both membership and the node's own statistics say so.

    A node known only from rows was removed from the cluster or is just joining: its state is UNKNOWN.
    """
    by_name = {row.name: row for row in rows}
    return MappingProxyType(
        {
            name: replace(
                by_name.get(name, Node(name, NodeState.UNKNOWN)),
                state=_state(status.online.get(name), by_name.get(name)),
                ha=_ha_state(name, by_name.get(name), ha),
                version=versions.get(name, ()),
            )
            for name in sorted({*status.online, *by_name})
        }
    )


def _state(online: bool | None, row: Node | None) -> NodeState:
    if online is False:
        return NodeState.OFFLINE
    return NodeState.ONLINE if online and row is not None and row.state is NodeState.ONLINE else NodeState.UNKNOWN


def _ha_state(name: NodeName, row: Node | None, ha: HaStatus | None) -> HaNodeState:
    """HA's word: from the row, before 8.3 from the manager. Without HA guests the manager idles and `unknown` means nothing."""
    word = row.ha if row is not None else HaNodeState.NONE
    if ha is None:
        return word
    if name in ha.maintenance:
        return HaNodeState.MAINTENANCE
    word = ha.nodes.get(name, HaNodeState.NONE) if word is HaNodeState.NONE else word
    return HaNodeState.NONE if word is HaNodeState.UNKNOWN and not ha.services else word


def with_numbers(node: Node, told: Node) -> Node:
    """`node` with the numbers that it told itself just now."""
    return replace(
        node,
        memory_bytes=told.memory_bytes,
        memory_used_bytes=told.memory_used_bytes,
        cpus=told.cpus,
        cpu_fraction=told.cpu_fraction,
        uptime_seconds=told.uptime_seconds,
        version=told.version,
        cpu=told.cpu,
    )
