"""Calls below `/cluster/config`: corosync's configuration, creating a cluster and joining one.

Registered with `routes.registry`; pve-cluster: PVE/API2/ClusterConfig.pm.
"""

import hashlib
import re
from typing import Any

from controller.simulator import forming
from controller.simulator.api import ApiError
from controller.simulator.nodes import Node, fingerprint
from controller.simulator.routes.registry import Call, route

_LINK = re.compile(r"link(?P<number>\d+)")


@route("GET", "/cluster/config/nodes")
def config_nodes(call: Call) -> list[dict[str, Any]]:
    """List corosync.conf's nodes."""
    if not call.world.configured:
        return []
    return [{"node": name, **_entry(node)} for name, node in call.world.nodes.items()]


def _entry(node: Node) -> dict[str, str]:
    """Return a node's entry in corosync.conf; every value is text."""
    rings = {f"ring{number}_addr": address for number, address in node.rings.items()}
    return {"name": node.name, "nodeid": str(node.nodeid), "quorum_votes": "1", **rings}


@route("GET", "/cluster/config/join")
def join_information(call: Call) -> dict[str, Any]:
    """Return what another node needs to join."""
    world = call.world
    if not world.configured:
        raise ApiError(424, "node is not in a cluster, no join info available!")
    preferred = str(call.get("node", call.viewer.name))
    if preferred not in world.nodes:
        raise ApiError(500, f"unknown node '{preferred}'")
    nodes = [_entry(node) for node in world.nodes.values()]
    links = {number: {"linknumber": number} for number in call.viewer.rings}
    totem: dict[str, Any] = {"cluster_name": world.name, "config_version": str(len(nodes)), "interface": links}
    totem |= {"ip_version": "ipv4-6", "link_mode": "passive", "secauth": "on", "version": "2"}
    if call.viewer.at_least("9.2"):
        totem |= {"token_coefficient": "125"}
    known = {name: world.fingerprints.get(name, fingerprint(name)) for name in world.nodes}
    return {
        "config_digest": hashlib.sha1(repr((totem, nodes)).encode(), usedforsecurity=False).hexdigest(),
        "nodelist": [
            {**entry, "pve_addr": node.ip, "pve_fp": known[node.name]}
            for entry, node in zip(nodes, world.nodes.values(), strict=True)
        ],
        "preferred_node": preferred,
        "totem": totem,
    }


@route("POST", "/cluster/config")
def create(call: Call) -> str:
    """Create a cluster of this node."""
    if call.world.configured:
        raise ApiError(500, "cluster config '/etc/pve/corosync.conf' already exists")
    name, node = str(call.params["clustername"]), call.node
    body = forming.create(call.world, node, name, _links(call))
    return call.world.spawn(node.name, "clustercreate", name, call.auth.full, body).upid


@route("POST", "/cluster/config/join")
def join(call: Call) -> str:
    """Join the cluster of another node; all that can go wrong goes wrong in the worker."""
    order = forming.Joining(
        host=str(call.params["hostname"]),
        fingerprint=str(call.params["fingerprint"]).upper(),
        password=str(call.params["password"]),
        links=_links(call),
        nodeid=int(call.params["nodeid"]) if "nodeid" in call.params else None,
        force=bool(call.get("force")),
    )
    body = forming.join(call.world, call.node, order)
    return call.world.spawn(call.node.name, "clusterjoin", "", call.auth.full, body).upid


def _links(call: Call) -> dict[str, str]:
    """Return the addresses given as `link0` to `link7`: `10.0.0.1` or `address=10.0.0.1,priority=5`."""
    found = {}
    for name, value in call.params.items():
        if match := _LINK.fullmatch(name):
            found[match["number"]] = str(value).partition(",")[0].removeprefix("address=")
    return dict(sorted(found.items()))
