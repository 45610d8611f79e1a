"""What `drover status` says of replication jobs that are not well."""

from controller.cli.status import show
from controller.model.condition import Status
from controller.report.overview import ClusterLine, Overview, Said, SourceLine, SyncLine

WORDS = "failed 3 times: the target's storage has less space than the disks that would be copied"
SAID = Said(status=Status.TRUE, reason="Ready", message="")


def job(name: str, state: str) -> SyncLine:
    return SyncLine(
        job=name, name="db", source="pve1", target="pve2", state=state, for_move=False, lag_seconds=90.0, message=WORDS
    )


def shown(*jobs: SyncLine, counts: dict[str, int]) -> list[str]:
    line = ClusterLine(
        name="lab", pve_name="lab", mode="Enforce", ready=SAID, armed=SAID, look_age_seconds=1.0, ticks=1, guests={},
        planned=0, digest="", nodes=(), drains=(), moves=(), troubled=(), more_troubled=0, violations=(), syncs=jobs,
        jobs=counts, max_lag_seconds=90.0,
    )  # fmt: skip
    source = SourceLine(revision="1", objects=1, problems=(), awaiting="", complete=True)
    return list(show(Overview(version="0", now="", source=source, clusters=(line,), events=())))


def test_each_failing_job_has_its_words_right_below_it_and_only_there() -> None:
    lines = shown(job("101-0", "Failing"), job("102-0", "New"), counts={"Failing": 1, "New": 1})
    where = next(index for index, line in enumerate(lines) if "101-0" in line)
    assert WORDS in lines[where + 1]
    assert "102-0" in lines[where + 2]
    assert sum(WORDS in line for line in lines) == 1


def test_jobs_that_are_not_shown_are_counted() -> None:
    lines = shown(job("101-0", "Failing"), counts={"Failing": 41, "InSync": 5})
    assert "  and 40 more; `drover get replication -o wide` lists all" in lines
