"""Calls that act on many guests: `migrateall`, `startall`, `stopall`, and 9.1's `/cluster/bulk-action/guest`.

Registered with `routes.registry`; pve-manager: PVE/API2/Nodes.pm and PVE/API2/Cluster/BulkAction/Guest.pm. Each guest gets its own
worker by the same call that a client would make.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from typing import Any

from controller.simulator import preconditions
from controller.simulator.api import ApiError
from controller.simulator.engine import Wait
from controller.simulator.formats import split_list
from controller.simulator.guests import Guest
from controller.simulator.routes.registry import HANDLERS, Call, route
from controller.simulator.tasks import Task, TaskFailed

Body = Generator[Wait, Any, None]


def _word(guest: Guest) -> str:
    return "CT" if guest.type == "lxc" else "VM"


def _ask(call: Call, guest: Guest, what: str, **params: Any) -> Task:
    """Make the API call about one guest, at its node; raises ApiError."""
    verb = "migrate" if what == "migrate" else f"status/{what}"
    handler = HANDLERS["POST", f"/nodes/{{node}}/{guest.type}/{{vmid}}/{verb}"]
    there = replace(call, node=call.world.nodes[guest.node], params={"node": guest.node, "vmid": guest.vmid, **params})
    return call.world.tasks.by_upid[str(handler(there))]


def _until_done(tasks: Iterable[Task]) -> Generator[Wait, Any, None]:
    for task in tasks:
        if task.running:
            yield task.done


def _move_params(guest: Guest, target: str) -> dict[str, Any]:
    key = "restart" if guest.type == "lxc" else "online"
    return {"target": target, **({key: 1} if guest.running else {})}


def _chosen(call: Call) -> list[Guest]:
    """The guests of the node that were named, or all, by VMID as text."""
    wanted = {int(text) for text in split_list(str(call.get("vms", "")))}
    here = [guest for guest in call.world.guests.values() if guest.node == call.node.name]
    return sorted((g for g in here if not wanted or g.vmid in wanted), key=lambda guest: str(guest.vmid))


@route("POST", "/nodes/{node}/migrateall")
def migrate_all(call: Call) -> str:
    """Move guests of a node to one target, some at a time."""
    world, target = call.world, str(call.params["target"])
    preconditions.check_target(world, call.node.name, call.node.name, target)
    wanted = call.get("max-workers") or call.get("maxworkers") or world.options.get("max_workers")
    if wanted is None:
        raise ApiError(500, "either 'max-workers' parameter or max_workers in datacenter.cfg must be set!")
    for vmid in split_list(str(call.get("vms", ""))):
        call.check(f"/vms/{vmid}", "VM.Migrate")

    def body(task: Task) -> Body:
        yield from _migrate_all(call, task, int(wanted), target)

    return world.spawn(call.node.name, "migrateall", "", call.auth.full, body).upid


def _migrate_all(call: Call, task: Task, workers: int, target: str) -> Body:
    running: list[Task] = []
    started = 0
    for guest in _chosen(call):
        word = f"{_word(guest)} {guest.vmid}"
        if why := _precondition(call, guest, target):
            task.log += [f"Check {word}: skip {word} - precondition check failed:", f"  {why}"]
            continue
        task.log.append(f"Check {word}: precondition check passed")
        while len([job for job in running if job.running]) >= workers:
            yield 1.0
        task.log.append(f"Migrating {word}")
        flag = {"with-local-disks": 1} if call.get("with-local-disks") and guest.type == "qemu" else {}
        try:
            running.append(_ask(call, guest, "migrate", **_move_params(guest, target), **flag))
        except ApiError as error:
            task.log.append(f"{word} migration failed: {error.reason}")
            continue
        started += 1
    yield from _until_done(running)
    if not started:
        raise TaskFailed("no migrations worker started...")
    task.log.append(f"All jobs finished, used {started} workers in total.")


def _precondition(call: Call, guest: Guest, target: str) -> str:
    if guest.type != "qemu":
        return ""
    report = preconditions.report(call.world, guest)
    disks = [disk for disk in report["local_disks"] if not disk["cdrom"]]
    if guest.running and disks and not call.get("with-local-disks"):
        return "Has local disks"
    if report["local_resources"]:
        return f"Has local resources: {', '.join(report['local_resources'])}"
    finding = report["not_allowed_nodes"].get(target, {})
    if finding.get("unavailable_storages"):
        return f"Unavailable storages: {', '.join(finding['unavailable_storages'])}"
    return (
        f"Unavailable resources: {', '.join(finding['unavailable-resources'])}"
        if "unavailable-resources" in finding
        else ""
    )


@route("POST", "/nodes/{node}/startall")
def start_all(call: Call) -> str:
    """Start guests of a node; without `force` those with `onboot`."""

    def body(task: Task) -> Body:
        for guest in _chosen(call):
            if not guest.running and not guest.template and (call.get("force") or guest.config.get("onboot")):
                task.log.append(f"Starting {_word(guest)} {guest.vmid}")
                yield from _until_done([_ask(call, guest, "start")])

    return call.world.spawn(call.node.name, "startall", "", call.auth.full, body).upid


@route("POST", "/nodes/{node}/stopall")
def stop_all(call: Call) -> str:
    """Shut guests of a node down."""
    timeout = int(call.get("timeout", 180))

    def body(task: Task) -> Body:
        jobs = []
        for guest in _chosen(call):
            if guest.running:
                task.log.append(f"Stopping {_word(guest)} {guest.vmid} (timeout = {timeout} seconds)")
                jobs.append(_ask(call, guest, "shutdown", timeout=timeout, forceStop=call.get("force-stop", 1)))
        yield from _until_done(jobs)

    return call.world.spawn(call.node.name, "stopall", "", call.auth.full, body).upid


@route("GET", "/cluster/bulk-action/guest")
def bulk_index(_call: Call) -> list[dict[str, str]]:
    """List what can be done to many guests."""
    return [{"name": name} for name in ("start", "shutdown", "migrate", "suspend")]


Each = Callable[[Guest], tuple[str, dict[str, Any]]]


def _bulk(call: Call, kind: str, title: str, line: str, each: Each) -> str:
    """Fork a worker on the asked node that goes through the guests one by one and waits for each."""
    vmids = [int(vmid) for vmid in call.get("vms") or sorted(call.world.guests)]
    privilege = "VM.Migrate" if kind == "bulk-migrate" else "VM.PowerMgmt"
    for vmid in vmids:
        call.check(f"/vms/{vmid}", privilege)

    def body(task: Task) -> Body:
        task.log.append(f"{title}: {', '.join(map(str, vmids))}")
        failed = []
        for vmid in vmids:
            guest = call.world.guests.get(vmid)
            if guest is None:
                continue
            what, params = each(guest)
            task.log.append(line.format(f"{_word(guest)} {vmid}"))
            why = yield from _one(call, guest, what, params)
            if why:
                task.log.append(f"WARN: {line.format(f'{_word(guest)} {vmid}')} failed: {why}")
                failed.append(str(vmid))
        if failed and kind == "bulk-migrate":
            raise TaskFailed(f"Some guests failed to migrate {', '.join(failed)}")
        task.warnings = len(failed)

    return call.world.spawn(call.viewer.name, kind, "", call.auth.full, body).upid


def _one(call: Call, guest: Guest, what: str, params: dict[str, Any]) -> Generator[Wait, Any, str]:
    try:
        job = _ask(call, guest, what, **params)
    except ApiError as error:
        return error.reason
    yield from _until_done([job])
    return "" if job.exitstatus == "OK" or str(job.exitstatus).startswith("WARNINGS") else str(job.exitstatus)


@route("POST", "/cluster/bulk-action/guest/start")
def bulk_start(call: Call) -> str:
    """Start guests anywhere in the cluster."""
    return _bulk(call, "bulk-start", "Starting guests", "Starting {}", lambda _guest: ("start", {}))


@route("POST", "/cluster/bulk-action/guest/shutdown")
def bulk_shutdown(call: Call) -> str:
    """Shut guests down anywhere in the cluster."""
    timeout = int(call.get("timeout", 180))
    params = {"timeout": timeout, "forceStop": call.get("force-stop", 0)}
    line = "Shutting down {} (Timeout = " + f"{timeout} seconds)"
    return _bulk(call, "bulk-shutdown", "Shutting down guests", line, lambda _guest: ("shutdown", params))


@route("POST", "/cluster/bulk-action/guest/suspend")
def bulk_suspend(call: Call) -> str:
    """Pause guests anywhere in the cluster."""
    return _bulk(call, "bulk-suspend", "Suspending guests", "Suspending {}", lambda _guest: ("suspend", {}))


@route("POST", "/cluster/bulk-action/guest/migrate")
def bulk_migrate(call: Call) -> str:
    """Move guests from anywhere to one target; nothing is checked first, and a running VM needs `online`."""
    target = str(call.params["target"])
    given = {key: call.get(key) for key in ("online", "with-local-disks") if call.get(key) is not None}

    def each(guest: Guest) -> tuple[str, dict[str, Any]]:
        return "migrate", {"target": target, **(given if guest.type == "qemu" else {"restart": 1})}

    return _bulk(call, "bulk-migrate", f"Migrating guests to {target}", "Migrating {}", each)
