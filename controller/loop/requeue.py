"""When to look again. Called by `loop.daemon` between two ticks."""

from controller.decide.timing.load import LOOK, TWICE
from controller.model.memory import FlightPhase
from controller.model.view import ClusterView

FOLLOW_SECONDS = LOOK
"""How often the tasks of moves under way are asked how far they are."""

AGAIN_SECONDS = TWICE
"""A node that is seen empty for the first time is looked at again after that, to be called drained."""


def next_look_seconds(view: ClusterView, *, now: float, interval: float) -> float:
    """Seconds until the next tick: the interval, or earlier when something is due before (never under one second)."""
    ends = [backoff.until - now for backoff in view.memory.backoffs.values()]
    ends += [refusal.until - now for targets in view.memory.refusals.values() for refusal in targets.values()]
    watched = [flight for flight in view.memory.flights.values() if flight.phase is FlightPhase.ARRIVED]
    ends += [flight.waiting_since + flight.verify.healthy_seconds - now for flight in watched]
    ends += [view.again_at - now] if view.again_at is not None else []
    if view.plan is not None and any(drain.empty and not drain.drained for drain in view.plan.drains):
        ends.append(AGAIN_SECONDS)
    if view.plan is not None and view.plan.power:
        ends.append(FOLLOW_SECONDS)
    if view.plan is not None and view.plan.next_start_seconds is not None:
        # A move has to be asked for before the link is free. Ticks of a big cluster must not follow each other closely.
        ends.append(max(view.plan.next_start_seconds, 3 * view.tick_seconds, 1.0))
    soonest = min((seconds for seconds in ends if seconds > 0), default=interval)
    return min(interval, max(1.0, soonest))
