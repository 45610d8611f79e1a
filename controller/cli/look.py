"""`drover look`: wakes every loop. Over the control socket, which only the daemon's user may open."""

from pathlib import Path

import click

from controller.cli import client, options


@click.command()
@options.socket
@options.config
def command(socket: Path | None, config: Path | None) -> None:
    """Look at every cluster now, instead of at the next interval."""
    click.echo(client.command(socket or options.load(config, secrets=False).socket, "look", {}))
