"""The page at `/`: an overview as HTML, rendered here and refreshed by the browser. No script, nothing from elsewhere.

Called by `report.http`. Every text passes `html.escape`: names of guests and messages come from other systems.
"""

from collections.abc import Iterable, Sequence
from html import escape

from controller.report.evacuation import BarLine, DrainLine
from controller.report.overview import ClusterLine, EventLine, GuestLine, MoveLine, NodeLine, Overview
from controller.report.units import count_of, duration, rate, size

REFRESH_SECONDS = 2
_SLOW_SECONDS = 30
_MOVES = 60
"""The most moves that are shown one by one."""

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
.soft{color:var(--soft)}
.hid{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.pill{font-size:12px;font-weight:600;border-radius:9px;padding:1px 9px;border:1px solid currentColor;
white-space:nowrap}
.good{color:var(--good)}.busy{color:var(--busy)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.bar{height:8px;border-radius:4px;background:var(--line);overflow:hidden;min-width:120px;margin-top:6px}
.bar i{display:block;height:100%;background:var(--busy)}.bar i.good{background:var(--good)}.bar i.warn{background:var(--warn)}
.bar i.bad{background:var(--bad)}section>h3:first-child{margin-top:0}
.scroll{overflow-x:auto}.notice{border-left:4px solid var(--bad)}
ul{list-style:none;margin:0;padding:0}li{border-top:1px solid var(--line);padding:6px 0}
.row>.who{min-width:150px}td.w{min-width:120px;width:60%}
.row{display:flex;gap:4px 14px;flex-wrap:wrap;align-items:center}.grow{flex:1 1 240px}
.way{display:flex;align-items:center;gap:6px;flex:1 1 220px;min-width:180px}
.arrow{flex:1;height:14px;background:var(--line);clip-path:polygon(0 25%,calc(100% - 12px) 25%,calc(100% - 12px) 0,100% 50%,
calc(100% - 12px) 100%,calc(100% - 12px) 75%,0 75%);overflow:hidden}.arrow i{display:block;height:100%;background:var(--busy)}
.fall{margin:8px 0 0;border-left:1px solid var(--line)}.fall li{border:0;padding:1px 0;display:grid;align-items:center;
grid-template-columns:minmax(110px,190px) minmax(0,1fr) minmax(120px,250px);gap:10px;font-size:13px}
.fall .who,.fall .said{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}.fall .who{padding-left:8px}
.track{position:relative;height:12px;background:linear-gradient(var(--line),var(--line)) 0 50%/100% 1px no-repeat}
.track i{position:absolute;top:1px;height:10px;border-radius:3px;min-width:3px}.track b{position:absolute;top:-2px;bottom:-2px;
width:0;border-left:2px dashed var(--soft)}.track i.away{background:var(--good)}.track i.moving{background:var(--busy)}
.track i.rest{background:none;border:1px dashed var(--busy)}a{color:var(--busy)}
@media(max-width:640px){main{padding:12px 8px 32px}section{padding:12px}.fall li{grid-template-columns:1fr 1fr;
padding:4px 0}.fall .track{grid-column:1/-1;grid-row:2}.stack thead{display:none}.stack tr{display:block;padding:6px 0;
border-top:1px solid var(--line)}.stack td{display:inline-block;border:0;padding:1px 10px 1px 0}.stack td.w{display:block}
.stack td.n{text-align:left}.dash{display:none}}
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
    "Syncing": "busy",
    "New": "busy",
    "Failing": "bad",
}


def page(seen: Overview, refresh: int = REFRESH_SECONDS) -> str:
    """The whole document, which loads itself anew after `refresh` seconds; 0 = never, for those who read it aloud."""
    clusters = "".join(_cluster(cluster) for cluster in seen.clusters)
    empty = "" if seen.clusters else "<section class=soft>No cluster has been looked at yet.</section>"
    again = f"<meta http-equiv=refresh content={refresh}>" if refresh else ""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>Drover</title>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"{again}<style>{_STYLE}</style></head><body><main>"
        f"<header><h1>Drover</h1><span class=soft>{escape(seen.version)} · {escape(seen.now)} · {_pace(refresh)}</span></header>"
        f"{_source(seen)}{clusters}{empty}{_events(seen.events)}</main></body></html>"
    )


def _pace(refresh: int) -> str:
    paces = (
        (REFRESH_SECONDS, f"every {REFRESH_SECONDS} s"),
        (_SLOW_SECONDS, f"every {_SLOW_SECONDS} s"),
        (0, "standing still"),
    )
    said = [text if refresh == pace else f"<a href='/?refresh={pace}'>{text}</a>" for pace, text in paces]
    return "renewed " + " · ".join(said)


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
    ready = "Ready" if cluster.ready.status == "True" else cluster.ready.reason or "Unknown"
    return (
        f"<section><h2>{escape(cluster.name)} {_pill(ready, _TONES.get(cluster.ready.status, 'warn'))}"
        f"{_pill(cluster.armed.reason or 'Unknown', armed)}</h2>"
        f"<div class=soft>mode {escape(cluster.mode) or 'unknown'} · {escape(age)} · {escape(guests) or 'no guests'}</div>{notices}"
        f"{_drains(cluster.drains)}{_moves(cluster.moves)}{_halted(cluster)}{_waits(cluster)}{_blocked(cluster)}{rules}"
        f"{_nodes(cluster.nodes)}{_replication(cluster)}</section>"
    )


def _drains(drains: Iterable[DrainLine]) -> str:
    items = [
        f"<li><div class=row><b>{escape(drain.node)}</b> {_pill(drain.state)}<span>{drain.percent} %</span>"
        f"<div class=grow>{_bar(drain.percent, _TONES.get(drain.state, 'busy'))}</div></div>"
        f"<div>{escape(', '.join(filter(None, (drain.message, drain.uncounted))))}</div>"
        f"{_soft(' · '.join(drain.outlook))}{_soft(drain.reason)}{_fall(drain)}</li>"
        for drain in drains
    ]
    return _list("Maintenance", items)


def _fall(drain: DrainLine) -> str:
    """Every guest on one axis of time, from the beginning of the drain to its late end. The words say what the bars show."""
    ends = [bar.end_seconds or 0.0 for bar in drain.bars]
    elapsed = drain.elapsed_seconds or 0.0
    span = max(*ends, elapsed + (drain.late_seconds or 0.0), drain.makespan_bound_seconds or 0.0, 1.0) if ends else 0.0
    if not span or drain.state in ("Drained", "Cordoned"):
        return ""
    rows = "".join(
        f"<li><span class=who>{_name(bar.noun, bar.vmid, bar.name)}</span>"
        f"<span class=track aria-hidden=true>{_track(bar, span, elapsed, drain.makespan_bound_seconds)}</span>"
        f"<span class=said>{escape(_bar_words(bar))}</span></li>"
        for bar in drain.bars
    )
    more = f"<div class=soft>and {count_of(drain.more_bars, 'more guest')}</div>" if drain.more_bars else ""
    mark = (
        f"; the dashed line, at {duration(drain.makespan_bound_seconds)}: no order is faster"
        if drain.makespan_bound_seconds
        else ""
    )
    return f"<ul class=fall>{rows}</ul>{more}<div class=soft>0s to {duration(span)}{mark}</div>"


def _track(bar: BarLine, span: float, elapsed: float, bound: float | None) -> str:
    line = f"<b style='left:{100 * bound / span:.1f}%'></b>" if bound else ""
    if bar.begin_seconds is None:
        return line
    moving = bar.state == "Moving"
    until = elapsed if moving else bar.end_seconds or bar.begin_seconds
    text = _piece("moving" if moving else "away", bar.begin_seconds, until, span)
    if moving and bar.end_seconds is not None and bar.end_seconds > elapsed:
        text += _piece("rest", elapsed, bar.end_seconds, span)
    return text + line


def _piece(kind: str, begin: float, end: float, span: float) -> str:
    return (
        f"<i class={kind} style='left:{100 * begin / span:.1f}%;width:{100 * max(0.0, end - begin) / span:.1f}%'></i>"
    )


def _bar_words(bar: BarLine) -> str:
    if bar.state == "Away" and bar.end_seconds is not None and bar.begin_seconds is not None:
        return f"on {bar.target} after {duration(bar.end_seconds - bar.begin_seconds)}"
    if bar.state == "Moving":
        return f"to {bar.target}, {bar.reason}" + (f" {bar.percent} %" if bar.percent is not None else "")
    words = {"ShutDown": "shut down", "Waiting": "waits", "Blocked": "blocked"}.get(bar.state, bar.state)
    goes = f", then to {bar.target}" if bar.target else ""
    return (f"{words}: {bar.reason}" if bar.reason else words) + goes


def _moves(moves: Sequence[MoveLine]) -> str:
    items = [_move(move) for move in moves[:_MOVES]]
    if len(moves) > _MOVES:
        items.append(f"<li class=soft>and {len(moves) - _MOVES} more</li>")
    return _list("Moves under way", items)


def _move(move: MoveLine) -> str:
    facts = [f"{move.percent} %"] if move.percent is not None else []
    facts += [f"{size(move.transferred_bytes)} of {size(move.total_bytes)}"] if move.total_bytes else []
    facts += [f"{size(move.remaining_bytes)} to go"] if move.remaining_bytes else []
    facts += [rate(move.bytes_per_second)] if move.bytes_per_second is not None else []
    facts += [f"{duration(move.eta_seconds)} left"] if move.eta_seconds is not None else []
    facts += [f"memory changes at {rate(move.dirty_bytes_per_second)}"] if move.dirty_bytes_per_second else []
    facts += [f"downtime up to {move.downtime_limit_ms} ms"] if move.downtime_limit_ms else []
    facts += [f"waiting for {move.waiting}"] if move.waiting else []
    facts.append(f"since {duration(move.seconds)}")
    return (
        f"<li><div class=row><span class=who>{_name(move.noun, move.vmid, move.name)}</span>"
        f"<span class=way><span>{escape(move.source)}</span>"
        f"<span class=arrow aria-hidden=true><i style='width:{move.percent or 0}%'></i></span>"
        f"<span><span class=hid>to </span>{escape(move.target)}</span></span>"
        f"<span class=grow>{escape(move.phase)} · {escape(' · '.join(facts))}</span></div>"
        f"{_soft(f'{move.reason} · {move.cause}')}</li>"
    )


def _halted(cluster: ClusterLine) -> str:
    items = []
    for guest in cluster.halted:
        then = "starts again elsewhere" if guest.elsewhere else f"starts again when {guest.node} is back"
        what = "asked to start" if guest.starting else f"{then}; asked to shut down"
        items.append(
            f"<li>{_name('guest', guest.vmid, guest.name)} of {escape(guest.node)}: {escape(what)}"
            f" {duration(guest.age_seconds)} ago</li>"
        )
    return _list("Shut down for a maintenance", items)


def _waits(cluster: ClusterLine) -> str:
    rows = []
    for wait in cluster.waits:
        if wait.state == "Blocked":
            continue
        more = f" and {wait.count - len(wait.guests)} more" if wait.count > len(wait.guests) else ""
        rows.append(
            f"<tr><td class=n>{wait.count}</td><td class=k>{_pill(wait.reason, 'busy')}</td>"
            f"<td class=w>{escape(wait.message)}{_soft(', '.join(wait.guests) + more)}</td></tr>"
        )
    return _table("What waits for what", ("#guests", "reason", ""), rows)


def _blocked(cluster: ClusterLine) -> str:
    groups = [wait for wait in cluster.waits if wait.state == "Blocked"]
    stuck = [guest for guest in cluster.troubled if guest.state == "Blocked"]
    more = sum(wait.count for wait in groups) - len(stuck)
    rows = [_trouble(guest) for guest in stuck]
    if more > 0:
        by_reason = ", ".join(f"{wait.count} {wait.reason}" for wait in groups)
        rows.append(f"<tr><td colspan=4 class='soft w'>and {more} more; in all {escape(by_reason)}</td></tr>")
    return _table("Blocked guests", ("guest", "on", "reason", ""), rows)


def _replication(cluster: ClusterLine) -> str:
    open_ones = set(cluster.jobs) - {"InSync"}
    if not open_ones and not cluster.replication:
        return ""
    states = ", ".join(f"{count} {state}" for state, count in sorted(cluster.jobs.items()))
    lag = (
        f"; the oldest replica is {duration(cluster.max_lag_seconds)} old"
        if cluster.max_lag_seconds is not None
        else ""
    )
    rows = [
        f"<tr><td class=k>{escape(job.job)} <b>{escape(job.name)}</b></td>"
        f"<td class=k>{escape(job.source)} → {escape(job.target)}</td><td class=k>{_pill(job.state)}</td>"
        f"<td class=n>{'none yet' if job.lag_seconds is None else duration(job.lag_seconds)}</td>"
        f"<td class=w>{escape(job.message)}{_soft('a move waits for it' if job.for_move else '')}</td></tr>"
        for job in cluster.syncs
    ]
    table = _table("Replication", ("job", "way", "state", "#age of the copy", ""), rows) or "<h3>Replication</h3>"
    told = "".join(f"<div class=warn>{escape(text)}</div>" for text in cluster.replication)
    return (
        f"{table}<p class=soft>{count_of(sum(cluster.jobs.values()), 'job')}: {escape(states) or 'none'}{lag}</p>{told}"
    )


def _trouble(guest: GuestLine) -> str:
    return (
        f"<tr><td class=k>{_name(guest.noun, guest.vmid, guest.name)}</td><td class=k>{escape(guest.node)}</td>"
        f"<td class=k>{_pill(guest.reason, 'warn')}</td><td class=w>{escape(guest.message)}{_soft(guest.remedy)}</td></tr>"
    )


def _nodes(nodes: Iterable[NodeLine]) -> str:
    rows = []
    for node in nodes:
        percent = int(100 * node.guest_memory_bytes / node.memory_bytes) if node.memory_bytes else 0
        maintenance = _pill(node.maintenance) if node.maintenance else ""
        rows.append(
            f"<tr><td class=k><b>{escape(node.name)}</b></td><td class=k>{_pill(node.state)} {maintenance}</td>"
            f"<td class=n>{count_of(node.guests, 'guest')}</td>"
            f"<td class=n>{size(node.guest_memory_bytes)} of {size(node.memory_bytes)}</td>"
            f"<td class=w>{_bar(percent, 'bad' if percent > 100 else 'good')}</td>"
            f"<td class=n>{_flow('in', node.moves_in, node.in_bytes_per_second)}</td>"
            f"<td class=n>{_flow('out', node.moves_out, node.out_bytes_per_second)}</td></tr>"
        )
    return _table("Nodes", ("node", "state", "#guests", "#memory given to guests", "", "#in", "#out"), rows)


def _flow(way: str, moves: int, bytes_per_second: float | None) -> str:
    """`2 moves in, 500 MiB/s`; on a phone the table has no heads."""
    fast = f", {rate(bytes_per_second)}" if bytes_per_second is not None else ""
    return f"{count_of(moves, 'move')} {way}{fast}" if moves else "<span class='soft dash'>-</span>"


def _events(events: Iterable[EventLine]) -> str:
    rows = []
    for event in events:
        often = f" <span class=soft>{event.count} times</span>" if event.count > 1 else ""
        rows.append(
            f"<tr><td class=n>{duration(event.age_seconds)}</td>"
            f"<td class=k>{_pill(event.reason, 'warn' if event.warning else 'busy')}</td>"
            f"<td class=w>{escape(event.message)}{often}{_soft(f'{event.about} · {event.cluster}')}</td></tr>"
        )
    table = _table("Events", ("#ago", "what", ""), rows)
    return f"<section>{table}</section>" if table else ""


def _table(title: str, heads: tuple[str, ...], rows: list[str]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<th class=n>{head[1:]}</th>" if head.startswith("#") else f"<th>{head}</th>" for head in heads)
    return f"<h3>{title}</h3><div class=scroll><table class=stack><thead><tr>{cells}</tr></thead>{''.join(rows)}</table></div>"


def _list(title: str, items: list[str]) -> str:
    return f"<h3>{title}</h3><ul>{''.join(items)}</ul>" if items else ""


def _name(noun: str, vmid: int, name: str) -> str:
    return f"<span class=soft>{escape(noun)} {vmid}</span> <b>{escape(name)}</b>"


def _pill(text: str, tone: str | None = None) -> str:
    return f"<span class='pill {tone or _TONES.get(text, 'warn')}'>{escape(text)}</span> "


def _soft(text: str) -> str:
    return f"<div class=soft>{escape(text)}</div>" if text else ""


def _bar(percent: int, tone: str) -> str:
    return f"<div class=bar><i class={tone} style='width:{min(100, max(0, percent))}%'></i></div>"
