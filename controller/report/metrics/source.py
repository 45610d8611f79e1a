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
        self._revision.labels("").set(0)
        self._shown = ""
        self._since = Gauge(
            "drover_source_revision_timestamp_seconds",
            "Since when this process has had the revision in force (0 = none yet). Older than your last commit: the source is"
            " not read, see drover_source_complete.",
            registry=registry,
        )
        self._complete = Gauge(
            "drover_source_complete",
            "1 when the last reading of the source could read all of it. 0: the log names the file or the remote that fails;"
            " the last good version stays in force.",
            registry=registry,
        )
        self._errors = Gauge(
            "drover_source_errors",
            "Problems in the manifests as last read; `drover validate` names file, line and what is allowed.",
            registry=registry,
        )
        self._success = Gauge(
            "drover_source_last_success_timestamp_seconds",
            "When the manifests were last read completely and without a problem (0 = never).",
            registry=registry,
        )
        self._objects = Gauge("drover_source_objects", "Objects in force, by kind.", ["kind"], registry=registry)
        for kind in KINDS:
            self._objects.labels(kind)

    def show(self, *, revision: str, errors: int, objects: Mapping[str, int], at: float, complete: bool) -> None:
        """Take in what the source gave `at` (epoch seconds); `complete` when all of it could be read."""
        self._revision.clear()
        self._revision.labels(revision).set(1)
        if revision != self._shown:
            self._shown = revision
            self._since.set(at)
        self._complete.set(complete)
        self._errors.set(errors)
        for kind in KINDS:
            self._objects.labels(kind).set(objects.get(kind, 0))
        if complete and not errors:
            self._success.set(at)
