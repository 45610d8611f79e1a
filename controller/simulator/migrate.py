"""The worker behind `POST migrate` of a virtual machine: prepare, phase 1, 2 and 3, and what is left when one fails.

Started by `routes.qemu_migrate` and by HA. It tells everything in the words of qemu-server: PVE/QemuMigrate.pm; volumes are
handled by `simulator.copying`, memory by `simulator.precopy`.
"""

from collections.abc import Callable, Generator
from typing import Any

from controller.simulator import copying
from controller.simulator.engine import Interrupted, Wait
from controller.simulator.guests import Guest
from controller.simulator.live import phase2
from controller.simulator.migration import Migration, Order, PhaseFailed, acquire, unhurried, wait_for_replication
from controller.simulator.preconditions import has_mapping, properties
from controller.simulator.replication import ReplicationFailed
from controller.simulator.scan import scan
from controller.simulator.tasks import Task, TaskFailed
from controller.simulator.world import World

PREPARE = 0.2
SCAN = 0.8
FINISH = 3.0
"""Fixed seconds of a live migration: 5 to 10 in all on real clusters; a stopped one on shared storage takes 1 to 3."""
HOLLOW = 0
"""In `Migration.fail_in`: end well without having done anything."""


def worker(world: World, guest: Guest, order: Order) -> Callable[[Task], Generator[Wait, Any, None]]:
    """Return the body of a `qmigrate` task."""

    def body(task: Task) -> Generator[Wait, Any, None]:
        yield 0.0
        task.target = order.target
        run = Migration(world, guest, order, task, source=guest.node, begin=world.now)
        if task.process is not None:
            task.process.on_end.append(lambda: world.network.release(task))
        run.fail_in = world.planned_failures.pop(guest.vmid, {})
        if order.by_ha:
            task.log.append("task started by HA resource agent")
        yield from wait_for_replication(guest, task)
        try:
            try:
                yield from acquire(guest, task)
            except TaskFailed as failure:
                raise PhaseFailed(str(failure)) from failure
            yield from _prepare(run)
        except (PhaseFailed, Interrupted) as failure:
            _abort(run, str(failure))
        if HOLLOW in run.fail_in:
            return
        yield from _phase1(run)
        if guest.running:
            yield from phase2(run)
        yield from _phase3(run)

    return body


def _abort(run: Migration, why: str) -> None:
    run.log(f"ERROR: migration aborted (duration {run.duration()}): {why}")
    raise TaskFailed("migration aborted")


def _prepare(run: Migration) -> Generator[Wait, Any, None]:
    world, guest, order = run.world, run.guest, run.order
    if world.guests.get(guest.vmid) is not guest or guest.node != run.source:
        raise PhaseFailed(f"Configuration file 'nodes/{run.source}/qemu-server/{guest.vmid}.conf' does not exist")
    if guest.lock is not None:
        raise PhaseFailed(f"VM is locked ({guest.lock})")
    if guest.running and not order.online:
        raise PhaseFailed("can't migrate running VM without --online")
    _check_jobs(run)
    _check_devices(run)
    if guest.running and world.nodes[run.source].at_least("9.0") and not order.conntrack:
        run.log("conntrack state migration not supported or disabled, active connections might get dropped")
    if not world.connected(run.source, order.target):
        ip = world.nodes[order.target].ip
        yield 3.0
        run.log(f"# {run.ssh} /bin/true")
        why = "Connection refused" if world.nodes[order.target].refusing else "No route to host"
        run.log(f"ssh: connect to host {ip} port 22: {why}")
        raise PhaseFailed("Can't connect to destination address using public key")
    network = properties(world, "migration").get("network")
    ip = world.nodes[order.target].ip
    if network is not None:
        run.log(f"use dedicated network address for sending migration traffic ({ip})")
    yield PREPARE * world.random.uniform(0.7, 1.3)
    run.log(f"starting migration of VM {guest.vmid} to node '{order.target}' ({ip})")
    world.log("migration-start", guest=guest.vmid, source=run.source, target=order.target, online=guest.running)


def _check_jobs(run: Migration) -> None:
    jobs, target = run.world.replication_jobs(run.guest.vmid), run.order.target
    if any(job["target"] == target and "remove_job" in job for job in jobs):
        raise PhaseFailed("refusing to migrate replicated VM whose replication job is marked for removal")
    if run.guest.running and jobs and not run.order.force and target not in {job["target"] for job in jobs}:
        why = f"Cannot live-migrate replicated VM to node '{target}' - not a replication target."
        raise PhaseFailed(f"{why} Use 'force' to override.")


def _check_devices(run: Migration) -> None:
    guest, order = run.guest, run.order
    mapped = guest.mapped_devices()
    absent = [key for key, name in mapped.items() if not has_mapping(run.world, key, name, order.target)]
    if absent:
        raise PhaseFailed(f"can't migrate to '{order.target}': missing mapped devices {', '.join(absent)}")
    local = [key for key in guest.local_devices() if key not in mapped]
    if local:
        if guest.running or not order.force:
            raise PhaseFailed(f"can't migrate VM which uses local devices: {', '.join(local)}")
        run.log("migrating VM which uses local devices")
    if mapped:
        stuck = [f"{key}:{name}" for key, name in mapped.items() if not _moves_live(run.world, key, name)]
        if guest.running and stuck:
            names = ", ".join(stuck)
            raise PhaseFailed(f"can't live migrate running VM which uses following mapped devices: {names}")
        run.log("migrating VM which uses mapped local devices")


def _moves_live(world: World, key: str, name: str) -> bool:
    kind = "usb" if key.startswith("usb") else "pci"
    return bool(world.mappings[kind].get(name, {}).get("live-migration-capable"))


def _phase1(run: Migration) -> Generator[Wait, Any, None]:
    world, guest = run.world, run.guest
    world.set_lock(guest, "migrate")
    try:
        yield SCAN * world.random.uniform(0.7, 1.3)
        run.fail_on_purpose(1)
        found = scan(run)
        yield from _replicate(run, found.replicated)
        run.moved = {volid: "" for volid in found.online if volid not in run.replicated}
        run.mirrored = found.online
        if found.offline:
            run.log("copying local disk images")
        for volid in found.offline:
            yield from copying.offline(run, volid)
    except (PhaseFailed, copying.CopyFailed, ReplicationFailed, Interrupted) as failure:
        run.log(f"ERROR: {failure}")
        run.log("aborting phase 1 - cleanup resources")
        copying.free_target(run)
        run.unlock()
        _abort(run, str(failure))


def _replicate(run: Migration, volids: list[str]) -> Generator[Wait, Any, None]:
    guest = run.guest
    if guest.running:
        for drive in guest.drives():
            if drive.volid in volids:
                run.log(f"{drive.key}: start tracking writes using block-dirty-bitmap 'repl_{drive.key}'")
    run.tracked_since = run.world.now
    run.replicated = yield from run.world.replicator.before_move(guest, run.order.target, run.log, run.task)


def _phase3(run: Migration) -> Generator[Wait, Any, None]:
    world, guest, order = run.world, run.guest, run.order
    problem = run.fail_in.get(3)
    was = guest.run
    if not guest.running:
        interrupted = yield from unhurried(0.5)
        if interrupted:
            run.log("received interrupt - delayed")
    if not world.quorate(run.source) or not world.nodes[run.source].powered:
        _rename_failed(run)
    copying.rename_volumes(run)
    world.move_config(guest, order.target)
    if was != "stopped":
        world.touch(guest)
        guest.started_at = world.now
        world.boot(guest)
    if problem is not None:
        run.log(f"ERROR: {problem}")
        run.log(f"ERROR: migration finished with problems (duration {run.duration()})")
        if was != "stopped":
            world.set_run(guest, "paused")
        raise TaskFailed("migration problems")
    copying.hand_over_jobs(run)
    if run.mirrored:
        run.log("stopping NBD storage migration server on target.")
    interrupted = yield from unhurried(FINISH * world.random.uniform(0.7, 1.3) * (1.0 if was != "stopped" else 0.4))
    if interrupted:
        run.log("received interrupt - delayed")
    copying.free_source(run)
    run.unlock()
    if 4 in run.fail_in:
        run.log(f"ERROR: {run.fail_in[4]}")
        run.log(f"ERROR: migration finished with problems (duration {run.duration()})")
        raise TaskFailed("migration problems")
    run.log(f"migration finished successfully (duration {run.duration()})")
    world.log(
        "migration-end",
        guest=guest.vmid,
        source=run.source,
        target=order.target,
        seconds=round(world.now - run.begin, 3),
    )


def _rename_failed(run: Migration) -> None:
    """The cluster lost quorum under way: both QEMUs are paused until an admin acts (the lock stays)."""
    guest = run.guest
    run.log(f"ERROR: failed to move config to node '{run.order.target}' - rename failed: Permission denied")
    run.log(f"ERROR: migration finished with problems (duration {run.duration()})")
    if guest.running:
        run.world.set_run(guest, "postmigrate")
    raise TaskFailed("migration problems")
