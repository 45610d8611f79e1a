"""Coordinate: Musts about guests of PVE HA become its rules, and those of others are left alone."""

from typing import Any

import pytest

from controller.decide import decide
from controller.model.facts import HaRule
from controller.model.ha_rules import RuleVerb, rule_comment, rule_name, rule_owner
from controller.model.ids import NodeName
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.specs import Resource
from tests.decide.build import apart, cluster, guest, in_maintenance, memory, node, only_on, policy, seen, specs

THREE = [node("pve1"), node("pve2"), node("pve3")]
COORDINATE = cluster(ha={"coexistence": "Coordinate"})
TWO = [guest(101, "pve1", ha_state="started"), guest(102, "pve2", ha_state="started"), guest(103, "pve3")]
SIDS = ("vm:101", "vm:102")


def planned(*wanted: Resource, of: Resource = COORDINATE, guests: Any = TWO, **look: Any) -> Plan:
    plan = decide(specs(of, *wanted), seen(THREE, guests, **{"ha_has_rules": True, **look}), memory())
    assert plan.unsafe == ()
    return plan


def asked(plan: Plan) -> list[tuple[str, str]]:
    return [(action.verb, action.rule.name) for action in plan.ha.actions]


def own(name: str, **what: Any) -> HaRule:
    return HaRule(rule_name(name), comment=rule_comment(name), **what)


ON_ONE = {NodeName("pve1"): 0}


def test_only_guests_of_pve_ha_are_in_the_rule_and_nodes_have_one_priority() -> None:
    [action] = planned(only_on("p", ["pve2", "pve1"], 101, 103)).ha.actions
    assert (action.verb, action.rule) == (
        RuleVerb.CREATE,
        own("p", nodes={NodeName("pve1"): 0, NodeName("pve2"): 0}, strict=True, resources=("vm:101",)),
    )


def test_groups_become_resource_affinities() -> None:
    [action] = planned(apart("p", 101, 102, 103)).ha.actions
    assert action.rule == own("p", apart=SIDS)
    beside = [guest(101, "pve1", ha_state="started"), guest(102, "pve1", ha_state="started")]
    [action] = planned(policy("p", {"vmids": [101, 102]}, keepTogether={}), guests=beside).ha.actions
    assert action.rule == own("p", together=SIDS)


@pytest.mark.parametrize("how", [{"coexistence": "Defer"}, {"coexistence": "Ignore"}])
def test_nothing_is_written_that_nobody_asked_for(how: dict[str, str]) -> None:
    plan = planned(apart("p", 101, 102), of=cluster(ha=how), ha_rules=(own("gone", apart=SIDS),))
    assert (plan.ha.actions, plan.ha.states) == ((), ())


@pytest.mark.parametrize(
    "wanted",
    [
        apart("p", 101, 103),
        policy("p", {"vmids": [101, 102]}, keepApart={}, enforcement="Should"),
        policy("p", {"vmids": [101, 102]}, keepApart={}, suspend=True),
    ],
)
def test_one_guest_a_should_and_a_suspended_policy_want_no_rule(wanted: Resource) -> None:
    assert asked(planned(wanted)) == []
    assert asked(planned(wanted, ha_rules=(own("p", apart=SIDS),))) == [("Remove", "drover-p")]


def test_what_is_there_is_left_alone_and_what_differs_is_changed() -> None:
    wanted = apart("p", 101, 102)
    assert asked(planned(wanted, ha_rules=(own("p", apart=SIDS),))) == []
    assert planned(wanted, ha_rules=(own("p", apart=SIDS),)).ha.states[0].written
    assert asked(planned(wanted, ha_rules=(own("p", apart=("vm:101", "vm:109")),))) == [("Update", "drover-p")]
    another = own("p", nodes=ON_ONE, strict=True, resources=("vm:101",))
    assert asked(planned(wanted, ha_rules=(another,)))[0] == ("Remove", "drover-p")


def test_rules_of_others_are_never_asked_for() -> None:
    foreign = (HaRule("drover-x", apart=SIDS, comment="by hand"), HaRule("y", apart=SIDS, comment="Managed by Drover"))
    assert asked(planned(ha_rules=foreign)) == []


def test_a_rule_that_was_switched_off_is_told_and_not_touched() -> None:
    off = own("p", apart=("vm:101",), off="it is switched off")
    plan = planned(apart("p", 101, 102), ha_rules_off=(off,))
    assert asked(plan) == []
    assert plan.ha.states[0].why is Why.HA_RULE_OFF


def test_a_guest_that_has_a_rule_about_nodes_is_named() -> None:
    plan = planned(
        only_on("p", ["pve1", "pve2"], 101, 102),
        ha_rules=(HaRule("theirs", nodes=ON_ONE, strict=True, resources=("vm:101",)),),
        ha_stays=frozenset({"vm:101"}),
    )
    assert plan.ha.actions[0].rule.resources == ("vm:102",)
    [state] = plan.ha.states
    assert (state.written, state.why) == (False, Why.HA_RULE_IMPOSSIBLE)
    assert "vm:101 is in theirs" in state.message


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"keepApart": {"maxPerDomain": 2}}, "one by one"),
        ({"spread": {}}, "spreads"),
        ({"keepApart": {"topologyKey": "rack"}}, "not rack"),
    ],
)
def test_what_pve_ha_has_no_rule_for_is_named(rule: dict[str, Any], said: str) -> None:
    plan = planned(policy("p", {"vmids": [101, 102]}, **rule))
    assert asked(plan) == []
    assert any(said in state.message for state in plan.ha.states) or plan.conflicts


def test_priorities_of_a_rule_about_nodes_keep_a_group_out() -> None:
    ranked = HaRule("ranked", nodes={NodeName("pve1"): 2, NodeName("pve2"): 1}, resources=("vm:101",))
    plan = planned(apart("p", 101, 102), ha_rules=(ranked,), ha_stays=frozenset(SIDS))
    assert asked(plan) == []
    assert "ranked has several" in plan.ha.states[0].message


@pytest.mark.parametrize(("has", "why"), [(False, Why.NOT_SUPPORTED), (None, Why.NOT_OBSERVED_YET)])
def test_before_9_the_policy_says_so(has: bool | None, why: Why) -> None:
    plan = planned(apart("p", 101, 102), ha_has_rules=has)
    assert asked(plan) == []
    assert plan.ha.states[0].why is why


def test_what_a_token_does_not_see_is_not_taken_out_of_a_rule() -> None:
    assert asked(planned(apart("p", 101), ha_rules=(own("p", apart=SIDS),), partial=True)) == []


def test_a_policy_is_in_no_conflict_with_the_rule_that_was_written_for_it() -> None:
    old = own("p", nodes=ON_ONE, strict=True, resources=("vm:101",))
    plan = planned(only_on("p", ["pve2"], 101), in_maintenance("pve1"), ha_rules=(old,), ha_stays=frozenset(SIDS))
    assert plan.conflicts == ()
    assert [(move.vmid, move.target) for move in plan.moves] == [(101, "pve2")]
    assert asked(plan) == [("Update", "drover-p")]


def test_names_of_policies_become_names_that_pve_takes() -> None:
    assert rule_name("a.b-c") == "drover-a_b-c"
    assert rule_owner(rule_comment("a.b")) == "a.b"
    assert rule_owner("managed by drover: ") is None
