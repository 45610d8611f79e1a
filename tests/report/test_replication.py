"""What people and machines are told of replication: conditions, status, the list of jobs, metrics that come and go."""

from dataclasses import replace

import pytest

from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.reasons import Why
from controller.model.replication import JobHealth, JobReport, Lacking, Orphan, Replicas
from controller.model.view import ClusterView
from controller.report import replication, views
from controller.report.conditions import statuses
from controller.report.metrics import Metrics
from tests.report.scene import CLUSTER, NOW, PLAN, SPECS, VIEW

REF = ObjectRef("ReplicationPolicy", "pairs")
FINE = JobReport(
    job_id="101-0",
    vmid=Vmid(101),
    source=NodeName("pve1"),
    target=NodeName("pve2"),
    schedule="*/15",
    policy="pairs",
    health=JobHealth.IN_SYNC,
    message="",
    lag_seconds=300.0,
    last_sync=NOW - 300,
    next_sync=NOW + 600,
    duration_seconds=8.0,
    read_at=NOW - 20,
    zone="Europe/Vienna",
)
FAILING = replace(
    FINE, job_id="102-0", vmid=Vmid(102), health=JobHealth.FAILING, why=Why.NO_SPACE, message="failed once", failures=1
)
LAGGING = replace(FINE, health=JobHealth.LAGGING, why=Why.LAG_EXCEEDED, message="2 h old")
FOREIGN = replace(FINE, job_id="103-0", vmid=Vmid(103), policy="")
NEW = replace(FINE, health=JobHealth.NEW, why=Why.NOT_SYNCED_YET, last_sync=None, lag_seconds=None, message="to come")
UNKNOWN = replace(NEW, health=JobHealth.UNKNOWN, why=Why.NOT_OBSERVED_YET)


def lacking(why: Why = Why.NO_SPACE, *, pending: bool = False) -> Lacking:
    return Lacking(Vmid(104), REF, NodeName("pve3"), why, "VM 104 web-2: no", pending)


def view(*jobs: JobReport, short: Lacking | None = None, orphans: tuple[Orphan, ...] = ()) -> ClusterView:
    ours = sum(job.policy == "pairs" for job in jobs)
    replicas = Replicas(
        wanted={REF: ours + (short is not None and short.why is not Why.NOTHING_TO_REPLICATE)},
        there={REF: ours},
        lacking=(short,) if short is not None else (),
        orphans=orphans,
    )
    return replace(VIEW, jobs=jobs, plan=replace(PLAN, replicas=replicas))


@pytest.mark.parametrize(
    ("seen", "type_", "expected"),
    [
        (view(FINE), "InSync", ("True", Why.IN_SYNC)),
        (view(FINE, FOREIGN), "InSync", ("True", Why.IN_SYNC)),
        (view(NEW), "InSync", ("False", Why.NOT_SYNCED_YET)),
        (view(UNKNOWN), "InSync", ("Unknown", Why.NOT_SYNCED_YET)),
        (view(replace(FINE, health=JobHealth.UNKNOWN)), "InSync", ("Unknown", Why.NOT_SYNCED_YET)),
        (view(FINE, FAILING), "InSync", ("False", Why.JOBS_FAILING)),
        (view(LAGGING), "InSync", ("False", Why.LAG_EXCEEDED)),
        (view(FINE, short=lacking()), "InSync", ("False", Why.NO_SPACE)),
        (view(FINE, short=lacking(Why.TARGET_IN_MAINTENANCE, pending=True)), "InSync", ("False", Why.NOT_SYNCED_YET)),
        (view(FINE, short=lacking(Why.NOTHING_TO_REPLICATE, pending=True)), "InSync", ("True", Why.IN_SYNC)),
        (view(FINE), "LagExceeded", ("False", Why.AS_EXPECTED)),
        (view(LAGGING), "LagExceeded", ("True", Why.LAG_EXCEEDED)),
        (view(FINE, FAILING), "JobsFailing", ("True", Why.NO_SPACE)),
        (view(FINE), "JobsFailing", ("False", Why.AS_EXPECTED)),
        (view(FINE, UNKNOWN), "JobsFailing", ("Unknown", Why.NOT_OBSERVED_YET)),
        (view(FAILING, UNKNOWN), "JobsFailing", ("True", Why.NO_SPACE)),
        (view(FINE, short=lacking(Why.FOREIGN_JOB)), "Conflicted", ("True", Why.FOREIGN_JOB)),
        (view(FINE), "Conflicted", ("False", Why.AS_EXPECTED)),
        (replace(view(FINE), plan=None), "InSync", ("Unknown", Why.ARMED)),
    ],
)
def test_a_condition_says_how_replicas_stand(seen: ClusterView, type_: str, expected: tuple[str, str]) -> None:
    found = statuses(SPECS, (), seen, {})[REF].condition(type_)
    assert found is not None
    assert (found.status, found.reason) == expected


def test_the_words_of_a_failure_say_what_to_do() -> None:
    found = statuses(SPECS, (), view(FAILING), {})[REF].condition("JobsFailing")
    assert found is not None
    assert found.message == f"102-0 to pve2: failed once ({Why.NO_SPACE.remedy})"


def test_the_status_counts_replicas_and_names_what_is_lacking() -> None:
    fields = statuses(SPECS, (), view(FINE, FAILING, short=lacking()), {})[REF].fields
    assert fields["replicas"] == {"wanted": 3, "there": 2, "inSync": 1, "failing": 1}
    assert fields["maxLagSeconds"] == 300
    assert fields["lacking"] == [
        {"vmid": 104, "guest": "104 web-2", "target": "pve3", "reason": "NoSpace", "message": "VM 104 web-2: no"}
    ]


def test_every_job_is_listed_with_its_clock_and_whose_it_is() -> None:
    orphan = Orphan("101-0", Vmid(101), "pairs", "job 101-0 stays")
    mine, other = (item["status"] for item in views.job_list(view(FINE, FOREIGN, orphans=(orphan,))))
    assert isinstance(mine, dict)
    assert isinstance(other, dict)
    assert {key: mine[key] for key in ("policy", "state", "zone", "lagSeconds", "reason", "message")} == {
        "policy": "pairs",
        "state": "InSync",
        "zone": "Europe/Vienna",
        "lagSeconds": 300.0,
        "reason": "JobOrphaned",
        "message": "job 101-0 stays",
    }
    assert (other["policy"], other["name"]) == ("", "web-1")


def test_replicas_that_are_lacking_are_said_in_the_overview_and_jobs_that_fail_only_in_its_table() -> None:
    told = replication.problems(view(LAGGING, FAILING, FINE, short=lacking()))
    assert told == ["VM 104 web-2: no (NoSpace)"]


def test_series_of_a_job_come_and_go_with_it() -> None:
    metrics = Metrics()
    labels = {"cluster": CLUSTER, "job": "101-0", "vmid": "101", "source": "pve1", "target": "pve2", "policy": "pairs"}

    def value(name: str, **more: str) -> float | None:
        return metrics.registry.get_sample_value(f"drover_replication_{name}", more or labels)

    metrics.publish(view(FINE, FAILING, FOREIGN, short=lacking()), {})
    assert (value("lag_seconds"), value("last_duration_seconds"), value("failures")) == (300, 8, 0)
    assert value("jobs", cluster=CLUSTER, state="Failing") == 1
    assert value("replicas_lacking", cluster=CLUSTER) == 1
    assert value("replicas_wanted", cluster=CLUSTER, policy="pairs") == 3
    assert value("replicas_there", cluster=CLUSTER, policy="pairs") == 2
    assert value("last_run_bytes") is None, "not told"
    metrics.publish(view(replace(FINE, sent_bytes=624)), {})
    assert value("last_run_bytes") == 624
    metrics.publish(view(FAILING), {})
    assert value("lag_seconds") is None
    assert value("last_run_bytes") is None
    assert value("jobs", cluster=CLUSTER, state="InSync") == 0
    metrics.forget(CLUSTER)
    assert value("replicas_wanted", cluster=CLUSTER, policy="pairs") is None
