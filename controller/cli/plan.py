"""`drover plan`: looks once, plans, and shows the difference; starts nothing. Needs no daemon."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import click

from controller import app
from controller.cli import options, revisions
from controller.cli.table import Cell, columns, emit, paint, structured
from controller.decide.explain import command_line
from controller.decide.windows import opening
from controller.model.approval import ANNOTATION
from controller.model.ids import Vmid
from controller.model.observed import Observed
from controller.model.plan import Blocked, Move, Plan
from controller.model.reasons import Why
from controller.model.replication import JobAction, JobVerb
from controller.rehearse import whatif
from controller.report import review
from controller.report.units import count_of, duration, size, some
from controller.report.views import plan_data
from controller.specs import API_VERSION, Mode, PveCluster, Specs

NOTHING, ERROR, CHANGES, INFEASIBLE = 0, 1, 2, 3


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--against",
    "against",
    multiple=True,
    metavar="LOOK",
    help="A snapshot of the daemon, a recording or a cluster file, instead of looking at the cluster (`live`).",
)
@click.option("--from", "before", metavar="REV", help="What is in force: a Git revision, or a folder.")
@click.option("--to", "after", metavar="REV", help="What is to be in force: a Git revision, or a folder.")
@click.option("--repo", type=click.Path(path_type=Path), default=Path(), help="The Git repository; else this folder.")
@options.cluster
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "yaml", "markdown"]), default="text", show_default=True
)
@options.config
def command(
    *,
    path: Path | None,
    against: tuple[str, ...],
    before: str | None,
    after: str | None,
    repo: Path,
    cluster: str | None,
    output: str,
    config: Path | None,
) -> None:
    """Show what would be moved, and why; starts nothing.

    PATH is a folder of manifests; without it the one of the settings. With --to (and --from, to compare) it is a folder inside of
    the Git repository, whose work tree is not touched. Exit codes: 0 nothing to do, 2 changes, 3 something that has to happen
    can't, 1 errors, 64 wrong usage; with --from they are those of the plan after the change.
    """
    if before is not None and after is None:
        raise click.UsageError("--from needs --to: what is it compared with?")
    if after is None and path is not None and not path.exists():
        raise click.BadParameter(f"Path {str(path)!r} does not exist.", param_hint="'[PATH]'")
    settings = options.load(config, secrets=not against or whatif.LIVE in against)
    frame, found = review.Frame(), list[whatif.Comparison]()
    if against or after is not None or output == "markdown":
        asked = revisions.Question(path, against or (whatif.LIVE,), before, after, repo, cluster)
        found, frame = revisions.answer(asked, settings, settle=output == "markdown")
        results: Sequence[app.PlanResult] = [one.after for one in found]
    else:
        results = app.plan_once(settings, path, cluster)
    if output == "markdown":
        click.echo(review.markdown([revisions.subject(one) for one in found], frame), nl=False)
    elif output == "text":
        emit(_text(results, path or settings.source))
        emit(_aged(frame))
    else:
        click.echo(structured(as_data(results), output))
    sys.exit(ERROR if frame.problems else exit_code(results))


def _aged(frame: review.Frame) -> Iterator[str]:
    if frame.age_seconds is not None:
        yield paint(
            f"The look at the cluster is {duration(frame.age_seconds)} old: guests may have moved since.", "warn"
        )


def exit_code(results: Sequence[app.PlanResult]) -> int:
    """The worst of all clusters: an error, then infeasible, then changes."""
    plans = [result.plan for result in results if result.plan is not None]
    if not results or len(plans) < len(results) or any(result.problems or result.lacking for result in results):
        return ERROR
    if any(plan.blocked or plan.unsafe for plan in plans):
        return INFEASIBLE
    return CHANGES if any(plan.moves or plan.waiting or plan.jobs or plan.ha.actions for plan in plans) else NOTHING


def as_data(results: Iterable[app.PlanResult]) -> dict[str, object]:
    """All plans as one list object; a cluster that could not be planned has `status.error`."""
    items: list[object] = []
    for result in results:
        if result.plan is not None:
            explainer = result.explainer()
            explain = explainer.explain if explainer is not None else None
            item = plan_data(result.plan, result.seen, command_line, explain)
        else:
            item = {"apiVersion": API_VERSION, "kind": "Plan", "metadata": {"name": result.cluster}, "status": {}}
        status = item["status"]
        assert isinstance(status, dict)
        if result.error is not None:
            status["error"] = {"reason": str(result.error.why), "message": result.error.message}
        if result.lacking:
            status["lacking"], status["missingRights"] = list(result.lacking), list(result.missing_rights)
        status["problems"] = [str(problem) for problem in result.problems]
        items.append(item)
    return {"apiVersion": API_VERSION, "kind": "PlanList", "items": items}


def _text(results: Sequence[app.PlanResult], path: Path) -> Iterator[str]:
    if not results:
        yield paint(f"{path} has no PveCluster to plan for; `drover validate {path}` says what is wrong", "bad")
        return
    for problem in dict.fromkeys(str(problem) for result in results for problem in result.problems):
        yield paint(problem, "bad")
    for number, result in enumerate(results):
        if number:
            yield ""
        yield _title(result)
        error = result.error
        if error is not None:
            yield paint(f"  {error.why}: {error.message}", "bad")
            yield paint(f"  {error.why.remedy}", "soft")
        if result.lacking:
            yield paint("  The token has too few rights, and PVE hides from it what it may not see. It lacks:", "bad")
            yield from (f"    {lacking}" for lacking in result.lacking)
            yield "  As root on any node of the cluster:"
            yield from (f"    {line}" for line in result.missing_rights)
        if result.plan is not None:
            yield from show(result.plan, result.seen, result.specs, _seconds(result))


def _title(result: app.PlanResult) -> str:
    name = paint(f"Cluster {result.cluster}", "bold")
    if result.seen is None:
        return name
    size_ = f"{count_of(len(result.seen.nodes), 'node')}, {count_of(len(result.seen.guests), 'guest')}"
    called = f" ({result.seen.pve_name})" if result.seen.pve_name else ""
    return name + paint(f"{called}  {size_}", "soft")


def _seconds(result: app.PlanResult) -> Mapping[Vmid, float]:
    """What each planned move is estimated to take, where a rate was written down or learned."""
    explainer, plan = result.explainer(), result.plan
    if explainer is None or plan is None:
        return {}
    told = [explainer.explain(move.vmid) for move in plan.all_moves]
    return {one.vmid: one.seconds for one in told if one.seconds is not None}


def show(
    plan: Plan, seen: Observed | None, specs: Specs, seconds: Mapping[Vmid, float] = MappingProxyType({})
) -> Iterator[str]:
    """One plan in groups: what starts now, what waits, what is blocked, and the sum."""
    if plan.unsafe:
        yield ""
        yield paint("The independent check found broken promises; nothing of this plan would be done:", "bad")
        yield from (f"  {text}" for text in plan.unsafe)
    if plan.moves:
        yield from _heading("Starts now", len(plan.moves), sum(move.memory_bytes for move in plan.moves))
        yield from _moves([(move, str(move.why), move.message) for move in plan.moves], seconds)
    placed = [(item.move, item) for item in plan.waiting if item.move is not None]
    if placed:
        yield from _heading("Waits, with its target chosen", len(placed), sum(move.memory_bytes for move, _ in placed))
        yield from _moves([(move, f"{item.why}", item.message) for move, item in placed], seconds)
    unplaced = [(item.vmid, f"{item.why}", item.message, "") for item in plan.waiting if item.move is None]
    if unplaced:
        yield from _heading("Waits", len(unplaced))
        yield from _guests("~", "busy", unplaced, seen)
    if plan.blocked:
        yield from _heading("Blocked", len(plan.blocked))
        yield from _guests("!", "warn", [_of_blocked(item) for item in plan.blocked], seen)
    yield from _jobs(plan)
    yield from _ha_rules(plan)
    if plan.conflicts:
        yield from _heading("Can't hold together", None)
        for conflict in plan.conflicts:
            yield paint(f"  {conflict.why}: {conflict.message}", "warn")
            yield paint(f"      {conflict.remedy}", "soft")
    if plan.violations:
        yield from _heading("Does not hold yet", None)
        yield from (f"  {item.cause}: {item.message}" for item in plan.violations)
    yield from _holds(plan)
    yield from _outlook(plan)
    yield ""
    yield _sum(plan)
    if plan.cluster in specs.clusters and (plan.moves or plan.jobs or plan.ha.actions):
        yield from _held_back(specs.clusters[plan.cluster], plan)


def _holds(plan: Plan) -> Iterator[str]:
    """What people keep back: by asking to be asked, or by a limit."""
    if plan.approvals:
        yield from _heading("Approval", None)
        yield from _approvals(plan)
    for drain in plan.drains:
        if drain.hold is not None:
            yield from _heading("On hold", None)
            yield f"  {drain.ref}: {drain.hold}: {drain.message}"


def _approvals(plan: Plan) -> Iterator[str]:
    for one in plan.approvals:
        what = f"{one.gate}: {count_of(len(one.steps), 'step')}"
        if one.released is not None:
            yield paint(f"  {what}, released by {one.released.by} ({one.released.digest})", "good")
            continue
        yield paint(f"  {what} wait for it", "warn")
        yield from (f"      {change}" for change in one.changes)
        yield paint(f"      drover approve {one.digest}", "soft")
        yield paint(f"      or on {one.gate}, or its PveCluster, annotation {ANNOTATION}: {one.digest!r}", "soft")


def _outlook(plan: Plan) -> Iterator[str]:
    """How long the drains take."""
    looks = [(drain.node, drain.outlook) for drain in plan.drains if drain.outlook is not None]
    if looks:
        yield from _heading("Outlook", None)
    for node, look in looks:
        ratio = look.likely_seconds / look.bound_seconds if look.bound_seconds else 1.0
        late = f"nine times in ten within {duration(look.late_seconds)}"
        yield f"  {node}: empty in about {duration(look.likely_seconds)}, {late}; {ratio:.2f} times the lower bound"


def _held_back(cluster: PveCluster, plan: Plan) -> Iterator[str]:
    """Why nothing of the plan is started although it could be."""
    now = opening(cluster.spec.windows, plan.at)
    if not now.open:
        yield paint(f"{Why.WINDOW_CLOSED}: {now.message}.", "soft")
    if cluster.spec.mode is not Mode.ENFORCE:
        yield paint(f"mode: {cluster.spec.mode}, so `drover run` starts none of this; `mode: Enforce` does.", "soft")


def _heading(title: str, count: int | None, total_bytes: int | None = None) -> Iterator[str]:
    moves = "" if count is None or total_bytes is None else f": {count_of(count, 'move')}, {size(total_bytes)}"
    yield ""
    yield paint(title, "bold") + (moves if moves or count is None else f": {count_of(count, 'guest')}")


def _moves(rows: Sequence[tuple[Move, str, str]], seconds: Mapping[Vmid, float]) -> Iterator[str]:
    lines = columns(
        [
            (
                Cell(f"~ {move.kind.noun} {move.vmid}", "busy"),
                Cell(move.name, "bold"),
                f"{move.source} -> {move.target}",
                Cell(size(move.memory_bytes) if move.memory_bytes else "-", right=True),
                *([Cell(_about(seconds.get(move.vmid)), right=True)] if seconds else []),
                Cell(f"{why}: {message}" if message else why),
            )
            for move, why, message in rows
        ],
        indent=2,
    )
    for line, (move, _, _) in zip(lines, rows, strict=True):
        yield line
        yield paint(f"      {command_line(move)}", "soft")


def _about(seconds: float | None) -> str:
    return "-" if seconds is None else f"~{duration(seconds)}"


_MARKS = {JobVerb.CREATE: ("+", "good"), JobVerb.REMOVE: ("-", "bad")}


def _jobs(plan: Plan) -> Iterator[str]:
    """Changes of replication jobs, then what is wanted and not to be had."""
    if plan.jobs:
        yield ""
        yield paint("Replication", "bold") + f": {count_of(len(plan.jobs), 'change')}"
        yield from columns([_job(action) for action in plan.jobs], indent=2)
    lacking = [item for item in plan.replicas.lacking if item.why is not Why.NOTHING_TO_REPLICATE]
    if lacking or plan.replicas.orphans:
        yield ""
        yield paint("Not replicated", "bold")
    for item in lacking:
        yield paint(f"  {'~' if item.pending else '!'} {item.message} ({item.why})", "busy" if item.pending else "warn")
        if item.why.remedy and not item.pending:
            yield paint(f"      {item.why.remedy}", "soft")
    for orphan in plan.replicas.orphans:
        yield f"  {orphan.message} ({Why.JOB_ORPHANED})"


def _ha_rules(plan: Plan) -> Iterator[str]:
    if plan.ha.actions:
        yield from _heading("Rules of PVE HA", len(plan.ha.actions))
        yield from (f"  {action.verb.lower()} {action.rule.name}: {action.message}" for action in plan.ha.actions)


def _job(action: JobAction) -> tuple[Cell | str, ...]:
    mark, tone = _MARKS.get(action.verb, ("~", "busy"))
    way = f"{action.source} -> {action.target}"
    verb = action.verb.lower() + (" with its data" if action.verb is JobVerb.REMOVE and not action.keep_data else "")
    return Cell(f"{mark} job {action.job_id}", tone), way, verb, f"{action.why}: {action.message}"


def _of_blocked(item: Blocked) -> tuple[Vmid, str, str, str]:
    return item.vmid, item.why, item.message, item.remedy


def _guests(mark: str, tone: str, rows: Sequence[tuple[Vmid, str, str, str]], seen: Observed | None) -> Iterator[str]:
    cells = []
    for vmid, why, message, _ in rows:
        guest = seen.guests.get(vmid) if seen is not None else None
        noun, name, node = (guest.kind.noun, guest.name, guest.node) if guest is not None else ("guest", "", "")
        memory = Cell(size(guest.memory_bytes if guest is not None else None), right=True)
        cells.append(
            (Cell(f"{mark} {noun} {vmid}", tone), Cell(name, "bold"), f"on {node}", memory, f"{why}: {message}")
        )
    for line, (_, _, _, remedy) in zip(columns(cells, indent=2), rows, strict=True):
        yield line
        if remedy:
            yield paint(f"      {remedy}", "soft")


def _sum(plan: Plan) -> str:
    parts = [count_of(len(plan.moves), "move") + " to start"] if plan.moves else []
    parts += [f"{len(plan.waiting)} waiting"] if plan.waiting else []
    parts += [f"{len(plan.blocked)} blocked"] if plan.blocked else []
    parts += [f"{len(plan.flying)} under way ({some([str(vmid) for vmid in plan.flying])})"] if plan.flying else []
    parts += [f"{count_of(len(plan.jobs), 'replication job')} to change"] if plan.jobs else []
    parts += [f"{count_of(len(plan.ha.actions), 'rule')} of PVE HA to change"] if plan.ha.actions else []
    if plan.all_moves and plan.minimal_moves:
        parts.append("proven: no plan has fewer moves" + (" or fewer bytes" if plan.minimal_bytes else ""))
    doing = ", ".join(parts) or "Nothing to do"
    return f"{doing}; {count_of(len(plan.fine), 'guest')} fine. Plan {plan.digest}"
