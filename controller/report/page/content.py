"""What the page shows of a snapshot, as values: nodes as columns, moves as arrows, what comes next, what is wrong. Pure.

Made by `report.page.live` once for all readers; the templates put it into words and bars.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from controller.model.condition import Condition, Status
from controller.model.drift import Drift
from controller.model.ids import GuestKind, NodeName, ObjectRef, Vmid
from controller.model.memory import FlightPhase
from controller.model.observed import Guest
from controller.model.plan import Move
from controller.model.room import NodeRoom
from controller.model.view import ClusterView
from controller.report.board import Published
from controller.report.evacuation import BarLine, DrainLine
from controller.report.guests import GuestState, Verdict, verdicts
from controller.report.overview import ClusterLine, MoveLine, NodeLine, Overview, Snapshot, summary
from controller.report.page.bars import Piece, Track, room_pieces, total_pieces, track
from controller.report.statement import ObjectStatus
from controller.report.units import count_of, size
from controller.specs import Specs

Rooms: TypeAlias = Callable[[ClusterView, Specs], Mapping[NodeName, NodeRoom]]
"""Tells how much memory of every node is taken, on its way and kept free (`decide.capacity`, which this room does not know)."""

SIDE_BY_SIDE = 8
"""The most nodes that stand side by side with arrows between them; more become a grid of cards."""
CHIPS, CHIPS_OF_MANY = 12, 4
"""Guests that are shown in one node where few stand side by side, and where there are many; the rest is a link away."""
LANES = 8
"""Moves that are drawn as arrows."""
MOVES, UPCOMING, STUCK, CONDITIONS = 40, 10, 12, 24
"""Moves under way, moves to come, blocked guests, and conditions that want attention, per cluster."""
DRIFTS = 12
"""Things that people changed by hand, per cluster."""

_GOOD_WHEN_TRUE = frozenset({
    "Ready", "Connected", "Quorate", "Fresh", "Armed", "CapacitySufficient", "Accepted", "Compliant",
    "Feasible", "CapacityFeasible", "InSync",
})  # fmt: skip
_BAD_WHEN_TRUE = frozenset({
    "Blocked", "DeadlineExceeded", "InsecureTransport", "ExternalBalancerDetected",
    "FileVanished", "Overridden", "Conflicted", "Split", "LagExceeded", "JobsFailing",
})  # fmt: skip
_BAD = frozenset(["Ready", "Connected", "Quorate", "Accepted"])
_RANK = {GuestState.MOVING: 0, GuestState.BLOCKED: 1, GuestState.PLANNED: 2, GuestState.WAITING: 3}
TONES: Mapping[str, str] = {
    "Moving": "busy",
    "Planned": "busy",
    "Waiting": "busy",
    "Blocked": "warn",
    "Fine": "good",
    "Unplanned": "soft",
    "Drained": "good",
    "Draining": "busy",
    "Held": "warn",
    "Cordoned": "warn",
    "online": "good",
    "offline": "bad",
    "True": "good",
    "Syncing": "busy",
    "New": "busy",
    "InSync": "good",
    "Failing": "bad",
}
"""Which tone a word has; what is not here is to be looked at."""


@dataclass(frozen=True, slots=True)
class GuestRow:
    """One guest with what the plan says of it."""

    cluster: str
    vmid: int
    name: str
    noun: str
    node: str
    state: str
    reason: str = ""
    message: str = ""
    remedy: str = ""
    target: str = ""
    cause: str = ""
    memory_bytes: int | None = None
    power: str = ""
    tags: tuple[str, ...] = ()
    percent: int | None = None
    arriving: bool = False  # not there yet: on its way to this node


@dataclass(frozen=True, slots=True)
class Column:
    """One node with its bars and the guests that are worth a look: in a small cluster all of them. `rest`: those not shown."""

    line: NodeLine
    room: NodeRoom | None
    pieces: tuple[Piece, ...]
    used_percent: float | None  # of its memory, as measured
    guests: tuple[GuestRow, ...]
    rest: int
    states: tuple[tuple[str, int], ...]  # of all that are there, what wants attention first


@dataclass(frozen=True, slots=True)
class Lane:
    """One move as an arrow over the columns; all x in percent of their width."""

    x1: float
    x2: float
    done: float
    middle: float
    text: str
    y: int


@dataclass(frozen=True, slots=True)
class Next:
    """One move that is planned; `waits` is the reason why it does not start yet, "" = it may."""

    vmid: int
    name: str
    noun: str
    source: str
    target: str
    reason: str
    message: str
    cause: str
    waits: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """Guests that are blocked for one reason, the first of them with what is said of each."""

    reason: str
    remedy: str
    count: int
    guests: tuple[GuestRow, ...]


@dataclass(frozen=True, slots=True)
class Attention:
    """One condition that is not as it should be."""

    about: str
    type: str
    status: str
    reason: str
    message: str
    since: float
    bad: bool


@dataclass(frozen=True, slots=True)
class Capacity:
    """The memory of all nodes of a cluster together. kept: what `failures` of the largest nodes hold."""

    pieces: tuple[Piece, ...]
    limit_bytes: int
    held_bytes: int
    arriving_bytes: int
    kept_bytes: int
    failures: int
    sufficient: bool | None  # None: no failure of nodes is to be borne
    message: str


@dataclass(frozen=True, slots=True)
class ClusterContent:
    """One cluster."""

    line: ClusterLine
    columns: tuple[Column, ...]
    lanes: tuple[Lane, ...]
    moves: tuple[MoveLine, ...]
    drains: tuple[tuple[DrainLine, tuple[Track, ...]], ...]
    capacity: Capacity | None
    upcoming: tuple[Next, ...]
    more_upcoming: int
    blocked: tuple[Stuck, ...]
    attention: tuple[Attention, ...]
    conditions: int  # of all its objects
    drifts: tuple[Drift, ...]
    more_drifts: int

    @property
    def stuck(self) -> int:
        """Guests that are blocked."""
        return sum(group.count for group in self.blocked)

    @property
    def side_by_side(self) -> bool:
        """Whether the nodes stand in one row."""
        return len(self.columns) <= SIDE_BY_SIDE


@dataclass(frozen=True, slots=True)
class Content:
    """All of it. `headline` in one sentence; `news`: what is read out when it changes, without numbers that run."""

    at: float
    overview: Overview
    clusters: tuple[ClusterContent, ...]
    tone: str
    headline: str
    news: str
    rows: tuple[GuestRow, ...]  # every guest, for lists


def content(snapshot: Snapshot, rooms: Rooms | None) -> Content:
    """What there is to show."""
    short = summary(snapshot)
    clusters, rows = [], []
    for line in short.clusters:
        [shown] = [one for name, one in snapshot.clusters.items() if name == line.name]
        said = verdicts(shown.view)
        listed = list(_rows(shown.view, said))
        room = rooms(shown.view, shown.specs) if rooms is not None else {}
        clusters.append(_cluster(line, shown, listed, room))
        rows += listed
    tone, headline, news = _headline(short, clusters)
    return Content(snapshot.at, short, tuple(clusters), tone, headline, news, tuple(rows))


def _cluster(
    line: ClusterLine, shown: Published, rows: Sequence[GuestRow], rooms: Mapping[NodeName, NodeRoom]
) -> ClusterContent:
    view = shown.view
    columns = _columns(line, rows, rooms)
    upcoming = _upcoming(view)
    attention = sorted(_attention(shown.statuses), key=lambda item: (not item.bad, item.about, item.type))
    return ClusterContent(
        line=line,
        columns=columns,
        lanes=_lanes(line.moves, [column.line.name for column in columns]),
        moves=line.moves[:MOVES],
        drains=tuple((drain, _tracks(drain)) for drain in line.drains),
        capacity=_capacity(view, shown.specs, rooms),
        upcoming=tuple(upcoming[:UPCOMING]),
        more_upcoming=max(0, len(upcoming) - UPCOMING),
        blocked=_blocked(rows),
        attention=tuple(attention[:CONDITIONS]),
        conditions=sum(len(status.conditions) for status in shown.statuses.values()),
        drifts=view.drifts[:DRIFTS],
        more_drifts=max(0, len(view.drifts) - DRIFTS),
    )


def _rows(view: ClusterView, said: Mapping[Vmid, Verdict]) -> Iterator[GuestRow]:
    seen = view.seen.guests if view.seen is not None else {}
    for vmid, verdict in said.items():
        guest, flight, progress = seen.get(vmid), view.memory.flights.get(vmid), view.progress.get(vmid)
        yield GuestRow(
            cluster=view.cluster,
            vmid=vmid,
            name=guest.name if guest is not None else flight.name if flight is not None else "",
            noun=_noun(guest.kind if guest is not None else None),
            node=guest.node if guest is not None else flight.source if flight is not None else "",
            state=verdict.state,
            reason=str(verdict.why or ""),
            message=verdict.message,
            remedy=verdict.remedy,
            target=verdict.target or "",
            cause=str(verdict.cause or ""),
            memory_bytes=guest.memory_bytes if guest is not None else None,
            power=_power(guest),
            tags=tuple(sorted(guest.tags)) if guest is not None else (),
            percent=progress.percent if progress is not None else None,
        )


def _noun(kind: GuestKind | None) -> str:
    return kind.noun if kind is not None else "guest"


def _power(guest: Guest | None) -> str:
    if guest is None:
        return ""
    return "template" if guest.template else str(guest.power)


def _columns(line: ClusterLine, rows: Sequence[GuestRow], rooms: Mapping[NodeName, NodeRoom]) -> tuple[Column, ...]:
    homes: dict[str, list[GuestRow]] = {node.name: [] for node in line.nodes}
    coming: dict[str, list[GuestRow]] = {node.name: [] for node in line.nodes}
    for row in rows:
        if row.node in homes:
            homes[row.node].append(row)
        if row.state == GuestState.MOVING and row.target != row.node and row.target in coming:
            coming[row.target].append(row)
    few = len(homes) <= SIDE_BY_SIDE
    scale = max([node.memory_bytes or 0 for node in line.nodes], default=0)
    found = []
    for node in line.nodes:
        here = sorted(homes[node.name], key=lambda row: (_RANK.get(GuestState(row.state), 4), row.vmid))
        there = [*(_arriving(row, node.name) for row in coming[node.name]), *here]
        shown = [row for row in there if few or row.state in _RANK][: CHIPS if few else CHIPS_OF_MANY]
        room = rooms.get(NodeName(node.name))
        used = (
            100 * node.memory_used_bytes / node.memory_bytes if node.memory_bytes and node.memory_used_bytes else None
        )
        pieces = room_pieces(room, node.memory_bytes, max(scale, node.memory_bytes or 0)) if room is not None else ()
        states = tuple(Counter(row.state for row in here).items())
        found.append(Column(node, room, pieces, used, tuple(shown), len(there) - len(shown), states))
    return tuple(found)


def _arriving(row: GuestRow, node: str) -> GuestRow:
    return GuestRow(
        cluster=row.cluster,
        vmid=row.vmid,
        name=row.name,
        noun=row.noun,
        node=node,
        state=row.state,
        target=row.node,
        percent=row.percent,
        memory_bytes=row.memory_bytes,
        arriving=True,
    )


def _lanes(moves: Iterable[MoveLine], names: Sequence[str]) -> tuple[Lane, ...]:
    if not 1 < len(names) <= SIDE_BY_SIDE:
        return ()
    centre = {name: 100 * (index + 0.5) / len(names) for index, name in enumerate(names)}
    found: list[Lane] = []
    for move in moves:
        if move.source in centre and move.target in centre and len(found) < LANES:
            x1, x2 = centre[move.source], centre[move.target]
            percent = 100 if move.phase == FlightPhase.ARRIVED else move.percent or 0
            done = x1 + (x2 - x1) * percent / 100
            label = move.name or f"{move.noun} {move.vmid}"
            label = f"{label[:19]}…" if len(label) > 20 else label
            text = f"{label} {move.percent} %" if move.percent is not None else f"{label} · {move.phase}"
            found.append(Lane(x1, x2, done, (x1 + x2) / 2, text, 26 * len(found) + 20))
    return tuple(found)


def _tracks(drain: DrainLine) -> tuple[Track, ...]:
    """Every guest on one axis of time, from the beginning of the drain to its late end."""
    ends = [bar.end_seconds or 0.0 for bar in drain.bars]
    elapsed = drain.elapsed_seconds or 0.0
    span = max(*ends, elapsed + (drain.late_seconds or 0.0), drain.makespan_bound_seconds or 0.0, 1.0) if ends else 0.0
    if not span or drain.state in ("Drained", "Cordoned"):
        return ()
    return tuple(track(bar, span, elapsed, drain.makespan_bound_seconds, _bar_words(bar)) for bar in drain.bars)


def _bar_words(bar: BarLine) -> str:
    if bar.state == "Away" and bar.end_seconds is not None and bar.begin_seconds is not None:
        return f"on {bar.target}"
    if bar.state == "Moving":
        return f"to {bar.target}, {bar.reason}" + (f" {bar.percent} %" if bar.percent is not None else "")
    words = {"ShutDown": "shut down", "Waiting": "waits", "Blocked": "blocked"}.get(bar.state, bar.state)
    goes = f", then to {bar.target}" if bar.target else ""
    return (f"{words}: {bar.reason}" if bar.reason else words) + goes


def _capacity(view: ClusterView, specs: Specs, rooms: Mapping[NodeName, NodeRoom]) -> Capacity | None:
    spec = specs.clusters.get(view.cluster)
    if not rooms or spec is None:
        return None
    limits = sorted((room.limit_bytes or 0 for room in rooms.values()), reverse=True)
    failures = spec.spec.capacity.tolerate_node_failures
    held = sum(room.held_bytes for room in rooms.values())
    arriving = sum(room.arriving_bytes for room in rooms.values())
    kept = sum(limits[:failures])
    reserve = view.plan.reserve if view.plan is not None else None
    return Capacity(
        pieces=total_pieces(sum(limits), held, arriving, kept),
        limit_bytes=sum(limits),
        held_bytes=held,
        arriving_bytes=arriving,
        kept_bytes=kept,
        failures=failures,
        sufficient=reserve.sufficient if reserve is not None else None,
        message=reserve.message if reserve is not None else "",
    )


def _blocked(rows: Iterable[GuestRow]) -> tuple[Stuck, ...]:
    groups: dict[tuple[str, str], list[GuestRow]] = {}
    for row in rows:
        if row.state == GuestState.BLOCKED:
            groups.setdefault((row.reason, row.remedy), []).append(row)
    each = max(2, STUCK // max(1, len(groups)))
    return tuple(Stuck(reason, remedy, len(all_), tuple(all_[:each])) for (reason, remedy), all_ in groups.items())


def _upcoming(view: ClusterView) -> list[Next]:
    if view.plan is None:
        return []
    ready = [_next(move, "") for move in view.plan.moves]
    return ready + [_next(item.move, str(item.why)) for item in view.plan.waiting if item.move is not None]


def _next(move: Move, waits: str) -> Next:
    return Next(
        vmid=move.vmid,
        name=move.name,
        noun=move.kind.noun,
        source=move.source,
        target=move.target,
        reason=str(move.why),
        message=move.message,
        cause=str(move.cause),
        waits=waits,
    )


def _attention(statuses: Mapping[ObjectRef, ObjectStatus]) -> Iterator[Attention]:
    for ref, status in statuses.items():
        for one in status.conditions:
            if _wants_attention(one):
                bad = one.type in _BAD and one.status is Status.FALSE and ref.kind == "PveCluster"
                yield Attention(str(ref), one.type, one.status, one.reason, one.message, one.since, bad)


def _wants_attention(condition: Condition) -> bool:
    if condition.type in _GOOD_WHEN_TRUE:
        return condition.status is Status.FALSE
    return condition.type in _BAD_WHEN_TRUE and condition.status is Status.TRUE


def _headline(short: Overview, clusters: Sequence[ClusterContent]) -> tuple[str, str, str]:
    """Tone, sentence, and what is worth being read out."""
    bad = [f"{one.line.name}: {one.line.ready.message}" for one in clusters if one.line.ready.status == "False"]
    warn = list(_worries(short, clusters))
    drains = [_drain_words(drain) for one in clusters for drain in one.line.drains]
    count = {state: sum(one.line.guests.get(state, 0) for one in clusters) for state in GuestState}
    to_move = count[GuestState.PLANNED] + count[GuestState.WAITING]
    moving = [f"{count_of(count[GuestState.MOVING], 'guest')} on the way"] if count[GuestState.MOVING] else []
    moving += [f"{count_of(to_move, 'guest')} still to move"] if to_move else []
    tone = "bad" if bad else "warn" if warn else "busy" if moving else "good" if clusters else "soft"
    fine = "Every guest is where it should be"
    if not clusters:
        fine = "No cluster has been looked at yet"
    elif count[GuestState.UNPLANNED]:
        tone, fine = "soft" if tone == "good" else tone, "There is no plan: Drover only looks, or has not planned yet"
    return tone, " · ".join([*bad, *drains, *moving, *warn]) or fine, ", ".join([*bad, *drains, *warn]) or fine


def _worries(short: Overview, clusters: Sequence[ClusterContent]) -> Iterator[str]:
    yield from (f"{c.line.name}: {c.line.ready.message}" for c in clusters if c.line.ready.status == "Unknown")
    if short.source.problems or (short.source.revision and not short.source.complete):
        yield "mistakes in the manifests"
    if short.source.awaiting:
        yield "deletions wait for confirmation"
    if stuck := sum(one.stuck for one in clusters):
        yield f"{count_of(stuck, 'guest')} can't move"
    if broken := sum(len(one.line.violations) for one in clusters):
        yield f"{count_of(broken, 'rule')} not kept yet"


def _drain_words(drain: DrainLine) -> str:
    known = {"Drained": "is drained", "Draining": "is being drained"}
    return f"{drain.node} {known.get(drain.state, f'is {drain.state.lower()}')}"


def room_words(room: NodeRoom) -> str:
    """A node's ledger in words; what the bar shows."""
    parts = [f"{size(room.held_bytes)} of {size(room.limit_bytes)} promised"]
    parts += [f"{size(room.leaving_bytes)} leaving"] if room.leaving_bytes else []
    parts += [f"{size(room.arriving_bytes)} arriving"] if room.arriving_bytes else []
    if room.free_bytes is not None:
        parts.append(f"{size(room.free_bytes)} free" if room.free_bytes >= 0 else f"{size(-room.free_bytes)} too much")
    return " · ".join(parts)
