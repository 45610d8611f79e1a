"""Decoding: PVE's rows become nouns; what is absent stays absent; no JSON whatsoever crashes it."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.ids import GuestKind, NodeName, Vmid
from controller.model.observed import HaNodeState, NodeState, Power
from controller.pve import decode, decode_guest, tasklog
from controller.pve.transport import Json
from controller.pve.values import DecodeError, amount, flag, integer, real, words

QEMU, LXC = GuestKind.QEMU, GuestKind.LXC

# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [
        (1, 1, 1.0),
        ("1", 1, 1.0),
        ("2.5", 2, 2.5),
        (2.9, 2, 2.9),
        (True, 1, 1.0),
        (-3, -3, -3.0),
        ("", None, None),
        (None, None, None),
        ("x", None, None),
        ("nan", None, None),
        ("1e999", None, None),
        ([], None, None),
        ({}, None, None),
        (10**400, None, None),
    ],
)
def test_numbers_are_taken_in_every_form(value: Json, whole: int | None, number: float | None) -> None:
    assert (integer(value), real(value)) == (whole, number)
    assert amount(value) == (whole if whole is None or whole >= 0 else None)


@pytest.mark.parametrize(
    ("value", "expected"), [(1, True), ("1", True), (True, True), (0, False), ("0", False), ("", False), (None, False)]
)
def test_flags_are_taken_in_every_form(value: Json, expected: bool) -> None:
    assert flag(value) is expected


@pytest.mark.parametrize("value", ["prod;web", "prod,web", "prod web", " prod ; web;;", "web\tprod", "web;prod;web"])
def test_tags_are_split_at_every_separator(value: str) -> None:
    assert words(value) == {"prod", "web"}


# --- cluster ----------------------------------------------------------------------------------------------------------


def test_cluster_status_tells_quorum_members_and_who_answered() -> None:
    status = decode.cluster_status(
        [
            {"type": "cluster", "name": "prod", "quorate": 1, "nodes": 2},
            {"type": "node", "name": "pve1", "online": 1, "local": 1},
            {"type": "node", "name": "pve2", "online": 0, "local": 0},
        ]
    )
    assert (status.name, status.quorate, status.local) == ("prod", True, "pve1")
    assert dict(status.online) == {"pve1": True, "pve2": False}


def test_a_node_without_cluster_is_quorate_by_itself() -> None:
    status = decode.cluster_status([{"type": "node", "name": "pve1", "online": 1, "local": 1, "nodeid": 0}])
    assert (status.name, status.quorate) == ("", True)


@pytest.mark.parametrize("no", [0, "0", "", None])
def test_without_quorum(no: Json) -> None:
    assert not decode.cluster_status([{"type": "cluster", "name": "x", "quorate": no}]).quorate


def test_a_full_guest_row() -> None:
    (guest,) = decode.resources(
        [
            {
                "type": "qemu", "id": "qemu/101", "vmid": 101, "node": "pve2", "status": "running", "name": "web1",
                "template": 0, "maxmem": 1 << 30, "mem": 5, "maxcpu": 4, "cpu": 0.5, "maxdisk": 0, "tags": "prod;web",
                "pool": "a/b", "lock": "backup", "hastate": "started",
            }
        ]
    ).guests  # fmt: skip
    assert (guest.vmid, guest.kind, guest.name, guest.node) == (101, QEMU, "web1", "pve2")
    assert (guest.power, guest.template, guest.memory_bytes, guest.memory_used_bytes) == (
        Power.RUNNING,
        False,
        1 << 30,
        5,
    )
    assert (guest.cpus, guest.tags, guest.pool, guest.lock) == (4, frozenset({"prod", "web"}), "a/b", "backup")
    assert (guest.ha_state, guest.ha_managed, guest.identity.born) == ("started", True, "")


def test_a_guest_of_which_nothing_was_heard_has_no_numbers() -> None:
    (guest,) = decode.resources(
        [{"type": "lxc", "id": "lxc/200", "vmid": "200", "node": "pve3", "status": "unknown"}]
    ).guests
    assert (guest.vmid, guest.kind, guest.power, guest.name) == (200, LXC, Power.UNKNOWN, "")
    assert (guest.memory_bytes, guest.memory_used_bytes, guest.cpus, guest.disk_bytes) == (None, None, None, None)


@pytest.mark.parametrize(
    ("word", "power"),
    [
        ("running", Power.RUNNING), ("stopped", Power.STOPPED), ("paused", Power.PAUSED), ("suspended", Power.PAUSED),
        ("prelaunch", Power.PAUSED), ("io-error", Power.PAUSED), ("internal-error", Power.PAUSED),
        ("postmigrate", Power.PAUSED), ("unknown", Power.UNKNOWN), ("never heard of", Power.UNKNOWN), ([], Power.UNKNOWN),
    ],
)  # fmt: skip
def test_run_states_are_folded(word: Json, power: Power) -> None:
    (guest,) = decode.resources([{"type": "qemu", "vmid": 1, "node": "a", "status": word}]).guests
    assert guest.power is power


def test_node_rows_with_and_without_numbers() -> None:
    nodes = decode.resources(
        [
            {
                "type": "node",
                "node": "a",
                "status": "online",
                "hastate": "maintenance",
                "maxmem": 9,
                "mem": 4,
                "maxcpu": 2,
                "cpu": 0,
            },
            {"type": "node", "node": "b", "status": "offline", "maxmem": 9},
            {"type": "node", "node": "c", "status": "new word", "hastate": "new word"},
        ]
    ).nodes
    assert [(n.name, n.state, n.ha, n.memory_bytes, n.memory_used_bytes, n.cpu_fraction) for n in nodes] == [
        ("a", NodeState.ONLINE, HaNodeState.MAINTENANCE, 9, 4, 0.0),
        ("b", NodeState.OFFLINE, HaNodeState.NONE, 9, None, None),
        ("c", NodeState.UNKNOWN, HaNodeState.UNKNOWN, None, None, None),
    ]


def test_storage_rows_and_rows_of_no_concern() -> None:
    found = decode.resources(
        [
            {
                "type": "storage",
                "storage": "ceph",
                "node": "a",
                "status": "available",
                "shared": 1,
                "content": "images,rootdir",
                "maxdisk": 9,
                "disk": 1,
            },
            {"type": "storage", "storage": "new", "node": "a", "status": "unknown", "shared": 0},
            {"type": "pool", "pool": "prod"},
            {"type": "network", "network": "z"},
            {"type": ["?"]},
        ]
    )
    ceph, new = found.storages
    assert (ceph.shared, ceph.available, ceph.content, ceph.total_bytes, ceph.used_bytes) == (
        True,
        True,
        frozenset({"images", "rootdir"}),
        9,
        1,
    )
    assert (new.shared, new.available, new.total_bytes) == (False, False, None)
    assert found.skipped == 0


def test_rows_that_make_no_sense_are_skipped_and_counted() -> None:
    found = decode.resources(
        [
            {"type": "qemu", "node": "a"}, {"type": "qemu", "vmid": "x", "node": "a"}, {"type": "lxc", "vmid": 5},
            {"type": "node"}, {"type": "storage", "storage": "s"}, {"type": "qemu", "vmid": 7, "node": "a"},
        ]
    )  # fmt: skip
    assert ([guest.vmid for guest in found.guests], found.nodes, found.storages, found.skipped) == ([7], (), (), 5)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"manager_status": {"node_status": {"a": "maintenance"}}}, {"a"}),
        ({"manager_status": {"node_request": {"a": {"maintenance": 1}, "b": {}}}}, {"a"}),
        ({"lrm_status": {"a": {"mode": "maintenance"}, "b": {"mode": "active"}}}, {"a"}),
        ({"manager_status": {"node_status": {"a": "online"}}, "lrm_status": {"a": {"mode": "restart"}}}, set()),
        ({}, set()),
    ],
)
def test_maintenance_of_pve_ha_is_seen_in_all_three_places(answer: Json, expected: set[str]) -> None:
    assert decode.ha_status(answer).maintenance == expected


def test_words_of_the_ha_manager() -> None:
    status = decode.ha_status(
        {"manager_status": {"node_status": {"a": "online", "b": "fence", "c": "??"}, "service_status": {"vm:1": {}}}}
    )
    assert dict(status.nodes) == {"a": HaNodeState.ONLINE, "b": HaNodeState.FENCE, "c": HaNodeState.UNKNOWN}
    assert status.services == 1


def test_replication_jobs() -> None:
    (job, leaving) = decode.replication_jobs(
        [
            {"id": "130-0", "guest": 130, "jobnum": 0, "type": "local", "source": "a", "target": "b", "rate": 20},
            {
                "id": "130-1",
                "guest": "130",
                "target": "c",
                "schedule": "0:30",
                "disable": 1,
                "remove_job": "full",
                "comment": "x",
            },
            {"id": "x"},
        ]
    )
    assert (job.id, job.vmid, job.source, job.target, job.schedule, job.removing) == (
        "130-0",
        130,
        "a",
        "b",
        "*/15",
        False,
    )
    assert (leaving.source, leaving.disabled, leaving.removing, leaving.comment, leaving.schedule) == (
        None,
        True,
        True,
        "x",
        "0:30",
    )


UPID = "UPID:pve2:0000025F:000881C0:6B038F4F:qmigrate:161:bot@pve!drs:"


@pytest.mark.parametrize(
    ("row", "running", "exit_status"),
    [
        ({"upid": UPID, "user": "bot@pve", "tokenid": "drs", "status": "OK", "endtime": 5, "saved": "1"}, False, "OK"),
        ({"upid": UPID, "user": "bot@pve", "tokenid": "drs", "pid": 607, "saved": "0"}, True, ""),
        ({"upid": UPID, "user": "bot@pve!drs", "status": "RUNNING", "saved": "0"}, True, ""),
        ({"upid": UPID, "status": "migration aborted", "endtime": 5}, False, "migration aborted"),
        ({"upid": UPID, "status": "", "endtime": 5}, False, ""),
    ],
)
def test_task_rows(row: dict[str, Json], running: bool, exit_status: str) -> None:
    (task,) = decode.tasks([row, {"upid": "nonsense"}, {}])
    assert (task.node, task.type, task.vmid, task.user, task.start) == (
        "pve2",
        "qmigrate",
        161,
        "bot@pve!drs",
        0x6B038F4F,
    )
    assert (task.running, task.exit_status, task.migrates) == (running, exit_status, True)


def test_task_status() -> None:
    assert decode.task_status({"upid": UPID, "status": "running"}).running
    ended = decode.task_status({"upid": UPID, "status": "stopped", "exitstatus": "WARNINGS: 1"})
    assert (ended.running, ended.ok) == (False, True)


@pytest.mark.parametrize(
    ("text", "expected"), [("9.2.11", (9, 2, 11)), ("9.0.0~16", (9, 0, 0)), ("8.4", (8, 4)), ("", ()), ("x", ())]
)
def test_versions(text: str, expected: tuple[int, ...]) -> None:
    assert decode.version(text) == expected


def test_node_status() -> None:
    node = decode.node_status(
        {
            "memory": {"total": 100, "used": 40, "free": 50, "available": 60}, "cpuinfo": {"cpus": 8, "mhz": "2445.430"},
            "cpu": 0.25, "uptime": 77, "pveversion": "pve-manager/9.2.11/14a22df35955d97d", "loadavg": ["1", "2", "3"],
        },
        NodeName("a"),
    )  # fmt: skip
    assert (node.memory_bytes, node.memory_used_bytes, node.cpus, node.cpu_fraction) == (100, 40, 8, 0.25)
    assert (node.version, node.uptime_seconds, node.state, node.ha) == (
        (9, 2, 11),
        77,
        NodeState.ONLINE,
        HaNodeState.NONE,
    )


def test_options_and_permissions() -> None:
    options = decode.options(
        {
            "migration": {"type": "insecure", "network": "10.0.0.0/24"},
            "crs": {"ha-auto-rebalance": 1},
            "max_workers": "2",
        }
    )
    assert (options.migration_insecure, options.migration_network, options.ha_balances, options.max_workers) == (
        True,
        "10.0.0.0/24",
        True,
        2,
    )
    assert decode.permissions({"/": {"Sys.Audit": 1, "VM.Audit": 0}}) == {"/": {"Sys.Audit": True, "VM.Audit": False}}


# --- one guest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "power", "ha"),
    [
        ({"status": "running", "qmpstatus": "running", "ha": {"managed": 0}}, Power.RUNNING, ""),
        (
            {"status": "running", "qmpstatus": "paused", "ha": {"managed": 1, "state": "started"}},
            Power.PAUSED,
            "started",
        ),
        ({"status": "running"}, Power.RUNNING, ""),  # a container has no qmpstatus
        ({"status": "stopped", "qmpstatus": "stopped", "ha": {"managed": "1"}}, Power.STOPPED, "started"),
        ({"status": "running", "ha": {"managed": 1, "state": "ignored"}}, Power.RUNNING, "ignored"),
    ],
)
def test_the_state_of_a_guest(row: dict[str, Json], power: Power, ha: str) -> None:
    guest = decode_guest.guest_status(
        {**row, "name": "a", "maxmem": 5, "lock": "migrate"}, NodeName("n"), QEMU, Vmid(9)
    )
    assert (guest.power, guest.ha_state, guest.vmid, guest.node, guest.memory_bytes, guest.lock) == (
        power,
        ha,
        9,
        "n",
        5,
        "migrate",
    )


def test_the_config_of_a_vm() -> None:
    config = decode_guest.guest_config(
        {
            "meta": "creation-qemu=9.2.0,ctime=1795392697", "sockets": 2, "cores": 4, "memory": "4096", "digest": "abc",
            "scsi0": "local-zfs:vm-100-disk-0,iothread=1,size=32G,replicate=0", "scsihw": "virtio-scsi-single",
            "ide2": "local:iso/x.iso,media=cdrom,size=600M", "ide3": "none,media=cdrom", "sata0": "/dev/sdb",
            "ide0": "local:100/vm-100-cloudinit.qcow2,media=cdrom", "efidisk0": "file=ceph:vm-100-disk-1,size=528K",
            "unused0": "ceph:vm-100-disk-9", "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
        },
        QEMU,
        Vmid(100),
        read_at=5.0,
    )  # fmt: skip
    assert (config.identity.born, config.vcpus, config.digest, config.read_at) == ("ctime:1795392697", 8, "abc", 5.0)
    assert [(d.key, d.volume, d.storage, d.size_bytes, d.cdrom, d.replicate) for d in config.disks] == [
        ("efidisk0", "ceph:vm-100-disk-1", "ceph", 528 << 10, False, True),
        ("ide0", "local:100/vm-100-cloudinit.qcow2", "local", None, False, True),
        ("ide2", "local:iso/x.iso", "local", 600 << 20, True, True),
        ("ide3", "none", "", None, True, True),
        ("sata0", "/dev/sdb", "", None, False, True),
        ("scsi0", "local-zfs:vm-100-disk-0", "local-zfs", 32 << 30, False, False),
        ("unused0", "ceph:vm-100-disk-9", "ceph", None, False, True),
    ]


@pytest.mark.parametrize(
    ("row", "vcpus"), [({}, 1), ({"cores": "4"}, 4), ({"sockets": 2, "cores": 4, "vcpus": 3}, 3), ({"sockets": 2}, 2)]
)
def test_vcpus_of_a_vm(row: Json, vcpus: int) -> None:
    assert decode_guest.guest_config(row, QEMU, Vmid(1), read_at=0).vcpus == vcpus


CONTAINER: dict[str, Json] = {
    "arch": "amd64", "ostype": "debian", "hostname": "ct1", "memory": 64, "digest": "8e33",
    "rootfs": "shared:200/vm-200-disk-0.raw,size=128M", "mp0": "/mnt/data,mp=/data,shared=1", "tags": "ct",
    "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:8B:AF:B2,ip=manual,type=veth",
}  # fmt: skip


def _born(row: dict[str, Json], kind: GuestKind = LXC) -> str:
    return decode_guest.guest_config(row, kind, Vmid(200), read_at=0).identity.born


def test_a_container_is_recognised_after_every_ordinary_change() -> None:
    born = _born(CONTAINER)
    assert born.startswith("print:")
    changes: list[dict[str, Json]] = [
        {"hostname": "other", "memory": 128, "cores": 2, "tags": "x", "lock": "backup", "digest": "z"},
        {"rootfs": "local:200/vm-200-disk-1.raw,size=256M"},
        {"net1": "name=eth1,hwaddr=BC:24:11:00:00:00"},
        {"net0": "name=eth0,bridge=vmbr1,hwaddr=bc:24:11:8b:af:b2,ip=dhcp"},
    ]
    for change in changes:
        assert _born({**CONTAINER, **change}) == born


@pytest.mark.parametrize(
    "change", [{"net0": "name=eth0,hwaddr=BC:24:11:8B:AF:B3"}, {"ostype": "alpine"}, {"arch": "arm64"}]
)
def test_another_container_with_the_same_number_is_another(change: dict[str, Json]) -> None:
    assert _born({**CONTAINER, **change}) != _born(CONTAINER)


def test_an_old_vm_is_recognised_by_its_uuid_and_without_one_not_at_all() -> None:
    old = _born({"smbios1": "uuid=e7afd82b-6f9e-42ef-a072-af95ed25648f"}, QEMU)
    assert old.startswith("print:")
    assert old != _born({"smbios1": "uuid=0"}, QEMU)
    assert _born({"name": "a"}, QEMU) == ""


def test_disks_of_a_container() -> None:
    config = decode_guest.guest_config(CONTAINER, LXC, Vmid(200), read_at=0)
    assert [(d.key, d.storage, d.size_bytes) for d in config.disks] == [
        ("mp0", "", None),
        ("rootfs", "shared", 128 << 20),
    ]
    assert config.vcpus is None


def test_the_verdict_about_a_vm() -> None:
    verdict = decode_guest.preconditions(
        {
            "running": 1,
            "allowed_nodes": ["pve2"],
            "not_allowed_nodes": {
                "pve2": {},
                "pve3": {"unavailable_storages": ["fast"], "unavailable-resources": ["hostpci0"]},
                "pve4": {"blocking-ha-resources": [{"sid": "vm:7", "cause": "resource-affinity"}]},
                "pve5": {"something-new": ["x"]},
            },
            "local_disks": [{"volid": "local:iso/x.iso", "cdrom": 1, "is_attached": 1, "is_cloudinit": 0, "size": 5}],
            "local_resources": ["hostpci0", "usb0", "serial1"],
            "mapped-resources": ["hostpci0", "usb0"],
            "mapped-resource-info": {"hostpci0": {"name": "gpu", "live-migration": 1}, "usb0": {"name": "stick"}},
            "has-dbus-vmstate": 1,
        }
    )
    assert verdict.running
    assert verdict.conntrack
    assert set(verdict.objections) == {"pve3", "pve4", "pve5"}
    assert verdict.missing_storages == {"pve3": ("fast",)}
    assert "hostpci0" in verdict.objections[NodeName("pve3")][0]
    assert "vm:7" in verdict.objections[NodeName("pve4")][0]
    assert (verdict.local_resources, verdict.unmovable_mapped) == (("serial1",), ("usb0",))
    (disk,) = verdict.local_disks
    assert (disk.volume, disk.cdrom, disk.cloudinit, disk.attached, disk.size_bytes) == (
        "local:iso/x.iso",
        True,
        False,
        True,
        5,
    )


def test_the_verdict_about_a_container_and_that_of_7_4() -> None:
    container = decode_guest.preconditions(
        {
            "running": 0,
            "allowed-nodes": [],
            "not-allowed-nodes": {"pve2": {"blocking-ha-resources": [{"sid": "ct:5", "cause": "x"}]}},
        }
    )
    assert set(container.objections) == {"pve2"}
    old = decode_guest.preconditions({"running": 1, "local_disks": [], "local_resources": ["hostusb"]})
    assert (old.objections, old.local_resources, old.conntrack) == ({}, ("hostusb",), False)


# --- anything ---------------------------------------------------------------------------------------------------------

_KEY_WORDS = """
    type vmid node name status tags maxmem cpu hastate quorate online local upid endtime guest target id remove_job content
    manager_status node_status lrm_status mode memory cpuinfo meta net0 net00 scsi0 rootfs size cores vcpus storage t ha
    not_allowed_nodes mapped-resources mapped-resource-info local_disks blocking-ha-resources unavailable_storages crs
    migration pveversion smbios1 max_workers
"""
_KEYS = st.sampled_from(_KEY_WORDS.split())
_WORDS = st.sampled_from(
    ["qemu", "lxc", "node", "storage", "cluster", "running", "online", UPID, "1", "a=b,ctime=1", "s:v,size=1T", "1e400"]
)
_JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | _WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=5), inner, max_size=8),
    max_leaves=40,
)
_DECODERS: list[Callable[[Json], object]] = [
    decode.cluster_status, decode.resources, decode.ha_status, decode.replication_jobs, decode.options, decode.permissions,
    decode.tasks, decode.task_status, decode_guest.preconditions, tasklog.real_lines,
    lambda answer: decode.node_status(answer, NodeName("a")),
    lambda answer: decode_guest.guest_status(answer, NodeName("a"), QEMU, Vmid(1)),
    lambda answer: decode_guest.guest_config(answer, QEMU, Vmid(1), read_at=0),
    lambda answer: decode_guest.guest_config(answer, LXC, Vmid(1), read_at=0),
]  # fmt: skip


@given(_JSON)
def test_no_answer_crashes_a_decoder(answer: Json) -> None:
    for decoded in _DECODERS:
        with suppress(DecodeError):
            decoded(answer)
        with suppress(DecodeError):
            decoded([answer])


RECORDED = Path(__file__).resolve().parents[3] / "shared" / "pve" / "recorded"


def test_every_recorded_answer_of_the_calls_used_makes_sense() -> None:
    if not RECORDED.is_dir():
        pytest.skip("the recordings of a real cluster are not beside this checkout")
    lists = {
        "/cluster/resources": lambda answer: decode.resources(answer).skipped == 0,
        "/cluster/status": lambda answer: bool(decode.cluster_status(answer).online),
        "/cluster/tasks": lambda answer: len(decode.tasks(answer)) == len(answer),
        "/cluster/replication": lambda answer: len(decode.replication_jobs(answer)) == len(answer),
        "/cluster/ha/status/manager_status": lambda answer: decode.ha_status(answer) is not None,
        "/cluster/options": lambda answer: decode.options(answer) is not None,
        "/access/permissions": lambda answer: decode.permissions(answer) is not None,
    }
    seen = dict.fromkeys([*lists, "migrate", "current", "config"], 0)
    for file in sorted(RECORDED.glob("*/*.json")):
        call = json.loads(file.read_text())
        path, answer = call["path"].split("?")[0], call.get("body", {})
        if call["method"] != "GET" or call["status"] != 200 or not isinstance(answer, dict) or "data" not in answer:
            continue
        parts = path.strip("/").split("/")
        if path in lists:
            assert lists[path](answer["data"]), file.name
            seen[path] += 1
        elif len(parts) > 4 and parts[0] == "nodes" and parts[2] in ("qemu", "lxc") and parts[-1] in seen:
            kind, vmid = GuestKind(parts[2]), Vmid(int(parts[3]))
            if parts[-1] == "migrate":
                decode_guest.preconditions(answer["data"])
            elif parts[-1] == "current":
                guest = decode_guest.guest_status(answer["data"], NodeName(parts[1]), kind, vmid)
                assert guest.power is not Power.UNKNOWN, file.name
                assert guest.memory_bytes, file.name
            else:
                assert decode_guest.guest_config(answer["data"], kind, vmid, read_at=0).identity.born, file.name
            seen[parts[-1]] += 1
    assert all(seen.values()), seen
