"""`drover version`."""

import platform

import click

from controller import __version__


@click.command()
def command() -> None:
    """Print the version."""
    click.echo(f"drover {__version__} (Python {platform.python_version()})")
