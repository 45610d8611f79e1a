"""What can't hold together is found, named and resolved; compared with trying every placement there is."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.decide import decide
from controller.decide.contradictions import Facts, contradictions
from controller.decide.impossible import Ground, impossible
from controller.model.conflict import Conflict
from controller.model.desired import Apart, NodeRule, Rule, Spread, Together
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.specs import Resource
from tests.decide.build import (
    apart,
    cluster,
    guest,
    maintenance,
    memory,
    node,
    only_on,
    policy,
    pve_node,
    seen,
    specs,
)

RACKS = {"pve1": "a", "pve2": "a", "pve3": "b", "pve4": "b"}
LABELS = [pve_node(name, {"rack": rack}) for name, rack in RACKS.items()]
FOUR = [node(name, 16) for name in RACKS]


def planned(*wanted: Resource, guests: list[Any]) -> Plan:
    return decide(specs(*LABELS, *wanted), seen(FOUR, guests), memory())


def on_one(count: int, gib: int = 1) -> list[Any]:
    return [guest(101 + number, "pve1", gib) for number in range(count)]


def together(name: str, *vmids: int, **spec: Any) -> Resource:
    key = {"topologyKey": spec.pop("topologyKey")} if "topologyKey" in spec else {}
    return policy(name, {"vmids": list(vmids)}, keepTogether=key, **spec)


SINGLE: list[tuple[list[Resource], list[Any], Why, list[str], str]] = [
    (
        [only_on("a", ["pve1", "pve2"], 101), only_on("b", ["pve3"], 101)],
        [guest(101, "pve1")],
        Why.NODE_SETS_DISJOINT,
        ["a", "b"],
        (
            "PlacementPolicy/a allows VM 101 g101 only pve1, pve2 and PlacementPolicy/b allows VM 101 g101 only pve3"
            ": no node is left."
            " PlacementPolicy/b gives way and counts as a Should: of those with priority 0 its name comes last"
        ),
    ),
    (
        [only_on("a", ["pve1"], 101), only_on("b", ["pve3"], 101, priority=5)],
        [guest(101, "pve1")],
        Why.NODE_SETS_DISJOINT,
        ["b", "a"],
        "PlacementPolicy/a gives way and counts as a Should: it has the lowest priority (0)",
    ),
    (
        [together("t1", 101, 102), together("t2", 102, 103), apart("z", 101, 103)],
        on_one(3),
        Why.CONTRADICTORY_AFFINITY,
        ["t1", "t2", "z"],
        (
            "PlacementPolicy/t1 keeps VM 101 g101, VM 102 g102 together in one node, PlacementPolicy/t2 keeps VM 102 g102,"
            " VM 103 g103 together in one node and"
            " PlacementPolicy/z says that these 2 guests (VM 101 g101, VM 103 g103) must be apart over 4 nodes"
            " (pve1, pve2, pve3, pve4): both can't be"
        ),
    ),
    (
        [together("t", 101, 102, 103, topologyKey="rack"), apart("z", 101, 102, 103)],
        on_one(3),
        Why.CONTRADICTORY_AFFINITY,
        ["t", "z"],
        "together in one rack",
    ),
    (
        [together("t", 101, 102), only_on("a", ["pve1"], 101), only_on("b", ["pve2"], 102)],
        on_one(2),
        Why.NODE_SETS_DISJOINT,
        ["a", "b", "t"],
        "PlacementPolicy/t keeps VM 101 g101, VM 102 g102 together in one node: no node is left",
    ),
    (
        [apart("z", 101, 102, 103, 104, 105, topologyKey="rack")],
        on_one(5),
        Why.TOO_FEW_DOMAINS,
        ["z"],
        (
            "PlacementPolicy/z says that these 3 guests (VM 101 g101, VM 102 g102, VM 103 g103) must be apart over 2 racks (a, b)."
            " PlacementPolicy/z counts as a Should until then"
        ),
    ),
    (
        [apart("z", 101, 102, 103), only_on("a", ["pve1", "pve2"], 101, 102, 103)],
        on_one(3),
        Why.TOO_FEW_DOMAINS,
        ["a", "z"],
        "there is no way to keep all of it",
    ),
    (
        [
            apart("x", 101, 102),
            apart("y", 102, 103),
            apart("z", 103, 101),
            only_on("a", ["pve1", "pve2"], 101, 102, 103),
        ],
        on_one(3),
        Why.TOO_FEW_DOMAINS,
        ["a", "x", "y", "z"],
        "PlacementPolicy/z gives way",
    ),
    (
        [
            policy("s", {"vmids": [101, 102, 103, 104]}, spread={"topologyKey": "rack", "maxSkew": 1}),
            only_on("a", ["pve1", "pve2"], 101, 102, 103),
        ],
        on_one(4),
        Why.TOO_FEW_DOMAINS,
        ["a", "s"],
        "PlacementPolicy/s spreads 4 guests (VM 101 g101, VM 102 g102, VM 103 g103, VM 104 g104) over 2 racks (a, b)",
    ),
    (
        [together("t", 101, 102, 103)],
        [guest(101, "pve1", 7), guest(102, "pve2", 7), guest(103, "pve3", 7)],
        Why.CAPACITY_IMPOSSIBLE,
        ["t"],
        "VM 101 g101, VM 102 g102, VM 103 g103 need 21 GiB together, but the largest node that they may use, pve1, holds 16 GiB",
    ),
    (
        [only_on("a", ["pve1"], 101, 102, 103)],
        [guest(101, "pve2", 7), guest(102, "pve2", 9), guest(103, "pve3", 8)],
        Why.CAPACITY_IMPOSSIBLE,
        ["a"],
        "VM 102 g102, VM 103 g103 need 17 GiB together, but pve1 holds 16 GiB",
    ),
]


@pytest.mark.parametrize(
    ("wanted", "guests", "why", "parties", "text"), SINGLE, ids=[f"{r[2]}-{r[4][-30:]}" for r in SINGLE]
)
def test_what_clashes_is_named_in_a_sentence(
    wanted: list[Resource], guests: list[Any], why: Why, parties: list[str], text: str
) -> None:
    [found] = planned(*wanted, guests=guests).conflicts
    assert (found.why, [ref.name for ref in found.parties]) == (why, parties)
    assert text in found.message
    assert found.remedy


def test_what_holds_now_is_no_contradiction() -> None:
    """Two guests fill more of their node than the reserve leaves; they are there, so it can be."""
    full = cluster(capacity={"reserveMemoryPercent": 50})
    assert planned(full, only_on("a", ["pve1"], 101, 102), guests=on_one(2, 7)).conflicts == ()


def test_a_size_that_nobody_knows_is_no_contradiction() -> None:
    unknown = [guest(101, "pve2", None), guest(102, "pve3", None)]
    assert planned(only_on("a", ["pve1"], 101, 102), guests=unknown).conflicts == ()


def test_suspended_rules_and_shoulds_contradict_nobody() -> None:
    for how in ({"suspend": True}, {"enforcement": "Should"}):
        assert (
            planned(only_on("a", ["pve1"], 101), only_on("b", ["pve2"], 101, **how), guests=on_one(1)).conflicts == ()
        )


def test_who_gives_way_no_longer_holds_anybody_and_the_others_do() -> None:
    wanted = [only_on("a", ["pve2"], 101), only_on("b", ["pve3"], 101, priority=1), only_on("c", ["pve3", "pve4"], 101)]
    plan = planned(*wanted, maintenance("m", "pve1"), guests=on_one(1))
    assert [conflict.loser.name for conflict in plan.conflicts] == ["a"]
    assert [(move.vmid, move.target) for move in plan.moves] == [(101, "pve3")]
    assert plan.unsafe == ()


def test_after_one_has_given_way_the_next_conflict_is_found() -> None:
    wanted = [only_on(name, [f"pve{number}"], 101) for number, name in enumerate("abc", start=1)]
    plan = planned(*wanted, guests=on_one(1))
    assert [[ref.name for ref in conflict.parties] for conflict in plan.conflicts] == [["a", "b"], ["a", "c"]]


# Brute force

NODES = [NodeName(f"n{number}") for number in range(1, 4)]
KEYS: dict[str, dict[NodeName, str]] = {
    "node": {name: str(name) for name in NODES},
    "rack": {NODES[0]: "a", NODES[1]: "a", NODES[2]: "b"},
    "some": {NODES[0]: "x", NODES[1]: "y"},
}
VMIDS = [Vmid(number) for number in range(101, 106)]
SIZES = {vmid: 1 + number % 3 for number, vmid in enumerate(VMIDS)}


@st.composite
def rule_sets(draw: st.DrawFn) -> list[Rule]:
    found: list[Rule] = []
    for number in range(draw(st.integers(1, 4))):
        members = frozenset(draw(st.lists(st.sampled_from(VMIDS), min_size=1, max_size=5, unique=True)))
        common: dict[str, Any] = {
            "ref": ObjectRef("PlacementPolicy", f"p{number}"),
            "members": members,
            "corrects": True,
            "priority": draw(st.sampled_from([0, 0, 1])),
        }
        kind = draw(st.integers(0, 5))
        if kind <= 1:
            nodes = frozenset(draw(st.lists(st.sampled_from(NODES), min_size=1, max_size=2, unique=True)))
            found.append(NodeRule(**common, why=Why.NODE_AFFINITY, nodes=nodes))
            continue
        key = draw(st.sampled_from(sorted(KEYS)))
        common |= {"topology_key": key, "domains": KEYS[key]}
        if kind <= 3:
            found.append(Apart(**common, most=draw(st.sampled_from([1, 1, 2]))))
        elif kind == 4:
            found.append(Together(**common))
        else:
            found.append(Spread(**common, skew=1, reachable=frozenset()))
    return [_reaching(rule, found) if isinstance(rule, Spread) else rule for rule in found]


def _reaching(spread: Spread, rules: list[Rule]) -> Spread:
    fences = [rule for rule in rules if isinstance(rule, NodeRule)]
    nodes = {n for v in spread.members for n in NODES if all(n in r.nodes for r in fences if v in r.members)}
    return replace(spread, reachable=frozenset(domain for n, domain in spread.domains.items() if n in nodes))


def works(rules: list[Rule], room: dict[NodeName, int]) -> bool:
    """Whether any of all placements keeps every rule; written apart from everything else."""
    involved = sorted({vmid for rule in rules for vmid in rule.members})
    for places in product(NODES, repeat=len(involved)):
        at = dict(zip(involved, places, strict=True))
        loads = {name: sum(SIZES[v] for v, n in at.items() if n == name) for name in NODES}
        if all(loads[name] <= room[name] for name in NODES) and all(_kept(rule, at) for rule in rules):
            return True
    return False


def _kept(rule: Rule, at: dict[Vmid, NodeName]) -> bool:
    if isinstance(rule, NodeRule):
        return all(at[vmid] in rule.nodes for vmid in rule.members)
    assert isinstance(rule, Apart | Together | Spread)
    if any(at[vmid] not in rule.domains for vmid in rule.members):
        return False
    seats = [rule.domains[at[vmid]] for vmid in rule.members]
    if isinstance(rule, Apart):
        return all(seats.count(domain) <= rule.most for domain in seats)
    if isinstance(rule, Together):
        return len(set(seats)) == 1
    counted = set(seats) | rule.reachable
    return max(map(seats.count, counted)) - min(map(seats.count, rule.reachable), default=0) <= rule.skew


def compiled(rules: list[Rule], room: dict[NodeName, int]) -> tuple[Conflict, ...]:
    ranked = sorted(rules, key=lambda rule: (-rule.priority, rule.ref))
    guests = {vmid: guest(vmid, "n1") for vmid in VMIDS}
    return contradictions(ranked, Facts(frozenset(NODES), {}, SIZES, room, guests))


MANY = settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(rule_sets())
def test_a_contradiction_is_found_exactly_when_no_placement_exists(rules: list[Rule]) -> None:
    plenty = dict.fromkeys(NODES, 100)
    conflicts = compiled(rules, plenty)
    assert bool(conflicts) == (not works(rules, plenty))
    losers = {conflict.loser for conflict in conflicts}
    assert works([rule for rule in rules if rule.ref not in losers], plenty)
    for conflict in conflicts:
        parties = [rule for rule in rules if rule.ref in conflict.parties]
        assert not works(parties, plenty), "it names rules that can hold together"
        for left_out in parties:
            assert works([rule for rule in parties if rule is not left_out], plenty), "it names more than needed"
        assert min(rule.priority for rule in parties) == next(r.priority for r in parties if r.ref == conflict.loser)


@MANY
@given(rule_sets(), st.lists(st.integers(1, 6), min_size=3, max_size=3))
def test_memory_is_never_a_false_accusation(rules: list[Rule], sizes: list[int]) -> None:
    room = dict(zip(NODES, sizes, strict=True))
    for conflict in compiled(rules, room):
        assert not works([rule for rule in rules if rule.ref in conflict.parties], room)


@MANY
@given(rule_sets(), st.lists(st.sampled_from(VMIDS), min_size=1, unique=True))
def test_what_is_said_of_some_guests_is_true_of_all(rules: list[Rule], some: list[Vmid]) -> None:
    """The example may be smaller than the group: leaving guests out never makes a possible thing impossible."""
    ground = Ground(frozenset(NODES), SIZES, dict.fromkeys(NODES, 100))
    if not any(isinstance(rule, Spread) for rule in rules) and impossible(rules, frozenset(some), ground, memory=False):
        assert impossible(rules, frozenset(VMIDS), ground, memory=False)
