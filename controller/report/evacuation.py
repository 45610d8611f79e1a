"""One drain while it runs: how far, how long still, and every guest on one axis of time. Pure.

Called by `report.overview`; the values are read back by `cli`.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from controller.model.ids import Vmid
from controller.model.memory import Flight
from controller.model.outcome import Outcome, Result
from controller.model.plan import Drain
from controller.model.view import ClusterView
from controller.report.guests import GuestState, Verdict
from controller.report.maintenance import MaintenanceState
from controller.report.statement import ObjectStatus
from controller.report.units import duration, epoch_of

AWAY, NEXT, STUCK = 20, 12, 8
"""Bars of one drain: the last guests that left, those that leave next, those that can't. Everybody that moves has one."""


class Line(BaseModel):
    """The base of every value of an overview: camelCase on the wire."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class BarState(StrEnum):
    """Where a guest of a drain stands."""

    AWAY = "Away"
    MOVING = "Moving"
    SHUT_DOWN = "ShutDown"  # on request of the maintenance
    WAITING = "Waiting"
    BLOCKED = "Blocked"


class BarLine(Line):
    """One guest of a drain. Begin and end in seconds since the drain began; None = nobody knows yet."""

    vmid: int
    name: str
    noun: str
    state: str
    target: str = ""
    percent: int | None = None
    reason: str = ""
    begin_seconds: float | None = None
    end_seconds: float | None = None


class DrainLine(Line):
    """One node in maintenance and how far it is. The counts are those of the maintenance, which may be of several nodes."""

    name: str
    node: str
    state: str
    percent: int
    message: str
    reason: str = ""
    eta_seconds: float | None = None  # from now
    late_seconds: float | None = None  # nine times in ten it is over by then
    lower_bound_seconds: float | None = None  # no order of what is left is faster
    total: int = 0
    away: int = 0
    moving: int = 0
    blocked: int = 0
    waiting: int = 0
    shut_down: int = 0
    elapsed_seconds: float | None = None
    makespan_seconds: float | None = None  # from beginning to end
    makespan_bound_seconds: float | None = None  # no order of all of it would have been faster
    bars: tuple[BarLine, ...] = ()
    more_bars: int = 0

    @property
    def ratio(self) -> float | None:
        """How many times as long it takes as it would have to."""
        if not self.makespan_seconds or not self.makespan_bound_seconds:
            return None
        return self.makespan_seconds / self.makespan_bound_seconds

    @property
    def uncounted(self) -> str:
        """Whom the message does not count: guests that wait, and those that were shut down; "" when there is nobody."""
        counts = {"waiting": self.waiting, "shut down": self.shut_down}
        return ", ".join(f"{count} {word}" for word, count in counts.items() if count)

    @property
    def outlook(self) -> tuple[str, ...]:
        """How long it has taken, how long it still takes, and how that compares with what is possible: in words."""
        parts = []
        if self.elapsed_seconds is not None and self.state != MaintenanceState.CORDONED:
            word = "took" if self.state == MaintenanceState.DRAINED else "since"
            parts.append(f"{word} {duration(self.elapsed_seconds)}")
        if self.eta_seconds is not None and self.late_seconds is not None:
            left, late = duration(self.eta_seconds), duration(self.late_seconds)
            parts.append(f"about {left} left (nine times in ten within {late})")
        if self.makespan_seconds is not None and self.makespan_bound_seconds is not None and self.ratio is not None:
            whole, bound = duration(self.makespan_seconds), duration(self.makespan_bound_seconds)
            parts.append(f"{whole} in all, no order is faster than {bound} ({self.ratio:.2f}x)")
        return tuple(parts)


def drain_line(
    drain: Drain,
    status: ObjectStatus | None,
    view: ClusterView,
    *,
    said: Mapping[Vmid, Verdict],
    attempts: Sequence[Outcome],
    now: float,
) -> DrainLine:
    """How `drain` stands at `now` (epoch seconds). `attempts`: how the latest moves of the cluster ended."""
    fields = status.fields if status is not None else {}
    counts, condition = fields.get("guests"), status.condition("Drained") if status is not None else None
    count = {key: int(value) for key, value in counts.items()} if isinstance(counts, dict) else {}
    look, plan_age = drain.outlook, max(0.0, now - view.plan.at) if view.plan is not None else 0.0
    start = epoch_of(str(fields.get("startTime", "")))
    halted = sum(item.maintenance == drain.ref and not item.started_at for item in view.memory.halted.values())
    bars, more = _bars(drain, view, said, attempts, start=now if start is None else start, now=now)
    end = epoch_of(str(fields.get("drainedTime", "")))
    return DrainLine(
        name=drain.ref.name,
        node=drain.node,
        state=MaintenanceState.of(drain),
        percent=int(_number(fields.get("progressPercent")) or 0),
        message=condition.message if condition is not None else drain.message,
        reason=drain.reason,
        # The plan is from the last look; what has passed since then is gone.
        eta_seconds=max(0.0, look.likely_seconds - plan_age) if look is not None else None,
        late_seconds=max(0.0, look.late_seconds - plan_age) if look is not None else None,
        lower_bound_seconds=max(0.0, look.bound_seconds - plan_age) if look is not None else None,
        total=count.get("total", 0),
        away=count.get("moved", 0),
        moving=count.get("moving", 0),
        blocked=count.get("blocked", 0),
        waiting=max(0, count.get("remaining", 0) - count.get("moving", 0) - count.get("blocked", 0)),
        shut_down=halted,
        elapsed_seconds=max(0.0, (end if end is not None else now) - start) if start is not None else None,
        makespan_seconds=_number(fields.get("makespanSeconds")),
        makespan_bound_seconds=_number(fields.get("lowerBoundSeconds")),
        bars=bars,
        more_bars=more,
    )


def _bars(
    drain: Drain,
    view: ClusterView,
    said: Mapping[Vmid, Verdict],
    attempts: Iterable[Outcome],
    *,
    start: float,
    now: float,
) -> tuple[tuple[BarLine, ...], int]:
    flights = {v: flight for v, flight in view.memory.flights.items() if flight.source == drain.node}
    stuck = {item.vmid for item in drain.blocked}
    rest = [vmid for vmid in _in_order(drain, view) if vmid not in flights and vmid not in stuck]
    gone = [
        _gone(item, start)
        for item in attempts
        if item.cause == drain.ref
        and item.source == drain.node
        and item.result is Result.SUCCEEDED
        and item.at >= start
    ]
    gone.sort(key=lambda bar: (bar.end_seconds or 0.0, bar.vmid))
    moving = [_moving(flight, view, start, now) for flight in sorted(flights.values(), key=lambda f: f.started_at)]
    waiting = [_standing(vmid, view, said) for vmid in rest]
    blocked = [_standing(vmid, view, said, stuck=True) for vmid in sorted(stuck)]
    shown = (*gone[-AWAY:], *moving, *waiting[:NEXT], *blocked[:STUCK])
    return shown, len(gone) + len(moving) + len(waiting) + len(blocked) - len(shown)


def _in_order(drain: Drain, view: ClusterView) -> list[Vmid]:
    """Who still has to leave, as the plan would start them."""
    left = set(drain.remaining) | set(drain.moving)
    planned = [move.vmid for move in view.plan.all_moves if move.vmid in left] if view.plan is not None else []
    return [*planned, *sorted(left - set(planned))]


def _gone(outcome: Outcome, start: float) -> BarLine:
    end = outcome.at - start
    return BarLine(
        vmid=outcome.vmid,
        name=outcome.name,
        noun=outcome.identity.kind.noun,
        state=BarState.AWAY,
        target=outcome.target,
        percent=100,
        begin_seconds=max(0.0, end - (outcome.seconds or 0.0)),
        end_seconds=end,
    )


def _moving(flight: Flight, view: ClusterView, start: float, now: float) -> BarLine:
    progress = view.progress.get(flight.vmid)
    left = progress.eta_seconds if progress is not None else None
    return BarLine(
        vmid=flight.vmid,
        name=flight.name,
        noun=flight.identity.kind.noun,
        state=BarState.MOVING,
        target=flight.target,
        percent=progress.percent if progress is not None else None,
        reason=(progress.phase if progress is not None else "") or str(flight.phase),
        begin_seconds=max(0.0, flight.started_at - start),
        end_seconds=now + left - start if left is not None else None,
    )


def _standing(vmid: Vmid, view: ClusterView, said: Mapping[Vmid, Verdict], *, stuck: bool = False) -> BarLine:
    guest = view.seen.guests.get(vmid) if view.seen is not None else None
    verdict = said.get(vmid, Verdict(GuestState.UNPLANNED))
    halted = view.memory.halted.get(vmid)
    state = BarState.SHUT_DOWN if halted is not None and not halted.started_at else BarState.WAITING
    return BarLine(
        vmid=vmid,
        name=guest.name if guest is not None else "",
        noun=guest.kind.noun if guest is not None else "guest",
        state=BarState.BLOCKED if stuck else state,
        target=verdict.target or "",
        reason="" if verdict.state is GuestState.PLANNED else str(verdict.why or ""),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
