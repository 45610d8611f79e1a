"""Calls that make and unmake guests.

Registered with `routes.registry`; qemu-server: PVE/API2/Qemu.pm, pve-container: PVE/API2/LXC.pm.
"""

import re
from collections.abc import Generator
from typing import Any

from controller.simulator import creation
from controller.simulator.access import forbidden
from controller.simulator.api import ApiError
from controller.simulator.engine import Wait
from controller.simulator.guests import Guest
from controller.simulator.preconditions import require_quorum
from controller.simulator.routes.guest_config import normalise_tags, require_device_rights
from controller.simulator.routes.registry import Call, route
from controller.simulator.storage import storage_of
from controller.simulator.tasks import Task, TaskFailed

_CONTROL = (
    "node", "pool", "start", "storage", "force", "unique", "archive", "bwlimit", "live-restore", "restore", "ssh-public-keys",
    "password", "ignore-unpack-errors", "import-working-storage", "ha-managed",
)  # fmt: skip


@route("POST", "/nodes/{node}/qemu")
def create_machine(call: Call) -> str:
    """Create a virtual machine."""
    vmid = int(call.params["vmid"])
    require_quorum(call.world, call.node.name)
    _check_pool(call, vmid)
    require_device_rights(call, dict(call.params))
    for key, value in call.params.items():
        _check_storage(call, key, str(value))
    _check_free(call, f"unable to create VM {vmid} - VM {vmid}", vmid)
    return _spawn(call, "qemu", vmid)


@route("POST", "/nodes/{node}/lxc")
def create_container(call: Call) -> str:
    """Create a container."""
    vmid = int(call.params["vmid"])
    require_quorum(call.world, call.node.name)
    _check_pool(call, vmid)
    if not call.auth.is_root:
        for key, value in call.params.items():
            if re.fullmatch(r"mp\d+", key) and str(value).startswith("/"):
                raise forbidden("mount point type bind is only allowed for root@pam")
        if any(part.partition("=")[0] != "nesting" for part in str(call.get("features", "nesting")).split(",")):
            raise forbidden("changing feature flags (except nesting) is only allowed for root@pam")
    _check_free(call, f"VM {vmid}", vmid)
    return _spawn(call, "lxc", vmid)


def _check_pool(call: Call, vmid: int) -> None:
    pool = call.get("pool")
    if pool is not None and pool not in call.world.pools:
        raise forbidden(f"pool '{pool}' does not exist")
    if not call.allowed(f"/vms/{vmid}", "VM.Allocate") and not (pool and call.allowed(f"/pool/{pool}", "VM.Allocate")):
        raise forbidden("")


def _check_storage(call: Call, key: str, value: str) -> None:
    if re.fullmatch(r"(ide|sata|scsi|virtio)\d+|efidisk0|tpmstate0", key):
        name = storage_of(value.partition(",")[0])
        if name and name not in call.world.storages:
            raise ApiError(500, f"storage '{name}' does not exist")


def _check_free(call: Call, what: str, vmid: int) -> None:
    taken = call.world.guests.get(vmid)
    if taken is not None:
        raise ApiError(500, f"{what} already exists on node '{taken.node}'")


def _spawn(call: Call, kind: str, vmid: int) -> str:
    world, node, word = call.world, call.node.name, "VM" if kind == "qemu" else "CT"
    params: dict[str, Any] = {key: value for key, value in call.params.items() if key not in (*_CONTROL, "vmid")}
    if "tags" in params:
        params["tags"] = normalise_tags(world, str(params["tags"]))

    def body(task: Task) -> Generator[Wait, Any, None]:
        yield 0.2
        try:
            guest = creation.create(world, task, node, kind, params | {"vmid": vmid})
        except TaskFailed as failure:
            raise TaskFailed(f"unable to create {word} {vmid} - {failure}") from failure
        guest.pool = call.get("pool")
        guest.config.pop("vmid", None)

    return world.spawn(node, "qmcreate" if kind == "qemu" else "vzcreate", str(vmid), call.auth.full, body).upid


@route("DELETE", "/nodes/{node}/qemu/{vmid}")
def destroy_machine(call: Call) -> str:
    """Destroy a virtual machine with its disks."""
    return _destroy(call, call.guest("qemu"), "VM", "qmdestroy")


@route("DELETE", "/nodes/{node}/lxc/{vmid}")
def destroy_container(call: Call) -> str:
    """Destroy a container with its volumes."""
    return _destroy(call, call.guest("lxc"), "CT", "vzdestroy")


def _destroy(call: Call, guest: Guest, word: str, kind: str) -> str:
    world, vmid = call.world, guest.vmid
    if guest.config.get("protection"):
        raise ApiError(500, f"can't remove {word} {vmid} - protection mode enabled")
    sid = world.ha.sid_of(guest)
    if sid in world.ha.resources and not call.get("purge"):
        raise ApiError(500, f"unable to remove {word} {vmid} - used in HA resources and purge parameter not set.")
    jobs = [] if call.get("purge") else world.replication_jobs(vmid)
    if jobs:
        raise ApiError(
            500, f"There is a replication job '{jobs[0]['id']}' for guest '{vmid}' - Please remove that first."
        )
    if guest.running:
        raise ApiError(500, f"{word} {vmid} is running - destroy failed")

    def body(task: Task) -> Generator[Wait, Any, None]:
        yield 0.2
        if guest.lock is not None:
            raise TaskFailed(f"{word} is locked ({guest.lock})")
        if not world.quorate(guest.node):
            for drive in guest.drives():
                storage = world.storages.get(storage_of(drive.volid))
                if storage is not None and storage.shared and not drive.cdrom:
                    lock = f"storage-{storage.name}"
                    task.log += [f"trying to acquire cfs lock '{lock}' ..."] * 9
                    why = f"cfs-lock '{lock}' error: no quorum!"
                    task.log.append(f"WARN: Could not remove disk '{drive.volid}', check manually: {why}")
                    yield 10.0
            raise TaskFailed(f"unable to open file '/etc/pve/{guest.conf}.tmp.{task.pid}' - Permission denied")
        if call.get("purge"):
            task.log.append(f"purging {word} {vmid} from related configurations..")
            world.ha.forget(sid)
            for job in world.replication_jobs(vmid):
                world.replicator.drop(job["id"])
        world.remove(guest)

    return world.spawn(call.node.name, kind, str(vmid), call.auth.full, body).upid


@route("POST", "/nodes/{node}/qemu/{vmid}/template")
def make_template(call: Call) -> str:
    """Turn a stopped virtual machine into a template."""
    guest = call.guest("qemu")

    def body(_task: Task) -> Generator[Wait, Any, None]:
        yield 0.2
        if guest.running:
            raise TaskFailed(f"you can't convert a VM to template if VM is running {guest.vmid}")
        call.world.set_config(guest, {"template": 1})

    return call.world.spawn(call.node.name, "qmtemplate", str(guest.vmid), call.auth.full, body).upid


@route("POST", "/nodes/{node}/qemu/{vmid}/clone")
def clone(call: Call) -> str:
    """Copy the configuration of a virtual machine; its disks are allocated anew."""
    guest, newid = call.guest("qemu"), int(call.params["newid"])
    _check_free(call, f"unable to create VM {newid}: VM {newid}", newid)

    def body(task: Task) -> Generator[Wait, Any, None]:
        task.log.append(f"creating a clone of VM {guest.vmid} with ID {newid}")
        yield 0.5
        config = {key: value for key, value in guest.config.items() if key not in ("template", "lock", "name", "boot")}
        for drive in guest.drives():
            if not drive.cdrom and drive.size:
                config[drive.key] = f"{storage_of(drive.volid)}:{drive.size / 1024**3}"
        made = creation.create(call.world, task, str(call.get("target", guest.node)), "qemu", config | {"vmid": newid})
        made.config.pop("vmid", None)
        if call.get("name") is not None:
            made.config["name"] = call.get("name")

    return call.world.spawn(call.node.name, "qmclone", str(guest.vmid), call.auth.full, body).upid


@route("POST", "/nodes/{node}/qemu/{vmid}/snapshot")
@route("POST", "/nodes/{node}/lxc/{vmid}/snapshot")
def snapshot(call: Call) -> str:
    """Take a snapshot; every disk has to be able to."""
    guest, name = call.guest("lxc" if "/lxc/" in call.request.path else "qemu"), str(call.params["snapname"])
    if name in guest.snapshots:
        raise ApiError(500, f"snapshot name '{name}' already used")

    def body(_task: Task) -> Generator[Wait, Any, None]:
        yield 0.5
        for drive in guest.drives():
            storage = call.world.storages.get(storage_of(drive.volid))
            able = storage is None or drive.cdrom or storage.type in ("zfspool", "rbd", "lvmthin", "btrfs")
            if not able and not drive.volid.endswith(".qcow2"):
                raise TaskFailed("snapshot feature is not available")
        disks = {drive.key: guest.config[drive.key] for drive in guest.drives()}
        guest.snapshots[name] = {"snaptime": int(call.world.now), **disks}

    kind = "qmsnapshot" if guest.type == "qemu" else "vzsnapshot"
    return call.world.spawn(call.node.name, kind, str(guest.vmid), call.auth.full, body).upid
