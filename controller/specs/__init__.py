"""What people write: the six kinds, read strictly, complained about helpfully; the only source of CRDs and JSON Schemas.

Used by `sources` (reading), `decide`, `act` and `report` (the objects), `cli` (schemas). No I/O here.
"""

from controller.specs.collection import Specs
from controller.specs.common import (
    API_VERSION,
    GROUP,
    MAINTENANCE_LABEL,
    NODE_LABEL,
    GuestSelector,
    LabelSelector,
    Meta,
    Origin,
)
from controller.specs.kinds import KINDS, Resource
from controller.specs.migrationpolicy import MigrationPolicy
from controller.specs.nodemaintenance import NodeMaintenance
from controller.specs.placementpolicy import PlacementPolicy
from controller.specs.problem import InvalidError, Problem
from controller.specs.pvecluster import Mode, PveCluster
from controller.specs.pvenode import PveNode
from controller.specs.reading import identify, parse
from controller.specs.replicationpolicy import ReplicationPolicy

__all__ = [
    "API_VERSION",
    "GROUP",
    "KINDS",
    "MAINTENANCE_LABEL",
    "NODE_LABEL",
    "GuestSelector",
    "InvalidError",
    "LabelSelector",
    "Meta",
    "MigrationPolicy",
    "Mode",
    "NodeMaintenance",
    "Origin",
    "PlacementPolicy",
    "Problem",
    "PveCluster",
    "PveNode",
    "ReplicationPolicy",
    "Resource",
    "Specs",
    "identify",
    "parse",
]
