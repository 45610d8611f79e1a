"""MigrationPolicy: how a group of guests may move.

Read by `decide`, which freezes the options into a move when it starts.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.model.ids import ClusterName
from controller.specs.base import MiBps, Model, Priority, Rule, Seconds, Word
from controller.specs.common import Column, CommonSpec, GuestSelector, Kind, Listed


class Method(StrEnum):
    """Running or stopped."""

    LIVE = "Live"
    LIVE_IF_POSSIBLE = "LiveIfPossible"
    OFFLINE = "Offline"


class OnDowntimeExceeded(StrEnum):
    """What to do when a switch-over would take longer than allowed."""

    ABORT = "Abort"
    CONTINUE = "Continue"


class LocalDisks(StrEnum):
    """How disks on local storage move."""

    REPLICATE_FIRST = "ReplicateFirst"
    COPY = "Copy"
    FORBID = "Forbid"


class LocalDisksFallback(StrEnum):
    """What to do with local disks that cannot be replicated."""

    BLOCK = "Block"
    COPY = "Copy"


class LocalMedia(StrEnum):
    """What to do with a local ISO in a CD drive, which blocks a migration."""

    EJECT = "Eject"
    RESTORE = "Restore"
    BLOCK = "Block"


class ConntrackState(StrEnum):
    """Whether the firewall's connection tracking moves along."""

    AUTO = "Auto"
    NEVER = "Never"


class Control(StrEnum):
    """How a running migration is watched and steered."""

    TASK_LOG = "TaskLog"
    MONITOR = "Monitor"


class Retry(Model):
    """When a move that failed is tried again."""

    limit: Annotated[int, Field(ge=0, le=1000)] = 5
    """Further attempts."""
    backoff_seconds: Annotated[int, Field(ge=1, le=86_400)] = 20
    """Seconds before the first of them."""
    backoff_factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    """By which the wait grows each time."""
    max_backoff_seconds: Annotated[int, Field(ge=1, le=86_400)] = 1800
    """Seconds it never exceeds."""

    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            lambda raw: _seconds(raw.get("backoffSeconds", 20)) <= _seconds(raw.get("maxBackoffSeconds", 1800)),
            "(has(self.backoffSeconds) ? self.backoffSeconds : 20)"
            " <= (has(self.maxBackoffSeconds) ? self.maxBackoffSeconds : 1800)",
            "is below backoffSeconds",
            "backoffSeconds or more",
            ("maxBackoffSeconds",),
            (("backoffSeconds",), ("maxBackoffSeconds",)),
        ),
    )


def _seconds(value: object) -> int:
    return value if isinstance(value, int) else 0


class Verify(Model):
    """What has to be seen before a move counts as done, beyond the guest running on its target without a lock."""

    min_healthy_seconds: Seconds = 10
    """Seconds it has to stay that way. Nothing else waits for them: the slot is free, the node it left counts as left."""
    guest_agent_ping: bool = False
    """The guest agent of a running VM has to answer, or the move ends with a warning."""


class MigrationPolicySpec(CommonSpec):
    """Spec of a MigrationPolicy."""

    guest_selector: GuestSelector
    """Which guests."""
    priority: Priority = 0
    """Of policies that match the same guest the highest wins; then the more specific selector, then the name."""
    method: Method = Method.LIVE_IF_POSSIBLE
    """Live: never stop it. LiveIfPossible: running guests live, stopped ones offline. Offline: only while it is stopped."""
    bandwidth_limit_mibps: MiBps = 0
    """MiB/s that a move of such a guest may use; 0: no limit."""
    max_downtime_milliseconds: Annotated[int, Field(ge=1, le=2_000_000)] = 1000
    """Milliseconds up to which PVE may raise the time that a guest stands still at the end."""
    on_downtime_exceeded: OnDowntimeExceeded = OnDowntimeExceeded.ABORT
    """What to do when that is exceeded. PVE itself doubles the allowed downtime without end."""
    completion_timeout_seconds_per_gib: Seconds = 20
    """Seconds per GiB of memory and copied disks (at least 60 in all) after which a move is stopped; 0: no limit."""
    stall_timeout_seconds: Seconds = 60
    """Seconds without less being left to send, after which a move counts as stalled and is stopped; 0: never."""
    local_disks: LocalDisks = LocalDisks.REPLICATE_FIRST
    """ReplicateFirst: replicate to the target, then move the last changes. Copy: copy during the move. Forbid: do not move."""
    local_disks_fallback: LocalDisksFallback = LocalDisksFallback.BLOCK
    """With ReplicateFirst: what to do with local disks that can't be replicated (only ZFS can be)."""
    target_storage: Annotated[Mapping[Word, Word], Field(max_length=64)] = Field(default_factory=dict)
    """With Copy: storage on the target by storage on the source."""
    local_media: LocalMedia = LocalMedia.EJECT
    """What to do with local media in CD drives. Restore: eject an ISO, and put it back when the guest is home again."""
    conntrack_state: ConntrackState = ConntrackState.AUTO
    """Auto: move the firewall's connection tracking along where both nodes can."""
    control: Control = Control.TASK_LOG
    """TaskLog: watch. Monitor: measure and steer through QEMU's monitor (needs Sys.Modify)."""
    retry: Retry = Field(default_factory=Retry)
    """When a move that failed is tried again."""
    verify: Verify = Field(default_factory=Verify)
    """What has to be seen before a move counts as done."""
    windows: Annotated[Listed[Word], Field(max_length=64)] = ()
    """Names of windows of the PveCluster: of its Allows only these count for such guests. No Deny is left out."""

    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            lambda raw: "targetStorage" not in raw or "Copy" in (raw.get("localDisks"), raw.get("localDisksFallback")),
            "!has(self.targetStorage) || (has(self.localDisks) && self.localDisks == 'Copy')"
            " || (has(self.localDisksFallback) && self.localDisksFallback == 'Copy')",
            "no disk is ever copied",
            "targetStorage together with localDisks: Copy or localDisksFallback: Copy",
            ("targetStorage",),
            (("localDisks",), ("localDisksFallback",)),
        ),
    )


class MigrationPolicy(Kind):
    """How a group of guests may move. One wins per guest."""

    kind: Literal["MigrationPolicy"] = "MigrationPolicy"
    spec: MigrationPolicySpec

    plural: ClassVar[str] = "migrationpolicies"
    short_names: ClassVar[tuple[str, ...]] = ("mp",)
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Cluster", type="string", path=".spec.clusterRef.name"),
        Column(name="Method", type="string", path=".spec.method"),
        Column(name="Priority", type="integer", path=".spec.priority"),
        Column(name="Age", type="date", path=".metadata.creationTimestamp"),
    )

    @property
    def cluster(self) -> ClusterName:
        """The cluster it belongs to."""
        return self.spec.cluster_ref.name
