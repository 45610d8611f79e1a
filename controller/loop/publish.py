"""Tells everybody how a cluster stands: conditions, events, metrics, the HTTP board, the log, and whoever listens.

Called by `loop.daemon` and `loop.cluster_loop` after every tick and while moves are followed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from controller.clock import Clock
from controller.model.condition import Condition
from controller.model.errors import DroverError
from controller.model.event import Event, EventType
from controller.model.ids import ClusterName, ObjectRef
from controller.model.revision import SourceView
from controller.model.view import ClusterView
from controller.report import conditions, events
from controller.report.board import Board
from controller.report.metrics import Metrics
from controller.report.notifier import Notifier
from controller.report.statement import ObjectStatus
from controller.report.store import Store
from controller.sources import Held
from controller.specs import Problem

Statuses = Mapping[ObjectRef, ObjectStatus]
Listener = Callable[[ClusterView, Statuses, Sequence[Event]], None]
"""Is told every view as it is published, with the statuses and what just happened. The demo and stories listen."""


class Publisher:
    """One per process; keeps of every cluster what was said last, so that only changes become events."""

    def __init__(
        self,
        board: Board,
        metrics: Metrics,
        clock: Clock,
        listeners: Sequence[Listener] = (),
        notifier: Notifier | None = None,
    ) -> None:
        self._board = board
        self._metrics = metrics
        self._clock = clock
        self._listeners = tuple(listeners)
        self._notifier = notifier
        self._statuses: dict[ClusterName, Statuses] = {}
        self._problems: dict[ClusterName, tuple[Problem, ...]] = {}
        self._source: SourceView | None = None
        self._sources_told: dict[ClusterName, SourceView | None] = {}
        self._saved: dict[ClusterName, Held] = {}  # the specs that the state file of the cluster has
        self._unwritten: set[ClusterName] = set()  # clusters whose state file refused the last writing
        self._log = structlog.get_logger()

    def publish(self, view: ClusterView, held: Held, store: Store | None) -> None:
        """Take in a view. `store` is None while another process holds the state file: then nothing is written down."""
        name = view.cluster
        spec = held.specs.clusters.get(name)
        if self._notifier is not None and spec is not None:
            view = replace(view, notifying=self._notifier.finding(spec))
        before = self._statuses[name] if name in self._statuses else _remembered(store)
        statuses = conditions.statuses(
            held.specs, held.problems, view, before, vanished_nodes=frozenset(held.vanished_nodes), source=self._source
        )
        happened = [
            *events.of_problems(self._problems.get(name, ()), held.problems, at=view.at),
            *events.of_source(self._sources_told.get(name), self._source, name, at=view.at),
            *events.of_outcomes(view.outcomes),
            *view.events,
            *events.of_flips(before, statuses, at=view.at),
        ]
        self._statuses[name], self._problems[name] = statuses, held.problems
        self._sources_told[name] = self._source
        if store is not None:
            self._write_down(name, store, statuses, happened, held)
        for event in happened:
            write = self._log.warning if event.type is EventType.WARNING else self._log.info
            write(event.message, cluster=name, type=event.type.value, reason=event.reason, about=str(event.about))
        self._metrics.publish(view, statuses, leads=store is not None)
        self._board.publish(view, held.specs, statuses, store)
        for listener in self._listeners:
            listener(view, statuses, happened)

    def source(self, held: Held, *, complete: bool, view: SourceView | None = None) -> None:
        """Take in what the source gave; `complete` when all of it could be read, `view` how its revisions stand."""
        self._source = view
        current = view is None or view.finding is None or view.finding.ok
        self._metrics.source(
            revision=held.revision,
            errors=len(held.problems),
            objects=Counter(resource.kind for resource in held.specs),
            at=self._clock.wall(),
            complete=complete and current,
            view=view,
        )
        self._board.show_source(
            held.specs, held.revision, held.problems, complete=complete, awaiting=held.awaiting or "", view=view
        )

    def tick_failed(self, cluster: ClusterName) -> None:
        """Count a tick that ended in a fault of Drover."""
        self._metrics.tick_failed(cluster)

    def forget(self, cluster: ClusterName) -> None:
        """Stop showing a cluster that the source no longer names."""
        self._statuses.pop(cluster, None)
        self._problems.pop(cluster, None)
        self._sources_told.pop(cluster, None)
        self._saved.pop(cluster, None)
        self._unwritten.discard(cluster)
        if self._notifier is not None:
            self._notifier.forget(cluster)
        self._metrics.forget(cluster)
        self._board.forget(cluster)

    def _write_down(
        self, name: ClusterName, store: Store, statuses: Statuses, happened: Sequence[Event], held: Held
    ) -> None:
        try:
            store.record_event(*happened)
            store.save_conditions({ref: _by_type(status) for ref, status in statuses.items()})
            if self._saved.get(name) is not held:
                store.save_source(held.to_json())
                self._saved[name] = held
            spec = held.specs.clusters.get(name)
            if self._notifier is not None and spec is not None:
                self._notifier.take(spec, happened, store)
            self._unwritten.discard(name)
        except DroverError as error:
            if name not in self._unwritten:  # once; the condition Armed says it for as long as it lasts
                self._log.error("state not written", cluster=name, reason=error.why, error=error.message)
            self._unwritten.add(name)


def _by_type(status: ObjectStatus) -> Mapping[str, Condition]:
    return {condition.type: condition for condition in status.conditions}


def _remembered(store: Store | None) -> Statuses:
    """The statuses of the process before this one, so that nothing is announced twice and times of flips stay."""
    if store is None:
        return {}
    try:
        saved = store.conditions()
    except DroverError:
        return {}
    return {ref: ObjectStatus(tuple(of.values())) for ref, of in saved.items()}
