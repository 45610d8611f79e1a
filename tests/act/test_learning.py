"""Rates are learned from the logs of moves, slowly, and only where they mean something."""

from dataclasses import replace

import pytest

from controller.act.learning import after, meanwhile
from controller.model.ids import GuestIdentity, GuestKind, NodeName, ObjectRef, Vmid
from controller.model.memory import Flight, FlightPhase, GuestRate, LinkRate, Memory
from controller.model.outcome import Progress
from controller.model.plan import Lane, MoveOptions
from controller.model.reasons import Why
from controller.pve import tasklog

MIB = 1 << 20
PVE1, PVE2 = NodeName("pve1"), NodeName("pve2")
WEB = GuestIdentity(Vmid(101), GuestKind.QEMU, "ctime:1")
FLIGHT = Flight(
    id=1,
    identity=WEB,
    name="web",
    source=PVE1,
    target=PVE2,
    why=Why.NODE_MAINTENANCE,
    cause=ObjectRef("NodeMaintenance", "m"),
    lane=Lane.DRAIN,
    memory_bytes=4 << 30,
    options=MoveOptions(online=True),
    was_running=True,
    phase=FlightPhase.RUNNING,
    started_at=0.0,
)


def log(*lines: str) -> Progress:
    return tasklog.follow(Progress(), lines)


def active(sent: str, rate: str, dirty: str = "") -> str:
    tail = f", VM dirties lots of memory: {dirty}/s" if dirty else ""
    return f"2026-05-01 10:02:52 migration active, transferred {sent} of 4.0 GiB VM-state, {rate}/s{tail}"


COLD = log(
    active("1.0 GiB", "400.0 MiB"),
    active("1.5 GiB", "600.0 MiB"),
    "2026-05-01 10:03:20 average migration speed: 1.2 GiB/s - downtime 57 ms",
    "2026-05-01 10:03:20 migration completed, transferred 2.0 GiB VM-state",
)
BUSY = log(
    active("1.0 GiB", "500.0 MiB"),
    active("2.0 GiB", "500.0 MiB", "700.0 MiB"),
    active("2.5 GiB", "500.0 MiB", "600.0 MiB"),
)


def test_what_is_sent_and_what_the_guest_changes_are_learned_from_one_log() -> None:
    learned = after(FLIGHT, BUSY, Memory(), 1000.0)
    assert learned.rates == (GuestRate(WEB, 700.0 * MIB, 1000.0),), "the most: QEMU slows the guest down later"
    assert learned.links == {node: LinkRate(500.0 * MIB, 1000.0) for node in (PVE1, PVE2)}


def test_a_guest_that_was_sent_once_is_calm_and_one_that_was_sent_again_is_not() -> None:
    assert after(FLIGHT, COLD, Memory(), 0.0).rates == (GuestRate(WEB, 0.0, 0.0, sent_share=0.5),)
    again = log(active("4.0 GiB", "500.0 MiB"), "migration completed, transferred 5.0 GiB VM-state")
    (rate,) = after(FLIGHT, again, Memory(), 0.0).rates
    assert rate.dirty_bytes_s == pytest.approx(100.0 * MIB)
    broken_off = log(active("1.0 GiB", "500.0 MiB"))
    assert after(FLIGHT, broken_off, Memory(), 0.0).rates == (), "nobody knows"
    assert after(FLIGHT, Progress(), Memory(), 0.0).links == {}


def test_one_odd_measurement_is_outweighed() -> None:
    known = Memory(rates={WEB.vmid: GuestRate(WEB, 200.0 * MIB, 1.0)}, links={PVE1: LinkRate(1000.0 * MIB, 1.0)})
    learned = after(FLIGHT, BUSY, known, 2.0)
    assert learned.rates[0].dirty_bytes_s == pytest.approx(400.0 * MIB)
    assert learned.links[PVE1].bytes_s_per_stream == pytest.approx(800.0 * MIB)
    other = replace(known, rates={WEB.vmid: GuestRate(GuestIdentity(WEB.vmid, WEB.kind, "ctime:2"), 0.0, 1.0)})
    assert after(FLIGHT, BUSY, other, 2.0).rates[0].dirty_bytes_s == 700.0 * MIB, "another guest had this number"


def test_a_move_that_its_own_limit_slowed_down_says_nothing_about_the_link() -> None:
    limited = replace(FLIGHT, options=MoveOptions(online=True, bandwidth_limit_mib_s=510))
    assert after(limited, BUSY, Memory(), 0.0).links == {}
    generous = replace(FLIGHT, options=MoveOptions(online=True, bandwidth_limit_mib_s=2000))
    assert after(generous, BUSY, Memory(), 0.0).links


def test_a_running_move_fills_gaps_and_changes_nothing_that_is_known() -> None:
    assert meanwhile(FLIGHT, BUSY, Memory(), 5.0).links == {n: LinkRate(500.0 * MIB, 5.0) for n in (PVE1, PVE2)}
    assert meanwhile(FLIGHT, BUSY, Memory(), 5.0).rates == (GuestRate(WEB, 700.0 * MIB, 5.0),)
    assert meanwhile(FLIGHT, COLD, Memory(), 5.0).links == {}, "after two looks nobody knows"
    known = Memory(rates={WEB.vmid: GuestRate(WEB, 1.0, 1.0)}, links={PVE1: LinkRate(1.0, 1.0)})
    learned = meanwhile(FLIGHT, BUSY, known, 5.0)
    assert (learned.rates, list(learned.links)) == ((), [PVE2])
