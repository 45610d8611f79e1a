"""All objects of a revision, by kind and name.

Made by `sources`; `loop` hands each cluster its own part, `decide` reads it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from controller.specs.kinds import Resource
from controller.specs.migrationpolicy import MigrationPolicy
from controller.specs.nodemaintenance import NodeMaintenance
from controller.specs.placementpolicy import PlacementPolicy
from controller.specs.pvecluster import PveCluster
from controller.specs.pvenode import PveNode
from controller.specs.replicationpolicy import ReplicationPolicy

_R = TypeVar("_R", bound=Resource)


def _none() -> Mapping[str, _R]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Specs:
    """What is wanted: objects by metadata.name, sorted by it."""

    clusters: Mapping[str, PveCluster] = field(default_factory=_none)
    nodes: Mapping[str, PveNode] = field(default_factory=_none)
    maintenances: Mapping[str, NodeMaintenance] = field(default_factory=_none)
    placements: Mapping[str, PlacementPolicy] = field(default_factory=_none)
    migrations: Mapping[str, MigrationPolicy] = field(default_factory=_none)
    replications: Mapping[str, ReplicationPolicy] = field(default_factory=_none)

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> "Specs":
        """Collect objects; (kind, name) has to be unique."""
        ordered = sorted(resources, key=lambda resource: resource.ref)
        if len({resource.ref for resource in ordered}) < len(ordered):
            raise ValueError("two objects have the same kind and name")

        def pick(kind: type[_R]) -> Mapping[str, _R]:
            return MappingProxyType({r.metadata.name: r for r in ordered if isinstance(r, kind)})

        return cls(
            pick(PveCluster),
            pick(PveNode),
            pick(NodeMaintenance),
            pick(PlacementPolicy),
            pick(MigrationPolicy),
            pick(ReplicationPolicy),
        )

    def __iter__(self) -> Iterator[Resource]:
        yield from self.clusters.values()
        yield from self.nodes.values()
        yield from self.maintenances.values()
        yield from self.placements.values()
        yield from self.migrations.values()
        yield from self.replications.values()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def get(self, kind: str, name: str) -> Resource | None:
        """Look one object up."""
        return next((resource for resource in self if resource.kind == kind and resource.metadata.name == name), None)

    def for_cluster(self, name: str) -> "Specs":
        """Return what belongs to one cluster, its PveCluster included."""
        return Specs.of(resource for resource in self if resource.cluster == name)

    def node(self, node_name: str) -> PveNode | None:
        """Return the PveNode for PVE's name of a node; meant for the specs of one cluster."""
        return next((node for node in self.nodes.values() if node.node_name == node_name), None)
