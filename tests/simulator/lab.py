"""A small cluster to ask questions; used by the tests of this folder."""

from typing import Any

from controller.simulator.api import Request, Response
from controller.simulator.routes import Simulator
from controller.simulator.seed import load
from controller.simulator.tasks import Task
from controller.simulator.world import World

TOKEN = "drover@pve!main"
SECRET = "PVEAPIToken=drover@pve!main=0b1c9b3e-0000-4000-8000-000000000001"
BASE = """
nodes:
  pve1: {}
  pve2: {}
  pve3: {}
storages:
  ceph: {type: rbd, size: 10T}
  local: {type: dir, size: 100G, content: [images, iso, rootdir]}
  fast: {type: zfspool, size: 100G, nodes: [pve1, pve2]}
pools:
  prod: {comment: what pays}
access:
  users: {drover@pve: {}, weak@pve: {}}
  tokens:
    drover@pve!main: {secret: 0b1c9b3e-0000-4000-8000-000000000001}
    weak@pve!none: {secret: 0b1c9b3e-0000-4000-8000-000000000002}
  acl:
    - {to: drover@pve, role: Administrator}
    - {to: drover@pve!main, role: Administrator}
guests:
"""
GUESTS = """
  100: {name: web, node: pve1, memory: 4G, disks: {scsi0: {storage: ceph}}, tags: [prod, web], pool: prod}
  101: {name: db, node: pve1, memory: 8G, dirty: 100M, disks: {scsi0: {storage: ceph}}}
  102: {name: off, node: pve2, memory: 2G, status: stopped, disks: {scsi0: {storage: ceph}}}
  103: {name: loc, node: pve1, memory: 2G, disks: {scsi0: {storage: local, size: 4G}}}
  104: {name: iso, node: pve1, iso: "local:iso/debian.iso"}
  200: {type: lxc, name: ct, node: pve2, disks: {rootfs: {storage: ceph, size: 4G}}}
"""


class Lab:
    """One world, one way to ask it; `go` lets time pass."""

    def __init__(self, guests: str = GUESTS, *, extra: str = "", seed: int = 7) -> None:
        self.world = World(load(BASE + (guests or "  {}\n") + extra), seed=seed)
        self.simulator = Simulator(self.world)

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.world.advance(self.world.now + seconds)

    def ask(self, method: str, path: str, *, node: str = "pve1", auth: str = SECRET, **params: Any) -> Response:
        """One call; underscores in names are dashes, except in the names PVE spells so."""
        named = {name.rstrip("_").replace("__", "-"): str(value) for name, value in params.items()}
        return self.simulator.handle(Request(method, path, named, auth=auth, node=node))

    def get(self, path: str, **params: Any) -> Any:
        """The data of a GET that must work."""
        return self._data(self.ask("GET", path, **params))

    def post(self, path: str, **params: Any) -> Any:
        """The data of a POST that must work."""
        return self._data(self.ask("POST", path, **params))

    def put(self, path: str, **params: Any) -> Any:
        """The data of a PUT that must work."""
        return self._data(self.ask("PUT", path, **params))

    def refused(self, method: str, path: str, **params: Any) -> tuple[int, str]:
        """Status and reason of a call that must not work."""
        response = self.ask(method, path, **params)
        assert response.status != 200, response
        return response.status, response.reason

    def migrate(self, vmid: int, target: str, **params: Any) -> Task:
        """Start a migration; the worker."""
        guest = self.world.guests[vmid]
        return self.task(self.post(f"/nodes/{guest.node}/{guest.type}/{vmid}/migrate", target=target, **params))

    def task(self, upid: str) -> Task:
        """The worker behind a UPID."""
        return self.world.tasks.by_upid[upid]

    def row(self, ident: str, **params: Any) -> dict[str, Any]:
        """One row of /cluster/resources."""
        found: dict[str, Any] = next(row for row in self.get("/cluster/resources", **params) if row["id"] == ident)
        return found

    @staticmethod
    def _data(response: Response) -> Any:
        assert response.status == 200, response
        assert response.body is not None
        return response.body["data"]
