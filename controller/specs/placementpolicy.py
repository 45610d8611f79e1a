"""PlacementPolicy: where guests may, must and should live.

Read by `decide`, which takes `spec.rule`, the one rule that is given.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from controller.model.ids import ClusterName
from controller.specs.base import (
    LabelKey,
    Model,
    Priority,
    PveNodeName,
    Raw,
    Rule,
    exactly_one,
    exactly_one_cel,
)
from controller.specs.common import (
    NODE_LABEL,
    ApprovalMode,
    Column,
    CommonSpec,
    GuestSelector,
    Kind,
    LabelSelector,
    Listed,
)


class Enforcement(StrEnum):
    """Whether a rule has to hold at any time, also during a move, or is only worth something."""

    MUST = "Must"
    SHOULD = "Should"


class WhenUnsatisfiable(StrEnum):
    """What to do when a spread cannot be had."""

    DO_NOT_PLACE = "DoNotPlace"
    PLACE_ANYWAY = "PlaceAnyway"


class _Nodes(Model):
    node_selector: LabelSelector | None = None
    """Nodes by label."""
    nodes: Listed[PveNodeName] = ()
    """PVE names of nodes."""

    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            exactly_one("nodeSelector", "nodes"),
            exactly_one_cel("nodeSelector", "nodes"),
            "has to say which nodes",
            "exactly one of nodeSelector and nodes",
        ),
    )


class NodeAffinity(_Nodes):
    """Only on these nodes; `nodes` is in order of preference."""


class NodeAntiAffinity(_Nodes):
    """Not on these nodes."""


class _ByTopology(Model):
    topology_key: LabelKey = NODE_LABEL
    """Label of PveNodes whose values are the domains; by default each node is one."""


class KeepTogether(_ByTopology):
    """All in one domain."""


class KeepApart(_ByTopology):
    """Not too many in one domain."""

    max_per_domain: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Guests of the group that a domain may hold."""


class Spread(_ByTopology):
    """Evenly over the domains."""

    max_skew: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Guests by which the fullest and the emptiest domain may differ."""
    when_unsatisfiable: WhenUnsatisfiable = WhenUnsatisfiable.DO_NOT_PLACE
    """What to do when that cannot be had."""


PlacementRule: TypeAlias = NodeAffinity | NodeAntiAffinity | KeepTogether | KeepApart | Spread
_RULES = ("nodeAffinity", "nodeAntiAffinity", "keepTogether", "keepApart", "spread")


def _selects_without_nodes(raw: Raw) -> bool:
    selector = raw.get("guestSelector")
    return not isinstance(selector, dict) or "nodes" not in selector


class PlacementPolicySpec(CommonSpec):
    """Spec of a PlacementPolicy."""

    guest_selector: GuestSelector
    """Which guests; not by node, which would oscillate."""
    priority: Priority = 0
    """Of policies that contradict each other the lower one gives way."""
    enforcement: Enforcement = Enforcement.MUST
    """Must: no move may break it, not even for seconds. Should: preferred."""
    weight: Annotated[int, Field(ge=1, le=100)] | None = None
    """How much a Should is worth among others."""
    correct_existing: bool | None = None
    """Move guests that are placed wrongly now; true for Must and false for Should unless given."""
    approval: ApprovalMode = ApprovalMode.AUTOMATIC
    """Manual: what the policy wants moved is moved only when people have approved exactly these moves."""
    node_affinity: NodeAffinity | None = None
    """Only on these nodes."""
    node_anti_affinity: NodeAntiAffinity | None = None
    """Not on these nodes."""
    keep_together: KeepTogether | None = None
    """All in one domain."""
    keep_apart: KeepApart | None = None
    """Not too many in one domain."""
    spread: Spread | None = None
    """Evenly over the domains."""

    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            exactly_one(*_RULES),
            exactly_one_cel(*_RULES),
            "has to have one rule",
            "exactly one of " + ", ".join(_RULES),
        ),
        Rule(
            _selects_without_nodes,
            "!has(self.guestSelector) || !has(self.guestSelector.nodes)",
            "choosing guests by where they are would move them back and forth",
            "any other member of a guest selector",
            ("guestSelector", "nodes"),
        ),
        Rule(
            lambda raw: "weight" not in raw or raw.get("enforcement") == "Should",
            "!has(self.weight) || (has(self.enforcement) && self.enforcement == 'Should')",
            "a rule that Must hold has no weight",
            "weight together with enforcement: Should",
            ("weight",),
            (("enforcement",),),
        ),
    )

    @property
    def rule(self) -> PlacementRule:
        """The one rule that is given."""
        rule = self.node_affinity or self.node_anti_affinity or self.keep_together or self.keep_apart or self.spread
        assert rule is not None  # kept by the first of the checks
        return rule

    @property
    def corrects_existing(self) -> bool:
        """`correct_existing` with its default filled in."""
        if self.correct_existing is None:
            return self.enforcement is Enforcement.MUST
        return self.correct_existing


class PlacementPolicy(Kind):
    """Where a group of guests may, must or should live."""

    kind: Literal["PlacementPolicy"] = "PlacementPolicy"
    spec: PlacementPolicySpec

    plural: ClassVar[str] = "placementpolicies"
    short_names: ClassVar[tuple[str, ...]] = ("pp",)
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Cluster", type="string", path=".spec.clusterRef.name"),
        Column(name="Enforcement", type="string", path=".spec.enforcement"),
        Column(name="Guests", type="integer", path=".status.matchedGuests"),
        Column(name="Violations", type="integer", path=".status.violations"),
        Column(name="Compliant", type="string", path='.status.conditions[?(@.type=="Compliant")].status'),
        Column(name="Age", type="date", path=".metadata.creationTimestamp"),
    )

    @property
    def cluster(self) -> ClusterName:
        """The cluster it belongs to."""
        return self.spec.cluster_ref.name
