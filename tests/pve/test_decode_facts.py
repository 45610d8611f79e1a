"""Facts of one move from PVE's JSON: tables of answers as they were seen, and of nonsense."""

from typing import Any

import pytest

from controller.model.facts import CpuModel, HaRule, JobState, Nic, Setup
from controller.model.ids import GuestKind, NodeName, Vmid
from controller.model.observed import Storage
from controller.pve import decode_facts
from controller.pve.decode import node_status
from controller.pve.decode_facts import HaResource
from controller.pve.decode_guest import guest_status, preconditions
from controller.pve.values import DecodeError

PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Setup(most_cpus=1)),
        ({"cpu": "host"}, Setup(cpu="host", most_cpus=1)),
        (
            {"cpu": "x86-64-v2-AES,flags=+aes;-pcid;+md-clear", "sockets": 2, "cores": "4", "vcpus": 3},
            Setup(cpu="x86-64-v2-AES", cpu_flags=frozenset({"aes", "md-clear"}), most_cpus=8),
        ),
        ({"cpu": "cputype=custom-lab,hidden=1"}, Setup(cpu="custom-lab", most_cpus=1)),
        (
            {"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=5", "net1": "e1000=BC:24:11:00:00:02", "nets": "x"},
            Setup(most_cpus=1, nics=(Nic("net0", "vmbr0"), Nic("net1", ""))),
        ),
        (
            {"hugepages": "2", "affinity": "0-3", "numa": 1, "numa0": "cpus=0-1", "numa1": "cpus=2,hostnodes=1"},
            Setup(most_cpus=1, pins={"affinity": "0-3", "hugepages": "2", "numa1": "cpus=2,hostnodes=1"}),
        ),
    ],
)
def test_the_config_of_a_vm(config: dict[str, Any], expected: Setup) -> None:
    assert decode_facts.setup(config, GuestKind.QEMU) == expected


def test_the_config_of_a_container() -> None:
    config: Any = {
        "net0": "name=eth0,bridge=vmbr1,hwaddr=BC:24:11:00:00:03",
        "rootfs": "local-zfs:subvol-200-disk-0,size=8G",
        "mp0": "/srv/data,mp=/data",
        "mp1": "/mnt/nfs,mp=/nfs,shared=1",
        "mp2": "local-zfs:subvol-200-disk-1,mp=/var,size=4G",
        "dev0": "/dev/dri/renderD128,gid=104",
    }
    assert decode_facts.setup(config, GuestKind.LXC) == Setup(nics=(Nic("net0", "vmbr1"),), host_mounts=("dev0", "mp0"))


def test_machines_networks_and_flags() -> None:
    assert decode_facts.machines([{"id": "pc-q35-9.2+pve1", "type": "q35"}, {"id": ""}, 7]) == {"pc-q35-9.2+pve1"}
    rows: list[Any] = [
        {"iface": "eno1", "type": "eth"},
        {"iface": "vmbr0", "type": "bridge"},
        {"iface": "vmbr1", "type": "OVSBridge"},
        {"iface": "vnet5", "type": "vnet"},
        {"iface": "bond0", "type": "bond"},
    ]
    assert decode_facts.networks(rows) == {"vmbr0", "vmbr1", "vnet5"}
    flags: list[Any] = [
        {"name": "aes", "supported-on": ["pve1", "pve2"]},
        {"name": "avx2", "supported-on": []},
        {"name": "pcid"},
    ]
    assert decode_facts.cpu_flags(flags) == {"aes": frozenset({PVE1, PVE2}), "avx2": frozenset()}


def test_models_that_an_administrator_has_defined_are_made_of_others() -> None:
    rows: list[Any] = [
        {"cputype": "custom-lab", "reported-model": "EPYC-Rome", "flags": "+pcid;-svm"},
        {"cputype": "bare"},
        {"digest": "x"},
    ]
    assert decode_facts.cpu_models(rows) == {
        "custom-lab": CpuModel("EPYC-Rome", frozenset({"pcid"})),
        "custom-bare": CpuModel("kvm64"),
    }


def test_snapshots_show_in_the_config() -> None:
    assert not decode_facts.setup({}, GuestKind.LXC).snapshots
    assert decode_facts.setup({"parent": "before"}, GuestKind.LXC).snapshots


def test_storages_of_a_node_without_those_that_are_not_enabled() -> None:
    rows: list[Any] = [
        {
            "storage": "a",
            "type": "nfs",
            "content": "images,iso",
            "shared": 1,
            "enabled": 1,
            "active": 1,
            "total": 9,
            "used": 4,
        },
        {"storage": "b", "type": "dir", "content": "iso", "enabled": 1, "active": 0, "total": 0, "used": 0},
        {"storage": "c", "type": "dir", "enabled": 0},
        {"type": "dir"},
    ]
    assert decode_facts.storages(rows, PVE1) == (
        Storage("a", PVE1, True, True, frozenset({"images", "iso"}), 9, 4, "nfs"),
        Storage("b", PVE1, False, False, frozenset({"iso"}), None, None, "dir"),
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"sid": "vm:140", "state": "started"}, HaResource(True, "")),
        ({"sid": "vm:140", "failback": 0}, HaResource(False, "")),
        ({"sid": "vm:140", "failback": "1", "group": "near"}, HaResource(True, "near")),
    ],
)
def test_an_entry_of_pve_ha(row: dict[str, Any], expected: HaResource) -> None:
    assert decode_facts.ha_resource(row) == expected


def test_only_rules_in_force_that_name_the_guest_count() -> None:
    near: Any = {
        "rule": "near",
        "type": "node-affinity",
        "resources": "vm:100,ct:7",
        "nodes": "pve1:2,pve2",
        "strict": 1,
    }
    pair: Any = {"rule": "pair", "type": "resource-affinity", "resources": "vm:100,vm:101", "affinity": "positive"}
    rows: list[Any] = [
        near,
        {**near, "rule": "off", "disable": 1},
        {**near, "rule": "broken", "errors": {"resources": ["is infeasible"]}},
        {**near, "rule": "other", "resources": "vm:1001"},
        pair,
        {**pair, "rule": "apart", "affinity": "negative"},
    ]
    assert decode_facts.ha_rules(rows, "vm:100") == (
        HaRule("near", nodes={PVE1: 2, PVE2: 0}, strict=True, resources=("ct:7", "vm:100")),
        HaRule("pair", together=("vm:100", "vm:101")),
        HaRule("apart", apart=("vm:100", "vm:101")),
    )


def test_a_group_of_pve_8_is_a_rule() -> None:
    row: Any = {"group": "g", "nodes": "pve1:2,pve2,pve3:1", "nofailback": 1, "restricted": 0}
    assert decode_facts.ha_group(row) == (HaRule("g", nodes={PVE1: 2, PVE2: 0, PVE3: 1}), False)
    assert decode_facts.ha_group({"group": "g", "nodes": "pve1", "restricted": 1})[1] is True


def test_replication_jobs_say_how_they_stand() -> None:
    rows: list[Any] = [
        {"id": "130-0", "target": "pve2", "fail_count": 0, "last_sync": 1795393560, "pid": 4911},
        {"id": "131-0", "target": "pve3", "fail_count": 2, "last_sync": 0, "error": "exit code 255"},
        {"id": "132-0"},
    ]
    assert decode_facts.job_states(rows) == (
        JobState("130-0", PVE2, 0, "", True, 1795393560),
        JobState("131-0", PVE3, 2, "exit code 255", False, 0),
    )


def test_only_what_is_going_to_change_is_pending() -> None:
    rows: list[Any] = [
        {"key": "memory", "value": "48", "pending": "64"},
        {"key": "cores", "value": 1, "pending": 2},
        {"key": "cpu", "value": "qemu64", "delete": 1},
        {"key": "kvm", "value": 0},
        {"key": "digest", "value": "9c30"},
    ]
    assert decode_facts.pending(rows) == {"memory": "64", "cores": "2", "cpu": ""}


def test_a_node_names_its_processor() -> None:
    info: Any = {"model": "AMD EPYC", "vendor": "AuthenticAMD", "family": "25", "flags": "aes avx2", "cpus": 8}
    cpu = node_status({"cpuinfo": info}, PVE1).cpu
    assert cpu is not None
    assert (cpu.model, cpu.vendor, cpu.family, cpu.flags) == (
        "AMD EPYC",
        "AuthenticAMD",
        "25",
        frozenset({"aes", "avx2"}),
    )
    assert node_status({"cpuinfo": {"cpus": 8}}, PVE1).cpu is None


def test_a_running_vm_names_its_machine_and_a_local_disk_its_snapshots() -> None:
    row: Any = {"status": "running", "running-machine": "pc-i440fx-9.2+pve1", "running-qemu": "10.1.2"}
    guest = guest_status(row, PVE1, GuestKind.QEMU, Vmid(100))
    assert (guest.machine, guest.qemu) == ("pc-i440fx-9.2+pve1", (10, 1, 2))
    disks: list[Any] = [
        {"volid": "l:a", "referenced_in_snapshot": {"s1": 1}},
        {"volid": "l:b", "referenced_in_snapshot": {}},
    ]
    found = preconditions({"running": 1, "local_disks": disks}).local_disks
    assert [disk.in_snapshot for disk in found] == [True, False]


@pytest.mark.parametrize(
    "decode",
    [
        decode_facts.machines,
        decode_facts.networks,
        decode_facts.cpu_flags,
        decode_facts.job_states,
        decode_facts.pending,
        decode_facts.ha_group,
        decode_facts.ha_resource,
    ],
)
def test_an_answer_that_is_something_else_is_an_error(decode: Any) -> None:
    with pytest.raises(DecodeError):
        decode("nonsense")
