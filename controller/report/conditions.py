"""Conditions and status of every object of one cluster, from what was written, what was seen and what is planned. Pure.

Called by the loop after each tick, with the statuses of the tick before.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from controller.model.approval import Approval
from controller.model.condition import Status
from controller.model.conflict import Conflict
from controller.model.ids import NodeName, ObjectRef
from controller.model.observed import Node, NodeState
from controller.model.override import Order
from controller.model.plan import Drain
from controller.model.reasons import Why
from controller.model.revision import SourceView
from controller.model.view import ClusterView
from controller.report import maintenance, replication, rolling
from controller.report.statement import ANNOUNCED, ObjectStatus, Statement, conditions, say
from controller.report.units import count_of, duration, some, timestamp
from controller.specs import (
    NodeMaintenance,
    PlacementPolicy,
    Problem,
    PveCluster,
    PveNode,
    ReplicationPolicy,
    Resource,
    Specs,
)
from controller.specs.common import ApprovalMode

__all__ = ["TYPES", "ObjectStatus", "statuses"]

_OF_DRAINS = ("Draining", "Blocked", "DeadlineExceeded", "Drained")
_ASKS = ("AwaitingApproval",)
_COMMON = ("Accepted",)
TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "PveCluster": (
            "Ready",
            "Connected",
            "Quorate",
            "Fresh",
            "Armed",
            "CapacitySufficient",
            "InsecureTransport",
            "ExternalBalancerDetected",
            "Notifying",
            *_ASKS,
            "SourceReady",
            *_COMMON,
        ),
        "PveNode": ("Ready", "Schedulable", "Draining", "Drained", "Overridden", "FileVanished", *_COMMON),
        "NodeMaintenance": (
            *("CapacityFeasible", "Draining", "Blocked", "DeadlineExceeded", "Drained", "RolledOut"),
            *_ASKS,
            *_COMMON,
        ),
        "PlacementPolicy": (
            "Compliant",
            "Feasible",
            "Conflicted",
            "Split",
            "WrittenToHa",
            "Progressing",
            *_ASKS,
            *_COMMON,
        ),
        "MigrationPolicy": _COMMON,
        "ReplicationPolicy": (*replication.TYPES, *_COMMON),
    }
)
"""Every condition type of every kind: the closed list behind `drover_conditions`."""


def statuses(
    specs: Specs,
    problems: Iterable[Problem],
    view: ClusterView,
    previous: Mapping[ObjectRef, ObjectStatus],
    *,
    vanished_nodes: Collection[str] = (),
    source: SourceView | None = None,
) -> dict[ObjectRef, ObjectStatus]:
    """The status of every object of the view's cluster, maintenances implied by a label included.

    `vanished_nodes`: names of PveNodes whose file is gone while their last label stays in force. `source`: how the repository
    stands that they come from.
    """
    now = _Now(specs.for_cluster(view.cluster), view, source)
    broken: dict[ObjectRef, list[Problem]] = {}
    for problem in problems:
        if problem.ref is not None:
            broken.setdefault(problem.ref, []).append(problem)
    found: dict[ObjectRef, ObjectStatus] = {}
    for resource in now.specs:
        ref, old = resource.ref, previous.get(resource.ref)
        told = _of(resource, now, old, gone=resource.name in vanished_nodes)
        common = [*_asks(ref, now), _accepted(resource, broken.get(ref, ()), now)]
        found[ref] = told.status(now, old, common, resource.metadata.generation)
    for ref, drains in now.drains.items():
        if ref not in found:
            implied = [*_asks(ref, now), _implied(ref, now)]
            found[ref] = _maintenance(drains, now, previous.get(ref)).status(now, previous.get(ref), implied, 0)
    return found


class _Now:
    """What all kinds look at: the specs and the view of one cluster, and whether the view is too old to be believed."""

    def __init__(self, specs: Specs, view: ClusterView, source: SourceView | None = None) -> None:
        self.specs = specs
        self.source = source
        self.view = view
        self.drains = maintenance.by_ref(view.plan.drains if view.plan is not None else ())
        cluster = specs.clusters.get(view.cluster)
        self.max_stale = cluster.spec.safety.max_stale_seconds if cluster is not None else 60
        self.stale = view.seen is None or view.seen_age_seconds > self.max_stale


@dataclass(frozen=True, slots=True)
class _Told:
    """What there is to say about one object, before times and generations."""

    said: list[Statement]
    fields: dict[str, object] = field(default_factory=dict)
    progress: maintenance.Progress | None = None

    def status(self, now: _Now, old: ObjectStatus | None, more: list[Statement], generation: int) -> ObjectStatus:
        """The finished status, with what is said of every kind behind what is said of this one."""
        seen, progress = now.view.seen, self.progress
        fields = self.fields if seen is None else {**self.fields, "lastObservedTime": timestamp(seen.at)}
        made = conditions(self.said + more, old, at=now.view.at, generation=generation)
        if progress is None:
            return ObjectStatus(made, fields, generation)
        return ObjectStatus(made, fields, generation, progress.left, progress.remaining)


def _of(resource: Resource, now: _Now, old: ObjectStatus | None, *, gone: bool) -> _Told:
    match resource:
        case PveCluster():
            return _Told(_cluster(now), _cluster_fields(now.view))
        case PveNode():
            return _Told(_node(resource, now, gone=gone), _node_fields(resource.node_name, now.view))
        case NodeMaintenance():
            made = _maintenance(now.drains.get(resource.ref, []), now, old, _announced(resource, now))
            return _rolled(made, resource.ref, now.view) if resource.rolls else made
        case PlacementPolicy():
            said = [
                *_placement(resource.ref, now.view),
                *_split(resource, now.view, old),
                *_written(resource.ref, now.view),
            ]
            return _Told(said, _placement_fields(resource.ref, now.view))
        case ReplicationPolicy():
            told = {**_matched(resource.ref, now.view), **replication.fields(resource.ref, now.view)}
            return _Told(replication.statements(resource.ref, now.view), told)
        case _:
            return _Told([], _matched(resource.ref, now.view))


def _accepted(resource: Resource, problems: Sequence[Problem], now: _Now) -> Statement:
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return say(
            "Accepted",
            False,
            Why.INVALID,
            f"{problems[0]}{more}; generation {resource.metadata.generation} stays in force",
        )
    seen = now.view.seen
    node = resource.spec.node_name if isinstance(resource, NodeMaintenance) else None
    if isinstance(resource, PveNode):
        node = resource.node_name
    if node is not None and seen is not None and node not in seen.nodes:
        known = some(sorted(seen.nodes), 8)
        return say("Accepted", False, Why.UNKNOWN_NODE, f"no node of the cluster is called {node}; there are {known}")
    if resource.spec.suspend:
        return say("Accepted", True, Why.SUSPENDED, "valid and suspended: it starts nothing new")
    return say("Accepted", True, Why.ACCEPTED)


def _asks(ref: ObjectRef, now: _Now) -> list[Statement]:
    """Whether people have released what the object wants; nothing is said of objects that ask nobody.

    A PveCluster speaks for objects that are gone and whose guests go home, too.
    """
    plan = now.view.plan
    if plan is None:
        return []
    known = {each.ref for each in now.specs} | now.drains.keys()
    orphans = [one for one in plan.approvals if one.gate not in known] if ref.kind == "PveCluster" else []
    asked = [one for one in plan.approvals if one.gate == ref] + orphans
    open_ones = [one for one in asked if one.waits]
    if open_ones:
        return [say("AwaitingApproval", True, Why.AWAITING_APPROVAL, "; ".join(_question(one) for one in open_ones))]
    if asked:
        said = "; ".join(f"{one.released.by} approved {one.released.digest}" for one in asked if one.released)
        return [say("AwaitingApproval", False, Why.APPROVED, said)]
    return [say("AwaitingApproval", False, Why.APPROVED)] if _may_ask(ref, now.specs) else []


def _may_ask(ref: ObjectRef, specs: Specs) -> bool:
    resource = next((each for each in specs if each.ref == ref), None)
    if not isinstance(resource, PveCluster | NodeMaintenance | PlacementPolicy):
        return False
    return resource.spec.approval is ApprovalMode.MANUAL


def _question(asked: Approval) -> str:
    what = f"{count_of(len(asked.steps), 'step')} of {asked.gate} to approve"
    changed = f" The plan is not what was approved: {some(list(asked.changes), 5)}." if asked.changes else ""
    return f"{what}: {some([str(step) for step in asked.steps], 5)}. `drover approve {asked.digest}`.{changed}"


def _cluster(now: _Now) -> list[Statement]:
    view = now.view
    said = [_connected(view), _quorate(now), _fresh(now)]
    trouble = next((item for item in said if item.status is not Status.TRUE), None)
    ready = say("Ready", True, Why.CONNECTED, "connected, quorate and seen recently")
    if trouble is not None:
        ready = replace(trouble, type="Ready")
    told = [ready, *said, say("Armed", view.armed.ok, view.armed.why, view.armed.message)]
    if view.plan is not None and view.plan.reserve is not None:
        reserve = view.plan.reserve
        why = Why.AS_EXPECTED if reserve.sufficient else Why.CAPACITY_INSUFFICIENT
        told.append(say("CapacitySufficient", reserve.sufficient, why, reserve.message))
    if view.seen is not None and view.seen.ha_balances:
        text = "PVE HA balances its guests itself (crs: ha-auto-rebalance): no voluntary moves are made of them"
        told.append(say("ExternalBalancerDetected", True, Why.HA_BALANCES, text))
    if view.notifying is not None:
        told.append(say("Notifying", view.notifying.ok, view.notifying.why, view.notifying.message))
    if now.source is not None and now.source.finding is not None:
        told.append(say("SourceReady", now.source.finding.ok, now.source.finding.why, now.source.finding.message))
    if view.insecure:
        told.append(
            say("InsecureTransport", True, Why.TLS_FAILED, "tls.insecureSkipVerify: any certificate is accepted")
        )
    return told


def _connected(view: ClusterView) -> Statement:
    if view.missing_rights and (view.connected.ok or view.connected.why is Why.PERMISSION_MISSING):
        lines = "; ".join(view.missing_rights)
        text = f"the token lacks {some(list(view.lacking))}; an administrator grants that with: {lines}"
        return say("Connected", False, Why.PERMISSION_MISSING, text)
    return say("Connected", view.connected.ok, view.connected.why, view.connected.message)


def _quorate(now: _Now) -> Statement:
    seen = now.view.seen
    if seen is None or now.stale:
        return say("Quorate", None, Why.STALE, "not seen recently")
    return say("Quorate", seen.quorate, Why.QUORATE if seen.quorate else Why.NO_QUORUM)


def _fresh(now: _Now) -> Statement:
    if now.view.seen is None:
        return say("Fresh", False, Why.STALE, "there has been no complete look yet")
    if now.stale:
        age, limit = duration(now.view.seen_age_seconds), duration(now.max_stale)
        return say("Fresh", False, Why.STALE, f"the last complete look is {age} old; {limit} are allowed")
    return say("Fresh", True, Why.FRESH)


def _cluster_fields(view: ClusterView) -> dict[str, object]:
    found: dict[str, object] = {"movesInFlight": len(view.memory.flights)}
    if view.seen is not None:
        online = sum(node.state is NodeState.ONLINE for node in view.seen.nodes.values())
        found["pveName"] = view.seen.pve_name
        found["nodes"] = {"total": len(view.seen.nodes), "online": online}
        found["guests"] = {"total": len(view.seen.guests)}
    if view.plan is not None:
        found["planDigest"] = view.plan.digest
    if view.missing_rights:
        found["missingRights"] = list(view.missing_rights)
    return found


def _node(resource: PveNode, now: _Now, *, gone: bool) -> list[Statement]:
    name = resource.node_name
    node = now.view.seen.nodes.get(name) if now.view.seen is not None else None
    drain = next((item for group in now.drains.values() for item in group if item.node == name), None)
    ordered = now.view.memory.overrides.get(name)
    told = [_node_ready(name, node, now), _schedulable(resource, node, drain)]
    if ordered is not None:
        verb = "drain" if ordered.order is Order.DRAIN else "uncordon"
        text = f"`drover {verb}` of {ordered.by} counts until the repository says something new about {name}"
        told.append(say("Overridden", True, Why.OVERRIDDEN, text))
    if drain is None:
        text = f"{name} is in service"
        told += [say("Draining", False, Why.IN_SERVICE, text), say("Drained", False, Why.IN_SERVICE, text)]
    else:
        progress = maintenance.progress_of([drain], now.view, None)
        told += [
            item for item in maintenance.statements([drain], now.view, progress) if item.type in ("Draining", "Drained")
        ]
        told = [_doubted(item, now) for item in told]
    if gone:
        told.append(say("FileVanished", True, Why.VANISHED_FILE))
    return told


def _node_ready(name: NodeName, node: Node | None, now: _Now) -> Statement:
    if now.stale:
        return say("Ready", None, Why.STALE, "not seen recently")
    if node is None:
        return say("Ready", False, Why.UNKNOWN_NODE, f"no node of the cluster is called {name}")
    if node.state is NodeState.ONLINE:
        return say("Ready", True, Why.AS_EXPECTED, f"{name} is online")
    return say("Ready", False if node.state is NodeState.OFFLINE else None, Why.NODE_OFFLINE, f"{name} is {node.state}")


def _schedulable(resource: PveNode, node: Node | None, drain: Drain | None) -> Statement:
    name = resource.node_name
    if drain is not None:
        return say("Schedulable", False, Why.CORDONED, f"{name} is in maintenance ({drain.ref})")
    if resource.spec.unschedulable:
        return say("Schedulable", False, Why.CORDONED, f"{name} has spec.unschedulable: true")
    if node is None or not node.usable:
        state = "not seen" if node is None else f"{node.state}, for PVE HA {node.ha}"
        return say("Schedulable", False, Why.NODE_OFFLINE, f"{name} is {state}")
    return say("Schedulable", True, Why.IN_SERVICE, f"{name} accepts guests")


def _node_fields(name: NodeName, view: ClusterView) -> dict[str, object]:
    node = view.seen.nodes.get(name) if view.seen is not None else None
    if view.seen is None or node is None:
        return {}
    found: dict[str, object] = {"guests": len(view.seen.guests_on(name))}
    if node.memory_bytes is not None:
        found["memoryBytes"] = node.memory_bytes
    if node.memory_used_bytes is not None:
        found["memoryUsedBytes"] = node.memory_used_bytes
    return found


def _announced(resource: NodeMaintenance, now: _Now) -> str:
    if not resource.is_announced(now.view.at):
        return ""
    text = f"{ANNOUNCED}{resource.spec.node_name or 'every node'} is in service until {resource.spec.not_before}"
    plan = now.view.plan
    known = next((each for each in plan.announced if each.ref == resource.ref), None) if plan is not None else None
    return f"{text}; {maintenance.prospect(known)}" if known is not None else text


def _rolled(made: _Told, ref: ObjectRef, view: ClusterView) -> _Told:
    said = [*made.said, rolling.statement(ref, view)]
    return replace(made, said=said, fields={**made.fields, **rolling.fields(ref, view)})


def _maintenance(drains: Sequence[Drain], now: _Now, old: ObjectStatus | None, announced: str = "") -> _Told:
    if not drains:
        text = "not planned yet" if now.view.plan is None else announced or "no node is being drained for it"
        why = now.view.armed.why if now.view.plan is None else Why.AS_EXPECTED
        status = None if now.view.plan is None else False
        return _Told([say(type_, status, why, text) for type_ in _OF_DRAINS])
    progress = maintenance.progress_of(drains, now.view, old)
    said = [_doubted(item, now) for item in maintenance.statements(drains, now.view, progress)]
    return _Told(said, maintenance.fields(drains, now.view, progress, old), progress)


def _doubted(said: Statement, now: _Now) -> Statement:
    """What was seen too long ago is no ground for switching a node off."""
    if said.type == "Drained" and said.status is Status.TRUE and now.stale:
        return say("Drained", None, Why.STALE, f"{said.message}, but the last look is too old to rely on")
    return said


def _implied(ref: ObjectRef, now: _Now) -> Statement:
    """What is accepted of a maintenance that stands in no file."""
    nodes = {drain.node for drain in now.drains[ref]}
    ordered = next((now.view.memory.overrides[node] for node in sorted(nodes & now.view.memory.overrides.keys())), None)
    if ordered is not None and ordered.order is Order.DRAIN:
        text = f"ordered by {ordered.by} with `drover drain`; `drover uncordon {ordered.node}` ends it"
        return say("Accepted", True, Why.OVERRIDDEN, text)
    key = now.specs.clusters[now.view.cluster].spec.maintenance.label_key
    labelled = (item for item in now.specs.nodes.values() if item.node_name in nodes and key in item.metadata.labels)
    node = next(labelled, None)
    line = f"`ha-manager crm-command node-maintenance disable {some(sorted(nodes))}`"
    source = f"the label of {node.ref}" if node is not None else f"PVE HA's maintenance of the node, which {line} ends"
    return say("Accepted", True, Why.ACCEPTED, f"implied by {source}")


def _placement(ref: ObjectRef, view: ClusterView) -> list[Statement]:
    plan = view.plan
    if plan is None:
        unknown = [
            say(type_, None, view.armed.why, "not planned yet") for type_ in ("Feasible", "Compliant", "Conflicted")
        ]
        return [*unknown, say("Progressing", False, Why.AS_EXPECTED)]
    violations = [item for item in plan.violations if item.cause == ref]
    moving = [flight for flight in view.memory.flights.values() if flight.cause == ref]
    return [
        say("Compliant", False, Why.VIOLATED, some([item.message for item in violations]))
        if violations
        else say("Compliant", True, Why.COMPLIANT),
        *_conflicted(ref, plan.conflicts),
        say("Progressing", True, Why.PROGRESSING, f"{count_of(len(moving), 'guest')} on the way")
        if moving
        else say("Progressing", False, Why.AS_EXPECTED),
    ]


def _split(resource: PlacementPolicy, view: ClusterView, old: ObjectStatus | None) -> list[Statement]:
    """Of a group that is kept together: since when it is in several places, or for how long it was the last time."""
    if resource.spec.keep_together is None or view.plan is None:
        return []
    before = next((each for each in old.conditions if each.type == "Split"), None) if old is not None else None
    split = next((item for item in view.plan.splits if item.cause == resource.ref), None)
    if split is not None:
        return [say("Split", True, Why.KEEP_TOGETHER, split.message)]
    if before is None or not before.message:
        return [say("Split", False, Why.AS_EXPECTED)]
    lasted = f"it was split for {duration(view.at - before.since)}, the last time"
    return [say("Split", False, Why.AS_EXPECTED, lasted if before.status is Status.TRUE else before.message)]


def _written(ref: ObjectRef, view: ClusterView) -> list[Statement]:
    """Whether PVE HA has the rule; nothing is said of policies that want none there."""
    state = next((each for each in view.plan.ha.states if each.policy == ref), None) if view.plan is not None else None
    refused = view.ha_refused.get(ref)
    if refused is not None:
        return [say("WrittenToHa", False, refused.why, refused.message)]
    return [say("WrittenToHa", state.written, state.why, state.message)] if state is not None else []


def _conflicted(ref: ObjectRef, conflicts: Sequence[Conflict]) -> list[Statement]:
    """Who gives way is not feasible; who does not is in conflict all the same, and says the same of it."""
    mine = [conflict for conflict in conflicts if ref in conflict.parties]
    lost = next((conflict for conflict in mine if conflict.loser == ref), None)
    feasible = say("Feasible", True, Why.AS_EXPECTED)
    if lost is not None:
        feasible = say("Feasible", False, lost.why, f"{lost.message}. {lost.remedy}")
    if not mine:
        return [feasible, say("Conflicted", False, Why.AS_EXPECTED, "it can hold together with all other rules")]
    shown = lost or mine[0]
    more = f" (and {len(mine) - 1} more, see status.conflicts)" if len(mine) > 1 else ""
    return [feasible, say("Conflicted", True, shown.why, f"{shown.message}. {shown.remedy}{more}")]


def _placement_fields(ref: ObjectRef, view: ClusterView) -> dict[str, object]:
    plan = view.plan
    if plan is None:
        return _matched(ref, view)
    violations = [item for item in plan.violations if item.cause == ref]
    found = {**_matched(ref, view), "violations": len(violations)}
    conflicts = [
        {"withPolicy": other.name, "reason": str(conflict.why), "message": conflict.message}
        for conflict in plan.conflicts
        if ref in conflict.parties
        for other in ([party for party in conflict.parties if party != ref] or [ref])
    ]
    return {**found, "conflicts": conflicts} if conflicts else found


def _matched(ref: ObjectRef, view: ClusterView) -> dict[str, object]:
    matched = view.plan.matched.get(ref) if view.plan is not None else None
    return {} if matched is None else {"matchedGuests": len(matched)}
