"""Announced maintenance: copies are made ahead for who will need one, and for nobody else; how long the drain will take is told."""

from datetime import UTC, datetime
from typing import Any

import pytest

from controller.decide import decide
from controller.model.ids import NodeName, Vmid
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.plan import Announced, Plan
from controller.model.replication import comment_for_move
from controller.report.maintenance import prospect
from controller.specs import NodeMaintenance, Resource
from tests.decide.build import AT, GIB, cluster, guest, maintenance, only_on, pve_node, specs
from tests.decide.test_replication import config, disk, job, look, office, state

PVE2 = NodeName("pve2")
WEB, DB = guest(101, "pve1"), guest(102, "pve1")
OURS = job("101-0", "pve1", "pve2", comment_for_move(PVE2))


def announced(hours: float = 2.0, name: str = "m", on: str = "pve1", **spec: Any) -> NodeMaintenance:
    begins = datetime.fromtimestamp(AT + hours * 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return maintenance(name, on, notBefore=begins, **spec)


def planned(seen: Observed, *objects: Resource) -> Plan:
    plan = decide(specs(*objects), seen, Memory())
    assert not plan.unsafe
    assert not plan.all_moves
    return plan


def asked(plan: Plan) -> list[str]:
    return [f"{action.verb} {action.job_id} {action.target}" for action in plan.jobs]


def only(plan: Plan) -> Announced:
    (found,) = plan.announced
    return found


def test_one_guest_after_the_other_is_copied_ahead_the_largest_first() -> None:
    large = {WEB.vmid: config(WEB), DB.vmid: config(DB, disk(90 * GIB))}
    plan = planned(look([WEB, DB], configs=large), announced())
    assert [line.split()[:2] for line in asked(plan)] == [["Create", "102-0"]]
    assert plan.fine == {WEB.vmid, DB.vmid}
    assert not plan.drains
    assert (only(plan).to_copy, only(plan).copied) == (2, 0)


@pytest.mark.parametrize("how", [{"mode": "Cordon"}, {"suspend": True}])
def test_nothing_is_copied_for_a_maintenance_that_will_move_nobody(how: dict[str, Any]) -> None:
    assert asked(planned(look([WEB]), announced(**how))) == []


def test_a_copy_is_kept_until_the_announcement_is_withdrawn() -> None:
    seen = look([WEB], [OURS], states={OURS.id: state(OURS, duration_s=8.0)})
    plan = planned(seen, announced())
    assert asked(plan) == []
    assert (only(plan).to_copy, only(plan).copied) == (1, 1)
    assert asked(planned(seen)) == ["Remove 101-0 pve2"]


def test_a_copy_is_kept_while_nobody_knows_the_disks_as_after_a_restart() -> None:
    seen = look([WEB], [OURS], states={OURS.id: state(OURS, duration_s=8.0)}, configs={})
    assert asked(planned(seen, announced())) == []


def test_a_replica_that_a_policy_keeps_is_enough_and_is_not_hurried() -> None:
    kept = job("101-0", "pve1", "pve2", "managed by drover: office")
    seen = look([WEB], [kept], states={kept.id: state(kept, last_sync=int(AT) - 800)})
    plan = planned(seen, announced(), office(gate="RequireFresh", freshSeconds=60))
    assert [line for line in asked(plan) if "Create" in line or "SyncNow" in line] == []
    assert (only(plan).to_copy, only(plan).copied) == (1, 1)
    assert only(plan).seconds_without == only(plan).seconds


def test_nobody_is_copied_to_a_node_that_will_be_in_maintenance_then() -> None:
    both = cluster(safety={"maxUnavailableNodes": 2})
    plan = planned(look([WEB]), both, announced(), announced(name="other", on="pve2"))
    assert asked(plan) == ["Create 101-0 pve3"]


def test_maintenances_in_two_nights_do_not_wait_for_each_other() -> None:
    plan = planned(look([WEB, guest(103, "pve2")]), announced(2.0), announced(26.0, "tomorrow", "pve2"))
    assert [line.split()[1] for line in asked(plan)] == ["101-0", "103-0"]


def test_copies_follow_when_their_target_is_lost() -> None:
    seen = look([WEB], [OURS], states={OURS.id: state(OURS, duration_s=8.0)})
    plan = planned(seen, announced(), pve_node("pve2", unschedulable=True))
    assert asked(plan) == ["Create 101-1 pve3", "Remove 101-0 pve2"]


def test_what_it_takes_is_told_with_the_replicas_and_without() -> None:
    large = {WEB.vmid: config(WEB), DB.vmid: config(DB, disk(100 * GIB))}
    seen = look([WEB, DB], [OURS], states={OURS.id: state(OURS, duration_s=8.0)}, configs=large)
    found = only(planned(seen, announced()))
    assert found.seconds_without - found.seconds == pytest.approx(110 * 1024 / 112, rel=0.01)
    text = prospect(found)
    assert text.startswith("1 of 2 guests with local disks have a replica where they will go; its drain takes about ")
    assert " with the replicas, " in text
    assert text.endswith(" without")


def test_who_could_not_leave_is_named_before_it_begins() -> None:
    plan = planned(look([WEB]), announced(), only_on("pin", ["pve1"], 101))
    assert [word.vmid for word in only(plan).blocked] == [Vmid(101)]
    assert prospect(only(plan)).startswith("1 guest could not leave as things stand: ")


def test_a_copy_is_kept_while_the_announcement_is_suspended() -> None:
    seen = look([WEB], [OURS], states={OURS.id: state(OURS, duration_s=8.0)})
    assert asked(planned(seen, announced(suspend=True))) == []
