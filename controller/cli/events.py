"""`drover events`: what happened, the latest first."""

from pathlib import Path

import click

from controller.cli import options
from controller.cli.kinds import events_table
from controller.cli.table import columns, emit, structured


@click.command()
@click.option("--about", metavar="KIND/NAME", help="Only about one object: NodeMaintenance/label-pve2, Guest/101.")
@click.option("--warnings", is_flag=True, help="Only warnings.")
@options.cluster
@options.output
@options.server
@options.config
def command(
    *, about: str | None, warnings: bool, cluster: str | None, output: str, server: str | None, config: Path | None
) -> None:
    """Show what happened, the latest first; repetitions are counted."""
    client = options.client(server, config)
    items = client.items("events", about=about, cluster=cluster)
    items = [item for item in items if not warnings or item.get("type") == "Warning"]
    if output != "text":
        click.echo(structured(items, output))
        return
    if not items:
        click.echo("Nothing has happened yet.", err=True)
        return
    heads, rows = events_table(items, client.now)
    emit(columns(rows, heads=heads))
