"""The rules of PVE HA in the ordinary look: read seldom, only where HA has something to look after, in either release's words."""

from collections import Counter

import pytest

from tests.observe.test_cluster import GUESTS, HEAD, RIGHTS, Scene, play
from tests.observe.test_facts import GROUPS, RULES

NINE = HEAD + RIGHTS + RULES + GUESTS
EIGHT = HEAD.replace("nodes:", "version: '8.4'\nnodes:") + RIGHTS + GROUPS + GUESTS


@pytest.mark.parametrize(
    ("text", "entry", "stays"),
    [
        (NINE, "{state: started}", set()),
        (NINE, "{state: started, failback: 0}", {"vm:100"}),
        (EIGHT, "{group: near}", {"vm:100"}),
    ],
)
def test_rules_and_groups_come_with_the_look(text: str, entry: str, stays: set[str]) -> None:
    managed = text.replace("name: web1,", f"name: web1, ha: {entry},").replace(
        "name: off1,", "name: off1, ha: {state: started},"
    )

    async def body(scene: Scene) -> None:
        seen = await scene.looks(60)
        near = next(rule for rule in seen.ha_rules if rule.name == "near")
        assert (near.nodes, near.strict, near.resources) == ({"pve1": 2, "pve2": 0}, True, ("vm:100",))
        assert seen.ha_stays == stays
        assert seen.ha_has_rules is (text is NINE)
        counted = Counter(call.path for call in scene.calls)
        assert 9 <= counted["/cluster/ha/resources"] <= 11
        assert sum(counted.values()) / 60 <= 6 + 3

    play(body, managed)


def test_without_ha_nobody_asks_for_its_rules() -> None:
    async def body(scene: Scene) -> None:
        seen = await scene.looks(10)
        assert seen.ha_rules == ()
        assert not [call for call in scene.calls if call.path in ("/cluster/ha/resources", "/cluster/ha/rules")]

    play(body, HEAD + RIGHTS + GUESTS)


@pytest.mark.parametrize(("version", "balances"), [("9.2", True), ("8.4", False)])
def test_whether_ha_balances_is_asked_seldom_and_only_where_it_has_guests(version: str, balances: bool) -> None:
    text = HEAD.replace("nodes:", f"version: '{version}'\nnodes:").replace(
        "max_workers: 2", 'max_workers: 2, crs: "ha=dynamic,ha-auto-rebalance=1"'
    )
    managed = GUESTS.replace("name: web1,", "name: web1, ha: {state: started},")

    async def body(scene: Scene) -> None:
        seen = await scene.looks(60)
        assert seen.ha_balances is balances
        assert len([call for call in scene.calls if call.path == "/cluster/options"]) == 1

    play(body, text + RIGHTS + managed)

    async def without(scene: Scene) -> None:
        assert not (await scene.looks(10)).ha_balances
        assert not [call for call in scene.calls if call.path == "/cluster/options"]

    play(without, text + RIGHTS + GUESTS)
