"""The board: the last word about every cluster and about the source, where HTTP handlers and pages read it.

Written by the loop, read by `report.http` and `report.overview`; all on the loop's thread, so a reader never sees half of it.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from controller.clock import Clock
from controller.model.event import Event, EventFilter
from controller.model.ids import ClusterName, ObjectRef
from controller.model.outcome import Outcome
from controller.model.plan import Drain
from controller.model.revision import SourceView
from controller.model.view import ClusterView
from controller.report.statement import ObjectStatus
from controller.report.store import Store
from controller.specs import Problem, Specs

STUCK_SECONDS = 300.0
"""A cluster's loop that has shown nothing for so long is called stuck by `/healthz`."""


HISTORY = 500
"""The most events, and the most attempts, that one answer shows per cluster."""
_ALL = EventFilter()


@dataclass(frozen=True, slots=True)
class Published:
    """One cluster on the board. Events and attempts are read from its state file when somebody asks, on the loop's thread."""

    view: ClusterView
    specs: Specs = field(default_factory=Specs)  # of all clusters
    statuses: Mapping[ObjectRef, ObjectStatus] = field(default_factory=lambda: MappingProxyType({}))
    store: Store | None = None

    def events(self, wanted: EventFilter = _ALL) -> tuple[Event, ...]:
        """The latest events that are asked for. Raises DroverError when the state file can't be read."""
        return self.store.events(HISTORY, wanted) if self.store is not None else ()

    def attempts(self) -> tuple[Outcome, ...]:
        """The latest attempts to move a guest. Raises DroverError when the state file can't be read."""
        return self.store.attempts(HISTORY) if self.store is not None else ()


@dataclass(frozen=True, slots=True)
class SourceState:
    """How the source stands. `awaiting`: the revision whose deletions wait for `drover confirm`, else ""."""

    specs: Specs = field(default_factory=Specs)
    revision: str = ""
    problems: tuple[Problem, ...] = ()
    awaiting: str = ""
    complete: bool = False  # the last reading could read all of it
    was_read: bool = False
    view: SourceView | None = None  # of a source with revisions


class Board:
    """What is shown. `wall` and `monotonic` of `clock` say what time it is for the readers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.source = SourceState()
        self.version = 0
        """Counts what has been put on the board."""
        self._clusters: dict[ClusterName, Published] = {}
        self._shown_at: dict[ClusterName, float] = {}
        self._changed = asyncio.Event()

    @property
    def clusters(self) -> Mapping[ClusterName, Published]:
        """Every cluster that has been shown, by name."""
        return MappingProxyType(dict(sorted(self._clusters.items())))

    @property
    def drains(self) -> Mapping[ClusterName, Sequence[Drain]]:
        """The drains of every cluster's present plan."""
        plans = {name: shown.view.plan for name, shown in self._clusters.items()}
        return {name: plan.drains for name, plan in plans.items() if plan is not None}

    @property
    def statuses(self) -> dict[ObjectRef, ObjectStatus]:
        """The statuses of all clusters' objects."""
        return {ref: status for shown in self._clusters.values() for ref, status in shown.statuses.items()}

    def publish(
        self, view: ClusterView, specs: Specs, statuses: Mapping[ObjectRef, ObjectStatus], store: Store | None
    ) -> None:
        """Put one cluster on the board in place of what was there. `store` is None while another process holds the file."""
        self._clusters[view.cluster] = Published(view, specs, statuses, store)
        self._shown_at[view.cluster] = self.clock.monotonic()
        self._wake()

    def show_source(
        self,
        specs: Specs,
        revision: str,
        problems: Iterable[Problem],
        *,
        complete: bool,
        awaiting: str = "",
        view: SourceView | None = None,
    ) -> None:
        """Put what the source gave on the board. `complete`: all of it could be read."""
        was_read = self.source.was_read or complete
        self.source = SourceState(specs, revision, tuple(problems), awaiting, complete, was_read, view)
        for name in specs.clusters:
            # From here on its loop has to show something.
            self._shown_at.setdefault(ClusterName(name), self.clock.monotonic())
        self._wake()

    def forget(self, name: ClusterName) -> None:
        """Take a cluster off the board."""
        self._clusters.pop(name, None)
        self._shown_at.pop(name, None)
        self._wake()

    async def change(self) -> None:
        """Return when something has been put on the board."""
        await self._changed.wait()

    def not_alive(self) -> str:
        """Why the process should be restarted; "" when every loop makes progress."""
        now = self.clock.monotonic()
        stuck = sorted(name for name, at in self._shown_at.items() if now - at > STUCK_SECONDS)
        return f"no progress for more than {STUCK_SECONDS:.0f} s: {', '.join(stuck)}" if stuck else ""

    def not_ready(self) -> str:
        """What is missing before what is shown can be relied upon; "" when nothing is."""
        if not self.source.was_read:
            return "the source has not been read completely yet"
        if not self.source.specs.clusters:
            return "the source has no PveCluster"
        seen = {name for name, shown in self._clusters.items() if shown.view.seen is not None}
        unseen = sorted(name for name in self.source.specs.clusters if name not in seen)
        return f"not looked at completely yet: {', '.join(unseen)}" if unseen else ""

    def _wake(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()
