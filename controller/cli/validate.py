"""`drover validate`: everything that is wrong with manifests, as an editor or CI wants it. Needs no cluster."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from controller import sources
from controller.cli import options
from controller.cli.table import emit, paint, structured
from controller.decide.offline import on_paper
from controller.report.units import count_of
from controller.specs import Problem, Specs
from controller.yamlpos import Position


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--quiet", "-q", is_flag=True, help="Problems only.")
@options.output
def command(path: Path, quiet: bool, output: str) -> None:
    """Check a folder of manifests, or one file.

    One line per problem: file:line:column: field: what is wrong; what is allowed. Exit codes: 0 fine, 1 problems, 64 wrong usage.
    """
    report = sources.validate(path)
    report = replace(report, problems=(*report.problems, *_contradictions(report.specs)))
    if output == "text":
        emit(paint(str(problem), "bad") for problem in report.problems)
        if not quiet:
            emit([_summary(report)])
    else:
        found = {
            "revision": report.revision,
            "objects": dict(report.counts),
            "problems": [_data(problem) for problem in report.problems],
        }
        click.echo(structured(found, output))
    sys.exit(0 if report.ok else 1)


def _contradictions(specs: Specs) -> Iterator[Problem]:
    """One problem per conflict, where the policy is written that gives way."""
    for cluster in sorted({policy.cluster for policy in specs.placements.values()}):
        for conflict in on_paper(specs.for_cluster(cluster)):
            policy = specs.placements[conflict.loser.name]
            place = policy.origin or Position(policy.name, 1, 1)
            yield Problem(place, "spec", f"{conflict.why}: {conflict.message}. {conflict.remedy}", "", policy.ref)


def _summary(report: sources.Report) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.counts.items() if count)
    objects = f"{count_of(sum(report.counts.values()), 'object')}{f' ({kinds})' if kinds else ''}"
    if report.ok:
        return paint(f"{objects}: all is well", "good")
    return paint(f"{objects} in order, {count_of(len(report.problems), 'problem')}", "bad")


def _data(problem: Problem) -> dict[str, object]:
    place = problem.position
    found: dict[str, object] = {"file": place.file, "line": place.line, "column": place.column}
    found |= {"field": problem.field, "message": problem.message, "allowed": problem.allowed}
    if problem.ref is not None:
        found["object"] = str(problem.ref)
    return found
