"""What an exact solver says about the small tight clusters: feasible or not, the fewest moves, the fewest bytes.

Runs in an environment of its own, made from `requirements/oracle.lock`; everybody else reads its verdicts, `oracle.json`, which
are keyed by the hash of the cluster. `python -m tests.bench.oracle --write` asks again and writes them; `make bench` compares.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.clusters import MIB, Cluster, all_tight

VERDICTS = Path(__file__).with_name("oracle.json")
UNIT = 512 * MIB
"""All memory is a multiple of this, which keeps the numbers of the model small and exact."""
_ONE_MOVE = 1 << 13
"""More units of memory than a small cluster has in all."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The optimum; `bytes` are those of the cheapest plan among the ones with the fewest moves."""

    feasible: bool
    moves: int = 0
    bytes: int = 0
    fewest_bytes: int = 0
    """Of any plan, however many moves it has."""


def verdicts() -> dict[str, Verdict]:
    """What was committed, by hash of the cluster."""
    return {digest: Verdict(**row) for digest, row in json.loads(VERDICTS.read_text(encoding="utf-8")).items()}


def ask(cluster: Cluster) -> Verdict:
    """Solve exactly. Needs highspy."""
    fewest = _solve(cluster, _ONE_MOVE)
    if fewest is None:
        return Verdict(feasible=False)
    cheapest = _solve(cluster, 0)
    assert cheapest is not None, cluster.name
    return Verdict(feasible=True, moves=fewest[0], bytes=fewest[1] * UNIT, fewest_bytes=cheapest[1] * UNIT)


def _solve(cluster: Cluster, one_move: int) -> tuple[int, int] | None:
    """Moves and units of memory of the best plan, a move being worth so many units."""
    import highspy

    model: Any = highspy.Highs()
    model.silent()
    model.setOptionValue("mip_rel_gap", 0.0)
    model.setOptionValue("mip_abs_gap", 0.5)
    nodes = [node for node in cluster.nodes if node.name not in cluster.maintenance]
    guests = {guest.vmid: guest for guest in cluster.guests}
    is_on = {(vmid, node.name): model.addBinary() for vmid in guests for node in nodes}
    for vmid, guest in guests.items():
        assert guest.memory % UNIT == 0
        model.addConstr(sum(is_on[vmid, node.name] for node in nodes) == 1)
        for node in nodes:
            if node.name not in cluster.pinned.get(vmid, (node.name,)):
                model.addConstr(is_on[vmid, node.name] == 0)
    for node in nodes:
        memory = sum(guest.memory // UNIT * is_on[vmid, node.name] for vmid, guest in guests.items())
        model.addConstr(memory <= node.memory // UNIT)
        model.addConstr(sum(guest.cpus * is_on[vmid, node.name] for vmid, guest in guests.items()) <= node.cpus)
        for group in cluster.apart:
            model.addConstr(sum(is_on[vmid, node.name] for vmid in group) <= 1)
        for first, *others in cluster.together:
            for other in others:
                model.addConstr(is_on[first, node.name] == is_on[other, node.name])
    for group in cluster.apart_racks:
        for rack in {node.rack for node in nodes}:
            there = [node.name for node in nodes if node.rack == rack]
            model.addConstr(sum(is_on[vmid, name] for vmid in group for name in there) <= 1)
    stays = [(one_move + g.memory // UNIT, is_on[v, g.node]) for v, g in guests.items() if (v, g.node) in is_on]
    model.maximize(sum(worth * variable for worth, variable in stays))
    if model.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return None
    assert model.getModelStatus() == highspy.HighsModelStatus.kOptimal, cluster.name
    moved = [
        guest
        for vmid, guest in guests.items()
        if (vmid, guest.node) not in is_on or model.variableValue(is_on[vmid, guest.node]) < 0.5
    ]
    return len(moved), sum(guest.memory for guest in moved) // UNIT


def main() -> None:
    """Ask about every small tight cluster; exit with an error when an answer is not the committed one."""
    write = "--write" in sys.argv
    committed = {} if write else verdicts()
    found = {}
    for _, cluster in all_tight():
        verdict = ask(cluster)
        found[cluster.digest()] = asdict(verdict)
        if not write and committed[cluster.digest()] != verdict:
            sys.exit(f"{cluster.name}: {verdict}, but committed is {committed[cluster.digest()]}")
    if write:
        VERDICTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"  {len(found)} clusters asked about, {sum(row['feasible'] for row in found.values())} feasible")


if __name__ == "__main__":
    main()
