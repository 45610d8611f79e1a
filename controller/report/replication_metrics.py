"""Metrics of replication jobs: the only ones with a series per job and policy; a series goes when its job does.

Owned by `report.metrics`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Gauge

from controller.model.ids import ClusterName
from controller.model.replication import JobHealth
from controller.model.view import ClusterView

_JOB = ("cluster", "job", "vmid", "source", "target", "policy")
_POLICY = ("cluster", "policy")
LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "drover_replication_lag_seconds": _JOB,
        "drover_replication_last_duration_seconds": _JOB,
        "drover_replication_failures": _JOB,
        "drover_replication_replicas_wanted": _POLICY,
        "drover_replication_replicas_there": _POLICY,
    }
)
"""Metrics whose series come and go, with their labels."""


class ReplicationMetrics:
    """Gauges about replication in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, labels: Iterable[str]) -> Gauge:
            return Gauge(name, text, [*labels], registry=registry)

        lag, took, failures, wanted, there = LABELS
        self._jobs = gauge(
            "drover_replication_jobs",
            "Replication jobs of Drover by how they stand; Failing and Lagging want to be looked at: drover get replication.",
            ("cluster", "state"),
        )
        self._lacking = gauge(
            "drover_replication_replicas_lacking",
            "Replicas that a policy wants and that are not to be had until somebody changes something.",
            ("cluster",),
        )
        self._orphans = gauge(
            "drover_replication_orphans", "Jobs of Drover that no policy wants and that are left alone.", ("cluster",)
        )
        self._of_jobs = {
            lag: gauge(
                lag, "Age of a replica: what would be lost with its source. Compare with maxLagSeconds.", LABELS[lag]
            ),
            took: gauge(took, "Duration of the last run of a job.", LABELS[took]),
            failures: gauge(
                failures,
                "Runs of a job that failed since the last good one; the cause is in its message.",
                LABELS[failures],
            ),
        }
        self._of_policies = {
            wanted: gauge(wanted, "Replicas that a policy wants, of all its guests.", LABELS[wanted]),
            there: gauge(there, "Jobs of a policy that there are; fewer than wanted: see its status.", LABELS[there]),
        }
        self._shown: dict[tuple[ClusterName, str], set[tuple[str, ...]]] = {}

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to the series of closed lists."""
        for state in JobHealth:
            self._jobs.labels(cluster, state).set(0)
        self._lacking.labels(cluster).set(0)
        self._orphans.labels(cluster).set(0)

    def publish(self, view: ClusterView) -> None:
        """Take in how jobs stand."""
        cluster, ours = view.cluster, [job for job in view.jobs if job.policy]
        for state in JobHealth:
            self._jobs.labels(cluster, state).set(sum(job.health is state for job in ours))
        labels: dict[str, tuple[str, ...]] = {
            j.job_id: (cluster, j.job_id, str(j.vmid), j.source, j.target, j.policy) for j in ours
        }
        lag, took, failures, wanted, there = LABELS
        lags = {labels[job.job_id]: job.lag_seconds for job in ours if job.lag_seconds is not None}
        self._show(self._of_jobs[lag], cluster, lag, lags)
        durations = {labels[job.job_id]: job.duration_seconds for job in ours if job.duration_seconds is not None}
        self._show(self._of_jobs[took], cluster, took, durations)
        self._show(self._of_jobs[failures], cluster, failures, {labels[job.job_id]: job.failures for job in ours})
        if view.plan is None:
            return
        replicas = view.plan.replicas
        self._lacking.labels(cluster).set(sum(not item.pending for item in replicas.lacking))
        self._orphans.labels(cluster).set(len(replicas.orphans))
        for name, counts in ((wanted, replicas.wanted), (there, replicas.there)):
            values: dict[tuple[str, ...], float] = {(cluster, ref.name): float(count) for ref, count in counts.items()}
            self._show(self._of_policies[name], cluster, name, values)

    def forget(self, cluster: ClusterName) -> None:
        """Drop every series of a cluster."""
        for gauge in (self._jobs, self._lacking, self._orphans, *self._of_jobs.values(), *self._of_policies.values()):
            gauge.remove_by_labels({"cluster": cluster})
        self._shown = {key: rows for key, rows in self._shown.items() if key[0] != cluster}

    def _show(self, gauge: Gauge, cluster: ClusterName, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        before = self._shown.get((cluster, name), set())
        for row in before - values.keys():
            gauge.remove(*row)
        for row, value in values.items():
            gauge.labels(*row).set(value)
        self._shown[cluster, name] = set(values)
