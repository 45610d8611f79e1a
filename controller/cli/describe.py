"""`drover describe`: everything about one object: what was written, how it stands, what happened."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import yaml

from controller.cli import options
from controller.cli.client import Client, Data
from controller.cli.jsonpath import value_at
from controller.cli.kinds import Row, age, complete, events_table, number_at, plural_of, table, text_at
from controller.cli.table import Cell, bar, columns, emit, paint, tone_of
from controller.model.reasons import Why
from controller.report.units import count_of, duration, epoch_of, rate, size


@click.command()
@click.argument("kind", shell_complete=complete)
@click.argument("name")
@options.cluster
@options.server
@options.config
def command(kind: str, name: str, cluster: str | None, server: str | None, config: Path | None) -> None:
    """Show everything about one object: NodeMaintenance label-pve2, guest 101, guest db-1."""
    plural, client = plural_of(kind), options.client(server, config)
    item = client.item(plural, name, cluster=cluster)
    emit(_guest(item, client) if plural == "guests" else _object(item, client))


def _object(item: Data, client: Client) -> Iterator[str]:
    yield paint(f"{item.get('kind')} {text_at(item, '.metadata.name')}", "bold")
    for title, path in (("Labels", ".metadata.labels"), ("Spec", ".spec")):
        value = value_at(item, path)
        if value:
            yield from _block(title, value)
    status = item.get("status")
    if not isinstance(status, dict):
        yield from ("", "There is no status yet.")
        return
    percent = number_at(item, ".status.progressPercent")
    if percent is not None:
        yield from _heading("Progress")
        yield f"  {bar(percent / 100)} {percent:.0f} %"
        yield from (f"  {text}" for text in _standing(item, client.now))
    rest = {k: v for k, v in status.items() if k not in ("conditions", "blockedGuests", "progressPercent") and v != []}
    yield from _block("Status", rest)
    yield from _conditions(item, client.now)
    yield from _blocked(item)
    yield from _events(client, f"{item.get('kind')}/{text_at(item, '.metadata.name')}")


def _standing(item: Data, now: float) -> Iterator[str]:
    """How many guests are where, and when it will be over, as `drover status` says it."""
    counts = {
        key: int(number_at(item, f".status.guests.{key}") or 0) for key in ("total", "moved", "moving", "blocked")
    }
    waiting = int(number_at(item, ".status.guests.remaining") or 0) - counts["moving"] - counts["blocked"]
    words = {"away": counts["moved"], "moving": counts["moving"], "waiting": waiting, "blocked": counts["blocked"]}
    if counts["total"]:
        told = ", ".join(f"{count} {word}" for word, count in words.items() if count > 0)
        yield f"{count_of(counts['total'], 'guest')}: {told}"
    likely, late = (epoch_of(text_at(item, f".status.{key}CompletionTime")) for key in ("estimated", "late"))
    if likely is not None and late is not None:
        yield f"about {duration(likely - now)} left (nine times in ten within {duration(late - now)})"
    makespan, bound = (number_at(item, f".status.{key}Seconds") for key in ("makespan", "lowerBound"))
    if makespan and bound:
        yield f"{duration(makespan)} in all, no order is faster than {duration(bound)} ({makespan / bound:.2f}x)"


def _guest(item: Data, client: Client) -> Iterator[str]:
    noun = "CT" if text_at(item, ".status.type") == "lxc" else "VM"
    state = text_at(item, ".status.state")
    vmid = text_at(item, ".status.vmid")
    yield paint(f"{noun} {vmid} {text_at(item, '.status.name')}", "bold")
    pairs: list[tuple[str, Cell]] = [
        ("Where", Cell(f"{text_at(item, '.status.node')} in cluster {text_at(item, '.spec.clusterRef.name')}")),
        ("Power", Cell(text_at(item, ".status.power"), tone_of(text_at(item, ".status.power")))),
        ("Memory", Cell(size(number_at(item, ".status.memoryBytes")))),
        ("State", Cell(state, tone_of(state))),
    ]
    optional = (
        ("Why", ".status.reason"),
        ("", ".status.message"),
        ("What to do", ".status.remedy"),
        ("Wanted by", ".status.cause"),
        ("Goes to", ".status.target"),
        ("Lock", ".status.lock"),
        ("HA state", ".status.haState"),
        ("Pool", ".status.pool"),
    )
    pairs += [(title, Cell(text)) for title, path in optional if (text := text_at(item, path)) != "-"]
    pairs += _lists(item)
    pairs += _history(item, client.now)
    yield from columns([(Cell(title, "soft"), cell) for title, cell in pairs], indent=2)
    attempts = [one for one in client.items("migrations") if text_at(one, ".status.vmid") == vmid]
    if attempts:
        yield from _heading("Moves")
        heads, rows = table("migrations", attempts, now=client.now, wide=False)
        yield from columns(rows, heads=heads, indent=2)
        said = [text_at(one, ".status.message") for one in attempts if text_at(one, ".status.phase") != "Succeeded"]
        yield from (f"  {text}" for text in dict.fromkeys(said) if text != "-")
    yield from _events(client, f"Guest/{vmid}")


def _lists(item: Data) -> Iterator[tuple[str, Cell]]:
    for title, path in (("Tags", ".status.tags"), ("Policies", ".status.policies")):
        value = value_at(item, path)
        if isinstance(value, list) and value:
            yield title, Cell(", ".join(map(str, value)))


def _history(item: Data, now: float) -> Iterator[tuple[str, Cell]]:
    if value_at(item, ".status.progress") is not None:
        sent, total = (number_at(item, f".status.progress.{key}") for key in ("transferredBytes", "totalBytes"))
        done = f"{size(sent)} of {size(total)}, {rate(number_at(item, '.status.progress.bytesPerSecond'))}"
        left = number_at(item, ".status.progress.etaSeconds")
        yield "Move", Cell(f"{text_at(item, '.status.progress.phase')}: {done}, {duration(left)} left", "busy")
    warnings = value_at(item, ".status.warnings")
    for one in warnings if isinstance(warnings, list) else ():
        yield "Warning", Cell(f"{text_at(one, '.reason')}: {text_at(one, '.message')}", "warn")
    if value_at(item, ".status.origin") is not None:
        since = age(item, ".status.origin.since", now)
        yield (
            "Home",
            Cell(
                f"{text_at(item, '.status.origin.node')}, away for {since} ({text_at(item, '.status.origin.maintenance')})"
            ),
        )
    if value_at(item, ".status.backoff") is not None:
        until = value_at(item, ".status.backoff.untilTime")
        left = (epoch_of(until) or now) - now if isinstance(until, str) else 0.0
        count, why = int(number_at(item, ".status.backoff.failures") or 0), text_at(item, ".status.backoff.message")
        yield "Back-off", Cell(f"{count_of(count, 'failure')}, again in {duration(left)}: {why}", "warn")


def _conditions(item: Data, now: float) -> Iterator[str]:
    rows: list[Row] = []
    listed = value_at(item, ".status.conditions")
    for row in listed if isinstance(listed, list) else []:
        status = text_at(row, ".status")
        rows.append(
            [
                Cell(text_at(row, ".type"), "bold"),
                Cell(status, "warn" if status == "Unknown" else ""),
                text_at(row, ".reason"),
                Cell(age(row, ".lastTransitionTime", now), right=True),
                text_at(row, ".message"),
            ]
        )
    if rows:
        yield from _heading("Conditions")
        yield from columns(rows, heads=["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"], indent=2)


def _blocked(item: Data) -> Iterator[str]:
    blocked = value_at(item, ".status.blockedGuests")
    guests: Sequence[Mapping[str, object]] = (
        [row for row in blocked if isinstance(row, dict)] if isinstance(blocked, list) else []
    )
    if not guests:
        return
    yield from _heading("Blocked guests")
    for guest in guests:
        reason = text_at(guest, ".reason")
        yield f"  {paint('!', 'warn')} {text_at(guest, '.vmid')} {text_at(guest, '.name')}  {reason}: {text_at(guest, '.message')}"
        remedy = next((why.remedy for why in Why if why == reason), "")
        if remedy:
            yield paint(f"      {remedy}", "soft")


def _events(client: Client, about: str) -> Iterator[str]:
    events = client.items("events", about=about)
    if events:
        yield from _heading("Events")
        heads, rows = events_table(events[:20], client.now)
        yield from columns(rows, heads=heads, indent=2)


def _heading(title: str) -> Iterator[str]:
    yield ""
    yield paint(title, "bold")


def _block(title: str, value: object) -> Iterator[str]:
    yield from _heading(title)
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110).rstrip()
    yield from (f"  {line}" for line in text.splitlines())
