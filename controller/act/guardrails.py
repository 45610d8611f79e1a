"""Whether Drover may start anything at all. Pure; called by `loop.tick`.

The interlocks are asked in the order in which a person would: first what people said, then what is broken.
"""

from controller.decide.windows import opening
from controller.model.observed import HaNodeState, Observed
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.specs import Mode, PveCluster

_RECOVERING = frozenset({"fence", "recovery"})
"""States of an HA resource whose node died (pve-ha-manager: PVE/HA/Manager.pm)."""


def armed(cluster: PveCluster, seen: Observed | None, *, age_seconds: float, store_failure: str = "") -> Finding:
    """The first reason not to start anything, or ARMED.

    `age_seconds`: of the last complete look `seen`, by our monotonic clock. `store_failure`: `Store.failure()`.
    """
    return (
        _told(cluster)
        or _store(store_failure)
        or _freshness(cluster, seen, age_seconds)
        or _cluster(seen)
        or _window(cluster, seen)
        or Finding(True, Why.ARMED, "moves may be started")
    )


def _told(cluster: PveCluster) -> Finding | None:
    """What people said."""
    match cluster.spec.mode:
        case Mode.OBSERVE:
            return Finding(False, Why.MODE_OBSERVE, "mode is Observe: Drover looks and nothing else")
        case Mode.PLAN:
            return Finding(False, Why.MODE_PLAN, "mode is Plan: Drover shows what it would do")
        case Mode.ENFORCE if cluster.spec.suspend:
            return Finding(
                False, Why.SUSPENDED, f"{cluster.ref} is suspended: nothing new is started, what runs goes on"
            )
        case Mode.ENFORCE:
            return None


def _store(failure: str) -> Finding | None:
    return Finding(False, Why.STORE_FAILED, failure) if failure else None


def _freshness(cluster: PveCluster, seen: Observed | None, age_seconds: float) -> Finding | None:
    if seen is None:
        return Finding(False, Why.STALE, "the cluster has not been seen completely yet")
    limit = cluster.spec.safety.max_stale_seconds
    if age_seconds <= limit:
        return None
    return Finding(False, Why.STALE, f"the last complete look is {age_seconds:.0f} s old; maxStaleSeconds is {limit}")


def _cluster(seen: Observed | None) -> Finding | None:
    """What the cluster itself says."""
    assert seen is not None
    if seen.partial:
        return Finding(
            False, Why.PERMISSION_MISSING, "the token lacks rights, so guests and nodes may be missing from PVE's lists"
        )
    if not seen.quorate:
        return Finding(False, Why.NO_QUORUM, "the part of the cluster that answers has no quorum")
    fenced = sorted(name for name, node in seen.nodes.items() if node.ha is HaNodeState.FENCE)
    if fenced:
        return Finding(False, Why.HA_FENCING, f"PVE HA is fencing {', '.join(fenced)}")
    lost = [str(guest) for _, guest in sorted(seen.guests.items()) if guest.ha_state in _RECOVERING]
    if lost:
        return Finding(
            False, Why.HA_FENCING, f"PVE HA is recovering {', '.join(lost[:3])}{' and others' * (len(lost) > 3)}"
        )
    return None


def _window(cluster: PveCluster, seen: Observed | None) -> Finding | None:
    """What people said for this time of day; last, because it passes by itself and a fault does not."""
    assert seen is not None
    now = opening(cluster.spec.windows, seen.at)
    return None if now.open else Finding(False, Why.WINDOW_CLOSED, now.message)
