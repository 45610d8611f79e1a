"""What happened to the recorded cluster between its calls, done to the simulated one.

`replay` looks here for the id of each call before it asks. Names of guests and nodes are those of the recordings.
"""

from collections.abc import Callable, Generator
from typing import Any

from controller.simulator import faults
from controller.simulator.routes import Simulator
from controller.simulator.seed import ClusterFile, GuestFile, load
from controller.simulator.storage import Volume
from controller.simulator.tasks import Task, TaskFailed
from controller.simulator.world import World
from tests.contract.replay import Stage

ALONE = ("10-single-node", "11-cluster-form")
"""Groups recorded before there was a cluster."""
SINGLE = """
name: simcluster
version: "9.2"
start: 2026-11-22T23:57:00Z
nodes:
  pve1: {cpus: 2, memory: 24GiB, ip: 10.77.0.1}
  pve2: {cpus: 2, memory: 24GiB, ip: 10.77.0.2, standalone: true}
  pve3: {cpus: 2, memory: 24GiB, ip: 10.77.0.3, standalone: true}
storages:
  local: {type: dir, content: [iso, vztmpl, images, rootdir, backup, snippets]}
access:
  tokens:
    root@pam!test: {secret: test-secret, privsep: false}
"""
PHASES = {"pve1": 4.0, "pve2": 1.0, "pve3": 7.0}
"""When each node broadcasts its numbers, so that the replay does not depend on the simulator's dice."""
CLUSTER = """
name: simcluster
version: "9.2"
start: 2026-11-23T00:05:00Z
nodes:
  pve1: {cpus: 2, memory: 24GiB, ip: 10.77.0.1}
  pve2: {cpus: 2, memory: 24GiB, ip: 10.77.0.2}
  pve3: {cpus: 2, memory: 24GiB, ip: 10.77.0.3}
storages:
  local: {type: dir, content: [images, rootdir, iso, vztmpl, backup, snippets], config: {prune-backups: keep-all=1}}
access:
  users:
    admin@pve: {password: admin@pve password}
  tokens:
    root@pam!test: {secret: test-secret, privsep: false}
  acl:
    - {path: /, role: Administrator, to: admin@pve}
"""


def stage(text: str) -> Stage:
    """A fresh simulated cluster with root's password set."""
    file: ClusterFile = load(text)
    world = World(file)
    world.access.users["root@pam"].password = "root@pam password"
    for name, node in world.nodes.items():
        node.phase = PHASES[name]
        history(world, name, "clusterjoin", "root@pam")
        history(world, name, "qmcreate", "root@pam!test")
    world.advance(world.now + 20)
    return Stage(world, Simulator(world))


def history(world: World, node: str, kind: str, user: str, *, failure: str = "", ident: str = "") -> None:
    """Let a worker have been, for the lists."""

    def body(_task: Task) -> Generator[float, None, None]:
        yield 0.1
        if failure:
            raise TaskFailed(failure)

    world.spawn(node, kind, ident, user, body)


def vm(stage: Stage, vmid: int, node: str, **details: Any) -> None:
    """Create a small VM behind the API's back."""
    config = {"kvm": 0, "vga": "none", "serial0": "socket", "ostype": "other"} | details.pop("config", {})
    file = GuestFile(node=node, memory="32MiB", cores=1, cpu="qemu64", nets={}, config=config, **details)
    guest = stage.world.add(vmid, file)
    for key in {"net0", "scsihw"} - config.keys():
        guest.config.pop(key, None)
    guest.config["boot"] = "order=scsi0" if "scsi0" in guest.config else " "


def run(stage: Stage, state: str, *vmids: int) -> None:
    """Bring guests into a run state by hand."""
    for vmid in vmids:
        stage.world.set_run(stage.world.guests[vmid], state)


def volume(stage: Stage, volid: str, size: int = 1 << 20, node: str = "pve1") -> None:
    """Put an image or a template where it lay."""
    storage = stage.world.storages[volid.partition(":")[0]]
    storage.place(node)[volid] = Volume(volid, size, size, None)


def small(stage: Stage, *vmids: int) -> None:
    """The recorded guests ran no operating system: nearly empty memory, and nobody who listens to a shutdown."""
    for vmid in vmids:
        guest = stage.world.guests[vmid]
        guest.touched, guest.dirty, guest.working, guest.stops_in = 0.02, 20_000.0, 150_000.0, None


def before_cluster(stage: Stage) -> None:
    """The recordings hide the fingerprint; this is the one that they show."""
    stage.world.fingerprints["pve1"] = ":".join(["AA"] * 32)


def before_vms(stage: Stage) -> None:
    volume(stage, "local:iso/tiny-local.iso")
    volume(stage, "shared:iso/tiny-shared.iso")
    volume(stage, "shared:vztmpl/debian-12-fake.tar.gz")


def online_guests(stage: Stage) -> None:
    nic = {"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0"}
    vm(stage, 120, "pve1", name="onl-local", status="running", disks=disk("local", "32MiB"))
    vm(stage, 121, "pve1", name="onl-iso", status="running", iso="local:iso/tiny-local.iso")
    vm(stage, 122, "pve1", name="onl-fast", status="running", disks=disk("fast12", "32MiB"))
    vm(stage, 123, "pve1", name="onl-shared", status="running", disks=disk("shared", "32MiB"), tags=("a",), config=nic)
    vm(
        stage,
        124,
        "pve1",
        name="onl-nobridge",
        status="running",
        config={"net0": "virtio=BC:24:11:00:00:02,bridge=vmbr99"},
    )
    small(stage, 120, 121, 122, 123, 124)


def disk(storage: str, size: str) -> dict[str, Any]:
    return {"scsi0": {"storage": storage, "size": size}}


def ha_guests(stage: Stage) -> None:
    vm(stage, 140, "pve1", name="ha1", status="stopped", disks=disk("shared", "8MiB"))
    vm(stage, 141, "pve1", name="ha2", status="stopped", disks=disk("shared", "8MiB"))
    vm(stage, 142, "pve1", name="ha3", status="stopped", disks=disk("shared", "8MiB"))
    small(stage, 140, 141, 142)


def rule_guests(stage: Stage) -> None:
    vm(stage, 145, "pve3", name="har145", status="stopped", disks=disk("shared", "8MiB"))
    vm(stage, 146, "pve2", name="har146", status="stopped", disks=disk("shared", "8MiB"))
    small(stage, 145, 146)


def bulk_guests(stage: Stage) -> None:
    for vmid in (170, 171, 172):
        vm(stage, vmid, "pve2", name=f"bulk{vmid}", status="stopped", disks=disk("shared", "8MiB"), tags=("bulk",))
    small(stage, 170, 171, 172)


def down_guests(stage: Stage) -> None:
    stage.world.nodes["pve2"].daemon = True
    run(stage, "stopped", 145, 146)
    vm(stage, 160, "pve3", name="q160", status="running", disks=disk("shared", "8MiB"))
    vm(stage, 161, "pve3", name="q161", status="running", disks=disk("shared", "8MiB"), ha={"state": "started"})
    vm(stage, 162, "pve1", name="q162", status="running", disks=disk("shared", "8MiB"))
    vm(stage, 163, "pve1", name="q163", status="stopped", disks=disk("shared", "8MiB"))
    small(stage, 160, 161, 162, 163)
    stage.world.ha.wake()
    stage.wait(60)


def crash(stage: Stage, *nodes: str) -> None:
    """Cut the power of machines whose addresses still answer: they were guests of one host."""
    for node in nodes:
        stage.world.nodes[node].refusing = True
        faults.apply(stage.world, "node-crash", node=node)


def daemon_down(stage: Stage) -> None:
    faults.apply(stage.world, "pveproxy-up", node="pve2")
    faults.apply(stage.world, "pvedaemon-down", node="pve2")


def no_quorum(stage: Stage) -> None:
    for sid in ("vm:140", "vm:161"):
        stage.world.ha.forget(sid)
    stage.wait(3)
    crash(stage, "pve2")


def power_on(stage: Stage, *nodes: str) -> None:
    for node in nodes:
        stage.world.nodes[node].refusing = False
        faults.apply(stage.world, "node-return", node=node)


def before_isolation(stage: Stage) -> None:
    """Guests were brought back to where the next recordings expect them."""
    run(stage, "running", 162)
    for vmid, node in ((163, "pve1"), (161, "pve3")):
        stage.world.move_config(stage.world.guests[vmid], node)


def stop_after_online(stage: Stage) -> None:
    run(stage, "stopped", 130)
    history(stage.world, "pve1", "qmstop", "root@pam", ident="130")


Scene = Callable[[Stage], None]
SCENES: dict[str, Scene] = {
    "11-cluster-form/001": before_cluster,
    "11-cluster-form/008": lambda stage: stage.wait_for(lambda: stage.world.formed),
    "30-vm/001": before_vms,
    "31-migrate-preconditions/001": lambda stage: stage.world.remove(stage.world.guests[190]),
    "31-migrate-preconditions/068": lambda stage: run(stage, "running", 101, 102, 103, 105),
    "32-migrate-offline/001": lambda stage: run(stage, "stopped", 102, 103, 105),
    "33-migrate-online/001": lambda stage: small(stage, 101),
    "33-migrate-online/004": lambda stage: stage.wait(10),
    "33-migrate-online/024": lambda stage: stage.wait(10),
    "33-migrate-online/030": online_guests,
    "33-migrate-online/048": lambda stage: run(stage, "paused", 123),
    "40-replication/083": lambda stage: stage.wait_for(
        lambda: stage.world.replicator.state("pve1", "131-0").fail_count == 2, 600
    ),
    "40-replication/103": lambda stage: stage.world.move_config(stage.world.guests[102], "pve1"),
    "40-replication/093": lambda stage: run(stage, "running", 130),
    "40-replication/100": stop_after_online,
    "50-ha/001": ha_guests,
    "50-ha/085": lambda stage: stage.wait_for(lambda: stage.world.guests[140].node != "pve1", 60),
    "50-ha/090": lambda stage: run(stage, "stopped", 119),
    "50-ha/023": lambda stage: stage.wait_for(lambda: stage.world.ha.services["vm:141"].state == "stopped", 30),
    "50-ha/099": lambda stage: stage.world.ha.maintain("pve1", on=True),
    "50-ha/115": lambda stage: stage.world.ha.maintain("pve1", on=False),
    "50-ha/132": lambda stage: stage.wait(15),
    "70-tasks/038": lambda stage: vm(stage, 150, "pve1", name="task1", status="stopped", disks=disk("local", "64MiB")),
    "51-ha-rules/001": rule_guests,
    "96-bulk/001": bulk_guests,
    "61-node-down/001": lambda stage: faults.apply(stage.world, "pveproxy-down", node="pve2"),
    "61-node-down/005": daemon_down,
    "61-node-down/009": down_guests,
    "61-node-down/014": lambda stage: crash(stage, "pve3"),
    "61-node-down/020": lambda stage: stage.wait(10),
    "62-no-quorum/001": no_quorum,
    "62-no-quorum/002": lambda stage: stage.wait(20),
    "62-no-quorum/042": lambda stage: power_on(stage, "pve2", "pve3"),
    "62-no-quorum/050": lambda stage: stage.wait(2),
    "63-node-isolated/001": before_isolation,
    "63-node-isolated/002": lambda stage: faults.apply(stage.world, "partition", nodes=["pve3"]),
    "63-node-isolated/006": lambda stage: stage.wait(15),
    "63-node-isolated/092": lambda stage: faults.apply(stage.world, "heal"),
    "63-node-isolated/094": lambda stage: stage.wait(12),
}
