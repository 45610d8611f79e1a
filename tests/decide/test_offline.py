"""What can't hold together on paper, and what may after all, because manifests don't name everything."""

from typing import Any

import pytest

from controller.decide.offline import on_paper
from controller.model.reasons import Why
from controller.specs import Resource
from tests.decide.build import apart, only_on, policy, pve_node, specs

RACKS = [pve_node("pve1", {"rack": "a"}), pve_node("pve2", {"rack": "b"})]
DB = {"tags": {"any": ["db"]}}


def found(*wanted: Resource) -> list[tuple[Why, str]]:
    return [(conflict.why, conflict.loser.name) for conflict in on_paper(specs(*RACKS, *wanted))]


def test_racks_are_known_because_only_manifests_name_them() -> None:
    assert found(apart("z", 101, 102, 103, topologyKey="rack")) == [(Why.TOO_FEW_DOMAINS, "z")]
    assert found(apart("z", 101, 102, topologyKey="rack")) == []


def test_there_may_be_more_nodes_than_manifests_name() -> None:
    assert found(apart("z", 101, 102, 103, 104)) == []
    tight = [apart("z", 101, 102), only_on("a", ["pve1"], 101, 102)]
    assert found(*tight) == [(Why.TOO_FEW_DOMAINS, "z")]


@pytest.mark.parametrize("selector", [DB, {}, {"names": ["db-*"]}])
def test_the_same_selector_means_the_same_guests(selector: dict[str, Any]) -> None:
    here = policy("here", selector, nodeAffinity={"nodes": ["pve1"]})
    off = policy("off", selector, nodeAntiAffinity={"nodes": ["pve1"]})
    assert found(here, off) == [(Why.NODE_SETS_DISJOINT, "off")]
    [conflict] = on_paper(specs(here, off))
    assert "no manifest names" in conflict.message


def test_different_selectors_may_mean_different_guests() -> None:
    here = policy("here", DB, nodeAffinity={"nodes": ["pve1"]})
    there = policy("there", {"tags": {"any": ["web"]}}, nodeAffinity={"nodes": ["pve2"]})
    narrowed = policy("narrow", {"vmids": [101], "types": ["lxc"]}, nodeAffinity={"nodes": ["pve2"]})
    assert found(here, there, narrowed, only_on("one", ["pve1"], 101)) == []


def test_together_and_apart_of_named_guests() -> None:
    assert found(policy("t", {"vmids": [101, 102]}, keepTogether={}), apart("z", 101, 102)) == [
        (Why.CONTRADICTORY_AFFINITY, "z")
    ]
