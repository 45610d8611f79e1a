"""Everything at a glance, as one value: what the page and `drover status` show. Made from the board; also read back by `cli`."""

from collections.abc import Sequence
from contextlib import suppress

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from controller import __version__
from controller.model.condition import Status
from controller.model.errors import DroverError
from controller.model.event import Event, EventType
from controller.model.ids import ClusterName, NodeName, ObjectRef, Vmid
from controller.model.observed import Guest, Node, NodeState, Observed
from controller.model.override import Order, Override
from controller.model.plan import Drain
from controller.report import replication
from controller.report.board import Board, Published
from controller.report.guests import GuestState, Verdict, verdicts
from controller.report.maintenance import MaintenanceState
from controller.report.statement import ObjectStatus
from controller.report.units import timestamp

EVENTS = 12
"""Events in an overview, the latest of all clusters."""
GUESTS = 50
"""Waiting and blocked guests in an overview, per cluster; there are views for the rest."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Said(_Line):
    """One condition in short."""

    status: str
    reason: str
    message: str


class NodeLine(_Line):
    """One node. Bytes; None where PVE says nothing. `guest_memory_bytes`: configured memory of guests that hold any."""

    name: str
    state: str
    maintenance: str = ""  # Draining, Drained, Blocked, Cordoned, Held
    guests: int = 0
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    guest_memory_bytes: int = 0


class DrainLine(_Line):
    """One node in maintenance and how far it is."""

    name: str
    node: str
    state: str
    percent: int
    message: str
    reason: str = ""
    eta_seconds: float | None = None  # from now
    late_seconds: float | None = None  # nine times in ten it is over by then
    lower_bound_seconds: float | None = None  # no order of what is left is faster


class OrderLine(_Line):
    """What was ordered by hand about a node: `drain` or `uncordon`."""

    node: str
    verb: str
    by: str
    reason: str
    age_seconds: float


class MoveLine(_Line):
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


class GuestLine(_Line):
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


class EventLine(_Line):
    """One event."""

    cluster: str
    warning: bool
    reason: str
    about: str
    message: str
    count: int
    age_seconds: float


class ClusterLine(_Line):
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
    violations: tuple[str, ...]
    replication: tuple[str, ...] = ()


class SourceLine(_Line):
    """The source."""

    revision: str
    objects: int
    problems: tuple[str, ...]
    awaiting: str
    complete: bool


class Overview(_Line):
    """The whole."""

    version: str
    now: str
    source: SourceLine
    clusters: tuple[ClusterLine, ...]
    events: tuple[EventLine, ...]


def overview(board: Board) -> Overview:
    """Everything that is on the board, in short."""
    now = board.clock.wall()
    source = board.source
    return Overview(
        version=__version__,
        now=timestamp(now),
        source=SourceLine(
            revision=source.revision,
            objects=len(source.specs),
            problems=tuple(str(problem) for problem in source.problems),
            awaiting=source.awaiting,
            complete=source.complete,
        ),
        clusters=tuple(_cluster(name, shown, board, now) for name, shown in board.clusters.items()),
        events=_events(board, now),
    )


def _cluster(name: str, shown: Published, board: Board, now: float) -> ClusterLine:
    view = shown.view
    spec = board.source.specs.clusters.get(name)
    said = verdicts(view)
    troubled = [
        _guest(vmid, verdict, view.seen)
        for vmid, verdict in said.items()
        if verdict.state in (GuestState.BLOCKED, GuestState.WAITING)
    ]
    troubled.sort(key=lambda line: (line.state != GuestState.BLOCKED, line.vmid))
    drains = tuple(_drain(drain, shown.statuses.get(drain.ref)) for drain in (view.plan.drains if view.plan else ()))
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
        nodes=_nodes(view.seen, drains),
        drains=drains,
        orders=tuple(_order(order, now) for _, order in sorted(view.memory.overrides.items())),
        moves=_moves(shown, now),
        troubled=tuple(troubled[:GUESTS]),
        more_troubled=max(0, len(troubled) - GUESTS),
        violations=tuple(item.message for item in view.plan.violations) if view.plan is not None else (),
        replication=tuple(replication.problems(view))[:GUESTS],
    )


def _said(status: ObjectStatus | None, type_: str) -> Said:
    condition = status.condition(type_) if status is not None else None
    if condition is None:
        return Said(status=Status.UNKNOWN, reason="", message="nothing known yet")
    return Said(status=condition.status, reason=condition.reason, message=condition.message)


def _nodes(seen: Observed | None, drains: Sequence[DrainLine]) -> tuple[NodeLine, ...]:
    if seen is None:
        return ()
    homes: dict[NodeName, list[Guest]] = {name: [] for name in seen.nodes}
    for guest in seen.guests.values():
        homes.setdefault(guest.node, []).append(guest)
    states = {drain.node: drain.state for drain in drains}
    return tuple(_node(node, homes[name], states.get(name, "")) for name, node in sorted(seen.nodes.items()))


def _node(node: Node, guests: Sequence[Guest], maintenance: str) -> NodeLine:
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
    )


def _drain(drain: Drain, status: ObjectStatus | None) -> DrainLine:
    percent = status.fields.get("progressPercent", 0) if status is not None else 0
    condition = status.condition("Drained") if status is not None else None
    return DrainLine(
        name=drain.ref.name,
        node=drain.node,
        state=MaintenanceState.of(drain),
        percent=percent if isinstance(percent, int) else 0,
        message=condition.message if condition is not None else drain.message,
        reason=drain.reason,
        eta_seconds=drain.outlook.likely_seconds if drain.outlook is not None else None,
        late_seconds=drain.outlook.late_seconds if drain.outlook is not None else None,
        lower_bound_seconds=drain.outlook.bound_seconds if drain.outlook is not None else None,
    )


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
                percent=min(99, int(100 * sent / total)) if total else None,
                transferred_bytes=sent,
                total_bytes=total,
                bytes_per_second=progress.rate_bytes_s if progress is not None else None,
                eta_seconds=progress.eta_seconds if progress is not None else None,
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


def _events(board: Board, now: float) -> tuple[EventLine, ...]:
    told: list[tuple[ClusterName, Event]] = []
    for name, shown in board.clusters.items():
        # A state file that can't be read shows in the condition Armed; the rest of the overview is worth having.
        with suppress(DroverError):
            told += [(name, event) for event in shown.events()]
    told.sort(key=lambda item: -item[1].last)
    return tuple(
        EventLine(
            cluster=name,
            warning=event.type is EventType.WARNING,
            reason=event.reason,
            about=str(event.about),
            message=event.message,
            count=event.count,
            age_seconds=max(0.0, now - event.last),
        )
        for name, event in told[:EVENTS]
    )
