"""Which events are worth a message to which sink, and what the message says. Pure.

Used by `report.notifier` and `report.sinks`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from controller.model.event import Event, EventType
from controller.model.ids import ClusterName
from controller.model.notice import Gravity, Notice, Told
from controller.report.events import Told as Reason
from controller.report.history import alike
from controller.report.store_notices import Outbox
from controller.report.units import count_of, timestamp
from controller.specs.pvecluster import Severity

BODY_VERSION = "1"
"""Of the JSON of a webhook: raised when a field changes its meaning or goes, never for a new one."""
QUIET_SECONDS = 3600.0
"""What says the same about the same object again within this time is counted, not sent again."""
QUEUE_LIMIT = 500
"""The most that waits for one sink, in one cluster."""
TOLD_LIMIT = 500

CRITICAL = frozenset({Reason.QUORUM_LOST, Reason.MOVE_STUCK, Reason.NODE_TURN_FAILED, Reason.DRAIN_TOO_LATE})
"""Reasons of events that should wake somebody. Every other warning is a Warning, everything else Info."""


@dataclass(frozen=True, slots=True)
class Posting:
    """What taking in some events changes in an outbox; `lost`: by sink, how many a full queue has pushed out."""

    put: tuple[Notice, ...] = ()
    take: tuple[str, ...] = ()
    told: Mapping[str, Mapping[str, Told]] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.put or self.take or self.told)


def gravity(event: Event) -> Gravity:
    """How much an event matters."""
    if event.type is EventType.NORMAL:
        return Gravity.INFO
    return Gravity.CRITICAL if event.reason in CRITICAL else Gravity.WARNING


def gravity_of(severity: Severity) -> Gravity:
    """The word of a manifest as a number that can be compared."""
    return Gravity[severity.name]


def posting(
    cluster: ClusterName, wanted: Mapping[str, Gravity], events: Iterable[Event], outbox: Outbox, *, at: float
) -> Posting:
    """Put the events into the queues of the sinks that want them; `wanted`: the least that each is sent.

    A full queue loses its oldest. What was told within the hour is only counted.
    """
    happened = tuple(events)
    put: list[Notice] = []
    take: list[str] = []
    told: dict[str, dict[str, Told]] = {}
    lost: dict[str, int] = {}
    number = max((int(key) for key in outbox.queue), default=0)
    for sink, least in wanted.items():
        before = {key: said for key, said in outbox.told.get(sink, {}).items() if said.at > at - QUIET_SECONDS}
        now = dict(before)
        mine = [key for key, notice in outbox.queue.items() if notice.sink == sink]
        for event in happened:
            if gravity(event) < least:
                continue
            print_ = fingerprint(event)
            if print_ in now:
                now[print_] = replace(now[print_], more=now[print_].more + event.count)
                continue
            number += 1
            # What was held back within the last hour is told with the next message that says the same.
            more = outbox.told.get(sink, {}).get(print_, Told(0.0)).more
            counted = replace(event, count=event.count + more)
            notice = _notice(cluster, sink, number, counted, at)
            put.append(notice)
            mine.append(notice.key)
            now[print_] = Told(at)
        if len(mine) > QUEUE_LIMIT:
            gone = set(mine[:-QUEUE_LIMIT])
            take += sorted(gone & outbox.queue.keys())
            put = [notice for notice in put if notice.key not in gone]
            lost[sink] = len(gone)
        if now != before:
            told[sink] = dict(sorted(now.items(), key=lambda item: item[1].at)[-TOLD_LIMIT:])
    return Posting(tuple(put), tuple(take), told, lost)


def _notice(cluster: ClusterName, sink: str, number: int, event: Event, at: float) -> Notice:
    name = hashlib.sha256(f"{cluster}\n{sink}\n{number}\n{at!r}\n{fingerprint(event)}".encode()).hexdigest()[:32]
    return Notice(f"{number:012d}", name, sink, cluster, gravity(event), event, at)


def fingerprint(event: Event) -> str:
    """The same for events that are counted together: measured numbers make no difference."""
    text = "\n".join((event.type, event.reason, event.about.kind, event.about.name, alike(event.message)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def body(notice: Notice) -> dict[str, object]:
    """The JSON of a webhook, described in docs/notifications.md."""
    event = notice.event
    return {
        "version": BODY_VERSION,
        "id": notice.id,
        "cluster": notice.cluster,
        "severity": notice.gravity.word,
        "reason": event.reason,
        "object": {"kind": event.about.kind, "name": event.about.name},
        "message": event.message,
        "count": event.count,
        "firstTimestamp": timestamp(event.first),
        "lastTimestamp": timestamp(event.last),
        "dropped": notice.dropped,
    }


def title(notice: Notice) -> str:
    """The line that a telephone shows."""
    event = notice.event
    return f"{notice.gravity.word}: {event.reason} {event.about.kind} {event.about.name} ({notice.cluster})"


def text(notice: Notice) -> str:
    """The message for people."""
    event = notice.event
    lines = [event.message]
    if event.count > 1:
        lines.append(f"{event.count} times since it was told last")
    if notice.dropped:
        lines.append(f"{count_of(notice.dropped, 'earlier message')} could not be delivered: see drover events")
    return "\n".join(lines)
