"""How a cluster comes to be: a node makes one of itself, others join.

Started by `routes.cluster_config`. A node that is in no cluster is a `World` of its own; joining moves it into another. The
steps and their words are those of pve-cluster: PVE/API2/ClusterConfig.pm and PVE/Cluster/Setup.pm.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

from controller.simulator.api import ApiError
from controller.simulator.engine import Wait
from controller.simulator.nodes import Node, fingerprint
from controller.simulator.tasks import Task, TaskFailed
from controller.simulator.world import World

COROSYNC_FOUND = 6.0
"""Seconds from the restart of pmxcfs until it shows a cluster: it starts before corosync, fails to reach it, and tries again
after more than five (pve-cluster: src/pmxcfs/loop.c). Until then the node looks alone and has no quorum."""
LOGIN, SERVICE, CERTIFICATE = 1.0, 1.0, 2.0
"""Seconds for what the log tells: ssh keys and a login, stopping or starting a service, new certificates."""

Body = Callable[[Task], Generator[Wait, None, None]]


@dataclass(frozen=True, slots=True)
class Joining:
    """What `POST /cluster/config/join` was given. host: address or name. fingerprint: upper case. links: number to address."""

    host: str
    fingerprint: str
    password: str
    links: Mapping[str, str] = field(default_factory=dict)
    nodeid: int | None = None
    force: bool = False


def create(world: World, node: Node, name: str, links: Mapping[str, str]) -> Body:
    """Return the worker that turns a node without a cluster into a cluster of one."""

    def body(task: Task) -> Generator[Wait, None, None]:
        task.log += [
            "Corosync Cluster Engine Authentication key generator.",
            "Gathering 2048 bits for key from /dev/urandom.",
            "Writing corosync key to /etc/corosync/authkey.",
        ]
        yield 0.2
        task.log.append("Writing corosync config to /etc/pve/corosync.conf")
        yield 0.2
        task.log.append("Restart corosync and cluster filesystem")
        world.name, world.configured, world.counted_from = name, True, world.now + SERVICE + COROSYNC_FOUND
        node.links = dict(links)
        world.revision += 1
        world.log("cluster-created", node=node.name, name=name)
        yield SERVICE

    return body


def join(lone: World, node: Node, order: Joining) -> Body:
    """Return the worker that brings a node into the cluster of another."""

    def body(task: Task) -> Generator[Wait, None, None]:
        if complaints := _obstacles(lone, node, order):
            task.log += ["detected the following error(s):", *(f"* {complaint}" for complaint in complaints)]
            if not order.force:
                raise TaskFailed("Check if node may join a cluster failed!")
        yield LOGIN
        task.log.append(f"Establishing API connection with host '{order.host}'")
        cluster, peer = _connect(lone, node, order)
        yield LOGIN
        task.log += ["Login succeeded.", "check cluster join API version"]
        if not order.links:
            task.log.append(f"No cluster network links passed explicitly, fallback to local node IP '{node.ip}'")
        task.log.append("Request addition of this node")
        links = dict(order.links)
        if refusal := _refusal(cluster, peer, links):
            task.log.append(f"An error occurred on the cluster node: {refusal}")
            raise TaskFailed("Cluster join aborted!")
        if lone is lone.root:
            raise TaskFailed("in a simulation only a node that is `standalone` in the cluster file can join")
        _admit(cluster, lone, node, links or dict.fromkeys(peer.rings, node.ip), order.nodeid)
        yield from _finish(cluster, node, task)

    return body


def _obstacles(lone: World, node: Node, order: Joining) -> list[str]:
    """Why this node may not join (pve-cluster: PVE/Cluster/Setup.pm assert_joinable)."""
    found = []
    if lone.configured:
        found += [
            "authentication key '/etc/corosync/authkey' already exists",
            "cluster config '/etc/pve/corosync.conf' already exists",
        ]
    if lone.guests:
        found.append("this host already contains virtual guests")
    if lone.configured:
        found.append("corosync is already running, is this node already in a cluster?!")
    for number, address in order.links.items():
        if address != node.ip:
            found.append(f"link{number}: cannot use IP '{address}', not found on local node!")
    return found


def _connect(lone: World, node: Node, order: Joining) -> tuple[World, Node]:
    """Return the cluster and the member behind an address once root's login there has worked."""
    worlds = [lone.root, *lone.root.elsewhere.values()]
    found = [(world, peer) for world in worlds for peer in world.nodes.values() if order.host in (peer.ip, peer.name)]
    unreachable = f"500 Can't connect to {order.host}:8006"
    if not found or not found[0][1].powered:
        raise TaskFailed(f"{unreachable} (No route to host)")
    cluster, peer = found[0]
    if peer is node or not peer.proxy:
        raise TaskFailed(f"{unreachable} (Connection refused)")
    known = cluster.fingerprints.get(peer.name, fingerprint(peer.name))
    if order.fingerprint != known:
        raise TaskFailed(f"fingerprint '{known}' not verified, abort!")
    try:
        cluster.access.login("root@pam", order.password)
    except ApiError as error:
        raise TaskFailed(f"{error.status} {error.reason}") from error
    return cluster, peer


def _refusal(cluster: World, peer: Node, links: Mapping[str, str]) -> str:
    """Say why the cluster does not add the node, "" when it does (pve-cluster: PVE/API2/ClusterConfig.pm addnode)."""
    if not cluster.quorate(peer.name):
        return "cluster not ready - no quorum?"
    if not cluster.configured:
        return "invalid corosync.conf"
    if not links and len(peer.rings) > 1:
        return "no links given but multiple links found on other nodes, fallback only supported on single-link clusters"
    complaints = [
        f"corosync: address '{address}' already used on link ring{number}_addr by node '{name}'"
        for address in links.values()
        for name, member in cluster.nodes.items()
        for number, used in member.rings.items()
        if used == address
    ]
    for number in sorted(peer.rings.keys() ^ links.keys()) if links else ():
        if number in links:
            complaints.append(f"corosync: link {number} specified for new node doesn't exist in cluster config")
        else:
            complaints.append(f"corosync: link {number} exists in cluster config but wasn't specified for new node")
    return next(iter(complaints), "")


def _admit(cluster: World, lone: World, node: Node, links: dict[str, str], nodeid: int | None) -> None:
    """Write the node into the cluster's corosync.conf: from now on its vote counts, and it is not there yet.

    What it had in /etc/pve is gone; its disks, and the logs of its workers, are still its own.
    """
    taken = {member.nodeid for member in cluster.nodes.values()}
    node.nodeid = nodeid or next(number for number in range(1, len(taken) + 2) if number not in taken)
    node.links, node.config, node.joined_at = links, {}, float("inf")
    node.member = node.proxy = False
    for name, storage in cluster.storages.items():
        if not storage.shared and name in lone.storages:
            storage.volumes[node.name] = lone.storages[name].place(node.name)
    if node.name in lone.fingerprints:
        cluster.fingerprints[node.name] = lone.fingerprints[node.name]
    del lone.nodes[node.name]
    cluster.nodes[node.name] = node
    cluster.root.elsewhere.pop(node.name)
    if cluster is not cluster.root:
        cluster.root.elsewhere[node.name] = cluster
    cluster.network.relink(node.name, float(node.file.link))
    cluster.tasks.adopt(lone.tasks, node.name)
    cluster.ha.enlist(node.name)
    cluster.revision += 1
    cluster.log("node-added", node=node.name, name=cluster.name)


def _finish(cluster: World, node: Node, task: Task) -> Generator[Wait, None, None]:
    """Set the node up as a member; until its certificates are new, its pveproxy has nothing to answer from."""
    task.log += ["Join request OK, finishing setup locally", "stopping pve-cluster service"]
    yield SERVICE
    task.log.append(f"backup old database to '/var/lib/pve-cluster/backup/config-{int(cluster.now)}.sql.gz'")
    yield SERVICE
    task.log.append("waiting for quorum...")
    yield COROSYNC_FOUND
    node.member, node.joined_at = True, cluster.now
    cluster.revision += 1
    cluster.log("node-online", node=node.name)
    while not cluster.quorate(node.name):
        yield 1.0
    task.log[-1] += "OK"
    task.log += ["(re)generate node files", "generate new node certificate", "merge authorized SSH keys"]
    yield CERTIFICATE
    task.log.append("generated new node certificate, restart pveproxy and pvedaemon services")
    yield SERVICE
    node.proxy = True
    task.log.append(f"successfully added node '{node.name}' to cluster.")
