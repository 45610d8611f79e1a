"""Aligned columns, colours and bars for terminals. Used by the verbs.

Colours are ANSI codes that click takes out again where the output is no terminal or NO_COLOR is set.
"""

import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click
import yaml

from controller.report.units import plain

_COLORS = {"good": "green", "busy": "cyan", "warn": "yellow", "bad": "red"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a tone: good, busy, warn, bad, soft, bold or none. `right`: its column is aligned to the right."""

    text: str
    tone: str = ""
    right: bool = False

    def painted(self, width: int = 0) -> str:
        """The text in its colour, filled up to `width`."""
        text = plain(self.text)
        gap = " " * (width - len(text))
        painted = paint(text, self.tone) if text else ""
        return gap + painted if self.right else painted + gap


def paint(text: str, tone: str) -> str:
    """`text` in the colour of its tone."""
    if tone == "soft":
        return click.style(text, dim=True)
    if tone == "bold":
        return click.style(text, bold=True)
    return click.style(text, fg=_COLORS[tone]) if tone in _COLORS else text


def columns(rows: Iterable[Sequence[Cell | str]], *, heads: Sequence[str] = (), indent: int = 0) -> list[str]:
    """Lines with aligned columns two spaces apart; the last column is as long as it has to be."""
    body = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    if not body:
        return []
    first = [Cell(head, "soft", cell.right) for head, cell in zip(heads, body[0], strict=True)] if heads else None
    every = [first, *body] if first else body
    widths = [max(len(plain(row[index].text)) for row in every) for index in range(len(body[0]))]
    lines = []
    for row in every:
        cells = [cell.painted(width) for cell, width in zip(row[:-1], widths, strict=False)]
        last = row[-1].painted(widths[-1] if row[-1].right else 0)
        lines.append((" " * indent + "  ".join([*cells, last])).rstrip())
    return lines


def bar(fraction: float, width: int = 20) -> str:
    """A bar of block characters."""
    full = round(width * min(1.0, max(0.0, fraction)))
    return "█" * full + "░" * (width - full)


_CODE = re.compile(r"(\x1b\[\d*m)")


def fit(line: str, width: int) -> str:
    """`line` cut to `width` characters, codes of colours not counted; a line that is too long ends in `…`. 0 = no limit."""
    if not width or len(_CODE.sub("", line)) <= width:
        return line
    left, kept = width - 1, []
    for part in _CODE.split(line):
        if _CODE.fullmatch(part):
            kept.append(part)
            continue
        kept.append(part[: max(0, left)])
        if 0 <= left < len(part):
            kept.append("…")
        left -= len(part)
    return "".join(kept)


def wrapped(text: str, width: int, *, indent: int, tone: str = "") -> list[str]:
    """`text` as lines of at most `width` characters, each indented; one line when there is no limit (0)."""
    said, room = plain(text), max(20, width - indent)
    lines = textwrap.wrap(said, room, break_on_hyphens=False) if width else [said]
    return [" " * indent + paint(line, tone) for line in lines]


def structured(data: object, form: str) -> str:
    """`data` as JSON or YAML."""
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=False)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120).rstrip()


def emit(lines: Iterable[str]) -> None:
    """Print lines."""
    for line in lines:
        click.echo(line)


def tone_of(word: str) -> str:
    """The tone of a word of one of the closed lists, as status, phase or state."""
    return _TONES.get(word, "")


_TONES = {
    **dict.fromkeys(
        ("True", "Ready", "Armed", "Drained", "Succeeded", "online", "InSync", "Compliant", "running"), "good"
    ),
    **dict.fromkeys(
        ("Draining", "Moving", "Planned", "Waiting", "Running", "Submitting", "Verifying", "Started", "Syncing", "New"),
        "busy",
    ),
    **dict.fromkeys(
        (
            "Blocked",
            "Held",
            "Cordoned",
            "Unknown",
            "Warning",
            "Refused",
            "paused",
            "ModePlan",
            "ModeObserve",
            "Lagging",
        ),
        "warn",
    ),
    **dict.fromkeys(("False", "Failed", "Failing", "Stuck", "Gone", "offline"), "bad"),
    **dict.fromkeys(("Fine", "Disabled", "Removing", "Normal", "stopped", "-"), "soft"),
}
