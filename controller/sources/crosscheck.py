"""What is wrong between objects that are each fine by themselves. Pure.

Called by `merge`, so that it shows in conditions, and by `validate`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from controller.model import zones
from controller.specs import MigrationPolicy, Problem, PveCluster, PveNode, Resource, Specs
from controller.specs.pvenode import MAINTENANCE_WORDS
from controller.yamlpos import Position

_R = TypeVar("_R", bound=Resource)


def crosscheck(specs: Specs) -> tuple[Problem, ...]:
    """Return the problems, in the order of the objects."""
    return (
        *_unknown_clusters(specs),
        *(problem for cluster in specs.clusters.values() for problem in _one_cluster_twice(cluster, specs)),
        *_twice(specs.nodes.values(), lambda node: node.node_name, "nodeName"),
        *_twice(specs.maintenances.values(), lambda maintenance: maintenance.spec.node_name, "nodeName"),
        *(problem for node in specs.nodes.values() for problem in _unknown_word(node, specs)),
        *(problem for cluster in specs.clusters.values() for problem in _unknown_zones(cluster)),
        *(problem for policy in specs.migrations.values() for problem in _unknown_windows(policy, specs)),
    )


def about(resource: Resource, field: str, message: str, allowed: str) -> Problem:
    """Return a problem at the place where an object begins."""
    return Problem(resource.origin or Position(str(resource.ref), 1, 1), field, message, allowed, resource.ref)


def rivals(cluster: PveCluster, specs: Specs) -> tuple[str, ...]:
    """Names of other PveClusters with an endpoint of this one: two loops would undo each other's moves."""
    own = {endpoint.lower() for endpoint in cluster.spec.endpoints}
    return tuple(
        name
        for name, other in specs.clusters.items()
        if name != cluster.name and not own.isdisjoint(endpoint.lower() for endpoint in other.spec.endpoints)
    )


def _one_cluster_twice(cluster: PveCluster, specs: Specs) -> Iterator[Problem]:
    if others := rivals(cluster, specs):
        message = f"an endpoint is also that of {', '.join(others)}, so none of them may start moves"
        yield about(cluster, "spec.endpoints", message, "one PveCluster for each cluster of PVE")


def _unknown_clusters(specs: Specs) -> Iterator[Problem]:
    known = ", ".join(specs.clusters) or "a PveCluster first"
    for resource in specs:
        if resource.cluster not in specs.clusters:
            message = f"there is no PveCluster {resource.cluster!r}, so this has no effect"
            yield about(resource, "spec.clusterRef.name", message, known)


def _twice(resources: Iterable[_R], node_of: Callable[[_R], str | None], field: str) -> Iterator[Problem]:
    """Objects for the same node of the same cluster."""
    by_node: dict[tuple[str, str], list[_R]] = {}
    for resource in resources:
        node = node_of(resource)
        if node is not None:
            by_node.setdefault((resource.cluster, node), []).append(resource)
    for (_, node), same in by_node.items():
        for resource in same if len(same) > 1 else ():
            others = ", ".join(f"{other.metadata.name} ({other.origin})" for other in same if other is not resource)
            message = f"node {node} is also that of {others}"
            yield about(resource, f"spec.{field}", message, f"one {resource.kind} for each node")


def _unknown_word(node: PveNode, specs: Specs) -> Iterator[Problem]:
    cluster = specs.clusters.get(node.cluster)
    key = cluster.spec.maintenance.label_key if cluster is not None else ""
    word = node.metadata.labels.get(key, "false")
    if word not in MAINTENANCE_WORDS:
        message = f'"{word}" does not say what to do with the node, so it counts as "false"'
        yield about(node, f"metadata.labels[{key}]", message, ", ".join(f'"{known}"' for known in MAINTENANCE_WORDS))


def _unknown_zones(cluster: PveCluster) -> Iterator[Problem]:
    for index, window in enumerate(cluster.spec.windows):
        if zones.find(window.time_zone) is None:
            message = f"this machine knows no time zone {window.time_zone!r}, so moves are held back"
            yield about(cluster, f"spec.windows[{index}].timeZone", message, "a name such as Europe/Vienna, or UTC")


def _unknown_windows(policy: MigrationPolicy, specs: Specs) -> Iterator[Problem]:
    cluster = specs.clusters.get(policy.cluster)
    if cluster is None:
        return
    known = [window.name for window in cluster.spec.windows]
    for name in policy.spec.windows:
        if name not in known:
            message = f"PveCluster {cluster.name} has no window {name!r}"
            yield about(policy, "spec.windows", message, ", ".join(known) or "a window of the PveCluster first")
