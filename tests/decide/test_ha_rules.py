"""Rules of PVE HA are Musts for the guests that it looks after, and beat every policy."""

from dataclasses import replace
from typing import Any

import pytest

from controller.decide import decide
from controller.decide.verify import verify
from controller.model.facts import HaRule
from controller.model.ids import NodeName
from controller.model.observed import NodeState
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.specs import Resource
from tests.decide.build import apart, cluster, guest, in_maintenance, memory, node, only_on, seen, specs

THREE = [node("pve1"), node("pve2"), node("pve3")]
PREFERS_TWO = HaRule("two", nodes={NodeName("pve1"): 1, NodeName("pve2"): 2}, resources=("vm:101",))


def planned(*wanted: Resource, rules: tuple[HaRule, ...], nodes: Any = THREE, stays: Any = (), **more: Any) -> Plan:
    guests = more.pop("guests", None) or [guest(101, "pve1", ha_state="started")]
    look = seen(nodes, guests, ha_rules=rules, ha_stays=frozenset(stays))
    plan = decide(specs(*wanted), look, memory())
    assert plan.unsafe == ()
    return plan


def test_a_strict_rule_fences_a_drain() -> None:
    rule = HaRule("strict", nodes={NodeName("pve1"): 0, NodeName("pve3"): 0}, strict=True, resources=("vm:101",))
    [move] = planned(in_maintenance("pve1"), rules=(rule,), stays=["vm:101"]).moves
    assert move.target == "pve3"


def test_with_failback_only_the_best_nodes_in_service_keep_the_guest() -> None:
    [move] = planned(in_maintenance("pve1"), rules=(PREFERS_TWO,)).moves
    assert move.target == "pve2"
    down = [node("pve1"), node("pve2", state=NodeState.OFFLINE), node("pve3")]
    two = cluster(safety={"maxUnavailableNodes": 2})
    [word] = planned(two, in_maintenance("pve1"), rules=(PREFERS_TWO,), nodes=down).blocked
    assert word.why is Why.HA_WOULD_UNDO
    assert "pve3 is ruled out by HaRule/two (failback)" in word.message


def test_without_failback_a_preference_binds_nobody() -> None:
    full = [node("pve1"), node("pve2", 1), node("pve3")]
    [move] = planned(in_maintenance("pve1"), rules=(PREFERS_TWO,), stays=["vm:101"], nodes=full).moves
    assert move.target == "pve3"


def test_a_negative_affinity_keeps_guests_apart_and_a_positive_one_together() -> None:
    guests = [guest(101, "pve1", ha_state="started"), guest(102, "pve2", ha_state="started")]
    rule = HaRule("off", apart=("vm:101", "vm:102"))
    [move] = planned(in_maintenance("pve1"), rules=(rule,), guests=guests).moves
    assert move.target == "pve3"
    both = [guest(101, "pve1", ha_state="started"), guest(102, "pve1", ha_state="started")]
    moves = planned(in_maintenance("pve1"), rules=(HaRule("on", together=("vm:101", "vm:102")),), guests=both).moves
    assert len({move.target for move in moves}) == 1


def test_who_is_not_looked_after_by_ha_is_bound_by_none_of_its_rules() -> None:
    rule = HaRule("strict", nodes={NodeName("pve1"): 0}, strict=True, resources=("vm:101",))
    assert planned(in_maintenance("pve1"), rules=(rule,), guests=[guest(101, "pve1")]).moves


def test_a_policy_that_contradicts_a_rule_of_ha_gives_way() -> None:
    rule = HaRule("strict", nodes={NodeName("pve1"): 0}, strict=True, resources=("vm:101",))
    plan = planned(only_on("p", ["pve2"], 101, priority=1000), rules=(rule,), stays=["vm:101"])
    [conflict] = plan.conflicts
    assert (conflict.why, conflict.loser.name) == (Why.CONFLICTS_WITH_HA_RULE, "p")
    assert "because PVE HA keeps its own rules" in conflict.message
    assert (plan.moves, plan.blocked) == ((), ())


def test_a_node_that_is_down_for_a_while_makes_no_contradiction() -> None:
    nodes = [node("pve1"), node("pve2", state=NodeState.OFFLINE), node("pve3")]
    assert planned(only_on("p", ["pve2"], 101), rules=(PREFERS_TWO,), nodes=nodes).conflicts == ()


def test_ignored_ha_is_treated_like_nothing() -> None:
    rule = HaRule("strict", nodes={NodeName("pve1"): 0}, strict=True, resources=("vm:101",))
    plan = planned(cluster(ha={"coexistence": "Ignore"}), only_on("p", ["pve2"], 101), rules=(rule,))
    assert [(move.vmid, move.target) for move in plan.moves] == [(101, "pve2")]
    assert plan.conflicts == ()


@pytest.mark.parametrize("kind", ["strict", "apart"])
def test_the_second_opinion_knows_the_rules_of_ha(kind: str) -> None:
    guests = [guest(101, "pve1", ha_state="started"), guest(102, "pve2", ha_state="started")]
    look = seen(THREE, guests)
    plan = decide(
        specs(in_maintenance("pve1"), apart("x", 101, 102), only_on("y", ["pve2", "pve3"], 101)), look, memory()
    )
    [move] = plan.moves
    away = replace(plan, moves=(replace(move, target=NodeName("pve2")),))
    rule = HaRule("r", nodes={NodeName("pve3"): 0}, strict=True, resources=("vm:101",))
    rule = rule if kind == "strict" else HaRule("r", apart=("vm:101", "vm:102"))
    [said] = verify(away, specs(in_maintenance("pve1")), replace(look, ha_rules=(rule,)), memory())
    assert "HA rule r" in said
