"""What an administrator types: `drover drain` and `drover uncordon` become orders in the state file, and end there.

Called by `loop.cluster_loop`.
"""

from controller.decide import ha_maintenance, overrides, rolling
from controller.decide.maintenances import maintenances
from controller.model.approval import ANNOTATION, Approved
from controller.model.errors import DroverError, Rejected
from controller.model.event import Event, EventType
from controller.model.ids import NodeName, ObjectRef
from controller.model.observed import HaNodeState, Observed
from controller.model.override import Order, Override
from controller.model.plan import DrainMode, Plan
from controller.model.reasons import Why
from controller.report.store import Store
from controller.report.units import some
from controller.specs import Mode, PveCluster, Specs


def carry_out(
    store: Store, specs: Specs, seen: Observed, node: NodeName, order: Order, *, by: str, at: float, reason: str
) -> tuple[str, Event | None]:
    """Write the order down, or take back the one that it undoes; returns a sentence for whoever typed it, and what to tell all.

    specs: of this one cluster, as the repository has them. at: epoch seconds. Raises DroverError: the disk refuses, PVE HA
    itself keeps the node in maintenance.
    """
    cluster = specs.clusters[seen.cluster]
    given = store.memory().overrides.get(node)
    if given is not None and given.order is not order:
        store.end_override(node)
    elif given is not None and order is Order.DRAIN:
        return f"{node} is drained already, ordered by {given.by}", None
    turns = store.memory().turns.values()
    wanted = maintenances(cluster, rolling.applied(specs, turns), seen).get(node)
    if order is Order.DRAIN:
        if wanted is not None and wanted.mode is DrainMode.EVACUATE and not wanted.suspended:
            return f"{node} is to be emptied already ({wanted.ref})", None
        store.set_override(Override(node, order, by, at, overrides.said(specs, cluster, node), reason))
        name = overrides.name_of(node)
        done = f"{node} is drained from now on (NodeMaintenance/{name}), until `drover uncordon {node}`"
        return f"{done}{_unarmed(cluster)}", _event(node, f"{by} ordered {node} to be drained", reason, at)
    ours = ha_maintenance.switched_on(store.memory(), node) is not None
    if not ours and seen.nodes[node].ha is HaNodeState.MAINTENANCE and cluster.spec.maintenance.follow_ha_maintenance:
        line = f"ha-manager crm-command node-maintenance disable {node}"
        raise Rejected(Why.TARGET_IN_MAINTENANCE, f"PVE HA keeps {node} in maintenance; on a node of it, run: {line}")
    put_back = f"{by} put {node} back in service"
    if wanted is not None:
        store.set_override(Override(node, order, by, at, overrides.said(specs, cluster, node), reason))
        text = f"{node} is in service although {wanted.ref} says otherwise, until the repository says something new about it"
        return text, _event(node, put_back, reason, at)
    if given is not None and given.order is Order.DRAIN:
        return f"{node} is back in service; that was the drain of {given.by}", _event(node, put_back, reason, at)
    return f"{node} is in service", None


def approve(store: Store, plan: Plan, digest: str, *, by: str, at: float) -> tuple[str, Event] | None:
    """Release exactly the plan of this digest; None when nothing of this cluster has it. at: epoch seconds. Raises DroverError."""
    asked = next((one for one in plan.approvals if one.digest == digest), None)
    if asked is None:
        return None
    if asked.released is not None:
        raise DroverError(Why.APPROVED, f"{digest} is approved already, by {asked.released.by}")
    approved = Approved(asked.gate, digest, asked.steps, asked.stamps, by, at)
    store.note_approvals({**store.memory().approvals, asked.gate: approved})
    done = f"{by} approved {digest}: {some([str(step) for step in asked.steps])}"
    return done, Event(EventType.NORMAL, Why.APPROVED, asked.gate, done, at, at)


def withdraw(store: Store, digest: str, *, by: str, at: float) -> tuple[str, Event] | None:
    """Take an approval back; None when nothing of this cluster was approved with this digest. Raises DroverError."""
    known = store.memory().approvals
    approved = next((one for one in known.values() if one.digest == digest and not one.used), None)
    if approved is None:
        return None
    if approved.by_commit:
        text = f"{digest} is approved by the repository: take it out of the annotation {ANNOTATION} there"
        raise DroverError(Why.APPROVED, text)
    store.note_approvals({gate: one for gate, one in known.items() if one is not approved})
    done = f"{by} took the approval of {digest} back; what runs is left to finish"
    return done, Event(EventType.NORMAL, Why.AWAITING_APPROVAL, approved.gate, done, at, at)


def _event(node: NodeName, what: str, reason: str, at: float) -> Event:
    text = f"{what}: {reason}" if reason else what
    return Event(EventType.NORMAL, Why.OVERRIDDEN, ObjectRef("Node", node), text, at, at)


def _unarmed(cluster: PveCluster) -> str:
    mode = cluster.spec.mode
    return "" if mode is Mode.ENFORCE else f"; but the cluster is in mode {mode}: nothing is started"


def end_lapsed(store: Store, specs: Specs, seen_cluster: PveCluster, *, at: float) -> tuple[Event, ...]:
    """Forget orders about nodes of which the repository says something else by now, and say so. at: epoch seconds."""
    told = []
    for order in overrides.lapsed(specs, seen_cluster, store.memory().overrides):
        try:
            store.end_override(order.node)
        except DroverError:
            break  # it has lapsed all the same, and is forgotten when the disk works again
        verb = "drover drain" if order.order is Order.DRAIN else "drover uncordon"
        text = f"the repository says something new about {order.node}, which ends the `{verb}` of {order.by}"
        told.append(Event(EventType.NORMAL, Why.OVERRIDE_LAPSED, ObjectRef("Node", order.node), text, at, at))
    return tuple(told)
