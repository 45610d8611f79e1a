"""Metrics of the process and of what the source gave: build, revision, problems in manifests. Owned by `Metrics`."""

import platform
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from controller import __version__
from controller.specs import KINDS


class SourceMetrics:
    """One per process: they have no cluster."""

    def __init__(self, registry: CollectorRegistry) -> None:
        build = Gauge(
            "drover_build_info",
            "Version of Drover and of its Python; always 1.",
            ["version", "python"],
            registry=registry,
        )
        build.labels(__version__, platform.python_version()).set(1)
        self._revision = Gauge(
            "drover_source_revision_info",
            "Revision of the manifests in force; always 1.",
            ["revision"],
            registry=registry,
        )
        self._errors = Gauge("drover_source_errors", "Problems in the manifests as last read.", registry=registry)
        self._success = Gauge(
            "drover_source_last_success_timestamp_seconds",
            "When the manifests were last read completely and without a problem (0 = never).",
            registry=registry,
        )
        self._objects = Gauge("drover_source_objects", "Objects in force, by kind.", ["kind"], registry=registry)
        for kind in KINDS:
            self._objects.labels(kind)

    def show(self, *, revision: str, errors: int, objects: Mapping[str, int], success_at: float | None) -> None:
        """Take in what the source gave. `success_at`: epoch seconds when that was all of it and without a problem."""
        self._revision.clear()
        self._revision.labels(revision).set(1)
        self._errors.set(errors)
        for kind in KINDS:
            self._objects.labels(kind).set(objects.get(kind, 0))
        if success_at is not None:
            self._success.set(success_at)
