"""Calls about workers: their status, their growing logs, lists with filters, and stopping them.

Registered with `routes.registry`; pve-manager: PVE/API2/Tasks.pm.
"""

import re
from typing import Any

from controller.simulator.access import forbidden
from controller.simulator.api import REASONS, ApiError
from controller.simulator.routes.registry import Answer, Call, route
from controller.simulator.tasks import Task, row

_UPID = re.compile(r"UPID:[A-Za-z0-9-]+:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:[^:\s/]+:[^:\s/]*:[^:\s/]+:")


def _task(call: Call) -> Task:
    upid = str(call.get("upid"))
    if call.get("download") and ("start" in call.params or "limit" in call.params):
        raise ApiError(500, "'download' cannot be used together with 'start' or 'limit' parameters")
    if not _UPID.fullmatch(upid):
        raise ApiError(400, REASONS[400], errors={"upid": "unable to parse worker upid"})
    task = call.world.tasks.visible(call.node.name, upid)
    if task is None:
        raise ApiError(400, REASONS[400], errors={"upid": "no such task"})
    return task


def _own(call: Call, task: Task) -> bool:
    """A token sees its own tasks, a user also those of all its tokens."""
    if call.auth.token:
        return task.user == call.auth.full
    return task.owner()["user"] == call.auth.user


def _require(call: Call, task: Task, privilege: str) -> None:
    path = f"/nodes/{call.node.name}"
    if not _own(call, task) and not call.allowed(path, privilege):
        raise forbidden(f"{path}, {privilege}")


@route("GET", "/nodes/{node}/tasks/{upid}/status")
def status(call: Call) -> dict[str, Any]:
    """Return a worker's state; there is no end time here."""
    task = _task(call)
    _require(call, task, "Sys.Audit")
    answer = {**row(task), **task.owner(), "pid": task.pid, "pstart": task.pstart}
    if task.running:
        return {**answer, "status": "running"}
    return {**answer, "status": "stopped", "exitstatus": task.exitstatus}


@route("GET", "/nodes/{node}/tasks/{upid}/log")
def log(call: Call) -> Answer:
    """Return a part of a log; limit 0 means all of it."""
    upid = str(call.get("upid"))
    if call.get("download") and ("start" in call.params or "limit" in call.params):
        raise ApiError(500, "'download' cannot be used together with 'start' or 'limit' parameters")
    if not _UPID.fullmatch(upid):
        raise ApiError(400, REASONS[400], errors={"upid": "unable to parse worker upid"})
    task = call.world.tasks.visible(call.node.name, upid)
    if task is None:
        lines = ["unable to open file - No such file or directory"]
    else:
        _require(call, task, "Sys.Audit")
        lines = task.log or ["no content"]
    return page(lines, call)


def page(lines: list[str], call: Call) -> Answer:
    """Return the asked part of a log; limit 0 means all (pve-common: PVE/Tools.pm dump_logfile)."""
    start, limit = int(call.get("start", 0)), int(call.get("limit", 50))
    end = start + limit if limit else len(lines)
    rows = [{"n": number, "t": text} for number, text in enumerate(lines[start:end], start + 1)]
    return Answer(rows, {"total": len(lines)})


@route("DELETE", "/nodes/{node}/tasks/{upid}")
def stop(call: Call) -> Answer:
    """Stop a worker; waits up to five seconds."""
    task = _task(call)
    _require(call, task, "Sys.Modify")
    return Answer(None, delay=call.world.tasks.stop(task))


@route("GET", "/nodes/{node}/tasks")
def index(call: Call) -> Answer:
    """List workers of a node, those that ended last first; limit 0 gives no rows here."""
    source = str(call.get("source", "archive"))
    everything = call.allowed(f"/nodes/{call.node.name}", "Sys.Audit")
    classes = _wanted_classes(call)
    running: list[Task] = []
    finished: list[Task] = []
    for task in call.world.tasks.of_node.get(call.node.name, ()):
        if task.vanished or not (everything or _own(call, task)) or not _matches(call, task):
            continue
        if task.running:
            if not classes or "unknown" in classes:
                running.append(task)
        elif not classes or _class(task) in classes:
            finished.append(task)
    finished.sort(key=lambda task: -(task.endtime or 0.0))
    chosen = (list(reversed(running)) if source in ("active", "all") else []) + (
        finished if source in ("archive", "all") else []
    )
    start, limit = int(call.get("start", 0)), int(call.get("limit", 50))
    rows = [_listed(task) for task in chosen[start : start + limit]]
    return Answer(rows, {"total": len(chosen)} if chosen else {})


def _listed(task: Task) -> dict[str, Any]:
    answer = {**row(task), "pid": task.pid, "pstart": task.pstart}
    if task.running:
        return {**answer, "user": task.user, "status": "RUNNING", "saved": "0"}
    return {**answer, **task.owner(), "endtime": int(task.endtime or 0), "status": task.exitstatus}


def _matches(call: Call, task: Task) -> bool:
    if call.get("vmid") is not None and task.id != str(call.get("vmid")):
        return False
    if call.get("typefilter") is not None and task.type != call.get("typefilter"):
        return False
    if call.get("since") is not None and task.starttime < int(call.get("since")):
        return False
    if call.get("until") is not None and task.starttime > int(call.get("until")):
        return False
    return str(call.get("userfilter", "")) in task.owner()["user"]


def _class(task: Task) -> str:
    if task.exitstatus == "OK":
        return "ok"
    if str(task.exitstatus).startswith("WARNINGS:"):
        return "warning"
    return "unknown" if task.exitstatus == "unexpected status" else "error"


def _wanted_classes(call: Call) -> set[str]:
    wanted = set(str(call.get("statusfilter", "")).replace(",", " ").split())
    if call.get("errors"):
        wanted |= {"warning", "error", "unknown"}
    return wanted
