"""Which replication jobs there shall be: tables of what is there and what is asked for, and properties of random clusters."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide import decide, replication
from controller.model.ids import NodeName, Vmid
from controller.model.memory import Memory
from controller.model.observed import Disk, Guest, GuestConfig, NodeState, Observed, ReplicationJob, Storage
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.model.replication import (
    JobAction,
    JobHealth,
    JobVerb,
    NodeClock,
    RefusedJob,
    ReplicationMemory,
    ReplicationState,
    comment_for_move,
)
from controller.specs import ReplicationPolicy, Resource
from tests.decide import build
from tests.decide.build import AT, GIB, guest, in_maintenance, node, pve_node, specs

TIB = 1 << 40
NODES = ("pve1", "pve2", "pve3", "pve4")
OURS = "managed by drover: office"


def zfs(on: Iterable[str] = NODES, free: int = TIB, **types: str) -> tuple[Storage, ...]:
    names = {"local-zfs": "zfspool", **types}
    return tuple(
        Storage(name, NodeName(n), True, type_ == "rbd", frozenset({"images"}), 2 * TIB, 2 * TIB - free, type_)
        for n in on
        for name, type_ in names.items()
    )


def disk(size: int = 10 * GIB, storage: str = "local-zfs", **more: Any) -> Disk:
    volume = more.pop("volume", f"{storage}:vm-1-disk-0")
    return Disk("scsi0", volume, storage, size, more.pop("cdrom", False), more.pop("replicate", True))


def config(who: Guest, *disks: Disk) -> GuestConfig:
    return GuestConfig(who.identity, "d", 1, disks or (disk(),), AT)


def job(name: str, source: str, target: str, comment: str = OURS, **more: Any) -> ReplicationJob:
    vmid = Vmid(int(name.split("-", maxsplit=1)[0]))
    return ReplicationJob(
        name,
        vmid,
        NodeName(target),
        NodeName(source),
        more.pop("schedule", "*/15"),
        more.pop("disabled", False),
        more.pop("removing", False),
        comment,
        **more,
    )


def state(of: ReplicationJob, **more: Any) -> ReplicationState:
    assert of.source is not None
    given = {"last_sync": int(AT) - 300, "last_try": int(AT) - 300, "next_sync": int(AT) + 600, **more}
    return ReplicationState(of.id, of.vmid, of.source, of.target, AT - 20, **given)


def look(guests: Iterable[Guest], jobs: Iterable[ReplicationJob] = (), **more: Any) -> Observed:
    guests, jobs = tuple(guests), tuple(jobs)
    more.setdefault("storages", zfs())
    more.setdefault("configs", {g.vmid: config(g) for g in guests})
    more.setdefault("states", {j.id: state(j) for j in jobs})
    nodes = more.pop("nodes", [node(name) for name in NODES])
    return build.seen(nodes, guests, jobs=jobs, **more)


def office(targets: dict[str, Any] | None = None, name: str = "office", **spec: Any) -> ReplicationPolicy:
    return build.replication(name, targets=targets or {"nodes": ["pve2"]}, **spec)


def made(seen: Observed, *objects: Resource, memory: Memory | None = None) -> Plan:
    plan = decide(specs(*objects), seen, memory or Memory())
    assert not plan.unsafe
    return plan


def told(plan: Plan) -> list[str]:
    return [f"{a.verb} {a.job_id} {a.target}" for a in plan.jobs]


def after(seen: Observed, actions: Iterable[JobAction]) -> Observed:
    """The cluster once PVE has done what was asked and everything has synced."""
    jobs = {j.id: j for j in seen.jobs}
    for action in actions:
        if action.verb is JobVerb.REMOVE:
            del jobs[action.job_id]
            continue
        disabled = jobs[action.job_id].disabled if action.job_id in jobs else False
        disabled = {JobVerb.DISABLE: True, JobVerb.ENABLE: False}.get(action.verb, disabled)
        jobs[action.job_id] = ReplicationJob(
            action.job_id,
            action.vmid,
            action.target,
            action.source,
            action.schedule,
            disabled,
            False,
            action.comment,
            action.rate_mb_s,
        )
    return replace(seen, jobs=tuple(jobs.values()), states={j.id: state(j) for j in jobs.values()})


ON1 = guest(101, "pve1")
TABLE: list[tuple[str, Observed, ReplicationPolicy, list[str]]] = [
    ("a named target gets a job", look([ON1]), office(), ["Create 101-0 pve2"]),
    ("a job that is as wanted is left alone", look([ON1], [job("101-0", "pve1", "pve2")]), office(), []),
    (
        "numbers in use are left out",
        look([ON1], [job("101-0", "pve1", "pve3", "admin")]),
        office(),
        ["Create 101-1 pve2"],
    ),
    (
        "a number that is being removed is in use, too",
        look([ON1], [job("101-0", "pve1", "pve3", removing=True)]),
        office(),
        ["Create 101-1 pve2"],
    ),
    ("its own node is left out", look([ON1]), office({"nodes": ["pve1", "pve3"]}), ["Create 101-0 pve3"]),
    (
        "another schedule is an update",
        look([ON1], [job("101-0", "pve1", "pve2")]),
        office(schedule="*/5"),
        ["Update 101-0 pve2"],
    ),
    (
        "another rate is an update",
        look([ON1], [job("101-0", "pve1", "pve2", rate_mb_s=10.0)]),
        office(),
        ["Update 101-0 pve2"],
    ),
    (
        "enabled: false disables",
        look([ON1], [job("101-0", "pve1", "pve2")]),
        office(enabled=False),
        ["Disable 101-0 pve2"],
    ),
    ("enabled: false makes nothing", look([ON1]), office(enabled=False), []),
    (
        "a disabled job is enabled",
        look([ON1], [job("101-0", "pve1", "pve2", disabled=True)]),
        office(),
        ["Enable 101-0 pve2"],
    ),
    ("a suspended policy does nothing", look([ON1], [job("101-0", "pve1", "pve3")]), office(suspend=True), []),
    (
        "a job of another policy passes to the one that wins",
        look([ON1], [job("101-0", "pve1", "pve2", "managed by drover: old")]),
        office(),
        ["Update 101-0 pve2"],
    ),
    (
        "an old target goes only when the new one is in sync",
        look([ON1], [job("101-0", "pve1", "pve3")]),
        office(),
        ["Create 101-1 pve2"],
    ),
    (
        "and then it goes",
        look([ON1], [job("101-0", "pve1", "pve3"), job("101-1", "pve1", "pve2")]),
        office(),
        ["Remove 101-0 pve3"],
    ),
    (
        "an administrator's job is in the way and stays",
        look([ON1], [job("101-0", "pve1", "pve2", "mine")]),
        office(),
        [],
    ),
    (
        "unless it may be taken over",
        look([ON1], [job("101-0", "pve1", "pve2", "mine")]),
        office(adoptExisting=True, schedule="*/30"),
        ["Update 101-0 pve2"],
    ),
    (
        "which needs no change of a job that is as the policy wants it",
        look([ON1], [job("101-0", "pve1", "pve2", "mine")]),
        office(adoptExisting=True),
        [],
    ),
    (
        "jobs to other targets are not taken over",
        look([ON1], [job("101-0", "pve1", "pve3", "mine"), job("101-1", "pve1", "pve2")]),
        office(adoptExisting=True),
        [],
    ),
    (
        "a flip is accepted with Mirror",
        look([guest(101, "pve2")], [job("101-0", "pve2", "pve1"), job("101-1", "pve2", "pve3")]),
        office({"nodes": ["pve2", "pve3"]}),
        [],
    ),
    (
        "a flip is turned back with Fixed",
        look([guest(101, "pve2")], [job("101-0", "pve2", "pve1"), job("101-1", "pve2", "pve3")]),
        office({"nodes": ["pve2", "pve3"]}, onMigration="Fixed"),
        ["Remove 101-0 pve1"],
    ),
    (
        "but never the only replica",
        look([guest(101, "pve2")], [job("101-0", "pve2", "pve1")]),
        office({"nodes": ["pve2"]}, onMigration="Fixed"),
        [],
    ),
    (
        "right after a move nobody plans on the old direction",
        look([guest(101, "pve2")], [job("101-0", "pve1", "pve2")]),
        office({"nodes": ["pve3"]}),
        [],
    ),
    ("of free choice, the emptiest", look([ON1]), office({"replicas": 1}), ["Create 101-0 pve2"]),
    ("as many as wanted", look([ON1]), office({"replicas": 2}), ["Create 101-0 pve2", "Create 101-1 pve3"]),
    (
        "what is there is kept",
        look([ON1], [job("101-0", "pve1", "pve4")]),
        office({"replicas": 2}),
        ["Create 101-1 pve2"],
    ),
    (
        "too many go",
        look([ON1], [job("101-0", "pve1", "pve4"), job("101-1", "pve1", "pve2")]),
        office({"replicas": 1}),
        ["Remove 101-1 pve2"],
    ),
    (
        "foreign replicas are no choice",
        look([ON1], [job("101-0", "pve1", "pve2", "mine")]),
        office({"replicas": 1}),
        ["Create 101-1 pve3"],
    ),
]


@pytest.mark.parametrize(("seen", "policy", "wanted"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_jobs_become_what_the_policy_says(seen: Observed, policy: ReplicationPolicy, wanted: list[str]) -> None:
    assert told(made(seen, policy)) == wanted


def only(plan: Plan) -> tuple[Why, str]:
    [lacking] = plan.replicas.lacking
    return lacking.why, lacking.message


OBSTACLES: list[tuple[str, Observed, Why, str]] = [
    (
        "a volume elsewhere",
        look([ON1], storages=zfs(thin="lvmthin"), configs={ON1.vmid: config(ON1, disk(), disk(storage="thin"))}),
        Why.NOT_REPLICABLE,
        "thin:vm-1-disk-0",
    ),
    (
        "a device of the node",
        look([ON1], configs={ON1.vmid: config(ON1, disk(storage="", volume="/dev/sdb"))}),
        Why.NOT_REPLICABLE,
        "/dev/sdb",
    ),
    (
        "all shared",
        look([ON1], storages=zfs(ceph="rbd"), configs={ON1.vmid: config(ON1, disk(storage="ceph"))}),
        Why.NOTHING_TO_REPLICATE,
        "no volume",
    ),
    ("a config that nobody has read", look([ON1], configs={}), Why.NOT_OBSERVED_YET, "not been read"),
    ("no such storage there", look([ON1], storages=zfs(["pve1"])), Why.STORAGE_MISSING, "pve2 has no ZFS storage"),
    ("no space there", look([ON1], storages=zfs(free=GIB)), Why.NO_SPACE, "10 GiB are needed"),
    (
        "the target is offline",
        look([ON1], nodes=[node("pve1"), node("pve2", state=NodeState.OFFLINE)]),
        Why.TARGET_OFFLINE,
        "pve2 is offline",
    ),
    ("no such target", look([ON1], nodes=[node("pve1"), node("pve3")]), Why.UNKNOWN_NODE, "pve2 is no node"),
    (
        "an administrator's job",
        look([ON1], [job("101-0", "pve1", "pve2", "mine")]),
        Why.FOREIGN_JOB,
        "('mine') to pve2 is not Drover's",
    ),
]


@pytest.mark.parametrize(("seen", "why", "words"), [row[1:] for row in OBSTACLES], ids=[row[0] for row in OBSTACLES])
def test_what_can_not_be_replicated_is_said_before_pve_is_asked(seen: Observed, why: Why, words: str) -> None:
    plan = made(seen, office())
    assert plan.jobs == ()
    found, message = only(plan)
    assert found is why
    assert words in message


def test_what_stays_behind_on_purpose_is_no_obstacle() -> None:
    disks = [disk(), disk(storage="thin", replicate=False), disk(volume="local-zfs:vm-101-cloudinit"), disk(cdrom=True)]
    seen = look([ON1], storages=zfs(thin="lvmthin"), configs={ON1.vmid: config(ON1, *disks)})
    assert told(made(seen, office())) == ["Create 101-0 pve2"]


def test_a_target_in_maintenance_is_waited_for_and_never_chosen() -> None:
    plan = made(look([ON1]), office(), build.in_maintenance("pve2"))
    assert plan.jobs == ()
    assert only(plan)[0] is Why.TARGET_IN_MAINTENANCE
    assert told(made(look([ON1]), office({"replicas": 1}), build.in_maintenance("pve2"))) == ["Create 101-0 pve3"]


def test_a_replica_is_kept_in_another_rack() -> None:
    racks = [pve_node(n, {"rack": "a" if n in ("pve1", "pve2") else "b"}) for n in ("pve1", "pve2", "pve3")]
    plan = made(look([ON1]), office({"replicas": 1, "antiAffinityTopologyKey": "rack"}), *racks)
    assert told(plan) == ["Create 101-0 pve3"]
    full = look([ON1], storages=zfs(["pve1", "pve2", "pve4"]))
    why, message = only(made(full, office({"replicas": 1, "antiAffinityTopologyKey": "rack"}), *racks))
    assert why is Why.NO_REPLICA_TARGET
    assert "pve2 is in the same rack (a) as pve1" in message
    assert "pve3 has no ZFS storage" in message
    assert "pve4 has no label rack" in message


def test_memory_that_a_fail_over_would_need_is_said() -> None:
    [action] = made(look([ON1]), office()).jobs
    assert "to run there it would need 4 GiB of memory, 64 GiB are free" in action.message


def test_the_policy_with_the_highest_priority_counts_then_the_more_specific_one() -> None:
    low, high = office(name="low"), office({"nodes": ["pve3"]}, name="high", priority=5)
    assert told(made(look([ON1]), low, high)) == ["Create 101-0 pve3"]
    exact = office({"nodes": ["pve4"]}, name="zzz", guestSelector={"vmids": [101]})
    assert told(made(look([ON1]), low, exact)) == ["Create 101-0 pve4"]


# Targets that are gone


def gone(since: float, node_name: str = "pve2") -> Memory:
    return Memory(replication=ReplicationMemory(gone_since={NodeName(node_name): since}))


def without(name: str, jobs: Iterable[ReplicationJob], **more: Any) -> Observed:
    nodes = [node(n, state=NodeState.OFFLINE if n == name else NodeState.ONLINE) for n in NODES]
    return look([ON1], jobs, nodes=nodes, **more)


def test_a_target_that_is_gone_for_long_is_replaced_and_then_left() -> None:
    policy = office({"replicas": 1})
    away = without("pve2", [job("101-0", "pve1", "pve2")])
    early = made(away, policy)
    assert early.jobs == ()
    assert early.replicas.gone_since == {"pve2": AT}
    assert made(away, policy, memory=gone(AT - 3599)).jobs == ()
    late = made(away, policy, memory=gone(AT - 3600))
    assert told(late) == ["Create 101-1 pve3"]
    assert late.jobs[0].why is Why.TARGET_GONE
    assert made(away, office({"replicas": 1}, retargetAfterSeconds=0), memory=gone(AT - 99999)).jobs == ()
    jobs = [job("101-0", "pve1", "pve2"), job("101-1", "pve1", "pve3")]
    both = without("pve2", jobs, states={"101-0": state(jobs[0]), "101-1": state(jobs[1], last_sync=0)})
    left = made(both, policy, memory=gone(AT - 3700))
    assert told(left) == ["Remove 101-0 pve2"]
    assert left.jobs[0].keep_data


def test_a_target_in_maintenance_is_not_gone() -> None:
    away = without("pve2", [job("101-0", "pve1", "pve2")])
    plan = made(away, office({"replicas": 1}), build.in_maintenance("pve2"), memory=gone(AT - 99999))
    assert plan.jobs == ()
    assert plan.replicas.gone_since == {}


def test_a_target_that_left_the_cluster_is_gone_too() -> None:
    renamed = look([ON1], [job("101-0", "pve1", "old")])
    plan = made(renamed, office({"replicas": 1}), memory=gone(AT - 3600, "old"))
    assert told(plan) == ["Create 101-1 pve2"]


def test_without_quorum_nobody_is_gone() -> None:
    away = replace(without("pve2", [job("101-0", "pve1", "pve2")]), quorate=False)
    assert decide(specs(office({"replicas": 1})), away, Memory()).replicas.gone_since == {}


def test_a_named_target_that_is_gone_is_said_and_nothing_else() -> None:
    away = without("pve2", [job("101-0", "pve1", "pve2")])
    plan = made(away, office(), memory=gone(AT - 99999))
    assert plan.jobs == ()
    assert only(plan)[0] is Why.TARGET_OFFLINE


# Policies that are gone


def removal(policies: dict[str, str], *objects: Resource, **more: Any) -> Plan:
    seen = look([ON1], [job("101-0", "pve1", "pve2"), job("101-1", "pve1", "pve3", "mine")], **more)
    return made(seen, *objects, memory=Memory(replication=ReplicationMemory(policies=policies)))


@pytest.mark.parametrize(
    ("word", "keeps"), [("RemoveJob", True), ("RemoveJobAndData", False)], ids=["the job alone", "the replica as well"]
)
def test_a_policy_that_is_gone_is_followed_to_its_last_word(word: str, keeps: bool) -> None:
    plan = removal({"office": word})
    [action] = plan.jobs
    assert (action.verb, action.job_id, action.keep_data, action.force) == (JobVerb.REMOVE, "101-0", keeps, False)
    assert plan.replicas.deletions == {"office": word}


@pytest.mark.parametrize("remembered", [{"office": "Orphan"}, {}], ids=["Orphan", "nothing remembered"])
def test_jobs_are_left_as_orphans_otherwise(remembered: dict[str, str]) -> None:
    plan = removal(remembered)
    assert plan.jobs == ()
    assert [orphan.job_id for orphan in plan.replicas.orphans] == ["101-0"]


def test_a_guest_that_no_longer_matches_is_as_good_as_a_policy_that_is_gone() -> None:
    other = office(guestSelector={"vmids": [999]}, deletionPolicy="RemoveJob")
    assert told(removal({}, other)) == ["Remove 101-0 pve2"]
    assert removal({}, office(guestSelector={"vmids": [999]}, deletionPolicy="RemoveJob", suspend=True)).jobs == ()


def test_a_token_that_sees_a_part_removes_nothing() -> None:
    assert removal({"office": "RemoveJobAndData"}, partial=True).jobs == ()


# What PVE refused, and moves


def test_what_pve_has_refused_is_said_and_not_asked_again_at_once() -> None:
    no = RefusedJob("101-0", ON1.identity, JobVerb.CREATE, NodeName("pve2"), Why.NOT_REPLICABLE, "missing", 1, AT + 60)
    plan = made(look([ON1]), office(), memory=Memory(replication=ReplicationMemory(refused={"101-0": no})))
    assert plan.jobs == ()
    assert only(plan) == (Why.NOT_REPLICABLE, "VM 101 g101: PVE refused to create job 101-0 to pve2: missing")
    over = replace(no, until=AT - 1)
    plan = made(look([ON1]), office(), memory=Memory(replication=ReplicationMemory(refused={"101-0": over})))
    assert told(plan) == ["Create 101-0 pve2"]


def test_nothing_is_done_to_jobs_of_a_guest_that_moves() -> None:
    flying = build.memory([build.flight(ON1, "pve3")])
    assert made(look([ON1]), office(), memory=flying).jobs == ()


def test_a_job_made_for_a_move_is_taken_over_once_the_move_is_over() -> None:
    own = job("101-0", "pve1", "pve2", comment_for_move(NodeName("pve2")))
    plan = made(look([ON1], [own]), office(), in_maintenance("pve1"))
    assert [action.verb for action in plan.jobs] == []
    assert only(plan)[0] is Why.NOT_OBSERVED_YET
    [action] = made(look([ON1], [own]), office()).jobs
    assert (action.verb, action.comment) == (JobVerb.UPDATE, OURS)


# Properties

SIZES = st.integers(1, 64)
FLEET = st.lists(st.tuples(st.sampled_from(NODES), SIZES, st.booleans()), min_size=1, max_size=24)


def fleet(rows: list[tuple[str, int, bool]]) -> Observed:
    guests = [guest(100 + number, on) for number, (on, _, _) in enumerate(rows)]
    configs = {g.vmid: config(g, disk(size * GIB)) for g, (_, size, _) in zip(guests, rows, strict=True)}
    foreign = [
        job(f"{g.vmid}-7", g.node, next(n for n in NODES if n != g.node), "by hand")
        for g, (_, _, has) in zip(guests, rows, strict=True)
        if has
    ]
    return look(guests, foreign, configs=configs)


@settings(max_examples=60, deadline=None)
@given(rows=FLEET, replicas=st.integers(1, 3))
def test_a_second_plan_finds_nothing_to_do_and_foreign_jobs_are_as_they_were(
    rows: list[tuple[str, int, bool]], replicas: int
) -> None:
    seen, policy = fleet(rows), office({"replicas": replicas})
    first = made(seen, policy)
    then = after(seen, first.jobs)
    assert made(then, policy).jobs == ()
    assert {j for j in then.jobs if j.comment == "by hand"} == set(seen.jobs)


@settings(max_examples=60, deadline=None)
@given(rows=FLEET)
def test_bytes_spread_as_evenly_as_the_largest_guest_allows(rows: list[tuple[str, int, bool]]) -> None:
    everybody = [(("pve1", size, False)) for _, size, _ in rows]
    seen = fleet(everybody)
    sums = {n: 0 for n in NODES if n != "pve1"}
    for action in made(seen, office({"replicas": 1})).jobs:
        sums[action.target] += everybody[action.vmid - 100][1]
    assert max(sums.values()) - min(sums.values()) <= max(size for _, size, _ in everybody)


@settings(max_examples=60, deadline=None)
@given(rows=FLEET, free=st.integers(10, 200))
def test_no_target_is_promised_more_than_it_has(rows: list[tuple[str, int, bool]], free: int) -> None:
    seen = replace(fleet(rows), storages=zfs(free=free * GIB))
    sums = dict.fromkeys(NODES, 0)
    for action in made(seen, office({"replicas": 2})).jobs:
        sums[action.target] += rows[action.vmid - 100][1]
    assert max(sums.values()) <= free


# The second opinion


def test_the_second_opinion_sees_a_foreign_job_touched() -> None:
    foreign = job("101-0", "pve1", "pve2", "mine")
    seen, policy = look([ON1], [foreign]), office()
    [create] = made(look([ON1]), policy).jobs
    for verb in (JobVerb.REMOVE, JobVerb.UPDATE):
        assert replication.verify([replace(create, verb=verb)], specs(policy), seen)
    assert replication.verify([replace(create, job_id="101-1")], specs(policy), seen)
    assert not replication.verify([create], specs(policy), look([ON1]))


# Health


def health(
    schedule: str = "*/15", at: float = AT, ahead: float = 0.0, spec: dict[str, Any] | None = None, **more: Any
) -> Any:
    one = job("101-0", "pve1", "pve2", schedule=schedule)
    clocks = {NodeName("pve1"): NodeClock(ahead, "Europe/Vienna")}
    seen = look([ON1], [one], states={"101-0": state(one, **more)}, clocks=clocks, at=at)
    [report] = replication.reports(specs(office(**(spec or {}))), seen)
    return report


def test_a_young_replica_is_in_sync_and_its_age_is_by_the_clock_of_its_node() -> None:
    assert health().health is JobHealth.IN_SYNC
    assert health().lag_seconds == 300
    assert health(ahead=100.0).lag_seconds == 400
    assert health(ahead=100.0).next_sync == AT + 500


def test_an_old_replica_lags_once_a_run_was_due() -> None:
    assert health(last_sync=int(AT) - 1900).health is JobHealth.LAGGING
    nightly = health("22:00", last_sync=int(AT) - 1900, at=AT)
    assert nightly.health is JobHealth.IN_SYNC
    assert health("22:00", last_sync=int(AT) - 90_000).health is JobHealth.LAGGING


def test_a_failure_is_said_with_its_error_and_what_it_means() -> None:
    report = health(fail_count=2, error="No common base snapshot on\nvolume(s) x", why=Why.NO_COMMON_BASE)
    assert (report.health, report.why) == (JobHealth.FAILING, Why.NO_COMMON_BASE)
    assert report.message == (
        "failed 2 times: the volume on the target and the guest's own have no snapshot in common "
        "(No common base snapshot on volume(s) x)"
    )


def test_old_news_are_shown_as_old() -> None:
    assert not health(at=AT + 250).stale
    assert health(at=AT + 281).stale


def test_the_word_of_a_node_that_the_guest_has_left_counts_no_more() -> None:
    one = job("101-0", "pve2", "pve1")
    old = replace(state(one), node=NodeName("pve1"))
    [report] = replication.reports(specs(office()), look([guest(101, "pve2")], [one], states={"101-0": old}))
    assert report.health is JobHealth.UNKNOWN


def test_a_job_that_never_ran_is_due_now() -> None:
    report = health(last_sync=0, last_try=0, next_sync=900)
    assert (report.health, report.lag_seconds, report.next_sync) == (JobHealth.NEW, None, AT)


def test_a_job_that_is_taken_over_without_a_change_counts_as_the_policys() -> None:
    seen, mine = look([ON1], [job("101-0", "pve1", "pve2", "mine")]), specs(office(adoptExisting=True))
    replicas = decide(specs(office(adoptExisting=True)), seen, Memory()).replicas
    assert (list(replicas.there.values()), list(replicas.wanted.values()), replicas.lacking) == ([1], [1], ())
    assert [one.policy for one in replication.reports(mine, seen, replicas.adopted)] == ["office"]
    foreign = decide(specs(office()), seen, Memory()).replicas
    assert not foreign.adopted
