"""Real processes on loopback: `drover simulate`, `drover run`, and whoever asks them. Used by the end-to-end tests."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = "drover@pve!e2e"
SECRET = "4c1a0d3e-7d0b-4a55-8a5e-5ec2e7f0aaaa"

CLUSTER = """\
name: lab
nodes:
  pve1: {memory: 32GiB}
  pve2: {memory: 32GiB}
  pve3: {memory: 32GiB}
storages:
  ceph: {type: rbd, size: 1TiB}
guests:
  101: {name: db, node: pve2, memory: 4GiB, disks: {scsi0: {storage: ceph}}}
  102: {name: web, node: pve2, memory: 2GiB, disks: {scsi0: {storage: ceph}}}
  103: {name: dns, node: pve1, memory: 1GiB, disks: {scsi0: {storage: ceph}}}
access:
  users: {drover@pve: {}, poor@pve: {}}
  tokens:
    drover@pve!e2e: {secret: 4c1a0d3e-7d0b-4a55-8a5e-5ec2e7f0aaaa, privsep: false}
    poor@pve!e2e: {secret: 4c1a0d3e-7d0b-4a55-8a5e-5ec2e7f0bbbb, privsep: false}
  acl:
    - {role: Administrator, to: drover@pve}
    - {role: PVEAuditor, to: poor@pve, path: /vms}
"""
DB = "  101: {name: db, node: pve2, memory: 4GiB, disks: {scsi0: {storage: ceph}}}\n"
assert DB in CLUSTER

Json = Any


@dataclass
class Lab:
    """One folder with a cluster, manifests, settings and state, and the processes that use them."""

    folder: Path
    endpoints: list[str] = field(default_factory=list)
    ca_file: str = ""
    fingerprint: str = ""
    address: str = ""
    _processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def manifests(self) -> Path:
        return self.folder / "manifests"

    @property
    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def simulate(self, cluster: str = CLUSTER, speed: float = 10) -> None:
        file = self.folder / "cluster.yaml"
        file.write_text(cluster)
        tls = self.folder / "tls"
        process = self.spawn("simulate", str(file), "--port", "0", "--speed", str(speed), "--tls", str(tls))
        assert process.stdout is not None
        for line in process.stdout:
            self.endpoints += re.findall(r"https://[0-9.:]+", line)
            self.fingerprint = self.fingerprint or "".join(re.findall(r"SHA-256 ([0-9A-Fa-f:]+)", line)[:1])
            self.ca_file += "".join(re.findall(r"certificate authority: (\S+)", line))
            if "Ctrl-C" in line:
                return
        raise AssertionError("the simulator did not start")

    def settings(self, token: str = TOKEN, secret: str = SECRET) -> Path:
        file = self.folder / "drover.toml"
        file.write_text(
            f'source = "{self.manifests}"\n'
            f'stateDirectory = "{self.folder / "state"}"\n'
            f'socket = "{self.folder / "control.sock"}"\n'
            f'[http]\nlisten = "127.0.0.1:{free_port()}"\n'
            '[log]\nformat = "json"\nlevel = "debug"\n'
            f'[credentials.lab]\ntokenId = "{token}"\nsecret = "{secret}"\n'
            f"endpoints = {json.dumps([*self.endpoints, 'https://127.0.0.1:1'])}\n"
        )
        return file

    def write(self, kind: str, name: str, spec: Mapping[str, object], **labels: str) -> None:
        self.manifests.mkdir(exist_ok=True)
        document = {
            "apiVersion": "drover.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "labels": {key.replace("__", "/"): value for key, value in labels.items()}},
            "spec": spec,
        }
        (self.manifests / f"{kind}-{name}.yaml".lower()).write_text(json.dumps(document))

    def cluster(self, **changes: object) -> None:
        spec: dict[str, object] = {
            "endpoints": self.endpoints,
            "auth": {"credentialsRef": "lab"},
            "tls": {"caFile": self.ca_file},
            "mode": "Enforce",
        }
        self.write("PveCluster", "default", {**spec, **changes})

    def label(self, node: str, value: str | None) -> None:
        labels = {} if value is None else {"drover.dev__maintenance": value}
        self.write("PveNode", node, {}, **labels)

    def run(self, *options: str) -> subprocess.Popen[str]:
        """Start the daemon and wait until it listens."""
        settings = self.settings() if not (self.folder / "drover.toml").exists() else self.folder / "drover.toml"
        self.address = "http://" + re.findall(r'listen = "([^"]+)"', settings.read_text())[0]
        number = len(list(self.folder.glob("daemon-*.log")))
        with (self.folder / f"daemon-{number}.log").open("w") as log:
            process = self.spawn("run", "--config", str(settings), *options, stderr=log)
        self.until(lambda: self.get("/healthz") is not None, "the daemon listens")
        return process

    def spawn(self, *arguments: str, stderr: Any = subprocess.DEVNULL) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "controller", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
        self._processes.append(process)
        return process

    def drover(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        return subprocess.run(
            [sys.executable, "-m", "controller", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "NO_COLOR": "1", "DROVER_CONFIG": str(self.folder / "drover.toml")},
        )

    def get(self, path: str) -> str | None:
        """What the daemon answers, whatever the status; None while it does not listen."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return None

    def condition(self, plural: str, name: str, type_: str) -> tuple[str, str, str]:
        """Status, reason and message of one condition; empty strings while there is none."""
        text = self.get(f"/apis/drover.dev/v1alpha1/{plural}/{name}")
        status = json.loads(text or "{}").get("status", {})
        for item in status.get("conditions", []) if isinstance(status, dict) else []:  # a word when it is a failure
            if item["type"] == type_:
                return item["status"], item["reason"], item["message"]
        return "", "", ""

    def guests(self) -> dict[int, str]:
        """Where the daemon sees every guest."""
        items = json.loads(self.get("/apis/drover.dev/v1alpha1/guests") or "{}").get("items", [])
        return {int(item["metadata"]["name"]): item["status"]["node"] for item in items}

    def migrations(self) -> list[str]:
        """Every migration task of the simulated cluster, asked with the daemon's own credentials, as `vmid status`."""
        import ssl

        context = ssl.create_default_context(cafile=self.ca_file)
        found = []
        for node, endpoint in zip(("pve1", "pve2", "pve3"), self.endpoints, strict=True):
            request = urllib.request.Request(
                f"{endpoint}/api2/json/nodes/{node}/tasks?source=all&limit=500",
                headers={"Authorization": f"PVEAPIToken={TOKEN}={SECRET}"},
            )
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                rows = json.loads(answer.read())["data"]
            found += [f"{row['id']} {row.get('status', 'RUNNING')}" for row in rows if row["type"] == "qmigrate"]
        return sorted(found)

    def until(self, done: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait for something, or fail with what the daemon logged."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{self.log[-4000:]}")
            time.sleep(0.05)

    def close(self) -> None:
        """End every process that still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
            if process.stdout is not None:
                process.stdout.close()


def free_port() -> int:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
