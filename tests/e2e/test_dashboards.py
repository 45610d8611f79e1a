"""Every query of every panel, asked of a real Prometheus that scrapes a real daemon during a drain with replication."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.test_dashboards import PANELS, filled
from tests.e2e.lab import Lab
from tests.e2e.monitoring import Prometheus

pytestmark = pytest.mark.e2e

CLUSTER = """\
name: lab
nodes:
  pve1: {memory: 64GiB, link: 1150MiB, ssh: 500MiB}
  pve2: {memory: 64GiB, link: 1150MiB, ssh: 500MiB}
  pve3: {memory: 64GiB, link: 1150MiB, ssh: 500MiB}
storages:
  ceph: {type: rbd, size: 1TiB}
  tank: {type: zfspool, size: 200GiB}
guests:
  101: {name: db, node: pve2, memory: 16GiB, touched: 0.9, dirty: 100MiB, disks: {scsi0: {storage: ceph}}}
  102: {name: web, node: pve2, memory: 8GiB, touched: 0.8, dirty: 20MiB, disks: {scsi0: {storage: ceph}}}
  103: {name: dns, node: pve1, memory: 1GiB, tags: [copied], disks: {scsi0: {storage: tank, size: 4GiB}}}
  104: {name: mail, node: pve2, memory: 4GiB, tags: [copied], disks: {scsi0: {storage: tank, size: 4GiB}}}
access:
  users: {drover@pve: {}}
  tokens:
    drover@pve!e2e: {secret: 4c1a0d3e-7d0b-4a55-8a5e-5ec2e7f0aaaa, privsep: false}
  acl:
    - {role: Administrator, to: drover@pve}
"""
SPEED = 10


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    try:
        lab.simulate(CLUSTER, speed=SPEED)
        lab.cluster(network={"linkMiBps": 1150}, capacity={"tolerateNodeFailures": 1})
        lab.write(
            "ReplicationPolicy",
            "copied",
            {"guestSelector": {"tags": {"any": ["copied"]}}, "targets": {"replicas": 1}, "schedule": "*/1"},
        )
        lab.settings()
        yield lab
    finally:
        lab.close()


def test_no_panel_is_empty_or_wrong_during_a_drain_with_replication(lab: Lab, tmp_path: Path) -> None:
    lab.run("--speed", str(SPEED))
    prometheus = Prometheus(tmp_path, lab.address.removeprefix("http://"))
    began = time.monotonic()
    try:
        lab.until(lambda: prometheus.has("drover_replication_lag_seconds"), "a replica is there")
        lab.label("pve2", "true")
        lab.until(lambda: lab.condition("nodemaintenances", "label-pve2", "Drained")[0] == "True", "pve2 is empty")
        lab.until(lambda: prometheus.has('drover_maintenance{state="Drained"} == 1'), "it is scraped")
        wrong = {}
        for name, panel in PANELS:
            for target in panel["targets"]:
                query = filled(target["expr"], "15s")
                if not prometheus.values(query, time.monotonic() - began):
                    wrong[f"{name}: {panel['title']}"] = query
        assert not wrong
        assert max(prometheus.values("drover_drain_remaining_bytes", 60)) > 8 << 30, (
            "the waterfall falls from somewhere"
        )
        tasks = prometheus.ask(
            "query_exemplars", query="drover_migration_seconds_bucket", start=time.time() - 60, end=time.time()
        )
        assert "UPID:pve2:" in str(tasks)
    finally:
        prometheus.close()
