"""One cluster of PVE under two names: both look, none of them acts."""

import asyncio
from pathlib import Path

from controller.model.ids import ClusterName
from controller.model.reasons import Why
from controller.rehearse import virtual_time
from controller.rehearse.stage import Stage
from controller.simulator.seed import load
from tests.sources.writing import apart, cluster, write

FILE = """
nodes: {pve1: {memory: 32GiB}, pve2: {memory: 32GiB}}
storages: {ceph: {type: rbd, size: 1TiB}}
guests:
  101: {name: a, node: pve1, memory: 1GiB, disks: {scsi0: {storage: ceph}}}
  102: {name: b, node: pve1, memory: 1GiB, disks: {scsi0: {storage: ceph}}}
access:
  users: {drover@pve: {}}
  tokens: {drover@pve!rehearsal: {secret: 00000000-0000-4000-8000-000000000000, privsep: false}}
  acl: [{path: /, role: Administrator, to: drover@pve}]
"""


def test_neither_of_two_names_starts_a_move_until_there_is_one(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    write(manifests, a=cluster(more="mode: Enforce"), b=cluster("other", more="mode: Enforce"), p=apart("p"))
    stage = Stage(load(FILE), manifests, tmp_path / "state")

    def armed(name: str) -> str:
        return stage.board.clusters[ClusterName(name)].view.armed.why

    async def play() -> None:
        stage.start()
        await asyncio.sleep(60)
        assert (armed("default"), armed("other")) == (Why.WRONG_CLUSTER, Why.WRONG_CLUSTER)
        assert not any(call.method == "POST" for call in stage.calls)
        (manifests / "b.yaml").unlink()
        stage.source.changed()
        await asyncio.sleep(60)
        assert armed("default") == Why.ARMED
        assert any(call.method == "POST" for call in stage.calls)
        await stage.stop()

    virtual_time.run(play(), stage.loop)
