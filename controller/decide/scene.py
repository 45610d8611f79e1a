"""Everything a planner looks at, gathered once per plan: what is wanted, seen and remembered, and who moves already.

Built by `decide.pipeline`; handed to every planner.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from controller.decide import capacity
from controller.decide.desired import desired
from controller.decide.estimate import Estimate, dirty_of, estimate, rate_of
from controller.decide.maintenances import closed, maintenances
from controller.decide.replicable import Load, Obstacle
from controller.decide.volumes import Cargo, Volumes
from controller.decide.windows import Openings
from controller.model.desired import Desired, Maintenance
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.memory import Memory
from controller.model.observed import Guest, HaNodeState, Node, NodeState, Observed, ReplicationJob
from controller.model.plan import DrainMode
from controller.model.turn import HookAction
from controller.specs import PveCluster, Specs
from controller.specs.pvecluster import Coexistence

HA_MOVING = frozenset({"migrate", "relocate"})
"""States of an HA resource in which the HA manager is moving it (pve-ha-manager: PVE/HA/Manager.pm)."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The frozen input of every planner."""

    specs: Specs
    cluster: PveCluster
    seen: Observed
    memory: Memory
    wanted: Desired
    foreign: frozenset[Vmid]  # moved by somebody else: nobody knows where to
    shut: Mapping[NodeName, str]  # nodes that accept nothing, and why: the end of a sentence that begins with the node
    needs: Mapping[Vmid, int | None]
    limits: Mapping[NodeName, int | None]
    vcpus: Mapping[Vmid, int | None]
    threads: Mapping[NodeName, int | None]  # vCPUs that the running guests of each node may have together
    volumes: Volumes
    residents: Mapping[NodeName, tuple[Guest, ...]]  # by VMID
    jobs: Mapping[Vmid, tuple[ReplicationJob, ...]]  # replication jobs by guest, those that are being removed too
    replicas: Mapping[Vmid, frozenset[NodeName]]  # targets of a guest's replication jobs that stay
    openings: Openings  # of the change windows, at the moment of the look

    def left_to_ha(self, guest: Guest) -> bool:
        """Whether PVE HA decides where the guest lives, so that Drover moves it only to empty a node."""
        return guest.ha_managed and self.cluster.spec.ha.coexistence is not Coexistence.IGNORE

    def flying(self, vmid: Vmid) -> bool:
        """Whether anybody moves the guest."""
        return vmid in self.memory.flights or vmid in self.foreign

    def estimate(self, guest: Guest, target: NodeName | None = None) -> Estimate:
        """What moving the guest takes; without a target what it takes at least."""
        carriage, cargo = self.wanted.carriage(guest.vmid), self.cargo(guest.vmid)
        copied = cargo.bytes_to(target) if target is not None else 0
        return estimate(
            kind=guest.kind,
            running=guest.power.holds_memory,
            memory_bytes=self.needs.get(guest.vmid) or 0,
            disk_bytes=copied,
            rate=rate_of(
                guest.node,
                target,
                limit_mib_s=carriage.bandwidth_limit_mib_s,
                cluster=self.cluster,
                specs=self.specs,
                memory=self.memory,
            ),
            dirty_bytes_s=dirty_of(self.memory, guest.identity),
        )

    def cargo(self, vmid: Vmid) -> Cargo:
        """What the guest takes along besides its memory."""
        return self.volumes.cargo(vmid, self.wanted.carriage(vmid).policy)

    def replicable(self, vmid: Vmid) -> Load | Obstacle | None:
        """What is replicated before the guest moves, or why nothing can be; None: nothing has to be, or nobody knows yet."""
        return self.volumes.replicable(vmid, self.wanted.carriage(vmid).policy)


def scene(specs: Specs, seen: Observed, memory: Memory) -> Scene:
    """Gather it all; the only place that walks over all guests more than once."""
    cluster = specs.clusters[seen.cluster]
    wanted = desired(specs, seen)
    jobs = _jobs(seen)
    replicas = _replicas(jobs)
    return Scene(
        specs=specs,
        cluster=cluster,
        seen=seen,
        memory=memory,
        wanted=wanted,
        foreign=foreign_moves(seen, memory),
        shut=MappingProxyType(
            _spared(memory) | _serviced(memory) | shut_nodes(seen, wanted.maintenance, wanted.closed)
        ),
        needs=capacity.needs(cluster, seen, memory),
        limits=capacity.limits(specs, seen),
        vcpus=capacity.promised(seen, memory),
        threads=capacity.thread_limits(specs, seen),
        volumes=Volumes(specs, seen, replicas),
        residents=_residents(seen),
        jobs=jobs,
        replicas=replicas,
        openings=Openings(specs, cluster, seen.at),
    )


def foreign_moves(seen: Observed, memory: Memory) -> frozenset[Vmid]:
    """Guests that somebody else is moving: a running task says so, or a lock, or the HA manager.

    Tasks of others are invisible to a token without Sys.Audit, so the lock counts as well, until it has been idle for long.
    """
    locked = {vmid for vmid, guest in seen.guests.items() if guest.lock == "migrate"} - seen.idle_locks
    return (seen_moving(seen) | locked) - memory.flights.keys()


def seen_moving(seen: Observed) -> frozenset[Vmid]:
    """Guests that a running task or the HA manager is moving; a lock alone may be left behind."""
    by_task = {task.vmid for task in seen.tasks if task.running and task.migrates and task.vmid is not None}
    by_ha = {vmid for vmid, guest in seen.guests.items() if guest.ha_state in HA_MOVING}
    return frozenset(by_task & seen.guests.keys() | by_ha)


def shut(specs: Specs, seen: Observed) -> Mapping[NodeName, str]:
    """Nodes that accept nothing, and why; for those who need nothing else."""
    return shut_nodes(seen, maintenances(specs.clusters[seen.cluster], specs, seen), closed(specs, seen))


def _spared(memory: Memory) -> dict[NodeName, str]:
    return {node: f"is spared: {reason}" for node, reason in memory.spared.items()}


def _serviced(memory: Memory) -> dict[NodeName, str]:
    """Nothing comes to a node that a hook may reboot at any moment, even when its maintenance has been called off."""
    runs = (run for run in memory.hooks.values() if run.call.action is HookAction.DRAINED and not run.over)
    return {run.call.node: f"is being serviced (hook {run.call.hook})" for run in runs}


def shut_nodes(
    seen: Observed, maintenance: Mapping[NodeName, Maintenance], closed: Mapping[NodeName, ObjectRef]
) -> dict[NodeName, str]:
    """Nodes that accept nothing, and why: their state comes before what people want of them."""
    found = {}
    for name, node in sorted(seen.nodes.items()):
        if trouble := node_trouble(node):
            found[name] = trouble
        elif name in maintenance:
            wanted = maintenance[name]
            word = "in maintenance" if wanted.mode is DrainMode.EVACUATE else "cordoned"
            found[name] = f"is {word} ({wanted.ref})"
        elif name in closed:
            found[name] = f"is unschedulable ({closed[name]})"
    return found


def node_trouble(node: Node) -> str | None:
    """What keeps a node from taking guests by its own state, or None."""
    if node.state is NodeState.OFFLINE:
        return "is offline"
    if node.state is not NodeState.ONLINE:
        return "is in an unknown state"
    if node.ha is HaNodeState.MAINTENANCE:
        return "is in PVE HA maintenance"
    return None if node.usable else f"is in HA state {node.ha.value}"


def _residents(seen: Observed) -> Mapping[NodeName, tuple[Guest, ...]]:
    found: dict[NodeName, list[Guest]] = defaultdict(list)
    for _, guest in sorted(seen.guests.items()):
        found[guest.node].append(guest)
    return MappingProxyType({node: tuple(guests) for node, guests in found.items()})


def _jobs(seen: Observed) -> Mapping[Vmid, tuple[ReplicationJob, ...]]:
    found: dict[Vmid, list[ReplicationJob]] = defaultdict(list)
    for job in sorted(seen.jobs, key=lambda job: job.id):
        found[job.vmid].append(job)
    return MappingProxyType({vmid: tuple(jobs) for vmid, jobs in found.items()})


def _replicas(jobs: Mapping[Vmid, tuple[ReplicationJob, ...]]) -> Mapping[Vmid, frozenset[NodeName]]:
    found = {vmid: frozenset(job.target for job in of if not job.removing) for vmid, of in jobs.items()}
    return MappingProxyType({vmid: targets for vmid, targets in found.items() if targets})
