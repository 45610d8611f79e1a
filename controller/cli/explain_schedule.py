"""`drover explain-schedule`: when a schedule of replication runs, or which character of it PVE would not take."""

from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from controller import app
from controller.cli import options
from controller.cli.jsonpath import value_at
from controller.cli.kinds import text_at
from controller.cli.table import Cell, columns, emit, paint
from controller.model import calendar
from controller.report.units import duration

_INVALID = 1
_HERE = Path("/etc/localtime")


@click.command("explain-schedule")
@click.argument("schedule", required=False)
@click.option(
    "--job", metavar="JOB", help="The schedule of this job, such as 101-0, in the zone of its node; asks the daemon."
)
@click.option(
    "--zone", metavar="ZONE", help="The time zone of the node, such as Europe/Vienna; else that of this machine."
)
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many runs to show.")
@click.option("--after", metavar="TIME", help="Runs after this moment, such as 2026-11-23T06:00; else after now.")
@options.server
@options.config
@click.pass_context
def command(
    ctx: click.Context,
    *,
    schedule: str | None,
    job: str | None,
    zone: str | None,
    count: int,
    after: str | None,
    server: str | None,
    config: Path | None,
) -> None:
    """Show when SCHEDULE, a PVE calendar event such as 'mon..fri 22:00', runs next.

    PVE reads schedules in the time zone of the guest's node. Exit codes: 0 fine, 1 no schedule, 64 wrong usage.
    """
    if (schedule is None) == (job is None):
        raise click.UsageError("say either a SCHEDULE or --job JOB")
    if job is not None:
        item = options.client(server, config).item("replication", job)
        schedule = text_at(item, ".status.schedule")
        zone = zone or str(value_at(item, ".status.zone") or "") or None
    assert schedule is not None
    here = _zone(zone)
    try:
        event = calendar.parse(schedule)
    except calendar.CalendarError as error:
        click.echo(f"{schedule!r} is no schedule: {error}\n  {schedule}\n  {' ' * (error.position - 1)}^", err=True)
        ctx.exit(_INVALID)
    lines = _runs(event, _moment(after, here), here, count)
    if not lines:
        emit([paint(f"{schedule!r} is valid, but never happens: PVE would never run the job", "bad")])
        ctx.exit(_INVALID)
    emit(lines)
    if event.seconds != {0}:
        emit([paint("PVE's scheduler wakes once a minute: seconds make no difference to a job.", "soft")])


def _runs(event: calendar.CalendarEvent, moment: float, zone: tzinfo, count: int) -> list[str]:
    shown = UTC if event.utc else zone
    rows: list[tuple[Cell | str, ...]] = []
    while len(rows) < count and (following := event.next_after(moment, zone)) is not None:
        at = datetime.fromtimestamp(following, shown)
        gap = Cell(f"+{duration(following - moment)}", "soft", right=True)
        rows.append((Cell(f"{at:%a %Y-%m-%d %H:%M:%S}", "bold"), f"{at:%Z}", gap))
        moment = following
    return columns(rows)


def _zone(name: str | None) -> tzinfo:
    if name is None:
        try:
            with _HERE.open("rb") as file:
                return ZoneInfo.from_file(file, key="localtime")
        except (OSError, ValueError):
            return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise click.UsageError(
            f"--zone {name}: there is no such time zone; it is a name such as Europe/Vienna"
        ) from None


def _moment(text: str | None, zone: tzinfo) -> float:
    if text is None:
        return app.system_clock().wall()
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--after {text}: not a moment such as 2026-11-23T06:00") from None
    return (read if read.tzinfo is not None else read.replace(tzinfo=zone)).timestamp()
