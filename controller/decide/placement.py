"""Guests that have to move: why, how, and where policies let them go. Called by all planners; `decide.joint` chooses targets."""

from dataclasses import dataclass

from controller.decide.explain import copies, refusals, replica_nodes, shunned
from controller.decide.gate import options
from controller.decide.scene import Scene
from controller.decide.stage import Stage
from controller.model.ids import NodeName, ObjectRef
from controller.model.observed import Guest
from controller.model.plan import Lane, MoveOptions
from controller.model.reasons import Why


@dataclass(frozen=True, slots=True)
class Intent:
    """One guest that has to move, with everything but the target."""

    guest: Guest
    lane: Lane
    why: Why
    cause: ObjectRef
    because: str  # the sentence that makes it necessary
    nodes: tuple[NodeName, ...]  # where it may go as far as policies and nodes are concerned, the preferred ones first
    preferred: int  # how many of `nodes` are in order of preference; the rest are all the same
    options: MoveOptions
    size: int
    returns: bool = False
    rebalances: bool = False
    aborts: bool = False  # it is stopped when its cause is called off
    in_groups: bool = True  # keepApart counts for it; only `overrideMust` switches that off
    shunned: frozenset[NodeName] = frozenset()  # a move to them failed: they come last

    def rank(self, node: NodeName) -> int:
        """Place of the node in the order of preference."""
        last = len(self.nodes) if node in self.shunned else 0
        return min(self.nodes.index(node), self.preferred) + last


def open_nodes(scene: Scene, guest: Guest, *, musts: bool = True) -> tuple[tuple[NodeName, ...], int]:
    """Nodes that may take the guest, the preferred ones first, and how many are preferred.

    First where its disks are being copied to, then its home, its policy's order, and nodes that have a replica of it.
    """
    fence = scene.wanted.fences.get(guest.vmid)
    allowed = fence.nodes if fence is not None and musts else scene.seen.nodes.keys()
    targets = replica_nodes(scene, guest)
    free = {
        node
        for node in allowed
        if node != guest.node and node not in scene.shut and (targets is None or node in targets)
    } - refusals(scene, guest).keys()
    origin = scene.memory.origins.get(guest.vmid)
    home = [origin.node] if origin is not None and origin.identity.same_as(guest.identity) else []
    copying, replicas = copies(scene, guest)
    wishes = [*copying, *home, *(fence.order if fence else ()), *replicas]
    preferred = [node for node in dict.fromkeys(wishes) if node in free]
    return (*preferred, *sorted(free.difference(preferred))), len(preferred)


def other(scene: Scene, guest: Guest, lane: Lane, *, why: Why, cause: ObjectRef, because: str) -> Intent:
    """A guest that is moved for the sake of a rule or of somebody else."""
    nodes, preferred = open_nodes(scene, guest)
    return Intent(
        guest=guest,
        lane=lane,
        why=why,
        cause=cause,
        because=because,
        nodes=nodes,
        preferred=preferred,
        options=options(scene, guest),
        size=scene.needs.get(guest.vmid) or 0,
        shunned=shunned(scene, guest),
    )


def assign_as_is(intent: Intent, now: Stage, later: Stage) -> NodeName | None:
    """A target for one guest while it still counts where it is: inside a domain that is overfull already it makes nothing worse."""
    vmid, strict = intent.guest.vmid, intent.in_groups
    candidates = sorted(
        (node for node in intent.nodes if later.admits(vmid, node, in_groups=strict)),
        key=lambda node: (
            intent.rank(node),
            not now.admits(vmid, node, in_groups=strict),
            -later.room.fraction_after(node, intent.size),
            node,
        ),
    )
    if not candidates:
        return None
    later.arrive(intent.guest.vmid, candidates[0])
    later.leave(intent.guest.vmid, intent.guest.node)
    return candidates[0]
