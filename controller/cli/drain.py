"""`drover drain`: empties a node now, without the repository. Over the control socket, which only the daemon's user may open."""

from pathlib import Path

import click

from controller.cli import client, options
from controller.cli.wait import DRAINED, until


@click.command()
@click.argument("node")
@click.option("--reason", default="", help="Why, for people and events.")
@click.option("--wait", is_flag=True, help="Return when the node is drained.")
@options.timeout
@options.socket
@options.cluster
@options.server
@options.config
@options.by
def command(
    *,
    node: str,
    reason: str,
    wait: bool,
    timeout: float,
    socket: Path | None,
    cluster: str | None,
    server: str | None,
    config: Path | None,
    by: str,
) -> None:
    """Empty NODE now, as its maintenance label would.

    The order is kept until `drover uncordon NODE`, or until the repository says something new about the node.
    Exit codes: 0 done (with --wait: the node is drained, safe to service), 3 not drained within --timeout, 1 refused.
    """
    path = socket or options.load(config, secrets=False).socket
    click.echo(client.command(path, "drain", {"cluster": cluster or "", "node": node, "by": by, "reason": reason}))
    if wait:
        daemon = options.client(server, config)
        daemon.overview()  # for its clock: what it saw before the order says nothing about the drain
        until(daemon, "PveNode", node, DRAINED, timeout=timeout, cluster=cluster, since=daemon.now)
