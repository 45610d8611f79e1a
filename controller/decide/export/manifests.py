"""All manifests of a cluster, tried out on it: what would move somebody today is written so that it does not.

Called by `app` through the package.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from controller.decide.export import placement, replication
from controller.decide.export.document import Document, Export, Names, Value
from controller.decide.pipeline import decide
from controller.model.ids import ObjectRef
from controller.model.memory import Memory
from controller.model.observed import HaNodeState, Observed
from controller.model.plan import Plan
from controller.specs import API_VERSION, KINDS, Specs
from controller.specs.common import ClusterRef

_ROUNDS = 4
"""Two are enough for what is known: conflicts, then what their solution leaves broken."""


def export(seen: Observed, reached: Mapping[str, Value]) -> Export:
    """Write down what is in force in the cluster that was seen.

    reached: `endpoints`, `auth` and `tls` of its PveCluster. Pure; equal input, equal manifests.
    """
    names, left_out = Names(), list[str]()
    documents = [_cluster(seen, reached), *_nodes(seen)]
    documents += placement.from_ha(seen, names, left_out)
    documents += placement.from_tags(seen, names, left_out)
    documents += replication.from_jobs(seen, Names(), left_out)
    documents = [_in_cluster(document, seen) for document in documents]
    for _ in range(_ROUNDS):
        calmed = _calmed(documents, decide(specs(documents), seen, Memory()))
        if calmed == documents:
            break
        documents = calmed
    rest = decide(specs(documents), seen, Memory())
    documents[0] = replace(documents[0], notes=(*documents[0].notes, *(f"Left out: {text}." for text in left_out)))
    moved = [f"{move.name or move.vmid} would still move to {move.target}: {move.message}" for move in rest.all_moves]
    return Export(tuple(documents), (*left_out, *moved, *(action.message for action in rest.jobs)))


def specs(documents: Sequence[Document]) -> Specs:
    """The documents as they are read. Raises pydantic's ValidationError: a fault of this package."""
    cluster = documents[0].name
    made = Specs.of(KINDS[document.kind].model_validate(document.raw(API_VERSION)) for document in documents)
    return made.for_cluster(cluster)


def _cluster(seen: Observed, reached: Mapping[str, Value]) -> Document:
    spec: dict[str, Value] = {**reached, "mode": "Plan"}
    notes = [
        f"{seen.pve_name or 'A node without cluster'}: {len(seen.nodes)} nodes, {len(seen.guests)} guests.",
        "mode Plan shows what would be done and does nothing; Enforce acts.",
    ]
    if tags := placement.ignored(seen):
        spec["managedGuests"] = {"tags": {"none": ["unmanaged", *tags]}}
        notes.append(f"ProxLB leaves guests with {', '.join(tags)} alone, and so does Drover.")
    resting = sorted(node for node, one in seen.nodes.items() if one.ha is HaNodeState.MAINTENANCE)
    if resting:
        spec["maintenance"] = {"followHaMaintenance": False}
        notes.append(
            f"PVE HA has {', '.join(resting)} in maintenance; followHaMaintenance would move the other guests away, too."
        )
    return Document("cluster.yaml", "PveCluster", str(seen.cluster), MappingProxyType(spec), tuple(notes))


def _nodes(seen: Observed) -> list[Document]:
    names = Names()
    named = [(node, names.of(node)) for node in sorted(seen.nodes)]
    return [Document("nodes.yaml", "PveNode", name, {} if name == node else {"nodeName": node}) for node, name in named]


def _in_cluster(document: Document, seen: Observed) -> Document:
    if seen.cluster == ClusterRef().name or document.kind == "PveCluster":
        return document
    return replace(document, spec={"clusterRef": {"name": str(seen.cluster)}, **document.spec})


def _calmed(documents: Sequence[Document], plan: Plan) -> list[Document]:
    """Policies that are broken today ask for no correction; those that can't hold beside others become wishes."""
    losers = {conflict.loser: conflict.message for conflict in plan.conflicts}
    broken: dict[ObjectRef, list[str]] = defaultdict(list)
    for violation in plan.violations:
        broken[violation.cause].append(violation.message)
    for move in plan.all_moves:
        broken[move.cause].append(move.message)
    return [_calm(document, losers, broken) for document in documents]


def _calm(document: Document, losers: Mapping[ObjectRef, str], broken: Mapping[ObjectRef, Sequence[str]]) -> Document:
    ref = ObjectRef(document.kind, document.name)
    if document.kind != "PlacementPolicy":
        return document
    if ref in losers and "enforcement" not in document.spec:
        note = f"Only a Should, because it can't be a Must: {losers[ref]}"
        kept = {key: value for key, value in document.spec.items() if key != "correctExisting"}
        return replace(document, spec={**kept, "enforcement": "Should"}, notes=(*document.notes, note))
    if ref in broken and "correctExisting" not in document.spec and document.spec.get("enforcement") != "Should":
        note = f"Broken today, and left so until correctExisting goes: {broken[ref][0]}"
        return replace(document, spec={**document.spec, "correctExisting": False}, notes=(*document.notes, note))
    return document
