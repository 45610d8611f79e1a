"""`drover status --watch`: a picture that is drawn anew on a terminal, or a line per change. Used by `cli.status`."""

import shutil
from collections.abc import Callable, Iterable, Iterator

import click

from controller.cli.table import fit
from controller.report.evacuation import DrainLine
from controller.report.overview import ClusterLine, Overview
from controller.report.units import duration, plain, rate

_CLEAR, _HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"
_STEP, _QUARTER = 10, 25
"""Percent of a drain, and of a move, after which a line tells how far it is."""


class Screen:
    """A terminal on which each picture replaces the one before, without flicker."""

    def __init__(self) -> None:
        self._size = (0, 0)

    def draw(self, picture: Callable[[int], Iterable[str]]) -> None:
        """Draw the lines that `picture` gives for a width; what is too much for the height is counted in the last line."""
        size = shutil.get_terminal_size()
        lines = list(picture(size.columns))
        if len(lines) > size.lines - 1:
            hidden = len(lines) - (size.lines - 2)
            lines = [
                *lines[: size.lines - 2],
                fit(f"… {hidden} more lines: a taller terminal, or drover status", size.columns),
            ]
        start = _HOME if self._size == (size.columns, size.lines) else _CLEAR + _HOME
        self._size = (size.columns, size.lines)
        click.echo(start + "".join(f"{line}{_REST_OF_LINE}\n" for line in lines) + _REST_OF_SCREEN, nl=False)


class Changes:
    """Tells what is new since the overview before: for pipes, logs and screen readers."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, ...], str] = {}
        self._events: set[tuple[str, str, str, int]] | None = None

    def between(self, seen: Overview) -> Iterator[str]:
        """One line for each thing that has changed."""
        current: dict[tuple[str, ...], str] = {}
        for cluster in seen.clusters:
            yield from self._cluster(cluster, current)
        yield from self._new_events(seen)
        if not seen.clusters:
            yield from self._tell(("",), "no cluster yet", current)
        self._told = current

    def _cluster(self, cluster: ClusterLine, current: dict[tuple[str, ...], str]) -> Iterator[str]:
        name = cluster.name
        yield from self._tell((name, "state"), in_one_line(cluster), current)
        for drain in cluster.drains:
            # What it says changes with every byte; it is told when the state or a tenth of the way does.
            yield from self._tell((name, "drain", drain.node), progress(drain), current, when=_milestone(drain))
        for move in cluster.moves:
            quarter = str((move.percent or 0) // _QUARTER)
            speed = (
                f" at {rate(move.bytes_per_second)}, {duration(move.eta_seconds)} left" if move.bytes_per_second else ""
            )
            so_far = (
                f"moving: {move.noun} {move.vmid} {move.name} {move.source} -> {move.target} {move.percent} %{speed}"
            )
            yield from self._tell((name, "move", str(move.vmid)), so_far if move.percent else "", current, when=quarter)
        for wait in cluster.waits:
            if wait.state == "Blocked":
                text = f"blocked: {wait.count} {wait.reason}: {wait.message} ({wait.remedy})"
                yield from self._tell((name, "blocked", wait.reason), text, current, when=str(wait.count))
        for guest in cluster.halted:
            text = f"{'starting again' if guest.starting else 'shut down'}: {guest.vmid} {guest.name} of {guest.node}"
            yield from self._tell((name, "halted", str(guest.vmid)), text, current)

    def _tell(
        self, key: tuple[str, ...], text: str, current: dict[tuple[str, ...], str], when: str | None = None
    ) -> Iterator[str]:
        mark = text if when is None else when
        if self._told.get(key) != mark and text:
            yield plain(text)
        current[key] = mark

    def _new_events(self, seen: Overview) -> Iterator[str]:
        events = {(event.cluster, event.about, event.message, event.count): event for event in reversed(seen.events)}
        for key, event in events.items() if self._events is not None else ():
            if key not in (self._events or set()):
                yield plain(f"event: {event.about} {event.reason}: {event.message}")
        self._events = set(events)


def in_one_line(cluster: ClusterLine) -> str:
    """The cluster in a line, without numbers that change all the time."""
    guests = ", ".join(f"{count} {state.lower()}" for state, count in cluster.guests.items() if count)
    ready = "" if cluster.ready.status == "True" else f" ({cluster.ready.reason}: {cluster.ready.message})"
    return f"{cluster.name}{ready}: {guests or 'no guests'}"


def progress(drain: DrainLine) -> str:
    """How far a drain is, in a line."""
    said = "; ".join((drain.message, *drain.outlook))
    return f"{drain.node} {drain.state.lower()} {drain.percent} %: {said}"


def _milestone(drain: DrainLine) -> str:
    return f"{drain.state} {drain.percent // _STEP} {drain.blocked}"
