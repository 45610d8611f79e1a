"""Everything at a glance, as one value: what the page and `drover status` show. Made from the board; also read back by `cli`."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from controller import __version__
from controller.model.condition import Status
from controller.model.errors import DroverError
from controller.model.event import Event, EventType
from controller.model.ids import ClusterName, NodeName, ObjectRef, Vmid
from controller.model.observed import Guest, Node, NodeState, Observed
from controller.model.outcome import Outcome
from controller.model.override import Order, Override
from controller.model.replication import JobHealth
from controller.model.revision import Revision
from controller.model.view import ClusterView
from controller.report import replication
from controller.report.board import Board, Published, SourceState
from controller.report.evacuation import DrainLine, Line, drain_line
from controller.report.guests import GuestState, Verdict, verdicts
from controller.report.statement import ObjectStatus
from controller.report.units import timestamp

_T = TypeVar("_T")

EVENTS = 12
"""Events in an overview, the latest of all clusters."""
GUESTS = 50
"""Waiting and blocked guests in an overview, per cluster; there are views for the rest."""
SYNCS = 12
"""Replication jobs that are not in sync, per cluster."""
NAMED = 3
"""Guests that are named of those that wait for the same reason."""


class Said(Line):
    """One condition in short."""

    status: str
    reason: str
    message: str


class NodeLine(Line):
    """One node. Bytes; None where PVE says nothing. `guest_memory_bytes`: configured memory of guests that hold any."""

    name: str
    state: str
    maintenance: str = ""  # Draining, Drained, Blocked, Cordoned, Held
    guests: int = 0
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    guest_memory_bytes: int = 0
    moves_in: int = 0  # under way
    moves_out: int = 0
    in_bytes_per_second: float | None = None  # that migrations are sending to it and from it; None = PVE has not said
    out_bytes_per_second: float | None = None


class OrderLine(Line):
    """What was ordered by hand about a node: `drain` or `uncordon`."""

    node: str
    verb: str
    by: str
    reason: str
    age_seconds: float


class MoveLine(Line):
    """One guest on its way. `percent` is None while PVE has not said how much there is to send."""

    vmid: int
    name: str
    noun: str
    source: str
    target: str
    reason: str
    cause: str
    phase: str
    seconds: float
    percent: int | None = None
    transferred_bytes: int = 0
    total_bytes: int | None = None
    bytes_per_second: float | None = None
    eta_seconds: float | None = None
    dirty_bytes_per_second: float | None = None
    downtime_limit_ms: int | None = None
    waiting: str = ""  # what keeps it from being called ended

    @property
    def remaining_bytes(self) -> int | None:
        """What is still to be sent, as far as PVE has said."""
        return max(0, self.total_bytes - self.transferred_bytes) if self.total_bytes else None


class GuestLine(Line):
    """One guest that waits or is blocked."""

    vmid: int
    name: str
    noun: str
    node: str
    state: str
    reason: str
    message: str
    remedy: str
    cause: str


class WaitLine(Line):
    """Guests that wait, or are blocked, for the same reason; message and remedy are the first one's."""

    state: str
    reason: str
    count: int
    guests: tuple[str, ...]  # the first of them
    message: str
    remedy: str


class HaltedLine(Line):
    """One guest that was asked to shut down so that its node gets empty."""

    vmid: int
    name: str
    node: str
    elsewhere: bool  # started again on another node, instead of after the maintenance
    starting: bool
    age_seconds: float


class SyncLine(Line):
    """One replication job that is not in sync; its lag in seconds, None before the first sync."""

    job: str
    name: str
    source: str
    target: str
    state: str
    for_move: bool
    lag_seconds: float | None
    message: str


class EventLine(Line):
    """One event."""

    cluster: str
    warning: bool
    reason: str
    about: str
    message: str
    count: int
    age_seconds: float


class ClusterLine(Line):
    """One cluster."""

    name: str
    pve_name: str
    mode: str
    ready: Said
    armed: Said
    look_age_seconds: float | None
    ticks: int
    guests: dict[str, int]
    planned: int
    digest: str
    nodes: tuple[NodeLine, ...]
    drains: tuple[DrainLine, ...]
    orders: tuple[OrderLine, ...] = ()
    moves: tuple[MoveLine, ...]
    troubled: tuple[GuestLine, ...]
    more_troubled: int
    waits: tuple[WaitLine, ...] = ()
    halted: tuple[HaltedLine, ...] = ()
    violations: tuple[str, ...]
    replication: tuple[str, ...] = ()
    syncs: tuple[SyncLine, ...] = ()
    jobs: dict[str, int]  # replication jobs by state
    max_lag_seconds: float | None = None
    notifying: Said | None = None  # where the cluster names sinks


class RevisionLine(Line):
    """One commit."""

    commit: str
    author: str
    email: str
    subject: str
    signer: str
    key: str
    age_seconds: float
    in_force_seconds: float | None = None


class SourceLine(Line):
    """The source; what is below `complete` only for a Git repository."""

    revision: str
    objects: int
    problems: tuple[str, ...]
    awaiting: str
    complete: bool
    url: str = ""
    ref: str = ""
    path: str = ""
    applied: RevisionLine | None = None
    attempted: RevisionLine | None = None
    ready: Said | None = None
    contact_age_seconds: float | None = None


class Overview(Line):
    """The whole."""

    version: str
    now: str
    source: SourceLine
    clusters: tuple[ClusterLine, ...]
    events: tuple[EventLine, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The board at one moment, with what the state files remember: frozen, so that any thread may look at it."""

    at: float  # epoch seconds
    source: SourceState
    clusters: Mapping[ClusterName, Published]
    events: Mapping[ClusterName, tuple[Event, ...]]
    attempts: Mapping[ClusterName, tuple[Outcome, ...]]


def take(board: Board) -> Snapshot:
    """What is on the board now. Reads state files, so it belongs on the loop's thread."""
    clusters = board.clusters
    return Snapshot(
        at=board.clock.wall(),
        source=board.source,
        clusters=clusters,
        events={name: _remembered(shown.events) for name, shown in clusters.items()},
        attempts={name: _remembered(shown.attempts) for name, shown in clusters.items() if _drains(shown)},
    )


def overview(board: Board) -> Overview:
    """Everything that is on the board, in short."""
    return summary(take(board))


def summary(seen: Snapshot) -> Overview:
    """The snapshot in short. Pure."""
    now, source = seen.at, seen.source
    return Overview(
        version=__version__,
        now=timestamp(now),
        source=_source(source, now),
        clusters=tuple(_cluster(name, shown, seen) for name, shown in seen.clusters.items()),
        events=_events(seen),
    )


def _drains(shown: Published) -> bool:
    plan = shown.view.plan
    return plan is not None and any(not drain.drained for drain in plan.drains)


def _remembered(read: Callable[[], tuple[_T, ...]]) -> tuple[_T, ...]:
    # A state file that can't be read shows in the condition Armed; the rest of the overview is worth having.
    with suppress(DroverError):
        return read()
    return ()


def _source(source: SourceState, now: float) -> SourceLine:
    line = SourceLine(
        revision=source.revision,
        objects=len(source.specs),
        problems=tuple(str(problem) for problem in source.problems),
        awaiting=source.awaiting,
        complete=source.complete,
    )
    view = source.view
    if view is None:
        return line
    said = None
    if view.finding is not None:
        status = Status.TRUE if view.finding.ok else Status.FALSE
        said = Said(status=status, reason=view.finding.why, message=view.finding.message)
    return line.model_copy(
        update={
            "url": view.url,
            "ref": view.ref,
            "path": view.path,
            "applied": _revision(view.applied, now, view.applied_at),
            "attempted": _revision(view.attempted, now),
            "ready": said,
            "contact_age_seconds": None if view.contact_at is None else max(0.0, now - view.contact_at),
        }
    )


def _revision(revision: Revision | None, now: float, since: float | None = None) -> RevisionLine | None:
    if revision is None:
        return None
    return RevisionLine(
        commit=revision.commit,
        author=revision.author,
        email=revision.email,
        subject=revision.subject,
        signer=revision.signer,
        key=revision.key,
        age_seconds=max(0.0, now - revision.at),
        in_force_seconds=None if since is None else max(0.0, now - since),
    )


def _cluster(name: ClusterName, shown: Published, snapshot: Snapshot) -> ClusterLine:
    view, now = shown.view, snapshot.at
    spec = snapshot.source.specs.clusters.get(name)
    said = verdicts(view)
    troubled = [
        _guest(vmid, verdict, view.seen)
        for vmid, verdict in said.items()
        if verdict.state in (GuestState.BLOCKED, GuestState.WAITING)
    ]
    troubled.sort(key=lambda line: (line.state != GuestState.BLOCKED, line.vmid))
    planned = view.plan.drains if view.plan is not None else ()
    attempts = snapshot.attempts.get(name, ())
    drains = tuple(
        drain_line(drain, shown.statuses.get(drain.ref), view, said=said, attempts=attempts, now=now)
        for drain in planned
    )
    moves = _moves(shown, now)
    status = shown.statuses.get(ObjectRef("PveCluster", name))
    return ClusterLine(
        name=name,
        pve_name=view.seen.pve_name if view.seen is not None else "",
        mode=str(spec.spec.mode) if spec is not None else "",
        ready=_said(status, "Ready"),
        armed=_said(status, "Armed"),
        look_age_seconds=max(0.0, now - view.seen.at) if view.seen is not None else None,
        ticks=view.ticks,
        guests={state: sum(verdict.state is state for verdict in said.values()) for state in GuestState},
        planned=len(view.plan.all_moves) if view.plan is not None else 0,
        digest=view.plan.digest if view.plan is not None else "",
        nodes=_nodes(view.seen, drains, moves),
        drains=drains,
        orders=tuple(_order(order, now) for _, order in sorted(view.memory.overrides.items())),
        moves=moves,
        troubled=tuple(troubled[:GUESTS]),
        more_troubled=max(0, len(troubled) - GUESTS),
        waits=_waits(troubled),
        halted=_halted(view, now),
        violations=tuple(item.message for item in view.plan.violations) if view.plan is not None else (),
        replication=tuple(replication.problems(view))[:GUESTS],
        syncs=_syncs(view),
        jobs=dict(Counter(str(job.health) for job in view.jobs)),
        notifying=_said(status, "Notifying") if view.notifying is not None else None,
        max_lag_seconds=max((job.lag_seconds for job in view.jobs if job.lag_seconds is not None), default=None),
    )


def _waits(troubled: Iterable[GuestLine]) -> tuple[WaitLine, ...]:
    groups: dict[tuple[str, str], list[GuestLine]] = {}
    for line in troubled:
        groups.setdefault((line.state, line.reason), []).append(line)
    return tuple(
        WaitLine(
            state=state,
            reason=reason,
            count=len(lines),
            guests=tuple(f"{line.noun} {line.vmid} {line.name}".rstrip() for line in lines[:NAMED]),
            message=lines[0].message,
            remedy=lines[0].remedy,
        )
        for (state, reason), lines in groups.items()
    )


def _halted(view: ClusterView, now: float) -> tuple[HaltedLine, ...]:
    return tuple(
        HaltedLine(
            vmid=vmid,
            name=item.name,
            node=item.node,
            elsewhere=item.elsewhere,
            starting=item.started_at > 0,
            age_seconds=max(0.0, now - (item.started_at or item.at)),
        )
        for vmid, item in sorted(view.memory.halted.items())[:GUESTS]
    )


def _syncs(view: ClusterView) -> tuple[SyncLine, ...]:
    """Jobs that somebody may wait for: those of moves first, then the latest behind."""
    open_ones = [job for job in view.jobs if job.health is not JobHealth.IN_SYNC]
    open_ones.sort(key=lambda job: (not job.for_move, job.last_sync is not None, -(job.lag_seconds or 0.0), job.job_id))
    guests = view.seen.guests if view.seen is not None else {}
    return tuple(
        SyncLine(
            job=job.job_id,
            name=guests[job.vmid].name if job.vmid in guests else "",
            source=job.source,
            target=job.target,
            state=str(job.health),
            for_move=job.for_move,
            lag_seconds=job.lag_seconds,
            message=job.message,
        )
        for job in open_ones[:SYNCS]
    )


def _said(status: ObjectStatus | None, type_: str) -> Said:
    condition = status.condition(type_) if status is not None else None
    if condition is None:
        return Said(status=Status.UNKNOWN, reason="", message="nothing known yet")
    return Said(status=condition.status, reason=condition.reason, message=condition.message)


def _nodes(seen: Observed | None, drains: Sequence[DrainLine], moves: Sequence[MoveLine]) -> tuple[NodeLine, ...]:
    if seen is None:
        return ()
    homes: dict[NodeName, list[Guest]] = {name: [] for name in seen.nodes}
    for guest in seen.guests.values():
        homes.setdefault(guest.node, []).append(guest)
    states = {drain.node: drain.state for drain in drains}
    return tuple(_node(node, homes[name], states.get(name, ""), moves) for name, node in sorted(seen.nodes.items()))


def _node(node: Node, guests: Sequence[Guest], maintenance: str, moves: Sequence[MoveLine]) -> NodeLine:
    coming = [move for move in moves if move.target == node.name]
    going = [move for move in moves if move.source == node.name]
    held = sum(guest.memory_bytes or 0 for guest in guests if guest.power.holds_memory and not guest.template)
    state = str(node.state) if node.usable or node.state is not NodeState.ONLINE else f"HA {node.ha}"
    return NodeLine(
        name=node.name,
        state=state,
        maintenance=maintenance,
        guests=len(guests),
        memory_bytes=node.memory_bytes,
        memory_used_bytes=node.memory_used_bytes,
        guest_memory_bytes=held,
        moves_in=len(coming),
        moves_out=len(going),
        in_bytes_per_second=_rate(coming),
        out_bytes_per_second=_rate(going),
    )


def _rate(moves: Iterable[MoveLine]) -> float | None:
    """Of all of them together, as far as PVE has said: one that is prepared or finished sends nothing."""
    known = [move.bytes_per_second for move in moves if move.bytes_per_second is not None]
    return sum(known) if known else None


def _order(order: Override, now: float) -> OrderLine:
    verb = "drain" if order.order is Order.DRAIN else "uncordon"
    return OrderLine(node=order.node, verb=verb, by=order.by, reason=order.reason, age_seconds=max(0.0, now - order.at))


def _moves(shown: Published, now: float) -> tuple[MoveLine, ...]:
    lines = []
    for flight in sorted(shown.view.memory.flights.values(), key=lambda flight: flight.started_at):
        progress = shown.view.progress.get(flight.vmid)
        total = progress.total_bytes if progress is not None else None
        sent = progress.transferred_bytes if progress is not None else 0
        lines.append(
            MoveLine(
                vmid=flight.vmid,
                name=flight.name,
                noun=flight.identity.kind.noun,
                source=flight.source,
                target=flight.target,
                reason=flight.why,
                cause=str(flight.cause),
                phase=(progress.phase if progress is not None and flight.sends else "") or str(flight.phase),
                seconds=max(0.0, now - flight.started_at),
                percent=progress.percent if progress is not None else None,
                transferred_bytes=sent,
                total_bytes=total,
                bytes_per_second=progress.rate_bytes_s if progress is not None else None,
                eta_seconds=progress.eta_seconds if progress is not None else None,
                dirty_bytes_per_second=progress.dirty_bytes_s if progress is not None else None,
                downtime_limit_ms=progress.downtime_limit_ms if progress is not None else None,
                waiting=flight.waiting,
            )
        )
    return tuple(lines)


def _guest(vmid: Vmid, verdict: Verdict, seen: Observed | None) -> GuestLine:
    guest = seen.guests.get(vmid) if seen is not None else None
    return GuestLine(
        vmid=vmid,
        name=guest.name if guest is not None else "",
        noun=guest.kind.noun if guest is not None else "guest",
        node=guest.node if guest is not None else "",
        state=verdict.state,
        reason=verdict.why or "",
        message=verdict.message,
        remedy=verdict.remedy,
        cause=str(verdict.cause or ""),
    )


def _events(seen: Snapshot) -> tuple[EventLine, ...]:
    told = [(name, event) for name, events in seen.events.items() for event in events]
    told.sort(key=lambda item: -item[1].last)
    return tuple(
        EventLine(
            cluster=name,
            warning=event.type is EventType.WARNING,
            reason=event.reason,
            about=str(event.about),
            message=event.message,
            count=event.count,
            age_seconds=max(0.0, seen.at - event.last),
        )
        for name, event in told[:EVENTS]
    )
