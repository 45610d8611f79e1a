"""`drover notify test SINK`: sends one message to a sink of the settings and says what became of it; needs no daemon."""

import asyncio
import sys
from pathlib import Path

import click

from controller import app
from controller.cli import options
from controller.model.notice import Gravity
from controller.outgoing import Ok
from controller.report import log


@click.group()
def command() -> None:
    """Notifications: the settings define sinks, PveClusters name them."""


@command.command()
@click.argument("sink")
@click.option(
    "--severity",
    type=click.Choice([each.word for each in Gravity], case_sensitive=False),
    default=Gravity.WARNING.word,
    show_default=True,
    help="Of the message.",
)
@options.config
def test(*, sink: str, severity: str, config: Path | None) -> None:
    """Send a message to SINK now, once. Exit codes: 0 it was taken, 1 it was not."""
    settings = options.load(config)
    log.configure(settings.log, stream=sys.stderr, secrets=settings.secrets)
    answer = asyncio.run(app.try_sink(settings, sink, Gravity[severity.upper()]))
    if not isinstance(answer, Ok):
        raise click.ClickException(f"{sink}: {answer.message}")
    click.echo(f"{sink} has taken the message.")
