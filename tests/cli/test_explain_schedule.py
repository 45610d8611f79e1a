"""`drover explain-schedule`: when a schedule runs, and what is wrong with one that is none."""

import click
from click.testing import CliRunner

from controller.cli.explain_schedule import command


def run(*arguments: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(command, arguments)
    return done.exit_code, [click.unstyle(line) for line in done.output.splitlines()]


def test_the_next_runs_are_in_the_zone_of_the_node() -> None:
    code, lines = run("mon..fri 22:00", "--zone", "Europe/Vienna", "--count", "2", "--after", "2026-10-23T23:00")
    assert code == 0
    assert [line.split() for line in lines] == [
        ["Mon", "2026-10-26", "22:00:00", "CET", "+3d00h"],  # an hour more: the clocks were put back
        ["Tue", "2026-10-27", "22:00:00", "CET", "+1d00h"],
    ]


def test_a_schedule_that_says_utc_is_shown_in_utc() -> None:
    _, lines = run("8:00 UTC", "--zone", "Europe/Vienna", "--count", "1", "--after", "2026-11-23T00:00")
    assert lines[0].split()[:4] == ["Mon", "2026-11-23", "08:00:00", "UTC"]


def test_a_mistake_is_shown_at_its_place() -> None:
    assert run("mon-fri 22:00") == (
        1,
        [
            "'mon-fri 22:00' is no schedule: days from one to another are written mon..fri, not with '-' at character 4",
            "  mon-fri 22:00",
            "     ^",
        ],
    )


def test_a_schedule_that_never_happens_is_said_to_be_one() -> None:
    code, lines = run("2-30", "--zone", "UTC")
    assert code == 1
    assert "never happens" in lines[0]


def test_wrong_usage_is_told_apart() -> None:
    assert run()[0] == run("8:00", "--zone", "Nowhere/Else")[0] == run("8:00", "--after", "soon")[0] == 2
