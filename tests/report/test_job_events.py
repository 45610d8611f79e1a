"""Orphaned, failing and recovered jobs are told once each, whatever happens in between."""

from collections.abc import Mapping
from dataclasses import replace

from controller.model.ids import Vmid
from controller.model.replication import JobHealth, JobReport, Orphan
from controller.model.view import ClusterView
from controller.report.job_events import of_jobs
from tests.report.test_replication import FAILING, FINE, view

LOST = Orphan(FINE.job_id, FINE.vmid, "pairs", "job 101-0 stays")


def played(*views: ClusterView) -> list[list[str]]:
    told: Mapping[str, str] = {}
    found: list[list[str]] = []
    for each in views:
        events, told = of_jobs(told, each)
        found.append([f"{event.reason} {event.about.name}" for event in events])
    return found


def at(job: JobReport, synced: float | None, health: JobHealth = JobHealth.IN_SYNC) -> ClusterView:
    return view(replace(job, last_sync=synced, health=health))


def test_an_orphan_is_told_once_and_again_when_it_becomes_one_again() -> None:
    orphaned = view(FINE, orphans=(LOST,))
    assert played(orphaned, orphaned, view(FINE), orphaned) == [["JobOrphaned 101"], [], [], ["JobOrphaned 101"]]


def test_a_failing_job_is_told_once_and_is_well_only_after_a_newer_sync() -> None:
    bad, asked_again, well = at(FAILING, 1000, JobHealth.FAILING), at(FAILING, 1001), at(FAILING, 2000)
    assert played(bad, bad, asked_again, bad, well, well) == [
        ["JobFailing 102"], [], [], [], ["JobRecovered 102"], []
    ]  # fmt: skip


def test_a_job_that_is_gone_did_not_recover_and_one_of_others_is_not_told() -> None:
    bad = at(FAILING, 1000, JobHealth.FAILING)
    assert played(bad, view(), at(FAILING, 2000)) == [["JobFailing 102"], [], []]
    assert played(view(replace(FAILING, policy=""))) == [[]]


def test_a_plan_that_could_not_be_made_forgets_nothing() -> None:
    orphaned = view(FINE, orphans=(LOST,))
    assert played(orphaned, replace(orphaned, plan=None), orphaned) == [["JobOrphaned 101"], [], []]


def many(count: int, synced: float, health: JobHealth = JobHealth.FAILING, of: int = 40) -> ClusterView:
    """`of` jobs of one policy; the first `count` of them in this state, all others well."""
    jobs = [replace(FAILING, job_id=f"{200 + n}-0", vmid=Vmid(200 + n), last_sync=synced) for n in range(of)]
    well = [replace(job, health=JobHealth.IN_SYNC, why=None) for job in jobs]
    return view(*(replace(job, health=health) for job in jobs[:count]), *well[count:])


def test_when_many_jobs_of_a_policy_fail_ten_are_told_and_one_event_tells_of_the_rest() -> None:
    looks = played(many(4, 1000), many(25, 1000), many(40, 1000), many(40, 1000))
    assert looks[0] == [f"JobFailing {200 + n}" for n in range(4)]
    assert looks[1] == [*(f"JobFailing {204 + n}" for n in range(6)), f"JobFailing {FAILING.policy}"]
    assert looks[2:] == [[], []]


def test_while_many_fail_no_recovery_is_told_and_a_new_failure_is_told_again_when_they_are_well() -> None:
    looks = played(many(40, 1000), many(20, 2000), many(3, 3000), many(0, 4000), many(1, 5000))
    assert [len(look) for look in looks] == [11, 0, 0, 3, 1]
    assert looks[3:] == [[f"JobRecovered {200 + n}" for n in range(3)], ["JobFailing 200"]]


def test_the_summary_counts_reasons_and_says_what_to_do() -> None:
    text = of_jobs({}, many(40, 1000))[0][-1].message
    assert text.startswith(f"40 replication jobs fail (40 {FAILING.why})")
    assert text.endswith(f"lists them. {FAILING.why.remedy if FAILING.why else ''}")


def test_many_orphans_of_a_policy_are_one_event() -> None:
    lost = tuple(replace(LOST, job_id=f"{200 + n}-0", vmid=Vmid(200 + n)) for n in range(11))
    assert played(view(orphans=lost)) == [["JobOrphaned pairs"]]
    assert len(played(view(orphans=lost[1:]))[0]) == 10
