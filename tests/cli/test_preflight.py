"""`drover preflight`: what it prints, what it exits with."""

import json
from collections.abc import Callable

import click
import pytest
from click.testing import Result

from controller import app
from controller.act.trial import Trial
from controller.cli import preflight
from controller.decide.preflight import Finding, Level
from controller.model.errors import Denied
from controller.model.ids import NodeName
from controller.model.plan import Move
from controller.model.reasons import Why
from tests.report.scene import CLUSTER, PLAN, PROBLEM, SEEN

Said = Callable[..., Result]
MOVE = PLAN.moves[0]
GUEST = SEEN.guests[MOVE.vmid]
WELL = Finding(Level.OK, Why.AS_EXPECTED, "target is online", check="target is online")
TOLD = Finding(Level.WARN, Why.CHANGE_PENDING, "cpu waits", "Nothing.", check="no change is pending")
BAD = Finding(Level.FAIL, Why.NO_SPACE, "9 GiB do not fit", "Free space.", check="copied disks fit")
DENIED = Denied(Why.AUTH_FAILED, "401 no such token")
ONE, NODE = app.Question(guest="102"), app.Question(node="pve1")


def trial(*findings: Finding, move: Move | None = MOVE) -> Trial:
    return Trial(GUEST, move, findings)


def result(*trials: Trial, error: Denied | None = None, problems: tuple[object, ...] = ()) -> app.PreflightResult:
    asked = tuple({each.guest.vmid: each.guest for each in trials}.values())
    return app.PreflightResult(CLUSTER, problems, asked, trials, error)  # type: ignore[arg-type]  # scene's one problem


@pytest.mark.parametrize(
    ("results", "question", "code"),
    [
        ([result(trial(WELL, TOLD))], ONE, 0),
        ([result(trial(BAD), trial(WELL))], ONE, 0),
        ([result(trial(BAD, WELL))], ONE, 3),
        ([result(trial(WELL), trial(TOLD, move=None))], ONE, 0),
        ([result(trial(TOLD, move=None))], NODE, 3),
        ([result()], NODE, 0),
        ([result()], ONE, 1),
        ([result(), result(trial(WELL))], ONE, 0),
        ([result(error=DENIED), result(trial(WELL))], ONE, 1),
        ([result(trial(WELL), problems=(PROBLEM,))], ONE, 1),
        ([], ONE, 1),
    ],
)
def test_the_exit_code_says_whether_it_could_start(
    results: list[app.PreflightResult], question: app.Question, code: int
) -> None:
    assert preflight.exit_code(results, question) == code


def lines(*results: app.PreflightResult, question: app.Question = ONE, everything: bool = False) -> list[str]:
    return [click.unstyle(line) for line in preflight.show(results, question, everything=everything)]


def test_findings_read_as_a_table_with_what_to_do() -> None:
    assert lines(result(trial(WELL, TOLD, BAD))) == [
        "VM 102 db-2  pve1 -> pve3: would not start",
        "  warn  no change is pending  ChangePending  cpu waits",
        "        Nothing.",
        "  fail  copied disks fit      NoSpace        9 GiB do not fit",
        "        Free space.",
        "  1 check well (--all shows them)",
        "  qm migrate 102 pve3 --online",
        "",
        "0 of 1 move could start now",
    ]


def test_everything_is_shown_for_one_target_and_on_demand() -> None:
    assert "  ok  target is online  AsExpected" in lines(result(trial(WELL)), everything=True)
    assert "  ok  target is online  AsExpected" in lines(
        result(trial(WELL)), question=app.Question("102", NodeName("pve3"))
    )
    assert lines(result(trial(WELL)))[-1] == "1 of 1 move could start now: pve3"


def test_a_guest_without_a_target_says_why() -> None:
    said = lines(result(trial(BAD, move=None)), question=NODE)
    assert said[0] == "VM 102 db-2  on pve1, no target: would not start"
    assert said[-1] == "0 of 1 guest could leave pve1 now"


def test_nobody_and_errors_are_words() -> None:
    assert "no PveCluster" in lines()[0]
    assert lines(result()) == ["There is no guest '102' in 1 cluster"]
    assert lines(result(), question=NODE) == ["Nobody has to leave pve1"]
    assert lines(result(error=DENIED))[0] == "Cluster default: AuthFailed: 401 no such token"


def test_as_data_it_has_every_finding_the_parameters_and_the_line_to_type() -> None:
    data = json.loads(json.dumps(preflight.as_data([result(trial(WELL, BAD)), result(error=DENIED)])))
    assert data["kind"] == "PreflightList"
    status = data["items"][0]["status"]
    assert (status["vmid"], status["source"], status["target"], status["feasible"]) == (102, "pve1", "pve3", False)
    assert status["command"] == "qm migrate 102 pve3 --online"
    assert status["parameters"]["online"] is True
    assert status["findings"][1] == {
        "check": "copied disks fit",
        "level": "fail",
        "reason": "NoSpace",
        "message": "9 GiB do not fit",
        "remedy": "Free space.",
        "passesByItself": False,
    }
    assert data["items"][1]["status"]["error"]["reason"] == "AuthFailed"


@pytest.mark.parametrize(
    "words",
    [(), ("101", "--node", "pve2"), ("101", "--to", "pve2", "--anywhere"), ("101", "-o", "xml"), ("--to", "pve2")],
)
def test_wrong_usage_exits_64(said: Said, words: tuple[str, ...]) -> None:
    assert said("preflight", *words).exit_code == 64
