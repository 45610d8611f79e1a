"""A snapshot: what is read is what was written, planning on it gives the same plan, and nothing private is in it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from controller.decide import decide
from controller.model.approval import Approved
from controller.model.ids import NodeName, ObjectRef, Vmid
from controller.model.observed import ReplicationJob
from controller.model.override import Order, Override
from controller.model.view import ClusterView
from controller.rehearse import story
from controller.rehearse.virtual_time import run
from controller.report import snapshot
from tests.decide.build import AT, NAME
from tests.report import scene

STORIES = Path(__file__).parent.parent / "stories"


def through(view: ClusterView) -> snapshot.Snapshot:
    return snapshot.read(json.dumps(snapshot.to_data(view)))


def test_what_is_read_is_what_was_seen() -> None:
    again = through(scene.VIEW)
    assert again.seen == scene.VIEW.seen
    assert {v: replace(f, upid=None) for v, f in again.memory.flights.items()} == {
        v: replace(f, upid=None) for v, f in scene.VIEW.memory.flights.items()
    }


@pytest.mark.parametrize("name", ["drain_and_return", "replicas_follow_their_policy", "policies_about_nodes_are_kept"])
def test_the_plan_on_a_snapshot_is_the_plan(name: str, tmp_path: Path) -> None:
    whole = story.load(STORIES / f"{name}.yaml")
    played = whole.model_copy(update={"until": 40.0, "script": [step for step in whole.script if step.at < 30]})
    stage = story.stage_of(played, tmp_path)
    run(story.perform(played, stage, tmp_path / story.MANIFESTS), stage.loop)
    [shown] = stage.board.clusters.values()
    view = shown.view
    assert view.seen is not None
    specs, again = shown.specs.for_cluster(view.cluster), through(view)
    assert again.seen.guests == view.seen.guests
    there, here = decide(specs, again.seen, again.memory), decide(specs, view.seen, view.memory)
    assert (there.digest, there.all_moves, there.jobs) == (here.digest, here.all_moves, here.jobs)


def test_nothing_private_is_in_it() -> None:
    secret = "PVEAPIToken=root@pam!x=7a5c1d50-1111-4222-8333-944455556666"
    job = ReplicationJob("101-0", Vmid(101), NodeName("pve2"), None, "*/15", False, False, "for Eve, 10.1.2.3")
    gate = ObjectRef("PveCluster", "default")
    assert scene.VIEW.seen is not None
    view = replace(
        scene.VIEW,
        seen=replace(scene.VIEW.seen, jobs=(job,)),
        memory=replace(
            scene.VIEW.memory,
            overrides={NodeName("pve1"): Override(NodeName("pve1"), Order.DRAIN, "eve", AT, "[]", "her desk")},
            approvals={gate: Approved(gate, "123", (), {}, "eve", AT)},
            backoffs={
                v: replace(each, message=f"{secret} at 192.168.7.9, BC:24:11:AA:BB:CC")
                for v, each in scene.VIEW.memory.backoffs.items()
            },
        ),
    )
    text = json.dumps(snapshot.to_data(view))
    for private in ("eve", "Eve", "her desk", "10.1.2.3", "192.168.7.9", "AA:BB:CC", "7a5c1d50", "drover@pve"):
        assert private not in text, private
    assert "backoffs" in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is no ClusterSnapshot"),
        ('{"kind": "Plan"}', "it is no ClusterSnapshot"),
        ('{"kind": "ClusterSnapshot", "seen": {}}', "another version of Drover"),
    ],
)
def test_what_is_no_snapshot_says_so(text: str, says: str) -> None:
    with pytest.raises(snapshot.SnapshotError, match=says):
        snapshot.read(text)


def test_the_cluster_is_named() -> None:
    assert through(scene.VIEW).cluster == NAME
