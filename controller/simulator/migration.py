"""One migration: what was asked for, its state, and the locks it takes.

Shared by the workers of virtual machines (`simulator.migrate`) and containers (`simulator.migrate_container`).
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.simulator.engine import Interrupted, Wait
from controller.simulator.guests import Guest
from controller.simulator.network import Flow
from controller.simulator.preconditions import storage_map
from controller.simulator.precopy import Precopy
from controller.simulator.tasks import Task, TaskFailed, stamp
from controller.simulator.units import clock_duration
from controller.simulator.world import World

LOCK_WAIT = 10.0
"""Seconds for which a guest's lock is tried (pve-guest-common: PVE/AbstractConfig.pm, PVE/AbstractMigrate.pm)."""


class PhaseFailed(Exception):  # noqa: N818 - one step's `die`, caught by the phase around it
    """A step gave up; the text is what follows `ERROR:` in the log."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for. Ceilings in bytes per second, inf = none. `storages`: see `preconditions.storage_map`."""

    target: str
    online: bool = False
    local_disks: bool = False
    storages: Mapping[str, str] | None = None
    ram_ceiling: float = float("inf")
    disk_ceiling: float = float("inf")
    conntrack: bool = False
    force: bool = False
    secure: bool = True
    by_ha: bool = False


@dataclass(slots=True)
class Migration:
    """One running migration; `fail_in` is a fault's wish: phase 1 to 4 fails with the given text."""

    world: World
    guest: Guest
    order: Order
    task: Task
    source: str = ""
    moved: dict[str, str] = field(default_factory=dict)
    """Volumes that get a copy: name on the source to name on the target, "" until there is one."""
    replicated: list[str] = field(default_factory=list)
    """Volumes that a replication job has brought to the target before."""
    mirrored: list[str] = field(default_factory=list)
    """Volumes that are copied while the machine runs."""
    tracked_since: float = 0.0
    allocated: list[tuple[str, str]] = field(default_factory=list)
    begin: float = 0.0
    fail_in: dict[int, str] = field(default_factory=dict)
    precopy: Precopy | None = None
    mirrors: list[Flow] = field(default_factory=list)
    start_task: Task | None = None

    def log(self, text: str) -> None:
        """Write a line with time stamp."""
        self.task.log.append(f"{stamp(self.task, self.world.now)} {text}")

    def plain(self, text: str) -> None:
        """Write a line without time stamp."""
        self.task.log.append(text)

    def duration(self) -> str:
        """Return the time since the start as the log's end writes it."""
        return clock_duration(self.world.now - self.begin)

    def ceiling(self, limit: float) -> float:
        """Return the most that one stream carries: the limit, and that of ssh or of plain TCP at both ends."""
        ends = [self.world.nodes[name].file for name in (self.source, self.order.target)]
        return min(limit, *(float(end.ssh if self.order.secure else end.stream) for end in ends))

    @property
    def ssh(self) -> str:
        """Return the command with which the source reaches the target, as logs show it."""
        target = self.order.target
        return (
            f"/usr/bin/ssh -e none -o 'BatchMode=yes' -o 'HostKeyAlias={target}'"
            f" -o 'UserKnownHostsFile=/etc/pve/nodes/{target}/ssh_known_hosts' -o 'GlobalKnownHostsFile=none'"
            f" root@{self.world.nodes[target].ip}"
        )

    def fail_on_purpose(self, phase: int) -> None:
        """Raise PhaseFailed when a fault wants this phase to fail."""
        if phase in self.fail_in:
            raise PhaseFailed(self.fail_in[phase])

    def unlock(self) -> None:
        """Remove the configuration's lock, if it is ours."""
        if self.guest.lock == "migrate":
            self.world.set_lock(self.guest, None)


def acquire(guest: Guest, task: Task) -> Generator[Wait, Any, None]:
    """Take the guest's file lock, waiting up to ten seconds (pve-guest-common: PVE/AbstractConfig.pm lock_config)."""
    if guest.busy:
        task.log.append("trying to acquire lock...")
        waited = 0.0
        while guest.busy:
            if waited >= LOCK_WAIT:
                folder = "lxc/pve-config-" if guest.type == "lxc" else "qemu-server/lock-"
                raise TaskFailed(f"can't lock file '/var/lock/{folder}{guest.vmid}.conf' - got timeout")
            yield 0.5
            waited += 0.5
        task.log.append(" OK")
    hold(guest, task)


def hold(guest: Guest, task: Task) -> None:
    """Hold the guest's file lock until the worker ends."""
    guest.busy = True
    if task.process is not None:
        task.process.on_end.append(lambda: setattr(guest, "busy", False))


def wait_for_replication(guest: Guest, task: Task) -> Generator[Wait, Any, None]:
    """Wait up to ten seconds for a running replication of the guest, then give up."""
    if not guest.replicating:
        return
    task.log.append("trying to acquire lock...")
    waited = 0.0
    while guest.replicating:
        if waited >= LOCK_WAIT:
            raise TaskFailed(f"can't lock file '/var/lock/pve-manager/pve-migrate-{guest.vmid}' - got timeout")
        yield 0.5
        waited += 0.5
    task.log.append(" OK")


def unhurried(seconds: float) -> Generator[Wait, Any, bool]:
    """Wait, and let a SIGTERM wait too; True when there was one."""
    try:
        yield seconds
    except Interrupted:
        return True
    return False


def order_of(params: Mapping[str, Any], *, ram: float, disk: float, secure: bool) -> Order:
    """Build the order from a checked request."""
    return Order(
        target=str(params["target"]),
        online=bool(params.get("online")),
        local_disks=bool(params.get("with-local-disks")),
        storages=storage_map(params.get("targetstorage")),
        ram_ceiling=ram,
        disk_ceiling=disk,
        conntrack=bool(params.get("with-conntrack-state")),
        force=bool(params.get("force")),
        secure=secure,
    )
