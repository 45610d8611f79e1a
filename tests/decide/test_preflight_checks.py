"""Every check of the hardware, the networks, the disks, PVE HA, replication and rights: a table each."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from controller.decide.preflight import CHECKS, Finding, Level, findings, refine
from controller.decide.preflight.models import normal
from controller.model.facts import CpuModel, HaFacts, HaRule, JobState, Nic, Setup, Topic, Unread
from controller.model.ids import GuestKind, NodeName, Vmid
from controller.model.memory import GuestRate, Memory
from controller.model.observed import (
    Cpu,
    Disk,
    Fresh,
    GuestConfig,
    HaNodeState,
    Power,
    ReplicationJob,
    Storage,
)
from controller.model.reasons import Why
from controller.specs import Specs
from tests.decide.build import AT, GIB, cluster, flight, guest, in_maintenance, memory, migration, node, specs
from tests.decide.test_preflight import CPU, LOOK, WANTED, WHO, disk, planned, read, with_verdict

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
PVE1, PVE2, PVE3 = NodeName("pve1"), NodeName("pve2"), NodeName("pve3")
FIRST = "local:vm-101-disk-0"


def storage(name: str, on: NodeName, **change: Any) -> Storage:
    plain = Storage(name, on, True, False, frozenset({"images", "rootdir"}), 100 * GIB, 50 * GIB, "zfspool")
    return replace(plain, **change)


SEEN = replace(
    LOOK,
    storages=(
        storage("local", PVE1),
        storage("ceph", PVE1, shared=True, type="rbd"),
        storage("san", PVE1, type="iscsi"),
        storage("thin", PVE1, type="lvmthin"),
        storage("folder", PVE1, type="dir"),
    ),
)


def told(fresh: Fresh, wanted: Specs = WANTED, remembered: Memory | None = None) -> list[Finding]:
    """What is not simply well."""
    who = fresh.guest or WHO
    found = findings(planned(who, wanted), fresh, wanted, SEEN, remembered or memory())
    return [each for each in found if each.level is not OK or each.why is Why.NOT_SUPPORTED]


def words(fresh: Fresh, wanted: Specs = WANTED) -> list[tuple[Level, Why]]:
    return [(each.level, each.why) for each in told(fresh, wanted)]


def with_facts(fresh: Fresh | None = None, **change: Any) -> Fresh:
    fresh = fresh or read()
    return replace(fresh, facts=replace(fresh.facts, **change))


def with_cpus(setup: Setup, source: Cpu | None, target: Cpu | None, **change: Any) -> Fresh:
    fresh = read(
        source=node("pve1", 16, cpu=source, version=(9, 2)), target=node("pve2", 16, cpu=target, version=(9, 2))
    )
    return with_facts(fresh, setup=setup, **change)


# Processors

LESS = replace(CPU, flags=CPU.flags - {"aes"})
MORE = replace(CPU, flags=CPU.flags | {"avx512f"})
OTHER = Cpu("Xeon", "GenuineIntel", "6", CPU.flags)
CPUS: list[tuple[str, Fresh, list[tuple[Level, Why]]]] = [
    ("host between equals", with_cpus(Setup("host"), CPU, CPU), []),
    ("host to one that can more", with_cpus(Setup("host"), CPU, MORE), []),
    ("host to one that can less", with_cpus(Setup("host"), CPU, LESS), [(FAIL, Why.CPU_INCOMPATIBLE)]),
    ("host to another vendor", with_cpus(Setup("host"), CPU, OTHER), [(FAIL, Why.CPU_INCOMPATIBLE)]),
    (
        "host to another model",
        with_cpus(Setup("max"), CPU, replace(CPU, model="EPYC 2")),
        [(FAIL, Why.CPU_INCOMPATIBLE)],
    ),
    ("host, target not told", with_cpus(Setup("host"), CPU, None), [(WARN, Why.NOT_CHECKED)]),
    ("the default runs anywhere", with_cpus(Setup(""), CPU, replace(OTHER, flags=frozenset())), []),
    ("v2-AES with aes", with_cpus(Setup("x86-64-v2-AES"), CPU, OTHER), []),
    ("v2-AES without aes", with_cpus(Setup("x86-64-v2-AES"), CPU, LESS), [(FAIL, Why.CPU_INCOMPATIBLE)]),
    (
        "a flag on top",
        with_cpus(Setup("kvm64", frozenset({"aes"})), CPU, LESS),
        [(FAIL, Why.CPU_INCOMPATIBLE)],
    ),
    ("a flag that Linux calls otherwise", with_cpus(Setup("kvm64", frozenset({"hv-evmcs"})), CPU, LESS), []),
    (
        "PVE's own list counts more",
        with_cpus(Setup("x86-64-v2-AES"), CPU, LESS, cpu_flags={"aes": frozenset({PVE1, PVE2})}),
        [],
    ),
    (
        "and forbids more",
        with_cpus(
            Setup("x86-64-v2"), CPU, CPU, cpu_flags={"sse4.1": frozenset({PVE1}), "pni": frozenset({PVE1, PVE2})}
        ),
        [(FAIL, Why.CPU_INCOMPATIBLE)],
    ),
    ("a named model between equals", with_cpus(Setup("EPYC-Milan"), CPU, CPU), []),
    ("a named model, other vendor", with_cpus(Setup("EPYC-Milan"), CPU, OTHER), [(FAIL, Why.CPU_INCOMPATIBLE)]),
    ("a named model, fewer flags", with_cpus(Setup("EPYC-Milan"), CPU, LESS), [(FAIL, Why.CPU_INCOMPATIBLE)]),
    ("a revision of it", with_cpus(Setup("EPYC-Milan-v2"), CPU, LESS), [(FAIL, Why.CPU_INCOMPATIBLE)]),
    ("a named model that needs less", with_cpus(Setup("Opteron_G3"), CPU, LESS), []),
    ("a model that nobody lists", with_cpus(Setup("KnightsMill"), CPU, LESS), [(WARN, Why.NOT_CHECKED)]),
    (
        "a custom model by what it is made of",
        with_cpus(Setup("custom-lab"), CPU, LESS, custom_models={"custom-lab": CpuModel("EPYC")}),
        [(FAIL, Why.CPU_INCOMPATIBLE)],
    ),
    (
        "a custom model by its flags",
        with_cpus(Setup("custom-lab"), CPU, LESS, custom_models={"custom-lab": CpuModel("kvm64", frozenset({"aes"}))}),
        [(FAIL, Why.CPU_INCOMPATIBLE)],
    ),
    (
        "a custom model made of host",
        with_cpus(Setup("custom-lab"), CPU, OTHER, custom_models={"custom-lab": CpuModel("host")}),
        [(FAIL, Why.CPU_INCOMPATIBLE)],
    ),
    (
        "what args say comes last",
        with_cpus(Setup("kvm64", pins={"args": "-no-hpet -cpu host,+vmx"}), CPU, OTHER),
        [(FAIL, Why.CPU_INCOMPATIBLE), (WARN, Why.PINNED_TO_HARDWARE)],
    ),
    (
        "a target that has told nothing yet is judged by what it shows",
        with_cpus(Setup("x86-64-v2-AES"), CPU, CPU, cpu_flags={"aes": frozenset({PVE1})}),
        [],
    ),
    (
        "another architecture",
        with_cpus(Setup("kvm64"), replace(CPU, architecture="x86_64"), replace(CPU, architecture="aarch64")),
        [(FAIL, Why.CPU_INCOMPATIBLE)],
    ),
    ("a custom model, other vendor", with_cpus(Setup("custom-lab"), CPU, OTHER), [(WARN, Why.NOT_CHECKED)]),
]


@pytest.mark.parametrize(("fresh", "expected"), [row[1:] for row in CPUS], ids=[row[0] for row in CPUS])
def test_a_vm_runs_only_where_its_processor_does(fresh: Fresh, expected: list[tuple[Level, Why]]) -> None:
    assert words(fresh) == expected


def test_flags_have_one_name() -> None:
    assert [normal(name) for name in ("sse4.1", "sse4_1", "md-clear", "lzcnt", "SSE3")] == [
        "sse4_1", "sse4_1", "md_clear", "abm", "pni",
    ]  # fmt: skip


def test_a_stopped_guest_has_no_processor_yet() -> None:
    who = replace(WHO, power=Power.STOPPED)
    fresh = replace(read(who), target=node("pve2", 16, cpu=OTHER))
    assert words(with_facts(fresh, setup=Setup("host"))) == []


# Machine, software, hardware

HUGE = replace(CPU, flags=CPU.flags | {"pdpe1gb"})
TWO = replace(CPU, sockets=2)
PINS: list[tuple[dict[str, str], Cpu, Cpu, Level, str]] = [
    ({"hugepages": "2"}, CPU, CPU, WARN, "VM 101 g101 needs 2048 hugepages of 2 MiB on pve2"),
    ({"hugepages": "1024"}, HUGE, HUGE, WARN, "needs 4 hugepages of 1 GiB on pve2"),
    ({"hugepages": "1024"}, HUGE, CPU, FAIL, "which the processor of pve2 does not have"),
    ({"hugepages": "any"}, CPU, CPU, WARN, "needs hugepages for 4 GiB"),
    ({"numa0": "cpus=0,hostnodes=0,policy=bind"}, CPU, CPU, OK, "pve2 has 1 of them or more"),
    ({"numa0": "cpus=0,hostnodes=0-1,policy=bind"}, TWO, CPU, WARN, "PVE's API does not show"),
    ({"numa0": "cpus=0,hostnodes=1,policy=bind"}, TWO, TWO, OK, "pve2 has 2 of them or more"),
    ({"args": "-fw_cfg name=opt/x,file=/etc/x"}, CPU, CPU, WARN, "args that PVE passes to QEMU as they are"),
    ({"args": "-device vfio-pci,host=01:00.0"}, CPU, CPU, FAIL, "vfio-pci, a device of pve1"),
    ({"affinity": "0-3"}, CPU, CPU, OK, "means the same on pve2"),
    ({"affinity": "0-3"}, TWO, CPU, WARN, "was chosen for 2 x EPYC, 8 threads, and pve2 has EPYC, 8 threads"),
    ({"affinity": "0-3,8"}, CPU, CPU, FAIL, "names processors that pve2 does not have (8 threads)"),
]


def with_machine(machine: str, **change: Any) -> Fresh:
    return with_facts(read(replace(WHO, machine=machine)), **change)


MACHINES: list[tuple[str, Fresh, list[tuple[Level, Why]]]] = [
    ("known there", with_machine("pc-q35-9.2"), []),
    ("not known there", with_machine("pc-q35-9.2+pve1"), [(FAIL, Why.MACHINE_UNKNOWN)]),
    ("not told", with_machine(""), [(WARN, Why.NOT_CHECKED)]),
    ("list not read", with_machine("pc-q35-9.2", machines=None), [(WARN, Why.NOT_CHECKED)]),
    (
        "no such call",
        with_machine("pc-q35-9.2", machines=None, unread={Topic.MACHINES: Unread(False, "501")}),
        [(OK, Why.NOT_SUPPORTED)],
    ),
    ("more vCPUs than threads", with_facts(setup=Setup(most_cpus=9)), [(FAIL, Why.TOO_FEW_CPUS)]),
    ("a pending change", with_facts(pending={"cpu": "host"}), [(WARN, Why.CHANGE_PENDING)]),
    ("pending changes not read", with_facts(pending=None), [(WARN, Why.NOT_CHECKED)]),
]


@pytest.mark.parametrize(("fresh", "expected"), [row[1:] for row in MACHINES], ids=[row[0] for row in MACHINES])
def test_the_target_runs_the_machine_that_runs(fresh: Fresh, expected: list[tuple[Level, Why]]) -> None:
    assert words(replace(fresh, target=node("pve2", 16, cpu=CPU, cpus=8, version=(9, 2)))) == expected


@pytest.mark.parametrize(("pins", "here", "there", "level", "said"), PINS)
def test_what_binds_to_hardware_is_held_against_the_target(
    pins: Mapping[str, str], here: Cpu, there: Cpu, level: Level, said: str
) -> None:
    source = node("pve1", 16, cpu=here, cpus=8, version=(9, 2))
    fresh = read(source=source, target=node("pve2", 16, cpu=there, cpus=8, version=(9, 2)))
    found = findings(planned(), with_facts(fresh, setup=Setup(pins=pins)), WANTED, SEEN, memory())
    [pinned] = [each for each in found if each.why is Why.PINNED_TO_HARDWARE]
    assert pinned.level is level
    assert said in pinned.message
    assert bool(pinned.remedy) == (level is not OK)


@pytest.mark.parametrize(
    ("there", "expected"), [((9, 2, 11), []), ((9, 1), [Why.TARGET_OLDER]), ((), [Why.NOT_CHECKED])]
)
def test_from_new_to_old_is_told(there: tuple[int, ...], expected: list[Why]) -> None:
    source, target = node("pve1", 16, cpu=CPU, version=(9, 2, 1)), node("pve2", 16, cpu=CPU, version=there)
    assert [each.why for each in told(read(source=source, target=target))] == expected


def test_too_many_vcpus_are_waited_for() -> None:
    wanted = specs(in_maintenance("pve1"), cluster(capacity={"cpuOvercommitRatio": 1.0}))
    fresh = replace(read(), target=node("pve2", 16, cpu=CPU, cpus=1, version=(9, 2)))
    assert words(with_facts(fresh, setup=Setup()), wanted) == [(FAIL, Why.CPU_OVERCOMMITTED)]


# Networks

PLUGGED = Setup(nics=(Nic("net0", "vmbr0"), Nic("net1", "")))


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ({"vmbr0"}, {"vmbr0", "vmbr1"}, []),
        ({"vmbr0"}, {"vmbr1"}, [(FAIL, Why.NETWORK_MISSING)]),
        (set(), set(), [(WARN, Why.NOT_CHECKED)]),
    ],
)
def test_every_network_device_finds_its_bridge(here: set[str], there: set[str], expected: Any) -> None:
    networks = {PVE1: frozenset(here), PVE2: frozenset(there)}
    assert words(with_facts(setup=PLUGGED, networks=networks)) == expected


def test_networks_that_were_not_read_are_told() -> None:
    [found] = told(with_facts(setup=PLUGGED, unread={Topic.NETWORKS: Unread(True, "no answer within 5 s")}))
    assert (found.level, found.why) == (WARN, Why.NOT_CHECKED)
    assert found.message == "not checked whether pve2 has vmbr0: no answer within 5 s"


# Disks


def with_disk(volume: str = FIRST, *, local: bool = True, there: Storage | None = None, **change: Any) -> Fresh:
    """One disk, local or shared; `there`: what the target has."""
    name = volume.partition(":")[0] if ":" in volume else ""
    size = change.pop("size_bytes", 4 * GIB)
    config = GuestConfig(WHO.identity, "d", 2, (Disk("scsi0", volume, name, size, False, True),), AT)
    found = replace(disk(volume), size_bytes=size, **change)
    fresh = with_verdict(local_disks=(found,) if local else ())
    return replace(fresh, config=config, storages=() if there is None else (there,))


COPY = specs(in_maintenance("pve1"), migration("p", localDisks="Copy"))
MAPPED = specs(in_maintenance("pve1"), migration("p", localDisks="Copy", targetStorage={"local": "fast"}))
HERE = storage("local", PVE2)
SHARED = storage("ceph", PVE2, shared=True)
DISKS: list[tuple[str, Fresh, Specs, list[tuple[Level, Why]]]] = [
    ("copied", with_disk(there=HERE), COPY, []),
    ("shared", with_disk("ceph:vm-101-disk-0", local=False, there=SHARED), WANTED, []),
    (
        "shared, but down there",
        with_disk("ceph:vm-101-disk-0", local=False, there=replace(SHARED, available=False)),
        WANTED,
        [(FAIL, Why.STORAGE_OFFLINE)],
    ),
    ("no such storage there", with_disk(), COPY, [(FAIL, Why.STORAGE_MISSING)]),
    (
        "for other things there",
        with_disk(there=replace(HERE, content=frozenset({"iso"}))),
        COPY,
        [(FAIL, Why.STORAGE_CONTENT)],
    ),
    ("too little space", with_disk(there=replace(HERE, used_bytes=97 * GIB)), COPY, [(FAIL, Why.NO_SPACE)]),
    ("space unknown", with_disk(there=replace(HERE, total_bytes=None)), COPY, [(WARN, Why.NOT_CHECKED)]),
    ("size unknown", with_disk(there=HERE, size_bytes=None), COPY, [(WARN, Why.NOT_CHECKED)]),
    ("snapshots", with_disk(there=HERE, in_snapshot=True), COPY, [(FAIL, Why.LOCAL_SNAPSHOT)]),
    ("linked clone", with_disk("local:base-9-disk-0/vm-101-disk-0", there=HERE), COPY, [(FAIL, Why.LINKED_CLONE)]),
    ("another guest's", with_disk("local:vm-9-disk-0", there=HERE), COPY, [(FAIL, Why.FOREIGN_VOLUME)]),
    (
        "another guest's file",
        with_disk("folder:9/vm-9-disk-0.qcow2", there=storage("folder", PVE2)),
        COPY,
        [(FAIL, Why.FOREIGN_VOLUME)],
    ),
    ("a file of the node", with_disk("/dev/sdb"), COPY, [(FAIL, Why.LOCAL_RESOURCE)]),
    ("type that can't", with_disk("san:vm-101-disk-0", there=storage("san", PVE2)), COPY, [(FAIL, Why.STORAGE_TYPE)]),
    ("called otherwise there", with_disk(there=storage("fast", PVE2)), MAPPED, []),
    ("mapped to nowhere", with_disk(there=HERE), MAPPED, [(FAIL, Why.STORAGE_MISSING)]),
    ("hidden on both", with_disk("dark:vm-101-disk-0"), COPY, [(WARN, Why.NOT_CHECKED)]),
    (
        "not read",
        replace(with_disk("ceph:vm-101-disk-0", local=False), storages=None),
        WANTED,
        [(FAIL, Why.STORAGE_MISSING), (WARN, Why.NOT_CHECKED)],
    ),
    ("to be replicated first", with_disk(there=HERE, in_snapshot=True), WANTED, [(FAIL, Why.FIRST_SYNC)]),
    ("no copy allowed", with_disk("thin:vm-101-disk-0", there=storage("thin", PVE2)), WANTED, [(FAIL, Why.LOCAL_DISK)]),
]


def allowed(fresh: Fresh) -> Fresh:
    fast = {"fast": frozenset({"Datastore.AllocateSpace"})}
    return with_facts(fresh, rights=frozenset({"VM.Migrate", "VM.Config.Disk"}), storage_rights=fast)


@pytest.mark.parametrize(("fresh", "wanted", "expected"), [row[1:] for row in DISKS], ids=[row[0] for row in DISKS])
def test_a_disk_moves_only_to_where_it_fits(fresh: Fresh, wanted: Specs, expected: list[tuple[Level, Why]]) -> None:
    assert words(allowed(fresh), wanted) == expected


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (FIRST, []),
        ("thin:vm-101-disk-0", [Why.LOCAL_SNAPSHOT]),
        ("folder:101/vm-101-disk-0.qcow2", []),
        ("folder:101/vm-101-disk-0.raw", [Why.LOCAL_SNAPSHOT]),
    ],
)
def test_snapshots_of_a_stopped_guest_travel_with_some_storages(volume: str, expected: list[Why]) -> None:
    who = replace(WHO, power=Power.STOPPED)
    fresh = with_disk(volume, there=storage(volume.partition(":")[0], PVE2), in_snapshot=True)
    assert fresh.preconditions is not None
    fresh = replace(fresh, guest=who, preconditions=replace(fresh.preconditions, running=False))
    assert [each.why for each in told(fresh, COPY)] == expected


def test_volumes_of_a_container_are_judged_without_pves_verdict() -> None:
    who = guest(101, "pve1", kind=GuestKind.LXC)
    config = GuestConfig(who.identity, "d", 1, (Disk("rootfs", FIRST, "local", GIB, False, True),), AT)
    fresh = replace(read(who, preconditions=None), config=config, storages=(HERE,))
    assert [each.why for each in told(fresh)] == [Why.NOT_SUPPORTED, Why.FIRST_SYNC]
    assert [each.why for each in told(fresh, COPY)] == [Why.NOT_SUPPORTED]
    mounted = with_facts(fresh, setup=Setup(host_mounts=("mp0",)))
    assert (FAIL, Why.LOCAL_RESOURCE) in words(mounted, COPY)


@pytest.mark.parametrize(("type_", "expected"), [("lvmthin", [Why.LOCAL_SNAPSHOT]), ("zfspool", [])])
def test_snapshots_of_a_container_hold_it_where_they_do_not_travel(type_: str, expected: list[Why]) -> None:
    who = guest(101, "pve1", kind=GuestKind.LXC)
    config = GuestConfig(who.identity, "d", 1, (Disk("rootfs", "own:vm-101-disk-0", "own", GIB, False, True),), AT)
    fresh = replace(read(who), config=config, storages=(storage("own", PVE2, type=type_),))
    look = replace(SEEN, storages=(storage("own", PVE1, type=type_),))
    found = findings(planned(who, COPY), with_facts(fresh, setup=Setup(snapshots=True)), COPY, look, memory())
    assert [each.why for each in found if each.check == "copied disks can be copied" and each.level is FAIL] == expected


def test_the_call_says_which_disks_go_where() -> None:
    fresh = allowed(with_disk(there=storage("fast", PVE2)))
    options = refine(planned(WHO, MAPPED), fresh, MAPPED, SEEN, memory()).options
    assert (options.with_local_disks, options.target_storage) == (True, "local:fast")
    plain = refine(planned(WHO, COPY), fresh, COPY, SEEN, memory()).options
    assert (plain.with_local_disks, plain.target_storage) == (True, "")


def test_a_map_never_touches_a_replicated_disk() -> None:
    job = ReplicationJob("101-0", Vmid(101), PVE2, PVE1, "*/15", False, False, "")
    fresh = replace(with_disk(there=HERE), jobs=(job,))
    assert refine(planned(WHO, MAPPED), fresh, MAPPED, SEEN, memory()).options.target_storage == ""


# Rights


@pytest.mark.parametrize(
    ("rights", "storage_rights", "wanted", "expected"),
    [
        ({"VM.Migrate"}, None, COPY, []),
        (set(), None, COPY, [(FAIL, Why.PERMISSION_MISSING)]),
        ({"VM.Migrate"}, {"Datastore.AllocateSpace"}, MAPPED, [(FAIL, Why.PERMISSION_MISSING)]),
        ({"VM.Migrate", "VM.Config.Disk"}, {"Datastore.Audit"}, MAPPED, [(FAIL, Why.PERMISSION_MISSING)]),
        ({"VM.Migrate", "VM.Config.Disk"}, None, MAPPED, [(WARN, Why.NOT_CHECKED)]),
        ({"VM.Migrate", "VM.Config.Disk"}, {"Datastore.AllocateSpace"}, MAPPED, []),
        (None, None, COPY, [(WARN, Why.NOT_CHECKED)]),
    ],
)
def test_the_token_needs_rights_for_this_very_move(
    rights: set[str] | None, storage_rights: set[str] | None, wanted: Specs, expected: Any
) -> None:
    there = (HERE, storage("fast", PVE2))
    fresh = replace(with_disk(there=HERE), storages=there)
    allowed = with_facts(
        fresh,
        rights=None if rights is None else frozenset(rights),
        storage_rights=None if storage_rights is None else {"fast": frozenset(storage_rights)},
    )
    assert words(allowed, wanted) == expected


# PVE HA

NEAR = HaRule("near", nodes={PVE1: 2, PVE2: 1}, strict=False)
HA: list[tuple[str, HaFacts | None, list[tuple[Level, Why]]]] = [
    ("no rules", HaFacts(failback=True), []),
    ("allowed", HaFacts(True, (HaRule("r", nodes={PVE1: 0, PVE2: 0}, strict=True),)), []),
    ("not allowed", HaFacts(False, (HaRule("r", nodes={PVE1: 0}, strict=True),)), [(FAIL, Why.HA_WOULD_UNDO)]),
    ("fails back", HaFacts(True, (NEAR,)), [(FAIL, Why.HA_WOULD_UNDO)]),
    ("stays", HaFacts(False, (NEAR,)), []),
    ("not named", HaFacts(True, (HaRule("r", nodes={PVE1: 0}),)), [(FAIL, Why.HA_WOULD_UNDO)]),
    ("company", HaFacts(True, (HaRule("r", together=("vm:101", "vm:7")),)), [(WARN, Why.HA_MOVES_ALONG)]),
    ("not read", None, [(WARN, Why.NOT_CHECKED)]),
]


@pytest.mark.parametrize(("ha", "expected"), [row[1:] for row in HA], ids=[row[0] for row in HA])
def test_ha_must_not_undo_the_move(ha: HaFacts | None, expected: list[tuple[Level, Why]]) -> None:
    managed = read(replace(WHO, ha_state="started"))
    assert words(with_facts(managed, ha=ha)) == expected


APART = [(FAIL, Why.HA_WOULD_UNDO)]


@pytest.mark.parametrize(
    ("where", "flying", "expected"),
    [("pve2", "", APART), ("pve3", "", []), ("pve3", "pve2", APART), ("pve2", "pve3", [])],
)
def test_ha_keeps_apart_also_who_is_on_the_way(where: str, flying: str, expected: list[tuple[Level, Why]]) -> None:
    other = guest(7, where, ha_state="started")
    look = replace(SEEN, guests={**SEEN.guests, other.vmid: other})
    fresh = with_facts(
        read(replace(WHO, ha_state="started")), ha=HaFacts(True, (HaRule("r", apart=("vm:101", "vm:7")),))
    )
    held = memory([flight(other, flying)] if flying else ())
    found = findings(planned(), fresh, WANTED, look, held)
    assert [(each.level, each.why) for each in found if each.why is Why.HA_WOULD_UNDO] == expected


def test_the_base_of_linked_clones_stays() -> None:
    other = guest(7, "pve1")
    clone = Disk("scsi0", "local:base-101-disk-0/vm-7-disk-0", "local", GIB, False, True)
    look = replace(
        SEEN,
        guests={**SEEN.guests, other.vmid: other},
        configs={other.vmid: GuestConfig(other.identity, "d", 1, (clone,), AT)},
    )
    found = findings(planned(WHO, COPY), with_disk("local:base-101-disk-0", there=HERE), COPY, look, memory())
    [why] = [each for each in found if each.why is Why.LINKED_CLONE]
    assert "VM 7 g7" in why.message


def test_ha_does_not_fail_back_to_a_node_in_its_own_maintenance() -> None:
    source = node("pve1", 16, cpu=CPU, version=(9, 2), ha=HaNodeState.MAINTENANCE)
    managed = read(replace(WHO, ha_state="started"), source=source)
    assert words(with_facts(managed, ha=HaFacts(True, (NEAR,)))) == []


def test_rules_mean_nothing_for_a_guest_that_ha_does_not_manage() -> None:
    assert words(with_facts(ha=HaFacts(True, (NEAR,)))) == []


# Replication


def state(target: NodeName = PVE2, failures: int = 0, *, running: bool = False) -> JobState:
    return JobState("101-0", target, failures, "no route to host" if failures else "", running, 1)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((state(),), []),
        ((state(failures=1),), [(WARN, Why.REPLICATION_FAILING)]),
        ((state(failures=3),), [(FAIL, Why.REPLICATION_FAILING)]),
        ((state(PVE3, failures=9),), []),
        ((state(PVE3, running=True),), [(FAIL, Why.REPLICATION_RUNNING)]),
        (None, [(WARN, Why.NOT_CHECKED)]),
    ],
)
def test_replication_has_to_be_well_and_at_rest(states: Any, expected: list[tuple[Level, Why]]) -> None:
    job = ReplicationJob("101-0", Vmid(101), PVE2, PVE1, "*/15", False, False, "")
    fresh = with_facts(replace(read(), jobs=(job,)), job_states=states)
    assert words(fresh) == expected
    assert all(each.busy for each in told(fresh) if each.why is Why.REPLICATION_RUNNING)


# Time


@pytest.mark.parametrize(
    ("stream", "limit", "slow"), [(0, 0, False), (1000, 0, False), (1000, 20, True), (20, 1000, True)]
)
def test_a_move_that_takes_too_long_is_told(stream: int, limit: int, slow: bool) -> None:
    wanted = specs(
        in_maintenance("pve1"),
        cluster(network={"streamMiBps": stream}),
        migration("p", bandwidthLimitMiBps=limit),
    )
    assert (Why.TOO_SLOW in [each.why for each in told(read(), wanted)]) is slow


@pytest.mark.parametrize(("dirty", "warned"), [(None, False), (50, False), (200, True)])
def test_a_guest_that_was_too_restless_before_is_told(dirty: int | None, warned: bool) -> None:
    wanted = specs(in_maintenance("pve1"), cluster(network={"streamMiBps": 100}))
    rates = {} if dirty is None else {WHO.vmid: GuestRate(WHO.identity, dirty * 2.0**20, 0.0)}
    found = told(read(), wanted, Memory(rates=rates))
    assert (Why.NOT_CONVERGING in [each.why for each in found if each.level is WARN]) is warned


@pytest.mark.parametrize(
    ("schedule", "seconds", "why"),
    [
        ("* * * * *", 60, None),
        ("0 0 1 1 *", 3600, Why.WINDOW_CLOSED),
        ("0 0 1 1 *", 60, Why.WINDOW_TOO_SHORT),
    ],
)
def test_outside_of_its_window_a_move_waits(schedule: str, seconds: int, why: Why | None) -> None:
    window = {"name": "w", "kind": "Allow", "schedule": schedule, "durationSeconds": seconds}
    wanted = specs(in_maintenance("pve1"), cluster(windows=[window], network={"streamMiBps": 50}))
    found = findings(planned(), read(), wanted, SEEN, memory())
    fails = [each for each in found if each.level is FAIL]
    assert [each.why for each in fails] == ([] if why is None else [why])
    assert all(each.busy for each in fails)


# All of them


def test_every_check_is_a_sentence_with_its_source() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.how.endswith((".", "?")) and check.tells for check in CHECKS)


def test_every_objection_says_what_to_do() -> None:
    rows = [*(row[1] for row in CPUS), *(row[1] for row in MACHINES)]
    assert all(each.remedy for fresh in rows for each in told(fresh) if each.level is FAIL)
