"""`drover export`: writes manifests for a cluster as it is: its nodes, rules, tags and replication jobs. Needs no daemon."""

import string
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
import yaml

from controller import app
from controller.cli import options
from controller.cli.table import paint
from controller.decide.export import Document
from controller.report.units import count_of
from controller.specs import API_VERSION

_WIDTH = 110


@click.command()
@click.option("--cluster", metavar="NAME", required=True, help="What the PveCluster is called, or shall be.")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="A new folder; else all is printed.")
@click.option(
    "--manifests",
    type=click.Path(exists=True, path_type=Path),
    help="A folder that says how to reach the cluster; else the settings' credential does.",
)
@click.option("--credential", metavar="NAME", default="", help="Of the settings; needed when they have several.")
@click.option("--ca-file", metavar="FILE", default="", help="PEM of the authority that signed the nodes' certificates.")
@click.option("--fingerprint", metavar="SHA256", default="", help="The certificate to accept, instead of --ca-file.")
@options.config
def command(
    *,
    cluster: str,
    to: Path | None,
    manifests: Path | None,
    credential: str,
    ca_file: str,
    fingerprint: str,
    config: Path | None,
) -> None:
    """Write manifests for an existing cluster: what holds there today, in Drover's words.

    Nodes, replication jobs (as ReplicationPolicies that adopt them), rules and groups of PVE HA and the tags of ProxLB (as
    PlacementPolicies). Applied to the same cluster they move no guest and change no job. Only reads.

    Exit codes: 0 written (what could not be said is printed, and noted in the manifests), 1 errors, 64 wrong usage.
    """
    if manifests is not None and (credential or ca_file or fingerprint):
        raise click.UsageError(
            "--manifests says how to reach the cluster; --credential, --ca-file and --fingerprint do too"
        )
    if to is not None and to.exists() and any(to.iterdir()):
        raise click.ClickException(f"{to} is not empty; what is there is never overwritten")
    made = app.export_once(options.load(config), cluster, manifests, app.Reach(credential, ca_file, fingerprint))
    documents = made.export.documents
    if to is None:
        click.echo(text(documents), nl=False)
    else:
        try:
            _write(documents, to)
        except OSError as error:
            raise click.ClickException(f"can't write {to}: {error.strerror or error}") from error
    for line in _told(made, to):
        click.echo(line, err=True)
    sys.exit(1 if made.lacking else 0)


def text(documents: Iterable[Document]) -> str:
    """The manifests as one stream of YAML, with what is to be said about each above it."""
    return "---\n".join("".join(_lines(document)) for document in documents)


def _lines(document: Document) -> Iterator[str]:
    yield from (f"# {note}\n" for note in document.notes)
    raw = document.raw(API_VERSION)
    yield yaml.dump(raw, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=None)


def _write(documents: Sequence[Document], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in dict.fromkeys(document.file for document in documents):
        (folder / file).write_text(text(one for one in documents if one.file == file), encoding="utf-8")


def _told(made: app.Exported, to: Path | None) -> Iterator[str]:
    kinds = [document.kind for document in made.export.documents]
    found = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    where = f" in {to}" if to is not None else ""
    yield paint(f"{count_of(len(kinds), 'manifest')}{where}: {found}", "good")
    for sentence in made.export.left_out:
        yield paint(f"  {sentence}", "warn")
    if made.lacking:
        yield paint("The token has too few rights, and PVE hides from it what it may not see. It lacks:", "bad")
        yield from (f"  {lacking}" for lacking in made.lacking)
        yield from (f"  {line}" for line in made.missing_rights)
    if to is not None:
        yield f"Next: drover plan {to}"


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 and 1.2 read differently, and says no anchors."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


_PLAIN = frozenset(string.ascii_letters + string.digits + "_./ -")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    plain = value[:1].isalpha() and _PLAIN.issuperset(value) and value.strip() == value and value.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)
