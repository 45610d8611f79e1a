"""Orders given by hand, laid over what the repository says: `drover drain` and `drover uncordon`. Pure.

Called by `loop` and `app` before anything is decided, so that planners see specs and nothing else.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from controller.decide.selectors import node_labels
from controller.model.ids import NodeName
from controller.model.override import Order, Override
from controller.specs import NODE_LABEL, NodeMaintenance, PveCluster, PveNode, Resource, Specs
from controller.specs.common import LabelSelector


def said(specs: Specs, cluster: PveCluster, node: NodeName) -> str:
    """What the repository says about the maintenance of a node, as text that changes exactly when that does."""
    written = specs.node(node)
    label = written.metadata.labels.get(cluster.spec.maintenance.label_key, "") if written is not None else ""
    explicit = [[item.name, item.metadata.generation] for item in _maintenances_of(specs, node)]
    return json.dumps([label.lower(), explicit])


def lapsed(specs: Specs, cluster: PveCluster, overrides: Mapping[NodeName, Override]) -> tuple[Override, ...]:
    """Orders that are over because the repository has spoken about their nodes since."""
    return tuple(each for node, each in sorted(overrides.items()) if said(specs, cluster, node) != each.said)


def name_of(node: NodeName) -> str:
    """metadata.name of the maintenance that `drover drain` stands for."""
    return f"override-{node.lower()}"


def applied(specs: Specs, cluster: PveCluster, overrides: Mapping[NodeName, Override]) -> Specs:
    """`specs` (of this one cluster) with the orders that have not lapsed carried out in them."""
    over = {each.node for each in lapsed(specs, cluster, overrides)}
    in_force = [each for node, each in sorted(overrides.items()) if node not in over]
    if not in_force:
        return specs
    freed = frozenset(each.node for each in in_force if each.order is Order.IN_SERVICE)
    drained = [_drain(each, cluster) for each in in_force if each.order is Order.DRAIN]
    kept = {resource.ref: resource for resource in _in_service(specs, cluster, freed)}
    return Specs.of([*(r for ref, r in kept.items() if ref not in {d.ref for d in drained}), *drained])


def _maintenances_of(specs: Specs, node: NodeName) -> Iterable[NodeMaintenance]:
    labels = node_labels([node], specs.nodes.values())[node]
    for item in specs.maintenances.values():
        selector = item.spec.node_selector
        if item.spec.node_name == node or (selector is not None and selector.matches(labels)):
            yield item


def _drain(order: Override, cluster: PveCluster) -> NodeMaintenance:
    template = cluster.spec.maintenance.template.model_dump(mode="json", by_alias=True, exclude_unset=True)
    spec = {**template, "clusterRef": {"name": cluster.name}, "nodeName": order.node, "reason": _reason(order)}
    written = {
        "apiVersion": "drover.dev/v1alpha1",
        "kind": "NodeMaintenance",
        "metadata": {"name": name_of(order.node), "generation": 1},
        "spec": spec,
    }
    return NodeMaintenance.model_validate_json(json.dumps(written), strict=True, by_alias=True, by_name=False)


def _reason(order: Override) -> str:
    return f"drover drain by {order.by}" + (f": {order.reason}" if order.reason else "")


def _in_service(specs: Specs, cluster: PveCluster, freed: frozenset[NodeName]) -> Iterator[Resource]:
    key = cluster.spec.maintenance.label_key
    for resource in specs:
        if isinstance(resource, PveNode) and resource.node_name in freed:
            labels = {name: value for name, value in resource.metadata.labels.items() if name != key}
            metadata = resource.metadata.model_copy(update={"labels": labels})
            yield resource.model_copy(update={"metadata": metadata})
        elif isinstance(resource, NodeMaintenance):
            if (left := _without(resource, freed)) is not None:
                yield left
        else:
            yield resource


def _without(maintenance: NodeMaintenance, freed: frozenset[NodeName]) -> NodeMaintenance | None:
    selector = maintenance.spec.node_selector
    if not freed:
        return maintenance
    if selector is None:
        return None if maintenance.spec.node_name in freed else maintenance
    others = {"key": NODE_LABEL, "operator": "NotIn", "values": sorted(freed)}
    written = selector.model_dump(mode="json", by_alias=True, exclude_unset=True)
    written["matchExpressions"] = [*written.get("matchExpressions", []), others]
    narrowed = LabelSelector.model_validate_json(json.dumps(written), strict=True, by_alias=True, by_name=False)
    return maintenance.model_copy(update={"spec": maintenance.spec.model_copy(update={"node_selector": narrowed})})
