"""`drover wait`: returns when an object has a condition, for scripts and Ansible. `drover drain --wait` waits the same way."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from controller.app import system_clock
from controller.cli import options
from controller.cli.client import Client
from controller.cli.jsonpath import value_at
from controller.cli.kinds import plural_of, text_at
from controller.report.objects import kind_of
from controller.report.units import epoch_of

TIMED_OUT = 3
"""The exit code of a wait whose time is over."""
_PAUSE_SECONDS = 1.0
_FOR = re.compile(r"condition=(?P<type>[A-Za-z]+)(=(?P<status>True|False|Unknown))?")


@dataclass(frozen=True, slots=True)
class Wish:
    """A condition, and the status that it should have."""

    type: str
    status: str = "True"


DRAINED = Wish("Drained")


@click.command()
@click.argument("what")
@click.option("--for", "wish", required=True, metavar="condition=TYPE[=STATUS]", help="For example condition=Drained.")
@options.timeout
@options.cluster
@options.server
@options.config
def command(
    *, what: str, wish: str, timeout: float, cluster: str | None, server: str | None, config: Path | None
) -> None:
    """Wait until WHAT (kind/name: node/pve2, nodemaintenance/rack-a, cluster/lab) has a condition.

    A node is known by its own name, with or without a PveNode. Exit codes: 0 it has the condition, 3 not within --timeout.
    """
    asked = _FOR.fullmatch(wish)
    if asked is None:
        raise click.UsageError(f"--for={wish}: write condition=TYPE or condition=TYPE=STATUS, as in condition=Drained")
    word, _, name = what.partition("/")
    kind = kind_of(word)
    if not name or kind is None:
        raise click.UsageError(f"{what!r} is not kind/name, as in node/pve2")
    wanted = Wish(asked["type"], asked["status"] or "True")
    until(options.client(server, config), kind, name, wanted, timeout=timeout, cluster=cluster)


def until(
    client: Client, kind: str, name: str, wish: Wish, *, timeout: float, cluster: str | None, since: float = 0.0
) -> None:
    """Return when the object has the condition, telling on the way what keeps it; raises click's Exit(3) when time is over.

    A daemon that does not answer for a while is waited for: it may be restarted. timeout: seconds, 0 = for ever.
    since: epoch seconds by the daemon's clock; what was observed before that says nothing.
    """
    clock = system_clock()
    began, told = clock.monotonic(), ""
    while True:
        try:
            reached, message = _condition(client, kind, name, wish, cluster=cluster, since=since)
        except click.ClickException as error:
            reached, message = False, error.message
        if reached:
            click.echo(message)
            return
        if message != told:
            click.echo(message, err=True)
            told = message
        if timeout and clock.monotonic() - began >= timeout:
            click.echo(f"Error: {kind} {name} is not {wish.type}={wish.status} after {timeout:g} s", err=True)
            raise click.exceptions.Exit(TIMED_OUT)
        asyncio.run(clock.sleep(_PAUSE_SECONDS))


def _condition(
    client: Client, kind: str, name: str, wish: Wish, *, cluster: str | None, since: float
) -> tuple[bool, str]:
    """Whether it is as wished, and the sentence of the condition."""
    missing = f"there is no {kind} {name} yet"
    for item in _candidates(client, kind, name, cluster):
        missing = f"{kind} {name} has no condition {wish.type}"
        # Both are told in whole seconds: a look in the same second may have been before.
        if (epoch_of(text_at(item, ".status.lastObservedTime")) or 0.0) <= since:
            return False, f"waiting for the next look at {kind} {name}"
        for row in _rows(item):
            if row.get("type") == wish.type:
                return row.get("status") == wish.status, f"{wish.type}={row.get('status')}: {row.get('message')}"
    return False, missing


def _candidates(client: Client, kind: str, name: str, cluster: str | None) -> Iterator[Mapping[str, object]]:
    """The object; of a node, its maintenances first: they know of nodes that have no PveNode, and know it better."""
    if kind == "PveNode":
        maintenances = client.items(plural_of("NodeMaintenance"), cluster=cluster)
        yield from (item for item in maintenances if text_at(item, ".spec.nodeName") == name)
    for item in client.items(plural_of(kind), cluster=cluster):
        if name in (text_at(item, ".metadata.name"), text_at(item, ".spec.nodeName")):
            yield item


def _rows(item: Mapping[str, object]) -> list[dict[str, object]]:
    rows = value_at(item, ".status.conditions")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
