"""Virtual time jumps, keeps order, and says when nothing would ever happen."""

import asyncio

import pytest

from controller.rehearse.virtual_time import EPOCH, NothingScheduledError, VirtualClock, VirtualLoop, run


def test_a_day_passes_in_order_and_repeats() -> None:
    def once() -> list[tuple[float, str]]:
        loop = VirtualLoop()
        clock = VirtualClock(loop)
        seen: list[tuple[float, str]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            seen.append((clock.monotonic(), name))

        async def main() -> None:
            await asyncio.gather(*(sleeper(f"s{i}", (i * 7919) % 86400) for i in range(200)))

        run(main(), loop)
        return seen

    first = once()
    assert first == once()
    assert [t for t, _ in first] == sorted(t for t, _ in first)
    assert first[-1][0] == pytest.approx(max((i * 7919) % 86400 for i in range(200)))


def test_wall_time_starts_at_the_epoch_and_moves_with_the_loop() -> None:
    loop = VirtualLoop()
    clock = VirtualClock(loop)

    async def main() -> float:
        await clock.sleep(5)
        return clock.wall()

    assert run(main(), loop) == EPOCH + 5


def test_waiting_for_nothing_is_an_error_and_not_a_hang() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingScheduledError):
        run(main(), loop)
