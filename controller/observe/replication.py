"""How replication jobs stand, by the word of the nodes that run them: asked gently, because PVE takes the cluster's lock for it.

Used by `observe.cluster`. A node is asked only while it has guests with jobs, once a minute, four times as often while
something is expected there, and never more than a few nodes at one look. Logs of runs take no lock; a few are read along. What is
not asked again gets old, and says so.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final, TypeVar

from controller.clock import Clock
from controller.model.errors import DroverError
from controller.model.ids import NodeName, Vmid
from controller.model.observed import Guest, ReplicationJob
from controller.model.outcome import Progress
from controller.model.reasons import Why
from controller.model.replication import NodeClock, ReplicationState, is_for_move, owner_of
from controller.pve import tasklog
from controller.pve.client import LOG_PAGE, PveClient
from controller.pve.errors import failed_run

PERIOD_SECONDS: Final = 60.0
EXPECTING_SECONDS: Final = 15.0
"""Period while a run is under way or due: PVE's own scheduler works by the minute."""
CLOCK_SECONDS: Final = 600.0
NODES_AT_ONCE: Final = 4
LOGS_AT_ONCE: Final = 2
SIZES_AT_ONCE: Final = 3
"""Logs of good runs that are read when a node is asked, to learn how much they sent; who waited longest comes first."""
LOG_PAGES: Final = 3
"""Read at once of the log of a run; more is read at the next look."""
_DUE_WITHIN: Final = 30.0

Noun = TypeVar("Noun")
Asking = Callable[[NodeName, Callable[[], Awaitable[Noun]]], Awaitable[Noun | None]]
"""Reads from a node; None for any trouble, which is not repeated soon."""


class ReplicationWatch:
    """What nodes have said of their jobs, and when they are asked again. Times of the monotonic clock, in seconds."""

    def __init__(self, client: PveClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._asked: dict[NodeName, float] = {}
        self._clocks: dict[NodeName, tuple[float, NodeClock]] = {}
        self._states: dict[str, ReplicationState] = {}
        self._causes: dict[str, tuple[int, Why | None]] = {}  # by job: when the run began that failed, and why
        self._syncs: dict[str, tuple[int, Progress]] = {}  # by job: the start of the run, and how far it is
        self._sizes: dict[str, tuple[int, int | None]] = {}  # by job: when the good run began, and bytes it sent
        self._for_moves: frozenset[str] = frozenset()
        self._owned: frozenset[str] = frozenset()  # jobs of policies
        self._hurried = False

    @property
    def states(self) -> Mapping[str, ReplicationState]:
        """How jobs stand, as last told."""
        return MappingProxyType(dict(self._states))

    @property
    def syncs(self) -> Mapping[str, Progress]:
        """How far the runs are that moves wait for, as last told."""
        running = {name for name, state in self._states.items() if state.running}
        return MappingProxyType({name: told for name, (_, told) in self._syncs.items() if name in running})

    @property
    def clocks(self) -> Mapping[NodeName, NodeClock]:
        """Clocks of the nodes with jobs, as last told."""
        return MappingProxyType({node: clock for node, (_, clock) in self._clocks.items()})

    def hurry(self) -> None:
        """Something was asked of jobs: what they say now matters sooner."""
        self._hurried = True

    def see(self, jobs: Iterable[ReplicationJob]) -> None:
        """These are the jobs now: what is known of others is forgotten."""
        known = tuple(jobs)
        ids = {job.id for job in known}
        self._for_moves = frozenset(job.id for job in known if is_for_move(job.comment))
        self._owned = frozenset(job.id for job in known if owner_of(job.comment) is not None)
        self._sizes = {name: told for name, told in self._sizes.items() if name in self._owned}
        self._syncs = {name: told for name, told in self._syncs.items() if name in ids}
        self._states = {name: state for name, state in self._states.items() if name in ids}
        self._causes = {name: told for name, told in self._causes.items() if name in ids}

    def due(
        self, now: float, jobs: Iterable[ReplicationJob], guests: Mapping[Vmid, Guest], online: Iterable[NodeName]
    ) -> list[NodeName]:
        """Nodes to be asked `now`, the longest unasked first; few at a time."""
        there: dict[NodeName, list[ReplicationJob]] = {}
        for job in jobs:
            guest = guests.get(job.vmid)
            if guest is not None:
                there.setdefault(guest.node, []).append(job)
        up = frozenset(online)
        self._asked = {node: at for node, at in self._asked.items() if node in there}
        self._clocks = {node: told for node, told in self._clocks.items() if node in there}
        waiting = [
            (self._asked.get(node, -1.0), node)
            for node, mine in there.items()
            if node in up and now - self._asked.get(node, float("-inf")) >= self._period(node, mine)
        ]
        self._hurried = False
        return [node for _, node in sorted(waiting)[:NODES_AT_ONCE]]

    def _period(self, node: NodeName, jobs: Iterable[ReplicationJob]) -> float:
        if self._hurried:
            return EXPECTING_SECONDS
        return EXPECTING_SECONDS if any(self._expected(node, job) for job in jobs) else PERIOD_SECONDS

    def _expected(self, node: NodeName, job: ReplicationJob) -> bool:
        """Whether something happens to the job about now: it runs, is due, or has come with its guest."""
        state = self._states.get(job.id)
        if job.disabled and not job.removing:
            return False
        if state is None or state.node != node or state.running:
            return True
        there = self._clock.wall() + self._clocks.get(node, (0.0, NodeClock(0.0, "")))[1].ahead_seconds
        return 0 < state.next_sync <= there + _DUE_WITHIN

    async def read(self, node: NodeName, now: float, ask: Asking[object]) -> None:
        """Ask one node: how its jobs stand, now and then its clock, and the logs of runs that failed for unknown reasons."""
        self._asked[node] = now
        if node not in self._clocks or now - self._clocks[node][0] >= CLOCK_SECONDS:
            await ask(node, lambda: self._read_clock(node, now))
        await ask(node, lambda: self._read_states(node))
        for name in sorted(self._for_moves):
            if (state := self._states.get(name)) is not None and state.node == node and state.running:
                await ask(node, partial(self._read_progress, state))
        for state in self._unexplained(node):
            await ask(node, lambda state=state: self._read_log(state))  # type: ignore[misc]  # mypy can't see the default
        for state in self._unmeasured(node):
            await ask(node, partial(self._read_size, state))

    async def _read_clock(self, node: NodeName, now: float) -> None:
        told = await self._client.node_time(node)
        self._clocks[node] = now, NodeClock(round(told.epoch - self._clock.wall()), told.zone)

    async def _read_states(self, node: NodeName) -> None:
        told = await self._client.replication_states(node, at=self._clock.wall())
        mine = {state.job_id: self._explained(state) for state in told}
        gone = {name for name, state in self._states.items() if state.node == node and name not in mine}
        self._states = {name: state for name, state in self._states.items() if name not in gone} | mine

    def _explained(self, state: ReplicationState) -> ReplicationState:
        """With what the log of the run said; while the next one is under way, with what that of the one before said."""
        run, why = self._causes.get(state.job_id, (0, None))
        if state.error and state.why is None and (state.running or run == state.last_try):
            state = replace(state, why=why)
        run, size = self._sizes.get(state.job_id, (0, None))
        return replace(state, sent_bytes=size) if state.running or run == state.last_try else state

    def _unmeasured(self, node: NodeName) -> list[ReplicationState]:
        """Good runs of policies' jobs whose log has not been read."""
        found = [
            state
            for name, state in self._states.items()
            if name in self._owned
            and state.node == node
            and not state.running
            and not state.fail_count
            and state.last_try
            and self._sizes.get(name, (0, None))[0] != state.last_try
        ]
        return sorted(found, key=lambda s: (self._sizes.get(s.job_id, (0, None))[0], s.job_id))[:SIZES_AT_ONCE]

    def _unexplained(self, node: NodeName) -> list[ReplicationState]:
        """Runs that failed without a word of why, whose log has not been read; a job that is asked again starts at 0."""
        found = [
            state
            for state in self._states.values()
            if state.node == node
            and state.error
            and state.why is None
            and state.last_try
            and not state.running
            and self._causes.get(state.job_id, (0, None))[0] != state.last_try
        ]
        return sorted(found, key=lambda state: state.job_id)[:LOGS_AT_ONCE]

    async def _read_progress(self, state: ReplicationState) -> None:
        """How far the run is that a move waits for: its log grows by a line each second."""
        begun, before = self._syncs.get(state.job_id, (0, Progress()))
        before = before if begun == state.last_try else Progress()
        for _ in range(LOG_PAGES):
            lines, _ = await self._client.job_log(state.node, state.job_id, before.lines)
            before = tasklog.follow_run(before, lines)
            if len(lines) < LOG_PAGE:
                break
        self._syncs[state.job_id] = state.last_try, before

    async def _read_log(self, state: ReplicationState) -> None:
        try:
            lines = await self._client.replication_log(state.node, state.job_id)
        except DroverError:
            self._causes[state.job_id] = state.last_try, None
            raise
        why = failed_run(state.error, lines)
        self._causes[state.job_id] = state.last_try, why
        self._states[state.job_id] = replace(state, why=why)

    async def _read_size(self, state: ReplicationState) -> None:
        """How much a good run sent. It counts as read also when nothing comes of it: then nothing is said until the next run."""
        self._sizes[state.job_id] = state.last_try, None
        lines = await self._client.replication_log(state.node, state.job_id)
        size = tasklog.run_bytes(lines, state.last_try)
        self._sizes[state.job_id] = state.last_try, size
        self._states[state.job_id] = replace(self._states.get(state.job_id, state), sent_bytes=size)
