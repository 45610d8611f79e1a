"""`drover status`: how everything stands, once or as it happens."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import click

from controller.cli import options
from controller.cli.table import Cell, bar, columns, emit, fit, paint, tone_of, wrapped
from controller.cli.watch import Changes, Screen
from controller.report.evacuation import DrainLine
from controller.report.overview import (
    ClusterLine,
    EventLine,
    GuestLine,
    HaltedLine,
    MoveLine,
    NodeLine,
    OrderLine,
    Overview,
    RevisionLine,
    SourceLine,
    SyncLine,
    WaitLine,
)
from controller.report.units import count_of, duration, rate, size

_EVENTS = 6
_WIDE = 120
"""Columns from which on a move is one line instead of two."""
_MOVES, _BLOCKED = 20, 10
"""The most of each that are shown one by one; the rest is counted."""


@click.command()
@click.option("--watch", "-w", is_flag=True, help="Go on until Ctrl-C; without a terminal one line per change.")
@click.option("--plain", "lines_only", is_flag=True, help="With --watch: one line per change, as without a terminal.")
@options.server
@options.config
def command(watch: bool, lines_only: bool, server: str | None, config: Path | None) -> None:
    """Show clusters, drains, moves, blocked guests and nodes."""
    client = options.client(server, config)
    drawn = sys.stdout.isatty()
    if not watch:
        emit(show(client.overview(), shutil.get_terminal_size().columns if drawn else 0))
        return
    screen, changes = Screen(), Changes()
    for seen in client.watch():
        if drawn and not lines_only:
            screen.draw(partial(show, seen))
        else:
            emit(f"{seen.now}  {line}" for line in changes.between(seen))


def show(seen: Overview, width: int = 0) -> Iterator[str]:
    """The overview as lines of at most `width` characters; 0 = as long as they are."""
    for line in _lines(seen, width):
        yield fit(line, width)


def _lines(seen: Overview, width: int) -> Iterator[str]:
    yield from _source(seen)
    for cluster in seen.clusters:
        yield from _cluster(cluster, width)
    if not seen.clusters:
        yield paint("No cluster has been looked at yet.", "soft")
    yield from _group("Events", _events(seen.events[:_EVENTS]))


def _source(seen: Overview) -> Iterator[str]:
    source = seen.source
    yield from _repository(source)
    if source.awaiting:
        yield paint(f"Deletions wait for you: drover confirm {source.awaiting}", "warn")
    if not source.complete:
        yield paint("The manifests can't be read completely; what was good before stays in force.", "bad")
    yield from (paint(problem, "bad") for problem in source.problems)
    if source.problems or source.awaiting:
        yield ""


def _repository(source: SourceLine) -> Iterator[str]:
    """The revision in force, and the one that was refused or whatever else is wrong with the repository."""
    if not source.url:
        return
    where = " ".join(filter(None, (source.url, source.ref, source.path)))
    yield f"{paint('Repository', 'bold')}  {where}"
    if source.applied is not None:
        since = source.applied.in_force_seconds
        age = "" if since is None else f", for {duration(since)}"
        yield f"  In force: {_commit(source.applied)}{age}"
    if source.ready is not None and source.ready.status != "True":
        if source.attempted is not None and (
            source.applied is None or source.attempted.commit != source.applied.commit
        ):
            yield f"  Newest:   {_commit(source.attempted)}"
        yield paint(f"  {source.ready.reason}: {source.ready.message}", "bad")
        if source.contact_age_seconds is not None:
            yield paint(f"  The server answered last {duration(source.contact_age_seconds)} ago.", "soft")
    elif source.ready is not None and source.ready.reason != "RevisionApplied":
        yield paint(f"  {source.ready.reason}: {source.ready.message}", "warn")
    yield ""


def _commit(revision: RevisionLine) -> str:
    signed = f"signed by {revision.signer}" if revision.key else "not verified"
    return (
        f"{revision.commit[:12]} {revision.subject} ({revision.author}, {duration(revision.age_seconds)} ago; {signed})"
    )


def _cluster(cluster: ClusterLine, width: int) -> Iterator[str]:
    called = f" ({cluster.pve_name})" if cluster.pve_name and cluster.pve_name != cluster.name else ""
    ready = "Ready" if cluster.ready.status == "True" else cluster.ready.reason or "Unknown"
    age = "never looked at" if cluster.look_age_seconds is None else f"seen {duration(cluster.look_age_seconds)} ago"
    ready_tone = "good" if cluster.ready.status == "True" else "bad"
    armed_tone = "good" if cluster.armed.status == "True" else "warn"
    yield (
        f"{paint(cluster.name, 'bold')}{called}  {cluster.mode}  {paint(ready, ready_tone)}  "
        f"{paint(cluster.armed.reason, armed_tone)}  {paint(age, 'soft')}"
    )
    if cluster.ready.status != "True":
        yield from wrapped(cluster.ready.message, width, indent=2, tone="bad")
    elif cluster.armed.status != "True":
        yield from wrapped(cluster.armed.message, width, indent=2, tone="soft")
    if cluster.notifying is not None and cluster.notifying.status == "False":
        yield from wrapped(
            f"Word does not get through: {cluster.notifying.message} ({cluster.notifying.reason})",
            width,
            indent=2,
            tone="warn",
        )
    guests = ", ".join(f"{count} {state.lower()}" for state, count in cluster.guests.items() if count)
    yield f"  {count_of(sum(cluster.guests.values()), 'guest')}: {guests or 'none'}"
    yield from _group("Maintenance", (line for drain in cluster.drains for line in _drain(drain, width)))
    yield from _group("Ordered by hand", (_order(order) for order in cluster.orders))
    yield from _group("Moves", _moves(cluster.moves, width))
    yield from _group("Shut down for a maintenance", _halted(cluster.halted))
    yield from _group("Blocked", _blocked(cluster, width))
    yield from _group("Waiting", _waiting(cluster.waits, width))
    yield from _group("Nodes", _nodes(cluster.nodes, width))
    yield from _group("Replication", _replication(cluster, width))
    violations = (line for text in cluster.violations for line in wrapped(text, width, indent=2))
    yield from _group("Does not hold yet", violations)


def _order(order: OrderLine) -> str:
    why = f": {order.reason}" if order.reason else ""
    return f"  drover {order.verb} {order.node} by {order.by}, {duration(order.age_seconds)} ago{why}"


def _group(title: str, lines: Iterable[str]) -> Iterator[str]:
    body = list(lines)
    if body:
        yield ""
        yield paint(title, "bold")
        yield from body


def _nodes(nodes: Iterable[NodeLine], width: int) -> list[str]:
    rows = []
    for node in nodes:
        share = node.guest_memory_bytes / node.memory_bytes if node.memory_bytes else 0.0
        wide = [Cell(bar(share, 12), "bad" if share > 1 else "good")] if not width or width >= _WIDE else []
        rows.append(
            [
                Cell(node.name, "bold"),
                Cell(node.state, tone_of(node.state)),
                Cell(node.maintenance or "-", tone_of(node.maintenance or "-")),
                Cell(str(node.guests), right=True),
                *wide,
                Cell(f"{size(node.guest_memory_bytes)} of {size(node.memory_bytes)}", right=True),
                Cell(rate(node.in_bytes_per_second) if node.moves_in else "-", right=True),
                Cell(rate(node.out_bytes_per_second) if node.moves_out else "-", right=True),
            ]
        )
    memory = ("MEMORY OF GUESTS", "") if not width or width >= _WIDE else ("MEMORY OF GUESTS",)
    return columns(rows, heads=("NODE", "STATE", "DRAIN", "GUESTS", *memory, "IN", "OUT"), indent=2)


def _drain(drain: DrainLine, width: int) -> Iterator[str]:
    tone = tone_of(drain.state)
    head = f"  {paint(drain.node, 'bold')}  {paint(drain.state, tone)}  {paint(bar(drain.percent / 100), tone)}"
    message = "; ".join(filter(None, (drain.message, drain.uncounted, drain.reason)))
    one_line = not width or len(drain.node) + len(drain.state) + 35 + len(message) <= width
    yield f"{head}  {drain.percent:>3} %" + (f"  {message}" if one_line else "")
    for text in ("" if one_line else message, "; ".join(drain.outlook)):
        if text:
            yield from wrapped(text, width, indent=6)


def _moves(moves: tuple[MoveLine, ...], width: int) -> Iterator[str]:
    listed = moves[:_MOVES]
    if not width or width >= _WIDE:
        yield from columns([[*_who(move), *_how_far(move, 16), _why(move)] for move in listed], indent=2)
    else:  # who goes where, and below it how far that is
        heads = columns([[*_who(move), _why(move)] for move in listed], indent=2)
        bars = columns([_how_far(move, 12) for move in listed], indent=4)
        yield from (line for pair in zip(heads, bars, strict=True) for line in pair)
    if len(moves) > _MOVES:
        yield paint(f"  and {len(moves) - _MOVES} more: drover get migrations", "soft")


def _who(move: MoveLine) -> list[Cell | str]:
    return [f"{move.noun} {move.vmid}", Cell(move.name, "bold"), f"{move.source} -> {move.target}"]


def _why(move: MoveLine) -> str:
    return f"{move.reason}, downtime up to {move.downtime_limit_ms} ms" if move.downtime_limit_ms else move.reason


def _how_far(move: MoveLine, width: int) -> list[Cell | str]:
    left = "-" if move.remaining_bytes is None else f"{size(move.remaining_bytes)} to go"
    return [
        Cell(bar((move.percent or 0) / 100, width), "busy"),
        Cell("-" if move.percent is None else f"{move.percent} %", right=True),
        Cell(left, right=True),
        Cell(rate(move.bytes_per_second), right=True),
        Cell("-" if move.eta_seconds is None else f"{duration(move.eta_seconds)} left", right=True),
        f"{move.phase}, waiting for {move.waiting}" if move.waiting else move.phase,
    ]


def _halted(halted: Iterable[HaltedLine]) -> Iterator[str]:
    for guest in halted:
        then = "starts again elsewhere" if guest.elsewhere else f"starts again when {guest.node} is back"
        what = "was asked to start" if guest.starting else f"{then}; was asked to shut down"
        yield f"  {guest.vmid} {guest.name} of {guest.node}: {what} {duration(guest.age_seconds)} ago"


def _blocked(cluster: ClusterLine, width: int) -> Iterator[str]:
    stuck = [guest for guest in cluster.troubled if guest.state == "Blocked"]
    for guest in stuck[:_BLOCKED]:
        yield from _stuck(guest, width)
    more = sum(wait.count for wait in cluster.waits if wait.state == "Blocked") - min(len(stuck), _BLOCKED)
    if more > 0:
        by_reason = ", ".join(f"{wait.count} {wait.reason}" for wait in cluster.waits if wait.state == "Blocked")
        yield paint(f"  and {more} more (in all {by_reason}): drover get guests", "soft")


def _stuck(guest: GuestLine, width: int) -> Iterator[str]:
    text = f"{guest.noun} {guest.vmid} {guest.name} on {guest.node}  {guest.reason}: {guest.message}"
    first, *rest = wrapped(text, width, indent=4, tone="warn")
    yield f"  ! {first[4:]}"
    yield from rest
    if guest.remedy:
        yield from wrapped(guest.remedy, width, indent=6, tone="soft")


def _waiting(waits: Iterable[WaitLine], width: int) -> Iterator[str]:
    for wait in waits:
        if wait.state == "Blocked":
            continue
        named = ", ".join(wait.guests) + (
            f" and {wait.count - len(wait.guests)} more" if wait.count > len(wait.guests) else ""
        )
        first, *rest = wrapped(f"{wait.count} for {wait.reason}: {wait.message}", width, indent=4)
        yield f"  ~ {first[4:]}"
        yield from rest
        if wait.count > 1:
            yield from wrapped(named, width, indent=6, tone="soft")


_TROUBLED = ("Failing", "Lagging")
"""States of a replication job that need a sentence."""


def _replication(cluster: ClusterLine, width: int) -> Iterator[str]:
    if set(cluster.jobs) - {"InSync"} or cluster.replication:
        states = ", ".join(f"{count} {state}" for state, count in sorted(cluster.jobs.items()))
        lag = (
            f"; the oldest replica is {duration(cluster.max_lag_seconds)} old"
            if cluster.max_lag_seconds is not None
            else ""
        )
        yield f"  {count_of(sum(cluster.jobs.values()), 'job')}: {states or 'none'}{lag}"
    for job, line in zip(cluster.syncs, columns([_sync(job) for job in cluster.syncs], indent=2), strict=True):
        yield line
        if job.state in _TROUBLED:
            yield from wrapped(job.message, width, indent=6, tone="warn")
    more = sum(count for state, count in cluster.jobs.items() if state != "InSync") - len(cluster.syncs)
    if more > 0:
        yield f"  and {more} more; `drover get replication -o wide` lists all"
    for text in cluster.replication:
        yield from wrapped(text, width, indent=2, tone="warn")


def _sync(job: SyncLine) -> list[Cell | str]:
    lag = "no copy yet" if job.lag_seconds is None else f"copy is {duration(job.lag_seconds)} old"
    return [
        job.job,
        Cell(job.name, "bold"),
        f"{job.source} -> {job.target}",
        Cell(job.state, tone_of(job.state)),
        lag + (", for a move" if job.for_move else ""),
    ]


def _events(events: Iterable[EventLine]) -> list[str]:
    return columns(
        [
            (
                Cell(f"{duration(event.age_seconds)} ago", "soft", right=True),
                Cell(event.reason, "warn" if event.warning else "busy"),
                event.message + (f" ({event.count} times)" if event.count > 1 else ""),
            )
            for event in events
        ],
        indent=2,
    )
