"""One word about each node, from three voices that disagree now and then."""

import pytest

from controller.model.ids import NodeName
from controller.model.observed import HaNodeState, Node, NodeState
from controller.observe.nodes import merged_nodes
from controller.pve.decode import ClusterStatus, HaStatus

A = NodeName("a")
ON, OFF, UNK = NodeState.ONLINE, NodeState.OFFLINE, NodeState.UNKNOWN
NONE, MAINT = HaNodeState.NONE, HaNodeState.MAINTENANCE


def merged(online: bool | None, row: Node | None, ha: HaStatus | None = None) -> Node:
    members = {} if online is None else {A: online}
    return merged_nodes(ClusterStatus("c", True, members, A), [row] if row else [], ha, {A: (9, 2)})[A]


@pytest.mark.parametrize(
    ("member", "row", "state"),
    [
        (True, ON, ON), (True, OFF, UNK), (True, UNK, UNK), (True, None, UNK),
        (False, ON, OFF), (False, OFF, OFF), (False, None, OFF),
        (None, ON, UNK), (None, OFF, UNK),
    ],
)  # fmt: skip
def test_online_means_that_everybody_says_so(member: bool | None, row: NodeState | None, state: NodeState) -> None:
    assert merged(member, Node(A, row) if row else None).state is state


@pytest.mark.parametrize(
    ("row", "manager", "maintenance", "services", "word"),
    [
        (HaNodeState.ONLINE, HaNodeState.ONLINE, False, 1, HaNodeState.ONLINE),
        (HaNodeState.ONLINE, HaNodeState.ONLINE, True, 1, MAINT),  # requested, not yet in effect
        (NONE, HaNodeState.FENCE, False, 1, HaNodeState.FENCE),  # rows have no hastate before 8.3
        (HaNodeState.UNKNOWN, HaNodeState.UNKNOWN, False, 1, HaNodeState.UNKNOWN),
        (
            HaNodeState.UNKNOWN,
            HaNodeState.UNKNOWN,
            False,
            0,
            NONE,
        ),  # an idle manager has not noticed that the node is back
        (HaNodeState.FENCE, HaNodeState.FENCE, False, 0, HaNodeState.FENCE),
        (NONE, NONE, False, 0, NONE),
        (NONE, NONE, True, 0, MAINT),
    ],
)
def test_the_word_of_pve_ha(
    row: HaNodeState, manager: HaNodeState, maintenance: bool, services: int, word: HaNodeState
) -> None:
    states = {} if manager is NONE else {A: manager}
    ha = HaStatus(states, frozenset({A}) if maintenance else frozenset(), services)
    assert merged(True, Node(A, ON, row), ha).ha is word


def test_without_the_manager_the_row_speaks_alone() -> None:
    assert merged(True, Node(A, ON, MAINT)).ha is MAINT
    assert merged(True, Node(A, ON)).ha is NONE


def test_numbers_come_from_the_row_and_the_version_from_the_node() -> None:
    node = merged(True, Node(A, ON, memory_bytes=5, cpus=2))
    assert (node.memory_bytes, node.cpus, node.version) == (5, 2, (9, 2))
