"""What the daemon shows is what the CRDs describe: an API server would take every object, its status included."""

import copy
from dataclasses import replace

import pytest

from controller.model.view import ClusterView
from controller.report.conditions import statuses
from controller.report.objects import of_kind
from controller.specs import KINDS
from controller.specs.crd import definition
from tests.report.scene import SPECS, VIEW
from tests.specs.apiserver import refusals

assert VIEW.plan is not None
DRAIN = replace(VIEW.plan.drains[0], drained=True, remaining=(), moving=(), blocked=())

VIEWS = {
    "all is seen": VIEW,
    "a node is drained": replace(VIEW, plan=replace(VIEW.plan, drains=(DRAIN,), blocked=())),
    "nothing is seen": replace(VIEW, seen=None, plan=None),
    "rights are missing": replace(VIEW, missing_rights=("pveum acl modify /",)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_an_api_server_would_take_what_is_shown(kind: str, view: ClusterView) -> None:
    drains = {view.cluster: view.plan.drains if view.plan is not None else ()}
    found = of_kind(kind, SPECS, statuses(SPECS, (), view, {}), drains)
    assert found or (kind == "NodeMaintenance" and not drains[view.cluster]), "a label alone implies nothing yet"
    for item in found:
        assert item["status"]
        assert refusals(definition(KINDS[kind]), copy.deepcopy(item)) == []  # type: ignore[arg-type]  # plain JSON
