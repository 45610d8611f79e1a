"""What happened to the recorded cluster between its calls, done to the simulated one.

`replay` looks here for the id of each call before it asks. Names of guests and nodes are those of the recordings.
"""

from collections.abc import Callable, Generator
from typing import Any

from controller.simulator.routes import Simulator
from controller.simulator.seed import ClusterFile, GuestFile, load
from controller.simulator.tasks import Task, TaskFailed
from controller.simulator.world import World
from tests.contract.replay import Stage

SINGLE = """
name: simcluster
version: "9.2"
start: 2026-11-22T23:57:00Z
nodes:
  pve1: {cpus: 2, memory: 24GiB, ip: 10.77.0.1}
storages:
  local: {type: dir, content: [iso, vztmpl, images, rootdir, backup, snippets]}
access:
  tokens:
    root@pam!test: {secret: test-secret, privsep: false}
"""
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
    for name in world.nodes:
        history(world, name, "clusterjoin", "root@pam")
        history(world, name, "qmcreate", "root@pam!test")
    world.advance(world.now + 20)
    return Stage(world, Simulator(world))


def history(world: World, node: str, kind: str, user: str, failure: str = "") -> None:
    """Let a worker have been, for the lists."""

    def body(_task: Task) -> Generator[float, None, None]:
        yield 0.1
        if failure:
            raise TaskFailed(failure)

    world.spawn(node, kind, "", user, body)


def vm(stage: Stage, vmid: int, node: str, **details: Any) -> None:
    """Create a small VM behind the API's back."""
    config = {"kvm": 0, "vga": "none", "serial0": "socket", "ostype": "other"} | details.pop("config", {})
    file = GuestFile(node=node, memory="32MiB", cores=1, cpu="qemu64", nets={}, config=config, **details)
    stage.world.add(vmid, file)


Scene = Callable[[Stage], None]
SCENES: dict[str, Scene] = {}
