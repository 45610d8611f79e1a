"""`drover confirm`: lets the deletions of one revision happen. Over the control socket, which only the daemon's user may open."""

from pathlib import Path

import click

from controller.cli import client, options


@click.command()
@click.argument("revision")
@options.socket
@options.config
def command(revision: str, socket: Path | None, config: Path | None) -> None:
    """Let the deletions of REVISION happen; `drover status` says when some wait."""
    click.echo(client.command(socket or options.load(config, secrets=False).socket, "confirm", {"revision": revision}))
