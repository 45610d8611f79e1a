"""`drover demo`: a rule, a drain and the way back on a simulated cluster, told as it happens."""

import asyncio
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from controller.cli.table import bar, paint
from controller.rehearse.demo import Demo, run
from controller.rehearse.demo.script import SceneFailedError
from controller.report import log
from controller.report.units import plain
from controller.settings import LogSettings

_TONES = {"scene": "bold", "good": "good", "bad": "bad", "faint": "soft"}
_ERASE_LINE_ABOVE = "\x1b[1A\x1b[2K"


class TerminalScreen:
    """Lines that stay, and below them bars that move."""

    def __init__(self) -> None:
        self._drawn = 0
        self._rows: Sequence[tuple[str, float, str]] = ()

    def line(self, text: str, *, style: str = "") -> None:
        """Print a line above the bars."""
        self._erase()
        click.echo(paint(plain(text), _TONES.get(style, "")))
        self._draw()

    def bars(self, rows: Sequence[tuple[str, float, str]]) -> bool:
        """Draw the bars anew."""
        self._erase()
        self._rows = rows
        self._draw()
        return True

    def _erase(self) -> None:
        click.echo(_ERASE_LINE_ABOVE * self._drawn, nl=False)
        self._drawn = 0

    def _draw(self) -> None:
        room = shutil.get_terminal_size().columns - 1
        width = max((len(name) for name, _, _ in self._rows), default=0)
        for name, fraction, words in self._rows:
            # A line that wraps would be two to erase.
            text = f"  {plain(name).ljust(width)}  {bar(fraction)}  {plain(words)}"[:room]
            click.echo(paint(text, "busy"))
        self._drawn = len(self._rows)


class PlainScreen:
    """Lines only: for pipes, logs and CI."""

    def line(self, text: str, *, style: str = "") -> None:  # noqa: ARG002 - a Screen
        """Print a line."""
        click.echo(plain(text))

    def bars(self, rows: Sequence[tuple[str, float, str]]) -> bool:  # noqa: ARG002 - a Screen
        """Show nothing: progress is told in lines."""
        return False


def _program() -> str:
    """What people have to type: after `make demo` there is no `drover` in their PATH."""
    typed = sys.argv[0]
    return typed if Path(typed).name == "drover" and shutil.which("drover") is None else "drover"


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running at the end, with its addresses.")
@click.option(
    "--speed", type=click.FloatRange(0.1, 60), default=Demo().speed, show_default=True, help="Times as fast as life."
)
@click.option("--seed", type=int, default=Demo().seed, show_default=True, help="Another seed, other guests' habits.")
@click.option("--plain", "lines_only", is_flag=True, help="Lines only, as without a terminal.")
def command(keep: bool, speed: float, seed: int, lines_only: bool) -> None:
    """Play a placement rule, a drain and the way back on a simulated cluster.

    Needs nothing but this machine. Exit code 1 when a scene fails.
    """
    # What happens is told on the screen; the log would tell it a second time.
    log.configure(LogSettings(format="console", level="error"), stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # both leave nothing behind
    screen = PlainScreen() if lines_only or not sys.stdout.isatty() else TerminalScreen()
    try:
        asyncio.run(run(Demo(speed=speed, seed=seed, keep=keep, program=_program()), screen))
    except SceneFailedError as error:
        raise click.ClickException(str(error)) from error
