"""The worker behind `POST migrate` of a container: shut down, copy, start again on the target.

Started by `routes.lxc_migrate` and by HA; words and order of pve-container: PVE/LXC/Migrate.pm.
"""

from collections.abc import Callable, Generator
from typing import Any

from controller.simulator import copying
from controller.simulator.engine import Interrupted, Wait
from controller.simulator.guests import Guest
from controller.simulator.migration import Migration, Order, PhaseFailed, acquire, wait_for_replication
from controller.simulator.preconditions import local_disks
from controller.simulator.replication import ReplicationFailed
from controller.simulator.storage import storage_of
from controller.simulator.tasks import Task, TaskFailed
from controller.simulator.world import World

SHUTDOWN_TIMEOUT = 180.0


def worker(
    world: World, guest: Guest, order: Order, *, restart: bool, timeout: float = SHUTDOWN_TIMEOUT
) -> Callable[[Task], Generator[Wait, Any, None]]:
    """Return the body of a `vzmigrate` task."""

    def body(task: Task) -> Generator[Wait, Any, None]:
        yield 0.0
        task.target = order.target
        run = Migration(world, guest, order, task, source=guest.node, begin=world.now)
        if task.process is not None:
            task.process.on_end.append(lambda: world.network.release(task))
        run.fail_in = world.planned_failures.pop(guest.vmid, {})
        if order.by_ha:
            task.log.append("task started by HA resource agent")
        was_running = guest.running
        yield from wait_for_replication(guest, task)
        try:
            yield from acquire(guest, task)
            yield from _prepare(run, restart=restart, timeout=timeout)
            yield from _copy(run)
        except (PhaseFailed, copying.CopyFailed, ReplicationFailed, Interrupted) as failure:
            yield from _abort(run, str(failure), restart=was_running and restart)
        yield from _hand_over(run, restart=was_running and restart)

    return body


def _prepare(run: Migration, *, restart: bool, timeout: float) -> Generator[Wait, Any, None]:
    world, guest, order = run.world, run.guest, run.order
    if guest.lock is not None:
        raise PhaseFailed(f"CT is locked ({guest.lock})")
    if guest.running and not restart:
        raise PhaseFailed("lxc live migration is currently not implemented")
    for key, text in guest.config.items():
        if key.startswith("mp") and str(text).startswith("/") and "shared=1" not in str(text):
            raise PhaseFailed(f"cannot migrate local bind mount point '{key}'")
    ip = world.nodes[order.target].ip
    if not world.connected(run.source, order.target):
        yield 3.0
        run.log(f"# {run.ssh} /bin/true")
        run.log(f"ssh: connect to host {ip} port 22: No route to host")
        raise PhaseFailed("Can't connect to destination address using public key")
    world.set_lock(guest, "migrate")
    if guest.running:
        run.log(f"shutdown CT {guest.vmid}")
        needed = guest.stops_in if guest.stops_in is not None else timeout
        yield min(needed, timeout)
        world.set_run(guest, "stopped")
    yield 0.5
    run.log(f"starting migration of CT {guest.vmid} to node '{order.target}' ({ip})")
    world.log("migration-start", guest=guest.vmid, source=run.source, target=order.target, online=False)


def _copy(run: Migration) -> Generator[Wait, Any, None]:
    guest, world = run.guest, run.world
    run.fail_on_purpose(1)
    run.replicated = yield from world.replicator.before_move(guest, run.order.target, run.log, run.task)
    for drive in guest.drives():
        storage = world.storages.get(storage_of(drive.volid))
        if storage is not None and storage.shared:
            run.log(f"volume '{drive.volid}' is on shared storage '{storage.name}'")
    for disk in local_disks(world, guest):
        if disk["volid"].startswith("/") or disk["volid"] in run.replicated:
            continue
        run.log(f"found local volume '{disk['volid']}' (in current VM config)")
        target = copying.target_storage(run, storage_of(disk["volid"]))
        if not target.enabled(run.order.target):
            raise PhaseFailed(f"storage '{target.name}' is not available on node '{run.order.target}'")
        yield from copying.offline(run, disk["volid"])


def _abort(run: Migration, why: str, *, restart: bool) -> Generator[Wait, Any, None]:
    world, guest = run.world, run.guest
    run.log(f"ERROR: {why}")
    run.log("aborting phase 1 - cleanup resources")
    for _, name in run.allocated:
        run.log(f"ERROR: found stale volume copy '{name}' on node '{run.order.target}'")
    if guest.lock == "migrate":
        world.set_lock(guest, None)
    if restart and not guest.running:
        run.log("start container on source node")
        yield 1.5
        world.set_run(guest, "running")
    run.log(f"ERROR: migration aborted (duration {run.duration()}): {why}")
    raise TaskFailed("migration aborted")


def _hand_over(run: Migration, *, restart: bool) -> Generator[Wait, Any, None]:
    world, guest, order = run.world, run.guest, run.order
    try:
        yield 0.5
    except Interrupted:
        run.log("received interrupt - delayed")
    copying.rename_volumes(run)
    world.move_config(guest, order.target)
    copying.hand_over_jobs(run)
    run.log("start final cleanup")
    try:
        yield 1.0
    except Interrupted:
        run.log("received interrupt - delayed")
    copying.free_source(run)
    if guest.lock == "migrate":
        world.set_lock(guest, None)
    if restart:
        run.log("start container on target node")
        run.log(f"# {run.ssh} pct start {guest.vmid}")

        def start(_task: Task) -> Generator[Wait, Any, None]:
            yield 1.5
            world.set_run(guest, "running")

        yield world.spawn(order.target, "vzstart", str(guest.vmid), "root@pam", start).done
    run.log(f"migration finished successfully (duration {run.duration()})")
    world.log(
        "migration-end",
        guest=guest.vmid,
        source=run.source,
        target=order.target,
        seconds=round(world.now - run.begin, 3),
    )
