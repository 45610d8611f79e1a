"""The local resource managers of HA: one on each node, which does what the cluster's manager decided.

The base of `simulator.ha` that works every five seconds; pve-ha-manager: PVE/HA/LRM.pm.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from controller.simulator.guests import Guest
from controller.simulator.ha_placement import Placement, Service

if TYPE_CHECKING:
    from controller.simulator.world import World

LRM_ROUND = 5.0
WORKERS = 4
"""Parallel actions of one LRM unless datacenter.cfg has max_workers (pve-ha-manager: PVE/HA/Env/PVE2.pm)."""
IDLE_SECONDS = 900.0
WATCHDOG = 60.0
"""Seconds without quorum after which a node with services under HA resets itself (pve-ha-manager: src/watchdog-mux.c)."""
SUCCESS, WRONG_NODE = 0, 7
ACTIONS = frozenset({"started", "stopped", "request_stop", "migrate", "relocate", "request_start_balance"})
Perform: TypeAlias = Callable[[Guest, str, str, Callable[[int], None]], None]
"""Carries out a state of a guest, with the target node of a move, and reports an exit code."""


@dataclass(slots=True)
class Lrm:
    """One node's local resource manager. `state`: wait_for_agent_lock, active or maintenance."""

    state: str = "wait_for_agent_lock"
    mode: str = "active"
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    written: float = 0.0
    useful: float = 0.0


class LocalManagers(Placement):
    """All LRMs of a cluster, and the hands that they work with."""

    def __init__(self, world: "World", resources: dict[str, dict[str, Any]]) -> None:
        super().__init__(world, resources)
        self.perform: Perform = _leave_alone
        self.reset: Callable[[str], None] = lambda _node: None
        """Power-cycles a node, as its watchdog does; given by the simulator."""
        self.lrms = {name: Lrm() for name in world.nodes}
        self.node_requests: dict[str, dict[str, int]] = {}
        self.disarm: dict[str, str] | None = None
        self._ticking = False
        self._index: dict[str, list[str]] | None = None

    def lrm_written(self, node: str) -> float:
        """Return when a node's LRM last wrote its status; while nothing is managed it writes too, unseen by the simulation."""
        world = self._world
        alive = world.nodes[node].powered and world.quorate(node)
        return world.now - world.now % LRM_ROUND if alive and not self._ticking else self.lrms[node].written

    def enlist(self, node: str) -> None:
        """Give a node that joins its LRM."""
        self.lrms[node] = Lrm(written=self._world.now)
        if self._ticking:
            self._world.after(LRM_ROUND, lambda: self._lrm_round(node))

    def local(self, node: str) -> Lrm:
        """Return a node's LRM; one that was started anew by a boot remembers no lock."""
        lrm = self.lrms[node]
        if self._world.nodes[node].powered and self._world.nodes[node].booted_at > lrm.written:
            lrm = self.lrms[node] = Lrm(results=lrm.results)
        return lrm

    def _lrm_round(self, node: str) -> None:
        if not self._ticking:
            return
        self._world.after(LRM_ROUND, lambda: self._lrm_round(node))
        lrm, world = self.local(node), self._world
        if not world.nodes[node].powered:
            return
        if not world.quorate(node):
            if lrm.state != "wait_for_agent_lock" and world.now - lrm.written >= WATCHDOG:
                world.log("ha-self-fence", node=node)
                self.reset(node)
            return
        lrm.written = world.now
        self._set_mode(node, lrm)
        if lrm.mode == "maintenance":
            self._forget_results(lrm)
        if lrm.mode == "disarm":
            lrm.state = "wait_for_agent_lock"
            return
        assigned = self.involved(node)
        if assigned:
            lrm.useful = world.now
        if lrm.state == "wait_for_agent_lock":
            if not assigned and lrm.mode != "maintenance":
                return
        elif not assigned and lrm.mode == "active" and world.now - lrm.useful > IDLE_SECONDS:
            lrm.state = "wait_for_agent_lock"
            return
        lrm.state = "maintenance" if lrm.mode == "maintenance" else "active"
        self._work(node, lrm)

    def _forget_results(self, lrm: Lrm) -> None:
        def present(uid: str, sid: str) -> bool:
            return sid in self.services and self.services[sid].uid == uid

        lrm.results = {uid: result for uid, result in lrm.results.items() if present(uid, result["sid"])}

    def _set_mode(self, node: str, lrm: Lrm) -> None:
        if self.disarm is not None:
            lrm.mode = "disarm"
        else:
            lrm.mode = "maintenance" if self.node_requests.get(node, {}).get("maintenance") else "active"

    def involved(self, node: str) -> bool:
        """Whether the manager has given services to a node or is moving one there."""
        return bool(self._assigned().get(node))

    def _assigned(self) -> dict[str, list[str]]:
        """Resource ids by the node that has them and the one they are on their way to."""
        if self._index is None:
            self._index = {}
            for sid, service in sorted(self.services.items()):
                for node in {service.node, service.target} - {""}:
                    self._index.setdefault(node, []).append(sid)
        return self._index

    def _work(self, node: str, lrm: Lrm) -> None:
        limit = int(self._world.options.get("max_workers", WORKERS))
        for sid in tuple(self._assigned().get(node, ())):
            service = self.services[sid]
            if service.node != node or service.uid in lrm.results or sid in lrm.busy or len(lrm.busy) >= limit:
                continue
            guest = self.guest_of(sid)
            if guest is not None and service.state in ACTIONS:
                self._start_action(sid, service, guest, lrm)

    def _start_action(self, sid: str, service: Service, guest: Guest, lrm: Lrm) -> None:
        uid, state = service.uid, service.state
        lrm.busy.add(sid)

        def ended(code: int) -> None:
            lrm.busy.discard(sid)
            self._forget_results(lrm)
            lrm.results[uid] = {"sid": sid, "state": state, "exit_code": code}

        if guest.node != service.node:
            ended(WRONG_NODE)
        else:
            what, service.hurry = ("stop_now" if service.hurry and state == "request_stop" else state), False
            self.perform(guest, what, service.target, ended)


def _leave_alone(_guest: Guest, _state: str, _target: str, ended: Callable[[int], None]) -> None:
    """Stand in until the simulator gives HA its hands; see `simulator.ha_actions`."""
    ended(SUCCESS)
