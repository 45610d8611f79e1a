"""`drover rights`: the lines that give Drover its rights in a cluster, ready for a shell on one of its nodes."""

from pathlib import Path

import click

from controller import sources
from controller.cli.table import emit
from controller.observe.selfcheck import Extra, check, extras_of, pveum_lines

_FLAGS = {
    "shutdown": Extra.SHUTDOWN,
    "ha_rules": Extra.HA_RULES,
    "guest_agent": Extra.GUEST_AGENT,
    "monitor": Extra.MONITOR,
}


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
    "--manifests",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="A folder of manifests, or one file: with all that what they ask for needs. Wants --pve.",
)
@click.option(
    "--pve", type=click.Choice(["8", "9"]), help="The major version of PVE: rights have other names before 9."
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
@click.option(
    "--guest-agent",
    is_flag=True,
    help="With what `verify.guestAgentPing` needs: VM.GuestAgent.Audit, before PVE 9 VM.Monitor. Wants --pve.",
)
@click.option(
    "--monitor",
    is_flag=True,
    help="With what `control: Monitor` needs: Sys.Modify on /, before PVE 9 also VM.Monitor. Wants --pve.",
)
def command(
    *,
    user: str,
    token: str,
    credential: str,
    manifests: Path | None,
    pve: str | None,
    replication: str | None,
    **flags: bool,
) -> None:
    """Print the pveum lines for a new cluster, and where its token goes.

    Nothing is changed: read them, then run them as root on any node of the cluster. What the role has already, it keeps.
    """
    if "@" not in user or "!" in user + token:
        raise click.UsageError(f"--user {user} has to be USER@REALM such as drover@pve, and --token a plain name")
    if pve and replication and pve != replication:
        raise click.UsageError(f"--pve {pve} and --replication {replication} are two versions of PVE")
    major = pve or replication
    if not major and (manifests or flags["guest_agent"] or flags["monitor"]):
        raise click.UsageError("which rights these are depends on the version of PVE: add --pve 9 or --pve 8")
    extras = {extra for flag, extra in _FLAGS.items() if flags[flag]} | ({Extra.REPLICATION} if replication else set())
    notes = []
    if manifests:
        report = sources.validate(manifests)
        extras |= extras_of(report.specs)
        if report.problems:
            notes.append(
                f"# Rights may be missing here: `drover validate {manifests}` finds mistakes in the manifests."
            )
    token_id = f"{user}!{token}"
    version = (int(major),) if major else ()
    missing = check({}, version=version)
    lines = pveum_lines(token_id, missing, version, extras)
    emit(
        [
            *notes,
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
