"""NodeMaintenance: evacuate a node; deleting the object ends its maintenance.

Read by `decide`; `PveCluster` holds a template of the same fields for maintenance that a label implies.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from controller.model.ids import ClusterName
from controller.specs.base import Model, PveNodeName, Rule, Seconds, Text, exactly_one, exactly_one_cel, says
from controller.specs.common import ApprovalMode, Column, CommonSpec, GuestSelector, Kind, LabelSelector


class MaintenanceMode(StrEnum):
    """Empty the node, or only keep guests from coming."""

    EVACUATE = "Evacuate"
    CORDON = "Cordon"


class Behavior(StrEnum):
    """What happens to a guest of a node that is evacuated. One that is shut down is never stopped by force."""

    MIGRATE = "Migrate"
    MIGRATE_IF_POSSIBLE = "MigrateIfPossible"
    SHUTDOWN = "Shutdown"
    SHUTDOWN_AND_RESTART_ELSEWHERE = "ShutdownAndRestartElsewhere"
    SKIP = "Skip"


class Containers(StrEnum):
    """Containers have no live migration."""

    RESTART = "Restart"
    BLOCK = "Block"


class OnDeadline(StrEnum):
    """What happens to guests that are still there at the deadline."""

    HOLD = "Hold"
    SHUTDOWN_REMAINING = "ShutdownRemaining"


class AfterMaintenance(StrEnum):
    """Where evacuated guests go when maintenance is over."""

    RETURN = "Return"
    STAY = "Stay"
    REBALANCE = "Rebalance"


class OnCancel(StrEnum):
    """What happens to running moves when maintenance is called off."""

    FINISH_RUNNING = "FinishRunning"
    ABORT_RUNNING = "AbortRunning"


class MaintenanceRule(Model):
    """What happens to some of the guests."""

    guest_selector: GuestSelector
    """Which guests; the first rule that matches counts."""
    behavior: Behavior
    """What happens to them."""
    order: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Guests of a lower order leave first."""


class MaintenanceTemplate(Model):
    """How a node is evacuated."""

    reason: Text = ""
    """For people, and in events."""
    rules: Annotated[tuple[MaintenanceRule, ...], Field(max_length=64)] = ()
    """What happens to some of the guests; the first match counts."""
    default_behavior: Behavior = Behavior.MIGRATE
    """What happens to all others. A guest that cannot move is blocked with a reason, never stopped silently."""
    containers: Containers = Containers.RESTART
    """Restart: move containers by stopping and starting them. Block: leave them to people."""
    include_stopped: bool = True
    """Move stopped guests, too."""
    include_templates: bool = False
    """Move templates, too."""
    deadline_seconds: Seconds = 0
    """Seconds that the evacuation may take; then nothing more is started for it. 0: no limit."""
    on_deadline: OnDeadline = OnDeadline.HOLD
    """What happens to guests that are still there then. Hold: they are left to people. ShutdownRemaining: they are shut down."""
    override_must: bool = False
    """Let the evacuation break placement rules that Must hold."""
    after_maintenance: AfterMaintenance = AfterMaintenance.RETURN
    """Return: back to where they came from. Stay: where they are. Rebalance: balanced once, as far as that levels the nodes."""
    approval: ApprovalMode = ApprovalMode.AUTOMATIC
    """Manual: guests leave, and come back, only when people have approved exactly these moves."""
    on_cancel: OnCancel = OnCancel.FINISH_RUNNING
    """What happens to running moves when maintenance is called off. A move that AbortRunning can still stop leaves its guest
    running where it was."""


def _is_a_time(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise PydanticCustomError("time", "no such time") from None
    return text


Timestamp = Annotated[
    str,
    Field(
        max_length=40,
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$",
        json_schema_extra={"format": "date-time", **says("a time with its zone, such as 2026-11-23T22:00:00Z")},
    ),
    AfterValidator(_is_a_time),
]
IntOrPercent = Annotated[
    Annotated[int, Field(ge=1, le=1_000_000)] | Annotated[str, Field(max_length=4, pattern="^([1-9][0-9]?|100)%$")],
    Field(json_schema_extra=says("a whole number, 1 or more, or a percentage such as 25%")),
]


class NodeMaintenanceSpec(CommonSpec, MaintenanceTemplate):
    """Spec of a NodeMaintenance."""

    node_name: PveNodeName | None = None
    """PVE's name of the node."""
    node_selector: LabelSelector | None = None
    """Many nodes, one after another: drained, serviced, and guests returned before the next one. With mode Cordon all at once."""
    max_unavailable: IntOrPercent | None = None
    """With nodeSelector: nodes of it in maintenance at once, a number or a percentage; 1 unless given. The cluster's own limits
    hold besides."""
    mode: MaintenanceMode = MaintenanceMode.EVACUATE
    """Evacuate: move everything away. Cordon: accept nothing new."""
    not_before: Timestamp | None = None
    """Announced maintenance: the node is in service until then."""

    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            exactly_one("nodeName", "nodeSelector"),
            exactly_one_cel("nodeName", "nodeSelector"),
            "has to say which node",
            "exactly one of nodeName and nodeSelector",
        ),
        Rule(
            lambda raw: "maxUnavailable" not in raw or "nodeSelector" in raw,
            "!has(self.maxUnavailable) || has(self.nodeSelector)",
            "means nothing for a single node",
            "maxUnavailable together with nodeSelector",
            ("maxUnavailable",),
        ),
        Rule(
            lambda raw: raw.get("onDeadline", "Hold") == "Hold" or bool(raw.get("deadlineSeconds", 0)),
            "!has(self.onDeadline) || self.onDeadline == 'Hold' || (has(self.deadlineSeconds) && self.deadlineSeconds > 0)",
            "there is no deadline",
            "onDeadline: Hold, or deadlineSeconds above 0",
            ("onDeadline",),
            (("onDeadline",), ("deadlineSeconds",)),
        ),
    )


class NodeMaintenance(Kind):
    """Maintenance of a node: everything on it is moved away. Deleting the object ends the maintenance."""

    kind: Literal["NodeMaintenance"] = "NodeMaintenance"
    spec: NodeMaintenanceSpec

    plural: ClassVar[str] = "nodemaintenances"
    short_names: ClassVar[tuple[str, ...]] = ("nm",)
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Node", type="string", path=".spec.nodeName"),
        Column(name="Mode", type="string", path=".spec.mode"),
        Column(name="Nodes", type="integer", path=".status.nodeCounts.total"),
        Column(name="Done", type="integer", path=".status.nodeCounts.done"),
        Column(name="Progress", type="integer", path=".status.progressPercent"),
        Column(name="Drained", type="string", path='.status.conditions[?(@.type=="Drained")].status'),
        Column(name="Age", type="date", path=".metadata.creationTimestamp"),
    )

    def is_announced(self, at: float) -> bool:
        """Whether `at` (epoch seconds) is before the maintenance begins."""
        return self.begins_at is not None and self.begins_at > at

    @property
    def begins_at(self) -> float | None:
        """When an announced maintenance begins, in epoch seconds; None: it is not announced."""
        begins = self.spec.not_before
        return datetime.fromisoformat(begins).timestamp() if begins is not None else None

    @property
    def rolls(self) -> bool:
        """Whether it goes over its nodes one after another; a cordon holds for all of them at once."""
        return self.spec.node_selector is not None and self.spec.mode is MaintenanceMode.EVACUATE

    @property
    def cluster(self) -> ClusterName:
        """The cluster it belongs to."""
        return self.spec.cluster_ref.name
