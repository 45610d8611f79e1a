"""`drover run`: the daemon, in the foreground; systemd or a container keeps it."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from controller import app
from controller.cli import options
from controller.report import log


@click.command()
@options.config
@click.option(
    "--source", type=click.Path(path_type=Path), help="Folder of manifests, instead of the one of the settings."
)
@click.option(
    "--log-format", type=click.Choice(["auto", "json", "console"]), help="Instead of the one of the settings."
)
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 1000),
    default=1.0,
    show_default=True,
    help="For a simulated cluster: the --speed it is served with, so that both sides' seconds are alike.",
)
def command(config: Path | None, source: Path | None, log_format: str | None, speed: float) -> None:
    """Run the daemon until SIGTERM; running migrations go on inside PVE and are adopted at the next start."""
    settings = options.load(config)
    if source is not None:
        settings = replace(settings, source=source, git=None)
    settings = replace(settings, log=replace(settings.log, format=log_format or settings.log.format))
    log.configure(settings.log, stream=sys.stderr, secrets=settings.secrets)
    try:
        app.run(settings, speed=speed)
    except OSError as error:
        raise click.ClickException(f"can't start: {error}") from error
