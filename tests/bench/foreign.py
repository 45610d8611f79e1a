"""Clients that nobody here wrote, against the simulator over HTTPS: pvecontrol, prometheus-pve-exporter and ProxLB.

They live in an environment of their own, `.venv/foreign`, made at the first run; without a network the part says so and is left
out. Every step must end without an error of the client.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from controller.clock import SystemClock
from controller.simulator.generate import generate
from controller.simulator.http import Server, serve
from controller.simulator.routes import Simulator
from controller.simulator.world import World

CLIENTS = ("pvecontrol==0.8.0", "prometheus-pve-exporter==3.10.2", "proxlb==2.3.0")
HOME = Path(__file__).resolve().parents[2] / ".venv" / "foreign"
USER, TOKEN, SECRET = "bot@pve", "main", "00000000-0000-4000-8000-000000000001"
EXPORTER_PORT = 19221
PVECONTROL = (
    "status",
    "node list",
    "vm list",
    "storage list",
    "acl list",
    "user list",
    "report",
    "vm migrate {vmid} -t {target} -f --online",
    "task list",
)


def main() -> None:
    """Let each client do its work and print what came of it."""
    print("Foreign clients")
    if not _installed():
        print("  left out: they could not be installed")
        return
    asyncio.run(_play())


def _installed() -> bool:
    if (HOME / "bin" / "pvecontrol").exists():
        return True
    uv = Path(sys.executable).with_name("uv")
    made = subprocess.run([uv, "venv", "-q", HOME], check=False).returncode == 0
    install: list[str | Path] = [uv, "pip", "install", "-q", "--python", HOME / "bin" / "python", *CLIENTS]
    return made and subprocess.run(install, check=False).returncode == 0


async def _play() -> None:
    clock = SystemClock(10.0)
    file = generate(nodes=3, guests=12, seed=4, token=f"{USER}!{TOKEN}", secret=SECRET, containers=0.2)
    world = World(file.model_copy(update={"start": clock.wall()}), seed=4)
    with tempfile.TemporaryDirectory() as folder:
        async with await serve(Simulator(world), clock=clock, base_port=0) as server:
            await asyncio.to_thread(_all, server, world, Path(folder))


def _all(server: Server, world: World, folder: Path) -> None:
    address = server.endpoints[0].removeprefix("https://")
    guest = next(guest for guest in world.guests.values() if guest.running and guest.type == "qemu")
    target = next(name for name in world.nodes if name != guest.node)
    config = _write(
        folder / "pvecontrol.yaml",
        {"clusters": [{"name": "lab", "host": address, **_login("user"), "ssl_verify": False}]},
    )
    for words in PVECONTROL:
        arguments = words.format(vmid=guest.vmid, target=target).split()
        _run(f"pvecontrol {words}", [HOME / "bin" / "pvecontrol", "--config", config, "-c", "lab", *arguments], folder)
    assert guest.node == target, "pvecontrol moved nothing"
    _scrape(address, folder)
    config = _write(
        folder / "proxlb.yaml",
        {
            "proxmox_api": {
                "hosts": [address],
                "user": USER,
                "token_id": TOKEN,
                "token_secret": SECRET,
                "ssl_verification": False,
            },
            "balancing": {
                "enable": True,
                "method": "memory",
                "mode": "used",
                "balanciness": 1,
                "balance_types": ["vm"],
                "live": True,
            },
            "service": {"daemon": False},
        },
    )
    _run("proxlb", [HOME / "bin" / "python", "-m", "proxlb", "-c", config], folder)


def _login(key: str) -> dict[str, str]:
    return {key: USER, "token_name": TOKEN, "token_value": SECRET}


def _write(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _run(name: str, command: list[str | Path], folder: Path) -> None:
    environment = {**os.environ, "HOME": str(folder), "PYTHONWARNINGS": "ignore", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert "Traceback" not in done.stdout + done.stderr, f"{name}: {done.stderr[-2000:]}"
    print(f"  {name:45} ok, {len(done.stdout.splitlines())} lines")


def _scrape(address: str, folder: Path) -> None:
    config = _write(folder / "exporter.yaml", {"default": {**_login("user"), "verify_ssl": False}})
    with _exporter(config):
        url = f"http://127.0.0.1:{EXPORTER_PORT}/pve?target={address}&cluster=1&node=1"
        with urllib.request.urlopen(url, timeout=60) as answer:
            lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    assert any(line.startswith("pve_up{") for line in lines)
    print(f"  {'prometheus-pve-exporter':45} ok, {len(lines)} series")


@contextmanager
def _exporter(config: Path) -> Iterator[None]:
    command: list[str | Path] = [
        HOME / "bin" / "pve_exporter",
        "--config.file",
        config,
        "--web.listen-address",
        f"127.0.0.1:{EXPORTER_PORT}",
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
