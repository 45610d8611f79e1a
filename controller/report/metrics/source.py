"""Metrics of the process and of what the source gave: build, revision, problems in manifests. Owned by `Metrics`."""

import platform
from collections.abc import Mapping
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge

from controller import __version__
from controller.model.reasons import Why
from controller.model.revision import OUTCOMES, REFUSALS, Revision, SourceView
from controller.specs import KINDS


class WakeUpResult(StrEnum):
    """What became of a message to the source's webhook."""

    ACCEPTED = "Accepted"
    REPEATED = "Repeated"
    REFUSED = "Refused"
    LIMITED = "Limited"
    TOO_LARGE = "TooLarge"


class ToldResult(StrEnum):
    """What became of telling a forge the status of a commit."""

    TOLD = "Told"
    LATER = "Later"
    REFUSED = "Refused"


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
            "Revision of the manifests: InForce, and of a Git source the newest that was looked at (Attempted); always 1. When they"
            " differ for long, the newest is refused: `drover status` says why.",
            ["revision", "state", "author", "signer"],
            registry=registry,
        )
        self._revision.labels("", "InForce", "", "").set(0)
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
        self._ready = Gauge(
            "drover_source_ready",
            "How the last look at the Git source ended: 1 for its reason; whatever is not RevisionApplied or TagMoved needs you.",
            ["reason"],
            registry=registry,
        )
        self._refused = Counter(
            "drover_source_refused_total",
            "Revisions that were not put in force, by reason; BadSignature and SignerNotTrusted may be an attack.",
            ["reason"],
            registry=registry,
        )
        self._contact = Gauge(
            "drover_source_last_contact_timestamp_seconds",
            "When the server of the Git source last answered (0 = never, or no Git source); the last revision stays in force.",
            registry=registry,
        )
        self._wake_ups = Counter(
            "drover_source_webhooks_total",
            "Messages to the source's webhook; Refused: its secret or `kind` differs from the forge's. Polling goes on anyway.",
            ["result"],
            registry=registry,
        )
        for result in WakeUpResult:
            self._wake_ups.labels(result)
        self._statuses = Counter(
            "drover_commit_statuses_total",
            "Statuses of commits told to the forge; Refused: its token, repository or address is wrong, the log says which.",
            ["result"],
            registry=registry,
        )
        for told in ToldResult:
            self._statuses.labels(told)
        for why in OUTCOMES:
            self._ready.labels(why)
        for why in REFUSALS:
            self._refused.labels(why)
        self._counted: tuple[Why, Revision | None] | None = None

    def show(
        self,
        *,
        revision: str,
        errors: int,
        objects: Mapping[str, int],
        at: float,
        complete: bool,
        view: SourceView | None = None,
    ) -> None:
        """Take in what the source gave `at` (epoch seconds); `complete` when all of it could be read and is the newest."""
        self._revision.clear()
        applied = view.applied if view is not None else None
        self._revision.labels(
            revision,
            "InForce",
            applied.author if applied is not None else "",
            applied.signer if applied is not None else "",
        ).set(1)
        if view is not None:
            self._show_view(view)
        if revision != self._shown:
            self._shown = revision
            self._since.set(at)
        self._complete.set(complete)
        self._errors.set(errors)
        for kind in KINDS:
            self._objects.labels(kind).set(objects.get(kind, 0))
        if complete and not errors:
            self._success.set(at)

    def count_status(self, result: ToldResult) -> None:
        """Count a status that was told, or not."""
        self._statuses.labels(result).inc()

    def count_wake_up(self, result: WakeUpResult) -> None:
        """Count a message to the webhook."""
        self._wake_ups.labels(result).inc()

    def _show_view(self, view: SourceView) -> None:
        if view.attempted is not None:
            tried = view.attempted
            self._revision.labels(tried.short, "Attempted", tried.author, tried.signer).set(1)
        self._contact.set(view.contact_at or 0)
        for why in OUTCOMES:
            self._ready.labels(why).set(view.finding is not None and view.finding.why is why)
        if not view.refused or view.finding is None:
            self._counted = None
        elif self._counted != (view.finding.why, view.attempted):
            self._counted = (view.finding.why, view.attempted)
            self._refused.labels(view.finding.why).inc()
