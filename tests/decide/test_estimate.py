"""How long a move takes: the arithmetic of pre-copy, and whose word about the rate counts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.estimate import ASSUMED_BYTES_S, Estimate, Rate, at_most, dirty_of, estimate, rate_of
from controller.model.ids import GuestIdentity, GuestKind, NodeName, Vmid
from controller.model.memory import GuestRate, LinkRate, Memory
from controller.specs import Specs
from tests.decide.build import cluster, pve_node

MIB, GIB = 1 << 20, 1 << 30
PVE1, PVE2 = NodeName("pve1"), NodeName("pve2")
WEB = GuestIdentity(Vmid(101), GuestKind.QEMU, "ctime:1")


def live(memory: int, mib_s: float, dirty_mib_s: float | None = None, disks: int = 0) -> Estimate:
    return estimate(
        kind=GuestKind.QEMU,
        running=True,
        memory_bytes=memory,
        disk_bytes=disks,
        rate=Rate(mib_s * MIB, known=True),
        dirty_bytes_s=None if dirty_mib_s is None else dirty_mib_s * MIB,
    )


def test_what_is_changed_meanwhile_is_sent_again() -> None:
    calm, busy = live(4 * GIB, 100), live(4 * GIB, 100, 50)
    assert calm.seconds == pytest.approx(11 + 41, abs=0.2)
    assert busy.seconds == pytest.approx(11 + 82, abs=0.5)
    assert (calm.bytes, busy.bytes) == (4 * GIB, 8 * GIB)
    assert str(busy) == "8 GiB at 100 MiB/s, of which it changes 50 MiB/s, take about 93 s"


def test_memory_that_is_changed_faster_than_it_is_sent_never_arrives_and_is_stopped_in_time() -> None:
    never = live(4 * GIB, 100, 100)
    assert (never.converges, never.downtime_seconds) == (False, None)
    assert at_most(never, 20) == 11 + 80
    assert at_most(never, 0) == 86_400


def test_disks_count_and_stopped_guests_send_nothing_else() -> None:
    assert live(0, 100, disks=10 * GIB).seconds == pytest.approx(11 + 102.4, abs=0.2)
    for kind, running, seconds in (
        (GuestKind.QEMU, False, 107.4),
        (GuestKind.LXC, True, 122.4),
        (GuestKind.LXC, False, 107.4),
    ):
        made = estimate(
            kind=kind,
            running=running,
            memory_bytes=64 * GIB,
            disk_bytes=10 * GIB,
            rate=Rate(100.0 * MIB, known=True),
            dirty_bytes_s=None,
        )
        assert made.seconds == pytest.approx(seconds, abs=0.1)
        assert made.downtime_seconds == (made.seconds if running else 0.0)


@pytest.mark.parametrize(
    ("network", "links", "limit", "mib_s", "known"),
    [
        ({}, {}, 0, 112, False),
        ({}, {}, 50, 50, True),
        ({}, {}, 500, 112, False),
        ({"linkMiBps": 1000}, {}, 0, 800, True),
        ({"linkMiBps": 1000, "streamMiBps": 300}, {}, 0, 300, True),
        ({"linkMiBps": 1000}, {"pve1": 400, "pve2": 200}, 0, 200, True),
        ({"streamMiBps": 300}, {"pve1": 400, "pve2": 200}, 0, 300, True),
        ({}, {"pve1": 400}, 100, 100, True),
    ],
)
def test_the_narrowest_counts_and_what_is_written_beats_what_was_learned(
    network: dict[str, int], links: dict[str, int], limit: int, mib_s: int, known: bool
) -> None:
    spec = cluster(network=network)
    memory = Memory(links={NodeName(name): LinkRate(float(rate * MIB), 0.0) for name, rate in links.items()})
    found = rate_of(PVE1, PVE2, limit_mib_s=limit, cluster=spec, specs=Specs.of([spec]), memory=memory)
    assert found == Rate(float(mib_s * MIB), known)


def test_a_node_with_its_own_link_narrows_its_moves() -> None:
    spec = cluster(network={"linkMiBps": 1000})
    specs = Specs.of([spec, pve_node("pve2", linkMiBps=100)])
    found = rate_of(PVE1, PVE2, limit_mib_s=0, cluster=spec, specs=specs, memory=Memory())
    assert found.bytes_s == 80 * MIB


def test_the_dirty_rate_of_another_guest_with_the_same_number_means_nothing() -> None:
    memory = Memory(rates={WEB.vmid: GuestRate(WEB, 5.0, 0.0)})
    assert dirty_of(memory, WEB) == 5.0
    assert dirty_of(memory, GuestIdentity(WEB.vmid, WEB.kind, "ctime:2")) is None
    assert dirty_of(Memory(), WEB) is None


@given(st.integers(0, 1 << 40), st.floats(1.0, 1e5), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_more_changes_never_make_it_faster_and_a_faster_link_never_slower(
    memory: int, mib_s: float, less: float, more: float
) -> None:
    less, more = sorted((less, more))
    assert live(memory, mib_s, less * mib_s).seconds <= live(memory, mib_s, more * mib_s).seconds
    assert live(memory, mib_s * 2, less * mib_s).seconds <= live(memory, mib_s, less * mib_s).seconds
    assert live(memory, mib_s, more * mib_s).seconds < math.inf or more == 1.0
    assert ASSUMED_BYTES_S > 0
