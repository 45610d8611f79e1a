"""Makes metrics in one registry, gives birth to the series of a cluster, and drops them with it.

Used by the modules of this folder, one of which there is per subject.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from controller.model.ids import ClusterName

# The library's own switch: without it every series has a twin that says when it was born, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the one function of the library without types

_Item = TypeVar("_Item")
_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)


Row: TypeAlias = tuple[str, ...]
"""The values of a series' labels beside `cluster`, in their order."""


class Families:
    """All metrics of one registry that have the label `cluster`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._all: list[Counter | Gauge | Histogram] = []

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A counter; `labels` beside `cluster`."""
        return self._kept(Counter(name, text, ["cluster", *labels], registry=self.registry))

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A gauge; `labels` beside `cluster`."""
        return self._kept(Gauge(name, text, ["cluster", *labels], registry=self.registry))

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        """A histogram; `labels` beside `cluster`."""
        return self._kept(Histogram(name, text, ["cluster", *labels], buckets=buckets, registry=self.registry))

    def forget(self, cluster: ClusterName) -> None:
        """Drop every series of a cluster."""
        for metric in self._all:
            metric.remove_by_labels({"cluster": cluster})

    def _kept(self, metric: _Metric) -> _Metric:
        self._all.append(metric)
        return metric


class Passing:
    """A gauge whose series come and go: those of the last `show` are there, no others."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._shown: dict[ClusterName, set[Row]] = {}

    def show(self, cluster: ClusterName, values: Mapping[Row, float]) -> None:
        """Set the series of a cluster."""
        for row in self._shown.get(cluster, set()) - values.keys():
            self._gauge.remove(cluster, *row)
        for row, value in values.items():
            self._gauge.labels(cluster, *row).set(value)
        self._shown[cluster] = set(values)

    def forget(self, cluster: ClusterName) -> None:
        """The cluster's series were dropped by their `Families`."""
        self._shown.pop(cluster, None)


def trace(name: str, value: str) -> dict[str, str]:
    """An exemplar: what an observation is about. OpenMetrics allows 128 characters for name and value together."""
    return {name: value[: 128 - len(name)]}


def show(gauge: Gauge, cluster: ClusterName, every: Iterable[str], values: Mapping[str, float]) -> None:
    """Set the series of all words: to its value, or back to zero."""
    for word in {*every, *values}:
        gauge.labels(cluster, word).set(values.get(word, 0))


def tally(items: Iterable[_Item]) -> dict[_Item, int]:
    """How often each occurs."""
    counts: dict[_Item, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts
