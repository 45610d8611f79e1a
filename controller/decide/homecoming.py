"""After maintenance: guests go back to where they came from, while that still means something. Called by `decide.pipeline`.

An origin is void when somebody moved the guest by hand, when the VMID is another guest's, when a policy rules the node out,
and when the maintenance says that guests stay. With `afterMaintenance: Rebalance` it only marks whom `voluntary` may level.
"""

from controller.decide import joint
from controller.decide.draft import Draft
from controller.decide.explain import no_room, no_seat, refusals, replica_nodes
from controller.decide.gate import blocked, gate, options
from controller.decide.maintenances import implied_ref
from controller.decide.placement import Intent
from controller.decide.scene import Scene
from controller.decide.stage import Stage
from controller.model.ids import Vmid
from controller.model.memory import Origin
from controller.model.observed import Guest, Observed
from controller.model.plan import Blocked, Lane, Waiting
from controller.model.reasons import Why
from controller.specs.nodemaintenance import AfterMaintenance


def plan(draft: Draft) -> None:
    """Say who goes home, who has to wait for that, and which origins to forget."""
    scene, board = draft.scene, draft.board
    intents = []
    for vmid, origin in sorted(scene.memory.origins.items()):
        guest = scene.seen.guests.get(vmid)
        if guest is None or scene.flying(vmid):
            continue  # lists may be filtered by a token without rights: what is not seen is not gone
        if _void(scene, guest, origin):
            board.forget.add(vmid)
        elif (
            not board.knows(vmid)
            and guest.node != origin.node
            and _over(scene, origin)
            and not _levelled(scene, origin)
        ):
            if word := gate(scene, guest, origin.maintenance, Lane.RETURN) or _not_open(scene, guest, origin):
                board.say(word)
            else:
                intents.append(_intent(scene, guest, origin))
    found, failed = joint.place(draft, intents)
    draining = any(intent.lane is Lane.DRAIN for intent, _ in board.assigned) or any(
        # What a drain that was called off has started has its place already.
        flight.lane is Lane.DRAIN and flight.source in flight.nodes and flight.source in scene.wanted.maintenance
        for flight in scene.memory.flights.values()
    )
    for intent in intents:
        vmid, home = intent.guest.vmid, intent.nodes[0]
        if vmid in found and draining:
            text = f"{intent.guest} goes back to {home} after the drain that is under way"
            board.say(Waiting(vmid, Why.DRAIN_FIRST, text, intent.cause))
            # What a drain wants of the room comes first, but nothing else may take it.
        elif vmid in found:
            board.assign(intent, home)
    for intent in failed:
        board.say(_no_place(scene, draft.later, intent))


def levelled(scene: Scene) -> dict[Vmid, Origin]:
    """Guests whose maintenance is over, that stand still, and that balance may move once instead of their going home."""
    return {
        vmid: origin
        for vmid, origin in scene.memory.origins.items()
        if vmid in scene.seen.guests
        and not scene.flying(vmid)
        and _over(scene, origin)
        and _levelled(scene, origin)
        and not _void(scene, scene.seen.guests[vmid], origin)
    }


def _void(scene: Scene, guest: Guest, origin: Origin) -> bool:
    fence = scene.wanted.fences.get(guest.vmid)
    goes_home = not _levelled(scene, origin)
    home_again = guest.node == origin.node and origin.node not in scene.wanted.maintenance
    return (
        not origin.identity.same_as(guest.identity)
        or guest.vmid not in scene.wanted.managed
        or scene.left_to_ha(guest)  # outside of a drain it is left to PVE HA
        or guest.node not in (origin.expected, origin.node)
        or (goes_home and home_again)
        or (goes_home and fence is not None and origin.node not in fence.nodes)
        or _after(scene, origin) is AfterMaintenance.STAY
    )


def _levelled(scene: Scene, origin: Origin) -> bool:
    return _after(scene, origin) is AfterMaintenance.REBALANCE


def _after(scene: Scene, origin: Origin) -> AfterMaintenance:
    """What the maintenance, as it is written now, says of guests that left for it. A deleted one said so when it began."""
    for maintenance in scene.wanted.maintenance.values():
        if maintenance.ref == origin.maintenance:
            return _said(returns=maintenance.returns, rebalances=maintenance.rebalances)
    if origin.maintenance == implied_ref(origin.node):
        return scene.cluster.spec.maintenance.template.after_maintenance
    return _said(returns=True, rebalances=origin.rebalances)


def _said(*, returns: bool, rebalances: bool) -> AfterMaintenance:
    if not returns:
        return AfterMaintenance.STAY
    return AfterMaintenance.REBALANCE if rebalances else AfterMaintenance.RETURN


def _over(scene: Scene, origin: Origin) -> bool:
    return origin.node not in scene.wanted.maintenance


def _not_open(scene: Scene, guest: Guest, origin: Origin) -> Waiting | Blocked | None:
    if refusal := refusals(scene, guest).get(origin.node):
        text = f"{guest} can't go back to {origin.node}: {refusal.message}"
        return blocked(guest, refusal.why, text, origin.maintenance)
    return _node_not_back(scene, guest, origin)


def _node_not_back(scene: Scene, guest: Guest, origin: Origin) -> Waiting | None:
    reason = scene.shut.get(origin.node, None if origin.node in scene.seen.nodes else "is not a node of the cluster")
    if reason is None:
        targets = replica_nodes(scene, guest)
        if targets is None or origin.node in targets:
            return None
        text = f"{guest} can't go back to {origin.node} while it is replicated only to {', '.join(sorted(targets))}"
        return Waiting(guest.vmid, Why.NOT_A_REPLICATION_TARGET, text, origin.maintenance)
    text = f"{guest} goes back to {origin.node} as soon as that is possible: {origin.node} {reason}"
    return Waiting(guest.vmid, _why_shut(scene.seen, origin), text, origin.maintenance)


def _why_shut(seen: Observed, origin: Origin) -> Why:
    node = seen.nodes.get(origin.node)
    return Why.TARGET_IN_MAINTENANCE if node is not None and node.usable else Why.TARGET_OFFLINE


def _intent(scene: Scene, guest: Guest, origin: Origin) -> Intent:
    return Intent(
        guest=guest,
        lane=Lane.RETURN,
        why=Why.RETURN_HOME,
        cause=origin.maintenance,
        because=f"the maintenance of {origin.node} is over and it came from there",
        nodes=(origin.node,),
        preferred=1,
        options=options(scene, guest),
        size=scene.needs.get(guest.vmid) or 0,
    )


def _no_place(scene: Scene, later: Stage, intent: Intent) -> Waiting:
    """Home has no place: that changes with the others, so it waits."""
    guest, home = intent.guest, intent.nodes[0]
    seat = no_seat(scene, later, guest, home)
    reason = seat or no_room(scene, later, guest, home) or "is needed by others"
    group = later.breaks(guest.vmid, home)
    why = group.why if seat and group is not None else Why.WAITING_FOR_ROOM
    return Waiting(guest.vmid, why, f"{guest} can't go back to {home} yet: {home} {reason}", intent.cause)
