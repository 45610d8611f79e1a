"""A recording of a cluster is that cluster again when it is simulated, and nothing in it is anybody's business."""

import re
from pathlib import Path
from typing import Any

import pytest

from controller.pve.recorder import Recorder, Survey
from controller.pve.scrub import Scrubber
from controller.rehearse.virtual_time import VirtualClock, VirtualLoop, run
from controller.simulator import recorded
from controller.simulator.generate import generate
from controller.simulator.routes import Simulator
from controller.simulator.seed import ClusterFile, load
from controller.simulator.transport import SimTransport
from controller.simulator.world import World

AUTH = f"PVEAPIToken={recorded.TOKEN}={recorded.SECRET}"
BASE = """
name: zzcorp
version: "9.2"
nodes:
  pve1: {cpus: 8, sockets: 2, memory: 32GiB, timezone: Europe/Vienna, overhead: 3GiB, config: {description: zznode}, ip: 192.0.2.77}
  pve2: {cpus: 16, memory: 64GiB, bridges: [vmbr0, vmbr7]}
  pve3: {cpus: 16, memory: 64GiB, version: "9.1"}
storages:
  ceph: {type: rbd, size: 10T, used: 1T}
  local: {type: dir, size: 100G, used: 7G, content: [images, iso, rootdir], config: {path: /mnt/zzpath}}
  fast: {type: zfspool, size: 500G, nodes: [pve1, pve2]}
  nas: {type: nfs, size: 5T, disable: true, config: {server: zznas.example.org, export: /zzexport}}
pools:
  prod: {comment: zzpool, storages: [ceph, fast]}
options: {migration: "type=insecure,network=192.0.2.0/24", crs: "ha=static", registered-tags: "db;web",
  email_from: zzmail@example.org,  description: zzdatacenter,
  http_proxy: "http://zzproxy:zzpass@192.0.2.9:3128", next-id: "lower=200,upper=900"}
mappings:
  pci: {gpu: {map: ["node=pve1,path=0000:01:00.0,id=1000:0097"], description: zzmapping}}
access:
  users: {zzanna@pam: {password: zzpassword, comment: zzuser}}
  tokens:
    zzanna@pam!zztoken: {secret: 12345678-dead-4bee-8fee-123456789abc, privsep: false}
"""
GUESTS = """
guests:
  100:
    name: zzpayroll
    node: pve1
    memory: 4G
    cores: 3
    sockets: 2
    disks:
      scsi0: {storage: fast, size: 32G, used: 9G, options: "iothread=1,serial=ZZSERIAL"}
      scsi1: {storage: ceph, size: 100G, used: 50G}
      efidisk0: {storage: ceph, size: 528K, options: "efitype=4m,pre-enrolled-keys=1"}
      ide0: {storage: ceph, size: 4M, volume: vm-100-cloudinit, options: media=cdrom}
      unused0: {storage: ceph, size: 8G, volume: vm-100-disk-9}
    iso: "local:iso/zzinstaller.iso"
    nets: {net0: "virtio=DE:AD:BE:EF:00:01,bridge=vmbr0,firewall=1", net1: "e1000=DE:AD:BE:EF:00:02,bridge=vmbr7"}
    tags: [db, prod]
    pool: prod
    snapshots: [zzsnapshot]
    ctime: 1700000000
    written: 1MiB
    ha: {state: started, max_restart: 2, comment: zzresource}
    config: {description: zzdescription, cipassword: zzcipassword, ciuser: zzciuser, sshkeys: zzsshkey, nameserver: 203.0.113.53,
      searchdomain: zzdomain, ipconfig0: "ip=203.0.113.5/24,gw=203.0.113.1,ip6=2001:db8:beef::5/64", args: -zzargs, balloon: 1024,
      smbios1: "uuid=87654321-dead-4bee-8fee-cba987654321,serial=ZZBOARD", hookscript: "local:snippets/zzhook.pl",
      hostpci0: "mapping=gpu,pcie=1", onboot: 1, bios: ovmf, boot: "order=scsi0;net0", startup: order=3}
  101: {name: zzpayroll, node: pve2, memory: 8G, disks: {scsi0: {storage: ceph}}, ha: {state: stopped}, status: stopped, nets: {}}
  102: {node: pve2, status: paused, memory: 1G, disks: {virtio0: {storage: local, size: 10G}},
    config: {scsi3: "/dev/disk/by-id/ata-ZZDISK"}}
  103: {node: pve3, lock: backup, disks: {scsi0: {storage: ceph}}, tags: [web]}
  104: {node: pve3, template: true, status: stopped, disks: {scsi0: {storage: ceph, volume: base-104-disk-0}}}
  200:
    {type: lxc, name: zzproxy, node: pve1, memory: 512M, cores: 1, pool: prod, disks: {rootfs: {storage: ceph, size: 8G}},
    nets: {net0: "bridge=vmbr0,ip=203.0.113.6/24"}, config: {mp0: "/srv/zzbind,mp=/zzmount", features: nesting=1}}
  201: {type: lxc, node: pve2, disks: {rootfs: {storage: fast, size: 4G}, mp0: {storage: local, size: 3G, options: "mp=/zzdata"}}}
ha:
  rules:
    apart: {type: resource-affinity, affinity: negative, resources: "vm:100,vm:101", comment: zzrule}
    home: {type: node-affinity, resources: "vm:100", nodes: "pve1:2,pve2", strict: 1}
replication:
  100-0: {target: pve2, schedule: "*/15", rate: 50, comment: zzjob}
"""
FLEETING = {"cpu", "netin", "netout", "diskread", "diskwrite", "uptime", "name", "digest"}
"""What is another number a moment later, or another name after scrubbing."""


class Sight:
    """What a client with every right sees of a simulated cluster."""

    def __init__(self, file: ClusterFile, folder: Path, *, keep_names: bool = False) -> None:
        folder.mkdir()
        loop = VirtualLoop()
        self.clock = VirtualClock(loop)
        self.world = World(file.model_copy(update={"start": self.clock.wall()}), seed=1)
        self.folder = folder
        self.seen: dict[str, Any] = {}
        simulator = Simulator(self.world)
        transport = SimTransport(simulator, clock=self.clock, auth=AUTH, endpoints=tuple(self.world.nodes)[1:])
        recorder = Recorder(transport, folder, Scrubber(keep_names=keep_names))
        self.pauses = 0
        self.progress: list[tuple[int, int]] = []
        self.survey = Survey(recorder, pause=self._pause, progress=lambda *done: self.progress.append(done))

        async def look() -> None:
            await self.clock.sleep(30)
            await self.survey.run()
            for path in ("resources", "options", "replication", "ha/resources", "ha/rules", "mapping/pci"):
                if path != "ha/rules" or file.version != "8.4":
                    self.seen[path] = await transport.get(f"/cluster/{path}")
            for guest in self.world.guests.values():
                if self.world.nodes[guest.node].powered:
                    place = f"/nodes/{guest.node}/{guest.type}/{guest.vmid}"
                    self.seen[f"{guest.vmid}"] = await transport.get(f"{place}/config")

        run(look(), loop)

    async def _pause(self) -> None:
        self.pauses += 1
        await self.clock.sleep(0.01)

    def again(self, folder: Path) -> "Sight":
        """The cluster that the recording makes."""
        return Sight(load(recorded.cluster_yaml(recorded.read(self.folder))), folder)


def settled(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in FLEETING}


def planted() -> ClusterFile:
    token = f'    {recorded.TOKEN}: {{secret: "{recorded.SECRET}", privsep: false}}\n'
    token += "  acl: [{role: Administrator, to: drover@pve}]\n"
    return load(BASE.replace("  users: {", "  users: {drover@pve: {}, ") + token + GUESTS)


@pytest.fixture(scope="module")
def sights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sight, Sight]:
    folder = tmp_path_factory.mktemp("recording")
    first = Sight(planted(), folder / "first")
    return first, first.again(folder / "second")


def test_a_recorded_cluster_has_the_same_nodes_guests_and_storages_again(sights: tuple[Sight, Sight]) -> None:
    first, second = ({row["id"]: settled(row) for row in sight.seen["resources"]} for sight in sights)
    assert first == second


@pytest.mark.parametrize("path", ["ha/resources", "ha/rules", "replication", "mapping/pci"])
def test_ha_and_replication_are_the_same_again(sights: tuple[Sight, Sight], path: str) -> None:
    first, second = ([{**settled(row), "comment": 0, "description": 0} for row in sight.seen[path]] for sight in sights)
    assert first
    assert first == second


def test_options_are_the_same_again_without_addresses_and_texts(sights: tuple[Sight, Sight]) -> None:
    first, second = (sight.seen["options"] for sight in sights)
    assert first.pop("migration") == {"type": "insecure", "network": "192.0.2.0/24"}
    assert second.pop("migration") == {"type": "insecure"}
    dropped = {"email_from", "http_proxy"}
    assert {key: value for key, value in first.items() if key not in dropped} | {"description": ""} == second


def test_configurations_are_the_same_again_but_for_what_was_scrubbed(sights: tuple[Sight, Sight]) -> None:
    scrubbed = {
        "name",
        "hostname",
        "digest",
        "smbios1",
        "vmgenid",
        "description",
        "ipconfig0",
        "ide2",
        "scsi3",
        "parent",
    }
    left_out = {"cipassword", "ciuser", "sshkeys", "nameserver", "searchdomain", "args", "hookscript"}
    first, second = sights
    for vmid in map(str, first.world.guests):
        before, after = first.seen[vmid], second.seen[vmid]
        assert set(before) - set(after) <= left_out | {"description"}
        for key in set(before) & set(after) - scrubbed:
            old = re.sub(
                r"DE:AD:BE:EF:[0-9:]+|BC:24:11:[0-9A-F:]+|203\.0\.113\.\d+|,serial=\w+|/(srv/)?zz\w+",
                "",
                str(before[key]),
            )
            new = re.sub(r"BC:24:11:[0-9A-F:]+|10\.0\.0\.\d+|/mnt/(path|file)-\d+", "", str(after[key]))
            assert old == new, (vmid, key)


def test_nothing_planted_is_anywhere_in_the_recording(sights: tuple[Sight, Sight]) -> None:
    folder = sights[0].folder
    (folder / "cluster.yaml").write_text(recorded.cluster_yaml(recorded.read(folder)))
    personal = re.compile(r"zz\w*|DE:AD:BE:EF|192\.0\.2\.|203\.0\.113|beef::|dead-4bee|1:3128", re.IGNORECASE)
    for file in folder.iterdir():
        found = personal.search(file.read_text()) or personal.search(file.name)
        assert found is None, f"{file.name}: {found}"


def test_what_belonged_together_still_does(sights: tuple[Sight, Sight]) -> None:
    first, second = (sight.seen for sight in sights)
    same = first["100"]["name"] == first["101"]["name"]
    assert same == (second["100"]["name"] == second["101"]["name"])
    assert second["100"]["name"] != second["200"]["hostname"]
    macs = re.findall(r"BC:24:11:[0-9A-F:]+", str([second[vmid] for vmid in ("100", "102", "103", "200")]))
    assert len(set(macs)) == len(macs) == 5


def test_names_stay_when_that_is_wanted(tmp_path: Path) -> None:
    sight = Sight(planted(), tmp_path / "kept", keep_names=True)
    text = recorded.cluster_yaml(recorded.read(sight.folder))
    assert "name: zzpayroll" in text
    assert "name: zzcorp" in text
    assert "zzdescription" not in text


def test_every_call_waits_for_its_turn_and_is_counted(sights: tuple[Sight, Sight]) -> None:
    survey = sights[0]
    assert survey.pauses == len(survey.progress) == len(list(survey.folder.glob("0*.json")))
    assert all(done <= known for done, known in survey.progress)
    assert survey.progress[-1][0] == survey.progress[-1][1]
    assert survey.survey.refused == {"/cluster/ha/groups": 500}


def test_a_node_that_was_down_is_down_again(tmp_path: Path) -> None:
    file = planted().model_copy(update={"faults": load(BASE + "faults: [{at: 0, do: node-crash, node: pve1}]").faults})
    first = Sight(file, tmp_path / "first")
    assert "/nodes/pve1/qemu/100/config" in first.survey.refused
    second = first.again(tmp_path / "second")
    assert not second.world.nodes["pve1"].powered
    assert second.world.guests[100].node == "pve1"


def test_a_token_that_may_see_less_makes_a_smaller_cluster(tmp_path: Path) -> None:
    access = {"roles": {"Little": ("VM.Audit", "Sys.Audit")}, "acl": ({"role": "Little", "to": "drover@pve"},)}
    whole = planted()
    file = ClusterFile.model_validate({**whole.model_dump(), "access": {**whole.access.model_dump(), **access}})
    first = Sight(file, tmp_path / "first")
    second = first.again(tmp_path / "second")
    assert set(second.world.guests) == set(first.world.guests)
    assert {"ceph", "fast", "local"} <= set(second.world.storages)
    assert [job["guest"] for job in second.world.replication.values()] == [100]
    answers = recorded.read(first.folder)
    answers["/cluster/resources"] = [row for row in answers["/cluster/resources"] if row.get("vmid") != 100]
    assert 100 not in load(recorded.cluster_yaml(answers)).guests


@pytest.mark.parametrize("version", ["8.4", "9.0", "9.1", "9.2"])
def test_every_release_is_recorded(tmp_path: Path, version: Any) -> None:
    file = generate(nodes=2, guests=8, seed=3, version=version, local=0.5, containers=0.3)
    first = Sight(file, tmp_path / "first")
    second = first.again(tmp_path / "second")
    assert {row["id"]: settled(row) for row in first.seen["resources"]} == {
        row["id"]: settled(row) for row in second.seen["resources"]
    }
    assert {node.version for node in second.world.nodes.values()} == {version}


@pytest.mark.parametrize(
    ("told", "taken"), [("7.4", "8.4"), ("8.4", "8.4"), ("8.9", "8.4"), ("9.2", "9.2"), ("10.0-beta1", "9.2")]
)
def test_an_unknown_release_is_taken_for_the_one_before(tmp_path: Path, told: str, taken: str) -> None:
    sight = Sight(generate(nodes=2, guests=1), tmp_path / "first")
    answers = recorded.read(sight.folder)
    for node in sight.world.nodes:
        answers[f"/nodes/{node}/version"] = {"release": told}
    assert load(recorded.cluster_yaml(answers)).version == taken
