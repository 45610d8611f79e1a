"""When moves of several guests fail one after the other, nothing is started for a while; a target that refuses all is spared."""

import pytest

from controller.act.breaker import Breaker, state
from controller.model.ids import GuestIdentity, GuestKind, NodeName, ObjectRef, Vmid
from controller.model.outcome import Outcome, Result
from controller.model.plan import Lane
from controller.model.reasons import Why
from controller.specs.pvecluster import CircuitBreaker

POLICY = CircuitBreaker(failures=3, window_seconds=600, open_seconds=900)
OK, FAILED, REFUSED, STUCK = Result.SUCCEEDED, Result.FAILED, Result.REFUSED, Result.STUCK
Attempt = tuple[float, int, Result] | tuple[float, int, Result, str]


def outcome(at: float, vmid: int, result: Result, target: str = "") -> Outcome:
    return Outcome(
        identity=GuestIdentity(Vmid(vmid), GuestKind.QEMU),
        name=f"g{vmid}",
        source=NodeName("pve1"),
        target=NodeName(target or f"pve{2 + vmid % 2}"),
        result=result,
        why=Why.MIGRATION_FAILED,
        cause=ObjectRef("NodeMaintenance", "m"),
        lane=Lane.DRAIN,
        message="",
        at=at,
    )


def breaker(*attempts: Attempt, now: float) -> Breaker:
    """Attempts in order of time; the store hands them out the newest first."""
    return state([outcome(*attempt) for attempt in reversed(attempts)], POLICY, now)


def word(found: Breaker) -> str:
    return {"Closed": "closed", "HalfOpen": "half open", "Open": "open"}[found.state]


THREE: tuple[Attempt, ...] = ((100, 1, FAILED), (200, 2, FAILED), (300, 3, FAILED))


@pytest.mark.parametrize(
    ("attempts", "now", "expected"),
    [
        ((), 0, "closed"),
        (THREE[:2], 300, "closed"),
        (THREE, 300, "open"),
        (THREE, 1199.9, "open"),
        (THREE, 1200, "half open"),
        (THREE, 2099.9, "half open"),
        (THREE, 2100, "closed"),
        ((*THREE, (1300, 4, OK)), 1301, "closed"),
        ((*THREE, (1300, 4, FAILED)), 1301, "closed"),  # three again, but not within the window
        (
            ((100, 1, FAILED), (150, 1, FAILED), (200, 1, STUCK)),
            201,
            "closed",
        ),  # one guest is its own back-off's matter
        (((100, 1, FAILED), (150, 9, OK), (200, 2, FAILED), (300, 3, FAILED)), 301, "closed"),
        (((100, 1, FAILED), (200, 2, REFUSED), (300, 3, FAILED)), 301, "closed"),  # nothing was started
        (((100, 1, FAILED), (200, 2, STUCK), (300, 3, FAILED)), 301, "open"),
        (((100, 1, FAILED), (200, 2, FAILED), (701, 3, FAILED)), 702, "closed"),
        (((101, 1, FAILED), (200, 2, FAILED), (701, 3, FAILED)), 702, "open"),
    ],
)
def test_the_breaker_is(attempts: tuple[Attempt, ...], now: float, expected: str) -> None:
    assert word(breaker(*attempts, now=now)) == expected


def test_a_target_that_refuses_everybody_is_spared_and_the_rest_goes_on() -> None:
    found = breaker((1, 1, FAILED, "pve2"), (2, 2, FAILED, "pve2"), (3, 3, FAILED, "pve2"), (4, 4, OK, "pve3"), now=5)
    assert word(found) == "closed"
    assert list(found.nodes) == ["pve2"]
    assert "the last moves to pve2 of 3 guests failed (g3, g2, g1)" in found.nodes[NodeName("pve2")].message
    later = breaker((1, 1, FAILED, "pve2"), (2, 2, FAILED, "pve2"), (3, 3, FAILED, "pve2"), now=903)
    assert not later.nodes


def test_what_fails_everywhere_stops_the_cluster_and_says_until_when() -> None:
    found = breaker(*THREE, now=300)
    assert found.cluster is not None
    assert found.cluster.until == 1200
    assert found.cluster.message.endswith("nothing is started before 00:20:00 UTC")
    assert not found.nodes
