"""High availability: the cluster resource manager, the local ones of each node, fencing, recovery and maintenance.

Driven by the world's clock; asked by `simulator.routes.ha` and by guest calls that become requests to it. The states and their
order are those of pve-ha-manager: PVE/HA/Manager.pm, LRM.pm, CRM.pm and NodeStatus.pm.
"""

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from controller.simulator.guests import Guest
from controller.simulator.ha_local import LRM_ROUND, SUCCESS, WRONG_NODE, LocalManagers
from controller.simulator.ha_placement import Service, imbalance
from controller.simulator.ha_rules import Rule
from controller.simulator.seed import HaFile

if TYPE_CHECKING:
    from controller.simulator.world import World

CRM_ROUND = 10.0
FIRST_ROUND = 0.2
"""Seconds from the first thing to do until the CRM, which was idle, looks at it."""
DEAD_AFTER = 30.0
"""Age of a manager's time stamp from which the API calls it dead (pve-ha-manager: PVE/API2/HA/Status.pm)."""
FENCE_DELAY = 60.0
"""How long a node is unknown before it is to be fenced (pve-ha-manager: PVE/HA/NodeStatus.pm)."""
AGENT_LOCK = 120.0
MASTER_LOCK = 110.0
"""How long the locks of a dead LRM and of a dead master last (pve-cluster: src/pmxcfs)."""
RECOVERY_UNLOCKS = (
    "backup", "mounted", "migrate", "clone", "rollback", "snapshot", "snapshot-delete", "suspending", "suspended",
)  # fmt: skip
"""Locks that fencing takes away (pve-ha-manager: PVE/HA/Manager.pm fix_lock)."""


class HighAvailability(LocalManagers):
    """The HA stack of one cluster. Sleeps until there is a first resource."""

    def __init__(self, world: "World", resources: dict[str, dict[str, Any]], file: HaFile) -> None:
        super().__init__(world, resources)
        self.book.groups = {name: dict(group) for name, group in file.groups.items()}
        self.book.rules = {name: Rule.of(name, entry) for name, entry in file.rules.items()}
        self.master = ""
        self.timestamp = 0.0
        self.ever_active = False
        self._asked: list[tuple[str, str, str]] = []
        self._offline_since: dict[str, float] = {}
        self._serial = 0
        self._hold = 0
        self.book.group_of = {sid: str(entry["group"]) for sid, entry in resources.items() if "group" in entry}
        if self.has_rules:
            self._migrate_groups()
        if self.resources:
            self.wake()

    @property
    def has_rules(self) -> bool:
        """Whether groups have become rules: from 9.0 on, once no older node is left."""
        return all(node.at_least("9.0") for node in self._world.nodes.values())

    def _migrate_groups(self) -> None:
        """Turn groups into node affinity rules (pve-ha-manager: PVE/HA/Groups.pm migrate_groups_to_rules)."""
        for name, group in self.book.groups.items():
            members = [sid for sid, used in self.book.group_of.items() if used == name]
            if members:
                entry = {"type": "node-affinity", "resources": ",".join(members), "nodes": group["nodes"]}
                comment = f"Generated from HA group '{name}'."
                rule = Rule.of(f"ha-group-{name}", entry | {"strict": group.get("restricted", 0), "comment": comment})
                self.book.rules[rule.name] = rule
            for sid in members:
                self.resources[sid].pop("group")
                if int(group.get("nofailback", 0)):
                    self.resources[sid]["failback"] = 0
        self.book.groups, self.book.group_of = {}, {}

    # -- what people and programs ask for

    def manages(self, guest: Guest) -> bool:
        """Whether API calls about the guest become requests to HA."""
        entry = self.resources.get(self.sid_of(guest))
        ignoring = self.disarm is not None and self.disarm["mode"] == "ignore"
        return entry is not None and entry.get("state", "started") != "ignored" and not ignoring

    def state_of(self, sid: str) -> str:
        """Return the `hastate` of a resource: the CRM's word, or the requested state until it has one."""
        service, wanted = self.services.get(sid), str(self.resources[sid].get("state", "started"))
        return wanted if service is None or wanted == "ignored" else service.state

    def request(self, command: str, sid: str, node: str) -> None:
        """Queue `migrate` or `relocate`; partners of a positive rule get the same. Of several for one resource the last wins."""
        for name in (sid, *self.book.partners(sid, "positive")):
            self._asked.append((command, name, node))
        self.wake()

    def set_state(self, sid: str, state: str) -> None:
        """Rewrite the requested state of a resource, as the start of an HA guest does."""
        self.resources[sid]["state"] = state
        self.wake()

    def request_stop(self, sid: str) -> None:
        """Queue a stop without patience, as the stop of an HA guest does; the CRM rewrites the requested state."""
        self._asked.append(("stop", sid, ""))
        self.wake()

    def maintain(self, node: str, *, on: bool) -> None:
        """Do what `ha-manager crm-command node-maintenance` does on a node's shell; there is no API call for it."""
        self._asked.append(("enable-maintenance" if on else "disable-maintenance", "", node))
        self._world.log("ha-maintenance", node=node, on=on)
        self.ever_active = True
        self.wake()

    def forget(self, sid: str) -> None:
        """Remove a resource and its part in rules."""
        self.resources.pop(sid, None)
        self.book.group_of.pop(sid, None)
        for rule in list(self.book.rules.values()):
            if sid in rule.resources:
                rule.resources = tuple(other for other in rule.resources if other != sid)
                if not rule.resources:
                    del self.book.rules[rule.name]
        self.wake()

    def add_rule(self, rule: Rule) -> None:
        """Accept a rule; the CRM acts on it in its next round."""
        self.book.rules[rule.name] = rule
        self.wake()

    @property
    def digest(self) -> str:
        """SHA1 over resources.cfg."""
        return hashlib.sha1(repr(self.resources).encode(), usedforsecurity=False).hexdigest()

    @property
    def rules_digest(self) -> str:
        """SHA1 over rules.cfg."""
        return hashlib.sha1(repr(self.book.rules).encode(), usedforsecurity=False).hexdigest()

    # -- time

    def wake(self) -> None:
        """Begin the rounds of CRM and LRMs; called whenever something is asked for."""
        if self._ticking:
            return
        self.ever_active = True
        for name in self.lrms:
            self.local(name).written = self.lrm_written(name)
        self._ticking = True
        self._world.after(FIRST_ROUND, self._crm_round)
        for number, name in enumerate(self.lrms):
            self._world.after(LRM_ROUND * (number + 1) / (len(self.lrms) + 1), lambda node=name: self._lrm_round(node))  # type: ignore[misc]  # mypy can't infer a lambda's default

    def active(self) -> bool:
        """Whether there is anything to manage."""
        return bool(self.resources or self.services or self._asked or self.disarm or any(self.node_requests.values()))

    def _crm_round(self) -> None:
        if not self.active():
            self._ticking = False
            return
        self._world.after(CRM_ROUND, self._crm_round)
        if not self._elect():
            return
        self.timestamp = self._world.now
        self._update_nodes()
        self._take_commands()
        self._update_services()
        if self._disarmed():
            return
        for _ in range(20):
            if not self._pass():
                break
        self._rebalance()

    def _elect(self) -> bool:
        """Whether a master works: it stays while it is up and quorate, and is replaced once its lock has run out."""
        world = self._world
        fit = [name for name, node in world.nodes.items() if node.powered and world.quorate(name)]
        if not fit:
            return False
        if self.master in fit:
            return True
        if self.master and world.now - self.timestamp < MASTER_LOCK:
            return False
        self.master = fit[0] if self.master else fit[-1]
        world.log("ha-master", node=self.master)
        return True

    def _update_nodes(self) -> None:
        world = self._world
        for name in world.nodes:
            lrm = self.lrms[name]
            if world.online(self.master, name):
                self._offline_since.pop(name, None)
                if self.node_status.get(name) != "fence":
                    self.node_status[name] = "maintenance" if lrm.mode == "maintenance" else "online"
                continue
            since = self._offline_since.setdefault(name, world.now)
            if self.node_status.get(name) == "fence":
                continue
            needed = any(service.node == name and service.state == "fence" for service in self.services.values())
            late = world.now - since >= FENCE_DELAY
            self.node_status[name] = "fence" if needed and late else "unknown"

    def _take_commands(self) -> None:
        asked, self._asked = self._asked, []
        for command, sid, node in asked:
            if command == "enable-maintenance":
                self.node_requests[node] = {"maintenance": 1}
            elif command == "disable-maintenance":
                self.node_requests[node] = {}
            elif command == "stop" and sid in self.services:
                self.resources[sid]["state"] = "stopped"
                self.services[sid].hurry = True
            elif sid in self.services and self._reachable(node) and not self.blockers(sid, node):
                self.services[sid].cmd = (command, node)

    def _reachable(self, node: str) -> bool:
        return self.node_status.get(node) == "online"

    def _disarmed(self) -> bool:
        """While disarmed nothing is managed: services freeze and the locks go."""
        if self.disarm is None:
            return False
        if self.disarm["state"] == "disarming":
            for service in self.services.values():
                self._change(service, "freeze")
            if all(lrm.mode == "disarm" for name, lrm in self.lrms.items() if self._world.nodes[name].powered):
                self.disarm["state"] = "disarmed"
        return True

    def arm(self) -> None:
        """Take HA back into service; frozen services are looked at anew."""
        self.disarm = None
        for service in self.services.values():
            if service.state == "freeze":
                self._change(service, "started")
        for lrm in self.lrms.values():
            lrm.mode, lrm.state = "active", "wait_for_agent_lock"
        self.wake()

    # -- the manager

    def _update_services(self) -> None:
        before = self.services.keys() | {}
        for sid in sorted(self.resources):
            entry, guest = self.resources[sid], self.guest_of(sid)
            ignored = entry.get("state") == "ignored"
            if sid in self.services:
                if ignored or guest is None:
                    del self.services[sid]
            elif not ignored and guest is not None:
                state = "request_start" if self._wanted(sid) == "started" else "request_stop"
                self.services[sid] = Service(state, guest.node, self._uid())
        for sid in [sid for sid in self.services if sid not in self.resources]:
            del self.services[sid]

        if before != self.services.keys():
            self._index = None

    def _wanted(self, sid: str) -> str:
        state = str(self.resources[sid].get("state", "started"))
        return "started" if state == "enabled" else state

    def _pass(self) -> bool:
        """Go once through all services; True when a state changed, so that the next one is reached in the same round."""
        before = {sid: service.state for sid, service in self.services.items()}
        for sid in sorted(self.services):
            service = self.services[sid]
            step = getattr(self, f"_in_{service.state}", None)
            if step is not None:
                step(sid, service, self._result(service))
        fenced = {name for name in self.lrms if self._fenced(name)}
        for service in self.services.values():
            if service.state == "fence" and service.node in fenced:
                self._change(service, "recovery")
        return before != {sid: service.state for sid, service in self.services.items()}

    def _fenced(self, node: str) -> bool:
        """Whether the manager holds the agent lock of a dead node: then its guests are dead for certain."""
        if self.node_status.get(node) != "fence":
            return False
        if self._world.now - self.lrms[node].written < AGENT_LOCK:
            return False
        self.node_status[node] = "unknown"
        return True

    def _result(self, service: Service) -> int | None:
        """The exit code that the LRM of the service's node reported for its present uid."""
        result = self.lrms[service.node].results.get(service.uid)
        return None if result is None else int(result["exit_code"])

    def _in_request_start(self, sid: str, service: Service, _result: int | None) -> None:
        if "1" in self.crs("ha-rebalance-on-start", "0") and (best := self.select(sid, service, "best-score")) not in (
            None,
            service.node,
        ):
            self._change(service, "request_start_balance", target=str(best))
            return
        self._change(service, "started")

    def _in_request_start_balance(self, sid: str, service: Service, result: int | None) -> None:
        self._in_migrate(sid, service, result)

    def _in_request_stop(self, _sid: str, service: Service, result: int | None) -> None:
        if result == SUCCESS:
            self._change(service, "stopped")
        elif result is not None:
            self._change(service, "error")
        elif self._lost(service.node):
            self._change(service, "fence")

    def _in_stopped(self, sid: str, service: Service, _result: int | None) -> None:
        guest = self.guest_of(sid)
        if guest is not None:
            self._index = None if service.node != guest.node else self._index
            service.node = guest.node
        command, service.cmd = service.cmd, None
        if command is not None and self._reachable(command[1]) and command[1] != service.node:
            self._change(service, command[0], target=command[1])
        elif self._wanted(sid) == "started":
            self._change(service, "request_start")

    def _in_started(self, sid: str, service: Service, result: int | None) -> None:
        status = self.node_status.get(service.node)
        if status not in ("online", "maintenance"):
            if self._lost(service.node):
                self._change(service, "fence")
            return
        if status == "maintenance":
            service.maintenance_node = service.node
        if self._wanted(sid) in ("disabled", "stopped"):
            self._change(service, "request_stop")
            return
        if service.cmd is not None:
            (command, target), service.cmd = service.cmd, None
            if self._reachable(target) and target != service.node:
                service.maintenance_node = ""
                self._change(service, command, target=target)
            return
        self._settle(sid, service, result)

    def _settle(self, sid: str, service: Service, result: int | None) -> None:
        """Look at the last start and decide whether the service belongs elsewhere."""
        try_next = False
        if result == SUCCESS:
            service.failed = []
            service.running = True
        elif result is not None:
            service.failed.append(service.node)
            try_next = len(service.failed) <= int(self.resources[sid].get("max_relocate", 1))
            if not try_next:
                self._change(service, "error")
                return
        node = self.select(sid, service, "try-next" if try_next else "none")
        if node is None or node == service.node:
            if result is not None:
                service.uid = self._uid()
            return
        if node == service.maintenance_node:
            service.maintenance_node = ""
        kind = "migrate" if sid.startswith("vm:") and not try_next else "relocate"
        self._change(service, kind, target=node)

    def _in_migrate(self, sid: str, service: Service, result: int | None) -> None:
        if result is not None:
            wanted = "started" if self._wanted(sid) == "started" else "request_stop"
            if result == WRONG_NODE:
                self._change(service, "error")
                return
            self._change(service, wanted, node=service.target if result == SUCCESS else service.node)
        elif self._lost(service.node):
            self._change(service, "fence")

    _in_relocate = _in_migrate

    def _in_recovery(self, sid: str, service: Service, _result: int | None) -> None:
        guest = self.guest_of(sid)
        node = self.select(sid, service, "best-score")
        if guest is None or node is None:
            return
        world = self._world
        if guest.node != node:
            world.set_run(guest, "stopped")
            world.move_config(guest, node)
        if guest.lock in RECOVERY_UNLOCKS:
            world.set_lock(guest, None)
        world.log("ha-recovered", guest=guest.vmid, source=service.node, target=node)
        self._change(service, "started" if self._wanted(sid) == "started" else "request_stop", node=node)

    def _in_error(self, sid: str, service: Service, _result: int | None) -> None:
        if self._wanted(sid) == "disabled":
            self._change(service, "stopped")

    def _lost(self, node: str) -> bool:
        since = self._offline_since.get(node)
        return since is not None and self._world.now - since >= FENCE_DELAY

    def _change(self, service: Service, state: str, *, node: str = "", target: str = "") -> None:
        service.state, service.uid, service.running, service.target = state, self._uid(), False, target
        service.node = node or service.node
        self._index = None

    def _uid(self) -> str:
        self._serial += 1
        return (
            b64encode(hashlib.sha256(f"{self._world.seed} {self._serial}".encode()).digest()[:16]).decode().rstrip("=")
        )

    def _rebalance(self) -> None:
        """The one best move when the cluster was lopsided for some rounds (9.2: CRS option ha-auto-rebalance)."""
        if self.crs("ha-auto-rebalance", "0") != "1" or self.crs("ha", "basic") == "basic":
            return
        moving = any(service.state != "started" or service.cmd for service in self.services.values())
        scores = {node: score for node, score in self.scores().items() if self.node_status.get(node) == "online"}
        now = imbalance(scores)
        if moving or now * 100 <= float(self.crs("ha-auto-rebalance-threshold", "30")):
            self._hold = 0
            return
        self._hold += 1
        if self._hold < int(self.crs("ha-auto-rebalance-hold-duration", "3")):
            return
        after, sid, node = min(self.moves(scores), default=(now, "", ""))
        if sid and (now - after) / now * 100 >= float(self.crs("ha-auto-rebalance-margin", "10")):
            self._hold = 0
            self.request("migrate", sid, node)
