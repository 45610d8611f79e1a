"""`drover drift`: what people changed by hand, since when, and what Drover does about it. Asks the daemon."""

from collections.abc import Iterator
from pathlib import Path

import click

from controller.cli import options
from controller.cli.client import Data
from controller.cli.kinds import age, text_at
from controller.cli.table import emit, paint, structured


@click.command()
@options.cluster
@options.output
@options.server
@options.config
def command(*, cluster: str | None, output: str, server: str | None, config: Path | None) -> None:
    """Show what people changed by hand, since when, and what Drover does about it.

    Guests that neither Drover nor PVE HA has moved, and replication jobs and rules of PVE HA that are Drover's and differ from
    their policy. A guest stays where somebody put it for the PveCluster's drift.holdOffSeconds; after that only a Must that
    corrects moves it. Drains do at any time.
    """
    client = options.client(server, config)
    items = client.items("drifts", cluster=cluster)
    if output != "text":
        click.echo(structured({"apiVersion": "drover.dev/v1alpha1", "kind": "List", "items": items}, output))
    elif not items:
        click.echo("Nothing was changed by hand.", err=True)
    else:
        emit(line for item in items for line in _lines(item, client.now))


def _lines(item: Data, now: float) -> Iterator[str]:
    yield f"{text_at(item, '.status.message')}, {age(item, '.status.sinceTime', now)} ago"
    yield paint(f"  Drover: {text_at(item, '.status.will')}", "soft")
