"""The cache of configs: who is read next, and never more than the rate allows."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from controller.model.ids import GuestIdentity, GuestKind, NodeName, Vmid
from controller.model.observed import Guest, GuestConfig, Power
from controller.observe.configs import (
    AGAIN_SECONDS,
    MOST_AT_ONCE,
    NEEDED_AT_ONCE,
    NEEDED_PER_SECOND,
    READS_PER_SECOND,
    REREAD_SECONDS,
    ConfigCache,
)

QEMU = GuestKind.QEMU


def guest(vmid: int, node: str = "a", kind: GuestKind = QEMU) -> Guest:
    return Guest(GuestIdentity(Vmid(vmid), kind), f"g{vmid}", NodeName(node), Power.RUNNING, memory_bytes=1)


def config(of: Guest, born: str = "ctime:1") -> GuestConfig:
    return GuestConfig(replace(of.identity, born=born), "digest", 1, (), 0.0)


def guests(*found: Guest) -> dict[Vmid, Guest]:
    return {each.vmid: each for each in found}


@given(st.integers(0, 5000), st.lists(st.floats(0, 60), max_size=80))
def test_reads_never_exceed_the_rate_whatever_there_is_to_read(count: int, pauses: list[float]) -> None:
    cache, now, reads = ConfigCache(), 0.0, 0
    cache.see(guests(*(guest(vmid) for vmid in range(100, 100 + count))))
    for pause in pauses:
        now += pause
        due = cache.due(now)
        assert len(due) <= MOST_AT_ONCE
        reads += len(due)
    assert reads <= MOST_AT_ONCE + now * READS_PER_SECOND + 1e-6


def test_every_guest_gets_its_turn_and_then_again() -> None:
    cache, now = ConfigCache(), 0.0
    cache.see(guests(*(guest(vmid) for vmid in range(100, 160))))
    seen: list[Vmid] = []
    while len(seen) < 60:
        seen += [each.vmid for each in cache.due(now)]
        now += 10
    assert sorted(seen) == list(range(100, 160))
    assert now <= 300
    assert cache.due(max(now, REREAD_SECONDS))[0].vmid == seen[0]


def test_what_was_read_lately_is_left_alone() -> None:
    cache = ConfigCache()
    cache.see(guests(guest(100)))
    assert len(cache.due(0.0)) == 1
    assert cache.due(REREAD_SECONDS - 1) == []
    assert len(cache.due(REREAD_SECONDS)) == 1


def test_a_guest_that_changed_goes_first() -> None:
    cache = ConfigCache()
    cache.see(guests(*(guest(vmid) for vmid in range(100, 110))))
    first = cache.due(0.0)
    moved = replace(first[3], node=NodeName("b"))
    cache.see(guests(*(guest(vmid) for vmid in range(100, 110))) | {moved.vmid: moved})
    assert cache.due(5.0) == [moved]


def test_a_guest_of_which_nothing_is_heard_has_not_changed() -> None:
    cache = ConfigCache()
    cache.see(guests(guest(100)))
    cache.due(0.0)
    cache.see(guests(replace(guest(100), power=Power.UNKNOWN, memory_bytes=None, name="")))
    assert cache.due(20.0) == []


def test_a_config_goes_with_its_guest_and_with_its_kind() -> None:
    cache = ConfigCache()
    cache.see(guests(guest(100), guest(101)))
    cache.put(config(guest(100)))
    cache.put(config(guest(101)))
    cache.put(config(guest(102)))  # gone while it was read
    assert set(cache.configs) == {100, 101}
    cache.see(guests(guest(101, kind=GuestKind.LXC)))
    assert cache.configs == {}
    cache.put(config(guest(101)))  # the answer about the VM that had the number before
    assert cache.configs == {}


def test_nothing_is_read_on_a_node_that_is_left_alone() -> None:
    cache = ConfigCache()
    cache.see(guests(guest(100, "a"), guest(101, "b")))
    assert [each.vmid for each in cache.due(0.0, not_on={NodeName("a")})] == [101]


@given(st.integers(0, 600), st.lists(st.floats(0, 60), max_size=40))
def test_needed_configs_are_read_at_a_rate_of_their_own_and_once(count: int, pauses: list[float]) -> None:
    cache, now, reads = ConfigCache(), 0.0, []
    needed = range(100, 100 + count)
    cache.see(guests(*(guest(vmid) for vmid in range(100, 900))))
    cache.need([Vmid(vmid) for vmid in needed])
    for pause in pauses:
        now += pause
        due = cache.due(now)
        assert len(due) <= NEEDED_AT_ONCE + MOST_AT_ONCE
        reads += [each.vmid for each in due if each.vmid in needed]
        for each in due:
            cache.put(config(each))
    assert len(reads) <= NEEDED_AT_ONCE + MOST_AT_ONCE + now * (NEEDED_PER_SECOND + READS_PER_SECOND) + 1e-6
    if now < REREAD_SECONDS:
        assert len(reads) == len(set(reads))


def test_what_is_needed_goes_before_everything_else() -> None:
    cache = ConfigCache()
    cache.see(guests(*(guest(vmid) for vmid in range(100, 200))))
    cache.need([Vmid(vmid) for vmid in range(150, 160)])
    assert [each.vmid for each in cache.due(0.0)][:10] == list(range(150, 160))


def test_five_hundred_needed_configs_are_read_within_minutes_and_then_nothing_costs_more() -> None:
    cache, now = ConfigCache(), 0.0
    every = guests(*(guest(vmid) for vmid in range(100, 600)))
    cache.see(every)
    cache.need(every)
    while len(cache.configs) < 500:
        for each in cache.due(now):
            cache.put(config(each))
        now += 10
    assert now <= 9 * 60
    cache.need(())
    later = [len(cache.due(now + at)) for at in range(0, 3000, 10)]
    assert sum(later) <= MOST_AT_ONCE + 3000 * READS_PER_SECOND


def test_a_needed_config_that_could_not_be_read_is_tried_again_soon_and_not_at_once() -> None:
    cache = ConfigCache()
    cache.see(guests(guest(100)))
    cache.need([Vmid(100)])
    assert len(cache.due(0.0)) == 1
    assert cache.due(AGAIN_SECONDS - 1) == []
    assert len(cache.due(AGAIN_SECONDS)) == 1
    cache.put(config(guest(100)))
    assert cache.due(2 * AGAIN_SECONDS) == []
