"""Sentences with names and numbers: why a node can't take a guest, and what a person would type.

Called by all planners and, for the line to type, by `cli`.
"""

from collections.abc import Iterable, Mapping

from controller.decide.replicable import Load
from controller.decide.scene import Scene
from controller.decide.stage import Stage
from controller.decide.words import size
from controller.model.desired import Spread, Together
from controller.model.ids import GuestKind, NodeName, Vmid
from controller.model.memory import Refusal
from controller.model.observed import Guest
from controller.model.plan import Move
from controller.model.replication import is_for_move

BROKEN = 3
"""Failures in a row after which a replication job counts as broken. PVE tries again 5, 10 and 15 minutes after the first ones,
and not at all while the target is offline (pve-guest-common: PVE/ReplicationState.pm), so these are no reboots."""


def why_not(scene: Scene, stage: Stage, guest: Guest, node: NodeName) -> str | None:
    """Why the node can't take the guest as things stand on `stage`, as the rest of a sentence that begins with the node's name."""
    if node == guest.node:
        return "is where it is"
    if node in scene.shut:
        return scene.shut[node]
    fence = scene.wanted.fences.get(guest.vmid)
    if fence is not None and node not in fence.nodes:
        return f"is ruled out by {next(str(rule.ref) for rule in fence.rules if node not in rule.nodes)}"
    targets = replica_nodes(scene, guest)
    if targets is not None and node not in targets:
        return f"is not a replication target of it ({', '.join(sorted(targets))} is)"
    if refusal := refusals(scene, guest).get(node):
        return _refused(refusal)
    return no_seat(scene, stage, guest, node) or no_room(scene, stage, guest, node)


def refusals(scene: Scene, guest: Guest) -> Mapping[NodeName, Refusal]:
    """Targets that the look right before a move found no good for this very guest; none of them is a candidate now."""
    known = scene.memory.refusals.get(guest.vmid, {})
    return {
        node: refusal
        for node, refusal in known.items()
        if refusal.until > scene.seen.at and refusal.identity.same_as(guest.identity)
    }


def shunned(scene: Scene, guest: Guest) -> frozenset[NodeName]:
    """Targets to which a move of the guest failed: candidates when nothing else is left."""
    known = scene.memory.refusals.get(guest.vmid, {})
    return frozenset(n for n, refusal in known.items() if refusal.failures and refusal.identity.same_as(guest.identity))


def _refused(refusal: Refusal) -> str:
    """As the rest of a sentence that begins with the node's name, as many findings do."""
    begins = f"{refusal.target} "
    if refusal.message.startswith(begins):
        return refusal.message.removeprefix(begins)
    return f"is ruled out: {refusal.message}"


def no_room(scene: Scene, stage: Stage, guest: Guest, node: NodeName) -> str | None:
    """Why its memory, its vCPUs or its volumes do not fit, or None."""
    need = scene.needs.get(guest.vmid)
    if stage.room.fits(node, guest.vmid, need):
        return _no_threads(scene, stage, guest, node) or _no_space(scene, stage, guest, node)
    if scene.limits.get(node) is None:
        return "reports no memory size"
    if unknown := stage.room.unknown(node):
        return f"may be full (the size of {names(scene, unknown)} is unknown)"
    free, most = stage.room.free(node) or 0, scene.limits[node] or 0
    here = sum(scene.needs.get(resident.vmid) or 0 for resident in scene.residents.get(node, ()))
    verb = "has" if free == most - here else "will have"
    return f"{verb} {size(max(0, free))} of {size(most)} free"


def _no_threads(scene: Scene, stage: Stage, guest: Guest, node: NodeName) -> str | None:
    need = scene.vcpus.get(guest.vmid)
    if stage.threads.fits(node, guest.vmid, need):
        return None
    most = scene.threads.get(node)
    if most is None:
        return "reports no number of threads"
    if unknown := stage.threads.unknown(node):
        return f"may have too few threads (how many vCPUs {names(scene, unknown)} has is unknown)"
    if need is None:
        return f"may have too few threads (how many vCPUs {guest} has is unknown)"
    free = max(0, stage.threads.free(node) or 0)
    ratio = scene.cluster.spec.capacity.cpu_overcommit_ratio
    return f"has {free} of {most} vCPUs left (cpuOvercommitRatio {ratio:g}), and it needs {need}"


def _no_space(scene: Scene, stage: Stage, guest: Guest, node: NodeName) -> str | None:
    for shelf, share in scene.cargo(guest.vmid).shelves(node).items():
        if stage.shelves.fits(shelf, guest.vmid, share):
            continue
        name, free = shelf[1], stage.shelves.free(shelf)
        if stage.shelves.limit(shelf) == 0:
            return f"has storage {name} not available or full"
        if free is None:
            return f"has no storage {name} of known size, which its local disks need"
        return f"has {size(max(0, free))} free on {name}, and {size(share or 0)} would be copied"
    return None


def no_seat(scene: Scene, stage: Stage, guest: Guest, node: NodeName) -> str | None:
    """Which Must about several guests forbids it, or None."""
    group = stage.breaks(guest.vmid, node)
    if group is None:
        return None
    if node not in group.domains:
        return f"has no label {group.topology_key}, which {group.ref} needs"
    index, domain = scene.wanted.groups.index(group), group.domains[node]
    where = "" if domain == node else f" in {domain}"
    if isinstance(group, Together):
        others = {vmid for vmid in group.members if vmid != guest.vmid and vmid not in stage.seated(index, node)}
        return f"would part it from {names(scene, sorted(others))}, which {group.ref} keeps together with it"
    there = stage.seated(index, node)
    if isinstance(group, Spread):
        return f"has {len(there)} guests of {group.ref}{where}, and maxSkew is {group.skew}"
    return f"has {names(scene, there)}{where} ({group.ref} allows {group.most})"


def replica_nodes(scene: Scene, guest: Guest) -> frozenset[NodeName] | None:
    """Where PVE lets a replicated guest be moved live; None: anywhere, also because its disks can be replicated there first.

    qemu-server: PVE/API2/Qemu.pm refuses a running VM that has replication jobs, but none to the target. HA always forces.
    """
    if isinstance(scene.replicable(guest.vmid), Load):
        return None
    if not guest.power.holds_memory or guest.kind is not GuestKind.QEMU or guest.ha_managed:
        return None
    targets = scene.replicas.get(guest.vmid)
    return targets or None


def copies(scene: Scene, guest: Guest) -> tuple[tuple[NodeName, ...], tuple[NodeName, ...]]:
    """Nodes to which its disks are copied for a move, and nodes that have a replica of it anyway; none whose job is broken."""
    copying: list[NodeName] = []
    replicas: list[NodeName] = []
    for job in scene.jobs.get(guest.vmid, ()):
        state = scene.seen.states.get(job.id)
        broken = state is not None and state.fail_count >= BROKEN and state.target == job.target
        if not job.removing and not broken:
            (copying if is_for_move(job.comment) else replicas).append(job.target)
    return tuple(copying), tuple(replicas)


def no_target(scene: Scene, stage: Stage, guest: Guest, among: Iterable[NodeName] | None = None) -> str:
    """One sentence that says for every node (or those `among`) why it can't take the guest."""
    nodes = sorted(set(scene.seen.nodes) - {guest.node}) if among is None else list(among)
    need = scene.needs.get(guest.vmid) or 0
    reasons = [f"{node} {reason}" for node in nodes if (reason := why_not(scene, stage, guest, node))]
    takes = f"{guest} ({size(need)})" if need else str(guest)
    return f"no node can take {takes}: {'; '.join(reasons) or 'there is no other node'}"


def names(scene: Scene, vmids: Iterable[Vmid]) -> str:
    """Guests by number and name: `VM 101 web1, VM 102 web2 and 3 more`."""
    said = [str(scene.seen.guests[vmid]) if vmid in scene.seen.guests else f"guest {vmid}" for vmid in vmids]
    return ", ".join(said) if len(said) <= 3 else f"{', '.join(said[:3])} and {len(said) - 3} more"


def command_line(move: Move) -> str:
    """The line a person would type on the source node for the same move."""
    options = move.options
    limit = f" --bwlimit {options.bandwidth_limit_mib_s * 1024}" if options.bandwidth_limit_mib_s else ""
    if move.kind is GuestKind.LXC:
        restart = " --restart" if options.restart else ""
        storage = f" --target-storage {options.target_storage}" if options.target_storage else ""
        return f"pct migrate {move.vmid} {move.target}{restart}{storage}{limit}"
    online = " --online" if options.online else ""
    disks = " --with-local-disks" if options.with_local_disks else ""
    storage = f" --targetstorage {options.target_storage}" if options.target_storage else ""
    tracking = " --with-conntrack-state" if options.conntrack else ""
    return f"qm migrate {move.vmid} {move.target}{online}{disks}{storage}{tracking}{limit}"
