"""`GET` and `POST /nodes/{node}/qemu/{vmid}/migrate`.

Registered with `routes.registry`. The order of the checks is that of qemu-server: PVE/API2/Qemu.pm.
"""

from collections.abc import Generator
from typing import Any

from controller.simulator import migrate, preconditions
from controller.simulator.access import only_root
from controller.simulator.api import ApiError
from controller.simulator.engine import Wait
from controller.simulator.guests import Guest
from controller.simulator.migration import Order, order_of
from controller.simulator.routes.registry import Call, route
from controller.simulator.storage import storages_of
from controller.simulator.tasks import Task, TaskFailed
from controller.simulator.world import World


@route("GET", "/nodes/{node}/qemu/{vmid}/migrate")
def report(call: Call) -> dict[str, Any]:
    """Say what stands against moving it; the target parameter is ignored."""
    guest = call.guest("qemu")
    preconditions.require_quorum(call.world, call.node.name)
    preconditions.require_unlocked(guest)
    return preconditions.report(call.world, guest)


@route("POST", "/nodes/{node}/qemu/{vmid}/migrate")
def start(call: Call) -> str:
    """Make the request's checks and fork the worker."""
    world, target = call.world, str(call.params["target"])
    preconditions.check_target(world, call.node.name, call.node.name, target)
    only_root(call.auth, call.params, "force", "migration_type", "migration_network")
    guest = call.guest("qemu")
    preconditions.require_unlocked(guest)
    if guest.running and not call.get("online"):
        raise ApiError(500, "can't migrate running VM without --online")
    _check_replication(call, guest, target)
    mapping = preconditions.storage_map(call.get("targetstorage"))
    if mapping is not None:
        call.check(f"/vms/{guest.vmid}", "VM.Config.Disk")
        for name in mapping.values():
            call.check(f"/storage/{name}", "Datastore.AllocateSpace")
    preconditions.check_storages(world, guest, target, mapping)
    if world.ha.manages(guest):
        return ha_migrate(world, guest, target, node=call.node.name, user=call.auth.full)
    body = migrate.worker(world, guest, order_from(call, guest))
    return world.spawn(call.node.name, "qmigrate", str(guest.vmid), call.auth.full, body).upid


def _check_replication(call: Call, guest: Guest, target: str) -> None:
    jobs = [job for job in call.world.replication_jobs(guest.vmid) if not job.get("remove_job")]
    if guest.running and jobs and not call.get("force") and target not in {job["target"] for job in jobs}:
        why = f"Cannot live-migrate replicated VM to node '{target}' - not a replication target."
        raise ApiError(500, f"{why} Use 'force' to override.")


def order_from(call: Call, guest: Guest) -> Order:
    """Merge the caller's limits with those of storages and datacenter."""
    world, wish = call.world, call.get("bwlimit")
    explicit = None if wish is None else float(wish) * 1024
    storages = tuple(storages_of(drive.volid for drive in guest.drives()))
    ram = preconditions.bandwidth(world, explicit, privileged=call.allowed("/", "Sys.Modify"))
    disk = preconditions.bandwidth(
        world, explicit, privileged=call.allowed("/storage", "Datastore.Allocate"), storages=storages
    )
    kind = call.get("migration_type") or preconditions.properties(world, "migration").get("type", "secure")
    return order_of(call.params, ram=ram, disk=disk, secure=kind != "insecure")


def ha_migrate(world: World, guest: Guest, target: str, *, node: str, user: str) -> str:
    """Fork the worker that only queues the wish with HA (qemu-server: PVE/API2/Qemu.pm, `hamigrate`)."""
    word, sid = "CT" if guest.type == "lxc" else "VM", world.ha.sid_of(guest)

    def body(task: Task) -> Generator[Wait, Any, None]:
        task.log.append(f"Requesting HA migration for {word} {guest.vmid} to node {target}")
        yield 1.0
        if blockers := world.ha.blockers(sid, target):
            task.log += [f"cannot migrate resource '{sid}' to node '{target}':", ""]
            for other in blockers:
                task.log.append(
                    f"- resource '{other}' on target node '{target}' in negative affinity with resource '{sid}'"
                )
            raise TaskFailed(f"command 'ha-manager migrate {sid} {target}' failed: exit code 2")
        for partner in world.ha.book.partners(sid, "positive"):
            task.log.append(
                f"also migrate resource '{partner}' in positive affinity with resource '{sid}' to target node '{target}'"
            )
        world.ha.request("migrate", sid, target)

    return world.spawn(node, "hamigrate", str(guest.vmid), user, body).upid
