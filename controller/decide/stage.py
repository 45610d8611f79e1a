"""Where every guest counts: memory, vCPUs, copied volumes, and the seats in groups. Called by planners and preflight.

There are two stages of every plan. `now` counts a guest in flight on both sides: what may start at this instant is asked
there. `later` counts it where it will be: what is possible at all is asked there.
"""

from collections.abc import Collection, Iterable, Mapping

from controller.decide.capacity import Room
from controller.decide.scene import Scene
from controller.decide.seats import Seats, seats
from controller.decide.volumes import Shelf
from controller.model.desired import Apart, Desired, Group, Together
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
        accepting = frozenset(scene.seen.nodes.keys() - scene.shut.keys())
        self._seats: tuple[Seats, ...] = tuple(seats(group, accepting) for group in scene.wanted.groups)

    def copy(self) -> "Stage":
        """An independent picture that says the same."""
        other = object.__new__(Stage)
        other._scene, other._wanted, other._needs = self._scene, self._wanted, self._needs
        other.room, other.threads, other.shelves = self.room.copy(), self.threads.copy(), self.shelves.copy()
        other._seats = tuple(each.copy() for each in self._seats)
        return other

    def arrive(self, vmid: Vmid, node: NodeName) -> None:
        """The guest counts on the node from now on, whatever else it counts on."""
        self.room.claim(node, vmid, self._needs.get(vmid))
        self.threads.claim(node, vmid, self._scene.vcpus.get(vmid))
        for shelf, size in self._cargo(vmid, node):
            self.shelves.claim(shelf, vmid, size)
        for index in self._wanted.groups_of.get(vmid, ()):
            self._seats[index].arrive(vmid, node)

    def leave(self, vmid: Vmid, node: NodeName) -> None:
        """The guest no longer counts on the node."""
        self.room.release(node, vmid)
        self.threads.release(node, vmid)
        for shelf, _ in self._cargo(vmid, node):
            self.shelves.release(shelf, vmid)
        for index in self._wanted.groups_of.get(vmid, ()):
            self._seats[index].leave(vmid, node)

    def head_for(self, ends: Mapping[Vmid, NodeName], held: Collection[int] = ()) -> None:
        """Let the members of groups that are kept together go one by one to the domain where `ends` has all of them.

        `held`: indexes of groups that go nowhere for now.
        """
        for index, own in enumerate(self._seats):
            if isinstance(own.group, Together):
                domains = {own.group.domains.get(ends[vmid]) for vmid in own.group.members}
                own.heading = domains.pop() if len(domains) == 1 and index not in held else None

    def heading(self, vmid: Vmid) -> tuple[int, ...]:
        """Groups of the guest that may go somewhere together."""
        groups = self._wanted.groups_of.get(vmid, ())
        return tuple(
            index for index in groups if self._seats[index].heading is not None and self._wanted.groups[index].must
        )

    def admits(self, vmid: Vmid, node: NodeName, *, in_groups: bool = True) -> bool:
        """Whether the guest may come: there is room, and no Must about several guests is broken, or broken any further."""
        if not self.has_room(vmid, node):
            return False
        return not in_groups or self.breaks(vmid, node) is None

    def has_room(self, vmid: Vmid, node: NodeName) -> bool:
        """Whether its memory, its vCPUs and the volumes that would be copied find room."""
        return (
            self.room.fits(node, vmid, self._needs.get(vmid))
            and self.threads.fits(node, vmid, self._scene.vcpus.get(vmid))
            and all(self.shelves.fits(shelf, vmid, size) for shelf, size in self._cargo(vmid, node))
        )

    def breaks(self, vmid: Vmid, node: NodeName) -> Group | None:
        """The Must that the guest would break there, or break further, or that can't tell which domain the node is in."""
        for index in self._wanted.groups_of.get(vmid, ()):
            group = self._wanted.groups[index]
            if group.must and not self._seats[index].takes(vmid, node):
                return group
        return None

    def seated(self, index: int, node: NodeName) -> tuple[Vmid, ...]:
        """Members of group `index` in the domain of the node."""
        domain = self._wanted.groups[index].domains.get(node)
        return self._seats[index].there(domain) if domain is not None else ()

    def occupied(self, index: int, *, besides: Vmid | None = None) -> frozenset[str]:
        """Domains in which group `index` has members, `besides` one of them if asked."""
        return self._seats[index].occupied(besides=besides)

    def overfull(self, index: int) -> list[tuple[str, tuple[Vmid, ...]]]:
        """Domains of group `index` that hold too many members, with these; for groups that are kept apart."""
        group, own = self._wanted.groups[index], self._seats[index]
        if not isinstance(group, Apart):
            return []
        return [(domain, own.there(domain)) for domain in sorted(own.occupied()) if len(own.there(domain)) > group.most]

    def _cargo(self, vmid: Vmid, node: NodeName) -> Iterable[tuple[Shelf, int | None]]:
        """What it would bring along to a node; what is there already is counted by its storages."""
        guest = self._scene.seen.guests.get(vmid)
        if guest is None or guest.node == node:
            return ()
        return self._scene.cargo(vmid).shelves(node).items()


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
            for node in flight.nodes:
                now.arrive(vmid, node)
            later.arrive(vmid, flight.target)
    return now, later
