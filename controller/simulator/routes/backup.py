"""`POST /nodes/{node}/vzdump`: a backup that takes its time and holds the guest's lock meanwhile.

Registered with `routes.registry`; pve-manager: PVE/API2/VZDump.pm and PVE/VZDump.pm. Nothing is kept of it.
"""

from collections.abc import Generator
from typing import Any

from controller.simulator.engine import Interrupted, Wait
from controller.simulator.formats import split_list
from controller.simulator.guests import Guest
from controller.simulator.routes.registry import Call, route
from controller.simulator.tasks import Task, TaskFailed, stamp

RATE = 200e6
"""Bytes per second that a backup reads."""
PATIENCE = 600.0
"""Seconds for which a shutdown is waited for in mode `stop`."""


@route("POST", "/nodes/{node}/vzdump")
def backup(call: Call) -> str:
    """Back guests of the node up; `OK` instead of a task when none of them is there."""
    world, node = call.world, call.node.name
    vmids = [int(vmid) for vmid in split_list(str(call.get("vmid", "")))]
    known = [world.guests[vmid] for vmid in vmids if vmid in world.guests]
    here = [guest for guest in known if guest.node == node]
    for guest in here:
        call.check(f"/vms/{guest.vmid}", "VM.Backup")
    if known and not here:
        return "OK"

    def body(task: Task) -> Generator[Wait, Any, None]:
        options = " ".join(
            f"--{key} {call.get(key)}" for key in ("compress", "mode", "storage") if call.get(key) is not None
        )
        task.log.append(f"INFO: starting new backup job: vzdump {' '.join(map(str, vmids))} {options} --node {node}")
        failed = False
        for vmid in vmids:
            why = "" if vmid in world.guests else f"unable to find VM '{vmid}'"
            if not why:
                why = yield from _one(call, task, world.guests[vmid])
            if why:
                failed = True
                task.log.append(f"ERROR: Backup of VM {vmid} failed - {why}")
                task.log.append(f"INFO: Failed at {stamp(task, world.now)}")
        if failed:
            task.log.append("INFO: Backup job finished with errors")
            raise TaskFailed("job errors")
        task.log.append("INFO: Backup job finished successfully")

    ident = str(vmids[0]) if len(vmids) == 1 else ""
    return world.spawn(node, "vzdump", ident, call.auth.full, body).upid


def _one(call: Call, task: Task, guest: Guest) -> Generator[Wait, Any, str]:
    """Back one guest up; returns why it failed."""
    world, mode = call.world, str(call.get("mode", "snapshot"))
    word, command = ("CT", "pct") if guest.type == "lxc" else ("VM", "qm")
    task.log.append(f"INFO: Starting Backup of {word} {guest.vmid} ({guest.type})")
    task.log.append(f"INFO: Backup started at {stamp(task, world.now)}")
    if guest.lock is not None:
        return f"{word} is locked ({guest.lock})"
    task.log.append(f"INFO: status = {'running' if guest.running else 'stopped'}")
    task.log += [f"INFO: backup mode: {mode}", "INFO: ionice priority: 7", f"INFO: {word} Name: {guest.name}"]
    world.set_lock(guest, "backup")
    try:
        if mode == "stop" and guest.running:
            task.log.append("INFO: stopping virtual guest")
            yield min(PATIENCE, PATIENCE if guest.stops_in is None else guest.stops_in)
        yield sum(drive.size or 0 for drive in guest.drives() if not drive.cdrom) / RATE + 1.0
    except Interrupted as signal:
        world.set_lock(guest, None)
        return f"command '{command} shutdown {guest.vmid} --skiplock --keepActive --timeout 600' failed: {signal}"
    world.set_lock(guest, None)
    task.log.append(f"INFO: Finished Backup of {word} {guest.vmid}")
    return ""
