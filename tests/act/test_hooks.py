"""Hooks as real processes: what they are told, how much of them is kept, and that nothing of them is left."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from controller.act.hooks import OUTPUT_BYTES, HookResult, MachineHooks
from controller.clock import SystemClock
from controller.settings import Hook


def run(*argv: str, timeout: float = 10.0) -> HookResult:
    return called("x", {"x": Hook("x", argv, timeout)})


def called(name: str, hooks: dict[str, Hook]) -> HookResult:
    runner = MachineHooks(hooks, SystemClock())

    async def call() -> HookResult:
        return await runner(name, {"DROVER_NODE": "pve1", "DROVER_ATTEMPT": "2"}, "", lambda _: None)

    return asyncio.run(call())


def test_a_hook_is_told_its_node_and_none_of_the_secrets_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PVE_TOKEN", "very-secret")
    told = run("/usr/bin/env")
    assert told.exit_code == 0
    assert "DROVER_NODE=pve1" in told.output
    assert "DROVER_ATTEMPT=2" in told.output
    assert "PATH=" in told.output
    assert "very-secret" not in told.output


def test_no_shell_reads_the_command() -> None:
    assert run("/bin/echo", "$HOME; exit 3") == HookResult(0, "$HOME; exit 3")


def test_the_end_of_what_a_failing_hook_says_is_kept() -> None:
    told = run("/bin/sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo broken >&2; exit 7")
    assert told.exit_code == 7
    assert told.output.endswith("broken")
    assert len(told.output) <= OUTPUT_BYTES


def test_a_hook_that_takes_too_long_is_ended_with_everything_it_has_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    told = run("/bin/sh", "-c", f"echo begun; sleep 60 & echo $! > {pid}; wait", timeout=1.0)
    assert told.exit_code is None
    assert told.output == "begun\ntook longer than its 1 s and was ended"
    patience = time.monotonic() + 10  # a killed process takes a moment to die on a busy machine
    while alive(int(pid.read_text())) and time.monotonic() < patience:
        pass
    assert not alive(int(pid.read_text()))


def alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and waits for its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"


def test_a_hook_that_can_not_be_run_says_why() -> None:
    told = run("/nowhere/patch-node")
    assert told.exit_code is None
    assert told.output.startswith("/nowhere/patch-node can't be run: ")


def test_a_hook_that_is_not_defined_is_no_success() -> None:
    assert called("y", {}) == HookResult(None, "the settings define no hook 'y'")
