"""Sends word of events to the sinks that PveClusters name: queued on disk, tried again with back-off, never in a tick's way.

Built by `app`; fed by `loop.publish`, which only writes the queue. One task per sink does the sending.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from controller.clock import Clock
from controller.model.errors import DroverError
from controller.model.event import Event
from controller.model.ids import ClusterName
from controller.model.notice import Gravity, Notice
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.outgoing import Later, Ok
from controller.report import notices, sinks
from controller.report.metrics.notifications import NotificationMetrics, NotificationResult
from controller.report.store import Store
from controller.report.units import count_of
from controller.settings import Sink
from controller.specs import PveCluster

FIRST_WAIT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 900.0
GIVE_UP_SECONDS = 86400.0
"""A message that no sink took for so long is old news."""
_AFTER_FAULT_SECONDS = 5.0  # the disk refused to take a message out; sending it again at once would repeat it at once


@dataclass(slots=True)
class _State:
    """How sending to one sink goes."""

    failures: int = 0
    trouble: str = ""
    not_before: float = 0.0  # monotonic


class Notifier:
    """One per process. `run` sends until it is cancelled; what is queued then is on disk and goes on after a restart."""

    def __init__(self, defined: Mapping[str, Sink], clock: Clock, metrics: NotificationMetrics) -> None:
        self._senders = {name: sinks.sender(sink) for name, sink in defined.items()}
        self._states = {name: _State() for name in defined}
        self._wakes = {name: asyncio.Event() for name in defined}
        self._clock = clock
        self._metrics = metrics
        self._stores: dict[ClusterName, Store] = {}
        self._log = structlog.get_logger()
        for name in defined:
            metrics.add_sink(name)

    def take(self, spec: PveCluster, events: Sequence[Event], store: Store) -> None:
        """Queue what the sinks of a cluster want. Raises DroverError when it can't be written down."""
        cluster = ClusterName(spec.name)
        news = self._stores.get(cluster) is not store
        self._stores[cluster] = store
        wanted: dict[str, Gravity] = {}
        for each in spec.spec.notifications:
            if each.sink in self._senders:
                least = notices.gravity_of(each.min_severity)
                wanted[each.sink] = min(least, wanted.get(each.sink, least))
        if wanted and events:
            before = store.outbox()
            made = notices.posting(cluster, wanted, events, before, at=self._clock.wall())
            if made:
                given_up = {sink: before.given_up.get(sink, 0) + lost for sink, lost in made.lost.items()}
                store.change_outbox(put=made.put, take=made.take, told=made.told, given_up=given_up)
                for sink, lost in made.lost.items():
                    self._metrics.count(sink, NotificationResult.DROPPED, lost)
                news = True
        if news:
            for wake in self._wakes.values():
                wake.set()

    def forget(self, cluster: ClusterName) -> None:
        """Send nothing more of a cluster that the source no longer names; its queue stays in its state file."""
        self._stores.pop(cluster, None)

    def finding(self, spec: PveCluster) -> Finding | None:
        """Whether word gets through to the sinks of a cluster; None when it names none."""
        named = sorted({each.sink for each in spec.spec.notifications})
        if not named:
            return None
        unknown = [sink for sink in named if sink not in self._senders]
        if unknown:
            known = ", ".join(sorted(self._senders)) or "none"
            return Finding(False, Why.NO_SINK, f"the settings define no sink {', '.join(unknown)} (defined: {known})")
        broken = [f"{sink}: {self._states[sink].trouble}" for sink in named if self._states[sink].trouble]
        if broken:
            return Finding(False, Why.NOT_DELIVERED, "; ".join(broken))
        return Finding(True, Why.AS_EXPECTED, f"{count_of(len(named), 'sink')}: {', '.join(named)}")

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for name in self._senders:
                    group.create_task(self._serve(name), name=f"notify-{name}")
        finally:
            for sender in self._senders.values():
                sender.close()

    async def _serve(self, sink: str) -> None:
        state, wake = self._states[sink], self._wakes[sink]
        while True:
            wake.clear()
            found = self._next(sink)
            if found is None:
                await wake.wait()
                continue
            left = state.not_before - self._clock.monotonic()
            if left > 0:
                await self._clock.sleep(left)
                continue
            store, notice = found
            try:
                await self._send(sink, store, notice)
            except DroverError as error:
                self._log.error("notification not written", sink=sink, reason=error.why, error=error.message)
                state.not_before = self._clock.monotonic() + _AFTER_FAULT_SECONDS

    def _next(self, sink: str) -> tuple[Store, Notice] | None:
        """The oldest message for a sink, of all clusters."""
        waiting: list[tuple[float, str, Store, Notice]] = []
        queued = 0
        for store in self._stores.values():
            try:
                mine = [notice for notice in store.outbox().queue.values() if notice.sink == sink]
            except DroverError:
                continue  # told by the condition Armed; its cluster hands over a store that works again
            queued += len(mine)
            if mine:
                waiting.append((mine[0].queued_at, mine[0].key, store, mine[0]))
        self._metrics.queued(sink, queued)
        if not waiting:
            return None
        _, _, store, notice = min(waiting, key=lambda each: each[:2])
        return store, notice

    async def _send(self, sink: str, store: Store, notice: Notice) -> None:
        state, lost = self._states[sink], store.outbox().given_up.get(sink, 0)
        notice = replace(notice, dropped=lost)
        answer = await self._senders[sink].send(notice, at=self._clock.wall())
        log = self._log.bind(sink=sink, cluster=notice.cluster, reason=notice.event.reason, id=notice.id)
        if isinstance(answer, Ok):
            if state.failures:
                self._log.info("notifications get through again", sink=sink)
            state.failures, state.trouble = 0, ""
            self._metrics.count(sink, NotificationResult.DELIVERED)
            # What was given up while this was under way is told with the next message.
            lost = store.outbox().given_up.get(sink, 0) - lost
            store.change_outbox(take=[notice.key], given_up={sink: lost})
            return
        self._metrics.count(sink, NotificationResult.FAILED)
        final = sinks.refused(answer) or self._clock.wall() - notice.queued_at > GIVE_UP_SECONDS
        if state.trouble != answer.message and not final:
            log.warning("notification failed", error=answer.message)
        state.trouble = answer.message
        state.failures += 1
        wait = min(FIRST_WAIT_SECONDS * 2.0 ** min(state.failures - 1, 20), LONGEST_WAIT_SECONDS)
        if isinstance(answer, Later) and answer.after_seconds is not None:
            wait = max(wait, answer.after_seconds)
        state.not_before = self._clock.monotonic() + wait
        if final:
            store.change_outbox(take=[notice.key], given_up={sink: lost + 1})
            self._metrics.count(sink, NotificationResult.DROPPED)
            log.warning("notification given up", error=answer.message)
        else:
            store.change_outbox(put=[replace(notice, tried=notice.tried + 1, dropped=0)])
