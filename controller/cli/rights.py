"""`drover rights`: the lines that give Drover its rights in a cluster, ready for a shell on one of its nodes."""

import click

from controller.cli.table import emit
from controller.observe.selfcheck import check, pveum_lines


@click.command()
@click.option(
    "--user", default="drover@pve", show_default=True, metavar="USER@REALM", help="The user that is made for Drover."
)
@click.option("--token", default="main", show_default=True, metavar="NAME", help="The name of its API token.")
@click.option(
    "--credential",
    default="lab",
    show_default=True,
    metavar="NAME",
    help="What manifests call it: auth.credentialsRef.",
)
@click.option(
    "--replication",
    type=click.Choice(["8", "9"]),
    help="With what ReplicationPolicies need, on this major version of PVE: VM.Replicate, before 9 Datastore.Allocate.",
)
@click.option(
    "--shutdown", is_flag=True, help="With what rules of a maintenance need that shut guests down: VM.PowerMgmt."
)
@click.option(
    "--ha-rules",
    is_flag=True,
    help="With what `ha.coexistence: Coordinate` needs to write rules of PVE HA: Sys.Console.",
)
def command(user: str, token: str, credential: str, replication: str | None, *, shutdown: bool, ha_rules: bool) -> None:
    """Print the pveum lines for a new cluster, and where its token goes.

    Nothing is changed: read them, then run them as root on any node of the cluster.
    """
    if "@" not in user or "!" in user + token:
        raise click.UsageError(f"--user {user} has to be USER@REALM such as drover@pve, and --token a plain name")
    token_id = f"{user}!{token}"
    version = (int(replication),) if replication else ()
    missing = check({}, version=version)
    lines = pveum_lines(
        token_id, missing, version, replication=replication is not None, shutdown=shutdown, ha_rules=ha_rules
    )
    emit(
        [
            "# As root on any node of the cluster:",
            f"pveum user add '{user}' --comment 'Drover'",
            f"pveum user token add '{user}' '{token}' --privsep 1   # prints the secret, this once",
            *lines,
            "",
            "# Then on this machine: put the secret into a file beside the settings that only Drover may read, and name it there:",
            f"#   [credentials.{credential}]",
            f'#   tokenId = "{token_id}"',
            f'#   secretFile = "{credential}.token"',
            '#   endpoints = ["https://HOST:8006"]',
        ]
    )
