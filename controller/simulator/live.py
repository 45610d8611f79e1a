"""Phase 2 of a migration: the machine starts on the target, its disks are mirrored, its memory copied.

Called by `simulator.migrate`; words and order of qemu-server: PVE/QemuMigrate.pm phase2.
"""

from collections.abc import Generator
from typing import Any

from controller.simulator import copying
from controller.simulator.engine import Interrupted, Wait
from controller.simulator.migration import Migration, PhaseFailed, unhurried
from controller.simulator.precopy import Precopy, StreamBroken, cache_size
from controller.simulator.remote_start import objections
from controller.simulator.tasks import Task, TaskFailed
from controller.simulator.units import render_bytes

REMOTE_START = 2.0
TUNNEL = 1.0
"""Fixed seconds; with preparation and end a live migration costs 5 to 10 besides copying."""


def phase2(run: Migration) -> Generator[Wait, Any, None]:
    """Bring a running machine to the target; a failure ends the worker with the machine on the source."""
    world = run.world
    try:
        yield from _start_remote(run)
        for volid in run.mirrored:
            if volid in run.replicated:
                continue
            run.moved[volid] = copying.allocate(run, volid)
            run.log(f"volume '{volid}' is '{run.moved[volid]}' on the target")
        run.log("start remote tunnel")
        yield TUNNEL * world.random.uniform(0.7, 1.3)
        run.log("ssh tunnel ver 1")
        if run.mirrored:
            yield from copying.mirror(run)
        yield from _copy_memory(run)
        if run.mirrored:
            copying.finish_mirrors(run)
    except (PhaseFailed, copying.CopyFailed, StreamBroken, Interrupted) as failure:
        yield from _cancel(run, failure)


def _start_remote(run: Migration) -> Generator[Wait, Any, None]:
    world, guest, order = run.world, run.guest, run.order
    run.log(f"starting VM {guest.vmid} on remote node '{order.target}'")
    found = objections(world, guest, order.target)
    if 2 in run.fail_in:
        found = found or [run.fail_in[2]]

    def start(_task: Task) -> Generator[Wait, Any, None]:
        yield REMOTE_START * world.random.uniform(0.7, 1.3)
        if found:
            raise TaskFailed(found[-1])

    if not world.connected(run.source, order.target):
        raise PhaseFailed("remote command failed with exit code 255")
    run.start_task = world.spawn(order.target, "qmstart", str(guest.vmid), "root@pam", start)
    status = yield run.start_task.done
    if status != "OK":
        for line in found or [str(status)]:
            run.log(f"[{order.target}] {line}")
        raise PhaseFailed("remote command failed with exit code 255")


def _copy_memory(run: Migration) -> Generator[Wait, Any, None]:
    world, guest, order = run.world, run.guest, run.order
    socket = f"unix:/run/qemu-server/{guest.vmid}.migrate"
    if not order.secure:
        socket = f"tcp:{world.nodes[order.target].ip}:60000"
    run.log(f"starting online/live migration on {socket}")
    run.log("set migration capabilities")
    limit = min(order.ram_ceiling, float(guest.config.get("migrate_speed", 0)) * 1024 * 1024 or float("inf"))
    if limit != float("inf"):
        run.log(f"migration speed limit: {render_bytes(limit)}/s")
    run.precopy = Precopy(
        world, guest, order.target, run.ceiling(limit), run.log, owner=run.task, widest=run.ceiling(float("inf"))
    )
    run.log(f"migration downtime limit: {run.precopy.limit * 1000:.0f} ms")
    run.log(f"migration cachesize: {render_bytes(cache_size(guest.memory))}")
    run.log("set migration parameters")
    run.log(f"start migrate command to {socket}")
    guest.outgoing = run.precopy
    try:
        result = yield from run.precopy.run()
    finally:
        guest.outgoing = None
    run.log(
        f"average migration speed: {render_bytes(guest.ram / max(result.seconds, 0.001))}/s"
        f" - downtime {result.downtime * 1000:.0f} ms"
    )
    run.log(f"migration completed, transferred {render_bytes(result.transferred)} VM-state")
    run.log("migration status: completed")
    world.log(
        "memory-copied",
        guest=guest.vmid,
        seconds=round(result.seconds, 3),
        downtime_ms=round(result.downtime * 1000),
        bytes=int(result.transferred),
    )


def _cancel(run: Migration, failure: Exception) -> Generator[Wait, Any, None]:
    if isinstance(failure, StreamBroken):
        run.log("migration status error: failed - Unable to write to socket: Broken pipe")
        failure = PhaseFailed("aborting")
    if run.precopy is not None and run.precopy.flow is not None:
        run.world.network.stop(run.precopy.flow)
    copying.stop_mirrors(run)
    run.log(f"ERROR: online migrate failure - {failure}")
    run.log("aborting phase 2 - cleanup resources")
    run.log("migrate_cancel")
    yield from unhurried(1.5)
    if isinstance(failure, Interrupted):
        run.log("ERROR: writing to tunnel failed: broken pipe")
    copying.free_target(run)
    run.unlock()
    run.log(f"ERROR: migration finished with problems (duration {run.duration()})")
    raise TaskFailed("migration problems")
