"""Webhook hooks against a real TLS server: what it is told, when it is done, and that nothing is sent twice or to others."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from controller.act.hooks import HookResult, MachineHooks
from controller.clock import SystemClock
from controller.settings import Hook, Poll, Secret, Target, Webhook
from tests.pve.https import Asked, Script, Server, Writer, answer, reset, response, serving, silence

TOLD = {
    "DROVER_CLUSTER": "lab",
    "DROVER_NODE": "pve1",
    "DROVER_MAINTENANCE": "patches",
    "DROVER_ACTION": "drained",
    "DROVER_ATTEMPT": "1",
    "DROVER_RUN": "drained/patches/pve1@1800000000",
}
AWX = Poll("url", "summary.status", ("successful",), ("failed", "canceled"), every_seconds=1.0)
JOB = "/api/v2/jobs/42/"


class Eager(SystemClock):
    """Does not wait between two questions."""

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - a Clock
        await asyncio.sleep(0)


def hook(server: Server, *, seconds: float = 5.0, **more: object) -> Hook:
    target = Target(
        Secret(f"{server.url}/launch/planted-path"),
        Secret("planted-token"),
        ca_file=server.ca_file,
        timeout_seconds=seconds,
    )
    headers = {"X-Api-Key": Secret("planted-key")}
    return Hook("patch", timeout_seconds=seconds, webhook=Webhook(target, headers, **more))  # type: ignore[arg-type] # by name


def run(
    script: Script, folder: Path, *, begun: str = "", seconds: float = 5.0, noted: Callable[[str], None] = lambda _: None,
    **more: object,
) -> tuple[HookResult, list[Asked]]:  # fmt: skip
    async def call() -> tuple[HookResult, list[Asked]]:
        async with serving(script, folder) as server:
            hooks = MachineHooks({"patch": hook(server, seconds=seconds, **more)}, Eager())
            return await hooks("patch", TOLD, begun, noted), server.asked

    told, asked = asyncio.run(call())
    assert "planted" not in told.output
    return told, asked


def job(*statuses: str, launch: object = None) -> Script:
    """A server as AWX: it begins a job, and says at each question how that stands."""
    left = iter(statuses)

    async def script(asked: Asked, writer: Writer) -> None:
        body = (launch or {"url": JOB}) if asked.method == "POST" else {"summary": {"status": next(left)}}
        writer.write(response(200, "OK", json.dumps(body).encode()))

    return script


def test_the_server_is_told_what_a_command_would_be_and_an_answer_is_success(tmp_path: Path) -> None:
    told, [asked] = run(answer(204, "No Content", None), tmp_path)
    assert told.exit_code == 0
    assert json.loads(asked.body) == {
        "cluster": "lab", "node": "pve1", "maintenance": "patches", "action": "drained", "attempt": "1",
        "run": "drained/patches/pve1@1800000000",
    }  # fmt: skip
    assert asked.headers["authorization"] == "Bearer planted-token"
    assert asked.headers["x-api-key"] == "planted-key"
    assert asked.headers["webhook-id"] == "lab/drained/patches/pve1@1800000000"


def test_its_own_body_can_be_given(tmp_path: Path) -> None:
    body = {"limit": "{node}", "extra_vars": {"what": ["{action} {node}", 3]}}
    _, [asked] = run(answer(200, "OK", {}), tmp_path, body=body)
    assert json.loads(asked.body) == {"limit": "pve1", "extra_vars": {"what": ["drained pve1", 3]}}


def test_it_asks_until_the_job_is_done(tmp_path: Path) -> None:
    noted: list[str] = []
    told, asked = run(job("pending", "running", "successful"), tmp_path, poll=AWX, noted=noted.append)
    assert told.exit_code == 0
    assert told.output.endswith("says successful")
    assert [(each.method, each.target) for each in asked[1:]] == [("GET", JOB)] * 3
    assert asked[1].headers["x-api-key"] == "planted-key"
    assert noted == [JOB]


def test_an_attempt_after_a_restart_asks_on_and_begins_nothing(tmp_path: Path) -> None:
    told, asked = run(job("running", "successful"), tmp_path, poll=AWX, begun=JOB)
    assert told.exit_code == 0
    assert {each.method for each in asked} == {"GET"}


def test_an_address_that_may_hold_a_secret_is_not_noted(tmp_path: Path) -> None:
    noted: list[str] = []
    run(job("successful", launch={"url": f"{JOB}?key=planted"}), tmp_path, poll=AWX, noted=noted.append)
    assert noted == []


def test_a_server_that_can_not_be_asked_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    answers = iter([(200, {"url": JOB}), (503, {}), (200, {"summary": {"status": "successful"}})])

    async def script(asked: Asked, writer: Writer) -> None:
        status, body = next(answers)
        writer.write(response(status, "X", json.dumps(body).encode()))

    assert run(script, tmp_path, poll=AWX)[0].exit_code == 0


FAILS: Mapping[str, tuple[Script, str]] = {
    "the job fails": (job("running", "failed"), "says failed"),
    "no status": (job(""), "answers without summary.status"),
    "no address": (job(launch={"id": 42}), "answers 200 without url, where to ask how it ends"),
    "another server": (job(launch={"url": "https://elsewhere.example/"}), "names an address of another server"),
    "denied": (answer(403, "Forbidden", {"detail": "planted-key is not known"}), "answers 403: **** is not known"),
}


@pytest.mark.parametrize("case", FAILS)
def test_it_fails_and_says_why(case: str, tmp_path: Path) -> None:
    script, said = FAILS[case]
    told, _ = run(script, tmp_path, poll=AWX)
    assert told.exit_code is None
    assert said in told.output


@pytest.mark.parametrize("script", [reset, answer(500, "Internal Server Error", None)], ids=["breaks off", "500"])
def test_what_may_have_been_begun_is_not_sent_again(script: Script, tmp_path: Path) -> None:
    told, asked = run(script, tmp_path)
    assert told.exit_code is None
    assert told.output.endswith("it may have been begun all the same, so it is not sent again")
    assert len(asked) == 1


def test_a_server_that_asks_to_wait_is_asked_again(tmp_path: Path) -> None:
    statuses = iter([429, 200])

    async def script(asked: Asked, writer: Writer) -> None:
        writer.write(response(next(statuses), "X", b"{}"))

    told, asked = run(script, tmp_path)
    assert (told.exit_code, len(asked)) == (0, 2)


@pytest.mark.parametrize("script", [silence, job(*["running"] * 100_000)], ids=["a silent server", "a job without end"])
def test_it_ends_in_time(script: Script, tmp_path: Path) -> None:
    told, _ = run(script, tmp_path, seconds=0.5, poll=AWX)
    assert told.exit_code is None
