"""Volumes that would be copied to a guest's target, and the room for them there. Called by `decide.stage` and by planners.

Planned by what the cache of configs and the rows of storages say; the second look right before the move has the last word.
A volume counts with its whole size: what is not allocated is skipped only between some types of storage.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from controller.decide.replicable import Load, Obstacle, first_load
from controller.model.ids import NodeName, Vmid
from controller.model.observed import Observed
from controller.specs import Specs
from controller.specs.migrationpolicy import MigrationPolicySpec

Shelf: TypeAlias = tuple[NodeName, str]
"""A storage of one node."""


@dataclass(frozen=True, slots=True)
class Cargo:
    """What a guest takes along besides its memory."""

    shares: Mapping[str, int | None]  # name of the storage on the target -> bytes; None: PVE does not say how many
    replicas: frozenset[NodeName]  # targets that have a replica: there only the difference moves

    def bytes_to(self, node: NodeName) -> int:
        """Bytes to copy to the node, as far as they are known."""
        return 0 if node in self.replicas else sum(share or 0 for share in self.shares.values())

    def shelves(self, node: NodeName) -> dict[Shelf, int | None]:
        """What the node's storages have to take."""
        return {} if node in self.replicas else {(node, name): share for name, share in self.shares.items()}


DEFAULTS = MigrationPolicySpec.model_validate({"guestSelector": {}})
"""How a guest moves that no MigrationPolicy selects."""
NOTHING = Cargo(MappingProxyType({}), frozenset())


class Volumes:
    """Looks up guests' cargo when asked: of thousands of guests a plan moves a few."""

    def __init__(self, specs: Specs, seen: Observed, replicas: Mapping[Vmid, frozenset[NodeName]]) -> None:
        self._specs, self._seen, self._replicas = specs, seen, replicas
        self._rows = {(row.node, row.name): row for row in seen.storages}
        self._local = {(row.node, row.name) for row in seen.storages if not row.shared}
        self._known: dict[tuple[Vmid, str], Cargo] = {}

    def free(self) -> dict[Shelf, int | None]:
        """Bytes left on every storage that only its node has; 0 while it is not available."""
        rows = (row for row in self._seen.storages if not row.shared)
        return {(row.node, row.name): row.free_bytes if row.available else 0 for row in rows}

    def replicable(self, vmid: Vmid, policy: str) -> Load | Obstacle | None:
        """What of the guest a MigrationPolicy wants to have on the target before it moves; None: nothing, or not known yet."""
        written, config = self._specs.migrations.get(policy), self._seen.configs.get(vmid)
        spec = written.spec if written is not None else DEFAULTS
        guest = self._seen.guests.get(vmid)
        if config is None or guest is None or guest.template:
            return None
        return first_load(spec, config, guest.node, self._rows)

    def cargo(self, vmid: Vmid, policy: str) -> Cargo:
        """What the guest takes along under a MigrationPolicy (it may map storages); nothing while its config is not known."""
        key = (vmid, policy)
        if key not in self._known:
            self._known[key] = self._cargo(vmid, policy)
        return self._known[key]

    def _cargo(self, vmid: Vmid, policy: str) -> Cargo:
        config, guest = self._seen.configs.get(vmid), self._seen.guests.get(vmid)
        if config is None or guest is None:
            return NOTHING
        written = self._specs.migrations.get(policy)
        first = isinstance(self.replicable(vmid, policy), Load)  # PVE replicates to the storage of the same name
        names = written.spec.target_storage if written is not None and not first else {}
        shares: dict[str, int | None] = {}
        for disk in config.disks:
            if disk.cdrom or disk.key.startswith("unused") or (guest.node, disk.storage) not in self._local:
                continue
            name = names.get(disk.storage, disk.storage)
            before = shares.get(name, 0)
            shares[name] = None if before is None or disk.size_bytes is None else before + disk.size_bytes
        if not shares:
            return NOTHING
        return Cargo(MappingProxyType(shares), self._replicas.get(vmid, frozenset()))
