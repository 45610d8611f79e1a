"""The worker behind `POST migrate` of a virtual machine: prepare, phase 1, 2 and 3, and what is left when one fails.

Started by `routes.qemu_migrate` and by HA. It tells everything in the words of qemu-server: PVE/QemuMigrate.pm; volumes are
handled by `simulator.copying`, memory by `simulator.precopy`.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.simulator import copying
from controller.simulator.engine import Interrupted, Wait
from controller.simulator.guests import Guest
from controller.simulator.network import Flow
from controller.simulator.preconditions import has_mapping, local_disks, properties, storage_map
from controller.simulator.precopy import Precopy, StreamBroken, cache_size
from controller.simulator.remote_start import objections
from controller.simulator.storage import COPYABLE
from controller.simulator.tasks import Task, TaskFailed, stamp
from controller.simulator.units import clock_duration, render_bytes
from controller.simulator.world import World

PREPARE = 1.0
REMOTE_START = 2.0
TUNNEL = 1.0
FINISH = 3.0
"""Fixed seconds of a live migration: 5 to 10 in all on real clusters; a stopped one on shared storage takes 1 to 3."""
LOCK_WAIT = 10.0


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
    """One running migration; `fail_in` is a fault's wish: phase 1, 2 or 3 fails with the given text."""

    world: World
    guest: Guest
    order: Order
    task: Task
    source: str = ""
    renamed: bool = False
    moved: dict[str, str] = field(default_factory=dict)
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
        """Return the most that one stream carries: the limit, and ssh's unless the traffic is in the clear."""
        if not self.order.secure:
            return limit
        nodes = self.world.nodes
        return min(limit, float(nodes[self.source].file.ssh), float(nodes[self.order.target].file.ssh))


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
        waited = 0.0
        while guest.replicating:
            if waited >= LOCK_WAIT:
                raise TaskFailed(f"can't lock file '/var/lock/pve-manager/pve-migrate-{guest.vmid}' - got timeout")
            yield 0.5
            waited += 0.5
        try:
            try:
                yield from acquire(guest, task)
            except TaskFailed as failure:
                raise PhaseFailed(str(failure)) from failure
            yield from _prepare(run)
        except (PhaseFailed, Interrupted) as failure:
            _abort(run, str(failure))
        if 0 in run.fail_in:
            return
        yield from _phase1(run)
        if guest.running:
            yield from _phase2(run)
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
    _check_devices(run)
    if not world.connected(run.source, order.target):
        ip = world.nodes[order.target].ip
        yield 3.0
        options = f"-e none -o 'BatchMode=yes' -o 'HostKeyAlias={order.target}'"
        run.log(f"# /usr/bin/ssh {options} root@{ip} /bin/true")
        run.log(f"ssh: connect to host {ip} port 22: No route to host")
        raise PhaseFailed("Can't connect to destination address using public key")
    if guest.running and world.nodes[run.source].at_least("9.0") and not order.conntrack:
        run.log("conntrack state migration not supported or disabled, active connections might get dropped")
    network = properties(world, "migration").get("network")
    ip = world.nodes[order.target].ip
    if network is not None:
        run.log(f"use dedicated network address for sending migration traffic ({ip})")
    yield PREPARE * world.random.uniform(0.7, 1.3)
    run.log(f"starting migration of VM {guest.vmid} to node '{order.target}' ({ip})")
    world.log("migration-start", guest=guest.vmid, source=run.source, target=order.target, online=guest.running)


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
        yield 0.2
        _fail_on_purpose(run, 1)
        offline, run_online = _scan(run)
        run.moved = dict.fromkeys(run_online, "")
        if offline:
            run.log("copying local disk images")
            for volid in offline:
                yield from copying.offline(run, volid)
    except (PhaseFailed, copying.CopyFailed, Interrupted) as failure:
        run.log(f"ERROR: {failure}")
        run.log("aborting phase 1 - cleanup resources")
        copying.free_target(run)
        _unlock(run)
        _abort(run, str(failure))


def _fail_on_purpose(run: Migration, phase: int) -> None:
    if phase in run.fail_in:
        raise PhaseFailed(run.fail_in[phase])


def _scan(run: Migration) -> tuple[list[str], list[str]]:
    """Log the local volumes and refuse those that cannot move; return those to copy before and while the VM runs."""
    guest, order, world = run.guest, run.order, run.world
    offline: list[str] = []
    online: list[str] = []
    problems: list[str] = []
    for disk in local_disks(world, guest):
        volid, why = str(disk["volid"]), _objection(run, disk)
        if volid == "cdrom":
            problems.append("can't migrate local cdrom drive")
            continue
        run.log(_found(disk))
        if why:
            problems.append(f"can't migrate local disk '{volid}': {why}")
        elif guest.running and disk["is_attached"] and not disk["is_cloudinit"] and not disk["is_tpmstate"]:
            online.append(volid)
        else:
            offline.append(volid)
        if not why and not _supported(world, volid):
            kind = world.storages[volid.partition(":")[0]].type
            problems.append(f"can't migrate '{volid}' - storage type '{kind}' not supported")
    for problem in problems:
        run.log(problem)
    if problems:
        raise PhaseFailed("Problem found while scanning volumes - can't migrate VM - check log")
    if order.storages is None:
        for volid in offline + online:
            name = volid.partition(":")[0]
            if not world.storages[name].enabled(order.target):
                raise PhaseFailed(f"storage '{name}' is not available on node '{order.target}'")
    return offline, online


def _supported(world: World, volid: str) -> bool:
    storage = world.storages.get(volid.partition(":")[0])
    return storage is None or storage.type in COPYABLE


def _found(disk: Mapping[str, Any]) -> str:
    if disk["is_cloudinit"]:
        return f"found generated disk '{disk['volid']}' (in current VM config)"
    origin = "attached" if disk["is_attached"] else "unused" if disk["is_unused"] else "referenced by snapshot(s)"
    return f"found local disk '{disk['volid']}' ({origin})"


def _objection(run: Migration, disk: Mapping[str, Any]) -> str:
    guest, order = run.guest, run.order
    generated = disk["is_cloudinit"] or disk["is_tpmstate"]
    if guest.running and disk["is_attached"] and not generated and not order.local_disks:
        return "can't live migrate attached local disks without with-local-disks option"
    if disk["cdrom"] and not disk["is_cloudinit"]:
        return "local cdrom image"
    if disk["volid"].startswith("/"):
        return "local file/device"
    if "referenced_in_snapshot" in disk:
        storage = run.world.storages[disk["volid"].partition(":")[0]]
        if guest.running:
            return "online storage migration not possible if non-replicated snapshot exists"
        if storage.type != "zfspool" and not disk["volid"].endswith(".qcow2"):
            return "non-migratable snapshot exists"
    return ""


def _phase2(run: Migration) -> Generator[Wait, Any, None]:
    world = run.world
    try:
        yield from _start_remote(run)
        online = [volid for volid in run.moved if not run.moved[volid]]
        for volid in online:
            run.moved[volid] = copying.allocate(run, volid)
            run.log(f"volume '{volid}' is '{run.moved[volid]}' on the target")
        run.log("start remote tunnel")
        yield TUNNEL * world.random.uniform(0.7, 1.3)
        run.log("ssh tunnel ver 1")
        if online:
            yield from copying.mirror(run, online)
        yield from _copy_memory(run)
        if online:
            copying.finish_mirrors(run, online)
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
    run.precopy = Precopy(world, guest, order.target, run.ceiling(limit), run.log, owner=run.task)
    run.log(f"migration downtime limit: {run.precopy.limit * 1000:.0f} ms")
    run.log(f"migration cachesize: {render_bytes(cache_size(guest.memory))}")
    run.log("set migration parameters")
    run.log(f"start migrate command to {socket}")
    result = yield from run.precopy.run()
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
    yield from _unhurried(1.5)
    if isinstance(failure, Interrupted):
        run.log("ERROR: writing to tunnel failed: broken pipe")
    copying.free_target(run)
    _unlock(run)
    run.log(f"ERROR: migration finished with problems (duration {run.duration()})")
    raise TaskFailed("migration problems")


def _unhurried(seconds: float) -> Generator[Wait, Any, bool]:
    """Wait, and let a SIGTERM wait too; True when there was one."""
    try:
        yield seconds
    except Interrupted:
        return True
    return False


def _phase3(run: Migration) -> Generator[Wait, Any, None]:
    world, guest, order = run.world, run.guest, run.order
    problem = run.fail_in.get(3)
    was = guest.run
    if not guest.running:
        interrupted = yield from _unhurried(0.5)
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
    copying.replication_state(run)
    interrupted = yield from _unhurried(FINISH * world.random.uniform(0.7, 1.3) * (1.0 if was != "stopped" else 0.4))
    if interrupted:
        run.log("received interrupt - delayed")
    copying.free_source(run)
    if run.moved and was != "stopped":
        run.log("stopping NBD storage migration server on target.")
    _unlock(run)
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


def _unlock(run: Migration) -> None:
    if run.guest.lock == "migrate":
        run.world.set_lock(run.guest, None)


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
