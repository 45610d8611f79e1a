"""What a local resource manager does with its own hands: start, stop, migrate and relocate a guest, as root@pam.

Plugged into `simulator.ha` by `simulator.simulator`. HA forces what it does: local disks go along and a replication target is not
asked for (pve-ha-manager: PVE/HA/Resources/PVEVM.pm and PVECT.pm).
"""

from collections.abc import Callable, Generator

from controller.simulator import migrate, migrate_container, power
from controller.simulator.engine import Wait
from controller.simulator.guests import Guest
from controller.simulator.migration import Order
from controller.simulator.tasks import Task
from controller.simulator.world import World

SUCCESS, FAILED = 0, 1
SHUTDOWN_SECONDS = 60
ROOT = "root@pam"
Ended = Callable[[int], None]


def perform(world: World, guest: Guest, state: str, target: str, ended: Ended) -> None:
    """Bring a guest into a service state; `ended` gets the exit code."""
    if state == "started":
        _power(world, guest, "start", guest.running, ended)
    elif state in ("request_stop", "stopped"):
        _power(world, guest, "shutdown", not guest.running, ended)
    elif state == "stop_now":
        _power(world, guest, "stop", not guest.running, ended)
    elif state == "relocate" and guest.running and guest.type == "qemu":
        _power(
            world,
            guest,
            "shutdown",
            False,
            lambda code: _move(world, guest, target, ended) if code == SUCCESS else ended(code),
        )
    else:
        _move(world, guest, target, ended)


def _power(world: World, guest: Guest, verb: str, done: bool, ended: Ended) -> None:
    if done:
        ended(SUCCESS)
        return
    params = {"timeout": SHUTDOWN_SECONDS, "forceStop": 1, "skiplock": 1}
    body = power.worker(world, guest.node, guest.type, guest.vmid, verb=verb, params=params)
    task = world.spawn(guest.node, power.task_type(guest.type, verb), str(guest.vmid), ROOT, body)
    _when_done(task, lambda: ended(SUCCESS if guest.running == (verb == "start") else FAILED))


def _move(world: World, guest: Guest, target: str, ended: Ended) -> None:
    order = Order(target, online=True, local_disks=True, force=True, by_ha=True)
    kind, body = (
        ("qmigrate", migrate.worker(world, guest, order))
        if guest.type == "qemu"
        else ("vzmigrate", _container(world, guest, order))
    )
    task = world.spawn(guest.node, kind, str(guest.vmid), ROOT, body)
    _when_done(task, lambda: ended(SUCCESS if guest.node == target else FAILED))


def _container(world: World, guest: Guest, order: Order) -> Callable[[Task], Generator[Wait, None, None]]:
    return migrate_container.worker(world, guest, order, restart=True, timeout=SHUTDOWN_SECONDS)


def _when_done(task: Task, action: Callable[[], None]) -> None:
    if task.done.fired:
        action()
    else:
        task.done.waiters.append(action)
