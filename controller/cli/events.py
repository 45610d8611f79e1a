"""`drover events`: what happened, the latest first; with `--watch` also what comes, the latest last."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import click

from controller.app import system_clock
from controller.cli import options
from controller.cli.client import Client, Data
from controller.cli.kinds import events_table, text_at
from controller.cli.table import columns, emit, structured
from controller.report.objects import kind_of
from controller.report.views import VIEWS, view_of

_PAUSE_SECONDS = 1.0
_HEADS, _WIDTHS = ("AT", "TYPE", "REASON", "ABOUT", "TIMES", "MESSAGE"), (20, 7, 20, 34, 5)


@click.command()
@click.option(
    "--about", "--for", metavar="KIND[/NAME]", help="Only about these: NodeMaintenance/label-pve2, nm, Guest/101."
)
@click.option("--type", "type_", type=click.Choice(["Normal", "Warning"], case_sensitive=False), help="Only these.")
@click.option("--warnings", is_flag=True, help="Only warnings: --type Warning.")
@click.option(
    "--reason", multiple=True, metavar="REASON", help="Only with this reason (MoveFailed); several times: any of them."
)
@click.option("--since", metavar="AGO", help="Only what happened since: 90s, 15m, 2h, 7d, or a time.")
@click.option("-w", "--watch", is_flag=True, help="Go on with what comes, until Ctrl-C, across restarts of the daemon.")
@options.cluster
@options.output
@options.server
@options.config
def command(
    *,
    about: str | None,
    type_: str | None,
    warnings: bool,
    reason: tuple[str, ...],
    since: str | None,
    watch: bool,
    cluster: str | None,
    output: str,
    server: str | None,
    config: Path | None,
) -> None:
    """Show what happened, the latest first; repetitions are counted."""
    client = options.client(server, config)
    filters = {
        "about": _about(about),
        "type": "Warning" if warnings else type_,
        "reason": ",".join(reason) or None,
        "since": since,
        "cluster": cluster,
    }
    if watch:
        _watch(client, filters, output)
        return
    items = client.items("events", **filters)
    if output != "text":
        click.echo(structured({"apiVersion": "drover.dev/v1alpha1", "kind": "List", "items": items}, output))
        return
    if not items:
        click.echo(
            "Nothing has happened yet." if not any(filters.values()) else "Nothing like that has happened.", err=True
        )
        return
    heads, rows = events_table(items, client.now)
    emit(columns(rows, heads=heads))


def _about(text: str | None) -> str | None:
    """KIND/NAME with the kind by any of its names; a number alone is a guest."""
    if text is None or text.isdigit():
        return None if text is None else f"Guest/{text}"
    word, slash, name = text.partition("/")
    view = view_of(word)
    return (kind_of(word) or (VIEWS[view][0] if view is not None else word)) + slash + name


def _watch(client: Client, filters: dict[str, str | None], output: str) -> None:
    """Print what is there and what comes. While no daemon answers it is waited for, and nothing is printed twice."""
    if output == "text":
        click.echo("  ".join(head.ljust(width) for head, width in zip(_HEADS, (*_WIDTHS, 0), strict=True)).rstrip())
    told: dict[str, tuple[object, object]] = {}
    connected = False
    while True:
        try:
            for item in _changes(client, filters):
                connected = True
                name, now = text_at(item, ".metadata.name"), (item.get("lastTimestamp"), item.get("count"))
                if told.get(name) != now:
                    told[name] = now
                    _show(item, output)
            trouble = "the daemon has ended"
        except click.ClickException as error:
            if not connected and not told:
                raise
            trouble = error.message
        if connected:
            click.echo(f"{trouble}; waiting for it", err=True)
        connected = False
        asyncio.run(system_clock().sleep(_PAUSE_SECONDS))


def _changes(client: Client, filters: dict[str, str | None]) -> Iterator[Data]:
    for line in client.stream("events", watch="true", **filters):
        item = line.get("object")
        if line.get("type") in ("ADDED", "MODIFIED") and isinstance(item, dict):
            yield item


def _show(item: Data, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(item, ensure_ascii=False))
    elif output == "yaml":
        click.echo("---\n" + structured(item, output).rstrip())
    else:
        about = f"{text_at(item, '.involvedObject.kind')}/{text_at(item, '.involvedObject.name')}"
        cells = [text_at(item, ".lastTimestamp"), text_at(item, ".type"), text_at(item, ".reason"), about]
        cells.append(text_at(item, ".count").rjust(_WIDTHS[-1]))
        emit(["  ".join([*(c.ljust(w) for c, w in zip(cells, _WIDTHS, strict=True)), text_at(item, ".message")])])
