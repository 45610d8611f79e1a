"""`drover explain`: why a guest is where it is, or goes where it goes. Asks the daemon; with --manifests it looks itself."""

from collections.abc import Iterator
from pathlib import Path

import click

from controller import app
from controller.cli import options
from controller.cli.client import Data
from controller.cli.jsonpath import value_at
from controller.cli.kinds import number_at, text_at
from controller.cli.table import Cell, columns, emit, paint, structured
from controller.report.units import duration, size
from controller.report.views import explanation_data

_TONES = {"Here": "", "Chosen": "good", "Possible": "", "RuledOut": "warn"}


@click.command()
@click.argument("guest")
@click.option(
    "--manifests",
    type=click.Path(exists=True, path_type=Path, file_okay=False),
    help="Look and plan by this folder, without a daemon.",
)
@options.cluster
@options.server
@options.output
@options.config
def command(
    guest: str, *, manifests: Path | None, cluster: str | None, server: str | None, output: str, config: Path | None
) -> None:
    """Show for every node why it is or is not a candidate for GUEST, the choice, and what it costs.

    GUEST is a number or a name. Without --manifests the daemon is asked.
    """
    if manifests is None:
        found = [options.client(server, config).item("explanations", guest, cluster=cluster)]
    else:
        results = app.plan_once(options.load(config), manifests, cluster)
        for result in results:
            if result.error is not None:
                raise click.ClickException(f"cluster {result.cluster}: {result.error.why}: {result.error.message}")
        found = [explanation_data(item, result.cluster) for result in results for item in app.explained(result, guest)]
        if not found:
            raise click.ClickException(f"there is no guest {guest}")
    if output != "text":
        click.echo(structured(found[0] if len(found) == 1 else {"items": found}, output))
        return
    emit(line for item in found for line in _text(item))


def _text(item: Data) -> Iterator[str]:
    vmid, name = text_at(item, ".status.vmid"), text_at(item, ".status.name")
    yield paint(f"{vmid} {name}", "bold") + f" on {text_at(item, '.status.node')}"
    target = value_at(item, ".status.target")
    message = value_at(item, ".status.message")
    if message:
        waits = "waits: " if value_at(item, ".status.waits") else ""
        yield f"  {waits}{text_at(item, '.status.reason')}: {message}"
    elif target is None:
        yield "  stays where it is: nothing wants to move it"
    if target is not None:
        seconds = number_at(item, ".status.seconds")
        about = f", in about {duration(seconds)}" if seconds is not None else ""
        yield f"  goes to {target}: {size(number_at(item, '.status.moveBytes'))} to send{about}"
    rules = value_at(item, ".status.rules")
    if isinstance(rules, list) and rules:
        yield f"  selected by {', '.join(map(str, rules))}"
    candidates = value_at(item, ".status.candidates")
    rows = [row for row in candidates if isinstance(row, dict)] if isinstance(candidates, list) else []
    yield from columns(
        [
            (
                Cell(text_at(row, ".node"), "bold"),
                Cell(text_at(row, ".fitness"), _TONES.get(text_at(row, ".fitness"), "")),
                text_at(row, ".message"),
            )
            for row in rows
        ],
        indent=2,
    )
