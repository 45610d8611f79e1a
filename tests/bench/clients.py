"""Clients that nobody here wrote, against the simulator over HTTPS: pvecontrol, prometheus-pve-exporter and ProxLB.

They live in an environment of their own, `.venv/clients`, made from `requirements/bench.lock`. Every step has to end without an
error: of the client, in what it prints, and in what the simulator answered it.
"""

import asyncio
import os
import re
import subprocess
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from controller.clock import SystemClock
from controller.simulator.api import Request, Response
from controller.simulator.generate import generate
from controller.simulator.http import Server, serve
from controller.simulator.routes import Simulator
from controller.simulator.seed import ClusterFile
from controller.simulator.world import World
from tests.bench import environment

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "bench.lock"
HOME = ROOT / ".venv" / "clients"
CLIENTS = ("pvecontrol", "prometheus-pve-exporter", "proxlb")
USER, TOKEN, SECRET = "bot@pve", "main", "00000000-0000-4000-8000-000000000001"
EXPORTER_PORT = 19221
PVECONTROL = (
    "status", "node list", "vm list", "storage list", "acl list", "user list", "group list", "report", "sanitycheck",
    "vm migrate {vmid} -t {target} -f --online", "task list",
)  # fmt: skip
TROUBLE = re.compile(r"Traceback|\b(ERROR|CRITICAL|[45]\d\d (?:Client|Server|Internal|Not|Bad|Parameter|Permission))\b")


class Watched(Simulator):
    """A simulator that remembers what it was asked, and what it answered with an error."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.refused: Counter[str] = Counter()

    def handle(self, request: Request) -> Response:
        response = super().handle(request)
        if response.status >= 400:
            self.refused[f"{response.status} {request.method} {request.path}: {response.reason}"] += 1
        return response


class Bench:
    """One served cluster, and the clients that are let loose on it one after the other."""

    def __init__(self, simulator: Watched, server: Server, folder: Path) -> None:
        self.simulator = simulator
        self.address = server.endpoints[0].removeprefix("https://")
        self.folder = folder
        self.asked = 0

    def play(self) -> None:
        self.asked = self.simulator.requests
        self._pvecontrol()
        self._told("pvecontrol")
        self._exporter()
        self._told("prometheus-pve-exporter")
        self._proxlb()
        self._told("proxlb")

    def _told(self, client: str) -> None:
        refused = self.simulator.refused
        print(f"  {client:24} {versions()[client]:8} {self.simulator.requests - self.asked:6} {refused.total():7}")
        assert not refused, f"{client} was refused: {dict(refused)}"
        self.asked = self.simulator.requests

    def _pvecontrol(self) -> None:
        world = self.simulator.world
        guest = next(guest for guest in world.guests.values() if guest.running and guest.type == "qemu")
        target = next(name for name in world.nodes if name != guest.node)
        cluster = {"name": "lab", "host": self.address, **_login("user"), "ssl_verify": False}
        config = self._write("pvecontrol.yaml", {"clusters": [cluster]})
        for words in PVECONTROL:
            arguments = words.format(vmid=guest.vmid, target=target).split()
            said = self._run([HOME / "bin" / "pvecontrol", "--config", config, "-c", "lab", *arguments])
            if words == "vm list":
                assert all(str(one.vmid) in said for one in world.guests.values() if one.type == "qemu"), said
        assert guest.node == target, "pvecontrol moved nothing"

    def _exporter(self) -> None:
        config = self._write("exporter.yaml", {"default": {**_login("user"), "verify_ssl": False}})
        with _exporting(config):
            url = f"http://127.0.0.1:{EXPORTER_PORT}/pve?target={self.address}&cluster=1&node=1"
            with urllib.request.urlopen(url, timeout=60) as answer:
                text = answer.read().decode()
        world = self.simulator.world
        up = dict(re.findall(r'^pve_up\{id="([^"]+)"\} ([\d.]+)', text, re.MULTILINE))
        wanted = {f"{guest.type}/{guest.vmid}": str(float(guest.running)) for guest in world.guests.values()}
        assert wanted.items() <= up.items(), up
        assert all(float(up[f"node/{name}"]) == 1 for name in world.nodes)

    def _proxlb(self) -> None:
        api = {
            "hosts": [self.address],
            "user": USER,
            "token_id": TOKEN,
            "token_secret": SECRET,
            "ssl_verification": False,
        }
        balancing = {
            "enable": True,
            "method": "memory",
            "mode": "used",
            "balanciness": 1,
            "balance_types": ["vm", "ct"],
        }
        config = self._write("proxlb.yaml", {"proxmox_api": api, "balancing": balancing, "service": {"daemon": False}})
        places = {vmid: guest.node for vmid, guest in self.simulator.world.guests.items()}
        self._run([HOME / "bin" / "python", "-m", "proxlb", "--dry-run", "--config", config])
        assert places == {vmid: guest.node for vmid, guest in self.simulator.world.guests.items()}
        self._run([HOME / "bin" / "python", "-m", "proxlb", "--config", config])
        assert places != {vmid: guest.node for vmid, guest in self.simulator.world.guests.items()}, (
            "proxlb moved nothing"
        )

    def _write(self, name: str, content: object) -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def _run(self, command: list[str | Path]) -> str:
        environment = {
            **os.environ,
            "HOME": str(self.folder),
            "PYTHONWARNINGS": "ignore",
            "TERM": "dumb",
            "COLUMNS": "200",
        }
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env=environment)
        said = done.stdout + done.stderr
        words = " ".join(map(str, command[1:]))
        assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{said[-3000:]}"
        assert not TROUBLE.search(said), f"{words}:\n{said[-3000:]}"
        return said


def main() -> None:
    """Let each client do its work; print its version, the calls it made and the errors it was answered with."""
    print("Other people's clients          version   calls  errors")
    environment.install(HOME, LOCK)
    asyncio.run(_play())


def versions() -> dict[str, str]:
    """The clients' versions in the lock."""
    found = re.findall(r"^([\w-]+)==([\w.]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: version for name, version in found if name in CLIENTS}


def _file() -> ClusterFile:
    """A cluster with nothing that pvecontrol's sanity check minds; it can't list no groups, either."""
    file = generate(nodes=3, guests=12, seed=4, token=f"{USER}!{TOKEN}", secret=SECRET, containers=0.2)
    access = file.access.model_copy(update={"groups": {"operators": ""}})
    started = {
        vmid: guest.model_copy(update={"config": {"onboot": int(guest.status == "running")}})
        for vmid, guest in file.guests.items()
    }
    return file.model_copy(update={"access": access, "guests": started})


async def _play() -> None:
    clock = SystemClock(10.0)
    simulator = Watched(World(_file().model_copy(update={"start": clock.wall()}), seed=4))
    with tempfile.TemporaryDirectory() as folder:
        async with await serve(simulator, clock=clock, base_port=0) as server:
            await asyncio.to_thread(Bench(simulator, server, Path(folder)).play)


def _login(key: str) -> dict[str, str]:
    return {key: USER, "token_name": TOKEN, "token_value": SECRET}


@contextmanager
def _exporting(config: Path) -> Iterator[None]:
    address = f"127.0.0.1:{EXPORTER_PORT}"
    command: list[str | Path] = [
        HOME / "bin" / "pve_exporter",
        "--config.file",
        config,
        "--web.listen-address",
        address,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Booting worker" in line:
                break
        try:
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
