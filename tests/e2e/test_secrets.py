"""Secrets planted wherever one can come in, and looked for wherever something comes out; notifications of a real daemon."""

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from tests.e2e.lab import CLUSTER, SECRET, TOKEN, Lab

pytestmark = pytest.mark.e2e

FAULTS = f"""
faults:
  - {{at: 0, do: migration-fails, guest: 101, phase: 2, text: "can't connect with PVEAPIToken={TOKEN}={SECRET} nor {SECRET}"}}
  - {{at: 0, do: refuse, status: 500, method: POST, path: /nodes/pve2/qemu/102/migrate, count: 1, reason: "no {SECRET} here"}}
"""
PLANTED = {
    "token": SECRET,
    "sink url": "pl4nted-in-sink-url",
    "sink token": "pl4nted-sink-token",
    "signing key": "pl4nted-signing-key",
    "second sink": "pl4nted-topic",
    "hook url": "pl4nted-in-hook-url",
    "hook token": "pl4nted-hook-token",
    "environment": "pl4nted-in-environment",
    "config": "pl4nted-cipassword",
}
KINDS = ("pveclusters", "pvenodes", "nodemaintenances", "guests", "migrations", "plans", "events", "replication")


@dataclass
class Receiver:
    """An HTTPS server that takes what is posted, and refuses at one path with its own words about what it got."""

    url: str = ""
    bodies: list[str] = field(default_factory=list)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made, authority = Receiver(), trustme.CA()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            made.bodies.append(body)
            rude = "hook" in self.path
            said = f"{self.path} {self.headers}".encode() if rude else b"{}"
            self.send_response(400 if rude else 200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "receiver.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "lab")
    lab.folder.mkdir()
    try:
        cipassword = PLANTED["config"]
        lab.simulate(
            CLUSTER.replace(
                "node: pve2, memory: 2GiB", f"node: pve2, memory: 2GiB, config: {{cipassword: {cipassword}}}"
            )
            + FAULTS
        )
        yield lab
    finally:
        lab.close()


def settings(lab: Lab, receiver: Receiver, folder: Path) -> Path:
    hook = lab.folder / "patch-node"
    hook.write_text(f"#!/bin/sh\nenv; tr '\\0' ' ' < /proc/$PPID/cmdline; echo using {SECRET} >&2; exit 1\n")
    hook.chmod(0o700)
    (lab.folder / "sink.url").write_text(f"{receiver.url}/{PLANTED['sink url']}?key={PLANTED['sink url']}\n")
    file = lab.settings()
    text = file.read_text().replace(f'secret = "{SECRET}"', 'secretEnv = "LAB_SECRET"')
    ca_file = folder / "receiver.pem"
    file.write_text(
        f"{text}"
        f'[hooks.patch]\ncommand = ["{hook}"]\n'
        f'[sinks.ops]\nurlFile = "sink.url"\ntoken = "{PLANTED["sink token"]}"\n'
        f'signingKey = "{PLANTED["signing key"]}"\ncaFile = "{ca_file}"\n'
        f'[sinks.rude]\nurl = "{receiver.url}/hook/{PLANTED["hook url"]}"\ntoken = "{PLANTED["hook token"]}"\n'
        f'caFile = "{ca_file}"\n'
        f'[sinks.chat]\ntype = "apprise"\nurl = "ntfy://127.0.0.1:9/{PLANTED["second sink"]}"\n'
    )
    return file


def test_no_planted_secret_comes_out_anywhere(
    lab: Lab, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_SECRET", SECRET)
    monkeypatch.setenv("PLANTED", PLANTED["environment"])
    settings(lab, receiver, tmp_path)
    sinks = [{"sink": name, "minSeverity": "Info"} for name in ("ops", "rude", "chat")]
    lab.cluster(notifications=sinks, maintenance={"drainedHook": "patch"})
    selector = {"matchExpressions": [{"key": "drover.dev/node", "operator": "In", "values": ["pve2"]}]}
    lab.write("NodeMaintenance", "patches", {"nodeSelector": selector})
    daemon = lab.run("--speed", "10")

    def told(*reasons: str) -> bool:
        return set(reasons) <= {json.loads(body).get("reason") for body in receiver.bodies}

    lab.until(lambda: told("MoveFailed", "MoveRefused", "HookFailed"), "what went wrong is told to the sinks", 120)
    lab.until(lambda: lab.condition("pveclusters", "default", "Notifying")[1] == "NotDelivered", "a rude sink is told")
    tried = [lab.drover("notify", "test", sink) for sink in ("ops", "rude")]
    assert [done.returncode for done in tried] == [0, 1], [done.stderr for done in tried]
    places = {
        "log": lab.log,
        "page": lab.get("/") or "",
        "metrics": lab.get("/metrics") or "",
        "overview": lab.get("/apis/drover.dev/v1alpha1/overview") or "",
        **{kind: lab.get(f"/apis/drover.dev/v1alpha1/{kind}") or "" for kind in KINDS},
        "explanation": lab.get("/apis/drover.dev/v1alpha1/explanations/102") or "",
        "arguments": Path(f"/proc/{daemon.pid}/cmdline").read_text(),
        "notifications": "\n".join(receiver.bodies),
        "notify test": "\n".join(done.stdout + done.stderr for done in tried),
        "state": "".join(file.read_bytes().decode(errors="replace") for file in (lab.folder / "state").iterdir()),
    }
    assert "****" in places["events"], "what was planted has come in"
    assert "****" in places["state"]
    assert 'drover_notifications_total{result="Delivered",sink="ops"}' in places["metrics"]
    leaks = [(place, plant) for place, text in places.items() for plant, secret in PLANTED.items() if secret in text]
    assert not leaks
    assert daemon.poll() is None
