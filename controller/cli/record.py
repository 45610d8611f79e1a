"""`drover record`: reads a real cluster once and writes it down, scrubbed, as a cluster file for `drover simulate`."""

from pathlib import Path

import click

from controller import app
from controller.cli import options
from controller.cli.table import emit, paint
from controller.report.units import count_of
from controller.simulator import recorded, seed


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--cluster", metavar="NAME", required=True, help="The PveCluster to read.")
@click.option(
    "--manifests",
    type=click.Path(exists=True, path_type=Path),
    help="Folder of manifests; else the one of the settings.",
)
@click.option("--keep-names", is_flag=True, help="Leave the names of guests and of the cluster as they are.")
@click.option(
    "--rate", type=click.FloatRange(0.1, 1000), default=10.0, show_default=True, help="Calls per second at most."
)
@options.config
def command(
    *, folder: Path, cluster: str, manifests: Path | None, keep_names: bool, rate: float, config: Path | None
) -> None:
    """Read a real cluster and write FOLDER/answers/*.json and FOLDER/cluster.yaml.

    Only reads. Secrets, descriptions, users and addresses are left out or replaced by others; VMIDs, sizes and the names of
    nodes, storages, pools and tags stay: read what you have before you give it away. `drover simulate FOLDER/cluster.yaml`
    serves it.
    """
    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} is not empty; a recording gets a folder of its own")
    settings = options.load(config)
    with click.progressbar(length=1, label=f"Reading {cluster}", show_pos=True) as bar:

        def progress(done: int, known: int) -> None:
            bar.length = known
            bar.update(done - bar.pos)

        try:
            made = app.record(
                settings,
                cluster,
                folder / "answers",
                path=manifests,
                keep_names=keep_names,
                calls_per_second=rate,
                progress=progress,
            )
            text = recorded.cluster_yaml(recorded.read(folder / "answers"))
            (folder / "cluster.yaml").write_text(text, encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"can't write {folder}: {error.strerror or error}") from error
    emit(_summary(made, folder))
    try:
        seed.load(folder / "cluster.yaml")
    except seed.ClusterFileError as error:
        raise click.ClickException(f"the recording is there, but it can't be simulated as it is:\n{error}") from error


def _summary(made: app.Recording, folder: Path) -> list[str]:
    size = f"{count_of(made.nodes, 'node')}, {count_of(made.guests, 'guest')} in {count_of(made.calls, 'call')}"
    refused = [f"  not readable: {path} ({status or 'no answer'})" for path, status in made.refused.items()]
    return [
        f"{paint('Recorded', 'good')} {size}: {folder}",
        *(paint(line, "soft") for line in refused),
        f"Serve it: drover simulate {folder / 'cluster.yaml'}, token {recorded.TOKEN}={recorded.SECRET}",
    ]
