"""Rules of PVE HA, written on a simulated cluster: second looks, refusals, and rules that are somebody else's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.act.backoff import REFUSED_FIRST_SECONDS
from controller.act.ha_rules import RuleWriter
from controller.model.facts import HaRule
from controller.model.ha_rules import RuleAction, RuleVerb, rule_comment
from controller.model.ids import ObjectRef
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.report.events import Told
from controller.simulator.ha_rules import Rule
from tests.act import lab
from tests.act.lab import PVE1, PVE2, Lab

POLICY = ObjectRef("PlacementPolicy", "p")
RULE = HaRule("drover-p", nodes={PVE1: 0}, strict=True, resources=("vm:106",), comment=rule_comment("p"))
CREATE = RuleAction(RuleVerb.CREATE, RULE, POLICY, "PlacementPolicy/p says so")
UPDATE = replace(CREATE, verb=RuleVerb.UPDATE, rule=replace(RULE, nodes={PVE1: 0, PVE2: 0}))
REMOVE = replace(CREATE, verb=RuleVerb.REMOVE)
MAY = lab.CLUSTER.replace("Drover: [Sys.Audit,", "Drover: [Sys.Audit, Sys.Console,")


class Desk(Lab):
    """A lab, and the half of a tick that is about rules of PVE HA."""

    def __init__(self, directory: Path, cluster: str = MAY) -> None:
        super().__init__(directory, cluster=cluster)
        self.writer = RuleWriter(self.client, self.clock)
        self.wanted = True

    def said(self, *actions: RuleAction) -> list[str]:
        events, _ = self.loop.run_until_complete(
            self.writer.carry_out(
                actions, still_wanted=lambda: None if self.wanted else Finding(False, Why.WITHDRAWN, "called off")
            )
        )
        return [event.reason for event in events]

    @property
    def rules(self) -> dict[str, Rule]:
        return self.world.ha.book.rules


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_a_rule_is_made_changed_and_removed(desk: Desk) -> None:
    assert desk.said(CREATE) == [Told.HA_RULE_CREATED]
    made = desk.rules["drover-p"]
    assert (made.nodes, made.strict, made.resources, made.comment) == (
        {"pve1": 0},
        True,
        ("vm:106",),
        "managed by drover: p",
    )
    assert desk.said(UPDATE) == [Told.HA_RULE_CHANGED]
    assert desk.rules["drover-p"].nodes == {"pve1": 0, "pve2": 0}
    assert desk.said(REMOVE) == [Told.HA_RULE_REMOVED]
    assert desk.rules == {}


@pytest.mark.parametrize("action", [CREATE, UPDATE, REMOVE])
def test_a_rule_of_somebody_else_is_never_touched(desk: Desk, action: RuleAction) -> None:
    theirs: dict[str, Any] = {"type": "node-affinity", "nodes": "pve2", "resources": "vm:106", "comment": "taken over"}
    desk.rules["drover-p"] = Rule.of("drover-p", theirs)
    assert desk.said(action) == [Told.HA_RULE_REFUSED]
    assert desk.rules["drover-p"] == Rule.of("drover-p", theirs)
    assert desk.writer.refused()[POLICY].why is Why.NOT_OURS


def test_a_rule_that_is_there_already_is_not_made_twice(desk: Desk) -> None:
    desk.said(CREATE)
    assert desk.said(CREATE) == []
    assert list(desk.rules) == ["drover-p"]
    assert desk.writer.refused() == {}


def test_a_rule_that_was_switched_off_meanwhile_stays_off(desk: Desk) -> None:
    desk.said(CREATE)
    desk.rules["drover-p"].disable = True
    assert desk.said(UPDATE) == []
    assert desk.rules["drover-p"].nodes == {"pve1": 0}


def test_what_pve_refuses_is_told_once_and_asked_for_later(desk: Desk) -> None:
    taken = Rule.of("theirs", {"type": "node-affinity", "nodes": "pve2", "resources": "vm:106"})
    desk.rules["theirs"] = taken
    assert desk.said(CREATE) == [Told.HA_RULE_REFUSED]
    assert "already used in another node affinity rule" in desk.writer.refused()[POLICY].message
    del desk.rules["theirs"]
    assert desk.said(CREATE) == []  # not yet
    desk.later(REFUSED_FIRST_SECONDS + 1)
    assert desk.said(CREATE) == [Told.HA_RULE_CREATED]
    assert desk.writer.refused() == {}


def test_another_wish_is_asked_for_at_once(desk: Desk) -> None:
    desk.rules["theirs"] = Rule.of("theirs", {"type": "node-affinity", "nodes": "pve2", "resources": "vm:106"})
    desk.said(CREATE)
    del desk.rules["theirs"]
    assert desk.said(replace(CREATE, rule=replace(RULE, nodes={PVE2: 0}))) == [Told.HA_RULE_CREATED]


def test_without_the_right_it_is_said(tmp_path: Path) -> None:
    desk = Desk(tmp_path, lab.CLUSTER)
    assert desk.said(CREATE) == [Told.HA_RULE_REFUSED]
    assert desk.writer.refused()[POLICY].why is Why.PERMISSION_MISSING
    desk.close()


def test_nothing_is_written_that_is_no_longer_wanted(desk: Desk) -> None:
    desk.wanted = False
    assert desk.said(CREATE) == []
    assert desk.rules == {}
