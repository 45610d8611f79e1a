"""The simulator answers what a real Proxmox VE 9.2 cluster answered, call by call, in the order of the recordings.

The facts are in `facts/` (status, reason, keys, types and wording, in our own form); what is allowed to differ is in
`exceptions.yaml`.
"""

import re

import pytest

from controller.simulator.api import Request
from tests.contract import scenes
from tests.contract.recordings import ORDER
from tests.contract.replay import EXCEPTIONS, Verdict, by_group

BAR = 0.95
GROUPS = sorted({part.partition(":")[0] for part in ORDER})


@pytest.mark.parametrize("group", GROUPS)
def test_answers_are_those_of_a_real_cluster(group: str, verdicts: list[Verdict]) -> None:
    rows = by_group(verdicts)[group]
    different = {v.call.id: (v.call.name, v.differences[:5]) for v in rows if not v.equal and not v.purpose}
    assert not different
    assert sum(verdict.equal for verdict in rows) / len(rows) >= BAR


def test_every_recorded_call_is_compared(verdicts: list[Verdict]) -> None:
    assert len(verdicts) == 1184


def test_what_is_said_to_differ_does_differ(verdicts: list[Verdict]) -> None:
    different = {verdict.call.id for verdict in verdicts if not verdict.equal}
    assert {call for call, reason in EXCEPTIONS.items() if not reason.startswith("by chance")} <= different
    assert all(len(reason) > 10 for reason in EXCEPTIONS.values())


SWITCHES = {
    ("DELETE", "/cluster/replication/{id}", ""),
    ("DELETE", "/cluster/replication/{id}", "keep"),
    ("DELETE", "/cluster/replication/{id}", "force"),
    ("POST", "/nodes/{node}/replication/{id}/schedule_now", ""),
}
"""What Drover ends and starts replication jobs with."""


def test_every_switch_of_a_replication_job_is_held_to_the_recordings(verdicts: list[Verdict]) -> None:
    said = {
        (
            call.method,
            re.sub(r"\d+-\d+", "{id}", re.sub(r"/nodes/[^/]+", "/nodes/{node}", call.path)),
            ",".join(call.params),
        )
        for call in (verdict.call for verdict in verdicts if verdict.equal)
        if call.status == 200
    }
    assert said >= SWITCHES


@pytest.mark.parametrize(("switch", "left"), [({}, "full"), ({"keep": "1"}, "local"), ({"force": "1"}, None)])
def test_each_switch_leaves_behind_what_a_real_cluster_keeps_of_the_job(
    switch: dict[str, str], left: str | None
) -> None:
    """The recordings show the job with `full` and gone with `force`; `local` is what pve-manager writes for `keep`."""
    stage = scenes.stage(scenes.CLUSTER)
    auth = "PVEAPIToken=root@pam!test=test-secret"
    job = {"id": "130-7", "type": "local", "target": "pve2"}
    stage.world.replication["130-7"] = {**job, "guest": 130, "jobnum": 7, "source": "pve1"}
    path = "/cluster/replication/130-7"
    answer = stage.simulator.handle(Request("DELETE", path, dict(switch), auth=auth, node="pve1"))
    assert answer.status == 200
    found = stage.world.replication.get("130-7")
    assert (found or {}).get("remove_job") == left
    assert (found is None) == (left is None)
