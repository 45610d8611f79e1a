"""When to look again. Called by `loop.daemon` between two ticks."""

from controller.model.view import ClusterView

FOLLOW_SECONDS = 2.0
"""How often the tasks of moves under way are asked how far they are."""


def next_look_seconds(view: ClusterView, *, now: float, interval: float) -> float:
    """Seconds until the next tick: the interval, or earlier when a back-off ends or a window opens (never under one second)."""
    ends = [backoff.until - now for backoff in view.memory.backoffs.values()]
    ends += [refusal.until - now for targets in view.memory.refusals.values() for refusal in targets.values()]
    ends += [view.again_at - now] if view.again_at is not None else []
    soonest = min((seconds for seconds in ends if seconds > 0), default=interval)
    return min(interval, max(1.0, soonest))
