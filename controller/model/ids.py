"""Names and identities: what a cluster, a node, a guest and a task are called.

Used everywhere; strings that mean different things get different types so that mypy tells them apart.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

ClusterName = NewType("ClusterName", str)
"""Name of a PveCluster object; the key of every loop, store, metric and log line."""
NodeName = NewType("NodeName", str)
"""PVE's name of a node (case matters), not the name of the PveNode object."""
Vmid = NewType("Vmid", int)
"""PVE's number of a guest: unique in a cluster at any moment, reused over time."""
Upid = NewType("Upid", str)
"""PVE's id of a task. It names the guest, not the target of a move."""


class GuestKind(StrEnum):
    """PVE's two kinds of guest; the value is the path segment below `/nodes/{node}/`."""

    QEMU = "qemu"
    LXC = "lxc"

    @property
    def noun(self) -> str:
        """`VM` or `CT`, as PVE's own texts say."""
        return "VM" if self is GuestKind.QEMU else "CT"


@dataclass(frozen=True, slots=True)
class GuestIdentity:
    """Who a guest is, beyond its reusable VMID.

    `born` is `ctime:<epoch>` from the config's `meta` (VMs), `print:<hash>` of what stays the same in a container's config, or
    "" while the config has not been read: an unknown birth matches any (see `same_as`).
    """

    vmid: Vmid
    kind: GuestKind
    born: str = ""

    def same_as(self, other: "GuestIdentity") -> bool:
        """Whether both may be the same guest; only two known and different births prove that they are not."""
        return (
            self.vmid == other.vmid
            and self.kind == other.kind
            and (not self.born or not other.born or self.born == other.born)
        )


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """One object that people wrote (or that a label implies): `NodeMaintenance/label-pve2`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"
