"""The hand of fate and of the admin: things that happen to a cluster, by name and arguments.

Used by stories (`apply`), by the timeline in a cluster file (`schedule`) and by tests. Every function with a hyphenated name in
`FAULTS` takes the world and keyword arguments.
"""

import inspect
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from controller.simulator import migrate, migrate_container, power
from controller.simulator.api import Request, Response
from controller.simulator.engine import Wait
from controller.simulator.guests import Guest
from controller.simulator.migration import Order
from controller.simulator.nodes import WARM_UP
from controller.simulator.seed import CHECKS, ClusterFile, Problem
from controller.simulator.storage import storage_of
from controller.simulator.tasks import Task
from controller.simulator.world import CRASH_NOTICED, World

FAULTS: dict[str, Callable[..., None]] = {}


def _fault(function: Callable[..., None]) -> Callable[..., None]:
    FAULTS[function.__name__.replace("_", "-")] = function
    return function


def apply(world: World, do: str, **arguments: Any) -> None:
    """Let something happen now.

    Raises ValueError for an unknown name or wrong arguments, with what is possible.
    """
    complaint = _complaint(do, arguments)
    if complaint:
        raise ValueError(complaint)
    world.log("fault", do=do, **arguments)
    place = world if "guest" in arguments else world.elsewhere.get(str(arguments.get("node")), world)
    try:
        FAULTS[do](place, **arguments)
    except KeyError as error:
        raise ValueError(f"{do}: there is no {error} in this cluster") from error


def _complaint(do: str, arguments: Mapping[str, Any]) -> str:
    """Say what is wrong with a fault's name or the names of its arguments, "" when nothing is."""
    function = FAULTS.get(do)
    if function is None:
        return f"there is no fault {do!r}; allowed: {', '.join(sorted(FAULTS))}"
    try:
        inspect.signature(function).bind(None, **arguments)
    except TypeError as error:
        allowed = list(inspect.signature(function).parameters)[1:]
        complaint = str(error).replace(" keyword-only", "")  # which newer Pythons say
        return f"{do}: {complaint}; allowed: {', '.join(allowed) or 'none'}"
    return ""


def check(file: ClusterFile) -> Iterator[Problem]:
    """Check the timeline of a cluster file: names, arguments, and that what they name is there at the start."""
    known: dict[str, Container[Any]] = {"node": file.nodes, "storage": file.storages, "like": file.guests}
    for number, fault in enumerate(file.faults):
        where, arguments = ("faults", number), dict(fault.model_extra or {})
        complaint = _complaint(fault.do, arguments)
        if complaint:
            yield (*where, "do"), complaint
            continue
        for key, value in arguments.items():
            names = value if key == "nodes" and isinstance(value, list) else [value]
            there = known.get("node" if key == "nodes" else key)
            for name in names:
                if there is not None and name not in there:
                    yield (*where, key), f"there is no {name!r} in this cluster"


CHECKS.append(check)


def schedule(world: World) -> None:
    """Put the timeline of the cluster file onto the world's clock."""
    for fault in world.file.faults:
        arguments = dict(fault.model_extra or {})
        world.at(world.start + fault.at, lambda do=fault.do, arguments=arguments: _happen(world, do, arguments))  # type: ignore[misc] # mypy does not infer defaulted lambdas


def _happen(world: World, do: str, arguments: dict[str, Any]) -> None:
    """Like `apply`, but what is not possible any more (the guest is gone) is only told."""
    try:
        apply(world, do, **arguments)
    except ValueError as error:
        world.log("fault-impossible", do=do, why=str(error))


# nodes and network


@_fault
def node_crash(world: World, *, node: str) -> None:
    """Cut a node's power: its workers and guests are gone at once, the others notice after some seconds."""
    host = world.nodes[node]
    if not host.powered:
        return
    host.powered, host.down_at = False, world.now
    world.tasks.crash(node)
    world.replicator.crashed(node)
    for guest in world.guests.values():
        if guest.node == node and guest.running:
            world.set_run(guest, "stopped")
        if guest.node == node:
            guest.busy = guest.replicating = False
    world.network.cut(lambda flow: node in (flow.src, flow.dst))
    world.after(CRASH_NOTICED, lambda: _unseen(world, node))


BOOT_SECONDS = 120.0
"""From a reset to a node that corosync counts again."""


def power_cycle(world: World, node: str) -> None:
    """Reset a node: it is gone at once, and comes back by itself."""
    node_crash(world, node=node)
    world.after(BOOT_SECONDS, lambda: node_return(world, node=node))


def _unseen(world: World, node: str) -> None:
    if not world.nodes[node].powered:
        world.nodes[node].member = False
        world.revision += 1
        world.log("node-offline", node=node)


@_fault
def node_return(world: World, *, node: str) -> None:
    """Switch a node on again; guests with `onboot` start when there is quorum."""
    host = world.nodes[node]
    if host.powered:
        return
    host.powered, host.member, host.booted_at = True, True, world.now
    host.proxy, host.joined_at = False, min(host.joined_at, world.now)
    world.revision += 1
    world.log("node-online", node=node)
    world.after(WARM_UP, lambda: _booted(world, node))


def _booted(world: World, node: str) -> None:
    host = world.nodes[node]
    if not host.powered:
        return
    host.proxy = True
    if not world.quorate(node):
        return
    for guest in list(world.guests.values()):
        if guest.node != node:
            continue
        if guest.lock == "backup":
            world.set_lock(guest, None)
        if guest.config.get("onboot") and not guest.running:
            _do(world, guest, "start")


@_fault
def partition(world: World, *, nodes: Sequence[str]) -> None:
    """Cut these nodes off from the others; among each other they still talk."""
    for name in nodes:
        _ = world.nodes[name]
    world.split(nodes)
    world.log("partition", nodes=",".join(nodes))


@_fault
def heal(world: World) -> None:
    """Mend every partition."""
    world.mend()
    world.log("healed")


@_fault
def pveproxy_down(world: World, *, node: str) -> None:
    """Stop a node's pveproxy: clients and other nodes get no connection (595); guests go on."""
    world.nodes[node].proxy = False


@_fault
def pveproxy_up(world: World, *, node: str) -> None:
    """Start it again."""
    world.nodes[node].proxy = True


@_fault
def pvedaemon_down(world: World, *, node: str) -> None:
    """Stop a node's pvedaemon: calls that change something answer 595, cluster reads work."""
    world.nodes[node].daemon = False


@_fault
def pvedaemon_up(world: World, *, node: str) -> None:
    """Start it again."""
    world.nodes[node].daemon = True


@_fault
def link(world: World, *, node: str, rate: int) -> None:
    """Change a node's network speed, in bytes per second."""
    world.network.relink(node, float(rate))


# calls


def _intercept(world: World, matches: Callable[[Request], bool], count: int, answer: Callable[..., Response]) -> None:
    left = count

    def interceptor(request: Request, carry_out: Callable[[], Response]) -> Response | None:
        nonlocal left
        if not matches(request):
            return None
        left -= 1
        if left <= 0:
            world.interceptors.remove(interceptor)
        return answer(carry_out)

    world.interceptors.append(interceptor)


def _picks(method: str, path: str) -> Callable[[Request], bool]:
    return lambda request: request.method == method and path in request.path


@_fault
def slow_handler(world: World, *, method: str = "POST", path: str = "/migrate", count: int = 1) -> None:
    """Let calls time out at the proxy (596 after 30 s) while the work is done all the same."""

    def answer(carry_out: Callable[[], Response]) -> Response:
        carry_out()
        return Response(596, "Connection timed out", None, delay=30.0)

    _intercept(world, _picks(method, path), count, answer)


@_fault
def lost_answer(world: World, *, method: str = "POST", path: str = "/migrate", count: int = 1) -> None:
    """Let the connection die after the work was done."""

    def answer(carry_out: Callable[[], Response]) -> Response:
        done = carry_out()
        return Response(done.status, done.reason, done.body, done.delay, lost=True)

    _intercept(world, _picks(method, path), count, answer)


@_fault
def unauthorized(world: World, *, count: int = 1) -> None:
    """Refuse the next calls with 401, as after the end of a ticket."""
    _intercept(world, lambda _: True, count, lambda _: Response(401, "Authentication failed!", None, delay=3.0))


@_fault
def refuse(
    world: World, *, status: int, reason: str, method: str = "POST", path: str = "/migrate", count: int = 1
) -> None:
    """Answer the next matching calls with an error of one's choice; nothing is done."""
    body = None if status in (401, 595, 596) else {"data": None, "message": f"{reason}\n"}
    _intercept(world, _picks(method, path), count, lambda _: Response(status, reason, body))


@_fault
def hollow_ok(world: World, *, guest: int) -> None:
    """Let the guest's next migration end with OK without having moved anything."""
    world.planned_failures[guest] = {0: "hollow"}


@_fault
def migration_fails(world: World, *, guest: int, phase: int = 2, text: str | None = None) -> None:
    """Let the guest's next migration fail in phase 1, 2 or 3; 4: in the cleaning up when all is done."""
    if phase not in _WORDS:
        raise ValueError(f"migration-fails: phase is 1, 2, 3 or 4, not {phase}")
    world.planned_failures[guest] = {phase: text or _WORDS[phase]}


_WORDS = {
    1: "storage migration failed - command 'set -o pipefail && pvesm export' failed: exit code 255",
    2: "kvm: error while loading state for instance 0x0 of device 'ram'",
    3: "unable to activate storage - got timeout",
    4: "stopping vm failed - VM qmp command 'quit' failed - got timeout",
}

# workers


def _running_tasks(world: World, guest: int) -> list[Task]:
    return [task for task in world.tasks.running() if task.id == str(guest)]


@_fault
def worker_kill(world: World, *, guest: int) -> None:
    """SIGKILL the guest's workers: the lock stays, the exit status is `unexpected status`."""
    for task in _running_tasks(world, guest):
        world.tasks.kill(task)


@_fault
def task_stop(world: World, *, guest: int) -> None:
    """Press Stop on the guest's workers."""
    for task in _running_tasks(world, guest):
        world.tasks.stop(task)


@_fault
def task_vanish(world: World, *, guest: int) -> None:
    """Make the guest's tasks unknown to the API (rotated away, log disk lost); what runs goes on."""
    for task in world.tasks.by_upid.values():
        if task.id == str(guest):
            task.vanished = True


# storages


@_fault
def storage_inactive(world: World, *, storage: str, node: str) -> None:
    """Take a storage away from a node; lists show it up to five more minutes."""
    world.storages[storage].inactive.setdefault(world.nodes[node].name, world.now)


@_fault
def storage_active(world: World, *, storage: str, node: str) -> None:
    """Bring it back."""
    world.storages[storage].inactive.pop(node, None)


@_fault
def storage_full(world: World, *, storage: str, free: int = 0) -> None:
    """Fill a storage up to `free` bytes."""
    held = world.storages[storage]
    used = min(held.used(name) for name in world.nodes)
    held.base_used += max(0, held.size - free - used)


@_fault
def stray_volume(world: World, *, guest: int, node: str) -> None:
    """Leave volumes with the names of the guest's own on a node, without a snapshot in common: replication to it fails."""
    found = world.guests[guest]
    for drive in world.replicator.replicated(found):
        storage = world.storages[storage_of(drive.volid)]
        storage.place(world.nodes[node].name)[drive.volid] = replace(storage.place(found.node)[drive.volid])


@_fault
def stray_volume_gone(world: World, *, guest: int, node: str) -> None:
    """Destroy them again, as an administrator would."""
    for drive in world.replicator.replicated(world.guests[guest]):
        world.storages[storage_of(drive.volid)].place(world.nodes[node].name).pop(drive.volid, None)


@_fault
def replication_lock(world: World, *, node: str, count: int = 1) -> None:
    """Let the next calls about replication on a node wait in vain for the cluster's lock."""
    text = "cfs-lock 'file-replication_cfg' error: got lock request timeout"
    answer = Response(500, text, {"data": None, "message": f"{text}\n"})
    _intercept(world, _picks("GET", f"/nodes/{node}/replication"), count, lambda _: answer)


# the admin


def _do(world: World, guest: Guest, verb: str, **params: Any) -> None:
    body = power.worker(world, guest.node, guest.type, guest.vmid, verb=verb, params=params)
    world.spawn(guest.node, power.task_type(guest.type, verb), str(guest.vmid), "root@pam", body)


@_fault
def admin_start(world: World, *, guest: int) -> None:
    """Start a guest."""
    _do(world, world.guests[guest], "start")


@_fault
def admin_stop(world: World, *, guest: int) -> None:
    """Stop a guest hard."""
    _do(world, world.guests[guest], "stop")


@_fault
def admin_shutdown(world: World, *, guest: int) -> None:
    """Shut a guest down."""
    _do(world, world.guests[guest], "shutdown")


@_fault
def admin_migrate(world: World, *, guest: int, node: str, force: bool = False) -> None:
    """Move a guest with a migration of one's own; with `force` as root and PVE HA may, to a node without its replica, too."""
    found, target = world.guests[guest], world.nodes[node].name
    order = Order(target=target, online=True, local_disks=True, force=force)
    kind = "vzmigrate" if found.type == "lxc" else "qmigrate"
    body: Callable[[Task], Generator[Wait, Any, None]] = (
        migrate_container.worker(world, found, order, restart=True)
        if found.type == "lxc"
        else migrate.worker(world, found, order)
    )
    world.spawn(found.node, kind, str(guest), "root@pam", body)


@_fault
def admin_place(world: World, *, guest: int, node: str) -> None:
    """Let a guest be somewhere else at once, as after `mv` of its configuration file."""
    world.move_config(world.guests[guest], world.nodes[node].name)


@_fault
def admin_remove_node(world: World, *, node: str) -> None:
    """Remove a node that is switched off and has no guests from the cluster: `pvecm delnode`."""
    if world.nodes[node].powered or any(guest.node == node for guest in world.guests.values()):
        raise ValueError(f"admin-remove-node: {node} is on, or has guests")
    del world.nodes[node]
    world.ha.lrms.pop(node, None)
    world.revision += 1


@_fault
def admin_lock(world: World, *, guest: int, lock: str = "backup") -> None:
    """Put a lock on a guest, as a backup does."""
    world.set_lock(world.guests[guest], lock)


@_fault
def admin_unlock(world: World, *, guest: int) -> None:
    """Remove the lock: `qm unlock`."""
    world.set_lock(world.guests[guest], None)


@_fault
def admin_tag(world: World, *, guest: int, tags: Sequence[str]) -> None:
    """Give a guest other tags."""
    text = ";".join(sorted({tag.lower() for tag in tags}))
    world.set_config(world.guests[guest], {"tags": text} if text else {}, () if text else ("tags",))


@_fault
def admin_config(world: World, *, guest: int, set: dict[str, Any] | None = None, delete: Sequence[str] = ()) -> None:  # noqa: A002 - the word people use
    """Change a guest's configuration file."""
    world.set_config(world.guests[guest], dict(set or {}), delete)


@_fault
def admin_destroy(world: World, *, guest: int) -> None:
    """Remove a guest and its volumes."""
    world.remove(world.guests[guest])


@_fault
def admin_create(world: World, *, guest: int, node: str, like: int) -> None:
    """Create a guest that looks like another; its VMID may have been used before."""
    file = world.file.guests[like].model_copy(update={"node": node, "ctime": int(world.now), "uptime": 0.0})
    world.add(guest, file)


@_fault
def guest_dirty(world: World, *, guest: int, dirty: int, working: int | None = None) -> None:
    """Let a guest write more or less memory: bytes per second, and bytes it writes again and again."""
    found = world.guests[guest]
    found.dirty = float(dirty)
    if working is not None:
        found.working = float(working)


@_fault
def admin_maintain(world: World, *, node: str, on: bool = True) -> None:
    """Put a node into PVE HA's maintenance, or end it: `ha-manager crm-command node-maintenance`."""
    world.ha.maintain(world.nodes[node].name, on=on)


@_fault
def admin_grant(world: World, *, user: str, role: str, path: str = "/") -> None:
    """Grant a user a role: `pveum acl modify`."""
    world.access.grant(path, "user", user, role)


@_fault
def admin_revoke(world: World, *, user: str, role: str, path: str = "/") -> None:
    """Take it away: `pveum acl delete`."""
    world.access.revoke(path, "user", user, role)
