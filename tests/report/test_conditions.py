from collections.abc import Mapping
from dataclasses import replace

import pytest

from controller.model.condition import Status
from controller.model.ha_rules import Coordination, RuleState
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.memory import Memory
from controller.model.observed import NodeState
from controller.model.plan import Drain, DrainMode
from controller.model.reasons import Why
from controller.model.view import ClusterView, Finding
from controller.report.conditions import TYPES, ObjectStatus, statuses
from controller.specs import Specs
from tests.report.scene import APART, LABEL, NOW, PLAN, PROBLEM, PVE1, PVE2, SEEN, SPECS, VIEW, guest, written

CLUSTER = ObjectRef("PveCluster", "default")
FIRMWARE = ObjectRef("NodeMaintenance", "firmware")


def told(view: ClusterView = VIEW, specs: Specs = SPECS, **more: object) -> Mapping[ObjectRef, ObjectStatus]:
    return statuses(specs, more.pop("problems", ()), view, more.pop("previous", {}), **more)  # type: ignore[arg-type]  # by name


def said(status: ObjectStatus, type_: str) -> tuple[str, str]:
    condition = status.condition(type_)
    assert condition is not None, f"there is no condition {type_}"
    return condition.status, condition.reason


def with_drain(view: ClusterView = VIEW, **changes: object) -> ClusterView:
    assert view.plan is not None
    drain = replace(view.plan.drains[0], **changes)  # type: ignore[arg-type]  # tests name the fields
    return replace(view, plan=replace(view.plan, drains=(drain,), blocked=drain.blocked))


def emptied(view: ClusterView = VIEW) -> ClusterView:
    return with_drain(view, drained=True, remaining=(), moving=(), blocked=())


BROKEN = Finding(ok=False, why=Why.AUTH_FAILED, message="401 no such token")
NO_QUORUM = Finding(ok=False, why=Why.NO_QUORUM, message="no quorum")
NO_PLAN = replace(VIEW, plan=None, armed=Finding(ok=False, why=Why.MODE_OBSERVE, message="only looking"))


@pytest.mark.parametrize(
    ("view", "ref", "type_", "expected"),
    [
        (VIEW, CLUSTER, "Ready", ("True", Why.CONNECTED)),
        (VIEW, CLUSTER, "Connected", ("True", Why.CONNECTED)),
        (VIEW, CLUSTER, "Quorate", ("True", Why.QUORATE)),
        (VIEW, CLUSTER, "Fresh", ("True", Why.FRESH)),
        (VIEW, CLUSTER, "Armed", ("True", Why.ARMED)),
        (replace(VIEW, connected=BROKEN), CLUSTER, "Ready", ("False", Why.AUTH_FAILED)),
        (replace(VIEW, missing_rights=("pveum acl ...",)), CLUSTER, "Connected", ("False", Why.PERMISSION_MISSING)),
        (replace(VIEW, seen=replace(SEEN, quorate=False)), CLUSTER, "Quorate", ("False", Why.NO_QUORUM)),
        (replace(VIEW, seen=replace(SEEN, quorate=False)), CLUSTER, "Ready", ("False", Why.NO_QUORUM)),
        (replace(VIEW, seen_age_seconds=60.0), CLUSTER, "Fresh", ("True", Why.FRESH)),
        (replace(VIEW, seen_age_seconds=60.1), CLUSTER, "Fresh", ("False", Why.STALE)),
        (replace(VIEW, seen=None, plan=None), CLUSTER, "Quorate", ("Unknown", Why.STALE)),
        (replace(VIEW, armed=NO_QUORUM), CLUSTER, "Armed", ("False", Why.NO_QUORUM)),
        (replace(VIEW, insecure=True), CLUSTER, "InsecureTransport", ("True", Why.TLS_FAILED)),
        (
            replace(VIEW, seen=replace(SEEN, ha_balances=True)),
            CLUSTER,
            "ExternalBalancerDetected",
            ("True", Why.HA_BALANCES),
        ),
        (VIEW, ObjectRef("PveNode", "pve2"), "Ready", ("True", Why.AS_EXPECTED)),
        (VIEW, ObjectRef("PveNode", "pve2"), "Schedulable", ("True", Why.IN_SERVICE)),
        (VIEW, ObjectRef("PveNode", "pve2"), "Drained", ("False", Why.IN_SERVICE)),
        (VIEW, ObjectRef("PveNode", "pve1"), "Schedulable", ("False", Why.CORDONED)),
        (VIEW, ObjectRef("PveNode", "pve1"), "Draining", ("True", Why.DRAINING)),
        (emptied(), ObjectRef("PveNode", "pve1"), "Drained", ("True", Why.DRAINED)),
        (VIEW, LABEL, "Accepted", ("True", Why.ACCEPTED)),
        (VIEW, LABEL, "Draining", ("True", Why.DRAINING)),
        (VIEW, LABEL, "Blocked", ("True", Why.DRAIN_BLOCKED)),
        (VIEW, LABEL, "Drained", ("False", Why.DRAINING)),
        (with_drain(remaining=(Vmid(105),), moving=()), LABEL, "Drained", ("False", Why.DRAIN_BLOCKED)),
        (with_drain(hold=Why.TOO_MANY_UNAVAILABLE), LABEL, "Draining", ("False", Why.TOO_MANY_UNAVAILABLE)),
        (with_drain(hold=Why.SUSPENDED), LABEL, "Drained", ("False", Why.SUSPENDED)),
        (emptied(), LABEL, "Draining", ("False", Why.DRAINED)),
        (emptied(), LABEL, "Blocked", ("False", Why.AS_EXPECTED)),
        (emptied(), LABEL, "Drained", ("True", Why.DRAINED)),
        (replace(emptied(), seen_age_seconds=61.0), LABEL, "Drained", ("Unknown", Why.STALE)),
        (with_drain(mode=DrainMode.CORDON), LABEL, "Drained", ("False", Why.CORDONED)),
        (VIEW, APART, "Accepted", ("True", Why.ACCEPTED)),
        (VIEW, APART, "Compliant", ("False", Why.VIOLATED)),
        (replace(VIEW, plan=replace(PLAN, violations=())), APART, "Compliant", ("True", Why.COMPLIANT)),
        (NO_PLAN, APART, "Compliant", ("Unknown", Why.MODE_OBSERVE)),
        (VIEW, APART, "Progressing", ("False", Why.AS_EXPECTED)),
        (VIEW, ObjectRef("MigrationPolicy", "gentle"), "Accepted", ("True", Why.ACCEPTED)),
        (VIEW, ObjectRef("ReplicationPolicy", "pairs"), "Accepted", ("True", Why.ACCEPTED)),
    ],
)
def test_a_condition_says_what_is(view: ClusterView, ref: ObjectRef, type_: str, expected: tuple[str, str]) -> None:
    assert said(told(view)[ref], type_) == expected


def test_a_node_that_is_offline_is_neither_ready_nor_schedulable() -> None:
    off = replace(SEEN.nodes[PVE2], state=NodeState.OFFLINE)
    found = told(replace(VIEW, seen=replace(SEEN, nodes={**SEEN.nodes, PVE2: off})))[ObjectRef("PveNode", "pve2")]
    assert said(found, "Ready") == ("False", Why.NODE_OFFLINE)
    assert said(found, "Schedulable") == ("False", Why.NODE_OFFLINE)


def test_an_object_for_a_node_that_does_not_exist_is_not_accepted_and_names_those_that_do() -> None:
    specs = Specs.of([*SPECS, written("NodeMaintenance", "firmware", {"nodeName": "pve9"})])
    found = told(specs=specs)[FIRMWARE]
    assert said(found, "Accepted") == ("False", Why.UNKNOWN_NODE)
    condition = found.condition("Accepted")
    assert condition is not None
    assert condition.message == "no node of the cluster is called pve9; there are pve1, pve2, pve3"
    assert said(found, "Drained") == ("False", Why.AS_EXPECTED)


def test_a_broken_newest_version_is_not_accepted_and_says_where_and_what_stays() -> None:
    condition = told(problems=(PROBLEM, PROBLEM))[APART].condition("Accepted")
    assert condition is not None
    assert (condition.status, condition.reason) == (Status.FALSE, Why.INVALID)
    assert condition.message.startswith("policies/apart.yaml:9:5: spec.keepApart.maxPerDomain: has to be 1 or more")
    assert condition.message.endswith("(and 1 more); generation 3 stays in force")


def test_a_vanished_file_of_a_node_is_reported() -> None:
    found = told(vanished_nodes=("pve1",))
    assert said(found[ObjectRef("PveNode", "pve1")], "FileVanished") == ("True", Why.VANISHED_FILE)
    assert found[ObjectRef("PveNode", "pve2")].condition("FileVanished") is None


def test_time_and_generation_move_only_as_kubernetes_says() -> None:
    first = told()
    later = replace(VIEW, at=NOW + 100)
    same = told(later, previous=first)[LABEL].condition("Drained")
    flipped = told(emptied(later), previous=first)[LABEL].condition("Drained")
    assert same is not None
    assert flipped is not None
    assert (same.since, flipped.since) == (NOW, NOW + 100)
    assert told()[APART].observed_generation == 3
    assert {condition.observed_generation for condition in told()[APART].conditions} == {3}


def test_only_listed_types_are_ever_said() -> None:
    views = [VIEW, NO_PLAN, replace(VIEW, insecure=True), emptied(), with_drain(hold=Why.SUSPENDED)]
    for view in views:
        for ref, status in told(view, problems=(PROBLEM,), vanished_nodes=("pve1",)).items():
            assert {condition.type for condition in status.conditions} <= set(TYPES[ref.kind])


def test_other_clusters_objects_are_left_to_them() -> None:
    foreign = written(
        "PlacementPolicy", "elsewhere", {"clusterRef": {"name": "other"}, "guestSelector": {}, "keepApart": {}}
    )
    assert foreign.ref not in told(specs=Specs.of([*SPECS, foreign]))


def test_progress_is_counted_by_memory_and_by_what_is_on_the_wire() -> None:
    fields = told()[LABEL].fields
    # 2 GiB have left, half of 8 GiB is sent, of 2 + 8 + 8 + 48 + 1 GiB.
    assert fields["progressPercent"] == 8
    assert fields["guests"] == {"total": 5, "moved": 1, "moving": 1, "remaining": 4, "blocked": 1}
    assert fields["blockedGuests"] == [
        {
            "vmid": 105,
            "name": "build",
            "reason": "NoTargetFits",
            "message": "no node can take VM 105 build (48 GiB): pve2 has 30 GiB free",
        }
    ]
    assert fields["startTime"] == "2027-01-15T07:55:00Z"


def test_a_move_that_was_started_after_planning_counts_as_moving() -> None:
    assert told(with_drain(moving=()))[LABEL].fields["guests"] == told()[LABEL].fields["guests"]


def test_progress_survives_a_restart_and_a_guest_without_origin() -> None:
    first = told()
    # 101 has arrived meanwhile; this time no origin tells of it.
    guests = {**SEEN.guests, Vmid(101): guest(101, "db-1", PVE2, 8), Vmid(104): guest(104, "web-2", PVE2, 2)}
    view = with_drain(
        replace(VIEW, at=NOW + 50, seen=replace(SEEN, guests=guests), memory=Memory()),
        moving=(),
        remaining=(Vmid(105),),
    )
    fields = told(view, previous=first)[LABEL].fields
    assert fields["guests"] == {"total": 3, "moved": 2, "moving": 0, "remaining": 1, "blocked": 1}
    assert fields["progressPercent"] == 100 * (8 + 2) // (8 + 2 + 48)
    assert fields["startTime"] == "2027-01-15T07:55:00Z"
    done = told(emptied(replace(view, at=NOW + 90)), previous=first)[LABEL]
    assert (done.fields["progressPercent"], done.fields["drainedTime"]) == (100, "2027-01-15T08:01:30Z")
    later = told(emptied(replace(view, at=NOW + 900)), previous={LABEL: ObjectStatus(done.conditions)})[LABEL]
    assert later.fields["drainedTime"] == "2027-01-15T08:01:30Z", "the store keeps conditions, not fields"


@pytest.mark.parametrize(
    ("remaining", "drained", "percent"), [((), False, 99), ((), True, 100), ((Vmid(105),), False, 4)]
)
def test_a_hundred_percent_is_left_to_a_node_that_is_seen_empty(
    remaining: tuple[Vmid, ...], drained: bool, percent: int
) -> None:
    view = with_drain(moving=(), remaining=remaining, blocked=(), drained=drained)
    assert told(view)[LABEL].fields["progressPercent"] == percent


def test_guests_without_memory_count_by_heads() -> None:
    guests = {vmid: replace(item, memory_bytes=None) for vmid, item in SEEN.guests.items()}
    guests[Vmid(104)] = replace(guests[Vmid(104)], node=PVE2)
    view = with_drain(
        replace(VIEW, seen=replace(SEEN, guests=guests), progress={}), moving=(), remaining=(Vmid(101),), blocked=()
    )
    assert told(view)[LABEL].fields["progressPercent"] == 50


def test_a_deleted_guest_has_not_moved() -> None:
    guests = {vmid: item for vmid, item in SEEN.guests.items() if vmid != 104}
    assert told(replace(VIEW, seen=replace(SEEN, guests=guests)))[LABEL].fields["guests"] == {
        "total": 4, "moved": 0, "moving": 1, "remaining": 4, "blocked": 1,
    }  # fmt: skip


def test_many_blocked_guests_are_told_in_one_line() -> None:
    assert PLAN.blocked[0].vmid == 105
    many = tuple(replace(PLAN.blocked[0], vmid=Vmid(vmid)) for vmid in (101, 102, 103, 104))
    locked = replace(PLAN.blocked[0], vmid=Vmid(105), why=Why.GUEST_LOCKED)
    condition = told(with_drain(blocked=(locked, *many)))[LABEL].condition("Blocked")
    assert condition is not None
    assert condition.message == (
        "4 guests NoTargetFits (101 db-1, 102 db-2, 103 web-1 and 1 more); 1 guest GuestLocked (105 build)"
    )


def test_an_explicit_maintenance_of_two_nodes_is_drained_when_both_are() -> None:
    specs = Specs.of([*SPECS, written("NodeMaintenance", "firmware", {"nodeSelector": {}})])
    one = Drain(FIRMWARE, PVE1, DrainMode.EVACUATE, (), (), (), (), 0, drained=True)
    two = replace(one, node=NodeName("pve2"), remaining=(Vmid(103),), drained=False)
    half = told(replace(VIEW, plan=replace(PLAN, drains=(one, two))), specs)[FIRMWARE]
    both = told(replace(VIEW, plan=replace(PLAN, drains=(one, replace(one, node=PVE2)))), specs)[FIRMWARE]
    assert said(half, "Drained") == ("False", Why.DRAINING)
    assert said(both, "Drained") == ("True", Why.DRAINED)


def test_rights_that_are_missing_are_told_with_what_they_are_for_and_the_lines_that_grant_them() -> None:
    view = replace(VIEW, lacking=("VM.Audit on /vms (to see guests)",), missing_rights=("pveum one", "pveum two"))
    condition = told(view)[CLUSTER].condition("Connected")
    assert condition is not None
    assert condition.message == (
        "the token lacks VM.Audit on /vms (to see guests); an administrator grants that with: pveum one; pveum two"
    )


def test_a_policy_says_whether_pve_ha_has_its_rule() -> None:
    assert VIEW.plan is not None
    state = RuleState(APART, False, Why.NOT_SUPPORTED, "before 9.0")
    view = replace(VIEW, plan=replace(VIEW.plan, ha=Coordination(states=(state,))))
    assert said(told(view)[APART], "WrittenToHa") == ("False", "NotSupported")
    refused = replace(view, ha_refused={APART: Finding(False, Why.PERMISSION_MISSING, "403")})
    assert said(told(refused)[APART], "WrittenToHa") == ("False", "PermissionMissing")
    assert not [each for each in told(VIEW)[APART].conditions if each.type == "WrittenToHa"]
