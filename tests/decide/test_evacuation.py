"""A node in maintenance: everything leaves, or is named."""

from dataclasses import replace
from typing import Any

import pytest

from controller.decide import decide
from controller.model.ids import GuestIdentity, GuestKind, NodeName, ObjectRef, Upid, Vmid
from controller.model.memory import Backoff, Begun, Halted
from controller.model.observed import Guest, HaNodeState, NodeState, Power, ReplicationJob, Task
from controller.model.plan import Blocked, DrainMode, Lane, Plan, PowerVerb, Waiting
from controller.model.reasons import Why
from controller.model.replication import ReplicationState
from controller.specs import Resource
from tests.decide.build import (
    AT,
    apart,
    cluster,
    flight,
    guest,
    in_maintenance,
    maintenance,
    memory,
    migration,
    node,
    only_on,
    origin,
    pve_node,
    seen,
    specs,
)

THREE = [node("pve1"), node("pve2"), node("pve3")]
MAINTENANCE = ObjectRef("NodeMaintenance", "m")


def drained(who: Guest, *more: Resource, **template: Any) -> Plan:
    """The plan for one guest on pve1, which has an explicit maintenance of these settings."""
    return decide(specs(maintenance("m", "pve1", **template), *more), seen(THREE, [who]), memory())


TREATMENTS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("a running VM leaves live", {}, {}, "moves online"),
    ("a paused VM leaves live", {"power": Power.PAUSED}, {}, "moves online"),
    ("a stopped VM leaves offline", {"power": Power.STOPPED}, {}, "moves"),
    ("a stopped VM stays when asked", {"power": Power.STOPPED}, {"includeStopped": False}, "stays"),
    ("a template stays", {"power": Power.STOPPED, "template": True}, {}, "stays"),
    ("a template leaves when asked", {"power": Power.STOPPED, "template": True}, {"includeTemplates": True}, "moves"),
    ("a running container is restarted", {"kind": GuestKind.LXC}, {}, "moves restart"),
    ("a running container is blocked", {"kind": GuestKind.LXC}, {"containers": "Block"}, "ContainerNeedsRestart"),
    ("a stopped container leaves", {"kind": GuestKind.LXC, "power": Power.STOPPED}, {"containers": "Block"}, "moves"),
    ("a guest is skipped", {}, {"defaultBehavior": "Skip"}, "stays"),
    ("a guest that can't move stays", {"lock": "", "gib": None}, {"defaultBehavior": "MigrateIfPossible"}, "stays"),
    ("a locked guest waits", {"lock": "backup"}, {}, "GuestLocked"),
    (
        "a locked guest waits, optional or not",
        {"lock": "backup"},
        {"defaultBehavior": "MigrateIfPossible"},
        "GuestLocked",
    ),
    ("a guest of unknown size is blocked", {"gib": None}, {}, "SizeUnknown"),
    ("a guest too big is blocked", {"gib": 65}, {}, "NoTargetFits"),
    ("an HA guest leaves", {"ha_state": "started"}, {}, "moves online"),
    ("an HA guest in motion is left alone", {"ha_state": "migrate"}, {}, "flying"),
    ("an unsettled HA guest waits", {"ha_state": "request_stop"}, {}, "HaUnsettled"),
    ("an HA guest in error is blocked", {"ha_state": "error"}, {}, "HaUnsettled"),
    ("an unmanaged guest is named, never moved", {"tags": ("unmanaged",)}, {}, "Unmanaged"),
    ("a stopped unmanaged guest stays", {"tags": ("unmanaged",), "power": Power.STOPPED}, {}, "stays"),
    ("nothing starts while suspended", {}, {"suspend": True}, "Suspended"),
    ("a guest under another's migration lock flies", {"lock": "migrate"}, {}, "flying"),
]


@pytest.mark.parametrize(
    ("guest_is", "how", "expected"), [row[1:] for row in TREATMENTS], ids=[row[0] for row in TREATMENTS]
)
def test_every_kind_of_guest_has_its_treatment(guest_is: dict[str, Any], how: dict[str, Any], expected: str) -> None:
    plan = drained(guest(101, "pve1", **guest_is), **how)
    [drain] = plan.drains
    assert _said(plan) == expected
    assert drain.empty == (expected == "stays")
    assert drain.staying == ((101,) if expected == "stays" else ())
    assert drain.remaining == (() if expected == "stays" else (101,))


def _said(plan: Plan) -> str:
    if plan.flying:
        return "flying"
    words: list[Waiting | Blocked] = [*plan.waiting, *plan.blocked]
    for word in words:
        assert word.message
        return word.why.value
    for move in plan.moves:
        assert move.lane is Lane.DRAIN
        assert move.why is Why.NODE_MAINTENANCE
        options = " online" if move.options.online else " restart" if move.options.restart else ""
        return "moves" + options
    return "stays"


METHODS = [
    ({}, "Live", "moves online"),
    ({}, "Offline", "OfflineOnly"),
    ({"power": Power.STOPPED}, "Offline", "moves"),
    ({"kind": GuestKind.LXC}, "Live", "LiveNotPossible"),
    ({"kind": GuestKind.LXC}, "LiveIfPossible", "moves restart"),
]


@pytest.mark.parametrize(("guest_is", "method", "expected"), METHODS)
def test_the_method_of_the_migration_policy_counts(guest_is: dict[str, Any], method: str, expected: str) -> None:
    assert _said(drained(guest(101, "pve1", **guest_is), migration("p", method=method))) == expected


def test_the_winning_migration_policy_is_frozen_into_the_move() -> None:
    low = migration("a", {"vmids": [101]}, bandwidthLimitMiBps=1)
    vague = migration("b", {"types": ["qemu"]}, priority=5, bandwidthLimitMiBps=2)
    exact = migration("c", {"vmids": [101]}, priority=5, bandwidthLimitMiBps=3)
    twin = migration("d", {"vmids": [101]}, priority=5, bandwidthLimitMiBps=4)
    off = migration("e", {"vmids": [101]}, priority=9, bandwidthLimitMiBps=5, suspend=True)
    [move] = drained(guest(101, "pve1"), low, vague, exact, twin, off).moves
    assert (move.options.policy, move.options.bandwidth_limit_mib_s) == ("c", 3)


# Who wants it


@pytest.mark.parametrize(
    ("word", "mode"),
    [
        ("true", DrainMode.EVACUATE),
        ("evacuate", DrainMode.EVACUATE),
        ("cordon", DrainMode.CORDON),
        ("false", None),
        # Words under a label of one's own are not checked when the file is read.
        ("True", DrainMode.EVACUATE),
        ("yes", DrainMode.CORDON),  # means nothing: the harmless half
        ("", None),
    ],
)
def test_the_label_of_a_node_implies_its_maintenance(word: str, mode: DrainMode | None) -> None:
    settings = cluster(maintenance={"labelKey": "acme/away"})
    labelled = pve_node("pve1", {"acme/away": word})
    plan = decide(specs(settings, labelled), seen(THREE, [guest(101, "pve1")]), memory())
    assert [(drain.mode, str(drain.ref)) for drain in plan.drains] == (
        [(mode, "NodeMaintenance/label-pve1")] if mode else []
    )
    assert bool(plan.moves) == (mode is DrainMode.EVACUATE)


def test_the_label_key_and_the_template_are_the_clusters() -> None:
    settings = cluster(maintenance={"labelKey": "acme/away", "template": {"containers": "Block", "reason": "firmware"}})
    ours, not_ours = pve_node("pve1", {"acme/away": "true"}), in_maintenance("pve2")
    look = seen(THREE, [guest(101, "pve1", kind=GuestKind.LXC)])
    plan = decide(specs(settings, ours, not_ours), look, memory())
    assert [(drain.node, drain.reason) for drain in plan.drains] == [("pve1", "firmware")]
    assert _said(plan) == "ContainerNeedsRestart"


def test_an_explicit_maintenance_wins_over_the_label() -> None:
    both = specs(in_maintenance("pve1"), maintenance("m", "pve1", mode="Cordon"))
    [drain] = decide(both, seen(THREE, [guest(101, "pve1")]), memory()).drains
    assert (str(drain.ref), drain.mode, drain.drained) == ("NodeMaintenance/m", DrainMode.CORDON, False)


def test_of_two_explicit_maintenances_the_stronger_wins() -> None:
    both = specs(maintenance("a", "pve1", mode="Cordon"), maintenance("b", "pve1"), maintenance("c", "pve1"))
    [drain] = decide(both, seen(THREE, []), memory()).drains
    assert str(drain.ref) == "NodeMaintenance/b"


@pytest.mark.parametrize("follow", [True, False])
def test_a_node_in_ha_maintenance_counts_as_labelled(follow: bool) -> None:
    look = seen(
        [node("pve1", ha=HaNodeState.MAINTENANCE), node("pve2")],
        [guest(101, "pve1"), guest(102, "pve1", ha_state="started")],
    )
    plan = decide(specs(cluster(maintenance={"followHaMaintenance": follow})), look, memory())
    assert [move.vmid for move in plan.moves] == ([101] if follow else [])
    # PVE HA moves its own guests; two hands on one guest would be one too many.
    assert [(w.vmid, w.why) for w in plan.waiting] == ([(102, Why.HA_UNSETTLED)] if follow else [])


def test_a_maintenance_of_an_unknown_node_harms_nobody() -> None:
    plan = decide(specs(maintenance("m", "pve9")), seen(THREE, [guest(101, "pve1")]), memory())
    assert (plan.drains, plan.moves, set(plan.fine)) == ((), (), {101})


# Targets


def test_nothing_goes_where_it_would_have_to_leave_again() -> None:
    nodes = [node("pve1"), node("pve2"), node("pve3"), node("pve4"), node("pve5", state=NodeState.OFFLINE)]
    nodes += [node("pve6", ha=HaNodeState.MAINTENANCE), node("pve7", ha=HaNodeState.FENCE), node("pve8", 1)]
    wanted = specs(
        cluster(safety={"maxUnavailableNodes": 9}),
        in_maintenance("pve1"),
        in_maintenance("pve2", "cordon"),
        pve_node("pve3", unschedulable=True),
        maintenance("m", "pve4", suspend=True),
    )
    [word] = decide(wanted, seen(nodes, [guest(101, "pve1", 2)]), memory()).blocked
    assert word.why is Why.NO_TARGET_FITS
    for reason in (
        "pve2 is cordoned (NodeMaintenance/label-pve2)",
        "pve3 is unschedulable (PveNode/pve3)",
        "pve4 is in maintenance (NodeMaintenance/m)",
        "pve5 is offline",
        "pve6 is in PVE HA maintenance",
        "pve7 is in HA state fence",
        "pve8 has 1 GiB of 1 GiB free",
    ):
        assert reason in word.message
    assert "VM 101 g101 (2 GiB)" in word.message
    assert word.remedy


def test_musts_hold_during_a_drain() -> None:
    look = seen(THREE, [guest(101, "pve1"), guest(102, "pve1"), guest(103, "pve2")])
    plan = decide(
        specs(in_maintenance("pve1"), apart("web", 101, 103), only_on("lic", ["pve1", "pve2"], 102)), look, memory()
    )
    assert [(move.vmid, move.target) for move in plan.moves] == [(101, "pve3"), (102, "pve2")]


@pytest.mark.parametrize("override", [False, True])
def test_only_override_must_breaks_a_must(override: bool) -> None:
    look = seen(THREE[:2], [guest(101, "pve1"), guest(102, "pve1"), guest(103, "pve2")])
    wanted = specs(
        maintenance("m", "pve1", overrideMust=override), apart("web", 101, 103), only_on("lic", ["pve1"], 102)
    )
    plan = decide(wanted, look, memory())
    assert plan.unsafe == ()
    assert [move.vmid for move in plan.moves] == ([101, 102] if override else [])
    assert [word.vmid for word in plan.blocked] == ([] if override else [101, 102])


def test_policies_that_allow_no_node_are_named() -> None:
    [word] = drained(guest(101, "pve1"), only_on("a", ["pve9"], 101, correctExisting=False)).blocked
    assert word.why is Why.NO_NODE_ALLOWED
    assert "PlacementPolicy/a" in word.message


def test_of_policies_that_allow_no_node_together_one_gives_way() -> None:
    rules = (only_on("a", ["pve1"], 101, correctExisting=False), only_on("b", ["pve2"], 101, correctExisting=False))
    plan = drained(guest(101, "pve1"), *rules)
    assert [conflict.loser.name for conflict in plan.conflicts] == ["b"]
    [word] = plan.blocked
    assert "pve2 is ruled out by PlacementPolicy/a" in word.message


def test_a_group_that_shares_the_drained_node_is_spread() -> None:
    look = seen(THREE, [guest(101, "pve1"), guest(102, "pve1")])
    plan = decide(specs(in_maintenance("pve1"), apart("web", 101, 102)), look, memory())
    assert sorted(move.target for move in plan.moves) == ["pve2", "pve3"]


def test_inside_an_overfull_rack_a_drain_may_move_guests_because_nothing_gets_worse() -> None:
    racks = [pve_node("pve1", {"rack": "a", "drover.dev/maintenance": "true"}), pve_node("pve2", {"rack": "a"})]
    look = seen([node("pve1"), node("pve2"), node("pve3", 1)], [guest(101, "pve1"), guest(102, "pve2")])
    plan = decide(
        specs(*racks, pve_node("pve3", {"rack": "b"}), apart("web", 101, 102, topologyKey="rack")), look, memory()
    )
    assert [(move.vmid, move.target) for move in plan.moves] == [(101, "pve2")]
    assert plan.unsafe == ()


def test_preference_comes_first_then_the_node_that_stays_emptiest() -> None:
    nodes = [node("pve1"), node("pve2", 32), node("pve3", 64), node("pve4", 48)]
    look = seen(nodes, [guest(101, "pve1"), guest(102, "pve1", 5)])
    plan = decide(specs(in_maintenance("pve1"), only_on("order", ["pve4", "pve2"], 101)), look, memory())
    assert {move.vmid: move.target for move in plan.moves} == {101: "pve4", 102: "pve3"}


def test_a_drained_guest_goes_home_when_its_home_is_back() -> None:
    who = guest(101, "pve1")
    look = seen([node("pve1"), node("pve2", 512), node("pve3", 16)], [who])
    [move] = decide(specs(in_maintenance("pve1")), look, memory(origins={101: origin(who, "pve3")})).moves
    assert (move.target, move.returns) == ("pve3", False)


@pytest.mark.parametrize(
    ("after", "ha", "remembered"), [("Return", "", True), ("Stay", "", False), ("Return", "started", False)]
)
def test_only_a_guest_that_shall_return_is_remembered(after: str, ha: str, remembered: bool) -> None:
    [move] = drained(guest(101, "pve1", ha_state=ha), afterMaintenance=after).moves
    assert move.returns == remembered


def test_a_running_replicated_vm_goes_only_where_its_replica_is() -> None:
    jobs = (ReplicationJob("101-0", Vmid(101), NodeName("pve3"), NodeName("pve1"), "*/15", False, False, ""),)
    look = seen([node("pve1"), node("pve2", 512), node("pve3")], [guest(101, "pve1")], jobs=jobs)
    [move] = decide(specs(in_maintenance("pve1")), look, memory()).moves
    assert (move.target, move.options.with_local_disks) == ("pve3", True)


# What was before


@pytest.mark.parametrize(
    ("failures", "until", "expected"),
    [
        (1, AT + 5, "BackingOff"),
        (1, AT, "moves online"),
        (5, AT - 1, "moves online"),
        (6, AT - 1, "RetryLimit"),  # the first attempt and five more
        (0, AT + 5, "LocalDisk"),  # the second look found an obstacle
        (0, AT - 5, "moves online"),
    ],
)
def test_failures_are_remembered(failures: int, until: float, expected: str) -> None:
    who = guest(101, "pve1")
    backoff = Backoff(who.identity, failures, until, Why.LOCAL_DISK, "scsi0 is local")
    plan = decide(specs(in_maintenance("pve1")), seen(THREE, [who]), memory(backoffs={101: backoff}))
    assert _said(plan) == expected


def test_failures_of_another_guest_of_the_same_number_mean_nothing() -> None:
    who = guest(101, "pve1")
    backoff = Backoff(GuestIdentity(Vmid(101), GuestKind.QEMU, "ctime:1"), 9, AT + 5, Why.MIGRATION_FAILED, "x")
    plan = decide(specs(in_maintenance("pve1")), seen(THREE, [who]), memory(backoffs={101: backoff}))
    assert _said(plan) == "moves online"


def test_a_guest_that_an_earlier_move_left_locked_is_stuck_not_waiting() -> None:
    who = guest(101, "pve1", lock="migrate-left")
    backoff = Backoff(who.identity, 1, AT - 5, Why.LOCK_LEFT_BEHIND, "the lock is still there")
    plan = decide(specs(in_maintenance("pve1")), seen(THREE, [who]), memory(backoffs={101: backoff}))
    assert _said(plan) == "GuestStuck"


# Many nodes


def test_a_second_maintenance_waits_for_the_first() -> None:
    look = seen([*THREE, node("pve4")], [guest(101, "pve1"), guest(102, "pve2"), guest(103, "pve2")])
    plan = decide(specs(in_maintenance("pve1"), in_maintenance("pve2")), look, memory())
    assert [move.vmid for move in plan.moves] == [101]
    assert {w.why for w in plan.waiting} == {Why.TOO_MANY_UNAVAILABLE}
    assert [drain.hold for drain in plan.drains] == [None, Why.TOO_MANY_UNAVAILABLE]
    assert "label-pve1" in plan.drains[1].message


def test_the_maintenance_that_has_begun_goes_on() -> None:
    ref = ObjectRef("NodeMaintenance", "label-pve2")
    gone = guest(104, "pve3")
    look = seen([*THREE, node("pve4")], [guest(101, "pve1"), guest(102, "pve2"), guest(103, "pve2"), gone])
    begun = memory(origins={104: origin(gone, "pve2", maintenance=ref)})
    plan = decide(specs(in_maintenance("pve1"), in_maintenance("pve2")), look, begun)
    assert {move.vmid for move in plan.moves} == {102, 103}


@pytest.mark.parametrize(("most", "moves"), [(1, 0), (2, 1)])
def test_an_offline_node_counts_as_unavailable(most: int, moves: int) -> None:
    look = seen([node("pve1"), node("pve2"), node("pve3", state=NodeState.OFFLINE)], [guest(101, "pve1")])
    settings = cluster(safety={"maxUnavailableNodes": most})
    plan = decide(specs(settings, in_maintenance("pve1")), look, memory())
    assert len(plan.moves) == moves
    assert moves or "pve3 is offline" in plan.waiting[0].message


def test_a_node_that_reboots_in_its_own_maintenance_stays_drained() -> None:
    look = seen([node("pve1", state=NodeState.OFFLINE), node("pve2")], [guest(101, "pve2")])
    seen_empty = replace(memory(), emptied=frozenset({NodeName("pve1")}))
    [drain] = decide(specs(in_maintenance("pve1")), look, seen_empty).drains
    assert drain.drained
    assert drain.hold is None


def test_guests_of_an_offline_node_are_blocked_not_moved() -> None:
    look = seen([node("pve1", state=NodeState.OFFLINE), node("pve2")], [guest(101, "pve1")])
    plan = decide(specs(in_maintenance("pve1")), look, memory())
    assert _said(plan) == "NodeOffline"
    assert not plan.drains[0].drained


# Drained


def test_a_node_is_not_drained_while_anything_flies_from_or_to_it() -> None:
    away, coming = guest(101, "pve2"), guest(102, "pve2")
    look = seen(THREE, [away, coming])
    for flying in (flight(away, "pve2", source="pve1"), flight(coming, "pve1")):
        [drain] = decide(specs(in_maintenance("pve1")), look, memory([flying])).drains
        assert not drain.drained
        assert drain.remaining == ()


def test_somebody_elses_migration_may_be_on_its_way_to_the_node() -> None:
    running = Task(Upid("UPID:x"), NodeName("pve2"), "qmigrate", "101", "root@pam", 0, running=True)
    wanted = specs(in_maintenance("pve1"))
    assert not decide(wanted, seen(THREE, [guest(101, "pve2")], tasks=(running,)), memory()).drains[0].empty
    # A lock that was left behind is no migration: it must not keep every node of the cluster from being drained.
    assert decide(wanted, seen(THREE, [guest(101, "pve2", lock="migrate")]), memory()).drains[0].empty


def test_a_node_is_drained_when_it_was_empty_twice() -> None:
    wanted, look = specs(in_maintenance("pve1")), seen(THREE, [guest(101, "pve2")])
    [once] = decide(wanted, look, memory()).drains
    assert (once.empty, once.drained, once.message) == (
        True,
        False,
        "pve1 seems to be empty, but is looked at once more",
    )
    [twice] = decide(wanted, look, replace(memory(), emptied=frozenset({NodeName("pve1")}))).drains
    assert (twice.drained, twice.message) == (True, "nothing that has to leave is on pve1")


@pytest.mark.parametrize(("task", "empty"), [("vzdump", False), ("imgcopy", False), ("vncproxy", True)])
def test_a_node_on_which_a_task_runs_is_not_safe_to_service(task: str, empty: bool) -> None:
    running = Task(Upid("UPID:x"), NodeName("pve1"), task, "", "root@pam", 0, running=True)
    look = seen(THREE, [guest(101, "pve2")], tasks=(running,))
    [drain] = decide(specs(in_maintenance("pve1")), look, memory()).drains
    assert drain.empty is empty
    assert empty or drain.message == f"pve1 seems to be empty, but tasks still run on it ({task})"


def test_a_node_to_which_a_replica_is_being_written_is_not_safe_to_service() -> None:
    state = ReplicationState("101-0", Vmid(101), NodeName("pve2"), NodeName("pve1"), AT, pid=7)
    look = seen(THREE, [guest(101, "pve2")], states={"101-0": state})
    [drain] = decide(specs(in_maintenance("pve1")), look, memory()).drains
    assert (drain.empty, "being written to it (101-0)" in drain.message) == (False, True)
    [idle] = decide(
        specs(in_maintenance("pve1")), replace(look, states={"101-0": replace(state, pid=None)}), memory()
    ).drains
    assert idle.empty


# Rules of a maintenance


def rule(behavior: str, order: int = 0, **selector: Any) -> dict[str, Any]:
    return {"guestSelector": selector, "behavior": behavior, "order": order}


def test_the_first_rule_that_matches_says_what_happens_and_the_default_all_else() -> None:
    rules = [rule("Skip", vmids=[101]), rule("Migrate", vmids=[101, 102])]
    look = seen(THREE, [guest(vmid, "pve1") for vmid in (101, 102, 103)])
    plan = decide(specs(maintenance("m", "pve1", rules=rules, defaultBehavior="Skip")), look, memory())
    assert [move.vmid for move in plan.moves] == [102]
    assert plan.drains[0].staying == (101, 103)


def test_guests_of_a_lower_order_leave_first_and_those_that_are_blocked_hold_nobody_up() -> None:
    rules = [rule("Migrate", 1, vmids=[102]), rule("Migrate", -1, vmids=[101, 104])]
    wanted = specs(maintenance("m", "pve1", rules=rules))
    big = guest(104, "pve1", 100)
    guests = [guest(101, "pve1"), guest(102, "pve1"), guest(103, "pve1"), big]
    plan = decide(wanted, seen(THREE, guests), memory())
    assert [move.vmid for move in plan.moves] == [101]
    assert {(word.vmid, word.why) for word in plan.waiting} == {(102, Why.LEAVES_LATER), (103, Why.LEAVES_LATER)}
    assert "after VM 101" in plan.waiting[0].message
    # In flight it still holds the others up; blocked, as 104 is, it does not.
    flying = decide(wanted, seen(THREE, guests), memory([flight(guests[0], "pve2")]))
    assert not flying.moves
    after = decide(wanted, seen(THREE, [guest(101, "pve2"), *guests[1:]]), memory())
    assert [move.vmid for move in after.moves] == [103]


def test_a_guest_is_shut_down_only_when_a_rule_says_so_and_asked_once() -> None:
    wanted = specs(maintenance("m", "pve1", rules=[rule("Shutdown", vmids=[101])]))
    who = guest(101, "pve1")
    plan = decide(wanted, seen(THREE, [who]), memory())
    assert [(action.verb, action.vmid, action.node) for action in plan.power] == [(PowerVerb.SHUTDOWN, 101, "pve1")]
    assert (_said(plan), plan.moves, plan.unsafe) == ("ShuttingDown", (), ())
    asked = replace(
        memory(),
        halted={Vmid(101): Halted(who.identity, "x", NodeName("pve1"), MAINTENANCE, False, AT - 10, sent=True)},
    )
    plan = decide(wanted, seen(THREE, [who]), asked)
    assert (plan.power, _said(plan)) == ((), "ShuttingDown")
    paused = decide(wanted, seen(THREE, [guest(101, "pve1", power=Power.PAUSED)]), memory())
    assert (paused.power, _said(paused)) == ((), "DidNotShutDown")
    # Drover ended between the intent and the call, or the answer was lost: it is asked for again.
    unsure = replace(asked, halted={v: replace(noted, sent=False) for v, noted in asked.halted.items()})
    assert [action.verb for action in decide(wanted, seen(THREE, [who]), unsure).power] == [PowerVerb.SHUTDOWN]
    late = replace(
        memory(),
        halted={Vmid(101): Halted(who.identity, "x", NodeName("pve1"), MAINTENANCE, False, AT - 301, sent=True)},
    )
    plan = decide(wanted, seen(THREE, [who]), late)
    assert (plan.power, _said(plan)) == ((), "DidNotShutDown")
    down = decide(wanted, seen(THREE, [guest(101, "pve1", power=Power.STOPPED)]), asked)
    assert (down.power, down.moves, down.drains[0].staying, down.drains[0].empty) == ((), (), (101,), True)


def test_what_was_shut_down_for_a_maintenance_is_started_when_it_is_over() -> None:
    who = guest(101, "pve1", power=Power.STOPPED)
    noted = Halted(who.identity, "x", NodeName("pve1"), MAINTENANCE, False, AT - 1000, sent=True)
    asked = replace(memory(), halted={Vmid(101): noted})
    plan = decide(specs(), seen(THREE, [who]), asked)
    assert [(action.verb, action.vmid) for action in plan.power] == [(PowerVerb.START, 101)]
    assert _said(plan) == "StartingAgain"
    again = replace(memory(), halted={Vmid(101): replace(noted, started_at=AT - 5)})
    assert (decide(specs(), seen(THREE, [who]), again).power, _said(decide(specs(), seen(THREE, [who]), again))) == (
        (),
        "StartingAgain",
    )
    never = replace(memory(), halted={Vmid(101): replace(noted, started_at=AT - 121)})
    assert _said(decide(specs(), seen(THREE, [who]), never)) == "DidNotStart"
    running = decide(specs(), seen(THREE, [guest(101, "pve1")]), asked)
    assert (running.power, running.forget_halted) == ((), (101,))
    other = replace(
        memory(), halted={Vmid(101): replace(noted, identity=GuestIdentity(Vmid(101), GuestKind.QEMU, "ctime:1"))}
    )
    assert decide(specs(), seen(THREE, [who]), other).forget_halted == (101,)


def test_what_was_shut_down_is_started_where_another_maintenance_of_its_node_moved_it() -> None:
    who = guest(101, "pve2", power=Power.STOPPED)
    asked = replace(
        memory(),
        halted={Vmid(101): Halted(who.identity, "x", NodeName("pve1"), MAINTENANCE, False, AT - 1000, sent=True)},
    )
    same = decide(specs(maintenance("m", "pve1")), seen(THREE, [who]), asked)
    assert same.power == (), "its own maintenance is not over"
    other = decide(specs(maintenance("other", "pve1")), seen(THREE, [who]), asked)
    assert [(action.verb, action.node) for action in other.power] == [(PowerVerb.START, "pve2")]


def test_the_room_of_who_is_started_again_is_kept_free() -> None:
    who = guest(101, "pve1", 40, power=Power.STOPPED)
    asked = replace(
        memory(),
        halted={Vmid(101): Halted(who.identity, "x", NodeName("pve1"), MAINTENANCE, False, AT - 1000, sent=True)},
    )
    leaving = [guest(102, "pve2", 40), guest(103, "pve3", 40)]
    plan = decide(specs(maintenance("other", "pve2")), seen(THREE, [who, *leaving]), asked)
    assert [(action.verb, action.node) for action in plan.power] == [(PowerVerb.START, "pve1")]
    assert (plan.all_moves, plan.blocked[0].why) == ((), Why.NO_TARGET_FITS)


def test_a_guest_that_restarts_elsewhere_is_moved_while_it_is_down_and_started_there() -> None:
    wanted = specs(maintenance("m", "pve1", defaultBehavior="ShutdownAndRestartElsewhere", includeStopped=False))
    who = guest(101, "pve1", 40)
    first = decide(wanted, seen(THREE, [who]), memory())
    assert [(a.verb, a.elsewhere) for a in first.power] == [(PowerVerb.SHUTDOWN, True)]
    asked = replace(
        memory(), halted={Vmid(101): Halted(who.identity, "x", NodeName("pve1"), MAINTENANCE, True, AT - 10, sent=True)}
    )
    full = [guest(102, "pve2", 30), guest(103, "pve3", 10)]
    [move] = decide(wanted, seen(THREE, [guest(101, "pve1", 40, power=Power.STOPPED), *full]), asked).moves
    assert (move.target, move.options.online) == ("pve3", False)  # pve2 has no room for it when it runs again
    arrived = decide(wanted, seen(THREE, [guest(101, "pve3", 40, power=Power.STOPPED)]), asked)
    assert [(a.verb, a.node) for a in arrived.power] == [(PowerVerb.START, "pve3")]
    # Nobody is shut down who has no place to go to.
    nowhere = decide(wanted, seen(THREE, [who, guest(102, "pve2", 40), guest(103, "pve3", 40)]), memory())
    assert (nowhere.power, _said(nowhere)) == ((), "NoTargetFits")
    # Nor while its place has yet to be made free.
    crowded = decide(wanted, seen(THREE, [who, guest(102, "pve2", 30), guest(103, "pve3", 30)]), memory())
    assert (crowded.power, [move.why for move in crowded.moves]) == ((), [Why.MAKES_ROOM])
    assert [(word.vmid, word.why) for word in crowded.waiting] == [(101, Why.WAITING_FOR_ROOM)]


@pytest.mark.parametrize(("spent", "action", "said"), [(599, "Hold", "moves online"), (600, "Hold", "DeadlineExceeded"),
    (600, "ShutdownRemaining", "ShuttingDown")])  # fmt: skip
def test_past_its_deadline_an_evacuation_leaves_the_rest_to_people_or_shuts_it_down(
    spent: int, action: str, said: str
) -> None:
    wanted = specs(maintenance("m", "pve1", deadlineSeconds=600, onDeadline=action))
    begun = replace(memory(), begun={NodeName("pve1"): Begun(MAINTENANCE, NodeName("pve1"), AT - spent)})
    plan = decide(wanted, seen(THREE, [guest(101, "pve1")]), begun)
    assert _said(plan) == said
    assert len(plan.power) == (said == "ShuttingDown")


@pytest.mark.parametrize(("margin", "moves"), [(0, 1), (1, 1), (2, 0)])
def test_as_many_nodes_stay_above_quorum_as_the_margin_says(margin: int, moves: int) -> None:
    look = seen([*THREE, node("pve4"), node("pve5")], [guest(101, "pve1")])
    plan = decide(specs(cluster(safety={"keepQuorumMargin": margin}), in_maintenance("pve1")), look, memory())
    assert len(plan.moves) == moves
    assert moves or "4 of 5 nodes would be left, quorum needs 3, and keepQuorumMargin is 2" in plan.waiting[0].message


def test_progress_is_counted_in_guests_and_bytes() -> None:
    flying = guest(101, "pve1", 4)
    look = seen(THREE, [flying, guest(102, "pve1", 8), guest(103, "pve1", 100)])
    [drain] = decide(specs(in_maintenance("pve1")), look, memory([flight(flying, "pve2")])).drains
    assert (drain.remaining, drain.moving, drain.remaining_bytes >> 30) == ((101, 102, 103), (101,), 112)
    assert [(word.vmid, word.why) for word in drain.blocked] == [(103, Why.NO_TARGET_FITS)]
    assert drain.message == "3 on pve1 have to leave: 1 moving, 1 blocked"


def test_an_announced_maintenance_leaves_its_node_in_service_until_then() -> None:
    early = maintenance("m", "pve1", notBefore="2099-01-01T00:00:00Z")
    plan = decide(specs(early), seen(THREE, [guest(101, "pve1")]), memory())
    assert not plan.all_moves
    assert not plan.drains


def test_a_lock_without_a_task_holds_a_guest_but_no_slot() -> None:
    """Its owner may be dead: two of them must not keep a node from being emptied."""
    guests = [guest(101, "pve1", lock="migrate"), guest(102, "pve1", lock="migrate"), guest(103, "pve1")]
    plan = decide(specs(in_maintenance("pve1")), seen(THREE, guests), memory())
    assert plan.flying == (101, 102)
    assert [move.vmid for move in plan.moves] == [103]


def test_a_lock_that_was_left_behind_is_named_and_moves_nobody() -> None:
    guests = [guest(101, "pve1", lock="migrate"), guest(103, "pve1")]
    plan = decide(specs(in_maintenance("pve1")), seen(THREE, guests, idle_locks=frozenset({Vmid(101)})), memory())
    assert [(word.vmid, word.why) for word in plan.blocked] == [(101, Why.LOCK_LEFT_BEHIND)]
    assert "no task holds it any more" in plan.blocked[0].message
    assert [move.vmid for move in plan.moves] == [103]
    assert not plan.flying
    assert not plan.unsafe
