"""The objects as a Kubernetes API would show them: what was written, and the status beside it. Pure.

Used by `report.http`; `report.views` has the read-only kinds beside them.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from controller.model.condition import Condition
from controller.model.ids import ClusterName, ObjectRef
from controller.model.plan import Drain
from controller.report.statement import ObjectStatus
from controller.report.units import timestamp
from controller.specs import API_VERSION, KINDS, Resource, Specs

Data: TypeAlias = dict[str, object]


def of_kind(
    kind: str, specs: Specs, statuses: Mapping[ObjectRef, ObjectStatus], drains: Mapping[ClusterName, Sequence[Drain]]
) -> list[Data]:
    """Every object of one kind by name; maintenances that a label implies stand beside the explicit ones."""
    found = {item.metadata.name: _written(item, statuses.get(item.ref)) for item in specs if item.kind == kind}
    for cluster, all_drains in drains.items():
        for drain in all_drains:
            if drain.ref.kind == kind and drain.ref.name not in found:
                found[drain.ref.name] = _implied(drain, cluster, statuses.get(drain.ref))
    return [found[name] for name in sorted(found)]


def as_list(kind: str, items: Iterable[Data]) -> Data:
    """The list object around `items`."""
    return {"apiVersion": API_VERSION, "kind": f"{kind}List", "items": list(items)}


def status_data(status: ObjectStatus) -> Data:
    """The `status` member."""
    return {
        "observedGeneration": status.observed_generation,
        "conditions": [_condition(condition) for condition in status.conditions],
        **status.fields,
    }


ALSO: Mapping[str, str] = MappingProxyType(
    {
        "cluster": "PveCluster",
        "clusters": "PveCluster",
        "node": "PveNode",
        "nodes": "PveNode",
        "maintenance": "NodeMaintenance",
        "maintenances": "NodeMaintenance",
        "placement": "PlacementPolicy",
        "placements": "PlacementPolicy",
    }
)
"""What else people call the kinds. Not in the CRDs: in Kubernetes `nodes` are other nodes."""


def kind_of(word: str) -> str | None:
    """The kind that people mean by its name, plural, short name or an everyday word, in any case."""
    wanted = word.lower()
    for name, kind in KINDS.items():
        if wanted in {name.lower(), kind.plural, *(short.lower() for short in kind.short_names)}:
            return name
    return ALSO.get(wanted)


def _condition(condition: Condition) -> Data:
    return {
        "type": condition.type,
        "status": str(condition.status),
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": timestamp(condition.since),
        "observedGeneration": condition.observed_generation,
    }


def _written(resource: Resource, status: ObjectStatus | None) -> Data:
    written = resource.model_dump(mode="json", by_alias=True, exclude_unset=True)
    full = resource.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    # Plain defaults help a reader; the empty lists and groups of a selector would only hide what was written.
    defaults: Data = {
        key: value for key, value in full.items() if isinstance(value, bool | int | float | str) and value != ""
    }
    if resource.kind != "PveCluster":
        defaults["clusterRef"] = {"name": resource.cluster}
    data: Data = {"apiVersion": API_VERSION, "kind": resource.kind, "metadata": written["metadata"]}
    spec = written.get("spec", {})
    data["spec"] = {key: spec.get(key, defaults.get(key)) for key in full if key in spec or key in defaults}
    if status is not None:
        data["status"] = status_data(status)
    return data


def _implied(drain: Drain, cluster: ClusterName, status: ObjectStatus | None) -> Data:
    spec: Data = {"clusterRef": {"name": cluster}, "nodeName": drain.node, "mode": str(drain.mode)}
    if drain.reason:
        spec["reason"] = drain.reason
    metadata: Data = {"name": drain.ref.name, "annotations": {"drover.dev/implied": "true"}}
    data: Data = {"apiVersion": API_VERSION, "kind": drain.ref.kind, "metadata": metadata, "spec": spec}
    if status is not None:
        data["status"] = status_data(status)
    return data
