"""`drover status`: how everything stands, once or as it happens."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from controller.cli import options
from controller.cli.table import Cell, bar, columns, emit, paint, tone_of
from controller.report.overview import (
    ClusterLine,
    DrainLine,
    EventLine,
    GuestLine,
    MoveLine,
    NodeLine,
    OrderLine,
    Overview,
)
from controller.report.units import count_of, duration, rate, size

_EVENTS = 6
_CLEAR = "\x1b[H\x1b[J"


@click.command()
@click.option("--watch", "-w", is_flag=True, help="Go on until Ctrl-C; without a terminal one line per change.")
@options.server
@options.config
def command(watch: bool, server: str | None, config: Path | None) -> None:
    """Show clusters, nodes, drains, moves and blocked guests."""
    client = options.client(server, config)
    if not watch:
        emit(show(client.overview()))
        return
    last = ""
    for seen in client.watch():
        if sys.stdout.isatty():
            click.echo(_CLEAR + "\n".join(show(seen)))
        elif (line := in_one_line(seen)) != last:
            click.echo(f"{seen.now}  {line}")
            last = line


def show(seen: Overview) -> Iterator[str]:
    """The overview as lines."""
    yield from _source(seen)
    for cluster in seen.clusters:
        yield from _cluster(cluster)
    if not seen.clusters:
        yield paint("No cluster has been looked at yet.", "soft")
    yield from _group("Events", _events(seen.events[:_EVENTS]))


def in_one_line(seen: Overview) -> str:
    """The overview in a line, without numbers that change all the time."""
    parts = []
    for cluster in seen.clusters:
        guests = ", ".join(f"{count} {state.lower()}" for state, count in cluster.guests.items() if count)
        drains = "".join(f"; {drain.node} {drain.state.lower()} {drain.percent}%" for drain in cluster.drains)
        ready = "" if cluster.ready.status == "True" else f" ({cluster.ready.reason}: {cluster.ready.message})"
        parts.append(f"{cluster.name}{ready}: {guests or 'no guests'}{drains}")
    return " | ".join(parts) or "no cluster yet"


def _source(seen: Overview) -> Iterator[str]:
    source = seen.source
    if source.awaiting:
        yield paint(f"Deletions wait for you: drover confirm {source.awaiting}", "warn")
    if not source.complete:
        yield paint("The manifests can't be read completely; what was good before stays in force.", "bad")
    yield from (paint(problem, "bad") for problem in source.problems)
    if source.problems or source.awaiting:
        yield ""


def _cluster(cluster: ClusterLine) -> Iterator[str]:
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
        yield paint(f"  {cluster.ready.message}", "bad")
    elif cluster.armed.status != "True":
        yield paint(f"  {cluster.armed.message}", "soft")
    guests = ", ".join(f"{count} {state.lower()}" for state, count in cluster.guests.items() if count)
    yield f"  {count_of(sum(cluster.guests.values()), 'guest')}: {guests or 'none'}"
    yield from _group("Nodes", _nodes(cluster.nodes))
    yield from _group("Maintenance", _drains(cluster.drains))
    yield from _group("Ordered by hand", (_order(order) for order in cluster.orders))
    yield from _group("Moves", _moves(cluster.moves))
    yield from _group("Waiting or blocked", _troubled(cluster.troubled, cluster.more_troubled))
    yield from _group("Replication", (f"  {text}" for text in cluster.replication))
    yield from _group("Does not hold yet", (f"  {text}" for text in cluster.violations))


def _order(order: OrderLine) -> str:
    why = f": {order.reason}" if order.reason else ""
    return f"  drover {order.verb} {order.node} by {order.by}, {duration(order.age_seconds)} ago{why}"


def _group(title: str, lines: Iterable[str]) -> Iterator[str]:
    body = list(lines)
    if body:
        yield ""
        yield paint(title, "bold")
        yield from body


def _nodes(nodes: Iterable[NodeLine]) -> list[str]:
    rows = []
    for node in nodes:
        share = node.guest_memory_bytes / node.memory_bytes if node.memory_bytes else 0.0
        rows.append(
            (
                Cell(node.name, "bold"),
                Cell(node.state, tone_of(node.state)),
                Cell(node.maintenance or "-", tone_of(node.maintenance or "-")),
                Cell(str(node.guests), right=True),
                Cell(bar(share, 12), "bad" if share > 1 else "good"),
                Cell(f"{size(node.guest_memory_bytes)} of {size(node.memory_bytes)}", right=True),
            )
        )
    return columns(rows, heads=("NODE", "STATE", "MAINTENANCE", "GUESTS", "MEMORY OF GUESTS", ""), indent=2)


def _drains(drains: Iterable[DrainLine]) -> list[str]:
    return columns(
        [
            (
                Cell(drain.node, "bold"),
                Cell(drain.state, tone_of(drain.state)),
                Cell(bar(drain.percent / 100), tone_of(drain.state)),
                Cell(f"{drain.percent} %", right=True),
                drain.message
                + (f" ({drain.reason})" if drain.reason else "")
                + (f", about {duration(drain.eta_seconds)} left" if drain.eta_seconds is not None else ""),
            )
            for drain in drains
        ],
        indent=2,
    )


def _moves(moves: Iterable[MoveLine]) -> list[str]:
    return columns(
        [
            (
                f"{move.noun} {move.vmid}",
                Cell(move.name, "bold"),
                f"{move.source} -> {move.target}",
                Cell(bar((move.percent or 0) / 100, 16), "busy"),
                Cell("-" if move.percent is None else f"{move.percent} %", right=True),
                Cell(
                    f"{size(move.transferred_bytes)} of {size(move.total_bytes)}" if move.total_bytes else "-",
                    right=True,
                ),
                Cell(rate(move.bytes_per_second), right=True),
                Cell("-" if move.eta_seconds is None else f"{duration(move.eta_seconds)} left", right=True),
                f"{move.reason}, {move.phase}",
            )
            for move in moves
        ],
        indent=2,
    )


def _troubled(guests: Iterable[GuestLine], more: int) -> Iterator[str]:
    listed = list(guests)
    rows = [
        (
            Cell(f"{'!' if guest.state == 'Blocked' else '~'} {guest.noun} {guest.vmid}", tone_of(guest.state)),
            Cell(guest.name, "bold"),
            f"on {guest.node}",
            Cell(f"{guest.reason}: {guest.message}"),
        )
        for guest in listed
    ]
    for line, guest in zip(columns(rows, indent=2), listed, strict=True):
        yield line
        if guest.remedy and guest.state == "Blocked":
            yield paint(f"      {guest.remedy}", "soft")
    if more:
        yield paint(f"  and {more} more: drover get guests", "soft")


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
