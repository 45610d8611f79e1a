"""Makes one picture of one cluster: which calls, in which order, and what if a node is silent.

`loop.tick` looks with it; `act.execute` looks again with it, right before a move. The number of calls does not grow with guests:
four at each look (membership, rows, tasks, HA), replication once a minute, how its jobs stand as often of a few nodes, rights and
versions every ten minutes, and the configs of a few guests, of a few more while a plan waits for them. Where HA has resources its
rules come once a minute, and whether it balances every ten.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

from controller.clock import Clock
from controller.model.errors import Denied, DroverError, Stale
from controller.model.facts import Setup
from controller.model.ids import ClusterName, GuestIdentity, NodeName, Vmid
from controller.model.observed import (
    IDLE_LOCK_SECONDS,
    Fresh,
    Guest,
    GuestConfig,
    Node,
    NodeState,
    Observed,
    Power,
    Preconditions,
    ReplicationJob,
    Task,
)
from controller.model.reasons import Why
from controller.model.rights import Rights
from controller.observe import selfcheck
from controller.observe.configs import ConfigCache
from controller.observe.facts import FactReader, Subject
from controller.observe.freshness import Freshness, Part
from controller.observe.ha import HaRules, read_ha_rules
from controller.observe.nodes import merged_nodes, with_numbers
from controller.observe.replication import ReplicationWatch
from controller.pve.client import PveClient
from controller.pve.decode import ClusterOptions, ClusterStatus, HaStatus, Resources

BACKGROUND_SECONDS: Final = 2.0
"""How long a look waits for what it could do without: configs and versions, which a silent node may hold up for 30 s."""
CLOSELY: Final = 500
"""How many configs are read by a look that will have no successors."""
CLOSELY_SECONDS: Final = 30.0
"""How long such a look waits for them."""
SILENCE_SECONDS: Final = 60.0
"""How long a node that did not answer in the background is left alone there."""
RIGHTS_AGAIN_SECONDS: Final = 60.0

Noun = TypeVar("Noun")


class Wanted(Protocol):
    """A move, or a flight: who goes from where to where."""

    @property
    def identity(self) -> GuestIdentity:
        """The guest."""
        ...

    @property
    def source(self) -> NodeName:
        """Where it is expected."""
        ...

    @property
    def target(self) -> NodeName:
        """Where it is to go."""
        ...


class Observer:
    """Looks at one cluster, and keeps what need not be read at every look. token_id: only for the printed `pveum` lines."""

    def __init__(self, client: PveClient, *, cluster: ClusterName, clock: Clock, token_id: str = "") -> None:
        self._client = client
        self._cluster = cluster
        self._clock = clock
        self._token_id = token_id
        self._freshness = Freshness()
        self._configs = ConfigCache()
        self._versions: dict[NodeName, tuple[int, ...]] = {}
        self._silent_until: dict[NodeName, float] = {}
        self._guests: dict[Vmid, Guest] = {}
        self._online: tuple[NodeName, ...] = ()
        self._offline: frozenset[NodeName] = frozenset()
        self._ha: HaStatus | None = None
        self._ha_rules = HaRules()
        self._ha_balances = False
        self._writes_ha_rules = False
        self._jobs: tuple[ReplicationJob, ...] = ()
        self._locked_since: dict[Vmid, float] = {}
        self._migrating_since: dict[Vmid, float] = {}
        self._missing: tuple[selfcheck.Missing, ...] = ()
        self._rights_seen = Rights()
        self._hindered = False
        self._rights_at = 0.0
        self._facts = FactReader(client, clock)
        self._replication = ReplicationWatch(client, clock)
        self._quorate = False

    @property
    def missing(self) -> tuple[selfcheck.Missing, ...]:
        """Rights the token lacks, as last checked."""
        return self._missing

    @property
    def missing_rights(self) -> tuple[str, ...]:
        """The `pveum` lines that would grant what is missing; () when nothing is."""
        extras = (selfcheck.Extra.HA_RULES,) if self._writes_ha_rules else ()
        return selfcheck.pveum_lines(self._token_id, self._missing, self._oldest_version(), extras)

    def ages(self) -> Mapping[Part, float | None]:
        """Seconds since each part was read; None = never."""
        return self._freshness.ages(self._clock.monotonic())

    def jobs_changed(self) -> None:
        """Replication jobs were made or changed: the next look reads their list again, and asks their nodes sooner."""
        self._freshness.forget(Part.REPLICATION)
        self._replication.hurry()

    def ha_rules_changed(self) -> None:
        """Rules of PVE HA were made or changed: the next look reads them again."""
        self._freshness.forget(Part.HA_RULES)

    def need_configs(self, vmids: Collection[Vmid]) -> None:
        """A plan waits for the configs of these guests: the next looks read them before others, and more at once."""
        self._configs.need(vmids)

    def hindered(self, by_rights: bool) -> None:
        """Whether something can't be planned because the token lacks a right: its rights are then looked at more often."""
        self._hindered = by_rights

    def expect(self, *, writes_ha_rules: bool) -> None:
        """Say what the token has to be able to do besides the usual."""
        if writes_ha_rules != self._writes_ha_rules:
            self._writes_ha_rules = writes_ha_rules
            self._freshness.forget(Part.RIGHTS)

    async def look(self) -> Observed:
        """The cluster now. Raises DroverError when membership, rows or tasks can't be read: half a picture is none.

        Everything else that fails keeps what was last known of it.
        """
        at, now = self._clock.wall(), self._clock.monotonic()
        core, *rest = await asyncio.gather(
            self._core(),
            self._optional(Part.HA, now, self._client.ha_manager_status, self._keep_ha),
            self._optional(Part.REPLICATION, now, self._client.replication_jobs, self._keep_jobs),
            self._rights(now),
            self._background(now),
            return_exceptions=True,
        )
        if self._ha is not None and self._ha.services:
            await self._optional(Part.HA_RULES, now, partial(read_ha_rules, self._client), self._keep_ha_rules)
            await self._optional(Part.OPTIONS, now, self._client.options, self._keep_options)
        else:
            self._ha_rules, self._ha_balances = HaRules(), False
        self._freshness.note(Part.CLUSTER, now, ok=not isinstance(core, BaseException))
        if self._rights_may_be_gone(core):
            await self._refresh(Part.RIGHTS, now, self._client.permissions, self._keep_rights)
        for part in rest:
            _value(part)
        return self._observed(at, *_value(core))

    async def look_closely(self) -> Observed:
        """As `look`, with the configs of all guests and the state of their jobs, for who looks once and not every ten seconds.

        Of a cluster with very many guests some configs are left out, as at the first look of the daemon.
        """
        seen, now = await self.look(), self._clock.monotonic()
        reads = [self._read_config(guest, now) for guest in self._configs.due(now, not_on=self._offline, most=CLOSELY)]
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSELY_SECONDS):
                await asyncio.gather(*reads)
        return await self.look() if seen.guests else seen

    async def fresh(self, move: Wanted, *, mapped_to: Collection[str] = ()) -> Fresh:
        """What has to be known right before `move` is posted, read now; independent calls overlap.

        mapped_to: storages that the move may put disks on under another name, which needs rights there.

        `guest` is None when its config is no longer on the source, or the source is offline; `preconditions` also when PVE
        gives none now: of a locked guest, without quorum, or without the right to move it. Raises DroverError when anything
        else can't be read: what can't be checked is not done.
        """
        at = self._clock.wall()
        cluster, guest, told = await asyncio.gather(
            self._cluster_now(),
            self._guest_now(move, at),
            self._client.node_status(move.target),
            return_exceptions=True,
        )
        membership, nodes, jobs = _value(cluster)
        source = nodes.get(move.source)
        gone = isinstance(guest, DroverError) and (source is None or source.state is not NodeState.ONLINE)
        present, config, setup, verdict = (None, None, None, None) if gone else _value(guest)
        target = nodes.get(move.target)
        if isinstance(told, Node):
            target = None if target is None else with_numbers(target, told)
        elif not isinstance(told, DroverError) or (target is not None and target.state is NodeState.ONLINE):
            raise told  # a silent target that is not online anyway needs no more proof
        fresh = Fresh(
            at=at,
            quorate=membership.quorate,
            guest=present,
            source=source,
            target=target,
            preconditions=verdict,
            config=config,
            jobs=tuple(job for job in jobs if job.vmid == move.identity.vmid),
        )
        if present is None or config is None or setup is None or target is None:
            return fresh
        found = await self._facts.read(
            Subject(
                guest=present,
                config=config,
                setup=setup,
                source=move.source,
                target=target,
                replicated=bool(fresh.jobs),
                conntrack=verdict is not None and verdict.conntrack,
                mapped_to=frozenset(mapped_to),
            )
        )
        itself = found.source
        if source is not None and itself is not None:
            source = replace(source, cpu=itself.cpu, version=itself.version or source.version)
        return replace(fresh, source=source, storages=found.storages, facts=found.facts)

    async def _cluster_now(self) -> tuple[ClusterStatus, Mapping[NodeName, Node], tuple[ReplicationJob, ...]]:
        status, rows, ha, jobs = await asyncio.gather(
            self._client.cluster_status(),
            self._client.resources("node"),
            self._client.ha_manager_status(),
            self._client.replication_jobs(),
            return_exceptions=True,
        )
        membership = _value(status)
        return membership, merged_nodes(membership, _value(rows).nodes, _value(ha), self._versions), _value(jobs)

    async def _guest_now(
        self, move: Wanted, at: float
    ) -> tuple[Guest | None, GuestConfig | None, Setup | None, Preconditions | None]:
        """The guest with who it is; its pool, which its own status does not tell, is that of the last look."""
        who, source, client = move.identity, move.source, self._client
        status, read, verdict = await asyncio.gather(
            _unless_gone(partial(client.guest_status, source, who.kind, who.vmid)),
            _unless_gone(partial(client.guest_setup, source, who.kind, who.vmid, read_at=at)),
            _unless_refused(partial(client.preconditions, source, who.kind, who.vmid)),
            return_exceptions=True,
        )
        guest, told = _value(status), _value(read)
        if guest is None or told is None:
            return None, None, None, None
        config, setup = told
        self._configs.put(config)
        last = self._guests.get(who.vmid)
        return (
            replace(guest, identity=config.identity, pool=last.pool if last is not None else ""),
            config,
            setup,
            _value(verdict),
        )

    # Parts of a look

    async def _core(self) -> tuple[ClusterStatus, Resources, tuple[Task, ...]]:
        status, rows, tasks = await asyncio.gather(
            self._client.cluster_status(), self._client.resources(), self._client.tasks(), return_exceptions=True
        )
        return _value(status), _value(rows), _value(tasks)

    async def _optional(
        self, part: Part, now: float, read: Callable[[], Awaitable[Noun]], keep: Callable[[Noun], None]
    ) -> None:
        if self._freshness.due(part, now):
            await self._refresh(part, now, read, keep)

    async def _refresh(
        self, part: Part, now: float, read: Callable[[], Awaitable[Noun]], keep: Callable[[Noun], None]
    ) -> None:
        """Read a part; when that fails the picture goes on with what was last known of it."""
        try:
            keep(await read())
        except DroverError:
            self._freshness.note(part, now, ok=False)
        else:
            self._freshness.note(part, now, ok=True)

    def _keep_ha(self, status: HaStatus) -> None:
        self._ha = status

    def _keep_ha_rules(self, found: HaRules) -> None:
        self._ha_rules = found

    def _keep_options(self, found: ClusterOptions) -> None:
        self._ha_balances = found.ha_balances

    def _keep_jobs(self, jobs: tuple[ReplicationJob, ...]) -> None:
        self._jobs = jobs
        self._replication.see(jobs)

    def _keep_rights(self, permissions: Mapping[str, Mapping[str, bool]]) -> None:
        self._rights_seen = Rights(permissions)
        self._missing = selfcheck.check(permissions, version=self._oldest_version(), ha_rules=self._writes_ha_rules)

    async def _rights(self, now: float) -> None:
        """Missing rights are looked at more often: somebody may be granting them right now."""
        again = (bool(self._missing) or self._hindered) and now - self._rights_at >= RIGHTS_AGAIN_SECONDS
        if again or self._freshness.due(Part.RIGHTS, now):
            self._rights_at = now
            await self._refresh(Part.RIGHTS, now, self._client.permissions, self._keep_rights)

    def _rights_may_be_gone(self, core: tuple[ClusterStatus, Resources, tuple[Task, ...]] | BaseException) -> bool:
        """PVE leaves out what a token may no longer see: fewer guests than before are a reason to ask."""
        if self._missing or isinstance(core, BaseException):
            return isinstance(core, Denied) and not self._missing
        return not self._guests.keys() <= {guest.vmid for guest in core[1].guests}

    async def _background(self, now: float) -> None:
        """Configs and versions: as many as come in time; a node that keeps us waiting is left alone for a while."""
        silent = {node for node, until in self._silent_until.items() if until > now}
        online = [node for node in self._online if node not in silent]
        every = self._freshness.due(Part.VERSIONS, now) and bool(online)
        reads = [self._read_config(guest, now) for guest in self._configs.due(now, not_on=silent | self._offline)]
        reads += [self._read_version(node, now) for node in online if every or node not in self._versions]
        if self._quorate:  # without quorum the nodes would only wait for a lock that nobody gets
            nodes = self._replication.due(now, self._jobs, self._guests, online)
            reads += [self._replication.read(node, now, partial(self._from_node, now=now)) for node in nodes]
        if every:
            self._freshness.note(Part.VERSIONS, now, ok=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(BACKGROUND_SECONDS):
                await asyncio.gather(*reads)

    async def _read_config(self, guest: Guest, now: float) -> None:
        read = partial(self._client.guest_config, guest.node, guest.kind, guest.vmid, read_at=self._clock.wall())
        config = await self._from_node(guest.node, read, now=now)
        if config is not None:
            self._configs.put(config)

    async def _read_version(self, node: NodeName, now: float) -> None:
        self._versions[node] = await self._from_node(node, partial(self._client.node_version, node), now=now) or ()

    async def _from_node(self, node: NodeName, read: Callable[[], Awaitable[Noun]], *, now: float) -> Noun | None:
        """What a node answers, None for any trouble; without an answer in time the node counts as silent."""
        self._silent_until[node] = now + SILENCE_SECONDS
        try:
            answer = await read()
        except DroverError as error:
            if error.why not in (Why.NODE_UNREACHABLE, Why.TIMED_OUT):
                self._silent_until.pop(node, None)
            return None
        self._silent_until.pop(node, None)
        return answer

    def _oldest_version(self) -> tuple[int, ...]:
        return min((version for version in self._versions.values() if version), default=())

    # The picture

    def _observed(self, at: float, status: ClusterStatus, rows: Resources, tasks: tuple[Task, ...]) -> Observed:
        nodes = merged_nodes(status, rows.nodes, self._ha, self._versions)
        self._quorate = status.quorate
        self._online = tuple(name for name, node in nodes.items() if node.state is NodeState.ONLINE)
        self._offline = frozenset(nodes) - frozenset(self._online)
        self._versions = {name: version for name, version in self._versions.items() if name in self._online}
        self._guests = {guest.vmid: guest for guest in rows.guests}
        self._configs.see(self._guests)
        configs = self._configs.configs
        for vmid, config in configs.items():
            self._guests[vmid] = replace(self._guests[vmid], identity=config.identity)
        return Observed(
            cluster=self._cluster,
            at=at,
            quorate=status.quorate,
            pve_name=status.name,
            nodes=nodes,
            guests=MappingProxyType(self._guests),
            storages=rows.storages,
            tasks=tasks,
            jobs=self._jobs,
            states=self._replication.states,
            syncs=self._replication.syncs,
            clocks=self._replication.clocks,
            configs=MappingProxyType(configs),
            skipped_rows=rows.skipped,
            rights=self._rights_seen,
            partial=any(missing.hides for missing in self._missing),
            ha_rules=self._ha_rules.rules,
            ha_rules_off=self._ha_rules.off,
            ha_has_rules=self._ha_rules.has_rules,
            ha_stays=self._ha_rules.stays,
            ha_balances=self._ha_balances,
            idle_locks=self._idle_locks(tasks, nodes, quorate=status.quorate),
        )

    def _idle_locks(self, tasks: tuple[Task, ...], nodes: Mapping[NodeName, Node], *, quorate: bool) -> frozenset[Vmid]:
        """Whose lock is all that is left of a move. Without quorum or rights tasks may be hidden: then nobody's."""
        now = self._clock.monotonic()
        moving = {task.vmid for task in tasks if task.running and task.migrates}
        migrating = [vmid for vmid, guest in self._guests.items() if guest.lock == "migrate"]
        locked = [vmid for vmid in migrating if vmid not in moving]
        self._migrating_since = {vmid: self._migrating_since.get(vmid, now) for vmid in migrating}
        sure = quorate and not self._missing
        self._locked_since = {vmid: self._locked_since.get(vmid, now) if sure else now for vmid in locked}
        return frozenset(
            vmid
            for vmid, since in self._locked_since.items()
            if now - since >= IDLE_LOCK_SECONDS
            or (sure and self._booted_after(vmid, nodes, now - self._migrating_since[vmid]))
        )

    def _booted_after(self, vmid: Vmid, nodes: Mapping[NodeName, Node], locked_seconds: float) -> bool:
        """Whether the guest's node was booted since its lock was seen: no task outlives that. A locked guest is not started."""
        node, guest = nodes.get(self._guests[vmid].node), self._guests[vmid]
        up = node.uptime_seconds if node is not None and node.state is NodeState.ONLINE else None
        return up is not None and up < locked_seconds and guest.power is Power.STOPPED


def _value(part: Noun | BaseException) -> Noun:
    """The result of one of several calls that were awaited together. Raises what it raised."""
    if isinstance(part, BaseException):
        raise part
    return part


async def _unless_gone(read: Callable[[], Awaitable[Noun]]) -> Noun | None:
    try:
        return await read()
    except Stale as error:
        if error.why is Why.GUEST_MOVED:
            return None
        raise


async def _unless_refused(read: Callable[[], Awaitable[Preconditions | None]]) -> Preconditions | None:
    """PVE's verdict, None when it gives none: a locked guest, no quorum, no right, a guest that is gone. Each is told elsewhere."""
    try:
        return await read()
    except DroverError as error:
        if error.why in (Why.GUEST_LOCKED, Why.NO_QUORUM, Why.GUEST_MOVED, Why.PERMISSION_MISSING):
            return None
        raise
