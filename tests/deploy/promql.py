"""Reads PromQL: which metrics a query asks for, with which labels. Used by the tests of dashboards and alerts."""

from collections.abc import Iterator, Mapping
from functools import cache

import promql_parser

from controller.model.ids import ClusterName
from controller.report.metrics import PASSING, Metrics

Selected = tuple[str, dict[str, str]]


def selectors(expression: str) -> Iterator[Selected]:
    """Yield the metrics of an expression with the labels that have to be equal to something. Raises ValueError."""
    yield from _of(promql_parser.parse(expression))


def _of(node: object) -> Iterator[Selected]:
    if isinstance(node, promql_parser.MatrixSelector):
        node = node.vector_selector
    if isinstance(node, promql_parser.VectorSelector):
        equal = {m.name: m.value for m in node.matchers.matchers if m.op == promql_parser.MatchOp.Equal}
        yield str(node.name), equal
        return
    for part in ("expr", "lhs", "rhs", "param"):
        below = getattr(node, part, None)
        if below is not None and not isinstance(below, str | float):
            yield from _of(below)
    for below in getattr(node, "args", ()):
        yield from _of(below)


@cache
def born() -> tuple[tuple[str, Mapping[str, str]], ...]:
    """Every series that exists before anything has happened."""
    metrics = Metrics()
    metrics.add_cluster(ClusterName("default"))
    metrics.notifications.add_sink("pager")
    return tuple((sample.name, sample.labels) for family in metrics.registry.collect() for sample in family.samples)


def exists(name: str, labels: Mapping[str, str]) -> bool:
    """Whether there are such series from the first scrape, or as long as what they are about is there."""
    if name in PASSING:
        return labels.keys() <= {"cluster", *PASSING[name]}
    wanted = {label: value for label, value in labels.items() if label != "cluster"}
    return any(name == known and wanted.items() <= given.items() for known, given in born())
