"""What people want of one cluster, boiled down to nodes and guests: the policies' sum, before anything is planned.

Made by `decide.desired` from specs and what is seen; read by the planners in `decide`. Holds no measured numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.plan import DrainMode
from controller.model.reasons import Why


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What is asked of one node: the one maintenance that counts for it, explicit or implied."""

    ref: ObjectRef
    node: NodeName
    mode: DrainMode
    suspended: bool = False  # still in maintenance (nothing comes), but starts nothing
    skip: bool = False  # guests stay
    optional: bool = False  # guests that can't move stay and don't count
    restart_containers: bool = True
    include_stopped: bool = True
    include_templates: bool = False
    override_must: bool = False
    returns: bool = True
    reason: str = ""
    unheeded: tuple[str, ...] = ()  # fields that forbid something and are not acted upon yet: nothing of it is started


@dataclass(frozen=True, slots=True)
class NodeRule:
    """One Must about nodes, as it concerns a guest: where it may be."""

    ref: ObjectRef
    why: Why  # NODE_AFFINITY or NODE_ANTI_AFFINITY
    nodes: frozenset[NodeName]  # the allowed ones
    order: tuple[NodeName, ...]  # the allowed ones in order of preference; empty: no preference
    corrects: bool


@dataclass(frozen=True, slots=True)
class Fence:
    """All Musts about nodes that concern a guest, intersected. `order` is that of the policy with the highest priority."""

    rules: tuple[NodeRule, ...]
    nodes: frozenset[NodeName]
    order: tuple[NodeName, ...]


@dataclass(frozen=True, slots=True)
class Apart:
    """A group of guests of which a domain may hold `most`."""

    ref: ObjectRef
    topology_key: str
    most: int
    members: frozenset[Vmid]
    domains: Mapping[NodeName, str]  # nodes without the label are missing
    corrects: bool


@dataclass(frozen=True, slots=True)
class Carriage:
    """How a guest may be moved: what its MigrationPolicy says. `limit` counts further attempts after the first."""

    policy: str = ""
    live_only: bool = False
    offline_only: bool = False
    bandwidth_limit_mib_s: int = 0
    retry_limit: int = 5
    unheeded: tuple[str, ...] = ()  # as in Maintenance


@dataclass(frozen=True, slots=True)
class Desired:
    """The sum of all policies of one cluster over the nodes and guests that are seen."""

    managed: frozenset[Vmid]
    fences: Mapping[Vmid, Fence]  # only guests that a Must about nodes concerns
    groups: tuple[Apart, ...]
    groups_of: Mapping[Vmid, tuple[int, ...]]  # indexes into `groups`
    maintenance: Mapping[NodeName, Maintenance]
    closed: Mapping[NodeName, ObjectRef]  # `unschedulable` nodes, with the object that says so
    carriages: Mapping[Vmid, Carriage]  # only guests that a MigrationPolicy selects
    matched: Mapping[ObjectRef, tuple[Vmid, ...]]

    def carriage(self, vmid: Vmid) -> Carriage:
        """How the guest may be moved; the defaults when no policy selects it."""
        return self.carriages.get(vmid, _DEFAULT_CARRIAGE)


_DEFAULT_CARRIAGE = Carriage()
