"""A store, a clock and a PVE that answers what a test tells it to: for moves that are already under way."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from controller.act.inflight import Following, follow, settle
from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, ObjectRef, Upid, Vmid
from controller.model.memory import Flight, FlightPhase, Origin
from controller.model.observed import Guest, Node, NodeState, Observed, Power
from controller.model.outcome import Outcome, Progress
from controller.model.plan import Lane, MoveOptions
from controller.model.reasons import Why
from controller.pve.client import PveClient
from controller.pve.transport import HttpFailure, Json
from controller.rehearse.virtual_time import EPOCH, VirtualClock, VirtualLoop
from controller.report.store import Store
from controller.specs import Specs
from tests.pve.scripted import Answer, Scripted

LAB = ClusterName("lab")
PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")
WEB = GuestIdentity(Vmid(101), GuestKind.QEMU, "ctime:1700000000")
DRAIN = ObjectRef("NodeMaintenance", "label-pve1")


def upid(kind: str = "qmigrate", user: str = "drover@pve!t", number: int = 1) -> Upid:
    return Upid(f"UPID:pve1:{number:08X}:00BBBBBB:6A1B2C3D:{kind}:101:{user}:")


OURS = upid()
FLIGHT = Flight(
    id=0,
    identity=WEB,
    name="web",
    source=PVE1,
    target=PVE2,
    why=Why.NODE_MAINTENANCE,
    cause=DRAIN,
    lane=Lane.DRAIN,
    memory_bytes=4 << 30,
    options=MoveOptions(online=True),
    was_running=True,
    phase=FlightPhase.SUBMITTING,
    started_at=EPOCH,
    tasks_before=frozenset({upid(number=99)}),
)
ORIGIN = Origin(WEB, PVE1, DRAIN, since=EPOCH, expected=PVE1)


def not_here(node: NodeName) -> HttpFailure:
    text = f"Configuration file 'nodes/{node}/qemu-server/101.conf' does not exist"
    return HttpFailure(status=500, reason=text, message=f"{text}\n")


TIMEOUT = HttpFailure(status=596, reason="Connection timed out")
NO_TASK = HttpFailure(status=400, reason="Parameter verification failed.", errors={"upid": "no such task"})


class Desk:
    """One flight from pve1 to pve2, and what PVE says about it. Nothing answers but what a test has set."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.store = Store.open(directory, LAB)
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        self.restart()
        self.pve = Scripted({})
        self.client = PveClient(self.pve)
        self.offline: set[NodeName] = set()
        self.row: Guest | None = None
        self.specs = Specs()

    def close(self) -> None:
        self.store.close()
        self.loop.close()

    def restart(self) -> None:
        """As after `kill -9`: only what is on disk is known."""
        self.store.close()
        self.store = Store.open(self._directory, LAB)
        self.store._database.execute("PRAGMA synchronous = OFF")  # the disk's honesty is tested with the store

    def fly(self, task: Upid | None = OURS, flight: Flight = FLIGHT, origin: Origin | None = ORIGIN) -> Flight:
        """Begin the move; with `task` PVE has answered."""
        begun = self.store.begin_flight(flight, origin=origin)
        if task is not None:
            self.store.attach_task(begun.id, task, ha=":hamigrate:" in task)
        return self.flight

    @property
    def flight(self) -> Flight:
        return self.store.memory().flights[WEB.vmid]

    def answers(self, more: Mapping[str, Answer]) -> None:
        self.pve.answers |= more

    def task(self, status: str, task: Upid = OURS, log: tuple[str, ...] = ()) -> None:
        """What PVE says of the task: `running`, or its exit status."""
        path = f"GET /nodes/pve1/tasks/{task}"
        told: dict[str, Json] = {
            "upid": task,
            "node": "pve1",
            "type": task.split(":")[5],
            "id": "101",
            "user": "x",
            "starttime": 1,
        }
        ended: dict[str, Json] = {"status": "stopped", "exitstatus": status}
        self.answers({f"{path}/status": {**told, **({"status": "running"} if status == "running" else ended)}})
        self.answers({f"{path}/log": [{"n": n, "t": line} for n, line in enumerate(log, 1)]})

    def tasks(self, *running: Upid) -> None:
        """The guest's tasks on its source."""
        rows: list[Json] = [
            {
                "upid": u,
                "node": "pve1",
                "type": u.split(":")[5],
                "id": "101",
                "user": "x",
                "starttime": 1,
                "status": "RUNNING",
            }
            for u in (upid(number=99), *running)
        ]
        self.answers({"GET /nodes/pve1/tasks": rows})

    def guest(self, node: NodeName, power: str = "running", lock: str = "", born: str = "1700000000") -> None:
        """Where PVE has the guest, and how it is."""
        for each in (PVE1, PVE2, PVE3):
            self.answers({f"GET /nodes/{each}/qemu/101/status/current": not_here(each)})
        status: dict[str, Json] = {
            "vmid": 101,
            "name": "web",
            "status": "stopped" if power == "stopped" else "running",
            "qmpstatus": power,
        }
        self.answers({f"GET /nodes/{node}/qemu/101/status/current": {**status, **({"lock": lock} if lock else {})}})
        self.answers({f"GET /nodes/{node}/qemu/101/config": {"meta": f"ctime={born}", "digest": "d"}})
        self.row = Guest(replace(WEB, born=""), "web", node, Power.RUNNING, lock=lock)

    def gone(self) -> None:
        for each in (PVE1, PVE2, PVE3):
            self.answers({f"GET /nodes/{each}/qemu/101/status/current": not_here(each)})
        self.row = None

    @property
    def seen(self) -> Observed:
        def state(node: NodeName) -> NodeState:
            return NodeState.OFFLINE if node in self.offline else NodeState.ONLINE

        return Observed(
            cluster=LAB,
            at=self.clock.wall(),
            quorate=True,
            pve_name="lab",
            nodes={node: Node(node, state(node)) for node in (PVE1, PVE2, PVE3)},
            guests={} if self.row is None else {WEB.vmid: self.row},
        )

    def settle(self) -> tuple[Outcome, ...]:
        """One tick's look at what is under way."""
        self.pve.asked.clear()
        looking = settle(self.store, self.client, self.seen, specs=self.specs, clock=self.clock)
        return self.loop.run_until_complete(looking)

    def settle_for(self, seconds: float) -> tuple[tuple[Outcome, ...], float]:
        """Tick every ten seconds until something ends or `seconds` have passed; what ended, and after how long."""
        began = self.clock.monotonic()
        while not (outcomes := self.settle()) and self.clock.monotonic() - began < seconds:
            self.later(10)
        return outcomes, self.clock.monotonic() - began

    def follow(self, last: Mapping[Vmid, Progress]) -> Following:
        self.pve.asked.clear()
        return self.loop.run_until_complete(follow(self.store.memory().flights, self.client, last))

    def later(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
