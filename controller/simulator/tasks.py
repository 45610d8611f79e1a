"""Workers: UPIDs, logs that grow, exit states, and what is left of them after a crash.

Used by everything that PVE does in the background, and by the task calls.
"""

from collections.abc import Callable, Generator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from controller.simulator.engine import Body, Engine, Process, ProcessFailed, Signal
from controller.simulator.nodes import Node

KEPT = 1000
"""Finished tasks that a node remembers (pve-manager: PVE/API2/Tasks.pm reads index and index.1)."""
BROADCAST = 25
"""Finished tasks of each node in /cluster/tasks (pve-common: PVE/RESTEnvironment.pm)."""


class TaskFailed(ProcessFailed):
    """Ends a worker; the text becomes its exit status and `TASK ERROR:` line."""


class Task:
    """One worker. `exitstatus` is None while it runs; `log` grows by PVE's own lines."""

    __slots__ = (
        "done", "endtime", "exitstatus", "id", "log", "node", "pid", "process", "pstart", "saved", "starttime",
        "target", "timezone", "type", "upid", "user", "vanished", "warnings",
    )  # fmt: skip

    def __init__(self, node: Node, kind: str, ident: str, user: str, now: float) -> None:
        self.node = node.name
        self.type = kind
        self.id = ident
        self.user = user
        self.pid = node.pid()
        self.pstart = int((now - node.booted_at) * 100)
        self.starttime = int(now)
        self.upid = f"UPID:{node.name}:{self.pid:08X}:{self.pstart:08X}:{self.starttime:08X}:{kind}:{ident}:{user}:"
        self.timezone = ZoneInfo(node.file.timezone)
        self.log: list[str] = []
        self.exitstatus: str | None = None
        self.endtime: float | None = None
        self.process: Process | None = None
        self.done = Signal()
        self.saved: float | None = None
        self.vanished = False
        self.warnings = 0
        self.target: str | None = None

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self.exitstatus is None

    def end(self, exitstatus: str, now: float, line: str | None) -> None:
        """Record its end; `line` closes the log, None when it had no chance to write one."""
        self.exitstatus, self.endtime = exitstatus, now
        if line is not None:
            self.log.append(line)
        self.done.fire(exitstatus)

    def owner(self) -> dict[str, str]:
        """Return `user` and, for a token's task, `tokenid` apart."""
        user, bang, token = self.user.partition("!")
        return {"user": user, "tokenid": token} if bang else {"user": user}


class TaskBook:
    """All tasks of all nodes. `observe` is told about starts and ends."""

    def __init__(self, engine: Engine, observe: Callable[..., None]) -> None:
        self._engine = engine
        self._observe = observe
        self.by_upid: dict[str, Task] = {}
        self.of_node: dict[str, list[Task]] = {}

    def start(
        self, node: Node, kind: str, ident: str, user: str, body: Callable[[Task], Generator[Any, Any, None]]
    ) -> Task:
        """Fork a worker on `node`; it runs at once to its first wait."""
        task = Task(node, kind, ident, user, self._engine.now)
        self.by_upid[task.upid] = task
        book = self.of_node.setdefault(node.name, [])
        book.append(task)
        if len(book) > 2 * KEPT:
            self._forget(book)
        self._observe("task-start", node=node.name, type=kind, id=ident, user=user, upid=task.upid)
        wrapped: Body = body(task)
        task.process = Process(self._engine, wrapped, lambda failure: self._ended(task, failure))
        task.process.start()
        return task

    def _forget(self, book: list[Task]) -> None:
        finished = [task for task in book if not task.running][: len(book) - KEPT]
        gone = {task.upid for task in finished}
        book[:] = [task for task in book if task.upid not in gone]
        for upid in gone:
            del self.by_upid[upid]

    def _ended(self, task: Task, failure: BaseException | None) -> None:
        if failure is None:
            status = f"WARNINGS: {task.warnings}" if task.warnings else "OK"
            line = f"TASK {status}"
        else:
            status = str(failure)
            line = f"TASK ERROR: {status}"
        task.end(status.partition("\n")[0], self._engine.now, line)
        self._observe("task-end", node=task.node, type=task.type, id=task.id, status=task.exitstatus, upid=task.upid)

    def adopt(self, other: "TaskBook", node: str) -> None:
        """Take over what is on a node's disk when the node changes its cluster; workers go on."""
        self.of_node[node] = other.of_node.pop(node, [])
        self.by_upid.update({task.upid: task for task in self.of_node[node]})

    def kill(self, task: Task) -> None:
        """SIGKILL: no last line, exit status `unexpected status`."""
        if task.process is not None and task.running:
            task.process.kill()
            task.end("unexpected status", self._engine.now, None)
            self._observe(
                "task-end", node=task.node, type=task.type, id=task.id, status=task.exitstatus, upid=task.upid
            )

    def stop(self, task: Task) -> float:
        """SIGTERM, up to five seconds of patience, then SIGKILL. Returns the seconds that the caller waits.

        pve-common: PVE/RESTEnvironment.pm check_worker.
        """
        if task.process is None or not task.running:
            return 0.0
        task.process.interrupt()
        if not task.running:
            return 1.0
        self._engine.after(5.0, lambda: self.kill(task))
        return 4.0

    def crash(self, node: str) -> None:
        """The node lost power: its workers are gone."""
        for task in list(self.of_node.get(node, ())):
            self.kill(task)

    def visible(self, node: str, upid: str) -> Task | None:
        """Return the task with this UPID if `node` is where it ran."""
        task = self.by_upid.get(upid)
        return task if task is not None and task.node == node and not task.vanished else None

    def running(self) -> list[Task]:
        """Return the tasks whose process is alive."""
        return [task for book in self.of_node.values() for task in book if task.running]


def stamp(task: Task, now: float) -> str:
    """Return the local time of a task's node as a migration's log writes it."""
    return datetime.fromtimestamp(now, tz=task.timezone).strftime("%Y-%m-%d %H:%M:%S")


def row(task: Task) -> dict[str, Any]:
    """Return what all task lists have in common."""
    return {"upid": task.upid, "node": task.node, "type": task.type, "id": task.id, "starttime": task.starttime}
