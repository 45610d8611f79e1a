"""Reads the log of a migration task while it grows: how far, how fast, and in the end why not.

Used by `act.inflight` through `pve.client.task_log`. Beside `pve.errors` the only file that matches PVE's message text: the lines
of pve-guest-common (PVE/AbstractMigrate.pm, PVE/Replication.pm), qemu-server (PVE/QemuMigrate.pm, PVE/QemuServer/BlockJob.pm),
pve-container (PVE/LXC/Migrate.pm) and of the tools that copy volumes, from 7.4 to 9.2.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from controller.model.outcome import Measured, Progress, Stream
from controller.pve.transport import Json

PREPARING, DISKS, MEMORY, FINISHING = "Preparing", "Disks", "Memory", "Finishing"
HINTS: Final = 6
"""How many unmarked lines are kept to explain an error: the last ones."""

_BINARY: Final = {"": 1, "B": 1} | {letter: 1024**power for power, letter in enumerate("KMGTP", start=1)}
_DECIMAL: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE: Final = r"(\d+(?:\.\d+)?) ([KMGTP]?)i?B"
_COUNT: Final = r"(\d+(?:\.\d+)?)([BKMGTP]?)"  # as zfs writes it: 8192K, 1.5G, 624B

Match = re.Match[str]


def follow(progress: Progress, lines: Sequence[str]) -> Progress:
    """`progress` after `lines`, the next ones of the same log. Lines of unknown shape count, and change nothing else."""
    reader = _Reader(progress)
    for line in lines:
        reader.read(line)
    return reader.progress(progress.lines + len(lines))


def follow_run(progress: Progress, lines: Sequence[str]) -> Progress:
    """As `follow`, for the log of a run of a replication job, whose lines name the job behind the time."""
    return follow(progress, [_OF_JOB.sub("", line) for line in lines])


def run_bytes(lines: Sequence[str], begun: int) -> int | None:
    """Bytes that a finished run of a replication job sent, of all its volumes; None when this is not the log of such a run.

    lines: all of its log. begun: when the run began, epoch of its node, which is in the name of its snapshot
    (pve-guest-common: PVE/Replication.pm, replicate). What `zfs send` estimates counts, or what it told last if that is more: the
    last second of a stream is never told, and most runs are shorter.
    """
    texts = [_OF_JOB.sub("", line).strip() for line in lines]
    if not texts or texts[-1] != "end replication job" or not any(f"_{begun}__' on " in text for text in texts):
        return None
    estimated, sent = [0], [0]
    for text in texts:
        if found := _RUN_TOTAL.match(text):
            estimated.append(_bytes(found[1], found[2]))
            sent.append(0)
        elif found := _RUN_SENT.match(text):
            sent[-1] = max(sent[-1], _bytes(found[1], found[2]))
    return sum(max(pair) for pair in zip(estimated, sent, strict=True))


def real_lines(rows: Json) -> tuple[str, ...]:
    """The lines of an answer to `/tasks/{upid}/log`.

    An empty or missing file comes as one made-up line (pve-common: PVE/Tools.pm, dump_logfile), which is none.
    """
    found = [row.get("t") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    lines = tuple(text for text in found if isinstance(text, str))
    return () if len(lines) == 1 and re.match(r"no content$|unable to open file - ", lines[0]) else lines


def _bytes(number: str, unit: str) -> int:
    return int(float(number) * _BINARY[unit])


def _seconds(text: str) -> int:
    """Of a duration as PVE's progress lines write it: `1h 2m 40s`."""
    each = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(number) * each[unit] for number, unit in re.findall(r"(\d+)([wdhms])", text))


class _Reader:
    """One pass over some lines; what one line says is said by the handler of its shape."""

    def __init__(self, start: Progress) -> None:
        self.now = start
        self.streams = {stream.name: stream for stream in start.streams}

    def read(self, line: str) -> None:
        text = _TIME.sub("", line).strip()
        for pattern, handle in _SHAPES:
            if found := pattern.search(text):
                handle(self, found)
                return
        prefixed = _FROM_NODE.match(text)
        if prefixed is None:
            return
        for pattern, handle in _COPYING:  # insecure migrations pass on what the other node's importer says
            if found := pattern.search(prefixed[2]):
                handle(self, found)
                return
        self.hint(f"{prefixed[1]}: {prefixed[2]}")

    def progress(self, lines: int) -> Progress:
        """Everything summed up."""
        streams = tuple(self.streams.values())
        totals = [stream.total_bytes for stream in streams]
        rates = [stream.rate_bytes_s for stream in streams if not stream.done and stream.rate_bytes_s is not None]
        return replace(
            self.now,
            lines=lines,
            streams=streams,
            transferred_bytes=sum(stream.sent_bytes for stream in streams),
            total_bytes=sum(total or 0 for total in totals) if totals and None not in totals else None,
            rate_bytes_s=sum(rates) if rates else None,
        )

    def phase(self, name: str) -> None:
        self.now = replace(self.now, phase=name)

    def hint(self, text: str) -> None:
        self.now = replace(self.now, hints=(*self.now.hints, text)[-HINTS:])

    def put(self, stream: Stream) -> None:
        self.streams[stream.name] = stream

    # Memory

    def memory(self, found: Match) -> None:
        sent, total, rate = _bytes(found[1], found[2]), _bytes(found[3], found[4]), _bytes(found[5], found[6])
        self.put(Stream("memory", sent, total, float(rate)))
        dirty = float(_bytes(found[7], found[8])) if found[7] else None
        self.now = replace(self.now, phase=MEMORY, dirty_bytes_s=dirty, measured=self.measured(total, rate, dirty))

    def measured(self, total: int, rate: int, dirty: float | None) -> Measured:
        before = self.now.measured
        looks = before.looks + 1
        return Measured(
            looks=looks,
            bytes_s=before.bytes_s + (rate - before.bytes_s) / looks,
            total_bytes=total,
            dirty_bytes_s=max((each for each in (before.dirty_bytes_s, dirty) if each is not None), default=None),
        )

    def memory_averaged(self, found: Match) -> None:
        self.now = replace(self.now, downtime_ms=int(found[1]), dirty_bytes_s=None)
        self.close(self.streams.get("memory"))

    def memory_completed(self, found: Match) -> None:
        sent = _bytes(found[1], found[2])
        self.put(Stream("memory", sent, sent, None, done=True))

    def downtime_limit(self, found: Match) -> None:
        self.now = replace(self.now, downtime_limit_ms=int(found[1]))

    def downtime_raised(self, found: Match) -> None:
        self.now = replace(self.now, downtime_limit_ms=int(found[1]), downtime_raised=True)

    # Disks that run along

    def mirror_starts(self, found: Match) -> None:
        self.phase(DISKS)
        self.put(Stream(found[1]))

    def mirror(self, found: Match) -> None:
        sent, total = _bytes(found[2], found[3]), _bytes(found[4], found[5])
        seconds = _seconds(found[7])
        rate = sent / seconds if seconds else None
        self.put(Stream(found[1], sent, total, rate, done=bool(found[8]), share=float(found[6]) / 100))

    def mirror_completed(self, found: Match) -> None:
        self.close(self.streams.get(found[1]))

    # Volumes that are copied one after the other

    def copied(self) -> Stream | None:
        """The volume copied last, finished or not."""
        return next((stream for name, stream in reversed(self.streams.items()) if name.startswith("copy-")), None)

    def new_copy(self, total: int | None) -> None:
        self.phase(DISKS)
        number = sum(name.startswith("copy-") for name in self.streams) + 1
        self.put(Stream(f"copy-{number}", 0, total))

    def copy_starts(self, found: Match) -> None:
        self.new_copy(int(found[1]))

    def copy_estimated(self, found: Match) -> None:
        """A stream with several snapshots announces each of them, then their sum."""
        total = _bytes(found[2], found[3])
        last = self.copied()
        if last is None or last.done or last.sent_bytes:
            self.new_copy(total)
        else:
            self.put(replace(last, total_bytes=total if found[1] else (last.total_bytes or 0) + total))

    def copying(self, found: Match) -> None:
        self.sent(int(found[1]), float(found[2]) * _DECIMAL[found[3]])

    def copying_snapshot(self, found: Match) -> None:
        self.sent(_bytes(found[1], found[2]), None)

    def sent(self, count: int, rate: float | None) -> None:
        last = self.copied()
        if last is None or (last.done and count != last.sent_bytes):  # both ends report the end of the same copy
            self.new_copy(None)
            last = self.copied()
        if last is not None and not last.done:
            self.put(replace(last, sent_bytes=count, rate_bytes_s=rate))

    def copy_completed(self, _: Match) -> None:
        self.close(self.copied())

    def close(self, stream: Stream | None) -> None:
        """It has arrived: what was sent is the total, estimates no longer count."""
        if stream is not None:
            self.put(replace(stream, total_bytes=stream.sent_bytes, rate_bytes_s=None, done=True))

    # Phases and failures

    def prepares(self, _: Match) -> None:
        self.phase(PREPARING)

    def moves_disks(self, _: Match) -> None:
        self.phase(DISKS)

    def moves_memory(self, _: Match) -> None:
        self.phase(MEMORY)

    def finishes(self, _: Match) -> None:
        self.phase(FINISHING)

    def explains(self, found: Match) -> None:
        self.hint(found[1])

    def failed(self, found: Match) -> None:
        """The migrator's own summary, which wins over everything said before."""
        hints = "; ".join(self.now.hints)
        if found[1].startswith("Problem found while scanning volumes") and hints:
            error = hints
        else:
            error = f"{found[1]} ({hints})" if hints else found[1]
        self.now = replace(self.now, error=error)

    def went_wrong(self, found: Match) -> None:
        """Any other error. The first one is the cause; what follows is trouble in cleaning up."""
        if not self.now.error:
            self.failed(found)


_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
_OF_JOB: Final = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \d+-\d+: ")
_RUN_TOTAL: Final = re.compile(rf"^total estimated size is {_COUNT}$")
_RUN_SENT: Final = re.compile(rf"^\d\d:\d\d:\d\d\s+{_COUNT}\s+\S+@\S+$")
_FROM_NODE: Final = re.compile(r"^\[([A-Za-z0-9-]+)\] (.+)$")
_Shape = tuple[re.Pattern[str], Callable[[_Reader, Match], None]]


def _shapes(*rows: tuple[str, Callable[[_Reader, Match], None]]) -> tuple[_Shape, ...]:
    return tuple((re.compile(pattern), handle) for pattern, handle in rows)


_COPYING: Final = _shapes(
    (r"^Formatting '.*\bsize=(\d+)", _Reader.copy_starts),
    (rf"^(total )?(?:full send of .* |send from .* )?estimated size is {_COUNT}$", _Reader.copy_estimated),
    (r"^(\d+) bytes \(.*\) copied, \S+ s, (\d+(?:\.\d+)?) ([kMGT]?)B/s", _Reader.copying),
    (rf"^\d\d:\d\d:\d\d\s+{_COUNT}\s+\S+@\S+$", _Reader.copying_snapshot),
    (r"^successfully imported '", _Reader.copy_completed),
)
_SHAPES: Final = _COPYING + _shapes(
    (
        rf"^migration active, transferred {_SIZE} of {_SIZE} VM-state(?: \(.*\))?, {_SIZE}/s(?:, VM dirties.*: {_SIZE}/s)?",
        _Reader.memory,
    ),
    (
        rf"^(?:drive|mirror)-(\w+): transferred {_SIZE} of {_SIZE} \((\d+(?:\.\d+)?)%\) in ([\dwdhms ]+)(, ready)?",
        _Reader.mirror,
    ),
    (r"^migration downtime limit: (\d+) ms", _Reader.downtime_limit),
    (r"^auto-increased downtime to continue migration: (\d+) ms", _Reader.downtime_raised),
    (r"^average migration speed: .* - downtime (\d+) ms", _Reader.memory_averaged),
    (rf"^migration completed, transferred {_SIZE} VM-state", _Reader.memory_completed),
    (r"^drive mirror is starting for (?:drive|mirror)-(\w+)", _Reader.mirror_starts),
    (r"^(?:drive|mirror)-(\w+): (?:mirror-job finished|Completed successfully)", _Reader.mirror_completed),
    (
        r"^starting migration of (?:VM|CT) |^Requesting HA migration |^shutdown CT |^starting VM \d+ on remote",
        _Reader.prepares,
    ),
    (r"^(?:copying local disk images|replicating disk images|starting storage migration)", _Reader.moves_disks),
    (r"^starting online/live migration ", _Reader.moves_memory),
    (
        r"^(?:migration status: completed|start final cleanup|start container on target node|stopping NBD)",
        _Reader.finishes,
    ),
    (r"^ERROR: (?:online migrate failure - |migration aborted \(duration [\d:]+\): )(.+)", _Reader.failed),
    (r"^ERROR: migration finished with problems", _Reader.finishes),
    (r"^(?:TASK )?ERROR: (.+)", _Reader.went_wrong),
    (
        r"^((?:can't migrate|cannot migrate resource|migration status error:|ssh:|end replication job with error:) .+)",
        _Reader.explains,
    ),
    (r"^- (resource '.+)", _Reader.explains),
)


def is_lost(exit_status: str) -> bool:
    """Whether a task ended without a result: killed, or its node went down (pve-common: PVE/Tools.pm, upid_read_status)."""
    return exit_status.startswith(("unexpected status", "unable to get last line from task log")) or not exit_status
