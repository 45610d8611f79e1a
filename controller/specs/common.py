"""The parts that kinds share: metadata, the reference to a cluster, guest and label selectors, the base of a kind.

Used by the modules of the kinds; `GuestSelector` and `LabelSelector` also by `decide`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import Field, PrivateAttr

from controller.model.ids import ClusterName, GuestKind, ObjectRef
from controller.specs.base import (
    MAX_LABELS,
    MAX_LIST,
    ClusterRefName,
    GuestGlob,
    GuestId,
    LabelKey,
    LabelValue,
    Model,
    ObjectName,
    Pool,
    PveNodeName,
    Rule,
    Tag,
    Text,
    no_entry_twice,
)
from controller.yamlpos import Position

GROUP = "drover.dev"
VERSION = "v1alpha1"
API_VERSION = "drover.dev/v1alpha1"
MAINTENANCE_LABEL = "drover.dev/maintenance"
"""The label that puts a node in maintenance, unless its PveCluster names another."""
NODE_LABEL = "drover.dev/node"
"""The label that every node has without being given it; its value is the PVE name of the node."""

Origin = Position
"""Where an object was written."""

_T = TypeVar("_T")
Listed = Annotated[
    tuple[_T, ...],
    Field(min_length=1, max_length=MAX_LIST, json_schema_extra={"x-kubernetes-list-type": "set"}),
    no_entry_twice,
]
"""A list of different entries. An empty one is refused: it would mean nothing or everything, and nobody could tell."""


class Meta(Model):
    """Kubernetes' object metadata, as far as Drover reads it."""

    name: ObjectName
    """Unique among the objects of this kind."""
    labels: Annotated[Mapping[LabelKey, LabelValue], Field(max_length=MAX_LABELS)] = Field(default_factory=dict)
    """Text by key. On a PveNode: what nodeSelectors select, and `drover.dev/maintenance`."""
    annotations: Annotated[
        Mapping[LabelKey, Annotated[str, Field(max_length=262_144)]], Field(max_length=MAX_LABELS)
    ] = Field(default_factory=dict)
    """Text for other tools. Drover reads one: `drover.dev/approved-digest`, digests of plans that are approved, on the object that
    says `approval: Manual` or on its PveCluster, with commas between them."""
    uid: Annotated[str, Field(max_length=64)] = ""
    """Assigned by the source; leave it out of files."""
    generation: Annotated[int, Field(ge=0)] = 0
    """Counts changes of the spec; assigned by the source, leave it out of files."""


class ApprovalMode(StrEnum):
    """Whether people release what Drover wants to do."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class ClusterRef(Model):
    """Names the PveCluster that an object belongs to."""

    name: ClusterRefName = ClusterName("default")
    """metadata.name of a PveCluster."""


class CommonSpec(Model):
    """What every spec but PveCluster's begins with."""

    cluster_ref: ClusterRef = Field(default_factory=ClusterRef)
    """The cluster this belongs to."""
    suspend: bool = False
    """Start nothing new because of this object; what runs is left to finish."""
    comment: Text = ""
    """For people."""


class TagSelector(Model):
    """PVE tags that a guest has to have or must not have."""

    all: Listed[Tag] = ()
    """Every one of these."""
    any: Listed[Tag] = ()
    """At least one of these."""
    none: Listed[Tag] = ()
    """Not one of these."""


class GuestSelector(Model):
    """Which guests: all given members have to match, of the entries in a list one is enough. `{}` is every managed guest."""

    vmids: Listed[GuestId] = ()
    """VMIDs."""
    names: Listed[GuestGlob] = ()
    """Names; `*` stands for any text."""
    tags: TagSelector = Field(default_factory=TagSelector)
    """PVE tags."""
    pools: Listed[Pool] = ()
    """PVE pools."""
    types: Listed[GuestKind] = (GuestKind.QEMU, GuestKind.LXC)
    """Kinds of guest."""
    nodes: Listed[PveNodeName] = ()
    """PVE names of the nodes they are on now; refused in placement rules, which would oscillate."""
    ha_managed: bool | None = None
    """Only guests that are (true) or are not (false) resources of PVE HA."""


class Operator(StrEnum):
    """How a LabelRequirement compares."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


def _values_fit_operator(raw: Mapping[str | int, object]) -> bool:
    return (raw.get("operator") in ("In", "NotIn")) == ("values" in raw)


class LabelRequirement(Model):
    """One condition on one label, as in Kubernetes."""

    key: LabelKey
    """Key of the label."""
    operator: Operator
    """In, NotIn: the value is (not) one of `values`, and NotIn holds without the label. Exists, DoesNotExist: the key alone."""
    values: Annotated[tuple[LabelValue, ...], Field(min_length=1, max_length=MAX_LABELS)] = ()
    """For In and NotIn."""

    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            _values_fit_operator,
            "(self.operator in ['In', 'NotIn']) == has(self.values)",
            "values do not go with the operator",
            "values with In and NotIn, none with Exists and DoesNotExist",
            ("values",),
            (("operator",),),
        ),
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels meets the condition."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


class LabelSelector(Model):
    """Kubernetes' label selector over the labels of PveNodes and the implied `drover.dev/node`. `{}` is every node."""

    match_labels: Annotated[Mapping[LabelKey, LabelValue], Field(max_length=MAX_LABELS)] = Field(default_factory=dict)
    """Labels that all have to be there with these values."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=MAX_LABELS)] = ()
    """Conditions that all have to hold."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels (the implied one included) is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )


class Column(Model):
    """A column that `kubectl get` shows, a JSONPath into the object."""

    name: str
    type: Literal["string", "integer", "boolean", "date"]
    path: str


class Kind(Model):
    """Base of the six kinds. Two objects are equal when they say the same, wherever they were written."""

    api_version: Literal["drover.dev/v1alpha1"] = "drover.dev/v1alpha1"
    metadata: Meta

    plural: ClassVar[str]
    short_names: ClassVar[Sequence[str]] = ()
    columns: ClassVar[Sequence[Column]] = ()

    _origin: Origin | None = PrivateAttr(default=None)

    @property
    def origin(self) -> Origin | None:
        """Where it was written, if it came from a file."""
        return self._origin

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @property
    def ref(self) -> ObjectRef:
        """Kind and name."""
        return ObjectRef(type(self).__name__, self.metadata.name)

    def written_at(self, origin: Origin | None) -> Self:
        """Note where it was written; for whoever has just made it."""
        self._origin = origin
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Kind) or type(self) is not type(other):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self.ref)
