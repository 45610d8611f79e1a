"""The shape of each kind's status, for the generated CRDs.

Read by `crd` only: at run time `report` computes the values, and nothing ever reads a status back.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from controller.model.turn import TurnState
from controller.specs.base import Count, GuestId, Model, Percent, Word
from controller.specs.nodemaintenance import Timestamp

_LONG = 5000
"""More guests than a cluster has."""
Bytes = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]


class Truth(StrEnum):
    """Kubernetes' three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class StatusCondition(Model):
    """One condition, as in Kubernetes."""

    type: Annotated[str, Field(max_length=316)]
    """What it is about, such as Ready."""
    status: Truth
    """Whether it is so."""
    reason: Annotated[str, Field(max_length=1024)]
    """Why, in one word of a closed list."""
    message: Annotated[str, Field(max_length=32_768)]
    """Why, in a sentence."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that was looked at."""


class CommonStatus(Model):
    """What every status has."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that was looked at."""
    last_observed_time: Timestamp | None = None
    """When the cluster was last seen."""
    conditions: Annotated[
        tuple[StatusCondition, ...],
        Field(
            max_length=64, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
    ] = ()
    """What is so and what is not."""


class NodesOfCluster(Model):
    """Nodes of a cluster."""

    total: Count | None = None
    """All of them."""
    online: Count | None = None
    """Those that are online."""


class GuestsOfCluster(Model):
    """Guests of a cluster."""

    total: Count | None = None
    """All of them, templates and stopped ones too."""


class PveClusterStatus(CommonStatus):
    """What the cluster looks like, and what is under way."""

    pve_name: Annotated[str, Field(max_length=253)] = ""
    """What the cluster calls itself."""
    nodes: NodesOfCluster | None = None
    """How many nodes."""
    guests: GuestsOfCluster | None = None
    """How many guests."""
    moves_in_flight: Count | None = None
    """Moves under way now."""
    plan_digest: Annotated[str, Field(max_length=64)] = ""
    """Digest of the plan: of its moves, reasons and generations."""
    missing_rights: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=1024)] = ()
    """Lines for a shell on a node that grant the token what it lacks."""


class PveNodeStatus(CommonStatus):
    """What the node looks like."""

    guests: Count | None = None
    """Guests on it, templates and stopped ones too."""
    memory_bytes: Bytes | None = None
    """Its memory, in bytes."""
    memory_used_bytes: Bytes | None = None
    """Memory in use on it, in bytes."""


class GuestCounts(Model):
    """Guests of a node that is evacuated."""

    total: Count | None = None
    """All that were there at the start."""
    moved: Count | None = None
    """Those that have left."""
    moving: Count | None = None
    """Those on their way."""
    remaining: Count | None = None
    """Those still there."""
    blocked: Count | None = None
    """Those that cannot leave."""


class BlockedGuest(Model):
    """A guest that cannot leave, and why."""

    vmid: GuestId
    """Its VMID."""
    name: Annotated[str, Field(max_length=253)] = ""
    """Its name."""
    reason: Word
    """Why, in one word of a closed list."""
    message: Annotated[str, Field(max_length=32_768)] = ""
    """Why, in a sentence."""


class OriginOfGuest(Model):
    """Where a guest came from."""

    vmid: GuestId
    """Its VMID."""
    node: Word
    """PVE name of the node it goes back to."""


class NodesInTurn(Model):
    """Nodes of a rolling maintenance."""

    total: Count | None = None
    """All that the selector means."""
    done: Count | None = None
    """Serviced in this round, and their guests home."""
    failed: Count | None = None
    """Those at which it has stopped."""


class NodeInTurn(Model):
    """One node of a rolling maintenance."""

    node: Word
    """PVE's name of the node."""
    phase: TurnState
    """Where it stands."""
    message: Annotated[str, Field(max_length=32_768)] = ""
    """Why it failed."""
    since: Timestamp | None = None
    """When the phase began."""


class NodeMaintenanceStatus(CommonStatus):
    """How far an evacuation is."""

    progress_percent: Percent | None = None
    """Percent of the bytes that have moved."""
    guests: GuestCounts | None = None
    """How many guests."""
    blocked_guests: Annotated[tuple[BlockedGuest, ...], Field(max_length=_LONG)] = ()
    """Guests that cannot leave."""
    start_time: Timestamp | None = None
    """When it began."""
    drained_time: Timestamp | None = None
    """When the node was empty."""
    estimated_completion_time: Timestamp | None = None
    """When it will be, as likely later as earlier."""
    late_completion_time: Timestamp | None = None
    """When it will be nine times in ten."""
    makespan_seconds: Annotated[float, Field(ge=0)] | None = None
    """Seconds it takes from beginning to end."""
    lower_bound_seconds: Annotated[float, Field(ge=0)] | None = None
    """Seconds that no schedule could beat."""
    origin: Annotated[tuple[OriginOfGuest, ...], Field(max_length=_LONG)] = ()
    """Where guests return to."""
    node_counts: NodesInTurn | None = None
    """With nodeSelector: how many nodes."""
    nodes: Annotated[tuple[NodeInTurn, ...], Field(max_length=1024)] = ()
    """With nodeSelector: the nodes, one by one."""


class PolicyConflict(Model):
    """Another policy that cannot hold together with this one."""

    with_policy: Annotated[str, Field(max_length=253)]
    """Name of the other: of a PlacementPolicy, of a rule of PVE HA, or its own when it asks too much by itself."""
    reason: Word
    """Why, in one word of a closed list."""
    message: Annotated[str, Field(max_length=32_768)] = ""
    """Why, and who gives way, in a sentence."""


class PolicyStatus(CommonStatus):
    """Whom a policy is about."""

    matched_guests: Count | None = None
    """Guests it is about."""


class PlacementPolicyStatus(PolicyStatus):
    """Whether a placement holds."""

    violations: Count | None = None
    """How often it does not hold now, Must or Should: once for each domain that has too many, once for guests on wrong nodes,
    once for a group that is split or uneven."""
    conflicts: Annotated[tuple[PolicyConflict, ...], Field(max_length=1024)] = ()
    """Policies that cannot hold together with it."""


class ReplicaCounts(Model):
    """Replicas of a policy."""

    wanted: Count | None = None
    """As many as it wants, of all guests together."""
    there: Count | None = None
    """Jobs of it that there are."""
    in_sync: Count | None = None
    """Those whose replica is young enough."""
    failing: Count | None = None
    """Those whose last run failed."""


class LackingReplica(Model):
    """A replica that is wanted and not to be had."""

    vmid: GuestId
    """VMID of the guest."""
    guest: Annotated[str, Field(max_length=300)] = ""
    """Its number and name."""
    target: Annotated[str, Field(max_length=63)] = ""
    """The target, where one was named or chosen."""
    reason: Word
    """Why, in one word of a closed list."""
    message: Annotated[str, Field(max_length=32_768)] = ""
    """Why, in a sentence."""


class ReplicationPolicyStatus(PolicyStatus):
    """How replicas stand."""

    replicas: ReplicaCounts | None = None
    """How many replicas."""
    max_lag_seconds: Annotated[int, Field(ge=0)] | None = None
    """Age of the oldest replica, in seconds."""
    lacking: Annotated[tuple[LackingReplica, ...], Field(max_length=_LONG)] = ()
    """Replicas that are wanted and not to be had, and guests that cannot be replicated."""


STATUS: Mapping[str, type[CommonStatus]] = {
    "PveCluster": PveClusterStatus,
    "PveNode": PveNodeStatus,
    "NodeMaintenance": NodeMaintenanceStatus,
    "PlacementPolicy": PlacementPolicyStatus,
    "MigrationPolicy": PolicyStatus,
    "ReplicationPolicy": ReplicationPolicyStatus,
}
"""The status of each kind."""
