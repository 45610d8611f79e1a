"""The second look: what is read right before a move decides."""

from dataclasses import replace
from typing import Any

import pytest

from controller.decide import decide
from controller.decide.preflight import CHECKS, Level, findings, objections, refine
from controller.model.facts import Facts, HaFacts, Setup
from controller.model.ids import GuestIdentity, GuestKind, NodeName, Vmid
from controller.model.observed import (
    Cpu,
    Disk,
    Fresh,
    Guest,
    GuestConfig,
    HaNodeState,
    LocalDisk,
    NodeState,
    Observed,
    Power,
    Preconditions,
    ReplicationJob,
)
from controller.model.plan import Lane, Move
from controller.model.reasons import Why
from controller.specs import Resource, Specs
from tests.decide.build import (
    AT,
    GIB,
    flight,
    guest,
    in_maintenance,
    maintenance,
    memory,
    migration,
    node,
    pve_node,
    seen,
    specs,
)

WHO = guest(101, "pve1", 4, machine="pc-q35-9.2")
LOOK = seen([node("pve1", 16), node("pve2", 16)], [WHO])
WANTED = specs(in_maintenance("pve1"))
CLEAN = Preconditions(running=True, objections={})
FACTS = Facts(
    setup=Setup(cpu="x86-64-v2-AES", most_cpus=2),
    machines=frozenset({"pc-q35-9.2"}),
    rights=frozenset({"VM.Migrate"}),
    pending={},
)
CPU = Cpu("EPYC", "AuthenticAMD", "25", frozenset({"aes", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}))


def planned(who: Guest = WHO, wanted: Specs = WANTED) -> Move:
    [move] = decide(wanted, seen(list(LOOK.nodes.values()), [who]), memory()).moves
    return move


def read(who: Guest | None = WHO, **change: Any) -> Fresh:
    running = who is not None and who.power.holds_memory
    facts: dict[str, Any] = {
        "at": AT,
        "quorate": True,
        "guest": who,
        "source": node("pve1", 16, cpu=CPU, version=(9, 2)),
        "target": node("pve2", 16, cpu=CPU, version=(9, 2)),
        "preconditions": replace(CLEAN, running=running),
        "config": GuestConfig(who.identity, "d", 2, (), AT) if who else None,
        "facts": FACTS if who else Facts(),
    }
    return Fresh(**facts | change)


def whys(
    fresh: Fresh, *, move: Move | None = None, wanted: Specs = WANTED, look: Observed = LOOK, flights: Any = ()
) -> list[Why]:
    return [found.why for found in objections(move or planned(), fresh, wanted, look, memory(flights))]


def test_a_move_without_objections_says_so_check_by_check() -> None:
    found = findings(planned(), read(), WANTED, LOOK, memory())
    assert {each.level for each in found} == {Level.OK}
    assert len(found) == len(CHECKS)
    assert "target is online" in {each.message for each in found}


def with_verdict(**change: Any) -> Fresh:
    return read(preconditions=replace(CLEAN, **change))


def disk(volume: str = "local:vm-101-disk-0", *, cdrom: bool = False, cloudinit: bool = False) -> LocalDisk:
    return LocalDisk(volume, GIB, cdrom=cdrom, cloudinit=cloudinit, attached=True)


DRIVE = Disk("ide2", "local:iso/x.iso", "local", None, cdrom=True, replicate=True)
OBJECTIONS: list[tuple[str, Fresh, Why]] = [
    ("no quorum", read(quorate=False), Why.NO_QUORUM),
    ("source offline", read(source=node("pve1", state=NodeState.OFFLINE)), Why.NODE_OFFLINE),
    ("source not read", read(source=None), Why.NODE_OFFLINE),
    ("source is being fenced", read(source=node("pve1", ha=HaNodeState.FENCE)), Why.HA_FENCING),
    ("target offline", read(target=node("pve2", state=NodeState.OFFLINE)), Why.TARGET_OFFLINE),
    ("target unknown", read(target=node("pve2", state=NodeState.UNKNOWN)), Why.TARGET_OFFLINE),
    ("target not read", read(target=None), Why.TARGET_OFFLINE),
    ("target in HA maintenance", read(target=node("pve2", ha=HaNodeState.MAINTENANCE)), Why.TARGET_IN_MAINTENANCE),
    ("target is being fenced", read(target=node("pve2", ha=HaNodeState.FENCE)), Why.TARGET_IN_MAINTENANCE),
    ("guest gone", read(None), Why.GUEST_MOVED),
    ("guest elsewhere", read(guest(101, "pve3")), Why.GUEST_MOVED),
    (
        "another guest",
        read(replace(WHO, identity=GuestIdentity(Vmid(101), GuestKind.QEMU, "ctime:9"))),
        Why.IDENTITY_CHANGED,
    ),
    ("no longer managed", read(replace(WHO, tags=frozenset({"unmanaged"}))), Why.UNMANAGED),
    ("locked", read(replace(WHO, lock="backup")), Why.GUEST_LOCKED),
    ("stopped meanwhile", read(replace(WHO, power=Power.STOPPED)), Why.STATE_CHANGED),
    ("state unknown", read(replace(WHO, power=Power.UNKNOWN)), Why.STATE_CHANGED),
    ("PVE says stopped", with_verdict(running=False), Why.STATE_CHANGED),
    ("a template now", read(replace(WHO, template=True)), Why.IS_TEMPLATE),
    ("HA moves it", read(replace(WHO, ha_state="migrate")), Why.HA_UNSETTLED),
    ("it has grown", read(replace(WHO, memory_bytes=17 * GIB)), Why.WAITING_FOR_ROOM),
    ("the target has shrunk", read(target=node("pve2", 3)), Why.WAITING_FOR_ROOM),
    ("size unknown", read(replace(WHO, memory_bytes=None)), Why.SIZE_UNKNOWN),
    ("size of the target unknown", read(target=node("pve2", None)), Why.SIZE_UNKNOWN),
    ("PVE's verdict missing", read(preconditions=None), Why.STALE),
    ("PVE objects", with_verdict(objections={NodeName("pve2"): ("storage nfs",)}), Why.NOT_ALLOWED_BY_PVE),
    ("passed-through device", with_verdict(local_resources=("hostpci0",)), Why.LOCAL_RESOURCE),
    ("mapped device", with_verdict(unmovable_mapped=("hostpci1",)), Why.LOCAL_RESOURCE),
    ("local ISO", with_verdict(local_disks=(disk("local:iso/x.iso", cdrom=True),)), Why.LOCAL_MEDIA),
    (
        "local ISO, and no right to eject it",
        read(
            preconditions=replace(CLEAN, local_disks=(disk("local:iso/x.iso", cdrom=True),)),
            config=GuestConfig(WHO.identity, "d", 2, (DRIVE,), AT),
            facts=replace(FACTS, rights=frozenset({"VM.Audit", "VM.Migrate"})),
        ),
        Why.PERMISSION_MISSING,
    ),
    ("local disk", with_verdict(local_disks=(disk(),)), Why.LOCAL_DISK),
]


@pytest.mark.parametrize(("fresh", "why"), [row[1:] for row in OBJECTIONS], ids=[row[0] for row in OBJECTIONS])
def test_what_has_changed_since_the_plan_stops_the_move(fresh: Fresh, why: Why) -> None:
    assert why in whys(fresh)


HARMLESS: list[tuple[str, Fresh]] = [
    ("PVE objects to another node", with_verdict(objections={NodeName("pve3"): ("storage nfs",)})),
    ("an unknown birth proves nothing", read(replace(WHO, identity=GuestIdentity(Vmid(101), GuestKind.QEMU)))),
    ("a local cloud-init image", with_verdict(local_disks=(disk(cdrom=True, cloudinit=True),))),
    ("more memory used than the ledger says", read(target=node("pve2", 16, memory_used_bytes=15 * GIB))),
]


@pytest.mark.parametrize("fresh", [row[1] for row in HARMLESS], ids=[row[0] for row in HARMLESS])
def test_what_does_no_harm_stops_nothing(fresh: Fresh) -> None:
    assert whys(fresh) == []


def test_all_objections_are_told_at_once() -> None:
    fresh = replace(with_verdict(local_resources=("usb0",), local_disks=(disk(),)), quorate=False)
    assert whys(fresh) == [Why.NO_QUORUM, Why.LOCAL_RESOURCE, Why.LOCAL_DISK]


def test_a_locked_guest_is_only_called_locked_although_pve_gives_no_verdict_for_it() -> None:
    assert whys(read(replace(WHO, lock="backup"), preconditions=None)) == [Why.GUEST_LOCKED]


@pytest.mark.parametrize(
    "now", [maintenance("m", "pve2", mode="Cordon"), in_maintenance("pve2"), pve_node("pve2", unschedulable=True)]
)
def test_a_target_that_was_closed_since_the_plan_is_refused(now: Resource) -> None:
    assert whys(read(), wanted=specs(in_maintenance("pve1"), now)) == [Why.TARGET_IN_MAINTENANCE]


def test_flights_that_started_since_the_plan_take_their_room() -> None:
    other = guest(102, "pve3", 13)
    look = replace(LOOK, guests={**LOOK.guests, other.vmid: other})
    assert whys(read(), look=look) == []
    assert whys(read(), look=look, flights=[flight(other, "pve2")]) == [Why.WAITING_FOR_ROOM]
    assert whys(read(), look=look, flights=[flight(other, "pve1", source="pve2")]) == [Why.WAITING_FOR_ROOM]


def test_somebody_elses_migration_may_land_on_the_target() -> None:
    other = guest(102, "pve3", 13, lock="migrate")
    assert whys(read(), look=replace(LOOK, guests={**LOOK.guests, other.vmid: other})) == [Why.WAITING_FOR_ROOM]


# Disks


def job(target: str, **change: Any) -> ReplicationJob:
    plain = ReplicationJob("101-0", Vmid(101), NodeName(target), NodeName("pve1"), "*/15", False, False, "")
    return replace(plain, **change)


def replicated(*, replicate: bool = True, target: str = "pve2", **change: Any) -> Fresh:
    own = Disk("scsi0", "local:vm-101-disk-0", "local", GIB, False, replicate)
    config = GuestConfig(WHO.identity, "d", 2, (own,), AT)
    return replace(with_verdict(local_disks=(disk(),)), config=config, jobs=(job(target, **change),))


def test_a_disk_whose_replica_is_on_the_target_may_move() -> None:
    assert whys(replicated()) == []
    assert whys(replicated(replicate=False)) == [Why.LOCAL_DISK]
    assert set(whys(replicated(target="pve3"))) == {Why.LOCAL_DISK, Why.NOT_A_REPLICATION_TARGET}
    assert set(whys(replicated(removing=True))) == {Why.LOCAL_DISK, Why.NOT_A_REPLICATION_TARGET}


@pytest.mark.parametrize(
    ("policy", "power", "allowed"),
    [
        ({}, Power.STOPPED, False),
        ({"localDisks": "Copy"}, Power.STOPPED, True),
        ({"localDisksFallback": "Copy"}, Power.STOPPED, True),
        ({"localDisks": "Copy"}, Power.RUNNING, True),
        ({}, Power.RUNNING, False),
        ({"localDisks": "Forbid"}, Power.STOPPED, False),
    ],
)
def test_a_local_disk_is_copied_only_when_asked(policy: dict[str, Any], power: Power, allowed: bool) -> None:
    who = replace(WHO, power=power)
    wanted = specs(in_maintenance("pve1"), migration("p", **policy))
    verdict = Preconditions(running=power is Power.RUNNING, objections={}, local_disks=(disk(),))
    found = whys(read(who, preconditions=verdict), move=planned(who, wanted), wanted=wanted)
    assert found == ([] if allowed else [Why.LOCAL_DISK])


def test_forbid_forbids_a_replicated_disk_too() -> None:
    wanted = specs(in_maintenance("pve1"), migration("p", localDisks="Forbid"))
    assert whys(replicated(), move=planned(wanted=wanted), wanted=wanted) == [Why.LOCAL_DISK]


def test_ha_moves_a_replicated_vm_anywhere_and_that_is_worth_a_warning() -> None:
    who = replace(WHO, ha_state="started")
    fresh = replace(read(who), jobs=(job("pve3"),))
    assert whys(fresh) == []
    facts = replace(FACTS, ha=HaFacts(failback=True), job_states=())
    [warning] = [
        found
        for found in findings(planned(), replace(fresh, facts=facts), WANTED, LOOK, memory())
        if found.level is Level.WARN
    ]
    assert warning.why is Why.NOT_A_REPLICATION_TARGET


# Containers, HA


def test_a_container_is_restarted_only_with_consent() -> None:
    who = guest(101, "pve1", kind=GuestKind.LXC)
    move = planned(who)
    assert whys(read(who, preconditions=None), move=move) == []  # PVE 8 has no such call for containers
    without = replace(move, options=replace(move.options, restart=False))
    assert Why.CONTAINER_NEEDS_RESTART in whys(read(who), move=without)


def test_a_guest_that_ha_took_over_is_moved_only_by_a_drain() -> None:
    move = replace(planned(), lane=Lane.REPAIR)
    fresh = read(replace(WHO, ha_state="started"))
    assert whys(fresh, move=move) == [Why.HA_MANAGED]
    assert whys(fresh) == []


def test_what_passes_by_itself_is_marked_busy() -> None:
    found = findings(planned(), read(replace(WHO, lock="backup"), source=None), WANTED, LOOK, memory())
    assert {each.why: each.busy for each in found if each.level is Level.FAIL} == {
        Why.NODE_OFFLINE: False,
        Why.GUEST_LOCKED: True,
    }
    assert all(each.remedy for each in found if each.level is Level.FAIL)


@pytest.mark.parametrize(
    ("who", "disks", "expected"),
    [
        (WHO, (), (True, False, False)),
        (WHO, (disk(),), (True, False, True)),
        (WHO, (disk(cdrom=True, cloudinit=True),), (True, False, True)),
        (replace(WHO, power=Power.STOPPED), (disk(),), (False, False, False)),
        (guest(101, "pve1", kind=GuestKind.LXC), (), (False, True, False)),
        (guest(101, "pve1", kind=GuestKind.LXC, power=Power.STOPPED), (), (False, False, False)),
    ],
)
def test_options_follow_the_facts(who: Guest, disks: tuple[LocalDisk, ...], expected: tuple[bool, bool, bool]) -> None:
    fresh = read(who, preconditions=Preconditions(running=True, objections={}, local_disks=disks))
    options = refine(planned(who), fresh, WANTED, LOOK, memory()).options
    assert (options.online, options.restart, options.with_local_disks) == expected
