"""Every check and every reason that it can give, end to end: a simulated cluster, the real client and observer, planning."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from controller.act.trial import Trial, trials
from controller.decide.explain import command_line
from controller.decide.preflight import CHECKS, Level
from controller.decide.preflight.wish import elsewhere
from controller.model.ids import NodeName, Vmid
from controller.model.memory import GuestRate, Memory
from controller.model.observed import Observed
from controller.model.reasons import Why
from controller.specs import Resource, Specs
from tests.act.checks import ROWS, Row
from tests.decide.build import cluster, migration
from tests.observe.test_cluster import Scene, play

PLAIN: Mapping[str, Any] = {
    "nodes": {"pve1": {}, "pve2": {}, "pve3": {}},
    "storages": {
        "ceph": {"type": "rbd", "size": "4TiB"},
        "zfs": {"type": "zfspool", "size": "1TiB"},
        "local": {"type": "dir", "content": ["iso"]},
    },
    "guests": {
        101: {"name": "db", "node": "pve1", "memory": "2GiB", "disks": {"scsi0": {"storage": "ceph"}}},
        102: {"name": "web", "node": "pve1", "memory": "2GiB", "disks": {"scsi0": {"storage": "ceph"}}},
        103: {"name": "dns", "node": "pve2", "memory": "2GiB", "disks": {"scsi0": {"storage": "ceph"}}},
    },
    "access": {
        "users": {"bot@pve": {}},
        "tokens": {"bot@pve!drover": {"secret": "s3", "privsep": False}},
        "acl": [{"role": "Administrator", "to": "bot@pve"}],
    },
}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_reason_of_every_check_is_told_with_a_remedy(row: Row) -> None:
    trial = tried(row)
    told = [found for found in trial.findings if (found.check, found.why) == (row.check, row.why)]
    assert told, [
        f"{found.check}: {found.why}: {found.message}" for found in trial.findings if found.level is not Level.OK
    ]
    assert row.said in " | ".join(found.message for found in told)
    assert {found.level for found in told} == {row.level}
    assert all(found.remedy for found in told) or row.level is Level.OK
    tells = {check.name: check.tells for check in CHECKS}
    for found in trial.findings:
        quiet = found.level is Level.OK or found.check not in tells
        assert quiet or found.why in tells[found.check], f"{found.check} does not declare {found.why}"


def test_what_speaks_against_a_move_does_not_start_it() -> None:
    [fails] = [row for row in ROWS if row.check == "target takes guests"]
    assert not tried(fails).feasible
    [warns] = [row for row in ROWS if row.check == "not bound to hardware"]
    assert tried(warns).feasible


@pytest.mark.parametrize(
    ("versions", "objects", "sent"),
    [
        ({}, (), True),
        ({"pve1": "8.4"}, (), False),
        ({"pve2": "8.4"}, (), False),
        ({"pve1": "9.0", "pve2": "9.1"}, (), True),
        ({}, (migration("quiet", conntrackState="Never"),), False),
    ],
)
def test_connection_tracking_moves_along_only_where_both_nodes_can(
    versions: Mapping[str, str], objects: tuple[Resource, ...], sent: bool
) -> None:
    nodes = {node: {"version": version} for node, version in versions.items()}
    row = Row("", Why.AS_EXPECTED, Level.OK, "", file={"nodes": nodes}, objects=objects)
    move = tried(row).move
    assert move is not None
    assert move.options.conntrack is sent
    assert ("--with-conntrack-state" in command_line(move)) is sent


def remembered(row: Row, seen: Observed) -> Memory:
    if row.dirty_mib_s is None:
        return Memory()
    guest = seen.guests[Vmid(101)]
    return Memory(rates={guest.vmid: GuestRate(guest.identity, row.dirty_mib_s * 2**20, seen.at)})


def tried(row: Row) -> Trial:
    """The move as `drover preflight` shows it."""
    found: list[Trial] = []
    own = cluster()
    named = [each for each in row.objects if each.kind == "PveCluster"] or [own]
    held = Specs.of(
        each.model_copy(update={"metadata": each.metadata.model_copy(update={"name": "c"})})
        if each.kind == "PveCluster"
        else each
        for each in (*named, *(each for each in row.objects if each.kind != "PveCluster"))
    )

    async def body(scene: Scene) -> None:
        for do in row.first:
            do(scene)
        await scene.looks(2)
        await scene.clock.sleep(row.since)
        for do in row.before:
            do(scene)
        seen = await scene.observer.look()
        targets = None if row.to is None else [NodeName(row.to)]
        memory = remembered(row, seen)
        wishes = elsewhere(held, seen, memory, Vmid(101), targets)
        for do in row.after:
            do(scene)
        found.extend(await trials(wishes, specs=held, seen=seen, memory=memory, observer=scene.observer))

    text = json.dumps(laid(PLAIN, {"guests": {101: row.guest}}, row.file), indent=1)
    play(body, text, asked=row.asked)
    [trial] = found
    return trial


def laid(*layers: Mapping[Any, Any]) -> dict[Any, Any]:
    """Mappings over each other; what is no mapping is replaced, and so are disks and networks."""
    under: dict[Any, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            deeper = isinstance(value, Mapping) and key not in ("disks", "nets")
            under[key] = laid(under.get(key, {}), value) if deeper else value
    return under
