"""What a plan asks of replication jobs, carried out on a simulated cluster: second looks, back-off, and a process that dies."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.act import jobs
from controller.act.jobs import Acted
from controller.model.event import EventType
from controller.model.ids import GuestIdentity, GuestKind, ObjectRef, Vmid
from controller.model.reasons import Why
from controller.model.replication import JobAction, JobVerb, comment_for_move
from controller.model.view import Finding
from controller.rehearse.virtual_time import EPOCH
from controller.report.events import Told
from controller.report.store import Store
from controller.specs import ReplicationPolicy, Specs
from tests.act.lab import PVE1, PVE2, PVE3, SPECS, Lab
from tests.act.test_crashes import Fate, Killed, mortal

DRAIN = ObjectRef("NodeMaintenance", "label-pve1")
FOR_PVE2 = comment_for_move(PVE2)
CREATE = JobAction(
    verb=JobVerb.CREATE,
    job_id="101-0",
    vmid=Vmid(101),
    identity=GuestIdentity(Vmid(101), GuestKind.QEMU),
    source=PVE1,
    target=PVE2,
    schedule="*/15",
    rate_mb_s=50.0,
    comment=FOR_PVE2,
    keep_data=False,
    force=False,
    why=Why.REPLICATE_FIRST,
    cause=DRAIN,
    message="VM 101 web is replicated to pve2 first",
)


def asked(verb: JobVerb, **more: Any) -> JobAction:
    return replace(CREATE, verb=verb, **more)


CLUSTER = f"""
name: lab
start: {EPOCH}
nodes: {{pve1: {{}}, pve2: {{}}, pve3: {{}}}}
storages: {{tank: {{type: zfspool}}, ceph: {{type: rbd}}}}
guests:
  101: {{name: web, node: pve1, disks: {{scsi0: {{storage: tank, size: 8GiB}}}}}}
  102: {{name: db, node: pve1, disks: {{scsi0: {{storage: ceph}}}}}}
access:
  users: {{drover@pve: {{}}}}
  tokens: {{"drover@pve!test": {{secret: 00000000-0000-4000-8000-000000000000, privsep: false}}}}
  roles:
    Drover: [Sys.Audit, VM.Audit, VM.Migrate, VM.Replicate, Datastore.Audit, Datastore.Allocate, Pool.Audit]
  acl: [{{path: /, role: Drover, to: drover@pve}}]
"""


class Desk(Lab):
    """A lab whose guest 101 has its disk on local ZFS, and the half of a tick that is about jobs."""

    def __init__(self, directory: Path, open_store: Any = Store.open, cluster: str = CLUSTER) -> None:
        super().__init__(directory, open_store, cluster)
        self.wanted = True

    def do(self, *actions: JobAction) -> Acted:
        """Look, then carry the actions out."""
        return self.loop.run_until_complete(self._do(actions))

    async def _do(self, actions: tuple[JobAction, ...]) -> Acted:
        self.observer.jobs_changed()
        seen = await self.observer.look()
        return await jobs.carry_out(
            actions,
            specs=self.specs,
            seen=seen,
            store=self.store,
            client=self.client,
            clock=self.clock,
            still_wanted=lambda: None if self.wanted else Finding(False, Why.WITHDRAWN, "called off"),
        )

    def said(self, *actions: JobAction) -> list[Told]:
        return [Told(event.reason) for event in self.do(*actions).events]

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        return self.world.replication


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_a_job_is_made_changed_started_and_removed(desk: Desk) -> None:
    assert desk.said(CREATE) == [Told.JOB_CREATED]
    made = desk.jobs["101-0"]
    assert (made["target"], made["source"], made["rate"], made["comment"]) == ("pve2", "pve1", 50, FOR_PVE2)
    assert desk.said(asked(JobVerb.UPDATE, schedule="*/5", rate_mb_s=None)) == [Told.JOB_CHANGED]
    assert (made["schedule"], "rate" in made) == ("*/5", False)
    assert desk.said(asked(JobVerb.DISABLE)) == [Told.JOB_CHANGED]
    assert made["disable"] == 1
    assert desk.said(asked(JobVerb.ENABLE)) == [Told.JOB_CHANGED]
    assert "disable" not in made
    desk.later(120)
    assert desk.said(asked(JobVerb.SYNC_NOW)) == [Told.SYNC_REQUESTED]
    assert desk.world.replicator.state("pve1", "101-0").last_try == 0
    assert desk.store.memory().replication.asked["101-0"].times == 1
    assert desk.said(asked(JobVerb.REMOVE)) == [Told.JOB_REMOVED]
    desk.later(120)
    assert desk.jobs == {}
    assert "tank:vm-101-disk-0" not in desk.world.storages["tank"].place("pve2")


def test_the_replica_stays_when_only_the_job_is_to_go(desk: Desk) -> None:
    desk.do(CREATE)
    desk.later(120)
    desk.do(asked(JobVerb.REMOVE, keep_data=True))
    desk.later(120)
    assert desk.jobs == {}
    assert "tank:vm-101-disk-0" in desk.world.storages["tank"].place("pve2")


def test_a_job_that_is_not_ours_is_never_touched(desk: Desk) -> None:
    desk.do(CREATE)
    for comment in ("", "nightly copy of the admin"):
        desk.jobs["101-0"]["comment"] = comment
        before = dict(desk.jobs["101-0"])
        for verb in (JobVerb.UPDATE, JobVerb.DISABLE, JobVerb.ENABLE, JobVerb.REMOVE, JobVerb.SYNC_NOW):
            desk.later(3600)
            [event] = desk.do(asked(verb)).events
            assert (event.type, event.reason) == (EventType.WARNING, Told.JOB_REFUSED)
            assert "is not Drover's any more" in event.message
        assert desk.jobs["101-0"] == before


def test_a_foreign_job_is_taken_over_only_by_a_policy_that_says_so(desk: Desk) -> None:
    desk.do(CREATE)
    desk.jobs["101-0"]["comment"] = "by hand"
    adopt = asked(JobVerb.UPDATE, comment="managed by drover: office (before: by hand)")
    assert desk.said(adopt) == [Told.JOB_REFUSED]
    desk.later(3600)
    spec = {"guestSelector": {}, "targets": {"nodes": ["pve2"]}, "adoptExisting": True}
    policy = ReplicationPolicy.model_validate({"metadata": {"name": "office"}, "spec": spec})
    desk.specs = Specs.of([*SPECS, policy])
    assert desk.said(adopt) == [Told.JOB_CHANGED]
    assert desk.jobs["101-0"]["comment"] == adopt.comment


def test_a_job_that_leads_elsewhere_by_now_is_left_alone(desk: Desk) -> None:
    desk.do(CREATE)
    desk.later(120)
    guest = desk.world.guests[101]
    desk.world.move_config(guest, "pve2")
    desk.world.replicator.moved(guest, "pve1", "pve2", {})
    acted = desk.do(asked(JobVerb.REMOVE))
    assert acted.events == ()
    assert "remove_job" not in desk.jobs["101-0"]


def test_a_job_that_changes_under_our_hands_is_left_alone(desk: Desk) -> None:
    desk.do(CREATE)

    def taken_over(when: str, _path: str) -> None:
        if when == "before":
            desk.jobs["101-0"]["comment"] = "mine now"

    desk.pve.on_put = taken_over
    assert desk.said(asked(JobVerb.UPDATE, schedule="*/5")) == []
    assert (desk.jobs["101-0"]["comment"], desk.jobs["101-0"]["schedule"]) == ("mine now", "*/15")


def test_nothing_is_made_for_another_guest_or_from_another_node(desk: Desk) -> None:
    assert desk.said(asked(JobVerb.CREATE, identity=replace(CREATE.identity, born="ctime:1"))) == []
    assert desk.said(asked(JobVerb.CREATE, source=PVE3)) == []
    assert desk.jobs == {}


def test_a_lost_answer_is_found_out_and_nothing_is_made_twice(desk: Desk) -> None:
    desk.fault("lost-answer", path="/cluster/replication")
    assert desk.said(CREATE) == [Told.ANSWER_LOST]
    assert desk.said(CREATE) == [Told.JOB_CREATED]  # it is there: what was to be done is done
    assert list(desk.jobs) == ["101-0"]


def test_what_pve_refuses_is_asked_for_later_and_told_once(desk: Desk) -> None:
    shared = asked(JobVerb.CREATE, job_id="102-0", vmid=Vmid(102), identity=GuestIdentity(Vmid(102), GuestKind.QEMU))
    [event] = desk.do(shared).events
    assert "No replicatable volumes found" in event.message
    refused = desk.store.memory().replication.refused["102-0"]
    assert (refused.why, refused.failures) == (Why.NOT_REPLICABLE, 1)
    posts = len(desk.pve.posts)
    assert desk.do(shared) == Acted()
    assert len(desk.pve.posts) == posts
    desk.later(61)
    assert desk.do(shared).events == ()
    again = desk.store.memory().replication.refused["102-0"]
    assert (again.failures, again.until - desk.clock.wall()) == (2, 120)


def test_without_the_right_nothing_else_is_tried_for_a_while(desk: Desk) -> None:
    desk.fault("refuse", status=403, reason="Permission check failed (/vms/101, VM.Replicate)", path="/replication")
    [event] = desk.do(CREATE).events
    assert "VM.Replicate" in event.message
    assert desk.store.memory().replication.refused["101-0"].why is Why.PERMISSION_MISSING


def test_a_lock_that_somebody_holds_counts_as_nothing(desk: Desk) -> None:
    text = "cfs-lock 'file-replication_cfg' error: got lock request timeout"
    desk.fault("refuse", status=500, reason=text, path="/cluster/replication")
    assert desk.do(CREATE).events == ()
    assert desk.store.memory().replication.refused == {}
    assert desk.said(CREATE) == [Told.JOB_CREATED]


def test_without_quorum_the_rest_is_not_even_tried(desk: Desk) -> None:
    desk.fault("refuse", status=500, reason="cfs-lock 'file-replication_cfg' error: no quorum!", path="/replication")
    other = asked(JobVerb.CREATE, job_id="101-1", target=PVE3, comment=comment_for_move(PVE3))
    desk.do(CREATE, other)
    assert desk.jobs == {}
    assert len(desk.pve.posts) == 1


def test_nothing_more_is_done_once_the_wish_is_withdrawn(desk: Desk) -> None:
    desk.wanted = False
    assert desk.do(CREATE) == Acted()
    assert desk.jobs == {}


def test_what_is_remembered_of_a_job_goes_with_it(desk: Desk) -> None:
    desk.do(CREATE)
    desk.later(120)
    desk.do(asked(JobVerb.SYNC_NOW))
    assert set(desk.store.memory().replication.temporary) == {"101-0"}
    del desk.jobs["101-0"]
    desk.do()
    assert desk.store.memory().replication.temporary == {}
    assert desk.store.memory().replication.asked == {}


SCRIPT = (CREATE, asked(JobVerb.SYNC_NOW), asked(JobVerb.REMOVE))


def live(directory: Path, kill_at: int | None) -> tuple[list[str], Desk]:
    """A job is made, started and removed by a process that may die at any point, and begins again."""
    fate = Fate(kill_at)
    desk = Desk(directory, mortal(fate))
    desk.pve.on_post = lambda when, _path: fate.point(f"{when} POST")
    desk.pve.on_delete = lambda when, _path: fate.point(f"{when} DELETE")
    for action in SCRIPT:
        for _ in range(2):
            try:
                desk.do(action)
                break
            except Killed:
                desk.store.close()
                desk.start()
        desk.later(120)
    return fate.names, desk


def test_a_process_that_dies_anywhere_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    names, desk = live(tmp_path / "whole", None)
    desk.close()
    assert len(names) >= 10
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        folder.mkdir()
        _, desk = live(folder, number)
        assert desk.jobs == {}, name
        assert "tank:vm-101-disk-0" not in desk.world.storages["tank"].place("pve2"), name
        desk.close()
