"""Orphaned, failing and recovered jobs are told once each, whatever happens in between."""

from collections.abc import Mapping
from dataclasses import replace

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
