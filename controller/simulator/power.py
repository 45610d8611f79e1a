"""Workers that start, stop, pause and shut down guests.

Started by `routes.power`, HA and faults. PVE checks nothing in the request: all refusals end the worker (qemu-server:
PVE/API2/Qemu.pm, pve-container: PVE/API2/LXC/Status.pm).
"""

from collections.abc import Callable, Generator
from typing import Any

from controller.simulator.engine import Wait
from controller.simulator.guests import Guest
from controller.simulator.migration import acquire
from controller.simulator.remote_start import objections
from controller.simulator.tasks import Task, TaskFailed
from controller.simulator.world import World

Body = Callable[[Task], Generator[Wait, Any, None]]
PREFIX = {"qemu": "qm", "lxc": "vz"}
_VERBS = {"suspend": "pause", "resume": "resume", "reboot": "reboot"}


def task_type(kind: str, verb: str) -> str:
    """Return the worker type of a verb: `qmstart`, `vzshutdown`, `qmpause`."""
    return PREFIX[kind] + _VERBS.get(verb, verb)


def worker(world: World, node: str, kind: str, vmid: int, *, verb: str, params: dict[str, Any]) -> Body:
    """Return the body for one of start, stop, shutdown, reboot, suspend, resume."""

    def body(task: Task) -> Generator[Wait, Any, None]:
        yield 0.1
        guest = _guest(world, node, kind, vmid, verb)
        yield from acquire(guest, task)
        if guest.lock is not None and not params.get("skiplock"):
            raise TaskFailed(f"{'CT' if kind == 'lxc' else 'VM'} is locked ({guest.lock})")
        yield from _ACTIONS[verb](world, guest, params)
        if verb == "start" and any(drive.volid == "cdrom" for drive in guest.drives()):
            task.log.append("WARN: no physical CD-ROM available, ignoring")
            task.warnings += 1

    return body


def _guest(world: World, node: str, kind: str, vmid: int, verb: str) -> Guest:
    guest = world.guests.get(vmid)
    if guest is None or guest.node != node or guest.type != kind:
        folder = "lxc" if kind == "lxc" else "qemu-server"
        if verb == "stop" and kind == "qemu":
            raise TaskFailed(f"unable to find configuration file for VM {vmid} on node '{node}'")
        raise TaskFailed(f"Configuration file 'nodes/{node}/{folder}/{vmid}.conf' does not exist")
    return guest


def _start(world: World, guest: Guest, _params: dict[str, Any]) -> Generator[Wait, Any, None]:
    word = "CT" if guest.type == "lxc" else "VM"
    if guest.template:
        raise TaskFailed(f"you can't start a {'CT' if guest.type == 'lxc' else 'vm'} if it's a template")
    if guest.running:
        raise TaskFailed(f"{word} {guest.vmid} already running")
    found = objections(world, guest, guest.node) if guest.type == "qemu" else []
    yield 1.5
    if found:
        raise TaskFailed("start failed: QEMU exited with code 1" if len(found) > 1 else found[0])
    world.set_run(guest, "running")


def _stop(world: World, guest: Guest, _params: dict[str, Any]) -> Generator[Wait, Any, None]:
    if guest.running:
        yield 0.5
        world.set_run(guest, "stopped")


def _shutdown(world: World, guest: Guest, params: dict[str, Any]) -> Generator[Wait, Any, None]:
    if not guest.running:
        return
    timeout = float(params.get("timeout") or (60 if guest.type == "lxc" else 180))
    needed = guest.stops_in
    if needed is not None and needed <= timeout and guest.run == "running":
        yield needed
    else:
        yield timeout
        if not params.get("forceStop"):
            raise TaskFailed(
                "VM quit/powerdown failed - got timeout" if guest.type == "qemu" else "container did not stop"
            )
    world.set_run(guest, "stopped")


def _reboot(world: World, guest: Guest, params: dict[str, Any]) -> Generator[Wait, Any, None]:
    if not guest.running:
        raise TaskFailed(f"{'CT' if guest.type == 'lxc' else 'VM'} {guest.vmid} not running")
    yield from _shutdown(world, guest, params)
    yield 1.0
    world.set_run(guest, "running")


def _suspend(world: World, guest: Guest, _params: dict[str, Any]) -> Generator[Wait, Any, None]:
    if not guest.running:
        raise TaskFailed(f"VM {guest.vmid} not running")
    yield 0.1
    world.set_run(guest, "paused")


def _resume(world: World, guest: Guest, _params: dict[str, Any]) -> Generator[Wait, Any, None]:
    if not guest.running:
        raise TaskFailed(f"VM {guest.vmid} not running")
    yield 0.1
    world.set_run(guest, "running")


_ACTIONS: dict[str, Callable[[World, Guest, dict[str, Any]], Generator[Wait, Any, None]]] = {
    "start": _start,
    "stop": _stop,
    "shutdown": _shutdown,
    "reboot": _reboot,
    "suspend": _suspend,
    "resume": _resume,
}
