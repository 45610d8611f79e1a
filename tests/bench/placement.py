"""How good placement is, on the pure solver: the small tight classes beside the optimum, and S to XL.

`make bench` runs it, asks the oracle again, and prints the bounds beside the figures.
"""

import resource
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from controller.decide.solve import solve
from controller.decide.solve.balance import balance
from controller.decide.solve.problem import Bin, Group, GroupKind, Item, Problem, Proof, Solution
from controller.decide.solve.sequence import sequence
from tests.bench import environment
from tests.bench.checker import one_after_the_other, violations
from tests.bench.clusters import SIZES, TIGHT, Cluster, all_tight, sized
from tests.bench.oracle import verdicts

ROOT = Path(__file__).resolve().parents[2]
ORACLE = ROOT / ".venv" / "oracle"
BOUNDS = {"S": "", "M": " (bound 85)", "L": " (bound 305)", "XL": ""}
SECONDS = {"S": "", "M": "", "L": " (bound 1)", "XL": " (bound 8)"}
GAPS = {kind: 4 if kind == "8/80 96%" else 3 for kind in TIGHT}


def problem_of(cluster: Cluster) -> Problem:
    """The cluster for the solver: resources are memory and vCPUs; bytes to move are the memory."""
    index = {node.name: number for number, node in enumerate(cluster.nodes)}
    item_of = {guest.vmid: number for number, guest in enumerate(cluster.guests)}
    names = sorted({node.rack for node in cluster.nodes})
    own = tuple(range(len(index)))
    racks = tuple(names.index(node.rack) for node in cluster.nodes)
    pinned = {vmid: frozenset(index[name] for name in nodes) for vmid, nodes in cluster.pinned.items()}

    def group(kind: GroupKind, vmids: tuple[int, ...], domain: tuple[int, ...]) -> Group:
        return Group(kind, frozenset(item_of[vmid] for vmid in vmids), domain)

    return Problem(
        bins=tuple(Bin((node.memory, node.cpus), open=node.name not in cluster.maintenance) for node in cluster.nodes),
        items=tuple(
            Item(
                at=index[guest.node],
                need=(guest.memory, guest.cpus),
                must_leave=guest.node in cluster.maintenance,
                allowed=pinned.get(guest.vmid),
                cost=guest.memory,
            )
            for guest in cluster.guests
        ),
        groups=(
            *(group(GroupKind.APART, vmids, own) for vmids in cluster.apart),
            *(group(GroupKind.APART, vmids, racks) for vmids in cluster.apart_racks),
            *(group(GroupKind.TOGETHER, vmids, own) for vmids in cluster.together),
        ),
    )


def settled(problem: Problem, places: tuple[int, ...]) -> Problem:
    """The problem when everything has arrived."""
    items = zip(problem.items, places, strict=True)
    return replace(problem, items=tuple(replace(item, at=where, must_leave=False) for item, where in items))


def timed(problem: Problem) -> tuple[Solution, float]:
    """The solution, and the CPU seconds it took."""
    start = time.process_time()
    found = solve(problem)
    return found, time.process_time() - start


def judged(cluster: Cluster, places: tuple[int, ...]) -> list[str]:
    """What the independent checker says about going to these places in the order that `sequence` gives."""
    steps = sequence(problem_of(cluster), places).steps
    moves = [(cluster.guests[step.item].vmid, cluster.nodes[step.target].name) for step in steps]
    return violations(cluster, one_after_the_other(moves))


def main() -> None:
    """Print both tables, and ask the oracle again."""
    print("Draining one node of a small tight cluster, beside the optimum of an exact solver")
    print("  class     solved   moves beyond    bytes beyond       CPU seconds     proven     violations")
    for kind in TIGHT:
        _tight(kind, [cluster for one, cluster in all_tight() if one == kind])
    print("Draining one node of many, then levelling memory to 5 points")
    for size in SIZES:
        _sized(size)
    print("The oracle, asked again")
    environment.install(ORACLE, ROOT / "requirements" / "oracle.lock")
    subprocess.run([ORACLE / "bin" / "python", "-m", "tests.bench.oracle"], cwd=ROOT, check=True)


def _tight(kind: str, clusters: list[Cluster]) -> None:
    solved = proven = broken = extra = 0
    gaps, seconds = [], []
    feasible = [(c, verdict) for c in clusters if (verdict := verdicts()[c.digest()]).feasible]
    for cluster, verdict in feasible:
        found, cpu = timed(problem_of(cluster))
        seconds.append(cpu)
        if found.unplaced:
            continue
        solved += 1
        proven += Proof.MINIMAL_MOVES in found.proof
        extra += found.moves - verdict.moves
        gaps.append(100 * (found.bytes / verdict.bytes - 1))
        broken += len(judged(cluster, found.places))
    print(
        f"  {kind}  {solved:3} of {len(feasible):3}  {extra:12}  {sum(gaps) / len(gaps):5.2f} % (bound {GAPS[kind]})"
        f"  mean {sum(seconds) / len(seconds):4.2f} max {max(seconds):4.2f} (bound 2)  {proven:3}  {broken:12}"
    )


def _sized(size: str) -> None:
    cluster = sized(size)
    problem = problem_of(cluster)
    found, cpu = timed(problem)
    needed = sum(guest.node in cluster.maintenance for guest in cluster.guests)
    wrong = judged(cluster, found.places)
    after = settled(problem, found.places)
    again = solve(after).moves
    level = balance(after, 0, 5, 2000)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"  {size:2} {len(cluster.nodes)} nodes, {len(cluster.guests)} guests: plan {cpu:.2f} s CPU{SECONDS[size]}, {rss:.0f} MiB;"
        f" {found.moves} moves, {needed} needed, {found.bytes >> 30} GiB, {len(wrong)} violations, {again} moves again;"
        f" with balance {found.moves + len(level.moves)} moves{BOUNDS[size]}, {level.before:.1f} to {level.after:.1f} points"
    )


if __name__ == "__main__":
    main()
