"""PveNode: labels and limits of a node; the carrier of the maintenance label.

Read by `decide`; the label is what `drover.dev/maintenance: "true"` in a folder means.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from controller.model.ids import ClusterName, NodeName
from controller.specs.base import Count, MiB, MiBps, Model, PveNodeName, Raw, Rule
from controller.specs.common import MAINTENANCE_LABEL, NODE_LABEL, Column, CommonSpec, Kind
from controller.specs.nodemaintenance import MaintenanceMode


class Reserve(Model):
    """What of a node is kept from guests."""

    memory_mib: MiB = 0
    """MiB of memory, if that is more than the cluster's reserve."""
    cpus: Count = 0
    """Threads."""


class PveNodeSpec(CommonSpec):
    """Spec of a PveNode."""

    node_name: PveNodeName | None = None
    """PVE's name of the node; by default metadata.name. PVE allows upper case, and two clusters may both have a `pve1`."""
    unschedulable: bool = False
    """Accept no guests; those that are there stay."""
    reserve: Reserve = Field(default_factory=Reserve)
    """What is kept from guests."""
    link_mibps: MiBps = 0
    """MiB/s of its migration link; 0: as the PveCluster says."""
    max_inbound: Count = 0
    """Moves at once to it; 0: as the PveCluster says."""
    max_outbound: Count = 0
    """Moves at once away from it; 0: as the PveCluster says."""


MAINTENANCE_WORDS: Mapping[str, MaintenanceMode | None] = {
    "true": MaintenanceMode.EVACUATE,
    "evacuate": MaintenanceMode.EVACUATE,
    "cordon": MaintenanceMode.CORDON,
    "false": None,
}
"""What the values of the maintenance label mean."""


def _maintenance_word_is_known(raw: Raw) -> bool:
    metadata = raw.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    word = labels.get(MAINTENANCE_LABEL) if isinstance(labels, dict) else None
    return not isinstance(word, str) or word in MAINTENANCE_WORDS


class PveNode(Kind):
    """A node of a Proxmox VE cluster: its labels and limits. The label `drover.dev/maintenance` puts it in maintenance."""

    kind: Literal["PveNode"] = "PveNode"
    spec: PveNodeSpec = Field(default_factory=PveNodeSpec)

    plural: ClassVar[str] = "pvenodes"
    short_names: ClassVar[tuple[str, ...]] = ("pven",)
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Cluster", type="string", path=".spec.clusterRef.name"),
        Column(name="Ready", type="string", path='.status.conditions[?(@.type=="Ready")].status'),
        Column(name="Schedulable", type="string", path='.status.conditions[?(@.type=="Schedulable")].status'),
        Column(name="Drained", type="string", path='.status.conditions[?(@.type=="Drained")].status'),
        Column(name="Age", type="date", path=".metadata.creationTimestamp"),
    )

    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            _maintenance_word_is_known,
            "",  # CEL sees no labels
            "does not say what to do with the node",
            '"true", "evacuate", "cordon" or "false", in quotes',
            ("metadata", "labels", MAINTENANCE_LABEL),
        ),
    )

    @property
    def cluster(self) -> ClusterName:
        """The cluster it belongs to."""
        return self.spec.cluster_ref.name

    @property
    def node_name(self) -> NodeName:
        """PVE's name of the node."""
        return self.spec.node_name or NodeName(self.metadata.name)

    @property
    def labels(self) -> Mapping[str, str]:
        """What nodeSelectors see: the labels of the file and the implied `drover.dev/node`."""
        return {**self.metadata.labels, NODE_LABEL: self.node_name}

    def labelled(self, key: str = MAINTENANCE_LABEL) -> MaintenanceMode | None:
        """Return what the maintenance label `key` asks for; None while the node is in service."""
        return MAINTENANCE_WORDS.get(self.metadata.labels.get(key, "false"))
