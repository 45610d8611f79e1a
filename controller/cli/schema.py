"""`drover schema`: the files that are generated from the models: CRDs, JSON Schemas for editors, reference pages."""

import inspect
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from controller.cli.table import emit
from controller.decide.preflight import CHECKS
from controller.model.reasons import Why
from controller.report import reference
from controller.report.objects import kind_of
from controller.report.units import count_of
from controller.simulator.faults import FAULTS
from controller.simulator.seed import ClusterFile
from controller.specs import schema
from controller.specs.generated import generated


@click.command()
@click.option(
    "--write", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write all of it below this folder."
)
@click.option("--print", "kind", metavar="KIND", help="Print the JSON Schema of one kind, or `all`.")
def command(folder: Path | None, kind: str | None) -> None:
    """Write CRDs, JSON Schemas and reference pages, or print one schema."""
    if (folder is None) == (kind is None):
        raise click.UsageError("either --write FOLDER or --print KIND")
    if kind is not None:
        emit([_schema(kind)])
        return
    assert folder is not None
    files = {**generated(), **{f"docs/{name}": text for name, text in pages().items()}}
    changed = [folder / name for name, text in files.items() if _write(folder / name, text)]
    emit(f"wrote {path}" for path in changed)
    emit([f"{count_of(len(files), 'file')}, {len(changed)} changed"])


def pages() -> Mapping[str, str]:
    """What is generated below docs/, by name: the reference pages, the checks before a move, and two about the simulator."""
    cluster_file = json.dumps(ClusterFile.model_json_schema(), indent=2, ensure_ascii=False)
    return {
        **reference.generate(_by_reason()),
        "preflight.md": _checks(),
        "cluster-file.json": f"{cluster_file}\n",
        "faults.md": _faults(),
    }


def _by_reason() -> Mapping[Why, Sequence[str]]:
    found: dict[Why, list[str]] = defaultdict(list)
    for check in CHECKS:
        for why in check.tells:
            found[why].append(check.name)
    return found


def _checks() -> str:
    rows = [(check.name, check.topic, check.how, ", ".join(f"`{why}`" for why in check.tells)) for check in CHECKS]
    lines = [
        "# Checks before a move",
        reference.GENERATED,
        "Right before every move, and for `drover preflight`, Drover reads the guest, both nodes and what else this guest makes",
        "necessary, and looks at all of it at once. A check says `ok`, `warn` (worth knowing; the move may start) or `fail`,",
        "with a word from [the list of reasons](reasons.md), which says what to do. A fact that could not be read is told as",
        "`NotChecked`, one that this version of PVE does not have as `NotSupported`; nothing is guessed.",
        "",
        *reference.table(("Check", "Topic", "How it is found, and where PVE itself decides it", "Reasons"), rows),
    ]
    return "\n".join(lines) + "\n"


def _faults() -> str:
    rows = []
    for name, fault in FAULTS.items():
        _, *arguments = inspect.signature(fault).parameters
        said = (inspect.getdoc(fault) or "").splitlines()[0]
        rows.append((f"`{name}`", ", ".join(f"`{argument}`" for argument in arguments), said))
    lines = [
        "# Faults of the simulator",
        reference.GENERATED,
        "What can happen to a simulated cluster: `do` and its arguments in the `faults` of a cluster file and in stories.",
        "",
        *reference.table(("Fault", "Arguments", "What happens"), rows),
    ]
    return "\n".join(lines) + "\n"


def _schema(word: str) -> str:
    known = schema.generate()
    kind = kind_of(word)
    if word.lower() == "all":
        schemas = {name.removesuffix(".json"): json.loads(text) for name, text in known.items()}
        return json.dumps(schemas, indent=2, ensure_ascii=False)
    if kind is None:
        raise click.UsageError(f"there is no kind {word!r}")
    return known[f"{kind.lower()}.json"].rstrip()


def _write(path: Path, text: str) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}") from error
    return True
