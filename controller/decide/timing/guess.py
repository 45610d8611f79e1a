"""What nobody is told before a move: how much of a guest's memory is ever sent, and how far a move under way really is.

Called by `decide.traffic` and by the benchmark. Pages that were never written cost nothing, so a guest of 16 GiB may send
two: what PVE shows as its used memory comes near, and the finished moves of a cluster say how near.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from controller.decide.timing.load import MIB, Job, Running

WRITERS = ((0.6, 10.0 * MIB), (0.3, 70.0 * MIB), (0.1, 235.0 * MIB))
"""How fast guests write before any move has told: six in ten up to 20 MiB/s, three up to 120, one up to 350; the middles."""
BUSIEST = 0.6
"""Part of its stream that a guest writes at most: one that would write more is slowed down by QEMU (auto-converge)."""
HOT = 0.5
"""Part of its used memory that a busy guest writes again and again."""
SPREAD = 0.15
"""By how much guests differ in it, in bytes sent for each byte of used memory, before any move has told."""
UNSEEN = 0.7
"""Part of its memory that a guest probably uses when PVE does not say."""
_WEIGHT = 8.0
"""For how many moves the prior counts."""
_WIDTH = 3**0.5
"""Half the width of an even distribution, in standard deviations."""
_LEAST = 0.08
"""Part of what is expected that is still to come, at least, of a move that has sent more than was expected."""
_ODD = 3.0
"""More for each byte of used memory is no habit: one such guest must not spoil the forecast of all others."""
_NINE_IN_TEN = 1.28
_MODEL = 0.05
"""By which part the model itself may be wrong."""


@dataclass(frozen=True, slots=True)
class Habit:
    """Bytes sent for each byte of used memory: on average, and how much guests differ (standard deviation)."""

    mean: float
    spread: float = SPREAD

    @property
    def low(self) -> float:
        """The least that is reckoned with."""
        return max(0.1 * self.mean, self.mean - _WIDTH * self.spread)

    @property
    def high(self) -> float:
        """The most that is reckoned with."""
        return self.mean + _WIDTH * self.spread

    def doubt(self, sizes: Iterable[float]) -> float:
        """By which part moves of these sizes may take longer, nine times in ten: single ones differ, many even out."""
        each = list(sizes)
        total = sum(each)
        alike = self.spread / self.mean * sum(size * size for size in each) ** 0.5 / total if total else 0.0
        return _NINE_IN_TEN * alike + _MODEL


def prior(rate: float) -> float:
    """Bytes sent for each byte of used memory at this rate: the slower the stream, the more is written while it is sent."""
    if rate == float("inf"):
        return 1.0
    busy = [(part, min(dirty / rate, BUSIEST)) for part, dirty in WRITERS]
    return 1.0 + sum(part * min(share, HOT) / (1.0 - share) for part, share in busy)


def habit(moved: Iterable[tuple[float, float]], rate: float) -> Habit:
    """What finished moves, given as pairs of used memory and bytes sent, teach about the next, which is sent at `rate`."""
    before = prior(rate)
    known = [(used, min(sent, _ODD * used)) for used, sent in moved if used > 0 and sent > 0]
    if not known:
        return Habit(before)
    usual = sum(used for used, _ in known) / len(known)
    mean = (sum(sent for _, sent in known) + before * _WEIGHT * usual) / (usual * (len(known) + _WEIGHT))
    off = sum((sent / used - mean) ** 2 for used, sent in known) + SPREAD**2 * _WEIGHT
    return Habit(mean, (off / (len(known) + _WEIGHT)) ** 0.5)


def running(job: Job, habit: Habit, *, age: float, sent: float) -> Running:
    """How far a move is that was asked for `age` seconds ago and has sent so much. `job.size` is what was expected of it."""
    low, high = job.size * habit.low / habit.mean, job.size * habit.high / habit.mean
    if sent <= 0:
        return Running(job, max(0.0, job.setup - age), job.size, low, high)
    high = max(high, sent + _LEAST * job.size)
    low = max(low, sent)
    return Running(job, 0.0, (low + high) / 2 - sent, low - sent, high - sent)
