"""QEMU's monitor and the guest agent: who may ask what, and what it changes."""

import pytest

from controller.simulator.api import Request, Response
from controller.simulator.routes import Simulator
from controller.simulator.seed import load
from controller.simulator.world import World

TOKEN = "PVEAPIToken=drover@pve!main=0b1c9b3e-0000-4000-8000-000000000001"
MONITOR, PING = "/nodes/pve1/qemu/100/monitor", "/nodes/pve1/qemu/100/agent/ping"
SEE, SET = "info dirty_rate", "calc_dirty_rate 1"


def world(version: str, rights: str) -> World:
    return World(
        load(f"""
nodes: {{pve1: {{version: "{version}"}}, pve2: {{version: "{version}"}}}}
storages: {{ceph: {{type: rbd, size: 10T}}}}
access:
  users: {{drover@pve: {{}}}}
  tokens: {{drover@pve!main: {{secret: 0b1c9b3e-0000-4000-8000-000000000001, privsep: false}}}}
  roles: {{Role: [{rights}]}}
  acl: [{{path: /, role: Role, to: drover@pve}}]
guests:
  100: {{name: web, node: pve1, memory: 4G, dirty: 100M, config: {{agent: "1"}}, agent: true, disks: {{scsi0: {{storage: ceph}}}}}}
"""),
        seed=7,
    )


def post(asked: World, path: str, **params: object) -> Response:
    return Simulator(asked).handle(Request("POST", path, params, node="pve1", auth=TOKEN))


@pytest.mark.parametrize(
    ("version", "rights", "see", "change", "ping"),
    [
        ("9.2", "VM.Audit", 403, 403, 403),
        ("9.2", "Sys.Audit", 200, 403, 403),
        ("9.2", "Sys.Modify", 200, 200, 403),
        ("9.2", "VM.GuestAgent.Audit", 403, 403, 200),
        ("8.4", "Sys.Modify", 403, 403, 403),
        ("8.4", "VM.Monitor", 200, 403, 200),
        ("8.4", "'VM.Monitor', Sys.Modify", 200, 200, 200),
    ],
)
def test_rights_are_those_of_the_version(version: str, rights: str, see: int, change: int, ping: int) -> None:
    asked = world(version, rights)
    assert post(asked, MONITOR, command=SEE).status == see
    assert post(asked, MONITOR, command=SET).status == change
    assert post(asked, PING).status == ping


def test_root_only_commands_stay_so() -> None:
    assert post(world("9.2", "Sys.Modify"), MONITOR, command="migrate tcp:pve2").status == 403


def test_what_is_measured_can_be_read_afterwards() -> None:
    asked = world("9.2", "Sys.Modify")
    assert "unstarted" in str(post(asked, MONITOR, command=SEE).body)
    post(asked, MONITOR, command=SET)
    assert "Dirty rate: 100 (MB/s)" in str(post(asked, MONITOR, command=SEE).body)
