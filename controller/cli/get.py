"""`drover get`: lists the objects of a kind, or shows one."""

from pathlib import Path

import click

from controller.cli import options
from controller.cli.kinds import complete, plural_of, table
from controller.cli.table import columns, emit, structured


@click.command()
@click.argument("kind", shell_complete=complete)
@click.argument("name", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "yaml", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)
@options.cluster
@options.server
@options.config
def command(
    *, kind: str, name: str | None, output: str, cluster: str | None, server: str | None, config: Path | None
) -> None:
    """List objects of a KIND, or show the one called NAME.

    KIND is a kind, its plural or its short name, in any case: pveclusters (pvec, clusters), pvenodes (pven, nodes),
    nodemaintenances (nm, maintenances), placementpolicies (pp, placements), migrationpolicies (mp),
    replicationpolicies (rp); or guests, migrations, plans, events, replication, sources.
    """
    plural, client = plural_of(kind), options.client(server, config)
    if name is not None:
        one = client.item(plural, name, cluster=cluster)
        if output in ("yaml", "json"):
            click.echo(structured(one, output))
            return
        items = [one]
    else:
        items = client.items(plural, cluster=cluster)
        if output in ("yaml", "json"):
            click.echo(structured({"apiVersion": "drover.dev/v1alpha1", "kind": "List", "items": items}, output))
            return
    if not items:
        click.echo(f"There are no {plural}.", err=True)
        return
    heads, rows = table(plural, items, now=client.now, wide=output == "wide")
    emit(columns(rows, heads=heads))
