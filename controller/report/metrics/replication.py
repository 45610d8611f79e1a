"""Metrics of replication jobs: series per job and policy, which go when their job or policy does. Owned by `Metrics`."""

from collections.abc import Mapping
from types import MappingProxyType

from controller.model.ids import ClusterName
from controller.model.replication import JobHealth
from controller.model.view import ClusterView
from controller.report.metrics.families import Families, Passing

_JOB = ("job", "vmid", "source", "target", "policy")
_POLICY = ("policy",)
LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "drover_replication_lag_seconds": _JOB,
        "drover_replication_last_duration_seconds": _JOB,
        "drover_replication_last_run_bytes": _JOB,
        "drover_replication_failures": _JOB,
        "drover_replication_replicas_wanted": _POLICY,
        "drover_replication_replicas_there": _POLICY,
    }
)
"""Metrics whose series come and go, with their labels beside `cluster`."""


class ReplicationMetrics:
    """Replication jobs of Drover, and the replicas that policies want."""

    def __init__(self, families: Families) -> None:
        def passing(name: str, text: str) -> Passing:
            return Passing(families.gauge(name, text, *LABELS[name]))

        self._jobs = families.gauge(
            "drover_replication_jobs",
            "Replication jobs of Drover by how they stand; Failing and Lagging want to be looked at: `drover get replication`.",
            "state",
        )
        self._lacking = families.gauge(
            "drover_replication_replicas_lacking",
            "Replicas that a policy wants and that are not to be had until somebody changes something.",
        )
        self._orphans = families.gauge(
            "drover_replication_orphans", "Jobs of Drover that no policy wants and that are left alone."
        )
        self._lag = passing(
            "drover_replication_lag_seconds",
            "Age of a replica: what would be lost with its source. Compare with maxLagSeconds.",
        )
        self._took = passing("drover_replication_last_duration_seconds", "Duration of the last run of a job.")
        self._sent = passing(
            "drover_replication_last_run_bytes",
            "Bytes that the last good run of a job sent; no series while its log has not told. When it grows run by run the guest "
            "writes more than schedule and rate carry.",
        )
        self._failures = passing(
            "drover_replication_failures",
            "Runs of a job that failed since the last good one; the cause is in its message.",
        )
        self._wanted = passing("drover_replication_replicas_wanted", "Replicas that a policy wants, of all its guests.")
        self._there = passing(
            "drover_replication_replicas_there", "Jobs of a policy that there are; fewer than wanted: see its status."
        )

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
        rows = {j.job_id: (j.job_id, str(j.vmid), str(j.source), str(j.target), j.policy) for j in ours}
        self._lag.show(cluster, {rows[j.job_id]: j.lag_seconds for j in ours if j.lag_seconds is not None})
        self._took.show(cluster, {rows[j.job_id]: j.duration_seconds for j in ours if j.duration_seconds is not None})
        self._sent.show(cluster, {rows[j.job_id]: j.sent_bytes for j in ours if j.sent_bytes is not None})
        self._failures.show(cluster, {rows[j.job_id]: j.failures for j in ours})
        if view.plan is None:
            return
        replicas = view.plan.replicas
        self._lacking.labels(cluster).set(sum(not item.pending for item in replicas.lacking))
        self._orphans.labels(cluster).set(len(replicas.orphans))
        self._wanted.show(cluster, {(ref.name,): count for ref, count in replicas.wanted.items()})
        self._there.show(cluster, {(ref.name,): count for ref, count in replicas.there.items()})

    def forget(self, cluster: ClusterName) -> None:
        """Drop what is remembered of a cluster."""
        for passing in (self._lag, self._took, self._sent, self._failures, self._wanted, self._there):
            passing.forget(cluster)
