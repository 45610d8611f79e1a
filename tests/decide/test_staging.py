"""Replicate before migrate: from what is observed of a job to what the move waits for and what is asked of the job."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from controller.decide import decide
from controller.decide.replication import verify as check
from controller.decide.verify import verify
from controller.model.ids import GuestKind, NodeName, ObjectRef, Vmid
from controller.model.memory import Memory
from controller.model.observed import Observed, Power, ReplicationJob
from controller.model.outcome import Progress
from controller.model.plan import Blocked, Plan, Waiting
from controller.model.reasons import Why
from controller.model.replication import (
    AskedSync,
    JobVerb,
    NodeClock,
    RefusedJob,
    ReplicationMemory,
    TemporaryJob,
    comment_for_move,
)
from controller.specs import Resource
from tests.decide import build
from tests.decide.build import (
    AT,
    GIB,
    guest,
    in_maintenance,
    maintenance,
    migration,
    only_on,
    pve_node,
    replication,
    specs,
)
from tests.decide.test_replication import config, disk, job, look, state, zfs

PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")
WHO = guest(101, "pve1")
DRAIN = in_maintenance("pve1")
NOW = int(AT)
OURS = job("101-0", "pve1", "pve2", comment_for_move(PVE2))
STAY = maintenance("m", "pve1", afterMaintenance="Stay")


def planned(seen: Observed, *objects: Resource, memory: Memory | None = None) -> Plan:
    plan = decide(specs(*objects), seen, memory or Memory())
    assert not plan.unsafe
    return plan


def word(plan: Plan, vmid: int = 101) -> Waiting | Blocked | None:
    words: list[Waiting | Blocked] = [*plan.waiting, *plan.blocked]
    return next((each for each in words if each.vmid == vmid), None)


def verbs(plan: Plan) -> list[str]:
    return [f"{action.verb} {action.job_id} {action.target}" for action in plan.jobs]


def standing(of: ReplicationJob = OURS, **more: Any) -> Observed:
    """The guest with one job that stands so."""
    return look([WHO], [of], states={of.id: state(of, **more)})


def asked(times: int, ago: float, at: NodeName = PVE2) -> Memory:
    known = {"101-0": AskedSync("101-0", PVE1, at, AT - ago, times)}
    return Memory(replication=ReplicationMemory(asked=known))


FIRST, LAST, FAILS = Why.FIRST_SYNC, Why.LAST_SYNC, Why.REPLICATION_FAILING
SYNC = ["SyncNow 101-0 pve2"]
TABLE: list[tuple[str, Observed, Memory | None, Why | None, list[str]]] = [
    ("no job leads there", look([WHO]), None, FIRST, ["Create 101-0 pve2"]),
    ("nobody has said how it stands", look([WHO], [OURS], states={}), None, FIRST, []),
    ("another node said it", standing(replace(OURS, source=PVE3)), None, FIRST, []),
    ("it has not begun", standing(last_sync=0, last_try=0), None, FIRST, []),
    ("it runs", standing(last_sync=0, pid=7), None, FIRST, []),
    ("it took long", standing(duration_s=300.0), None, LAST, SYNC),
    ("it took no time", standing(duration_s=8.0), None, None, []),
    ("it took no time, but long ago", standing(duration_s=8.0, last_sync=NOW - 3600), None, LAST, SYNC),
    ("it was asked for", standing(duration_s=300.0, last_try=0), asked(1, 20), LAST, []),
    ("it was asked for and runs", standing(duration_s=300.0, pid=7), asked(1, 90), LAST, []),
    ("it was asked for in vain", standing(duration_s=300.0, last_try=0), asked(1, 200), None, []),
    ("it was asked for by another move", standing(duration_s=300.0), asked(9, 500, PVE3), LAST, SYNC),
    ("it takes long every time", standing(duration_s=300.0), asked(3, 500), None, []),
    ("it failed once", standing(fail_count=1, last_sync=0, error="no"), None, FAILS, []),
    ("it fails and fails", standing(fail_count=3, last_sync=0, error="no"), None, FAILS, []),
    ("it fails and is tried again", standing(fail_count=3, last_sync=0, error="no", pid=7), None, FAILS, []),
    ("it sleeps", look([WHO], [replace(OURS, disabled=True)]), None, LAST, ["Enable 101-0 pve2"]),
    (
        "it was made for another move",
        look([WHO], [replace(OURS, comment=comment_for_move(PVE1))]),
        None,
        LAST,
        ["Update 101-0 pve2"],
    ),
    ("it is being removed", look([WHO], [replace(OURS, removing=True)]), None, FIRST, []),
    ("somebody else's", standing(job("101-0", "pve1", "pve2", "by hand"), last_sync=NOW - 9000), None, None, []),
    ("somebody else's first sync", standing(job("101-0", "pve1", "pve2", ""), last_sync=0), None, FIRST, []),
]


@pytest.mark.parametrize(("seen", "memory", "why", "wanted"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_is_observed_of_the_job_says_what_comes_next(
    seen: Observed, memory: Memory | None, why: Why | None, wanted: list[str]
) -> None:
    plan = planned(replace(seen, nodes={n: seen.nodes[n] for n in (PVE1, PVE2)}), DRAIN, memory=memory)
    found = word(plan)
    assert (found.why if found is not None else None) == why
    assert verbs(plan) == wanted
    assert [move.target for move in plan.moves] == ([] if why is not None else [PVE2])


def test_three_failures_block_and_say_what_pve_said() -> None:
    failing = word(
        planned(standing(fail_count=2, last_sync=0, error="dataset is busy"), DRAIN, only_on("x", ["pve2"], 101))
    )
    assert isinstance(failing, Waiting)
    assert "failed 2 times: dataset is busy" in failing.message
    broken = word(planned(standing(fail_count=3, last_sync=0), DRAIN, only_on("x", ["pve2"], 101)))
    assert isinstance(broken, Blocked)


def test_how_far_the_first_sync_is_comes_in_bytes() -> None:
    seen = replace(
        standing(last_sync=0, pid=7), syncs={"101-0": Progress(transferred_bytes=34 * GIB, total_bytes=100 * GIB)}
    )
    found = word(planned(seen, DRAIN))
    assert found is not None
    assert found.message == "first sync of VM 101 g101 to pve2: 34 GiB of 100 GiB"


def test_the_clock_of_the_node_counts() -> None:
    """A node that is an hour behind: what it did a minute ago looks old by our clock."""
    seen = standing(duration_s=8.0, last_sync=NOW - 3660, last_try=NOW - 3660)
    plan = planned(replace(seen, clocks={PVE1: NodeClock(-3600.0, "UTC")}), DRAIN)
    assert [move.target for move in plan.moves] == [PVE2]


def test_each_node_copies_for_one_move_at_a_time() -> None:
    guests = [guest(101, "pve1"), guest(102, "pve1"), guest(103, "pve2")]
    plan = planned(look(guests), DRAIN, in_maintenance("pve2"), build.cluster(safety={"maxUnavailableNodes": 2}))
    assert len(plan.jobs) == 2
    assert {action.source for action in plan.jobs} == {PVE1, PVE2}
    waiting = [each.message for each in plan.waiting]
    assert sum("is being copied to" in text for text in waiting) == 1


def test_the_next_copy_begins_while_the_last_changes_of_the_first_are_sent() -> None:
    seen = look([WHO, guest(102, "pve1")], [OURS], states={"101-0": state(OURS, duration_s=300.0, pid=7)})
    assert "Create 102-0" in " ".join(verbs(planned(seen, DRAIN)))


def test_a_copy_that_fails_holds_up_nobody_else() -> None:
    for failures in (1, 3):
        seen = look([WHO, guest(102, "pve1")], [OURS], states={"101-0": state(OURS, last_sync=0, fail_count=failures)})
        assert "Create 102-0" in " ".join(verbs(planned(seen, DRAIN, only_on("x", ["pve2"], 101))))


def test_a_second_opinion_about_jobs_that_are_made_for_a_move() -> None:
    asked_for = planned(look([WHO]), DRAIN)
    assert check(asked_for.jobs, specs(DRAIN), look([WHO]), asked_for.all_moves) == ()
    [told] = check(asked_for.jobs, specs(DRAIN), look([WHO]))
    assert told == "create of job 101-0: guest 101 does not move to pve2"
    seen = look([WHO], [OURS])
    ending = planned(seen).jobs
    assert check(ending, specs(), seen) == ()
    assert check(ending, specs(), seen, asked_for.all_moves) == ("remove of job 101-0: guest 101 still moves to pve2",)


def test_a_live_move_away_from_all_replicas_is_never_planned() -> None:
    fine = planned(standing(duration_s=8.0), DRAIN)
    [move] = fine.moves
    elsewhere = replace(fine, moves=(replace(move, target=PVE3),))
    [told] = verify(elsewhere, specs(DRAIN), standing(duration_s=8.0), Memory())
    assert "it is replicated, but not to the target" in told


def test_a_copy_that_is_under_way_keeps_its_target() -> None:
    for target in (PVE2, PVE3):
        own = job("101-0", "pve1", target, comment_for_move(target))
        plan = planned(look([WHO], [own], states={"101-0": state(own, last_sync=0, pid=7)}), DRAIN)
        assert (plan.jobs, [each.move.target for each in plan.waiting if each.move]) == ((), [target])


def test_a_node_with_a_replica_is_preferred() -> None:
    plan = planned(standing(job("101-0", "pve1", "pve3", "by hand")), DRAIN)
    assert [(move.target, move.message) for move in plan.moves] == [
        (PVE3, "pve1 is in maintenance; pve3 has a replica of it")
    ]


def test_the_order_of_a_policy_comes_before_replicas() -> None:
    plan = planned(standing(job("101-0", "pve1", "pve3", "by hand")), DRAIN, only_on("x", ["pve2", "pve3"], 101))
    assert verbs(plan) == ["Create 101-1 pve2"]


def test_a_target_whose_job_is_broken_gives_way() -> None:
    plan = planned(standing(fail_count=3, last_sync=0), DRAIN, pve_node("pve2", unschedulable=True))
    assert verbs(plan) == ["Create 101-1 pve3", "Remove 101-0 pve2"]


def test_what_pve_refused_is_told_instead_of_asked_for() -> None:
    refused = RefusedJob("101-0", WHO.identity, JobVerb.CREATE, PVE2, Why.PERMISSION_MISSING, "no right", 1, AT + 60)
    memory = Memory(replication=ReplicationMemory(refused={"101-0": refused}))
    plan = planned(look([WHO]), DRAIN, only_on("x", ["pve2"], 101), memory=memory)
    found = word(plan)
    assert isinstance(found, Blocked)
    assert (found.why, plan.jobs) == (Why.PERMISSION_MISSING, ())
    due = Memory(replication=ReplicationMemory(refused={"101-0": replace(refused, until=AT)}))
    again = planned(look([WHO]), DRAIN, only_on("x", ["pve2"], 101), memory=due)
    assert (word(again), verbs(again)) == (found, ["Create 101-0 pve2"])


# Kept together

TOGETHER = build.policy("pair", {"vmids": [101, 102, 103]}, keepTogether={})
REFUSED = RefusedJob(
    "102-0", guest(102, "pve1").identity, JobVerb.CREATE, PVE2, Why.PERMISSION_MISSING, "no right", 1, AT + 60
)
UNREADY = [("it waits", Memory()), ("it is blocked", Memory(replication=ReplicationMemory(refused={"102-0": REFUSED})))]


@pytest.mark.parametrize("memory", [row[1] for row in UNREADY], ids=[row[0] for row in UNREADY])
def test_who_is_kept_together_leaves_when_all_are_copied(memory: Memory) -> None:
    pair = [WHO, guest(102, "pve1")]
    seen = look(pair, [OURS], states={"101-0": state(OURS, duration_s=8.0)})
    only = only_on("x", ["pve1", "pve2"], 101, 102)
    assert [move.vmid for move in planned(seen, DRAIN, only, memory=memory).moves] == [101]
    plan = planned(seen, DRAIN, only, TOGETHER, memory=memory)
    found = word(plan)
    assert found is not None
    assert (plan.moves, found.why) == ((), Why.WAITING_FOR_PARTNER)
    assert "VM 102" in found.message
    assert verbs(plan) == ([] if memory.replication.refused else ["Create 102-0 pve2"])


def test_nobody_leaves_before_the_partner_of_a_partner_can() -> None:
    trio = [guest(vmid, "pve1") for vmid in (101, 102, 103)]
    jobs = [job(f"{vmid}-0", "pve1", "pve2", comment_for_move(PVE2)) for vmid in (101, 102)]
    seen = look(trio, jobs, states={each.id: state(each, duration_s=8.0) for each in jobs})
    chain = [build.policy(f"t{n}", {"vmids": [100 + n, 101 + n]}, keepTogether={}) for n in (1, 2)]
    plan = planned(seen, DRAIN, *chain)
    assert plan.moves == ()
    assert [each.why for each in plan.waiting] == [Why.WAITING_FOR_PARTNER, Why.WAITING_FOR_PARTNER, Why.FIRST_SYNC]


def test_a_partner_that_has_arrived_already_is_followed() -> None:
    trio = [guest(101, "pve2"), guest(102, "pve1"), guest(103, "pve1")]
    ready = job("102-0", "pve1", "pve2", comment_for_move(PVE2))
    seen = look(trio, [ready], states={"102-0": state(ready, duration_s=8.0)})
    plan = planned(seen, DRAIN, TOGETHER)
    assert [move.vmid for move in plan.moves] == [102]


# What a policy wants


def gated(gate: str, age: int, *, memory: Memory | None = None, **more: Any) -> Plan:
    kept = job("101-0", "pve1", "pve2", "managed by drover: office")
    policy = replication("office", gate=gate, freshSeconds=300)
    seen = look([WHO], [kept], states={"101-0": state(kept, last_sync=NOW - age, last_try=NOW - age, **more)})
    return planned(seen, DRAIN, policy, only_on("x", ["pve2"], 101), memory=memory)


@pytest.mark.parametrize("gate", ["PreferFresh", "RequireFresh"])
def test_an_old_replica_is_brought_up_to_date_first(gate: str) -> None:
    assert [move.target for move in gated(gate, 200).moves] == [PVE2]
    plan = gated(gate, 600)
    found = word(plan)
    assert found is not None
    assert (found.why, verbs(plan), plan.moves) == (LAST, SYNC, ())


def test_a_replica_that_can_not_be_made_fresh_holds_up_only_who_requires_it() -> None:
    assert [move.target for move in gated("Ignore", 6000).moves] == [PVE2]
    assert [move.target for move in gated("PreferFresh", 600, fail_count=1).moves] == [PVE2]
    assert [move.target for move in gated("PreferFresh", 600, memory=asked(1, 200)).moves] == [PVE2]
    assert gated("RequireFresh", 600, fail_count=1).moves == ()
    assert gated("RequireFresh", 600, memory=asked(1, 200)).moves == ()


# Who is copied, and who not


def test_what_can_not_be_replicated_goes_by_the_fallback() -> None:
    """Blocked or copied: that is for the look right before the move; nothing is replicated in vain."""
    seen = look([WHO], storages=zfs(thin="lvmthin"), configs={WHO.vmid: config(WHO, disk(), disk(storage="thin"))})
    for policy in (migration("m"), migration("m", localDisks="ReplicateFirst", localDisksFallback="Copy")):
        plan = planned(seen, DRAIN, policy)
        assert (plan.jobs, len(plan.moves)) == ((), 1)


def test_a_disk_that_says_not_to_be_replicated_stands_in_the_way_unless_it_may_be_copied() -> None:
    seen = look([WHO], configs={WHO.vmid: config(WHO, disk(), disk(replicate=False))})
    assert planned(seen, DRAIN).jobs == ()
    copies = migration("m", localDisksFallback="Copy")
    assert verbs(planned(seen, DRAIN, copies)) == ["Create 101-0 pve2"]


@pytest.mark.parametrize("how", ["Copy", "Forbid"])
def test_another_way_of_moving_disks_needs_no_job(how: str) -> None:
    assert planned(look([WHO]), DRAIN, migration("m", localDisks=how)).jobs == ()


def test_containers_and_stopped_guests_are_replicated_as_well() -> None:
    for who in (guest(101, "pve1", kind=GuestKind.LXC), guest(101, "pve1", power=Power.STOPPED)):
        assert verbs(planned(look([who]), DRAIN)) == ["Create 101-0 pve2"]


def test_no_job_leads_to_a_node_without_the_storage_or_the_space() -> None:
    small = (*zfs(("pve1",)), *zfs(("pve2",), free=5 * GIB))
    plan = planned(look([WHO], storages=small), DRAIN)
    assert plan.jobs == ()
    [stuck] = plan.blocked
    assert "pve2 has 5 GiB free on local-zfs, and 10 GiB would be copied" in stuck.message
    assert "pve3 has no storage local-zfs" in stuck.message


def test_a_copy_goes_at_the_rate_that_people_allow() -> None:
    def rate(*objects: Resource) -> float | None:
        [action] = planned(look([WHO]), DRAIN, *objects).jobs
        return action.rate_mb_s

    assert rate() is None
    assert rate(migration("m", bandwidthLimitMiBps=100)) == 104.9
    assert rate(build.cluster(network={"linkMiBps": 1000, "sharePercent": 60})) == 629.1
    assert (
        rate(migration("m", bandwidthLimitMiBps=100), build.cluster(network={"linkMiBps": 100, "sharePercent": 50}))
        == 52.4
    )


# Afterwards


def left(seen: Observed, *objects: Resource, origins: Iterable[tuple[int, str]] = (), known: bool = True) -> list[str]:
    temporary = TemporaryJob("101-0", WHO.identity, PVE1, PVE2, ObjectRef("NodeMaintenance", "label-pve1"), AT - 900)
    homes = {Vmid(v): build.origin(seen.guests[Vmid(v)], home) for v, home in origins}
    memory = Memory(origins=homes, replication=ReplicationMemory(temporary={"101-0": temporary} if known else {}))
    return verbs(planned(seen, *objects, memory=memory))


ARRIVED = guest(101, "pve2")
TURNED = job("101-0", "pve2", "pve1", comment_for_move(PVE2))


def test_when_the_move_is_over_the_job_goes_with_its_copy() -> None:
    for known in (True, False):
        assert left(look([ARRIVED], [TURNED]), STAY, known=known) == ["Remove 101-0 pve1"]
    [action] = planned(look([ARRIVED], [TURNED]), STAY).jobs
    assert not action.keep_data


def test_the_way_home_is_kept_short() -> None:
    assert left(look([ARRIVED], [TURNED]), DRAIN, origins=[(101, "pve1")]) == ["Disable 101-0 pve1"]
    assert left(look([ARRIVED], [replace(TURNED, disabled=True)]), DRAIN, origins=[(101, "pve1")]) == []
    back = left(look([ARRIVED], [replace(TURNED, disabled=True)]), origins=[(101, "pve1")])
    assert back == ["Update 101-0 pve1"]


def test_a_wish_that_is_withdrawn_takes_the_job_along() -> None:
    assert left(look([WHO], [OURS])) == ["Remove 101-0 pve2"]
    assert left(look([WHO], [OURS]), DRAIN, pve_node("pve2", unschedulable=True)) == [
        "Create 101-1 pve3",
        "Remove 101-0 pve2",
    ]


def test_a_job_stays_while_its_guest_only_waits() -> None:
    """A lock, a back-off, a hold: the wish is still there."""
    locked = guest(101, "pve1", lock="backup")
    assert left(look([locked], [OURS]), DRAIN) == []
    assert left(look([WHO], [OURS]), maintenance("m", "pve1", suspend=True)) == []


def test_nothing_is_removed_while_somebody_moves_the_guest_or_pve_has_not_turned_the_job_round() -> None:
    flying = Memory(flights={WHO.vmid: build.flight(WHO, "pve2")})
    assert planned(look([WHO], [OURS]), memory=flying).jobs == ()
    assert left(look([ARRIVED], [OURS], states={})) == []
    assert left(replace(look([ARRIVED], [TURNED]), partial=True)) == []
    assert left(look([guest(102, "pve1")], [OURS], states={})) == []


def test_jobs_of_others_are_never_asked_for_anything() -> None:
    for comment in ("", "by hand", "managed by somebody"):
        other = job("101-0", "pve1", "pve2", comment)
        assert left(look([WHO], [other])) == []
        assert left(look([WHO], [other]), DRAIN) == []


def test_a_policy_takes_over_what_a_move_has_made() -> None:
    assert left(look([ARRIVED], [TURNED]), replication("office", targets={"nodes": ["pve1"]})) == ["Update 101-0 pve1"]
