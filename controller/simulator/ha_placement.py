"""Where services under HA may be and would best be: rules, affinities, load.

The base of `simulator.ha`, which asks it whenever a service starts, moves or has lost its node; the order of the questions is that
of pve-ha-manager: PVE/HA/Manager.pm select_service_node.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from controller.simulator.guests import Guest
from controller.simulator.ha_rules import RuleBook

if TYPE_CHECKING:
    from controller.simulator.world import World


@dataclass(slots=True)
class Service:
    """What the manager knows of one resource."""

    state: str
    node: str
    uid: str
    target: str = ""
    running: bool = False
    cmd: tuple[str, str] | None = None
    maintenance_node: str = ""
    failed: list[str] = field(default_factory=list)
    hurry: bool = False

    def row(self) -> dict[str, Any]:
        """Return its entry of manager_status."""
        row: dict[str, Any] = {"state": self.state, "node": self.node, "uid": self.uid}
        if self.running:
            row["running"] = 1
        places = {"target": self.target, "maintenance_node": self.maintenance_node}
        row |= {key: value for key, value in places.items() if value}
        if self.cmd is not None:
            row["cmd"] = list(self.cmd)
        if self.failed:
            row["failed_nodes"] = self.failed
        return row


class Placement:
    """Resources, services, the nodes they may use, and the rules over both."""

    def __init__(self, world: "World", resources: dict[str, dict[str, Any]]) -> None:
        self._world = world
        self.resources = resources
        self.book = RuleBook()
        self.services: dict[str, Service] = {}
        self.node_status: dict[str, str] = {}

    def sid_of(self, guest: Guest) -> str:
        """Return the resource id a guest has or would have."""
        return f"{'ct' if guest.type == 'lxc' else 'vm'}:{guest.vmid}"

    def guest_of(self, sid: str) -> Guest | None:
        """Return the guest behind a resource id."""
        guest = self._world.guests.get(int(sid.partition(":")[2]))
        return guest if guest is not None and self.sid_of(guest) == sid else None

    def blockers(self, sid: str, node: str) -> list[str]:
        """Return the resources of a negative rule that live on `node` or are on their way there."""
        return [other for other in self.book.partners(sid, "negative") if node in self.places(other)]

    def places(self, sid: str) -> set[str]:
        """Return where a resource is, and where it is on its way to."""
        service = self.services.get(sid)
        if service is not None:
            return {service.node, service.target} - {""}
        guest = self.guest_of(sid)
        return {guest.node} if guest is not None else set()

    def select(self, sid: str, service: Service, preference: str) -> str | None:
        """Return the node for a service, None when there is none.

        preference: `none` = stay if that is allowed, `best-score` = wherever there is most room, `try-next` = not where it failed.
        """
        online = [name for name, status in self.node_status.items() if status == "online"]
        allowed, best = self.book.allowed(sid, online)
        taken = {node for other in self.book.partners(sid, "negative") for node in self.places(other)}
        stays = preference == "none" and service.node not in taken
        if not best or (stays and not self._failback(sid) and service.node in allowed):
            return service.node if best else None
        if preference != "try-next" and service.maintenance_node in best:
            return service.maintenance_node
        best = self._with_partners(sid, best) - taken
        if stays and service.node in best:
            return service.node
        scores = self.scores()
        tried = service.failed if preference == "try-next" else []
        return min(
            (node for node in best if node not in tried), key=lambda node: (scores.get(node, 0.0), node), default=None
        )

    def _failback(self, sid: str) -> bool:
        group = self.book.groups.get(self.book.group_of.get(sid, ""))
        if group is not None:
            return not int(group.get("nofailback", 0))
        return bool(int(self.resources[sid].get("failback", 1)))

    def _with_partners(self, sid: str, nodes: set[str]) -> set[str]:
        counts: dict[str, int] = {}
        for other in self.book.partners(sid, "positive"):
            for node in self.places(other):
                counts[node] = counts.get(node, 0) + 1
        ranked = sorted((node for node in counts if node in nodes), key=lambda node: (-counts[node], node))
        return {ranked[0]} if ranked else nodes

    def crs(self, key: str, default: str) -> str:
        """Return one part of datacenter.cfg's `crs`."""
        parts = dict(part.partition("=")[::2] for part in str(self._world.options.get("crs", "")).split(","))
        return parts.get(key, default)

    def scores(self) -> dict[str, float]:
        """Load of each node: services (9.2: and running guests) in mode basic, memory by static and dynamic."""
        world = self._world
        scores = dict.fromkeys(world.nodes, 0.0)
        mode = self.crs("ha", "basic")
        for guest in world.guests.values():
            service = self.services.get(self.sid_of(guest))
            if service is None and not (guest.running and world.nodes[guest.node].at_least("9.2")):
                continue
            node = (service.target or service.node) if service is not None else guest.node
            if mode == "basic":
                scores[node] += 1.0
            elif guest.running or service is not None:
                scores[node] += (guest.memory if mode == "static" else guest.rss) / world.nodes[node].memory
        return scores

    def moves(self, scores: dict[str, float]) -> list[tuple[float, str, str]]:
        """Return every single move as (imbalance after it, resource, node)."""
        found = []
        for sid, service in self.services.items():
            guest = self.guest_of(sid)
            if guest is None or service.state != "started" or not guest.running:
                continue
            size = guest.memory if self.crs("ha", "basic") == "static" else guest.rss
            for node in self.book.allowed(sid, scores)[1] - {service.node}:
                if self.blockers(sid, node) or service.node not in scores:
                    continue
                moved = dict(scores)
                moved[service.node] -= size / self._world.nodes[service.node].memory
                moved[node] += size / self._world.nodes[node].memory
                found.append((imbalance(moved), sid, node))
        return found


def imbalance(scores: Mapping[str, float]) -> float:
    """Spread of the nodes' load against its mean."""
    mean = sum(scores.values()) / len(scores) if scores else 0.0
    if mean == 0.0:
        return 0.0
    return float((sum((score - mean) ** 2 for score in scores.values()) / len(scores)) ** 0.5 / mean)
