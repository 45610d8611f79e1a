"""How a move (or the attempt to start one) ended. Made by `act`; told by `report`."""

from dataclasses import dataclass
from enum import StrEnum

from controller.model.ids import GuestIdentity, NodeName, ObjectRef, Upid, Vmid
from controller.model.plan import Lane
from controller.model.reasons import Why


class Result(StrEnum):
    """The closed list of results; also the `result` label of the metrics."""

    STARTED = "Started"
    REFUSED = "Refused"  # the second look or PVE said no; nothing was started
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"  # the guest is where it was, as it was
    STUCK = "Stuck"  # a lock stays behind, or the guest is not as it was: a person has to look
    GONE = "Gone"  # the guest was removed, or is another one now
    UNKNOWN = "Unknown"  # the answer was lost; observed at the next tick


@dataclass(frozen=True, slots=True)
class Stream:
    """One of the things a migration sends side by side: the memory, a disk, a copied volume. Bytes and bytes per second."""

    name: str  # memory, scsi0, copy-1
    sent_bytes: int = 0
    total_bytes: int | None = None  # as PVE last said; it grows when a guest changes what was sent
    rate_bytes_s: float | None = None
    done: bool = False
    share: float | None = None  # 0 to 1, where PVE tells it in finer steps than the rounded bytes


@dataclass(frozen=True, slots=True)
class Measured:
    """What a log says about the copying of memory as a whole, of which rates are learned. Bytes and bytes per second."""

    looks: int = 0  # PVE's own, about one a second: the lines that the rest was taken from
    bytes_s: float = 0.0  # sent, on average over these
    total_bytes: int = 0  # the guest's memory, as the last of them said
    dirty_bytes_s: float | None = None  # the most that the guest changed; said only while that is more than is sent


@dataclass(frozen=True, slots=True)
class Progress:
    """What a migration task's log says so far. Bytes, bytes per second, milliseconds; `None` = not said yet.

    The numbers of bytes are sums over `streams`, which a log speaks of one by one.
    """

    phase: str = ""  # Preparing, Disks, Memory, Finishing: for people
    transferred_bytes: int = 0
    total_bytes: int | None = None
    rate_bytes_s: float | None = None
    dirty_bytes_s: float | None = None
    downtime_ms: int | None = None
    downtime_limit_ms: int | None = None
    downtime_raised: bool = False  # by PVE itself, because the guest changes its memory faster than it is sent
    lines: int = 0  # log lines read so far: where the next read starts
    error: str = ""  # the cause of the failure, which the log names better than the exit status; "" = none so far
    streams: tuple[Stream, ...] = ()
    measured: Measured = Measured()
    hints: tuple[str, ...] = ()  # lines that explain an ERROR without being marked so, such as words of the target

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until the rest is sent at the present rate; None while unknown."""
        if self.total_bytes is None or not self.rate_bytes_s:
            return None
        return max(0.0, self.total_bytes - self.transferred_bytes) / self.rate_bytes_s

    @property
    def percent(self) -> int | None:
        """Of the bytes, 99 at most: the end is observed, not counted. None while PVE has not said how much there is to send."""
        return min(99, int(100 * self.transferred_bytes / self.total_bytes)) if self.total_bytes else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One sentence of history: what became of one move."""

    identity: GuestIdentity
    name: str
    source: NodeName
    target: NodeName
    result: Result
    why: Why  # for STARTED and SUCCEEDED the reason of the move, else the reason of the failure
    cause: ObjectRef
    lane: Lane
    message: str
    at: float
    seconds: float | None = None
    upid: Upid | None = None
    progress: Progress | None = None
    warning: str = ""  # what a person should know although the guest is well: "" = nothing
    findings: tuple[Why, ...] = ()  # of a refused move: the reason of everything that spoke against it

    @property
    def vmid(self) -> Vmid:
        """The guest's number."""
        return self.identity.vmid
