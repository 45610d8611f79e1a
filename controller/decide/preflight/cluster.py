"""Checks of the cluster, the source and the target. Listed in `preflight.CHECKS`."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from controller.decide import capacity
from controller.decide.preflight.finding import Finding, Look, check, fail, wait, warn
from controller.decide.scene import foreign_moves, shut
from controller.decide.words import size
from controller.model.ids import NodeName, Vmid
from controller.model.observed import Guest, HaNodeState, Node, NodeState
from controller.model.reasons import Why


@check(Why.NO_QUORUM)
def cluster_is_quorate(look: Look) -> tuple[Finding, ...]:
    """Without quorum PVE refuses every migration (qemu-server: PVE/API2/Qemu.pm, check_cfs_quorum)."""
    return () if look.fresh.quorate else wait(Why.NO_QUORUM, "the cluster has no quorum")


@check(Why.NODE_OFFLINE, Why.HA_FENCING)
def source_is_online(look: Look) -> tuple[Finding, ...]:
    """A node that is gone, or that HA is about to fence, sends nothing."""
    node = look.fresh.source
    if node is None or node.state is not NodeState.ONLINE:
        return fail(Why.NODE_OFFLINE, f"{look.move.source} is not online")
    if node.ha in (HaNodeState.FENCE, HaNodeState.UNKNOWN, HaNodeState.GONE):
        return wait(Why.HA_FENCING, f"PVE HA calls {look.move.source} {node.ha.value}")
    return ()


@check(Why.TARGET_OFFLINE)
def target_is_online(look: Look) -> tuple[Finding, ...]:
    """PVE itself accepts an offline target and fails minutes later."""
    node = look.fresh.target
    if node is not None and node.state is NodeState.ONLINE:
        return ()
    return fail(Why.TARGET_OFFLINE, f"{look.move.target} is not online")


@check(Why.TARGET_IN_MAINTENANCE)
def target_takes_guests(look: Look) -> tuple[Finding, ...]:
    """Neither in maintenance (ours or PVE HA's), nor cordoned, nor being fenced."""
    target = look.fresh.target
    if target is None or target.state is not NodeState.ONLINE:
        return ()
    fresh = replace(look.seen, nodes=MappingProxyType({**look.seen.nodes, target.name: target}))
    reason = shut(look.specs, fresh).get(target.name)
    return fail(Why.TARGET_IN_MAINTENANCE, f"{target.name} {reason}") if reason else ()


@check(Why.WAITING_FOR_ROOM, Why.SIZE_UNKNOWN)
def memory_fits(look: Look) -> tuple[Finding, ...]:
    """The ledger again, with the target's size and the guest's as read just now, and with all that has been started since."""
    target, needed = look.fresh.target, look.size
    if target is None or look.fresh.guest is None or needed == 0:
        return ()
    if needed is None:
        return fail(Why.SIZE_UNKNOWN, f"PVE reports no memory size for {look.named}")
    room = _room(look, target)
    free = room.free(target.name)
    if free is None:
        return fail(Why.SIZE_UNKNOWN, f"how much room {target.name} has is unknown: a size is missing")
    if needed > free:
        return wait(
            Why.WAITING_FOR_ROOM,
            f"{look.named} needs {size(needed)}, {target.name} has {size(max(0, free))} free of what guests may use",
        )
    return _tight(target, needed)


def _tight(target: Node, needed: int) -> tuple[Finding, ...]:
    """What the ledger allows may still be more than the machine has: caches give way, other programs do not."""
    if target.memory_bytes is None or target.memory_used_bytes is None:
        return ()
    left = target.memory_bytes - target.memory_used_bytes
    if left >= needed:
        return ()
    return warn(Why.WAITING_FOR_ROOM, f"{target.name} has only {size(max(0, left))} that nobody uses at this moment")


@check(Why.TOO_FEW_CPUS)
def vcpus_fit(look: Look) -> tuple[Finding, ...]:
    """PVE starts no VM with more vCPUs than its node has threads (qemu-server: PVE/QemuServer.pm, config_to_command)."""
    setup, target = look.facts.setup, look.fresh.target
    if setup is None or setup.most_cpus is None or target is None or target.cpus is None:
        return ()
    if setup.most_cpus <= target.cpus:
        return ()
    text = f"{look.named} has {setup.most_cpus} vCPUs, {target.name} has {target.cpus} threads"
    return fail(Why.TOO_FEW_CPUS, text) if look.live else warn(Why.TOO_FEW_CPUS, f"{text}: it could not be started")


@check(Why.CPU_OVERCOMMITTED)
def cpus_are_not_overcommitted(look: Look) -> tuple[Finding, ...]:
    """All running vCPUs of the target together, by the configs where they are known; those of the guest as read just now."""
    target, guest = look.fresh.target, look.guest
    if target is None or target.cpus is None or guest is None or not look.running:
        return ()
    ratio = look.cluster.spec.capacity.cpu_overcommit_ratio
    most = capacity.thread_limit(target, look.cluster.spec.capacity, look.specs.node(target.name)) or 0
    own = capacity.vcpus(guest, look.fresh.config, look.fresh.source) or 0
    total = own + sum(_vcpus(look, other) for other in look.seen.guests_on(target.name) if other.vmid != guest.vmid)
    if total <= most or not own:
        return ()
    text = f"{target.name} would have {total} vCPUs on {target.cpus} threads, and {most} are allowed ({ratio:g} to one)"
    return wait(Why.CPU_OVERCOMMITTED, text)


def _vcpus(look: Look, guest: Guest) -> int:
    node = look.seen.nodes.get(guest.node)
    return capacity.vcpus(guest, look.seen.configs.get(guest.vmid), node) or 0


def _room(look: Look, target: Node) -> capacity.Room[NodeName]:
    """Who counts on the target: who is there, and whoever may be on the way there or back."""
    spec = look.specs.node(target.name)
    room = capacity.Room({target.name: capacity.limit(target, look.cluster.spec.capacity, spec)})
    needs = _needs(look)
    foreign = foreign_moves(look.seen, look.memory)
    for vmid, guest in look.seen.guests.items():
        if vmid != look.move.vmid and (guest.node == target.name or vmid in foreign):
            room.claim(target.name, vmid, needs[vmid])
    for vmid, flight in look.memory.flights.items():
        if vmid != look.move.vmid and target.name in flight.nodes:
            room.claim(target.name, vmid, needs[vmid])
    return room


def _needs(look: Look) -> Mapping[Vmid, int | None]:
    return capacity.needs(look.cluster, look.seen, look.memory)


@check(Why.ALREADY_THERE)
def target_is_another_node(look: Look) -> tuple[Finding, ...]:
    """PVE answers 400 to a move to the node itself."""
    here: NodeName = look.move.source
    return fail(Why.ALREADY_THERE, f"{look.named} is on {here} already") if look.move.target == here else ()
