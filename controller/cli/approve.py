"""`drover approve`: releases exactly the plan of a digest. Over the control socket, which only the daemon's user may open."""

from pathlib import Path

import click

from controller.cli import client, options


@click.command()
@click.argument("digest")
@click.option("--withdraw", is_flag=True, help="Take the approval of DIGEST back; what runs is left to finish.")
@options.by
@options.socket
@options.config
def command(*, digest: str, withdraw: bool, by: str, socket: Path | None, config: Path | None) -> None:
    """Release exactly the plan of DIGEST; `drover plan` and `drover status` say which plans wait for approval.

    It counts for these steps only: one more, or one to another node, asks again. To approve by commit, write the digest into the
    annotation drover.dev/approved-digest of the object that asks, or of its PveCluster.
    """
    body: client.Data = {"digest": digest, "by": by, "withdraw": withdraw}
    click.echo(client.command(socket or options.load(config, secrets=False).socket, "approve", body))
