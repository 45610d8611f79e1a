"""Where every guest counts: memory, vCPUs, copied volumes and the seats of keepApart groups. Called by planners and preflight.

There are two stages of every plan. `now` counts a guest in flight on both sides: what may start at this instant is asked
there. `later` counts it where it will be: what is possible at all is asked there.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from controller.decide.capacity import Room
from controller.decide.scene import Scene
from controller.decide.volumes import Shelf
from controller.model.desired import Apart, Desired
from controller.model.ids import NodeName, Vmid
from controller.model.observed import NodeState


class Stage:
    """A mutable picture of who counts where."""

    def __init__(self, scene: Scene) -> None:
        self._wanted: Desired = scene.wanted
        self._scene = scene
        self._needs: Mapping[Vmid, int | None] = scene.needs
        self.room = Room(scene.limits)
        self.threads = Room(scene.threads)
        self.shelves = Room(scene.volumes.free())
        self._seats: dict[int, dict[str, dict[Vmid, set[NodeName]]]] = _no_seats()

    def copy(self) -> "Stage":
        """An independent picture that says the same."""
        other = object.__new__(Stage)
        other._scene, other._wanted, other._needs = self._scene, self._wanted, self._needs
        other.room, other.threads, other.shelves = self.room.copy(), self.threads.copy(), self.shelves.copy()
        other._seats = _no_seats()
        for index, domains in self._seats.items():
            for domain, guests in domains.items():
                other._seats[index][domain] = {vmid: set(nodes) for vmid, nodes in guests.items()}
        return other

    def arrive(self, vmid: Vmid, node: NodeName) -> None:
        """The guest counts on the node from now on, whatever else it counts on."""
        self.room.claim(node, vmid, self._needs.get(vmid))
        self.threads.claim(node, vmid, self._scene.vcpus.get(vmid))
        for shelf, size in self._cargo(vmid, node):
            self.shelves.claim(shelf, vmid, size)
        for index, domain in self._seats_at(vmid, node):
            self._seats[index][domain].setdefault(vmid, set()).add(node)

    def leave(self, vmid: Vmid, node: NodeName) -> None:
        """The guest no longer counts on the node."""
        self.room.release(node, vmid)
        self.threads.release(node, vmid)
        for shelf, _ in self._cargo(vmid, node):
            self.shelves.release(shelf, vmid)
        for index, domain in self._seats_at(vmid, node):
            there = self._seats[index][domain]
            nodes = there.get(vmid, set())
            nodes.discard(node)
            if not nodes:
                there.pop(vmid, None)

    def admits(self, vmid: Vmid, node: NodeName, *, in_groups: bool = True) -> bool:
        """Whether the guest may come: there is room, and no keepApart group gets one too many."""
        if not self.has_room(vmid, node):
            return False
        return not in_groups or self.crowded(vmid, node) is None

    def has_room(self, vmid: Vmid, node: NodeName) -> bool:
        """Whether its memory, its vCPUs and the volumes that would be copied find room."""
        return (
            self.room.fits(node, vmid, self._needs.get(vmid))
            and self.threads.fits(node, vmid, self._scene.vcpus.get(vmid))
            and all(self.shelves.fits(shelf, vmid, size) for shelf, size in self._cargo(vmid, node))
        )

    def crowded(self, vmid: Vmid, node: NodeName) -> Apart | None:
        """The group that would get one too many in the node's domain, or that can't tell which domain that is."""
        for index in self._wanted.groups_of.get(vmid, ()):
            group = self._wanted.groups[index]
            domain = group.domains.get(node)
            if domain is None:
                return group
            there = self._seats[index][domain]
            if vmid not in there and len(there) >= group.most:
                return group
        return None

    def seated(self, index: int, node: NodeName) -> tuple[Vmid, ...]:
        """Members of group `index` in the domain of the node."""
        domain = self._wanted.groups[index].domains.get(node)
        return tuple(sorted(self._seats[index][domain])) if domain is not None else ()

    def overfull(self, index: int) -> list[tuple[str, tuple[Vmid, ...]]]:
        """Domains of group `index` that hold too many members, with these."""
        most = self._wanted.groups[index].most
        return [
            (domain, tuple(sorted(there))) for domain, there in sorted(self._seats[index].items()) if len(there) > most
        ]

    def _cargo(self, vmid: Vmid, node: NodeName) -> Iterable[tuple[Shelf, int | None]]:
        """What it would bring along to a node; what is there already is counted by its storages."""
        guest = self._scene.seen.guests.get(vmid)
        if guest is None or guest.node == node:
            return ()
        return self._scene.cargo(vmid).shelves(node).items()

    def _seats_at(self, vmid: Vmid, node: NodeName) -> list[tuple[int, str]]:
        groups = self._wanted.groups
        return [
            (index, groups[index].domains[node])
            for index in self._wanted.groups_of.get(vmid, ())
            if node in groups[index].domains
        ]


def _no_seats() -> dict[int, dict[str, dict[Vmid, set[NodeName]]]]:
    return defaultdict(lambda: defaultdict(dict))


def stages(scene: Scene, *, without: Vmid | None = None) -> tuple[Stage, Stage]:
    """`now` and `later` as flights leave them, `without` one guest's flight if asked."""
    now, later = Stage(scene), Stage(scene)
    online = [name for name, node in scene.seen.nodes.items() if node.state is NodeState.ONLINE]
    for vmid, guest in scene.seen.guests.items():
        now.arrive(vmid, guest.node)
        if vmid in scene.foreign:
            for node in online:  # nobody says where it goes to
                now.arrive(vmid, node)
        if vmid not in scene.memory.flights or vmid == without:
            later.arrive(vmid, guest.node)
    for vmid, flight in scene.memory.flights.items():
        if vmid != without:
            now.arrive(vmid, flight.source)
            now.arrive(vmid, flight.target)
            later.arrive(vmid, flight.target)
    return now, later
