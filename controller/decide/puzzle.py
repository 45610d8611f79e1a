"""A scene as the numbers that `decide.solve` works on: nodes are bins, guests are items. Called by `decide.joint`.

Guests that stay and are in no group with those that may move are no items: what they need is taken off their node's capacity.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from controller.decide.explain import refusals, replica_nodes
from controller.decide.placement import Intent
from controller.decide.scene import Scene
from controller.decide.solve import problem as numbers
from controller.decide.stage import Stage
from controller.model.desired import Apart, Group, Spread
from controller.model.ids import NodeName, Vmid
from controller.model.observed import Guest

_STEP = 200
"""Penalty of every step down an order of preference: more than the heaviest Should about nodes."""
_SHUNNED = 20_000
"""Penalty of a target to which a move of the guest failed."""
_LATER = 1
"""Penalty of a target that has no place at this very moment."""


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A problem, and which guest, node and group its numbers mean."""

    problem: numbers.Problem
    vmids: tuple[Vmid, ...]
    nodes: tuple[NodeName, ...]
    groups: tuple[int, ...]  # indexes into `Desired.groups`


def puzzle(
    scene: Scene,
    now: Stage,
    where: Mapping[Vmid, NodeName],
    intents: Iterable[Intent],
    loose: AbstractSet[Vmid],
    *,
    hint: Mapping[Vmid, NodeName],
    willing: AbstractSet[Vmid] = frozenset(),
) -> Puzzle:
    """The problem of placing `intents`, with `loose` guests as others that may move.

    where: the node of every guest once everything that is decided is done. willing: guests that may move for a Should alone.
    """
    return _Maker(scene, now, where, {intent.guest.vmid: intent for intent in intents}, loose).make(hint, willing)


class _Maker:
    def __init__(
        self,
        scene: Scene,
        now: Stage,
        where: Mapping[Vmid, NodeName],
        intents: Mapping[Vmid, Intent],
        loose: AbstractSet[Vmid],
    ) -> None:
        self.scene, self.now, self.where, self.intents, self.loose = scene, now, where, intents, loose
        self.nodes = tuple(sorted(scene.seen.nodes))
        self.index = {node: number for number, node in enumerate(self.nodes)}
        moving = intents.keys() | loose
        of, groups = scene.wanted.groups_of, scene.wanted.groups
        self.groups = tuple(sorted({index for vmid in moving for index in of.get(vmid, ())}))
        members = {vmid for index in self.groups for vmid in groups[index].members}
        self.vmids = tuple(sorted(vmid for vmid in moving | members if where.get(vmid) in self.index))
        self.storages = self._storages(moving)
        self.busy = bool(scene.memory.flights or scene.foreign)
        self._allowed: dict[int, frozenset[int]] = {}  # by the identity of a fence, which guests share

    def make(self, hint: Mapping[Vmid, NodeName], willing: AbstractSet[Vmid]) -> Puzzle:
        number = {vmid: n for n, vmid in enumerate(self.vmids)}
        items = tuple(self._item(vmid) for vmid in self.vmids)
        groups = self.scene.wanted.groups
        return Puzzle(
            problem=numbers.Problem(
                bins=self._bins(number.keys()),
                items=items,
                groups=tuple(self._group(groups[index], number) for index in self.groups),
                hint={number[v]: self.index[n] for v, n in hint.items() if v in number and n in self.index},
                soft_may_move=frozenset(number[vmid] for vmid in willing if vmid in number),
            ),
            vmids=self.vmids,
            nodes=self.nodes,
            groups=self.groups,
        )

    # Nodes

    def _bins(self, items: AbstractSet[Vmid]) -> tuple[numbers.Bin, ...]:
        """What is left on every node beside the guests that are no items."""
        scene = self.scene
        rooms = [[scene.limits.get(node), scene.threads.get(node)] for node in self.nodes]
        for vmid, node in self.where.items():
            room = rooms[self.index[node]] if node in self.index and vmid not in items else None
            if room is None:
                continue
            for resource, need in enumerate((scene.needs.get(vmid), scene.vcpus.get(vmid))):
                left = room[resource]
                room[resource] = None if need is None or left is None else left - need
        shelves = scene.volumes.free()
        return tuple(
            numbers.Bin(
                (*rooms[n], *(self._shelf(shelves.get((node, name), 0), name, node) for name in self.storages)),
                open=node not in scene.shut,
            )
            for n, node in enumerate(self.nodes)
        )

    def _shelf(self, free: int | None, name: str, node: NodeName) -> int | None:
        """The bytes of a storage for items: what is free, and what items that are seen there occupy."""
        if free is None:
            return None
        guests = self.scene.seen.guests
        here = (vmid for vmid in self.vmids if vmid in guests and guests[vmid].node == node)
        return free + sum(self._shares(vmid).get(name) or 0 for vmid in here)

    def _storages(self, moving: Iterable[Vmid]) -> tuple[str, ...]:
        return tuple(sorted({name for vmid in moving for name in self._shares(vmid)}))

    def _shares(self, vmid: Vmid) -> Mapping[str, int | None]:
        """Bytes by storage. A guest with replicas goes only to where they are, and copies nothing there."""
        cargo = self.scene.cargo(vmid)
        return {} if cargo.replicas else cargo.shares

    # Guests

    def _item(self, vmid: Vmid) -> numbers.Item:
        scene, shares = self.scene, self._shares(vmid)
        need = (
            scene.needs.get(vmid),
            scene.vcpus.get(vmid),
            *(shares.get(name, 0) for name in self.storages),
        )
        at = self.index[self.where[vmid]]
        intent, guest = self.intents.get(vmid), scene.seen.guests.get(vmid)
        if guest is None or (intent is None and vmid not in self.loose):
            return numbers.Item(at, need, fixed=True, allowed=self._fenced(vmid))
        if intent is None:
            allowed, preference = self._open(guest), self._wishes(vmid)
        else:
            allowed = frozenset(self.index[node] for node in intent.nodes)
            preference = self._preference(intent)
        return numbers.Item(
            at=at,
            need=need,
            must_leave=intent is not None,
            allowed=allowed,
            cost=self._cost(vmid),
            preference=preference,
        )

    def _cost(self, vmid: Vmid) -> int | tuple[int, ...]:
        """Bytes to send: memory, and volumes where there is no replica of them."""
        memory, cargo = self.scene.needs.get(vmid) or 0, self.scene.cargo(vmid)
        if not cargo.shares:
            return memory
        return tuple(memory + cargo.bytes_to(node) for node in self.nodes)

    def _fenced(self, vmid: Vmid) -> frozenset[int] | None:
        fence = self.scene.wanted.fences.get(vmid)
        if fence is None:
            return None
        if id(fence) not in self._allowed:
            self._allowed[id(fence)] = frozenset(self.index[node] for node in fence.nodes)
        return self._allowed[id(fence)]

    def _open(self, guest: Guest) -> frozenset[int] | None:
        """Nodes for a guest that need not move, beside those that nobody may go to."""
        allowed, refused = self._fenced(guest.vmid), refusals(self.scene, guest)
        targets = replica_nodes(self.scene, guest)
        if targets is None and not refused:
            return allowed
        some = frozenset(range(len(self.nodes))) if allowed is None else allowed
        return frozenset(
            n for n in some if self.nodes[n] not in refused and (targets is None or self.nodes[n] in targets)
        )

    def _preference(self, intent: Intent) -> dict[int, int]:
        """The written order (home first), then Shoulds, then what has a place at once."""
        penalty = self._wishes(intent.guest.vmid, order=False)
        for node in intent.nodes:
            extra = _STEP * min(intent.nodes.index(node), intent.preferred)
            extra += _SHUNNED if node in intent.shunned else 0
            extra += _LATER if self.busy and not self.now.admits(intent.guest.vmid, node) else 0
            if extra:
                penalty[self.index[node]] = penalty.get(self.index[node], 0) + extra
        return penalty

    def _wishes(self, vmid: Vmid, *, order: bool = True) -> dict[int, int]:
        """Penalties of Shoulds about nodes and, with `order`, of the order of the Musts."""
        wanted, penalty = self.scene.wanted, dict[int, int]()
        for rule in wanted.wishes.get(vmid, ()):
            for n, node in enumerate(self.nodes):
                if node not in rule.nodes:
                    penalty[n] = penalty.get(n, 0) + rule.weight
        origin = self.scene.memory.origins.get(vmid)
        if order and origin is not None and origin.identity.same_as(self.scene.seen.guests[vmid].identity):
            for n, node in enumerate(self.nodes):
                penalty[n] = penalty.get(n, 0) + (_STEP if node != origin.node else 0)
        fence = wanted.fences.get(vmid)
        if order and fence is not None and fence.order:
            for n, node in enumerate(self.nodes):
                rank = fence.order.index(node) if node in fence.order else len(fence.order)
                penalty[n] = penalty.get(n, 0) + _STEP * rank
        return penalty

    # Groups

    def _group(self, group: Group, number: Mapping[Vmid, int]) -> numbers.Group:
        names = {name: n for n, name in enumerate(sorted(set(group.domains.values())))}
        kind, limit = numbers.GroupKind.TOGETHER, 1
        if isinstance(group, Apart):
            kind, limit = numbers.GroupKind.APART, group.most
        elif isinstance(group, Spread):
            kind, limit = numbers.GroupKind.SPREAD, group.skew
        return numbers.Group(
            kind=kind,
            members=frozenset(number[vmid] for vmid in group.members if vmid in number),
            domain=tuple(names[group.domains[node]] if node in group.domains else None for node in self.nodes),
            limit=limit,
            weight=group.weight,
        )
