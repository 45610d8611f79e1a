"""Nodes: hardware, software release, power, and membership.

Used by the world and by every call that names a node.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from controller.simulator.seed import NodeFile

TICK = 10.0
"""Seconds between two broadcasts of a node's numbers (pve-manager: PVE/Service/pvestatd.pm)."""
EXPIRY = 300.0
"""Seconds after which numbers that were not renewed are dropped (pve-cluster: src/pmxcfs/status.c)."""
WARM_UP = 12.0
"""Seconds from power to the first broadcast and to an answering pveproxy."""


PCI_DEVICES = {"0000:00:02.0": ("0x8086", "0x1533", "0x020000"), "0000:01:00.0": ("0x1000", "0x0097", "0x010700")}
"""Address to vendor, device and class: every simulated node has a network card and a disk controller."""


@dataclass(frozen=True, slots=True)
class Release:
    """Package versions of one PVE release."""

    manager: str
    repoid: str
    qemu_server: str
    qemu: str
    kernel: str
    ha_manager: str


RELEASES = {
    "8.4": Release("8.4.1", "2a5fa54a8503f96d", "8.3.12", "9.2.0", "6.8.12-9-pve", "4.0.7"),
    "9.0": Release("9.0.3", "025864202ebb6109", "9.0.16", "10.0.2", "6.14.8-2-pve", "5.0.4"),
    "9.1": Release("9.1.1", "42db4a6cf33dac83", "9.1.0", "10.1.2", "6.17.2-1-pve", "5.0.8"),
    "9.2": Release("9.2.11", "14a22df35955d97d", "9.2.6", "10.2.1", "6.17.9-1-pve", "5.2.0"),
}


@dataclass(slots=True, eq=False)
class Node:
    """One node. `member` is what corosync believes, `powered` what is true; `proxy` whether its pveproxy answers.

    `refusing`: while it is down its address still answers, with a refusal. `phase` shifts its ten-second broadcasts.
    `group` tells the sides of a partition apart. `links`: number of a corosync link to the address given for it.
    """

    name: str
    nodeid: int
    ip: str
    version: str
    file: NodeFile
    booted_at: float
    phase: float
    config: dict[str, Any]
    powered: bool = True
    member: bool = True
    proxy: bool = True
    daemon: bool = True
    refusing: bool = False
    group: int = 0
    down_at: float = float("-inf")
    last_pid: int = 1000
    waiting: dict[str, float] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    joined_at: float = float("-inf")

    @property
    def release(self) -> Release:
        """The packages it runs."""
        return RELEASES[self.version]

    @property
    def memory(self) -> int:
        """Bytes of RAM."""
        return self.file.memory

    @property
    def rings(self) -> dict[str, str]:
        """Number to address of its corosync links; its own address when none was given."""
        return self.links or {"0": self.ip}

    def at_least(self, release: str) -> bool:
        """Whether its software is of `release` or newer."""
        return _order(self.version) >= _order(release)

    def pid(self) -> int:
        """Return a fresh process id."""
        self.last_pid += 3
        return self.last_pid

    def tick_before(self, moment: float) -> float:
        """Return when it last broadcast at or before `moment`, had it been up all the time."""
        return self.phase + TICK * ((moment - self.phase) // TICK)

    def answers(self) -> bool:
        """Whether somebody who reaches it gets an answer from its pveproxy."""
        return self.powered and self.proxy


@cache
def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def fingerprint(name: str) -> str:
    """Return a stand-in for the fingerprint of a node that serves no TLS."""
    digest = hashlib.sha256(name.encode()).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 64, 2))
