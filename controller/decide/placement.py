"""Where guests that have to move go: targets for all of them together. Called by `evacuation`, `repair` and `homecoming`.

First the obvious (biggest first, to the best node), then again with those in front that found no place, and when that fails
a bounded search: on small, tight clusters the order decides whether a drain ends.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.decide.explain import copies, refusals, replica_nodes
from controller.decide.scene import Scene
from controller.decide.stage import Stage
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.observed import Guest
from controller.model.plan import Lane, MoveOptions
from controller.model.reasons import Why

_RETRIES = 8


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
    in_groups: bool = True  # keepApart counts for it; only `overrideMust` switches that off
    shunned: frozenset[NodeName] = frozenset()  # a move to them failed: they come last

    def rank(self, node: NodeName) -> int:
        """Place of the node in the order of preference."""
        last = len(self.nodes) if node in self.shunned else 0
        return min(self.nodes.index(node), self.preferred) + last


class Budget:
    """How much searching a whole plan may do, counted in questions asked, so that it is the same on every machine."""

    def __init__(self, questions: int = 40_000) -> None:
        self._left = questions

    def ask(self, questions: int) -> bool:
        """Take some; False when there are none left."""
        self._left -= questions
        return self._left >= 0


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


def assign(
    intents: Iterable[Intent], now: Stage, later: Stage, budget: Budget
) -> tuple[dict[Vmid, NodeName], list[Intent]]:
    """Targets by VMID, and the intents that found none. `later` is left with everybody where they will be."""
    ordered = sorted(intents, key=lambda intent: (-intent.size, len(intent.nodes), intent.guest.vmid))
    for intent in ordered:
        later.leave(intent.guest.vmid, intent.guest.node)
    found = _best(ordered, now, later, budget)
    failed = [intent for intent in ordered if intent.guest.vmid not in found]
    for intent in ordered:
        later.arrive(intent.guest.vmid, found.get(intent.guest.vmid, intent.guest.node))
    return found, failed


def assign_as_is(intent: Intent, now: Stage, later: Stage) -> NodeName | None:
    """A target for one guest while it still counts where it is: inside a domain that is overfull already it makes nothing worse."""
    candidates = _candidates(intent, now, later)
    if not candidates:
        return None
    later.arrive(intent.guest.vmid, candidates[0])
    later.leave(intent.guest.vmid, intent.guest.node)
    return candidates[0]


def _best(ordered: list[Intent], now: Stage, later: Stage, budget: Budget) -> dict[Vmid, NodeName]:
    """The assignment that places most; `later` is as before afterwards."""
    best = _greedy(ordered, now, later)
    # Who finds no place even when nobody else competes is hopeless, and must not make the search pointless for the others.
    hopeful = [i for i in ordered if i.guest.vmid in best or _candidates(i, now, later)]
    attempt, last = hopeful, best
    for _ in range(_RETRIES):
        failed = [intent for intent in attempt if intent.guest.vmid not in last]
        if not failed:
            return last
        attempt = failed + [intent for intent in attempt if intent.guest.vmid in last]
        last = _greedy(attempt, now, later)
        best = last if len(last) > len(best) else best
    return _search(hopeful, now, later, budget) or best


def _greedy(ordered: Sequence[Intent], now: Stage, later: Stage) -> dict[Vmid, NodeName]:
    found: dict[Vmid, NodeName] = {}
    for intent in ordered:
        candidates = _candidates(intent, now, later)
        if candidates:
            found[intent.guest.vmid] = candidates[0]
            later.arrive(intent.guest.vmid, candidates[0])
    for vmid, node in found.items():
        later.leave(vmid, node)
    return found


def _candidates(intent: Intent, now: Stage, later: Stage) -> list[NodeName]:
    """Nodes that have a place for it, best first: preference, free at once, most balanced afterwards, name."""
    vmid, strict = intent.guest.vmid, intent.in_groups
    fitting = [node for node in intent.nodes if later.admits(vmid, node, in_groups=strict)]
    return sorted(
        fitting,
        key=lambda node: (
            intent.rank(node),
            not now.admits(vmid, node, in_groups=strict),
            -later.room.fraction_after(node, intent.size),
            node,
        ),
    )


def _search(intents: Sequence[Intent], now: Stage, later: Stage, budget: Budget) -> dict[Vmid, NodeName] | None:
    """Places for all of them by trying everything, the guest with the fewest choices first; None when there are none in budget."""
    found: dict[Vmid, NodeName] = {}
    hardest = sorted(intents, key=lambda i: (len(_candidates(i, now, later)), -i.size, i.guest.vmid))

    def place(depth: int) -> bool:
        if depth == len(hardest):
            return True
        intent = hardest[depth]
        if not budget.ask(len(intent.nodes)):
            return False
        for node in _candidates(intent, now, later):
            found[intent.guest.vmid] = node
            later.arrive(intent.guest.vmid, node)
            deeper = place(depth + 1)
            later.leave(intent.guest.vmid, node)
            if deeper:
                return True
        found.pop(intent.guest.vmid, None)
        return False

    return dict(found) if len(intents) <= 60 and place(0) else None
