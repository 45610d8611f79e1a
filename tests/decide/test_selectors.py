"""Whom a selector means."""

from typing import Any

import pytest

from controller.decide.selectors import GuestIndex, matches, node_labels, specificity
from controller.model.ids import GuestKind, NodeName
from controller.specs import GuestSelector
from tests.decide.build import guest, pve_node

WEB = guest(101, "pve1", name="web-1", tags=("prod", "web"), pool="shop")
DB = guest(102, "pve2", name="db", tags=("prod",), pool="shop", ha_state="started")
CT = guest(201, "pve2", name="dns", kind=GuestKind.LXC)
IGNORED = guest(202, "pve2", name="x.web-1", ha_state="ignored")
ALL = (WEB, DB, CT, IGNORED)

TABLE: list[tuple[dict[str, Any], set[int]]] = [
    ({}, {101, 102, 201, 202}),
    ({"vmids": [101, 999]}, {101}),
    ({"names": ["web*"]}, {101}),
    ({"names": ["*web*"]}, {101, 202}),
    ({"names": ["web.1"]}, set()),  # a dot is a dot
    ({"names": ["db", "dns"]}, {102, 201}),
    ({"tags": {"all": ["prod", "web"]}}, {101}),
    ({"tags": {"any": ["web", "prod"]}}, {101, 102}),
    ({"tags": {"none": ["prod"]}}, {201, 202}),
    ({"tags": {"any": ["prod"], "none": ["web"]}}, {102}),
    ({"tags": {"all": ["nobody"]}}, set()),
    ({"pools": ["shop"]}, {101, 102}),
    ({"types": ["lxc"]}, {201}),
    ({"nodes": ["pve2"]}, {102, 201, 202}),
    ({"haManaged": True}, {102}),
    ({"haManaged": False}, {101, 201, 202}),
    ({"pools": ["shop"], "nodes": ["pve2"]}, {102}),
    ({"vmids": [101], "tags": {"none": ["web"]}}, set()),
]


@pytest.mark.parametrize(("selector", "meant"), TABLE)
def test_members_are_anded_and_entries_ored(selector: dict[str, Any], meant: set[int]) -> None:
    parsed = GuestSelector.model_validate(selector)
    assert set(GuestIndex(ALL).select(parsed)) == meant
    assert {each.vmid for each in ALL if matches(parsed, each)} == meant


def test_more_specific_selectors_rank_higher() -> None:
    ladder: list[dict[str, Any]] = [
        {"vmids": [101], "tags": {"any": ["a"]}},
        {"names": ["a"], "pools": ["p"]},
        {"tags": {"none": ["a"]}},
        {"pools": ["p"]},
        {"types": ["lxc"]},
    ]
    ranks = [specificity(GuestSelector.model_validate(selector)) for selector in ladder]
    assert ranks == sorted(set(ranks), reverse=True)
    assert specificity(GuestSelector()) == ranks[-1]


def test_nodes_without_a_pvenode_still_have_their_implied_label() -> None:
    labels = node_labels([NodeName("PVE1"), NodeName("pve2")], [pve_node("one", {"rack": "a"}, nodeName="PVE1")])
    assert labels == {"PVE1": {"rack": "a", "drover.dev/node": "PVE1"}, "pve2": {"drover.dev/node": "pve2"}}
