"""Reads what the second look needs beyond the guest and its nodes: only what this guest makes necessary, all at once.

Used by `observe.cluster`. Each fact is one call, at most two; a fact that can't be read is told as such and stops nothing by
itself. What changes only when somebody installs or configures a node is kept for a while.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, TypeVar

from controller.clock import Clock
from controller.model.errors import DroverError
from controller.model.facts import CpuModel, Facts, HaFacts, Setup, Topic, Unread
from controller.model.ids import GuestKind, NodeName
from controller.model.observed import Guest, GuestConfig, Node, NodeState, Storage
from controller.model.reasons import Why
from controller.pve.client import PveClient

SECONDS: Final = 5.0
"""How long a fact is waited for; a node that does not answer would hold up the move for 30 s."""
KEPT_SECONDS: Final[Mapping[Topic, float]] = MappingProxyType(
    {
        Topic.CPU: 600.0,
        Topic.CPU_FLAGS: 600.0,
        Topic.CPU_MODELS: 60.0,
        Topic.MACHINES: 600.0,
        Topic.CONNTRACK: 600.0,
        Topic.NETWORKS: 60.0,
    }
)
"""Age at which what is kept is read again; what is not listed here is always read."""
OWN_CPU: Final = frozenset({"host", "max"})
"""Types of CPU that show the guest the node's own one."""

Noun = TypeVar("Noun")
_Key = tuple[Topic, NodeName]


@dataclass(frozen=True, slots=True)
class Subject:
    """The guest, and the nodes between which it is to move."""

    guest: Guest
    config: GuestConfig
    setup: Setup
    source: NodeName
    target: Node
    replicated: bool
    conntrack: bool = False  # the source can give connection tracking away
    mapped_to: frozenset[str] = frozenset()  # storages on the target that the policy maps others to


@dataclass(frozen=True, slots=True)
class Found:
    """What was read; `None` for what was not. `source`: the node by its own word, with its processor and version."""

    facts: Facts
    storages: tuple[Storage, ...] | None
    source: Node | None


class FactReader:
    """Reads facts about moves in one cluster and keeps those that rarely change."""

    def __init__(self, client: PveClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._kept: dict[_Key, tuple[float, object]] = {}

    async def read(self, subject: Subject) -> Found:
        """All that matters for this move. Raises nothing: `Facts.unread` says what is missing and why."""
        client, guest, setup, target = self._client, subject.guest, subject.setup, subject.target
        machine = guest.kind is GuestKind.QEMU
        live = machine and guest.power.holds_memory
        there = target.state is NodeState.ONLINE
        disks = there and bool(subject.config.disks)
        plugged = there and any(nic.bridge for nic in setup.nics)
        unread: dict[Topic, Unread] = {}

        nodes, where = (subject.source, target.name), subject.source

        async def one(topic: Topic, wanted: bool, read: Callable[[], Awaitable[Noun]]) -> Noun | None:
            return await self._one(unread, topic, read) if wanted else None

        async with asyncio.TaskGroup() as group:
            start = group.create_task
            source = start(one(Topic.CPU, live, partial(self._hardware, where)))
            flags = start(one(Topic.CPU_FLAGS, live and setup.cpu not in OWN_CPU, partial(self._cpu_flags, where)))
            models = start(one(Topic.CPU_MODELS, live and setup.cpu.startswith("custom-"), self._cpu_models))
            machines = start(one(Topic.MACHINES, live and there, partial(self._machines, target.name)))
            carried = live and there and subject.conntrack
            conntrack = start(one(Topic.CONNTRACK, carried, partial(self._conntrack, target.name)))
            networks = start(one(Topic.NETWORKS, plugged, partial(self._networks, nodes)))
            storages = start(one(Topic.STORAGES, disks, partial(client.node_storages, target.name)))
            ha = start(one(Topic.HA, guest.ha_managed, partial(self._ha, guest)))
            jobs = start(one(Topic.REPLICATION, subject.replicated, partial(client.job_states, where, guest.vmid)))
            rights = start(one(Topic.RIGHTS, True, partial(client.rights, f"/vms/{guest.vmid}")))
            mapped = bool(subject.mapped_to) and disks
            allocate = start(one(Topic.STORAGE_RIGHTS, mapped, partial(self._storage_rights, subject.mapped_to)))
            pending = start(one(Topic.PENDING, live, partial(client.pending, where, guest.kind, guest.vmid)))
        facts = Facts(
            setup=setup,
            cpu_flags=flags.result(),
            custom_models=models.result(),
            machines=machines.result(),
            conntrack=conntrack.result(),
            networks=networks.result(),
            ha=ha.result(),
            job_states=jobs.result(),
            rights=rights.result(),
            storage_rights=allocate.result(),
            pending=pending.result(),
            unread=MappingProxyType(unread),
        )
        return Found(facts, storages.result(), source.result())

    async def _one(self, unread: dict[Topic, Unread], topic: Topic, read: Callable[[], Awaitable[Noun]]) -> Noun | None:
        """One fact, None when it can't be had. A call that this PVE does not have is no fault: nobody guesses instead."""
        try:
            async with asyncio.timeout(SECONDS):
                return await read()
        except TimeoutError:
            unread[topic] = Unread(True, f"no answer within {SECONDS:.0f} s")
        except DroverError as error:
            unread[topic] = Unread(error.why is not Why.NOT_SUPPORTED, error.message)
        return None

    async def _keep(self, topic: Topic, node: NodeName, read: Callable[[], Awaitable[Noun]]) -> Noun:
        """What is kept, unless it is too old; also that the call does not exist."""
        now, held = self._clock.monotonic(), self._kept.get((topic, node))
        if held is not None and now - held[0] < KEPT_SECONDS[topic]:
            if isinstance(held[1], DroverError):
                raise held[1]
            found: Noun = held[1]  # type: ignore[assignment]  # only this method writes, and a topic has one type
            return found
        try:
            value = await read()
        except DroverError as error:
            if error.why is Why.NOT_SUPPORTED:
                self._kept[topic, node] = now, error
            raise
        self._kept[topic, node] = now, value
        return value

    async def _hardware(self, node: NodeName) -> Node:
        return await self._keep(Topic.CPU, node, partial(self._client.node_status, node))

    async def _cpu_flags(self, node: NodeName) -> Mapping[str, frozenset[NodeName]]:
        return await self._keep(Topic.CPU_FLAGS, NodeName(""), partial(self._told_cpu_flags, node))

    async def _told_cpu_flags(self, node: NodeName) -> Mapping[str, frozenset[NodeName]]:
        """All flags where the release has the list and the token may see it, else the few that anybody may ask for."""
        try:
            return await self._client.cpu_flags()
        except DroverError as error:
            if error.why not in (Why.NOT_SUPPORTED, Why.PERMISSION_MISSING):
                raise
        return await self._client.settable_cpu_flags(node)

    async def _cpu_models(self) -> Mapping[str, CpuModel]:
        return await self._keep(Topic.CPU_MODELS, NodeName(""), self._client.cpu_models)

    async def _storage_rights(self, storages: Iterable[str]) -> Mapping[str, frozenset[str]]:
        names = sorted(storages)
        found = await asyncio.gather(*(self._client.rights(f"/storage/{name}") for name in names))
        return MappingProxyType(dict(zip(names, found, strict=True)))

    async def _machines(self, node: NodeName) -> frozenset[str]:
        return await self._keep(Topic.MACHINES, node, partial(self._client.machines, node))

    async def _conntrack(self, node: NodeName) -> bool:
        return await self._keep(Topic.CONNTRACK, node, partial(self._client.takes_conntrack, node))

    async def _networks(self, nodes: Iterable[NodeName]) -> Mapping[NodeName, frozenset[str]]:
        """Of the source too: what is missing on both may just be hidden from the token."""
        names = tuple(nodes)
        found = await asyncio.gather(
            *(self._keep(Topic.NETWORKS, node, partial(self._client.networks, node)) for node in names)
        )
        return MappingProxyType(dict(zip(names, found, strict=True)))

    async def _ha(self, guest: Guest) -> HaFacts:
        """Rules since 9.0, the group before; while a cluster is being upgraded an entry may still have its group."""
        resource = await self._client.ha_resource(guest.kind, guest.vmid)
        if resource.group:
            rule, failback = await self._client.ha_group(resource.group)
            return HaFacts(failback, (rule,))
        try:
            return HaFacts(resource.failback, await self._client.ha_rules(guest.kind, guest.vmid))
        except DroverError as error:
            if error.why is Why.NOT_SUPPORTED:
                return HaFacts(resource.failback)
            raise
