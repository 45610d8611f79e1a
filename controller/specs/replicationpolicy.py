"""ReplicationPolicy: storage replication as policy. Read by `decide.replication` and, for the gate, `decide.staging`."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from controller.model import calendar
from controller.model.ids import ClusterName
from controller.specs.base import LabelKey, Model, Priority, PveNodeName, Rule, Seconds
from controller.specs.common import Column, CommonSpec, GuestSelector, Kind, LabelSelector, Listed


class OnMigration(StrEnum):
    """What happens to a job when its guest moves to a target."""

    MIRROR = "Mirror"
    FIXED = "Fixed"


class Gate(StrEnum):
    """What a move to a target waits for."""

    PREFER_FRESH = "PreferFresh"
    REQUIRE_FRESH = "RequireFresh"
    IGNORE = "Ignore"


class DeletionPolicy(StrEnum):
    """What happens to jobs when the policy is gone."""

    ORPHAN = "Orphan"
    REMOVE_JOB = "RemoveJob"
    REMOVE_JOB_AND_DATA = "RemoveJobAndData"


class Targets(Model):
    """Where replicas are kept; a guest's own node is left out."""

    nodes: Listed[PveNodeName] = ()
    """PVE names of nodes."""
    replicas: Annotated[int, Field(ge=1, le=16)] | None = None
    """How many, when Drover chooses; 1 unless given."""
    node_selector: LabelSelector | None = None
    """Nodes that Drover may choose."""
    anti_affinity_topology_key: LabelKey | None = None
    """Label whose value has to differ between a guest's node and its replicas."""

    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            lambda raw: "nodes" not in raw or len(raw) == 1,
            "!has(self.nodes) || !(has(self.replicas) || has(self.nodeSelector) || has(self.antiAffinityTopologyKey))",
            "named nodes leave nothing to choose",
            "nodes alone, or replicas, nodeSelector and antiAffinityTopologyKey",
            ("nodes",),
        ),
    )


def _is_a_schedule(text: str) -> str:
    try:
        calendar.parse(text)
    except calendar.CalendarError as error:
        raise PydanticCustomError("said", "{said}", {"said": f"is no schedule: {error}"}) from None
    return text


Schedule = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9*/:.,\s-]+$",
        json_schema_extra={"x-allowed": "a PVE calendar event, such as */15, 22:30, mon..fri 8..17/2:00 or daily"},
    ),
    AfterValidator(_is_a_schedule),
]


class ReplicationPolicySpec(CommonSpec):
    """Spec of a ReplicationPolicy."""

    guest_selector: GuestSelector
    """Which guests."""
    priority: Priority = 0
    """Of policies that match the same guest the highest wins; then the more specific selector, then the name."""
    targets: Targets
    """Where replicas are kept."""
    schedule: Schedule = "*/15"
    """When to replicate: a PVE calendar event."""
    rate_mbps: Annotated[float, Field(ge=1, le=1_000_000)] | None = None
    """MB/s that a job may use; no limit unless given."""
    enabled: bool = True
    """Run the jobs."""
    max_lag_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = 1800
    """Seconds a replica may lag behind before it counts as broken."""
    on_migration: OnMigration = OnMigration.MIRROR
    """Mirror: accept that PVE turns the job around. Fixed: restore its direction."""
    gate: Gate = Gate.PREFER_FRESH
    """Whether a move waits for a fresh replica on its target."""
    fresh_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 300
    """Seconds for which a replica counts as fresh."""
    adopt_existing: bool = False
    """Take over jobs that somebody else made."""
    retarget_after_seconds: Seconds = 3600
    """Seconds after which a target that is gone is replaced by another; 0: never."""
    deletion_policy: DeletionPolicy = DeletionPolicy.ORPHAN
    """What happens to jobs when the policy is gone; Orphan leaves them."""


class ReplicationPolicy(Kind):
    """Where and how often the local disks of a group of guests are replicated. One wins per guest."""

    kind: Literal["ReplicationPolicy"] = "ReplicationPolicy"
    spec: ReplicationPolicySpec

    plural: ClassVar[str] = "replicationpolicies"
    short_names: ClassVar[tuple[str, ...]] = ("rp",)
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Cluster", type="string", path=".spec.clusterRef.name"),
        Column(name="Schedule", type="string", path=".spec.schedule"),
        Column(name="Wanted", type="integer", path=".status.replicas.wanted"),
        Column(name="Synced", type="integer", path=".status.replicas.inSync"),
        Column(name="InSync", type="string", path='.status.conditions[?(@.type=="InSync")].status'),
        Column(name="Reason", type="string", path='.status.conditions[?(@.type=="InSync")].reason'),
        Column(name="Suspend", type="boolean", path=".spec.suspend"),
        Column(name="Age", type="date", path=".metadata.creationTimestamp"),
    )

    @property
    def cluster(self) -> ClusterName:
        """The cluster it belongs to."""
        return self.spec.cluster_ref.name
