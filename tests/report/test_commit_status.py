"""The status of a commit at its forge: what is said when, in each forge's words, and told again when nobody took it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from controller.model.reasons import Why
from controller.model.revision import Revision, SourceView
from controller.model.view import ClusterView, Finding
from controller.report.board import Board
from controller.report.commit_status import LONGEST_PAUSE_SECONDS, CommitStatus, State, word
from controller.report.conditions import statuses
from controller.report.metrics import Metrics
from controller.settings import CommitStatusSettings, Secret, Target
from controller.specs import Problem, Specs
from tests.report.scene import CLUSTER, NOW, PROBLEM, SPECS, VIEW, StillClock

COMMIT = Revision("c" * 40, "Ada", "ada@example.org", NOW - 60, "Label pve1")
OTHER = replace(COMMIT, commit="d" * 40)
FINE = Finding(ok=True, why=Why.REVISION_APPLIED, message="in force")
SOURCE = SourceView("https://x/y", "main", "", COMMIT, NOW - 3600, COMMIT, FINE, NOW)
TOKEN = "planted-in-a-test"


def board(
    source: SourceView = SOURCE,
    *,
    view: ClusterView = VIEW,
    specs: Specs = SPECS,
    problems: tuple[Problem, ...] = (),
    awaiting: str = "",
) -> Board:
    made = Board(StillClock())
    made.show_source(specs, "r", problems, complete=True, awaiting=awaiting, view=source)
    made.publish(view, specs, statuses(specs, (), view, {}) if specs.clusters else {}, None)
    return made


def said(made: Board) -> tuple[str, State, str]:
    found = word(made.source, made.clusters)
    assert found is not None
    return found.commit[:1], found.state, found.sentence


def test_success_is_a_revision_in_force_accepted_looked_at_and_planned_for() -> None:
    commit, state, sentence = said(board())
    assert (commit, state) == ("c", State.SUCCESS)
    assert "move" in sentence
    assert "blocked" in sentence


def refused(why: Why) -> SourceView:
    return replace(SOURCE, attempted=OTHER, finding=Finding(False, why, "commit d is not signed"))


@pytest.mark.parametrize(
    ("made", "state", "text"),
    [
        (lambda: board(refused(Why.NOT_SIGNED)), State.FAILURE, "Not put in force: NotSigned. commit d is not signed"),
        (lambda: board(problems=(PROBLEM,)), State.FAILURE, "Not all of it is in force: "),
        (lambda: board(awaiting="abc"), State.PENDING, "drover confirm abc"),
        (lambda: board(specs=Specs()), State.FAILURE, "no PveCluster"),
        (lambda: board(replace(SOURCE, applied_at=NOW + 1)), State.PENDING, "has not been looked at since"),
        (
            lambda: board(view=replace(VIEW, connected=Finding(False, Why.AUTH_FAILED, "no"))),
            State.PENDING,
            "can't be looked at: AuthFailed",
        ),
        (
            lambda: board(replace(SOURCE, finding=Finding(False, Why.SOURCE_UNREACHABLE, "x"))),
            State.SUCCESS,
            "In force",
        ),
    ],
)
def test_anything_less_is_not_called_a_success(made: Callable[[], Board], state: State, text: str) -> None:
    commit, found, sentence = said(made())
    assert found is state
    assert text in sentence
    assert commit == ("d" if "signed" in text else "c")


def test_before_the_first_look_nothing_is_said() -> None:
    assert word(board(replace(SOURCE, finding=None)).source, {}) is None
    assert word(board(replace(SOURCE, applied=None, finding=Finding(False, Why.REF_MISSING, "x"))).source, {}) is None


class Server:
    """A forge's API on loopback that answers what it is told to."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.raw_path, request.headers["Authorization"], json.loads(await request.text())))
        return web.json_response({}, status=self.answers.pop(0) if self.answers else 201)


def tell(
    kind: str, folder: Path, server: Server, rounds: Callable[[CommitStatus, Board, StillClock], object]
) -> Metrics:
    async def main() -> Metrics:
        app = web.Application()
        app.router.add_post("/{path:.*}", server.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made, metrics, clock = board(), Metrics(), StillClock()
        target = Target(Secret(f"http://127.0.0.1:{runner.addresses[0][1]}/api/"), token=Secret(TOKEN))
        settings = CommitStatusSettings(kind, target, "ops/cluster")
        try:
            await rounds(CommitStatus(settings, folder / "status.json", made, clock, metrics), made, clock)  # type: ignore[misc]  # is awaited
        finally:
            await runner.cleanup()
        return metrics

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("kind", "path", "name"),
    [
        ("github", "/api/repos/ops/cluster/statuses/" + "c" * 40, "context"),
        ("gitea", "/api/repos/ops/cluster/statuses/" + "c" * 40, "context"),
        ("gitlab", "/api/projects/ops%2Fcluster/statuses/" + "c" * 40, "name"),
    ],
)
def test_every_forge_is_told_once_in_its_own_words(tmp_path: Path, kind: str, path: str, name: str) -> None:
    server = Server()

    async def rounds(statuses: CommitStatus, made: Board, clock: StillClock) -> None:
        for _ in range(3):
            await statuses.tell()
        made.show_source(SPECS, "r", (), complete=True, view=refused(Why.BAD_SIGNATURE))
        await statuses.tell()

    tell(kind, tmp_path, server, rounds)
    (asked, token, body), (_, _, failed) = server.asked
    assert asked == path
    assert token == f"Bearer {TOKEN}"
    assert (body["state"], body[name]) == ("success", "drover")
    assert len(body["description"]) <= 140
    assert failed["state"] == ("failed" if kind == "gitlab" else "failure")


def test_a_restart_tells_nothing_again_and_what_was_not_taken_is_tried_again(tmp_path: Path) -> None:
    server = Server(503, 403)

    async def rounds(statuses: CommitStatus, made: Board, clock: StillClock) -> None:
        await statuses.tell()
        await statuses.tell()
        assert len(server.asked) == 1, "not at once"
        clock.at += 60
        await statuses.tell()
        clock.at += 60
        await statuses.tell()
        assert len(server.asked) == 2, "who refuses is asked again much later"
        clock.at += LONGEST_PAUSE_SECONDS
        await statuses.tell()
        assert len(server.asked) == 3

    metrics = tell("github", tmp_path, server, rounds)
    counted = [
        metrics.registry.get_sample_value("drover_commit_statuses_total", {"result": result})
        for result in ("Later", "Refused", "Told")
    ]
    assert counted == [1, 1, 1]
    assert TOKEN not in (tmp_path / "status.json").read_text()

    async def again(statuses: CommitStatus, made: Board, clock: StillClock) -> None:
        await statuses.tell()

    tell("github", tmp_path, server, again)
    assert len(server.asked) == 3
    assert CLUSTER in SPECS.clusters
