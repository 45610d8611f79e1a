"""The cluster file: what is wrong, where, and what would be right; made ones are valid; expectations and accidents."""

from pathlib import Path

import jsonschema
import pytest

from controller.simulator import faults
from controller.simulator.generate import generate, storm
from controller.simulator.routes import Simulator
from controller.simulator.seed import ClusterFile, ClusterFileError, load
from controller.simulator.units import GIB, config_size, parse_size, render_bytes, render_duration
from controller.simulator.world import World
from controller.yamlpos import parse
from tests.simulator.lab import BASE, GUESTS, Lab

FILE = """
nodes:
  pve1: {memory: 64GiB}
  pve2: {}
storages:
  ceph: {type: rbd}
guests:
  100: {node: pve1, disks: {scsi0: {storage: ceph}}}
"""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("pve2: {}", "pve2: {lnk: 3}", "<text>:4:15: nodes.pve2.lnk: there is no such field"),
        ("64GiB", "lots", "<text>:3:18: nodes.pve1.memory: 'lots' is not a size; allowed: a number with K, M, G or T"),
        ("node: pve1", "node: pve9", "<text>:8:15: guests.100.node: there is no node 'pve9'; allowed: pve1, pve2"),
        ("storage: ceph", "storage: c", "<text>:8:46: guests.100.disks.scsi0.storage: there is no storage 'c'; allowed: ceph"),
        ("type: rbd", "type: floppy", "<text>:6:16: storages.ceph.type: 'floppy' is not possible; allowed: 'dir', "),
        ("100:", "99:", "<text>:8:3: guests.99: input should be greater than or equal to 100, not 99"),
        ("guests:", "faults: [{at: 3, do: nap}]\nguests:", "<text>:7:22: faults.0.do: there is no fault 'nap'; allowed: admin-"),
        (
            "guests:",
            "faults: [{at: 3, do: node-crash}]\nguests:",
            "<text>:7:22: faults.0.do: node-crash: missing a required argument: 'node'; allowed: node",
        ),
        (
            "guests:",
            "faults: [{at: 3, do: node-crash, node: pve7}]\nguests:",
            "<text>:7:40: faults.0.node: there is no 'pve7' in this cluster",
        ),
        ("guests:", "expect: [{at: 3, guest: 7}]\nguests:", "<text>:7:25: expect.0.guest: there is no guest 7"),
        ("nodes:", "nodes: [\n", "<text>:"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_place_and_remedy(old: str, new: str, complaint: str) -> None:
    with pytest.raises(ClusterFileError) as caught:
        load(FILE.replace(old, new, 1))
    assert str(caught.value).startswith(complaint)


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(ClusterFileError) as caught:
        load(FILE.replace("64GiB", "x").replace("type: rbd", "type: y"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(FILE)
    assert load(path) == load(FILE)
    path.write_text("nodes: {}\n")
    with pytest.raises(ClusterFileError, match=f"{path}:1:8: nodes: "):
        load(path)


@pytest.mark.parametrize("text", [FILE, BASE + GUESTS])
def test_the_json_schema_accepts_what_the_reader_accepts(text: str) -> None:
    (document,) = parse(text, "<text>")
    jsonschema.validate(_text_keys(document.value), ClusterFile.model_json_schema())


def _text_keys(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _text_keys(entry) for key, entry in value.items()}
    return [_text_keys(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("nodes", "guests", "seed"), [(1, 0, 0), (3, 20, 1), (16, 300, 2)])
def test_a_generated_cluster_fits_into_its_memory_and_repeats(nodes: int, guests: int, seed: int) -> None:
    file = generate(nodes=nodes, guests=guests, seed=seed)
    assert file == generate(nodes=nodes, guests=guests, seed=seed)
    assert (len(file.nodes), len(file.guests)) == (nodes, guests)
    assert sum(guest.memory for guest in file.guests.values()) <= 0.7 * sum(node.memory for node in file.nodes.values())
    assert ClusterFile.model_validate(file.model_dump()) == file


def test_a_day_of_accidents_ends_with_every_node_back_and_repeats() -> None:
    def run() -> World:
        file = generate(nodes=4, guests=30, seed=5)
        world = World(file.model_copy(update={"faults": storm(file, seconds=86_000, seed=5)}), seed=5)
        Simulator(world)
        world.advance(world.start + 90_000)
        return world

    world = run()
    kinds = {entry.facts["do"] for entry in world.journal if entry.kind == "fault"}
    assert len(kinds) > 12
    assert all(node.powered and node.member and node.answers() and node.group == 0 for node in world.nodes.values())
    assert world.network.flows == []
    assert list(map(str, run().journal)) == list(map(str, world.journal))


def test_accidents_are_valid_faults() -> None:
    file = generate(nodes=3, guests=10, seed=1)
    timeline = storm(file, seconds=100_000, seed=2)
    assert list(faults.check(file.model_copy(update={"faults": timeline}))) == []


def test_one_lasting_accident_is_over_before_the_next_begins() -> None:
    begins = ("node-crash", "pveproxy-down", "pvedaemon-down", "partition", "storage-inactive")
    ends = ("node-return", "pveproxy-up", "pvedaemon-up", "heal", "storage-active")
    for seed in range(20):
        away = 0
        for fault in storm(generate(nodes=3, guests=5), seconds=50_000, every=60.0, seed=seed):
            away += (fault.do in begins) - (fault.do in ends)
            assert away in (0, 1)


def test_expectations_tell_what_did_not_hold() -> None:
    lab = Lab(
        extra="expect:\n  - {at: 5, guest: 100, node: pve1, status: running, lock: none}\n  - {at: 6, guest: 101, node: pve2}\n"
    )
    lab.go(10)
    assert lab.world.unmet == ["6 s: guest 101: node is pve1, expected pve2"]


def test_old_error_bodies_say_nothing() -> None:
    lab = Lab(extra="error_bodies: bare\n")
    response = lab.ask("POST", "/nodes/pve1/qemu/100/migrate", target="pve2")
    assert (response.status, response.body) == (500, {"data": None})
    assert response.reason == "can't migrate running VM without --online"


@pytest.mark.parametrize(
    ("text", "size"), [("32G", 32 * GIB), ("32GiB", 32 * GIB), ("512M", 512 << 20), ("1.5T", 3 << 39), ("7", 7)]
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_sizes_and_durations_look_like_pves() -> None:
    assert [config_size(size) for size in (32 * GIB, 528 << 10, 4 << 20, 1000)] == ["32G", "528K", "4M", "1000"]
    assert [render_bytes(size) for size in (0, 61440, 111040921, 4 * GIB)] == [
        "0.0 B",
        "60.0 KiB",
        "105.9 MiB",
        "4.0 GiB",
    ]
    assert [render_duration(seconds) for seconds in (0, 5, 160, 3600, 90061)] == [
        "0s",
        "5s",
        "2m 40s",
        "1h",
        "1d 1h 1m 1s",
    ]


def test_a_replication_schedule_that_pve_would_refuse_is_refused_with_its_place() -> None:
    text = "nodes: {pve1: {}, pve2: {}}\nguests: {100: {node: pve1}}\nreplication:\n  100-0: {target: pve2, schedule: sometimes}\n"
    with pytest.raises(
        ClusterFileError, match=r"replication\.100-0\.schedule: 'sometimes' is not a calendar event"
    ) as caught:
        load(text)
    assert "<text>:4:" in str(caught.value)
