"""Local media are taken out only as they were read, remembered before that, and put back only where nothing has changed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.act import media
from controller.model.event import Event
from controller.model.ids import GuestIdentity, GuestKind, Vmid
from controller.model.memory import Backoff, Ejected
from controller.model.outcome import Outcome, Result
from controller.model.plan import Move
from controller.model.reasons import Why
from controller.report.events import Told
from controller.specs import Meta, MigrationPolicy, NodeMaintenance, Specs
from controller.specs.migrationpolicy import MigrationPolicySpec
from tests.act.lab import PVE1, PVE2, SPECS, Lab, move
from tests.act.test_crashes import Fate, Killed, mortal

ISO = "local:iso/debian.iso"
VMID = Vmid(104)
POLICIES = [
    MigrationPolicy(
        metadata=Meta(name=name.lower()),
        spec=MigrationPolicySpec.model_validate({"guestSelector": {}, "localMedia": name}),
    )
    for name in ("Eject", "Restore", "Block")
]
WANTED = Specs.of([*SPECS, *POLICIES])


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    grant(made)
    yield made
    made.close()


def grant(lab: Lab) -> None:
    lab.specs = WANTED
    lab.fault("admin-grant", user="drover@pve", role="PVEVMAdmin", path="/vms")


def iso_move(policy: str = "restore") -> Move:
    planned = move(VMID)
    return replace(planned, options=replace(planned.options, policy=policy))


def drive(lab: Lab) -> object:
    return lab.world.guests[VMID].config["ide2"]


def put_in(lab: Lab, value: str) -> None:
    lab.fault("admin-config", guest=VMID, set={"ide2": value})


def restore(lab: Lab) -> tuple[Event, ...]:
    return lab.loop.run_until_complete(_restore(lab))


async def _restore(lab: Lab) -> tuple[Event, ...]:
    seen = await lab.observer.look()
    return await media.restore(store=lab.store, client=lab.client, seen=seen, specs=lab.specs, clock=lab.clock)


def remembered(lab: Lab, **change: object) -> Ejected:
    """The drive is empty, and what was in it is remembered since long ago."""
    put_in(lab, "none,media=cdrom")
    identity = GuestIdentity(VMID, GuestKind.QEMU)
    ejected = replace(Ejected(identity, PVE1, {"ide2": ISO}, "restore", lab.clock.wall() - 100), **change)  # type: ignore[arg-type]  # mypy can't know the fields
    lab.store.remember_media(ejected)
    return ejected


# Out


def test_a_medium_is_ejected_and_the_move_begins_at_once(lab: Lab) -> None:
    (outcome,) = lab.execute(iso_move())
    assert outcome.result is Result.STARTED
    assert drive(lab) == "none,media=cdrom"
    event = lab.told[0]
    assert (event.reason, ISO in event.message) == (Told.MEDIA_EJECTED, True)
    assert {other.reason for other in lab.told[1:]} <= {Told.PREFLIGHT_WARNING}
    kept = lab.store.memory().media[VMID]
    assert (kept.node, kept.drives, kept.policy) == (PVE1, {"ide2": ISO}, "restore")
    assert kept.identity.born, "the next guest of this number gets nothing"


def test_a_physical_disc_is_ejected_too(lab: Lab) -> None:
    put_in(lab, "cdrom,media=cdrom")
    assert [outcome.result for outcome in lab.execute(iso_move())] == [Result.STARTED]
    assert lab.store.memory().media[VMID].drives == {"ide2": "cdrom"}


def test_what_the_policy_blocks_stays(lab: Lab) -> None:
    (outcome,) = lab.execute(iso_move("block"))
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.LOCAL_MEDIA)
    assert (lab.pve.puts, lab.store.memory().media) == ([], {})


def test_a_config_that_has_changed_is_not_touched(lab: Lab) -> None:
    def change(when: str, _path: str) -> None:
        if when == "before":
            lab.fault("admin-config", guest=VMID, set={"description": "mine"})

    lab.pve.on_put = change
    (outcome,) = lab.execute(iso_move())
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.STATE_CHANGED)
    assert ISO in str(drive(lab))
    assert VMID not in lab.store.memory().backoffs, "the next tick looks again"


def test_a_lost_answer_is_found_out_by_looking(lab: Lab) -> None:
    lab.fault("lost-answer", method="PUT", path="/config")
    assert [outcome.result for outcome in lab.execute(iso_move())] == [Result.STARTED]
    assert len(lab.pve.puts) == 1


def test_a_medium_that_does_not_come_out_blocks_the_guest_for_a_while(lab: Lab) -> None:
    def jam(when: str, _path: str) -> None:
        if when == "after":
            put_in(lab, f"{ISO},media=cdrom")

    lab.pve.on_put = jam
    (outcome,) = lab.execute(iso_move())
    assert (outcome.result, outcome.why) == (Result.REFUSED, Why.LOCAL_MEDIA)
    assert lab.store.memory().backoffs[VMID].until > lab.clock.wall()
    assert len(lab.pve.puts) == 1


def test_a_store_that_fails_takes_nothing_out(lab: Lab) -> None:
    lab.store._database.execute("PRAGMA query_only = ON")
    (outcome,) = lab.execute(iso_move())
    assert outcome.why is Why.STORE_FAILED
    assert lab.pve.puts == []


@pytest.mark.parametrize("kill_at", range(6))
def test_a_kill_while_a_medium_is_taken_out_loses_nothing(tmp_path: Path, kill_at: int) -> None:
    fate = Fate(None)
    lab = Lab(tmp_path, mortal(fate))
    grant(lab)
    fate.names.clear()
    fate._at = kill_at
    lab.pve.on_put = lambda when, _path: fate.point(f"{when} PUT")
    started: tuple[Outcome, ...] = ()
    while not started or started[0].result is not Result.STARTED:
        try:
            started = lab.execute(iso_move())
        except Killed:
            lab.store.close()
            lab.start()
            if VMID in lab.store.memory().flights:
                break  # only the intent was written: that is another story
    assert drive(lab) == "none,media=cdrom"
    assert lab.store.memory().media[VMID].drives == {"ide2": ISO}
    assert len(fate.names) > kill_at
    lab.close()


# Back in


def test_a_medium_is_put_back_at_home_and_then_forgotten(lab: Lab) -> None:
    remembered(lab)
    (event,) = restore(lab)
    assert event.reason == Told.MEDIA_RESTORED
    assert drive(lab) == f"{ISO},media=cdrom"
    assert lab.store.memory().media == {}


@pytest.mark.parametrize(
    ("change", "forgotten"),
    [
        ({"policy": "eject"}, True),
        ({"policy": ""}, True),
        ({"policy": "gone"}, True),
        ({"identity": GuestIdentity(VMID, GuestKind.QEMU, "ctime:1")}, True),
        ({"drives": {"ide2": "cdrom"}}, True),
        ({"drives": {"sata5": ISO}}, True),
        ({"node": PVE2}, False),
        ({"at": 4e9}, False),
        ({"identity": GuestIdentity(Vmid(999), GuestKind.QEMU)}, False),
    ],
    ids=["Eject", "default", "policy gone", "another guest", "physical", "no such drive", "away", "just now", "unseen"],
)
def test_nothing_is_put_back_that_nobody_wants_there(lab: Lab, change: dict[str, object], *, forgotten: bool) -> None:
    remembered(lab, **change)
    assert restore(lab) == ()
    assert (lab.pve.puts, lab.store.memory().media == {}) == ([], forgotten)


def test_what_somebody_has_put_in_stays(lab: Lab) -> None:
    remembered(lab)
    put_in(lab, "local:iso/other.iso,media=cdrom")
    assert restore(lab) == ()
    assert (drive(lab), lab.store.memory().media) == ("local:iso/other.iso,media=cdrom", {})


def test_a_guest_that_is_locked_or_about_to_be_tried_again_waits(lab: Lab) -> None:
    ejected = remembered(lab)
    lab.fault("admin-lock", guest=VMID)
    assert restore(lab) == ()
    lab.fault("admin-unlock", guest=VMID)
    lab.store.back_off(Backoff(ejected.identity, 1, 0.0, Why.STALLED, "slow"))
    assert restore(lab) == ()
    lab.store.clear_backoff([VMID])
    assert len(restore(lab)) == 1


def test_a_guest_that_has_to_leave_again_keeps_its_drive_empty(lab: Lab) -> None:
    remembered(lab)
    maintenance = NodeMaintenance.model_validate({"metadata": {"name": "again"}, "spec": {"nodeName": "pve1"}})
    lab.specs = Specs.of([*WANTED, maintenance])
    assert restore(lab) == ()
    lab.specs = WANTED
    assert len(restore(lab)) == 1


@pytest.mark.parametrize(("status", "forgotten"), [(403, True), (500, True), (595, False), (401, False)])
def test_a_medium_that_can_not_be_put_back_is_told_once(lab: Lab, status: int, *, forgotten: bool) -> None:
    remembered(lab)
    text = "Permission check failed" if status == 403 else "volume 'local:iso/debian.iso' does not exist"
    lab.fault("refuse", method="PUT", path="/config", status=status, reason=text)
    events = restore(lab)
    assert [event.reason for event in events] == ([Told.MEDIA_NOT_RESTORED] if forgotten else [])
    assert len(restore(lab)) == (0 if forgotten else 1)
