"""What the token may not do is told before PVE is asked, by version; what is not known is no reason to hold anything up."""

from dataclasses import replace

import pytest

from controller.decide.rights import no_jobs, no_power
from controller.model.ids import Vmid
from controller.model.rights import Rights
from tests.decide.build import guest
from tests.decide.test_replication import look

SEEN = look([guest(101, "pve1")], [])


@pytest.mark.parametrize(
    ("versions", "permissions", "told"),
    [
        ([(9, 2)], {"/": {"VM.Replicate": True}}, ""),
        ([(9, 2)], {"/": {"VM.Replicate": False}, "/vms": {}}, "VM.Replicate on /vms/101"),
        ([(9, 2)], {"/": {"VM.Replicate": True}, "/vms/101": {"VM.Audit": True}}, "VM.Replicate on /vms/101"),
        ([(9, 2)], {"/vms/101": {"VM.Replicate": False}}, ""),
        ([(9, 2)], {"/": {"Datastore.Allocate": True}}, "VM.Replicate"),
        ([(8, 4)], {"/": {"VM.Replicate": True}}, "Datastore.Allocate on /storage"),
        ([(8, 4)], {"/storage": {"Datastore.Allocate": True}}, ""),
        ([(8, 4), (9, 2)], {"/storage": {"Datastore.Allocate": True}}, ""),
        ([(8, 4), (9, 2)], {}, "VM.Replicate"),
        ([()], {}, ""),
        ([(9, 2)], None, ""),
    ],
)
def test_replication_jobs(
    versions: list[tuple[int, ...]], permissions: dict[str, dict[str, bool]] | None, told: str
) -> None:
    names = list(SEEN.nodes)[: len(versions)]
    found = {name: replace(SEEN.nodes[name], version=version) for name, version in zip(names, versions, strict=True)}
    said = no_jobs(replace(SEEN, nodes=found, rights=Rights(permissions)), Vmid(101))
    assert (told in said) if told else not said


def test_shutting_down() -> None:
    assert not no_power(SEEN, Vmid(101))
    assert "VM.PowerMgmt on /vms/101" in no_power(replace(SEEN, rights=Rights({})), Vmid(101))
    assert not no_power(replace(SEEN, rights=Rights({"/vms": {"VM.PowerMgmt": True}})), Vmid(101))
