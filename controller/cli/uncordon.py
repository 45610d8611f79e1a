"""`drover uncordon`: puts a node back in service, without the repository. Over the control socket, as `drover drain`."""

from pathlib import Path

import click

from controller.cli import client, options


@click.command()
@click.argument("node")
@click.option("--reason", default="", help="Why, for people and events.")
@options.socket
@options.cluster
@options.config
@options.by
def command(*, node: str, reason: str, socket: Path | None, cluster: str | None, config: Path | None, by: str) -> None:
    """Put NODE back in service: ends `drover drain`, or outvotes its label until the repository says something new.

    Its guests return as the maintenance says. What PVE HA itself keeps in maintenance can't be ended from here.
    """
    path = socket or options.load(config, secrets=False).socket
    click.echo(client.command(path, "uncordon", {"cluster": cluster or "", "node": node, "by": by, "reason": reason}))
