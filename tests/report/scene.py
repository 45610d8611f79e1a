"""A hand-made cluster in the middle of a drain: what the report's and the CLI's tests look at."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from controller.model.errors import DroverError
from controller.model.event import Event
from controller.model.ids import ClusterName, GuestIdentity, GuestKind, NodeName, ObjectRef, Upid, Vmid
from controller.model.memory import Backoff, Flight, FlightPhase, Halted, Memory, Origin
from controller.model.observed import Guest, Node, NodeState, Observed, Power
from controller.model.outcome import Outcome, Progress, Result
from controller.model.override import Order
from controller.model.plan import Blocked, Drain, DrainMode, Lane, Move, MoveOptions, Outlook, Plan, Violation, Waiting
from controller.model.reasons import Why
from controller.model.replication import JobHealth, JobReport
from controller.model.view import ClusterView, Finding
from controller.report import events
from controller.report.board import Board
from controller.report.conditions import statuses
from controller.report.metrics import Metrics
from controller.report.statement import ObjectStatus
from controller.report.store import Store
from controller.specs import KINDS, Problem, Resource, Specs
from controller.yamlpos import Position

NOW = 1_800_000_000.0
GIB = 1 << 30
CLUSTER = ClusterName("default")
LABEL = ObjectRef("NodeMaintenance", "label-pve1")
APART = ObjectRef("PlacementPolicy", "databases-apart")
LIVE = MoveOptions(online=True)
PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")


class StillClock:
    """A clock that stands where it is put."""

    def __init__(self, at: float = NOW) -> None:
        self.at = at

    def wall(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nobody sleeps {seconds} s here")


def guest(vmid: int, name: str, node: NodeName, gib: float = 4, **changes: object) -> Guest:
    kind = GuestKind.LXC if vmid >= 200 else GuestKind.QEMU
    made = Guest(
        GuestIdentity(Vmid(vmid), kind),
        name,
        node,
        Power.RUNNING,
        memory_bytes=int(gib * GIB),
        cpus=2,
        tags=frozenset({"db"}),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # tests name the fields


def node(name: NodeName, **changes: object) -> Node:
    made = Node(name, NodeState.ONLINE, memory_bytes=64 * GIB, memory_used_bytes=20 * GIB, cpus=16)
    return replace(made, **changes)  # type: ignore[arg-type]  # tests name the fields


def by_vmid(*guests: Guest) -> Mapping[Vmid, Guest]:
    return {item.vmid: item for item in guests}


GUESTS = by_vmid(
    guest(101, "db-1", PVE1, 8),
    guest(102, "db-2", PVE1, 8),
    guest(103, "web-1", PVE2),
    guest(104, "web-2", PVE1, 2, tags=frozenset()),
    guest(105, "build", PVE1, 48, tags=frozenset()),
    guest(106, "mail", PVE3, 8, tags=frozenset()),
    guest(201, "dns", PVE1, 1, tags=frozenset()),
)
SEEN = Observed(
    CLUSTER, NOW, quorate=True, pve_name="lab", nodes={n: node(n) for n in (PVE1, PVE2, PVE3)}, guests=GUESTS
)


def written(kind: str, name: str, spec: Mapping[str, object], **metadata: object) -> Resource:
    content = {"apiVersion": "drover.dev/v1alpha1", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}
    return KINDS[kind].model_validate(content, by_alias=True, by_name=False)


SPECS = Specs.of(
    [
        written(
            "PveCluster",
            "default",
            {"endpoints": ["https://pve1:8006"], "auth": {"credentialsRef": "lab"}, "mode": "Enforce"},
            generation=2,
        ),
        written("PveNode", "pve1", {}, labels={"drover.dev/maintenance": "true"}, generation=4),
        written("PveNode", "pve2", {}),
        written(
            "PlacementPolicy",
            "databases-apart",
            {"guestSelector": {"tags": {"any": ["db"]}}, "keepApart": {}},
            generation=3,
        ),
        written("MigrationPolicy", "gentle", {"guestSelector": {}, "control": "Monitor"}, generation=1),
        written("ReplicationPolicy", "pairs", {"guestSelector": {}, "targets": {"nodes": ["pve2"]}}, generation=1),
    ]
)


def move(
    vmid: int, source: NodeName, target: NodeName, why: Why = Why.NODE_MAINTENANCE, cause: ObjectRef = LABEL
) -> Move:
    item = GUESTS[Vmid(vmid)]
    text = f"{source} is in maintenance; {target} has the most room"
    return Move(
        item.identity,
        item.name,
        source,
        target,
        why,
        cause,
        text,
        Lane.DRAIN,
        item.memory_bytes or 0,
        LIVE,
        returns=True,
    )


BLOCKED = Blocked(
    Vmid(105),
    Why.NO_TARGET_FITS,
    "no node can take VM 105 build (48 GiB): pve2 has 30 GiB free",
    Why.NO_TARGET_FITS.remedy,
    LABEL,
)
DRAIN = Drain(
    LABEL,
    PVE1,
    DrainMode.EVACUATE,
    remaining=(Vmid(101), Vmid(102), Vmid(105), Vmid(201)),
    moving=(Vmid(101),),
    blocked=(BLOCKED,),
    staying=(),
    remaining_bytes=65 * GIB,
    drained=False,
    reason="new firmware",
)
PLAN = Plan(
    CLUSTER,
    NOW,
    moves=(move(102, PVE1, PVE3),),
    waiting=(Waiting(Vmid(201), Why.SLOT_TAKEN, "pve1 sends 2 guests already", LABEL, move(201, PVE1, PVE2)),),
    blocked=(BLOCKED,),
    flying=(Vmid(101),),
    fine=frozenset({Vmid(103), Vmid(104), Vmid(106)}),
    drains=(DRAIN,),
    violations=(
        Violation(
            APART, Why.KEEP_APART, (Vmid(101), Vmid(102)), "VM 101 db-1 and VM 102 db-2 are both on pve1", must=True
        ),
    ),
    matched={APART: (Vmid(101), Vmid(102))},
    generations={APART: 3},
)
UPID = Upid("UPID:pve1:0000A1B2:00C3D4E5:6B4C2D00:qmigrate:101:drover@pve!main:")
FLIGHT = Flight(
    1, GUESTS[Vmid(101)].identity, "db-1", PVE1, PVE2, Why.NODE_MAINTENANCE, LABEL, Lane.DRAIN, 8 * GIB, LIVE,
    was_running=True, phase=FlightPhase.RUNNING, started_at=NOW - 41, upid=UPID,
)  # fmt: skip
PROGRESS = Progress("Memory", 4 * GIB, 8 * GIB, 112 * (1 << 20), downtime_limit_ms=1000)
MEMORY = Memory(
    flights={Vmid(101): FLIGHT},
    origins={Vmid(104): Origin(GUESTS[Vmid(104)].identity, PVE1, LABEL, NOW - 300, PVE2)},
    backoffs={Vmid(201): Backoff(GUESTS[Vmid(201)].identity, 2, NOW + 40, Why.MIGRATION_FAILED, "no route to host")},
)
SUCCESS = Outcome(
    GUESTS[Vmid(104)].identity, "web-2", PVE1, PVE2, Result.SUCCEEDED, Why.NODE_MAINTENANCE, LABEL, Lane.DRAIN, "", NOW - 5,
    seconds=41.5, progress=Progress("Finishing", 2 * GIB, 2 * GIB, downtime_ms=63),
)  # fmt: skip
FAILURE = Outcome(
    GUESTS[Vmid(201)].identity, "dns", PVE1, PVE2, Result.FAILED, Why.MIGRATION_FAILED, LABEL, Lane.DRAIN, "no route to host",
    NOW - 60, seconds=12.0,
)  # fmt: skip
CONNECTED = Finding(ok=True, why=Why.CONNECTED, message="the API answers")
ARMED = Finding(ok=True, why=Why.ARMED, message="Drover may start moves")
# 104 has arrived on pve2 already.
ARRIVED = replace(SEEN, guests={**GUESTS, Vmid(104): replace(GUESTS[Vmid(104)], node=PVE2)})
VIEW = ClusterView(
    CLUSTER, NOW, CONNECTED, ARMED, seen=ARRIVED, plan=PLAN, memory=MEMORY, progress={Vmid(101): PROGRESS},
    outcomes=(SUCCESS, FAILURE), ticks=7, tick_seconds=0.2,
)  # fmt: skip
# The same drain, with an estimate, a guest that was shut down, and a replica that a move waits for.
FORESEEN = replace(
    VIEW,
    plan=replace(PLAN, drains=(replace(DRAIN, outlook=Outlook(90.0, 120.0, 60.0)),)),
    memory=replace(
        MEMORY,
        halted={
            Vmid(900): Halted(
                GuestIdentity(Vmid(900), GuestKind.QEMU), "crm", PVE1, LABEL, elsewhere=False, at=NOW - 60
            )
        },
    ),
    jobs=(
        JobReport("101-0", Vmid(101), PVE1, PVE2, "*/15", "pairs", JobHealth.SYNCING, "copying", for_move=True),
        JobReport(
            "103-0", Vmid(103), PVE2, PVE3, "*/15", "pairs", JobHealth.IN_SYNC, "", lag_seconds=40.0, last_sync=NOW - 40
        ),
    ),
)


def said_of(view: ClusterView) -> Mapping[ObjectRef, ObjectStatus]:
    """The statuses that go with a view."""
    return statuses(SPECS, (PROBLEM,), view, {})


def crowded(count: int) -> ClusterView:
    """`count` guests on one node that is drained: one half waits for a slot, the other fits nowhere."""
    guests = by_vmid(*(guest(1000 + number, f"g{number}", PVE1) for number in range(count)))
    vmids = sorted(guests)
    stuck = tuple(replace(BLOCKED, vmid=vmid) for vmid in vmids[: count // 2])
    waits = tuple(Waiting(vmid, Why.SLOT_TAKEN, "pve1 sends 2 guests already", LABEL) for vmid in vmids[count // 2 :])
    drain = replace(DRAIN, remaining=tuple(vmids), moving=(), blocked=stuck, outlook=Outlook(90.0, 120.0, 60.0))
    plan = replace(PLAN, moves=(), waiting=waits, blocked=stuck, flying=(), fine=frozenset(), drains=(drain,))
    return replace(VIEW, seen=replace(SEEN, guests=guests), plan=plan, memory=Memory(), progress={})


PROBLEM = Problem(
    Position("policies/apart.yaml", 9, 5), "spec.keepApart.maxPerDomain", "has to be 1 or more", "a whole number", APART
)


def board(view: ClusterView = VIEW, specs: Specs = SPECS, store: Store | None = None) -> tuple[Board, Metrics]:
    """A board and metrics as the loop would fill them with `view`."""
    shown, metrics = Board(StillClock()), Metrics()
    made = statuses(specs, (PROBLEM,), view, {})
    metrics.publish(view, made)
    metrics.source(revision="sha256:4f5e", errors=1, objects={"PveCluster": 1}, at=NOW, complete=True)
    shown.show_source(specs, "sha256:4f5e", (PROBLEM,), complete=True)
    shown.publish(view, specs, made, store)
    return shown, metrics


def store(directory: Path) -> Store:
    """A state file with the scene's history in it."""
    made = Store.open(directory, CLUSTER)
    history: list[Event] = [*events.of_outcomes((SUCCESS, FAILURE)), *events.of_problems((), (PROBLEM,), at=NOW - 90)]
    made.record_event(*history)
    for outcome in (SUCCESS, FAILURE):
        flight = replace(FLIGHT, identity=outcome.identity, name=outcome.name, id=0)
        made.end_flight(made.begin_flight(flight, origin=None).id, outcome, backoff=None, origin=None)
    return made


@dataclass
class Mind:
    """A daemon's mind that writes down what it is told; one revision waits, and there is no node `nowhere`."""

    told: list[str]
    waits: str = ""

    def confirm(self, revision: str) -> bool:
        self.told.append(f"confirm {revision}")
        return revision == self.waits

    def look_again(self) -> None:
        self.told.append("look")

    def approve(self, digest: str, *, by: str, withdraw: bool) -> str:
        if digest == "nothing":
            raise DroverError(Why.NOT_FOUND, f"no plan with the digest {digest} waits for approval")
        self.told.append(f"{'withdraw' if withdraw else 'approve'} {digest} by {by}")
        return f"{digest}: {'withdrawn' if withdraw else 'approved'}"

    def order(self, cluster: str, node: str, order: Order, *, by: str, reason: str) -> str:
        if node == "nowhere":
            raise DroverError(Why.UNKNOWN_NODE, f"there is no node {node}")
        self.told.append(f"{order} {cluster}:{node} by {by} {reason}")
        return f"{node}: {order}"
