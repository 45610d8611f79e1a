"""A plan as a comment below a merge request: what it would do, in Markdown that people like to read. Pure.

Called by `cli.plan` for `-o markdown`. Names and messages come from other systems: none of them is taken for markup.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from controller.model.approval import ANNOTATION
from controller.model.ids import ClusterName, Vmid
from controller.model.observed import Observed
from controller.model.plan import Move, Plan
from controller.model.reasons import Why
from controller.report.units import count_of, duration, size, timestamp
from controller.specs import Specs

MARKER = "<!-- drover-review -->"
"""The first line of every comment: whoever posts it finds the last one by it, and puts the new one in its place."""
MOST_CHARACTERS = 65_000
"""GitHub takes 65,536 characters, GitLab and Forgejo more."""
_ROWS = (1000, 300, 100, 40, 15, 5, 1)
"""So many rows a table has at most; the first of them with which the whole is short enough counts."""
_MOST_IN_A_CELL = 300
_MARKUP = re.compile(r"([\\`*_\[\]<>|#~$&])")


@dataclass(frozen=True, slots=True)
class Subject:
    """One cluster under two revisions. before: None when nothing is compared."""

    cluster: ClusterName
    before: Plan | None
    after: Plan | None
    settled: Plan | None = None  # the plan when all of `after` is done
    seen: Observed | None = None
    specs: Specs = field(default_factory=Specs)
    seconds: Mapping[Vmid, float] = field(default_factory=lambda: MappingProxyType({}))  # of moves, as far as known
    error: str = ""  # why there is no plan
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """What holds for all clusters."""

    revisions: str = ""  # `main (1a2b) -> topic (3c4d)`
    problems: tuple[str, ...] = ()
    taken_at: float | None = None  # of the oldest look
    age_seconds: float | None = None  # only when it is too old to be relied upon


def markdown(subjects: Sequence[Subject], frame: Frame) -> str:
    """The whole comment, never longer than MOST_CHARACTERS."""
    text = ""
    for rows in _ROWS:
        text = "\n".join([MARKER, *_lines(subjects, frame, rows)]).rstrip() + "\n"
        if len(text) <= MOST_CHARACTERS:
            return text
    end = "\n\n… the rest is too long for a comment; `drover plan` shows it.\n"
    return text[: MOST_CHARACTERS - len(end)] + end


def _lines(subjects: Sequence[Subject], frame: Frame, rows: int) -> Iterator[str]:
    if not subjects:
        yield "### Drover: there is no PveCluster to plan for"
    for subject in subjects:
        yield f"### Drover, {_summary(subject)}"
        yield ""
        yield from _cluster(subject, rows)
    if frame.problems:
        yield f"**{_sentence(count_of(len(frame.problems), 'problem'))} in the manifests**"
        yield ""
        yield from _bullets([f"`{_code(text)}`" for text in frame.problems], rows)
        yield ""
    if frame.age_seconds is not None:
        text = f"The look at the cluster is {duration(frame.age_seconds)} old: guests may have moved since."
        yield from (f"> **Warning:** {text}", "")
    yield from _footer(subjects, frame)


def _summary(subject: Subject) -> str:
    name = f"cluster {_text(subject.cluster)}"
    plan = subject.after
    if plan is None:
        return f"{name} could not be planned"
    if plan.unsafe:
        return f"{name}: the independent check refuses this plan"
    parts = _parts(plan)
    if not parts:
        return f"{name}: nothing to do"
    new = [move for move in plan.all_moves if _is_new(move, subject)]
    anyway = (
        ""
        if subject.before is None or len(new) == len(plan.all_moves)
        else f", {len(new)} of them because of this change"
    )
    return f"{name}: {', '.join(parts)}{anyway if plan.all_moves else ''}"


def _parts(plan: Plan) -> list[str]:
    moves = plan.all_moves
    asked = sum(len(one.steps) for one in plan.approvals if one.waits)
    found = [f"{count_of(len(moves), 'move')} ({size(sum(move.memory_bytes for move in moves))})"] if moves else []
    found += [f"{count_of(len(plan.power), 'guest')} shut down or started"] if plan.power else []
    found += [f"{len(plan.blocked)} blocked"] if plan.blocked else []
    found += [f"{count_of(len(plan.jobs), 'replication job')}"] if plan.jobs else []
    found += [f"{count_of(len(plan.ha.actions), 'rule')} of PVE HA"] if plan.ha.actions else []
    return found + ([f"{asked} to approve"] if asked else [])


def _is_new(move: Move, subject: Subject) -> bool:
    known = {(each.vmid, each.target) for each in subject.before.all_moves} if subject.before is not None else set()
    return (move.vmid, move.target) not in known


def _cluster(subject: Subject, rows: int) -> Iterator[str]:
    plan = subject.after
    if subject.lacking:
        yield f"> **Warning:** the token lacks {_text(', '.join(subject.lacking))}; guests may be missing below."
        yield ""
    if plan is None:
        yield _sentence(_text(subject.error or "nobody knows why"))
        yield ""
        return
    if plan.unsafe:
        yield from _section(
            "Broken promises: nothing of this plan would be done", [_text(t) for t in plan.unsafe], rows
        )
    yield from _moves(subject, plan, rows)
    yield from _stopped(subject, plan, rows)
    yield from _violations(subject, plan, rows)
    yield from _section(
        "Replication jobs",
        [f"**{job.verb}** {job.job_id} {job.source} → {job.target}: {_text(job.message)}" for job in plan.jobs],
        rows,
    )
    rules = [f"**{a.verb}** {_text(a.rule.name)}: {_text(a.message)}" for a in plan.ha.actions]
    yield from _section("Rules of PVE HA", rules, rows)
    yield from _maintenance(plan, rows)
    conflicts = [f"{c.why}: {_text(c.message)}. {_text(c.remedy)}" for c in plan.conflicts]
    yield from _section("Policies that can't hold together", conflicts, rows)
    yield from _gone(subject, plan, rows)
    yield from _approval(plan, rows)


def _moves(subject: Subject, plan: Plan, rows: int) -> Iterator[str]:
    waits = {item.vmid: item for item in plan.waiting if item.move is not None}
    moves = sorted(plan.all_moves, key=lambda move: not _is_new(move, subject))
    lines = []
    for move in moves:
        seconds = subject.seconds.get(move.vmid)
        word = waits.get(move.vmid)
        told = word is not None and word.why is not Why.AWAITING_APPROVAL
        why = f"{word.why}: {word.message}" if word is not None and told else f"{move.why}: {move.message}"
        anyway = "" if subject.before is None or _is_new(move, subject) else " *(also without this change)*"
        took = "" if seconds is None else duration(seconds)
        who = f"{move.kind.noun} {move.vmid} **{_text(move.name)}**"
        way = f"{_text(move.source)} → {_text(move.target)}{'' if move.options.online else _how(move)}"
        lines.append((who, way, size(move.memory_bytes) if move.memory_bytes else "", took, _text(why) + anyway))
    yield from _table("Moves", ("Guest", "From → to", "Memory", "About", "Why"), lines, rows)
    acts = [
        f"**{each.verb}** {each.vmid} {_text(each.name)} on {each.node}: {_text(each.message)}" for each in plan.power
    ]
    yield from _section("Shut down or started", acts, rows)


def _how(move: Move) -> str:
    return " (restarts)" if move.options.restart else " (stopped)"


def _stopped(subject: Subject, plan: Plan, rows: int) -> Iterator[str]:
    def who(vmid: Vmid) -> str:
        guest = subject.seen.guests.get(vmid) if subject.seen is not None else None
        return f"{guest.kind.noun} {vmid} **{_text(guest.name)}** on {_text(guest.node)}" if guest else f"guest {vmid}"

    blocked = [(who(b.vmid), f"{b.why}: {_text(b.message)}", _text(b.remedy)) for b in plan.blocked]
    yield from _table("Blocked", ("Guest", "Why", "What to do"), blocked, rows)
    waiting = [f"{who(w.vmid)}: {w.why}: {_text(w.message)}" for w in plan.waiting if w.move is None]
    yield from _section("Waits", waiting, rows)


def _violations(subject: Subject, plan: Plan, rows: int) -> Iterator[str]:
    """Now, right after the merge, and when all is done."""
    stages = (subject.before, plan, subject.settled)
    if not any(stage is not None and stage.violations for stage in stages):
        return
    heads = (
        ("Before", "After the merge", "When all is done") if subject.before is not None else ("Now", "When all is done")
    )
    columns = [_by_cause(stage) if stage is not None else None for stage in stages[-len(heads) :]]
    broken = {str(each.cause) for stage in stages if stage is not None for each in stage.violations}
    lines = [(_text(cause), *(_held(column, cause) for column in columns)) for cause in sorted(broken)]
    yield from _table("Rules that do not hold", ("Rule", *heads), lines, rows)
    left = subject.settled.violations if subject.settled is not None else ()
    yield from _section("What remains", [f"{_text(str(v.cause))}: {_text(v.message)}" for v in left], rows)


def _by_cause(plan: Plan) -> dict[str, int]:
    """Guests that are wronged, by rule; every rule that there is."""
    found = {str(ref): 0 for ref in plan.matched}
    for each in plan.violations:
        found[str(each.cause)] = found.get(str(each.cause), 0) + len(each.vmids)
    return found


def _held(column: Mapping[str, int] | None, cause: str) -> str:
    if column is None or cause not in column:
        return "not there" if column is not None else "?"
    return count_of(column[cause], "guest") if column[cause] else "holds"


def _maintenance(plan: Plan, rows: int) -> Iterator[str]:
    lines = []
    for drain in plan.drains:
        look = drain.outlook
        ends = (
            f"; empty in about {duration(look.likely_seconds)}, nine times in ten within {duration(look.late_seconds)}"
            if look
            else ""
        )
        held = f" **{drain.hold}**" if drain.hold is not None else ""
        lines.append(f"{_text(drain.node)} ({_text(str(drain.ref))}):{held} {_text(drain.message)}{ends}")
    lines += [
        f"{_text(each.node)} ({_text(str(each.ref))}): announced; {count_of(each.leaving, 'guest')} will leave, "
        f"{count_of(len(each.blocked), 'guest')} could not"
        for each in plan.announced
    ]
    yield from _section("Maintenance", lines, rows)


def _gone(subject: Subject, plan: Plan, rows: int) -> Iterator[str]:
    """What is planned now, and would not be any more."""
    if subject.before is None:
        return
    still = {(move.vmid, move.target) for move in plan.all_moves}
    gone = [
        f"{m.kind.noun} {m.vmid} **{_text(m.name)}** {_text(m.source)} → {_text(m.target)} ({m.why})"
        for m in subject.before.all_moves
        if (m.vmid, m.target) not in still
    ]
    yield from _section("No longer planned", gone, rows)


def _approval(plan: Plan, rows: int) -> Iterator[str]:
    lines = []
    for one in plan.approvals:
        what = f"{_text(str(one.gate))}, {count_of(len(one.steps), 'step')}: `{one.digest}`"
        if one.released is not None:
            lines.append(f"{what}, released by {_text(one.released.by)}")
        else:
            lines.append(f"{what} waits for approval{''.join(f'; {_text(change)}' for change in one.changes[:5])}")
    yield from _section("Approval", lines, rows)
    if any(one.waits for one in plan.approvals):
        where = "on the object or its PveCluster"
        yield f'To release exactly this: annotation `{ANNOTATION}: "DIGEST"` {where}, or `drover approve DIGEST`.'
        yield ""


def _footer(subjects: Sequence[Subject], frame: Frame) -> Iterator[str]:
    told = [f"{subject.cluster} `{subject.after.digest}`" for subject in subjects if subject.after is not None]
    parts = [f"plan {', '.join(told)}"] if told else []
    parts += [_text(frame.revisions)] if frame.revisions else []
    parts += [f"looked at {timestamp(frame.taken_at)}"] if frame.taken_at is not None else []
    for subject in subjects:
        plan = subject.after
        cluster = subject.specs.clusters.get(subject.cluster)
        if plan is not None and cluster is not None and str(cluster.spec.mode) != "Enforce":
            parts.append(f"mode {cluster.spec.mode}: nothing of it is started")
        if plan is not None and plan.all_moves and plan.minimal_moves:
            parts.append("no plan has fewer moves")
    yield f"<sub>{' · '.join(parts)}</sub>"


def _table(title: str, head: tuple[str, ...], lines: Sequence[tuple[str, ...]], rows: int) -> Iterator[str]:
    if not lines:
        return
    yield from (f"**{title}**", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}")
    yield from (f"| {' | '.join(line)} |" for line in lines[:rows])
    yield ""
    yield from _more(len(lines) - rows)


def _section(title: str, lines: Sequence[str], rows: int) -> Iterator[str]:
    if lines:
        yield from (f"**{title}**", "", *_bullets(lines, rows), "")


def _bullets(lines: Sequence[str], rows: int) -> Iterator[str]:
    yield from (f"- {line}" for line in lines[:rows])
    if len(lines) > rows:
        yield f"- … and {len(lines) - rows} more"


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield from (f"… and {count} more", "")


def _text(said: str) -> str:
    """Somebody else's words: on one line, not endless, and no markup, link or mention of anybody."""
    plain = " ".join(said.split())
    plain = plain if len(plain) <= _MOST_IN_A_CELL else f"{plain[:_MOST_IN_A_CELL]}…"
    return _MARKUP.sub(r"\\\1", plain).replace("@", "@\u200b").replace("://", ":\u200b//")


def _code(said: str) -> str:
    return " ".join(said.split()).replace("`", "'")[: 2 * _MOST_IN_A_CELL]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
