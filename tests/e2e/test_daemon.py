"""The real daemon in its own process, over HTTPS through proxmoxer, against the simulator in another one."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.lab import CLUSTER, DB, SECRET, Lab

pytestmark = pytest.mark.e2e


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    try:
        lab.simulate()
        lab.cluster()
        lab.settings()
        yield lab
    finally:
        lab.close()


def drained(lab: Lab) -> bool:
    return lab.condition("nodemaintenances", "label-pve2", "Drained")[0] == "True"


def test_a_drain_survives_kill_9_submits_nothing_twice_and_everybody_comes_home(lab: Lab) -> None:
    plan = lab.drover("plan")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    daemon = lab.run("--speed", "10")
    lab.until(lambda: lab.guests() == {101: "pve2", 102: "pve2", 103: "pve1"}, "the first look")
    lab.label("pve2", "true")
    lab.until(lambda: bool(lab.migrations()), "the first migration")
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    lab.run("--speed", "10")
    lab.until(lambda: drained(lab), "pve2 is drained after the restart")
    assert lab.guests()[101] != "pve2"
    lab.label("pve2", None)
    lab.until(lambda: lab.guests() == {101: "pve2", 102: "pve2", 103: "pve1"}, "everybody is home")
    lab.until(lambda: "OK" in lab.migrations()[0], "the tasks have ended")
    assert [line.split()[0] for line in lab.migrations()] == ["101", "101", "102", "102"]
    lab.until(lambda: "3 fine" in lab.drover("status").stdout, "who has arrived is proven well")
    assert SECRET not in lab.log
    assert SECRET not in "".join(
        path.read_text(errors="replace") for path in (lab.folder / "state").iterdir() if path.is_file()
    )


def test_a_script_drains_a_node_waits_for_it_and_puts_it_back(lab: Lab) -> None:
    lab.run("--speed", "10")
    lab.until(lambda: lab.guests() == {101: "pve2", 102: "pve2", 103: "pve1"}, "the first look")
    done = lab.drover("drain", "pve2", "--reason", "new disk", "--wait", "--timeout", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "safe to service" in done.stdout
    assert "pve2" not in lab.guests().values()
    assert "drover drain pve2 by" in lab.drover("status").stdout
    assert lab.drover("wait", "--for", "condition=Drained", "node/pve2", "--timeout", "5").returncode == 0
    assert lab.drover("wait", "--for", "condition=Drained", "node/pve1", "--timeout", "1").returncode == 3
    assert lab.drover("uncordon", "pve2").returncode == 0
    lab.until(lambda: lab.guests() == {101: "pve2", 102: "pve2", 103: "pve1"}, "everybody is home")


def test_a_rolling_maintenance_runs_the_real_hook_on_one_node_after_another(lab: Lab) -> None:
    told, hook = lab.folder / "told", lab.folder / "patch-node"
    hook.write_text(f'#!/bin/sh -e\necho "$DROVER_NODE $DROVER_ACTION $DROVER_ATTEMPT $PVE_TOKEN" >> {told}\n')
    hook.chmod(0o700)
    with (lab.folder / "drover.toml").open("a") as settings:
        settings.write(f'[hooks.patch]\ncommand = ["{hook}"]\ntimeoutSeconds = 20\n')
    lab.cluster(maintenance={"drainedHook": "patch"})
    selector = {"matchExpressions": [{"key": "drover.dev/node", "operator": "In", "values": ["pve1", "pve2"]}]}
    lab.write("NodeMaintenance", "patches", {"nodeSelector": selector})
    lab.run("--speed", "10")
    lab.until(lambda: lab.condition("nodemaintenances", "patches", "RolledOut")[0] == "True", "both nodes are done")
    assert told.read_text() == "pve1 drained 1 \npve2 drained 1 \n"
    assert lab.guests() == {101: "pve2", 102: "pve2", 103: "pve1"}


def test_plan_says_what_would_move_with_the_line_to_type_and_its_exit_code(lab: Lab) -> None:
    lab.label("pve2", "true")
    plan = lab.drover("plan")
    assert plan.returncode == 2, plan.stdout + plan.stderr
    assert "qm migrate 101 pve" in plan.stdout
    assert "NodeMaintenance" in plan.stdout
    data = json.loads(lab.drover("plan", "-o", "json").stdout)
    assert {move["vmid"] for item in data["items"] for move in item["status"]["moves"]} <= {101, 102}
    lab.write(
        "PlacementPolicy",
        "stuck",
        {"guestSelector": {"vmids": [101]}, "nodeAffinity": {"nodes": ["pve2"]}},
    )
    infeasible = lab.drover("plan")
    assert infeasible.returncode == 3, infeasible.stdout + infeasible.stderr
    assert "101" in infeasible.stdout
    assert lab.drover("plan", "--no-such-option").returncode == 64
    assert not lab.migrations()


def test_a_plan_made_once_knows_the_disks_that_the_daemon_comes_to_know(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    try:
        local = "  101: {name: db, node: pve2, memory: 4GiB, disks: {scsi0: {storage: zfs, size: 8GiB}}}\n"
        lab.simulate(
            CLUSTER.replace("storages:\n", "storages:\n  zfs: {type: zfspool, size: 1TiB}\n").replace(DB, local)
        )
        lab.cluster()
        lab.settings()
        lab.write("ReplicationPolicy", "all", {"guestSelector": {"vmids": [101]}, "targets": {"replicas": 1}})
        lab.label("pve2", "true")
        said = lab.drover("plan").stdout
        assert "VM 101 db waits for the first sync of 8 GiB of local disks" in said
        assert "+ job 101-0" in said
        assert "has not been read" not in said
    finally:
        lab.close()


def test_a_broken_manifest_leaves_the_last_good_one_in_force(lab: Lab) -> None:
    lab.run()
    lab.until(lambda: lab.get("/readyz") == "ok\n", "ready")
    (lab.manifests / "pvecluster-default.yaml").write_text("apiVersion: drover.dev/v1alpha1\nkind: PveCluster\nspec: [")
    lab.until(lambda: bool(re.search(r"drover_source_errors [1-9]", lab.get("/metrics") or "")), "the error is counted")
    assert re.search(r"pvecluster-default\.yaml:4:\d+: ", lab.drover("validate", str(lab.manifests)).stdout)
    lab.label("pve2", "true")
    lab.until(lambda: drained(lab), "the drain goes on with the last good cluster")


def test_every_wrong_way_to_connect_is_a_condition_with_a_clear_word(lab: Lab) -> None:
    lab.settings(secret="00000000-0000-0000-0000-000000000000")
    daemon = lab.run()
    lab.until(lambda: lab.condition("pveclusters", "default", "Connected")[1] == "AuthFailed", "a wrong token")
    lab.cluster(tls={"fingerprintSha256": ":".join(["AB"] * 32)})
    lab.until(lambda: lab.condition("pveclusters", "default", "Connected")[1] == "TLSFailed", "a wrong fingerprint")
    lab.cluster(endpoints=["https://127.0.0.1:1"])
    lab.until(lambda: lab.condition("pveclusters", "default", "Connected")[1] == "Unreachable", "a dead endpoint")
    lab.cluster(auth={"credentialsRef": "nobody"})
    lab.until(lambda: lab.condition("pveclusters", "default", "Connected")[1] == "NoCredentials", "no such credential")
    lab.cluster(endpoints=["https://evil.example:8006"])
    lab.until(lambda: "bind" in lab.condition("pveclusters", "default", "Connected")[2], "a foreign endpoint")
    assert daemon.poll() is None
    assert SECRET not in lab.log


def test_a_dead_first_endpoint_is_no_reason_not_to_work(lab: Lab) -> None:
    lab.cluster(endpoints=["https://127.0.0.1:1", *lab.endpoints])
    lab.run()
    lab.until(lambda: lab.condition("pveclusters", "default", "Connected")[0] == "True", "connected")


def test_a_pinned_fingerprint_stands_in_for_an_authority(lab: Lab) -> None:
    lab.cluster(endpoints=lab.endpoints[:1], tls={"fingerprintSha256": lab.fingerprint})
    lab.run()
    lab.until(lambda: lab.condition("pveclusters", "default", "Connected")[0] == "True", "connected")


def test_a_token_without_rights_is_found_at_the_start_with_the_lines_that_grant_them(lab: Lab) -> None:
    lab.settings(token="poor@pve!e2e", secret=SECRET.replace("a" * 4, "b" * 4, 1).replace("f0aaaa", "f0bbbb"))
    lab.run()
    lab.until(lambda: lab.condition("pveclusters", "default", "Ready")[1] == "PermissionMissing", "rights are missing")
    told = lab.drover("describe", "pvecluster", "default").stdout
    assert "pveum" in told
    assert "VM.Migrate" in told


def test_withdrawing_the_intent_stops_new_moves_within_a_second(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    many = "".join(
        f"  {vmid}: {{name: g{vmid}, node: pve2, status: stopped, memory: 256MiB, disks: {{scsi0: {{storage: ceph}}}}}}\n"
        for vmid in range(201, 261)
    )
    try:
        lab.simulate(CLUSTER.replace(DB, many), speed=1)
        lab.cluster(maintenance={"template": {"afterMaintenance": "Stay"}})
        lab.settings()
        lab.label("pve2", "true")
        lab.run()
        lab.until(lambda: len(lab.migrations()) >= 4, "the drain goes on and on")
        lab.label("pve2", None)
        time.sleep(1.0)
        begun = len(lab.migrations())
        time.sleep(7.0)
        assert len(lab.migrations()) == begun < 60
    finally:
        lab.close()
