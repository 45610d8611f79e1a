"""`drover preflight`: everything that would speak against a move, before anybody starts it. Needs no daemon."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from controller import app
from controller.act.trial import Trial
from controller.cli import options
from controller.cli.table import Cell, columns, emit, paint, structured
from controller.decide.explain import command_line
from controller.decide.preflight import Finding, Level
from controller.report.units import count_of
from controller.specs import API_VERSION

FINE, ERROR, INFEASIBLE = 0, 1, 3
_TONES = {Level.OK: "good", Level.WARN: "warn", Level.FAIL: "bad"}


@click.command()
@click.argument("guest", required=False)
@click.option("--to", metavar="NODE", help="Only this target; else where the plan moves it, else every other node.")
@click.option("--anywhere", is_flag=True, help="Every other node.")
@click.option("--node", metavar="NODE", help="Everybody who would have to leave this node, instead of one guest.")
@click.option("--all", "everything", is_flag=True, help="Show what is well, too.")
@click.option(
    "--manifests",
    type=click.Path(exists=True, path_type=Path, file_okay=False),
    help="A folder of manifests; else the one of the settings.",
)
@options.cluster
@options.output
@options.config
def command(
    guest: str | None,
    *,
    to: str | None,
    anywhere: bool,
    node: str | None,
    everything: bool,
    manifests: Path | None,
    cluster: str | None,
    output: str,
    config: Path | None,
) -> None:
    """Show everything that speaks against a move, and what to do about it; starts nothing.

    GUEST is a number or a name. Exit codes: 0 it could start (with --node: everybody could leave), 3 it could not, 1 errors,
    64 wrong usage.
    """
    if (guest is None) == (node is None):
        raise click.UsageError("say either GUEST or --node NODE")
    if (to is not None) + anywhere + (node is not None) > 1:
        raise click.UsageError("--to, --anywhere and --node exclude each other")
    question = app.Question(guest or "", to or "", anywhere, node or "")
    settings = options.load(config)
    results = app.preflight_once(settings, question, manifests, cluster)
    if output == "text":
        emit(show(results, question, everything=everything))
    else:
        click.echo(structured(as_data(results), output))
    sys.exit(exit_code(results, question))


def exit_code(results: Sequence[app.PreflightResult], question: app.Question) -> int:
    """The worst of all clusters: an error (nobody of this name, too), then infeasible. A guest needs one target, a node all."""
    if any(result.error is not None or result.problems for result in results):
        return ERROR
    if not results or not (question.node or any(result.asked for result in results)):
        return ERROR
    for result in results:
        for guest in result.asked:
            if not any(trial.feasible for trial in result.trials if trial.guest.vmid == guest.vmid):
                return INFEASIBLE
    return FINE


def show(results: Sequence[app.PreflightResult], question: app.Question, *, everything: bool) -> Iterator[str]:
    """A table per move, and the sum."""
    if not results:
        yield paint("There is no PveCluster to ask; `drover validate` says what is wrong with the manifests", "bad")
        return
    for problem in dict.fromkeys(str(problem) for result in results for problem in result.problems):
        yield paint(problem, "bad")
    for result in results:
        if result.error is not None:
            yield paint(f"Cluster {result.cluster}: {result.error.why}: {result.error.message}", "bad")
            yield paint(f"  {result.error.why.remedy}", "soft")
        for trial in result.trials:
            yield from _trial(trial, everything=everything or bool(question.target))
            yield ""
    trials = [trial for result in results for trial in result.trials]
    if trials:
        yield _sum(results, trials, question)
    elif question.guest and all(result.error is None for result in results):
        yield paint(f"There is no guest {question.guest!r} in {count_of(len(results), 'cluster')}", "bad")
    elif all(result.error is None for result in results):
        yield f"Nobody has to leave {question.node}"


def _trial(trial: Trial, *, everything: bool) -> Iterator[str]:
    guest, move = trial.guest, trial.move
    where = f"{guest.node} -> {move.target}" if move is not None else f"on {guest.node}, no target"
    verdict = paint("could start", "good") if trial.feasible else paint("would not start", "bad")
    yield f"{paint(str(guest), 'bold')}  {where}: {verdict}"
    shown = [found for found in trial.findings if everything or found.level is not Level.OK]
    rows = [
        (Cell(found.level.value, _TONES[found.level]), found.check, Cell(str(found.why), "soft"), _said(found))
        for found in shown
    ]
    for line, found in zip(columns(rows, indent=2), shown, strict=True):
        yield line
        if found.remedy and found.level is not Level.OK:
            yield paint(f"        {found.remedy}", "soft")
    well = len(trial.findings) - len(shown)
    if well:
        yield paint(f"  {count_of(well, 'check')} well (--all shows them)", "soft")
    if move is not None:
        yield paint(f"  {command_line(move)}", "soft")


def _said(found: Finding) -> str:
    return "" if found.message == found.check else found.message


def _sum(results: Iterable[app.PreflightResult], trials: Sequence[Trial], question: app.Question) -> str:
    good = sum(trial.feasible for trial in trials)
    if question.node:
        asked = sum(len(result.asked) for result in results)
        return f"{good} of {count_of(asked, 'guest')} could leave {question.node} now"
    targets = sorted({trial.move.target for trial in trials if trial.feasible and trial.move is not None})
    return f"{good} of {count_of(len(trials), 'move')} could start now" + (f": {', '.join(targets)}" if targets else "")


def as_data(results: Iterable[app.PreflightResult]) -> dict[str, object]:
    """All trials as one list object; a cluster that could not be looked at has one item with `status.error`."""
    items: list[dict[str, object]] = []
    for result in results:
        if result.error is not None or result.problems:
            problems: dict[str, object] = {"problems": [str(problem) for problem in result.problems]}
            if result.error is not None:
                problems["error"] = {"reason": str(result.error.why), "message": result.error.message}
            items.append(_item(result.cluster, result.cluster, problems))
        for trial in result.trials:
            target = trial.move.target if trial.move is not None else ""
            items.append(_item(f"{trial.guest.vmid}-{target or 'nowhere'}", result.cluster, _status(trial)))
    return {"apiVersion": API_VERSION, "kind": "PreflightList", "items": items}


def _item(name: str, cluster: str, status: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Preflight",
        "metadata": {"name": name},
        "spec": {"clusterRef": {"name": cluster}},
        "status": status,
    }


def _status(trial: Trial) -> dict[str, object]:
    guest, move = trial.guest, trial.move
    status: dict[str, object] = {
        "vmid": guest.vmid,
        "name": guest.name,
        "type": guest.kind.value,
        "source": guest.node,
        "feasible": trial.feasible,
        "findings": [
            {
                "check": found.check,
                "level": found.level.value,
                "reason": str(found.why),
                "message": found.message,
                "remedy": found.remedy,
                "passesByItself": found.busy,
            }
            for found in trial.findings
        ],
    }
    if move is not None:
        chosen = move.options
        status["target"] = move.target
        status["parameters"] = {
            "online": chosen.online,
            "restart": chosen.restart,
            "withLocalDisks": chosen.with_local_disks,
            "targetStorage": chosen.target_storage,
            "bandwidthLimitMiBps": chosen.bandwidth_limit_mib_s,
            "policy": chosen.policy,
        }
        status["command"] = command_line(move)
    return status
