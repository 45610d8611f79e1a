"""The page at `/`: an overview as HTML, rendered here and refreshed by the browser. No script, nothing from elsewhere.

Called by `report.http`. Every text passes `html.escape`: names of guests and messages come from other systems.
"""

from collections.abc import Iterable
from html import escape

from controller.report.overview import ClusterLine, DrainLine, EventLine, GuestLine, MoveLine, NodeLine, Overview
from controller.report.units import count_of, duration, rate, size

REFRESH_SECONDS = 2

_STYLE = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1c2430;--soft:#66707f;--line:#e3e7ed;
--good:#1f8a4c;--busy:#2667c9;--warn:#b45309;--bad:#c0322b}
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2029;--ink:#dfe6ef;--soft:#8d99a8;--line:#2a323d;
--good:#4cc27c;--busy:#6ea4f5;--warn:#e2a03f;--bad:#f0716a}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:14px/1.45 system-ui,sans-serif}
main{max-width:1120px;margin:0 auto;padding:20px 16px 40px}header{display:flex;gap:12px;align-items:baseline;flex-wrap:wrap}
h1{font-size:20px;margin:0}h2{font-size:16px;margin:0;display:flex;gap:8px;align-items:center;flex-wrap:wrap}
h3{font-size:12px;margin:16px 0 6px;color:var(--soft);font-weight:600;letter-spacing:.04em;text-transform:uppercase}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px;margin-top:16px}
table{border-collapse:collapse;width:100%}th{font-weight:500;color:var(--soft);text-align:left}
th,td{padding:4px 14px 4px 0;vertical-align:top}td{border-top:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td.k{white-space:nowrap}
.soft{color:var(--soft)}.pill{font-size:12px;font-weight:600;border-radius:9px;padding:1px 9px;border:1px solid currentColor;
white-space:nowrap}
.good{color:var(--good)}.busy{color:var(--busy)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.bar{height:8px;border-radius:4px;background:var(--line);overflow:hidden;min-width:120px;margin-top:6px}
.bar i{display:block;height:100%;background:var(--busy)}.bar i.good{background:var(--good)}.bar i.warn{background:var(--warn)}
.bar i.bad{background:var(--bad)}section>h3:first-child{margin-top:0}
.scroll{overflow-x:auto}.notice{border-left:4px solid var(--bad)}
"""

_TONES = {
    "Drained": "good",
    "Draining": "busy",
    "Blocked": "warn",
    "Held": "warn",
    "Cordoned": "warn",
    "online": "good",
    "offline": "bad",
    "True": "good",
    "False": "bad",
    "Waiting": "busy",
}


def page(seen: Overview) -> str:
    """The whole document."""
    clusters = "".join(_cluster(cluster) for cluster in seen.clusters)
    empty = "" if seen.clusters else "<section class=soft>No cluster has been looked at yet.</section>"
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>Drover</title>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<meta http-equiv=refresh content={REFRESH_SECONDS}><style>{_STYLE}</style></head><body><main>"
        f"<header><h1>Drover</h1><span class=soft>{escape(seen.version)} · {escape(seen.now)}</span></header>"
        f"{_source(seen)}{clusters}{empty}{_events(seen.events)}</main></body></html>"
    )


def _source(seen: Overview) -> str:
    source = seen.source
    notices = list(source.problems)
    if not source.complete:
        notices.insert(0, "the manifests can't be read completely; what was good before stays in force")
    if source.awaiting:
        notices.insert(0, f"deletions wait for confirmation: drover confirm {source.awaiting}")
    line = f"revision {escape(source.revision) or 'none'} · {count_of(source.objects, 'object')}"
    text = f"<p class=soft>{line}</p>"
    if notices:
        items = "".join(f"<div>{escape(notice)}</div>" for notice in notices)
        text += f"<section class=notice><h3>Manifests</h3>{items}</section>"
    return text


def _cluster(cluster: ClusterLine) -> str:
    guests = " · ".join(f"{count} {state.lower()}" for state, count in cluster.guests.items() if count)
    age = "never looked at" if cluster.look_age_seconds is None else f"seen {duration(cluster.look_age_seconds)} ago"
    armed = "good" if cluster.armed.status == "True" else "warn"
    notices = "" if cluster.ready.status == "True" else f"<p class=bad>{escape(cluster.ready.message)}</p>"
    broken = "".join(f"<div class=warn>{escape(text)}</div>" for text in cluster.violations)
    rules = f"<h3>Rules that do not hold yet</h3>{broken}" if broken else ""
    lagging = "".join(f"<div class=warn>{escape(text)}</div>" for text in cluster.replication)
    rules += f"<h3>Replication</h3>{lagging}" if lagging else ""
    ready = "Ready" if cluster.ready.status == "True" else cluster.ready.reason or "Unknown"
    return (
        f"<section><h2>{escape(cluster.name)} {_pill(ready, _TONES.get(cluster.ready.status, 'warn'))}"
        f"{_pill(cluster.armed.reason or 'Unknown', armed)}</h2>"
        f"<div class=soft>mode {escape(cluster.mode) or 'unknown'} · {escape(age)} · {escape(guests) or 'no guests'}</div>{notices}"
        f"{_drains(cluster.drains)}{_moves(cluster.moves)}{_troubled(cluster)}{rules}{_nodes(cluster.nodes)}</section>"
    )


def _drains(drains: Iterable[DrainLine]) -> str:
    rows = [
        f"<tr><td class=k><b>{escape(drain.node)}</b></td><td class=k>{_pill(drain.state)}</td>"
        f"<td class=n>{drain.percent} %</td><td>{escape(drain.message)}"
        f"{_soft(drain.reason)}{_bar(drain.percent, _TONES.get(drain.state, 'busy'))}</td></tr>"
        for drain in drains
    ]
    return _table("Maintenance", ("node", "state", "#progress", ""), rows)


def _moves(moves: Iterable[MoveLine]) -> str:
    rows = []
    for move in moves:
        sent = f"{size(move.transferred_bytes)} of {size(move.total_bytes)}" if move.total_bytes else "-"
        rows.append(
            f"<tr><td class=k>{_name(move.noun, move.vmid, move.name)}</td>"
            f"<td class=k>{escape(move.source)} → {escape(move.target)}</td><td class=n>{sent}"
            f"{_bar(move.percent or 0, 'busy')}</td><td class=n>{rate(move.bytes_per_second)}</td>"
            f"<td class=n>{duration(move.eta_seconds)}</td><td class=n>{duration(move.seconds)}</td>"
            f"<td>{escape(move.phase)} · {escape(move.reason)}{_soft(move.cause)}</td></tr>"
        )
    return _table("Moves under way", ("guest", "way", "#sent", "#rate", "#left", "#since", "why"), rows)


def _troubled(cluster: ClusterLine) -> str:
    rows = [_trouble(guest) for guest in cluster.troubled]
    if cluster.more_troubled:
        rows.append(f"<tr><td colspan=4 class=soft>and {cluster.more_troubled} more</td></tr>")
    return _table("Guests that wait or are blocked", ("guest", "on", "reason", ""), rows)


def _trouble(guest: GuestLine) -> str:
    tone = "warn" if guest.state == "Blocked" else "busy"
    return (
        f"<tr><td class=k>{_name(guest.noun, guest.vmid, guest.name)}</td><td class=k>{escape(guest.node)}</td>"
        f"<td class=k>{_pill(guest.reason, tone)}</td><td>{escape(guest.message)}{_soft(guest.remedy)}</td></tr>"
    )


def _nodes(nodes: Iterable[NodeLine]) -> str:
    rows = []
    for node in nodes:
        percent = int(100 * node.guest_memory_bytes / node.memory_bytes) if node.memory_bytes else 0
        maintenance = _pill(node.maintenance) if node.maintenance else ""
        rows.append(
            f"<tr><td class=k><b>{escape(node.name)}</b></td><td class=k>{_pill(node.state)} {maintenance}</td>"
            f"<td class=n>{node.guests}</td><td class=n>{size(node.guest_memory_bytes)} of {size(node.memory_bytes)}</td>"
            f"<td>{_bar(percent, 'bad' if percent > 100 else 'good')}</td></tr>"
        )
    return _table("Nodes", ("node", "state", "#guests", "#memory given to guests", ""), rows)


def _events(events: Iterable[EventLine]) -> str:
    rows = []
    for event in events:
        often = f" <span class=soft>{event.count} times</span>" if event.count > 1 else ""
        rows.append(
            f"<tr><td class=n>{duration(event.age_seconds)}</td>"
            f"<td class=k>{_pill(event.reason, 'warn' if event.warning else 'busy')}</td>"
            f"<td>{escape(event.message)}{often}{_soft(f'{event.about} · {event.cluster}')}</td></tr>"
        )
    table = _table("Events", ("#ago", "what", ""), rows)
    return f"<section>{table}</section>" if table else ""


def _table(title: str, heads: tuple[str, ...], rows: list[str]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<th class=n>{head[1:]}</th>" if head.startswith("#") else f"<th>{head}</th>" for head in heads)
    return f"<h3>{title}</h3><div class=scroll><table><thead><tr>{cells}</tr></thead>{''.join(rows)}</table></div>"


def _name(noun: str, vmid: int, name: str) -> str:
    return f"<span class=soft>{escape(noun)} {vmid}</span> <b>{escape(name)}</b>"


def _pill(text: str, tone: str | None = None) -> str:
    return f"<span class='pill {tone or _TONES.get(text, 'warn')}'>{escape(text)}</span> "


def _soft(text: str) -> str:
    return f"<div class=soft>{escape(text)}</div>" if text else ""


def _bar(percent: int, tone: str) -> str:
    return f"<div class=bar><i class={tone} style='width:{min(100, max(0, percent))}%'></i></div>"
