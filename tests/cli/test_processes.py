"""Verbs as processes of their own, and the screens of the demo."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from controller.cli.demo import PlainScreen, TerminalScreen

SETTINGS = """\
source = "{folder}/manifests"
stateDirectory = "{folder}/state"
socket = "{folder}/control.sock"
http.listen = "127.0.0.1:{port}"
"""
CLUSTER_FILE = """\
name: lab
nodes:
  pve1: {cpus: 4, memory: 8GiB}
  pve2: {cpus: 4, memory: 8GiB}
"""


def drover(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "controller", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def settings(folder: Path, port: int) -> str:
    (folder / "manifests").mkdir()
    (folder / "drover.toml").write_text(SETTINGS.format(folder=folder, port=port))
    return str(folder / "drover.toml")


def test_a_port_that_is_taken_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        drover("run", "--config", settings(tmp_path, taken.getsockname()[1])) as run,
    ):
        _, err = run.communicate(timeout=20)
    assert run.returncode == 1
    assert err.splitlines()[-1].startswith("Error: can't start: ")
    assert "Traceback" not in err


def test_a_daemon_without_manifests_lives_says_so_and_ends_on_sigterm(tmp_path: Path) -> None:
    with drover("run", "--config", settings(tmp_path, 0), "--log-format", "json") as run:
        assert run.stderr is not None
        lines: list[str] = []
        while '"started"' not in (line := run.stderr.readline()):
            assert line, lines
            lines.append(line)
        address = re.findall(r"http://[0-9.:]+", line)[0]
        with drover("status", "--server", address) as status:
            out, _ = status.communicate(timeout=20)
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=20)
    assert run.returncode == 0
    assert "No cluster has been looked at yet." in out
    assert not (tmp_path / "control.sock").exists()


def test_a_simulated_cluster_is_served_until_it_is_told_to_stop(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER_FILE)
    with drover(
        "simulate", str(tmp_path / "cluster.yaml"), "--port", "0", "--tls", str(tmp_path / "tls"), PYTHONUNBUFFERED="1"
    ) as sim:
        assert sim.stdout is not None
        said = [sim.stdout.readline().rstrip() for _ in range(5)]
        sim.send_signal(signal.SIGINT)
        sim.communicate(timeout=20)
    assert said[0] == "Simulated cluster lab: 2 nodes, 0 guests, time runs 1 times as fast"
    assert re.fullmatch(r"  pve1  https://127\.0\.0\.1:\d+  SHA-256 ([0-9A-F]{2}:){31}[0-9A-F]{2}", said[1])
    assert said[3] == f"  certificate authority: {tmp_path}/tls/ca.pem"
    assert sim.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_demo_that_is_ended_early_leaves_nothing_behind(
    tmp_path_factory: pytest.TempPathFactory, number: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("d")  # short: a socket's path has 107 characters at most
    with drover("demo", TMPDIR=str(tmp_path), PYTHONUNBUFFERED="1") as demo:
        assert demo.stdout is not None
        while "sees" not in (line := demo.stdout.readline()):
            assert line or demo.poll() is None
        demo.send_signal(number)
        _, err = demo.communicate(timeout=30)
    assert (demo.returncode, err.strip()) == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_file_with_a_mistake_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER_FILE.replace("memory: 8GiB", "memory: much", 1))
    with drover("simulate", str(tmp_path / "cluster.yaml")) as sim:
        _, err = sim.communicate(timeout=20)
    assert sim.returncode == 1
    assert re.search(r"Error: \S*cluster\.yaml:3:\d+: ", err)


def test_lines_stay_above_bars_that_are_drawn_anew(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    screen = TerminalScreen()
    with click.Context(click.Command("demo"), color=True).scope():
        screen.bars([("db-1", 0.5, "4.0 GiB of 8.0 GiB at 112 MiB/s, ETA 36s"), ("web", 0.0, "starting")])
        screen.line("done")
        screen.bars([])
    erase = "\x1b[1A\x1b[2K"
    both = "  db-1  ██████████░░░░░░░░░░  4.0 GiB of 8.0 GiB at 112 MiB\n  web   ░░░░░░░░░░░░░░░░░░░░  starting\n"
    assert re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out) == f"{both}{erase * 2}done\n{both}{erase * 2}"


def test_a_plain_screen_prints_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()
    screen.bars([("db-1", 0.5, "half")])
    screen.line("done\x1b[2J", style="good")
    assert capsys.readouterr().out == "done\N{REPLACEMENT CHARACTER}[2J\n"
