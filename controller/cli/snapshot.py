"""`drover snapshot`: fetches one look at a cluster from the daemon, as a file that `drover plan --against` takes."""

import json
from pathlib import Path

import click

from controller.cli import options
from controller.cli.table import emit, paint


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--cluster", metavar="NAME", default="default", show_default=True, help="The PveCluster.")
@options.server
@options.config
def command(*, file: Path, cluster: str, server: str | None, config: Path | None) -> None:
    """Write what the daemon sees and remembers of a cluster to FILE; `drover plan --against FILE` plans on it.

    There are no secrets in it, no addresses and no names of people; names and tags of guests and nodes are. CI needs no token of
    PVE: it fetches this, or the address /apis/drover.dev/v1alpha1/clusters/NAME/snapshot.
    """
    data = options.client(server, config).snapshot(cluster)
    try:
        file.write_text(json.dumps(data, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"can't write {file}: {error.strerror or error}") from error
    emit([f"{paint('Written', 'good')} {file}, as it was at {data.get('takenTime')}"])
