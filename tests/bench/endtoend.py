"""A drain, then balance, through the whole of observe and plan: the clusters of `clusters`, with policies as manifests.

`make bench` runs it, beside other people's programs on the same simulated clusters (`rivals`). Every bar is printed as held or
BROKEN. Whoever may start starts at once and lands before the next plan, so the checker sees all of a round in flight together.
"""

import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from controller.decide import decide
from controller.model.ids import ClusterName
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.plan import Plan
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.pve.metered import Call, Metered
from controller.rehearse.stage import SECRET, TOKEN, Stage
from controller.rehearse.virtual_time import run
from controller.simulator.seed import (
    AccessFile,
    AclFile,
    ClusterFile,
    DiskFile,
    GuestFile,
    NodeFile,
    StorageFile,
    TokenFile,
    UserFile,
)
from controller.sources import Held, merge
from controller.sources.folder import FolderSource
from controller.specs import PlacementPolicy, PveCluster, PveNode, Resource, Specs
from tests.bench import rivals
from tests.bench.checker import Flight, violations
from tests.bench.clusters import GIB, TIGHT, Cluster, all_tight, sized
from tests.bench.oracle import verdicts
from tests.decide import build

ROUNDS = 400
"""Plans after which a drain that has not ended is given up."""
MOST_BALANCED = {"M": 85, "L": 305}
PLAN_SECONDS = {"L": 1.0, "XL": 8.0}
BYTES_BEYOND = {kind: 4.0 if kind == "8/80 96%" else 3.0 for kind in TIGHT}
KINDS: dict[str, type[Resource]] = {"PveCluster": PveCluster, "PveNode": PveNode, "PlacementPolicy": PlacementPolicy}
Manifest = dict[str, Any]


def manifests(cluster: Cluster, word: str = "true") -> Iterator[Manifest]:
    """The cluster's rules as somebody would write them; `word`: the label of the nodes in maintenance."""
    most = 1_000_000
    yield _manifest(
        "PveCluster",
        "default",
        endpoints=["https://pve1:8006"],
        auth={"credentialsRef": "stage"},
        mode="Plan",
        capacity={"reserveMemoryPercent": 0, "cpuOvercommitRatio": 1.0},
        limits={
            "maxMigrations": 10_000,
            "maxOutboundPerNode": 10_000,
            "maxInboundPerNode": 10_000,
            "maxMovesPerHour": most,
        },
        balance={"tolerancePercent": 5},
        hysteresis={"stabilizationSeconds": 0},
    )
    for node in cluster.nodes:
        maintenance = {"drover.dev/maintenance": word} if node.name in cluster.maintenance else {}
        yield _manifest("PveNode", node.name, {"rack": node.rack, **maintenance})
    rules: list[tuple[str, Iterable[Iterable[int]], Manifest]] = [
        ("apart", cluster.apart, {"keepApart": {}}),
        ("racks", cluster.apart_racks, {"keepApart": {"topologyKey": "rack"}}),
        ("together", cluster.together, {"keepTogether": {}}),
    ]
    rules += [(f"pin-{v}", [[v]], {"nodeAffinity": {"nodes": list(names)}}) for v, names in cluster.pinned.items()]
    for kind, groups, rule in rules:
        for number, vmids in enumerate(groups):
            yield _manifest("PlacementPolicy", f"{kind}-{number}", guestSelector={"vmids": list(vmids)}, **rule)


def _manifest(kind: str, name: str, labels: Mapping[str, str] | None = None, **spec: Any) -> Manifest:
    metadata = {"name": name, "labels": dict(labels or {})}
    return {"apiVersion": "drover.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def served(cluster: Cluster, tags: Mapping[int, tuple[str, ...]] | None = None, *, start: float = 0.0) -> ClusterFile:
    """The cluster for the simulator: VMs that run, on shared storage; `tags`: rules of those who take them from there."""
    owner = TOKEN.partition("!")[0]
    return ClusterFile(
        nodes={n.name: NodeFile(memory=n.memory, cpus=n.cpus, overhead=0) for n in cluster.nodes},
        storages={"ceph": StorageFile(type="rbd", size=len(cluster.guests) * 64 * GIB)},
        guests={
            guest.vmid: GuestFile(
                name=f"vm-{guest.vmid}",
                node=guest.node,
                memory=guest.memory,
                cores=guest.cpus,
                disks={"scsi0": DiskFile(storage="ceph", size=8 * GIB)},
                tags=(tags or {}).get(guest.vmid, ()),
            )
            for guest in cluster.guests
        },
        access=AccessFile(
            users={owner: UserFile()},
            tokens={TOKEN: TokenFile(secret=SECRET, privsep=False)},
            acl=(AclFile(role="Administrator", to=owner),),
        ),
        **({"start": start} if start else {}),
    )


def seen(cluster: Cluster) -> Observed:
    """What would be observed of the cluster, without a simulator."""
    nodes = [replace(build.node(n.name), memory_bytes=n.memory, cpus=n.cpus) for n in cluster.nodes]
    guests = [replace(build.guest(g.vmid, g.node, cpus=g.cpus), memory_bytes=g.memory) for g in cluster.guests]
    return build.seen(nodes, guests)


def specs(cluster: Cluster, word: str = "true") -> Specs:
    """The rules, without files."""
    return Specs.of([KINDS[each["kind"]].model_validate(each) for each in manifests(cluster, word)])


@dataclass
class Played:
    """What became of a drain: every flight, and what the plans said and cost."""

    flights: list[Flight] = field(default_factory=list)
    first: Plan | None = None
    first_seconds: float = 0.0
    plans: int = 0
    blocked: int = 0

    def bytes(self, cluster: Cluster) -> int:
        size = {guest.vmid: guest.memory for guest in cluster.guests}
        return sum(size[flight.vmid] for flight in self.flights)


def play(rules: Specs, look: Observed, *, rounds: int = ROUNDS) -> tuple[Played, Observed]:
    """Plan and land, as the loop does, until a plan starts nothing."""
    played, memory = Played(), Memory()
    for number in range(rounds):
        began = time.process_time()
        plan = decide(rules, look, memory)
        if played.first is None:
            played.first, played.first_seconds = plan, time.process_time() - began
        played.plans, played.blocked = number + 1, len(plan.blocked) + len(plan.waiting) + len(plan.unsafe)
        if not plan.moves:
            break
        played.flights += [Flight(m.vmid, m.target, number, number + 0.5) for m in plan.moves]
        look = replace(build.applied(look, plan.moves), at=look.at + 60)
        memory = Memory(targets={move.vmid: move.target for move in plan.all_moves})
    return played, look


class Bars:
    """Figures beside what was promised of them."""

    def __init__(self) -> None:
        self.broken = 0

    def row(self, what: str, figure: str, held: bool | None = None, bar: str = "") -> None:
        verdict = "" if held is None else f"{'held' if held else 'BROKEN'} (bar {bar})"
        self.broken += held is False
        print(f"  {what:34} {figure:>34}  {verdict}")


def main() -> None:
    """Print everything, ours first."""
    print("Observe and plan a drain, then balance to 5 points; policies as manifests")
    bars = Bars()
    for size in ("S", "M", "L"):
        _simulated(size, bars)
    _largest(bars)
    print("Draining one node of a small tight cluster through decide(), beside the optimum of an exact solver")
    instances = [(kind, c, v) for kind, c in all_tight() if (v := verdicts()[c.digest()]).feasible]
    for kind in TIGHT:
        found = [(cluster, verdict.bytes) for one, cluster, verdict in instances if one == kind]
        _tight(kind, found, bars)
    print(f"  {bars.broken} bars broken")
    print("Other people's programs on the same clusters, planned but not carried out, same checker, racks left out")
    for size in ("S", "M"):
        rivals.compare(sized(size), served)


def _simulated(size: str, bars: Bars) -> None:
    with tempfile.TemporaryDirectory() as folder:
        line = Line(sized(size), Path(folder))
        run(_drained(size, line, bars), line.stage.loop)


async def _drained(size: str, line: "Line", bars: Bars) -> None:
    cluster = line.cluster
    needed = sum(guest.node in cluster.maintenance for guest in cluster.guests)
    rules = line.rules("true")
    look, observing = await line.look()
    requests = len(line.calls)
    played, _ = play(rules, look)
    line.land(played.flights)
    settled, _ = await line.look()
    again = decide(rules, settled, Memory())
    rules = line.rules("cordon")
    balanced, level = play(rules, settled)
    line.land(balanced.flights)
    after, _ = await line.look()
    once_more = decide(rules, after, Memory())
    print(f" {size}: {len(cluster.nodes)} nodes, {len(cluster.guests)} guests")
    _figures(cluster, played, needed, bars)
    seconds = observing + played.first_seconds
    bars.row("observe + plan, CPU", f"{observing:.2f} + {played.first_seconds:.2f} = {seconds:.2f} s")
    _plan_seconds(size, played, bars)
    bars.row("requests of the very first look", str(line.asked_first))
    bars.row("requests of a look", str(requests), requests <= len(cluster.nodes) + 10, f"{len(cluster.nodes) + 10}")
    bars.row("moves in the second cycle", str(len(again.all_moves)), not again.all_moves, "0")
    _balanced(cluster, size, played, balanced, bars)
    figure = f"{points(cluster, look):.1f} -> {points(cluster, settled):.1f} -> {points(cluster, level):.1f}"
    bars.row("imbalance before, drained, balanced", figure, points(cluster, level) <= 5.0, "5 points")
    bars.row("moves in the cycle after balance", str(len(once_more.all_moves)), not once_more.all_moves, "0")
    bars.row("RSS so far, simulator included", f"{_rss():.0f} MiB")


def _largest(bars: Bars) -> None:
    cluster = sized("XL")
    needed = sum(guest.node in cluster.maintenance for guest in cluster.guests)
    rules, look = specs(cluster), seen(cluster)
    played, settled = play(rules, look)
    print(f" XL: {len(cluster.nodes)} nodes, {len(cluster.guests)} guests, without a simulator")
    _figures(cluster, played, needed, bars)
    _plan_seconds("XL", played, bars)
    again = decide(rules, settled, Memory())
    bars.row("moves in the second cycle", str(len(again.all_moves)), not again.all_moves, "0")
    bars.row("imbalance before, drained", f"{points(cluster, look):.1f} -> {points(cluster, settled):.1f}")
    bars.row("RSS at the peak so far", f"{_rss():.0f} MiB")


def _figures(cluster: Cluster, played: Played, needed: int, bars: Bars) -> None:
    wrong = violations(cluster, played.flights)
    moves = len(played.flights)
    proven = played.first is not None and played.first.minimal_moves
    bars.row("moves of the drain", f"{moves}{', proven minimal' if proven else ''}", moves == needed, f"{needed}")
    bars.row("bytes, plans made, guests left", f"{played.bytes(cluster) >> 30} GiB, {played.plans}, {played.blocked}")
    bars.row("violations", str(len(wrong)), not wrong, "0")


def _plan_seconds(size: str, played: Played, bars: Bars) -> None:
    if size in PLAN_SECONDS:
        bar = PLAN_SECONDS[size]
        bars.row("plan, CPU", f"{played.first_seconds:.2f} s", played.first_seconds <= bar, f"{bar:.0f} s")


def _balanced(cluster: Cluster, size: str, drained: Played, balanced: Played, bars: Bars) -> None:
    later = [replace(f, start=f.start + ROUNDS, end=f.end + ROUNDS) for f in balanced.flights]
    wrong = violations(cluster, [*drained.flights, *later])
    moves, most = len(drained.flights) + len(later), MOST_BALANCED.get(size)
    held = None if most is None else moves <= most
    bars.row("moves of drain and balance", f"{len(drained.flights)} + {len(later)} = {moves}", held, f"{most}")
    bars.row("violations of both", str(len(wrong)), not wrong, "0")


def _tight(kind: str, instances: list[tuple[Cluster, int]], bars: Bars) -> None:
    solved, broken, beyond, seconds = 0, 0, [], []
    for cluster, optimum in instances:
        began = time.process_time()
        played, after = play(specs(cluster), seen(cluster))
        seconds.append(time.process_time() - began)
        broken += len(violations(cluster, played.flights))
        if not played.blocked and all(guest.node not in cluster.maintenance for guest in after.guests.values()):
            solved += 1
            beyond.append(100 * (played.bytes(cluster) / optimum - 1))
    mean, bar = sum(beyond) / max(1, len(beyond)), BYTES_BEYOND[kind]
    bars.row(f"{kind} solved", f"{solved} of {len(instances)}", solved == len(instances), "100 %")
    bars.row(
        f"{kind} bytes beyond, violations", f"{mean:.2f} %, {broken}", mean <= bar and not broken, f"{bar:.0f} %, 0"
    )
    figure = f"mean {sum(seconds) / len(seconds):.2f}, max {max(seconds):.2f} s"
    bars.row(f"{kind} CPU of a whole drain", figure, max(seconds) <= 2.0, "2 s")


class Line:
    """One simulated cluster, its folder of manifests and its observer."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.stage = Stage(served(cluster), folder, folder)
        self.calls: list[Call] = []
        self.asked_first = 0
        transport = Metered(self.stage.transport(), self.calls.append, monotonic=self.stage.clock.monotonic)
        self.observer = Observer(PveClient(transport), cluster=ClusterName("default"), clock=self.stage.clock)

    def rules(self, word: str) -> Specs:
        """What is read from the manifests once they are written."""
        text = yaml.safe_dump_all(manifests(self.cluster, word))
        (self.folder / "all.yaml").write_text(text, encoding="utf-8")
        read = merge(Held.empty(), FolderSource(self.folder, watch=False).read_now())
        return read.specs.for_cluster("default")

    async def look(self) -> tuple[Observed, float]:
        """The second of two looks, for the first reads what is kept for long, and the CPU seconds it took."""
        await self.stage.clock.sleep(30)
        await self.observer.look()
        self.asked_first = self.asked_first or len(self.calls)
        await self.stage.clock.sleep(10)
        self.calls.clear()
        began = time.process_time()
        return await self.observer.look(), time.process_time() - began

    def land(self, flights: list[Flight]) -> None:
        """The guests are where they were sent."""
        for flight in flights:
            self.stage.world.move_config(self.stage.world.guests[flight.vmid], flight.target)


def points(cluster: Cluster, look: Observed) -> float:
    """By how many percent of their memory the fullest and the emptiest open node differ."""
    loads = Counter[str]()
    for guest in look.guests.values():
        loads[guest.node] += guest.memory_bytes or 0
    shares = [100 * loads[node.name] / node.memory for node in cluster.nodes if node.name not in cluster.maintenance]
    return max(shares) - min(shares)


def _rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
