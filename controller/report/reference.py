"""The reference pages under docs/, written from the code itself: every reason, every field, every metric. Pure.

Called by `drover schema --write`, and by the test that holds the pages fresh.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import yaml
from prometheus_client import Metric

from controller.model.ids import ClusterName
from controller.model.reasons import Why
from controller.report.conditions import TYPES
from controller.report.metrics import PASSING, Metrics
from controller.specs import KINDS, GuestSelector, LabelSelector, Resource
from controller.specs.base import Model, models_in
from controller.specs.examples import example
from controller.specs.nodemaintenance import MaintenanceTemplate
from controller.specs.schema import Node, allowed, described, plain

GENERATED = "<!-- Generated from the code by `drover schema --write .`; not to be edited by hand. -->\n"
"""The second line of every page."""
_SHARED: Mapping[type[Model], str] = {
    GuestSelector: "a [guest selector](#guest-selector)",
    LabelSelector: "a [node selector](#node-selector)",
    MaintenanceTemplate: "`reason` to `onCancel` of a [NodeMaintenance](#nodemaintenance)",
}
"""What appears in many places and is explained once."""
_LISTED_WORDS = 7
"""Labels with more words than these would make the table of metrics unreadable."""
_SECTIONS = (
    (Why.NODE_MAINTENANCE, "Why a guest has to move"),
    (Why.SLOT_TAKEN, "Why a move waits"),
    (Why.NO_TARGET_FITS, "Why a guest is blocked"),
    (Why.GUEST_MOVED, "Why a call or a move failed"),
    (Why.CONNECTED, "Cluster and connection"),
    (Why.ARMED, "Whether Drover may act"),
    (Why.ACCEPTED, "Manifests and maintenance"),
    (Why.REVISION_APPLIED, "The Git source"),
)
"""The first reason of each part of the list, which is sorted by what they are reasons for."""


def generate(checks: Mapping[Why, Sequence[str]]) -> Mapping[str, str]:
    """The text of every page by its name below docs/. checks: the names of those that give a reason."""
    return {"reasons.md": reasons(checks), "resources.md": resources(), "metrics.md": metrics()}


def reasons(checks: Mapping[Why, Sequence[str]]) -> str:
    """Every reason, what it means, how it is found and what a person can do about it."""
    members = tuple(Why)
    bounds = [members.index(first) for first, _ in _SECTIONS] + [len(members)]
    lines = [
        "# Reasons",
        GENERATED,
        "Every decision of Drover has a reason from this list. The same words stand in conditions, events, plans and the labels of",
        "metrics; the sentence beside one names the guest, the node and the number that it is about.",
    ]
    for (_, title), (start, end) in zip(_SECTIONS, pairwise(bounds), strict=True):
        lines += ["", f"## {title}", ""]
        lines += table(
            ("Reason", "Meaning", "How it is found", "What to do"),
            (
                (f"`{word}`", word.meaning, _found(word, checks.get(word, ())), word.remedy or "Nothing.")
                for word in members[start:end]
            ),
        )
    return "\n".join(lines) + "\n"


def _found(word: Why, checks: Sequence[str]) -> str:
    if not checks:
        return word.found
    return f"{word.found} [{'Checks' if len(checks) > 1 else 'Check'}](preflight.md): {', '.join(checks)}."


def resources() -> str:
    """Every kind with its fields and its conditions."""
    lines = [
        "# Resources",
        GENERATED,
        "What a folder of manifests can hold: YAML files (`.yaml`, `.yml`), any number of documents in each, every one with",
        "`apiVersion: drover.dev/v1alpha1`, a `kind` and a `metadata.name`. Nothing unknown is accepted. Every field is",
        "acted upon.",
        "",
        "A field without a default is required when it says so, and otherwise absent.",
    ]
    for name, kind in KINDS.items():
        lines += ["", f"## {name}", "", " ".join((kind.__doc__ or "").split()), ""]
        lines += _fields_of(kind)
        lines += ["", f"Conditions: {', '.join(f'`{type_}`' for type_ in TYPES[name])}."]
    for title, model in (("Guest selector", GuestSelector), ("Node selector", LabelSelector)):
        lines += ["", f"## {title}", "", " ".join((model.__doc__ or "").split()), ""]
        lines += _field_table((model.__name__,), model, described(model, plain(model)))
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """Every metric with its type, its labels and, where they are few, their values."""
    born = Metrics()
    born.add_cluster(ClusterName("default"))
    born.notifications.add_sink("NAME")
    born.source(revision="", errors=0, objects={}, at=0.0, complete=True)
    rows = []
    for family in born.registry.collect():
        if family.name.startswith("drover_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            passing = PASSING.get(name)
            labels = _labels(family) if passing is None else ", ".join(f"`{label}`" for label in ("cluster", *passing))
            rows.append((f"`{name}`", family.type, labels, family.documentation))
    lines = [
        "# Metrics",
        GENERATED,
        "Served at `/metrics`, with exemplars (PVE's task of a move, the path of a slow request) for who asks for OpenMetrics.",
        "Every series whose labels come from a closed list is there from the first scrape, at zero. Others come and go: those with",
        "a label `job` or `policy` are there while the job or the policy is, others with a label `vmid` while the move is under",
        "way, those with a label `node` while the node is seen; nothing else is multiplied by node or guest. `reason` is a word",
        "from [the list of reasons](reasons.md). Beside these there are the usual `process_*` metrics. Dashboards are in",
        "`deploy/grafana/`, alert rules in `deploy/prometheus/`.",
        "",
        *table(("Metric", "Type", "Labels", "Meaning"), rows),
    ]
    return "\n".join(lines) + "\n"


def _labels(family: Metric) -> str:
    values: dict[str, set[str]] = {}
    for sample in family.samples:
        for label, value in sample.labels.items():
            if label != "le":
                values.setdefault(label, set()).add(value)
    said = []
    for label, words in values.items():
        listed = 1 < len(words) <= _LISTED_WORDS
        said.append(f"`{label}` ({', '.join(sorted(words))})" if listed else f"`{label}`")
    return ", ".join(said)


def _fields_of(kind: type[Resource]) -> list[str]:
    node = described(kind, plain(kind))
    [spec] = models_in(kind.model_fields["spec"].annotation)
    return _field_table((kind.__name__, "spec"), spec, _below(node, "spec"))


def _field_table(path: tuple[str, ...], model: type[Model], node: Node) -> list[str]:
    rows = _rows(model, node, "")
    return table(
        ("Field", "Default", "Allowed", "Example", "Meaning"),
        (
            (f"`{field}`", default, allows, f"`{one_line(example((*path, *_steps(field)), below))}`", text)
            for field, default, allows, below, text in rows
        ),
    )


def _rows(model: type[Model], node: Node, prefix: str) -> Iterator[tuple[str, str, str, Node, str]]:
    """One row per field, followed by the rows of what it holds."""
    required = node.get("required", [])
    for name, info in model.model_fields.items():
        key = info.alias or name
        below = _below(node, key)
        text = str(below.get("description", ""))
        inner = next(models_in(info.annotation), None)
        shared = _SHARED.get(inner) if inner is not None else None
        many = below.get("type") == "array"
        default = "required" if isinstance(required, list) and key in required else _default(below)
        yield f"{prefix}{key}", default, shared or _allowed(inner, below, many=many), below, text
        if inner is not None and shared is None:
            entries = below["items"] if many else below
            assert isinstance(entries, dict)
            yield from _rows(inner, entries, f"{prefix}{key}{'[]' if many else ''}.")


def _steps(field: str) -> list[str]:
    return field.replace("[]", "").split(".")


def one_line(value: object) -> str:
    """On one line, as YAML takes it."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("\n...\n").strip()


def _default(node: Node) -> str:
    value = node.get("default")
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, list):
        return ", ".join(f"`{entry}`" for entry in value)
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _allowed(inner: type[Model] | None, node: Node, *, many: bool) -> str:
    if inner is not None:
        return "a list" if many else "a mapping"
    return allowed(node)


def _below(node: Node, key: str) -> Node:
    properties = node["properties"]
    assert isinstance(properties, dict)
    below = properties[key]
    assert isinstance(below, dict)
    return below


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """A Markdown table."""
    written = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *written)]
