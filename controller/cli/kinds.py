"""Which kind people mean, and how a list of it is printed. Used by `cli.get` and `cli.describe`."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import click

from controller.cli.jsonpath import value_at
from controller.cli.table import Cell, tone_of
from controller.report.objects import ALSO, kind_of
from controller.report.units import duration, epoch_of, rate, size
from controller.report.views import VIEWS, view_of
from controller.specs import KINDS

Row = list[Cell | str]
Table = tuple[list[str], list[Row]]


def plural_of(word: str) -> str:
    """The plural of the kind that people mean. Raises UsageError, naming all there are."""
    kind = kind_of(word)
    if kind is not None:
        return KINDS[kind].plural
    view = view_of(word)
    if view is None:
        also = {kind: [word for word, meant in ALSO.items() if meant == kind and word.endswith("s")] for kind in KINDS}
        known = [*(f"{item.plural} ({', '.join([*item.short_names, *also[kind]])})" for kind, item in KINDS.items())]
        known += VIEWS
        raise click.UsageError(f"there is no kind {word!r}; known: {', '.join(known)}")
    return view


def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Shell completion for a kind."""
    names = [*(item.plural for item in KINDS.values()), *VIEWS]
    return [name for name in names if name.startswith(incomplete.lower())]


def table(plural: str, items: Sequence[Mapping[str, object]], *, now: float, wide: bool) -> Table:
    """Heads and rows of a list, as printer columns have it for the kinds and as suits the views."""
    if plural in _VIEW_TABLES:
        return _VIEW_TABLES[plural](items, now, wide)
    [kind] = [item for item in KINDS.values() if item.plural == plural]
    shown = [column for column in kind.columns if any(value_at(item, column.path) is not None for item in items)]
    heads = ["NAME", *(column.name.upper() for column in shown)]
    rows: list[Row] = []
    for item in items:
        row: Row = [Cell(text_at(item, ".metadata.name"), "bold")]
        for column in shown:
            row.append(_cell(value_at(item, column.path), column.type, now))
        rows.append(row)
    if wide:
        heads += ["GENERATION", "MESSAGE"]
        for row, item in zip(rows, items, strict=True):
            row += [text_at(item, ".metadata.generation"), _message(item)]
    return heads, rows


def text_at(item: Mapping[str, object], path: str) -> str:
    """The value at `path` as text, `-` when there is none."""
    value = value_at(item, path)
    return "-" if value in (None, "", []) else str(value)


def number_at(item: Mapping[str, object], path: str) -> float | None:
    """The number at `path`; None when there is none."""
    value = value_at(item, path)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def age(item: Mapping[str, object], path: str, now: float) -> str:
    """Time since the timestamp at `path`, by the daemon's clock."""
    value = value_at(item, path)
    then = epoch_of(value) if isinstance(value, str) else None
    return "-" if then is None else duration(now - then)


def _cell(value: object, type_: str, now: float) -> Cell:
    if type_ == "date":
        then = epoch_of(value) if isinstance(value, str) else None
        return Cell("-" if then is None else duration(now - then))
    text = "-" if value is None else str(value)
    return Cell(text, tone_of(text), right=type_ == "integer")


def _message(item: Mapping[str, object]) -> str:
    """What is most worth knowing: the first condition that is not as one would wish, else the first."""
    rows = value_at(item, ".status.conditions")
    said = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    bad = [row for row in said if row.get("status") != "True" and row.get("reason") not in ("AsExpected", "InService")]
    return str((bad or said or [{"message": "-"}])[0].get("message"))


def _guests(items: Sequence[Mapping[str, object]], _now: float, wide: bool) -> Table:
    heads = ["VMID", "NAME", "TYPE", "NODE", "POWER", "MEMORY", "STATE", "REASON", "TO"]
    rows: list[Row] = []
    for item in items:
        state, power = text_at(item, ".status.state"), text_at(item, ".status.power")
        row: Row = [
            Cell(text_at(item, ".status.vmid"), right=True),
            Cell(text_at(item, ".status.name"), "bold"),
            text_at(item, ".status.type"),
            text_at(item, ".status.node"),
            Cell(power, tone_of(power)),
            Cell(size(number_at(item, ".status.memoryBytes")), right=True),
            Cell(state, tone_of(state)),
            text_at(item, ".status.reason"),
            text_at(item, ".status.target"),
        ]
        if wide:
            tags, policies = value_at(item, ".status.tags"), value_at(item, ".status.policies")
            row += [
                ",".join(map(str, tags)) if isinstance(tags, list) and tags else "-",
                text_at(item, ".status.origin.node"),
                ",".join(map(str, policies)) if isinstance(policies, list) and policies else "-",
                text_at(item, ".status.message"),
            ]
        rows.append(row)
    return heads + (["TAGS", "HOME", "POLICIES", "MESSAGE"] if wide else []), rows


def _migrations(items: Sequence[Mapping[str, object]], now: float, wide: bool) -> Table:
    heads = ["GUEST", "NAME", "WAY", "PHASE", "SENT", "RATE", "LEFT", "REASON", "TOOK", "AGE"]
    rows: list[Row] = []
    for item in items:
        phase = text_at(item, ".status.phase")
        seconds, left = number_at(item, ".status.seconds"), number_at(item, ".status.progress.etaSeconds")
        sent = number_at(item, ".status.progress.transferredBytes")
        running = value_at(item, ".status.endTime") is None
        row: Row = [
            Cell(text_at(item, ".status.vmid"), right=True),
            Cell(text_at(item, ".status.name"), "bold"),
            f"{text_at(item, '.status.from')} -> {text_at(item, '.status.to')}",
            Cell(phase, tone_of(phase)),
            Cell(size(sent), right=True),
            Cell(rate(number_at(item, ".status.progress.bytesPerSecond")) if running else "-", right=True),
            Cell(duration(left) if running else "-", right=True),
            text_at(item, ".status.reason"),
            Cell(age(item, ".status.startTime", now) if running else duration(seconds), right=True),
            Cell("-" if running else age(item, ".status.endTime", now), right=True),
        ]
        if wide:
            row += [text_at(item, ".status.cause"), text_at(item, ".status.message"), text_at(item, ".status.task")]
        rows.append(row)
    return heads + (["CAUSE", "MESSAGE", "TASK"] if wide else []), rows


def _replication(items: Sequence[Mapping[str, object]], now: float, wide: bool) -> Table:
    heads = ["JOB", "GUEST", "WAY", "SCHEDULE", "LAST SYNC", "STATE", "NEXT", "POLICY"]
    rows: list[Row] = []
    for item in items:
        state, stale = text_at(item, ".status.state"), value_at(item, ".status.stale") is True
        following = epoch_of(text_at(item, ".status.nextSyncTime"))
        row: Row = [
            Cell(text_at(item, ".metadata.name"), "bold"),
            text_at(item, ".status.name"),
            f"{text_at(item, '.status.source')} -> {text_at(item, '.status.target')}",
            text_at(item, ".status.schedule"),
            Cell(_lag(item, now), right=True),
            Cell(state + (f" ({age(item, '.status.readTime', now)} old)" if stale else ""), tone_of(state)),
            Cell(
                "-" if following is None else "now" if following <= now else f"in {duration(following - now)}",
                right=True,
            ),
            "for a move" if value_at(item, ".status.forMove") else text_at(item, ".status.policy"),
        ]
        if wide:
            took = duration(number_at(item, ".status.durationSeconds"))
            sent = number_at(item, ".status.lastRunBytes")
            row += [
                Cell(took, right=True),
                Cell("-" if sent is None else size(sent), right=True),
                Cell(text_at(item, ".status.failures"), right=True),
            ]
            row += [text_at(item, ".status.reason"), text_at(item, ".status.message")]
        rows.append(row)
    return heads + (["TOOK", "SENT", "FAILED", "REASON", "MESSAGE"] if wide else []), rows


def _lag(item: Mapping[str, object], now: float) -> str:
    """Age of the last sync, "never" when a node has told that there was none."""
    if value_at(item, ".status.lastSyncTime") is None:
        return "-" if value_at(item, ".status.readTime") is None else "never"
    return f"{age(item, '.status.lastSyncTime', now)} ago"


def _plans(items: Sequence[Mapping[str, object]], now: float, _wide: bool) -> Table:
    def count(item: Mapping[str, object], path: str) -> Cell:
        value = value_at(item, path)
        return Cell(str(len(value)) if isinstance(value, list) else "0", right=True)

    heads = ["CLUSTER", "DIGEST", "MOVES", "WAITING", "BLOCKED", "MOVING", "FINE", "AGE"]
    rows: list[Row] = [
        [
            Cell(text_at(item, ".metadata.name"), "bold"),
            text_at(item, ".status.digest"),
            *(count(item, f".status.{group}") for group in ("moves", "waiting", "blocked", "moving")),
            Cell(text_at(item, ".status.fine"), right=True),
            age(item, ".status.madeTime", now),
        ]
        for item in items
    ]
    return heads, rows


def _sources(items: Sequence[Mapping[str, object]], now: float, wide: bool) -> Table:
    heads = ["REVISION", "SUBJECT", "AUTHOR", "SIGNER", "SINCE", "READY", "REASON"]
    rows: list[Row] = []
    for item in items:
        ready = value_at(item, ".status.ready")
        row: Row = [
            Cell(text_at(item, ".status.revision"), "bold"),
            *(text_at(item, f".status.applied.{key}") for key in ("subject", "author", "signer")),
            Cell(age(item, ".status.applied.inForceSince", now), right=True),
            Cell("-" if ready is None else str(ready), "good" if ready else "bad"),
            text_at(item, ".status.reason"),
        ]
        if wide:
            row += [text_at(item, f".status.{key}") for key in ("url", "ref", "path", "attempted.commit", "message")]
        rows.append(row)
    return heads + (["URL", "REF", "PATH", "NEWEST", "MESSAGE"] if wide else []), rows


def drift_table(items: Sequence[Mapping[str, object]], now: float, _wide: bool = False) -> Table:
    """What was changed by hand, as `drover drift` shows it."""
    rows: list[Row] = [
        [
            Cell(text_at(item, ".status.about"), "bold"),
            age(item, ".status.sinceTime", now),
            text_at(item, ".status.message"),
            text_at(item, ".status.will"),
        ]
        for item in items
    ]
    return ["ABOUT", "SINCE", "WHAT", "DROVER"], rows


def events_table(items: Sequence[Mapping[str, object]], now: float, _wide: bool = False) -> Table:
    """Events, as `drover events` and `describe` show them."""
    heads = ["AGE", "TYPE", "REASON", "ABOUT", "TIMES", "MESSAGE"]
    rows: list[Row] = []
    for item in items:
        type_ = text_at(item, ".type")
        about = f"{text_at(item, '.involvedObject.kind')}/{text_at(item, '.involvedObject.name')}"
        rows.append(
            [
                Cell(age(item, ".lastTimestamp", now), right=True),
                Cell(type_, tone_of(type_)),
                Cell(text_at(item, ".reason"), "bold"),
                about,
                Cell(text_at(item, ".count"), right=True),
                text_at(item, ".message"),
            ]
        )
    return heads, rows


_VIEW_TABLES: Mapping[str, Callable[[Sequence[Mapping[str, object]], float, bool], Table]] = MappingProxyType(
    {
        "guests": _guests,
        "migrations": _migrations,
        "plans": _plans,
        "replication": _replication,
        "events": events_table,
        "sources": _sources,
        "drifts": drift_table,
    }
)
