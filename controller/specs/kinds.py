"""The six kinds by name.

Used wherever a kind is looked up by its word: reading, generating, the collection, the command line.
"""

from collections.abc import Mapping
from typing import TypeAlias

from controller.specs.migrationpolicy import MigrationPolicy
from controller.specs.nodemaintenance import NodeMaintenance
from controller.specs.placementpolicy import PlacementPolicy
from controller.specs.pvecluster import PveCluster
from controller.specs.pvenode import PveNode
from controller.specs.replicationpolicy import ReplicationPolicy

Resource: TypeAlias = PveCluster | PveNode | NodeMaintenance | PlacementPolicy | MigrationPolicy | ReplicationPolicy

KINDS: Mapping[str, type[Resource]] = {
    kind.__name__: kind
    for kind in (PveCluster, PveNode, NodeMaintenance, PlacementPolicy, MigrationPolicy, ReplicationPolicy)
}
