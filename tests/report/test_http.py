"""The server as others see it: health, objects, views, metrics, the page; and what it refuses."""

import asyncio
import json
import socket as sockets
import stat
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from controller.report import control, http
from controller.report.access import is_allowed_host
from controller.report.board import STUCK_SECONDS, Board
from controller.report.conditions import statuses
from controller.report.metrics import Metrics
from controller.report.store import Store
from controller.settings import HttpSettings
from controller.specs import Specs
from controller.specs.status import STATUS
from tests.report import scene
from tests.report.scene import CLUSTER, NOW, PROBLEM, SPECS, VIEW, StillClock, written

API = "/apis/drover.dev/v1alpha1"
Ask = Callable[..., Awaitable[tuple[int, str, Mapping[str, str]]]]


def asked(made: Callable[[], tuple[Board, Metrics]], talk: Callable[[Ask], Awaitable[None]]) -> None:
    """Serve a board on a free port and talk to it."""

    async def main() -> None:
        board, metrics = made()
        server = await http.serve(board, metrics, HttpSettings(port=0))
        try:
            async with aiohttp.ClientSession(server.address) as session:

                async def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, str, Mapping[str, str]]:
                    async with session.request(method, path, headers=headers) as answer:
                        return answer.status, await answer.text(), answer.headers

                await talk(ask)
        finally:
            await server.close()

    asyncio.run(main())


def get(path: str, made: Callable[[], tuple[Board, Metrics]] = scene.board, **headers: str) -> tuple[int, str]:
    answers: list[tuple[int, str]] = []

    async def talk(ask: Ask) -> None:
        status, text, _ = await ask(path, **headers)
        answers.append((status, text))

    asked(made, talk)
    return answers[0]


def data(path: str, made: Callable[[], tuple[Board, Metrics]] = scene.board) -> dict[str, object]:
    status, text = get(path, made)
    assert status == 200, text
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def test_healthy_is_a_process_whose_loops_make_progress() -> None:
    clock = StillClock()
    board = Board(clock)
    assert board.not_alive() == ""
    board.show_source(SPECS, "1", (), complete=True)
    clock.at += STUCK_SECONDS + 1
    assert board.not_alive() == "no progress for more than 300 s: default"
    board.publish(VIEW, SPECS, {}, None)
    assert board.not_alive() == ""
    clock.at += STUCK_SECONDS + 1
    assert board.not_alive()
    board.forget(CLUSTER)
    assert board.not_alive() == ""


def test_ready_is_when_the_source_was_read_and_every_cluster_was_seen_whole() -> None:
    board = Board(StillClock())
    assert board.not_ready() == "the source has not been read completely yet"
    board.show_source(SPECS, "1", (), complete=False)
    assert board.not_ready() == "the source has not been read completely yet"
    board.show_source(Specs(), "1", (), complete=True)
    assert board.not_ready() == "the source has no PveCluster"
    board.show_source(SPECS, "1", (PROBLEM,), complete=True)
    board.publish(replace(VIEW, seen=None, plan=None), SPECS, {}, None)
    assert board.not_ready() == "not looked at completely yet: default"
    board.publish(VIEW, SPECS, {}, None)
    assert board.not_ready() == ""
    board.show_source(SPECS, "1", (PROBLEM,), complete=False)
    assert board.not_ready() == "", "what was good before stays in force"


@pytest.mark.parametrize(("path", "empty", "full"), [("/healthz", 200, 200), ("/readyz", 503, 200)])
def test_health_is_told_in_status_codes(path: str, empty: int, full: int) -> None:
    assert get(path, lambda: (Board(StillClock()), Metrics()))[0] == empty
    assert get(path) == (full, "ok\n")


def test_objects_look_like_kubernetes_objects() -> None:
    listed = data(f"{API}/placementpolicies")
    assert (listed["apiVersion"], listed["kind"]) == ("drover.dev/v1alpha1", "PlacementPolicyList")
    one = data(f"{API}/placementpolicies/databases-apart")
    assert listed["items"] == [one]
    assert one["metadata"] == {"name": "databases-apart", "generation": 3}
    status = one["status"]
    assert isinstance(status, dict)
    assert status["observedGeneration"] == 3
    assert status["conditions"][0] == {
        "type": "Compliant",
        "status": "False",
        "reason": "Violated",
        "message": "VM 101 db-1 and VM 102 db-2 are both on pve1",
        "lastTransitionTime": "2027-01-15T08:00:00Z",
        "observedGeneration": 3,
    }


def test_an_implied_maintenance_stands_beside_the_written_ones() -> None:
    one = data(f"{API}/nodemaintenances/label-pve1")
    assert one["spec"] == {
        "clusterRef": {"name": "default"},
        "nodeName": "pve1",
        "mode": "Evacuate",
        "reason": "new firmware",
    }
    assert one["metadata"] == {"name": "label-pve1", "annotations": {"drover.dev/implied": "true"}}


@pytest.mark.parametrize("plural", ["nodemaintenances", "placementpolicies"])
def test_the_status_is_what_the_custom_resource_definitions_say(plural: str) -> None:
    items = data(f"{API}/{plural}")["items"]
    assert isinstance(items, list)
    [one] = items
    STATUS[one["kind"]].model_validate_json(json.dumps(one["status"]), by_alias=True, by_name=False)


def test_what_is_shown_of_a_spec_could_be_written_again() -> None:
    for ref in (resource.ref for resource in SPECS):
        one = data(f"{API}/{ref.kind.lower()}/{ref.name}")
        again = written(ref.kind, ref.name, one["spec"])  # type: ignore[arg-type]  # a mapping
        before = SPECS.get(ref.kind, ref.name)
        assert before is not None
        assert again.spec == before.spec


def test_views_tell_of_guests_moves_and_plans() -> None:
    guest = data(f"{API}/guests/201")["status"]
    assert isinstance(guest, dict)
    assert (guest["node"], guest["state"], guest["reason"], guest["target"]) == ("pve1", "Waiting", "SlotTaken", "pve2")
    assert guest["backoff"]["failures"] == 2
    assert data(f"{API}/guests/dns") == data(f"{API}/guests/201")
    moving = data(f"{API}/migrations/101-{int(NOW - 41)}")["status"]
    assert isinstance(moving, dict)
    assert moving["progress"] == {
        "phase": "Memory",
        "transferredBytes": 4 << 30,
        "totalBytes": 8 << 30,
        "bytesPerSecond": 112 << 20,
        "etaSeconds": pytest.approx(36.57, abs=0.01),
    }
    plan = data(f"{API}/plans/default")["status"]
    assert isinstance(plan, dict)
    assert [move["vmid"] for move in plan["moves"]] == [102]
    assert plan["digest"] == scene.PLAN.digest


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (f"{API}/nonsense", 404, "there is no kind nonsense; known: pveclusters"),
        (f"{API}/guests/999", 404, "there is no Guest 999"),
        (f"{API}/pvenodes/pve9", 404, "there is no PveNode pve9"),
        ("/nowhere", 404, "404: Not Found"),
    ],
)
def test_what_is_not_there_is_said_in_kubernetes_words(path: str, status: int, message: str) -> None:
    code, text = get(path)
    body = json.loads(text)
    assert (code, body["kind"], body["reason"]) == (status, "Status", "NotFound")
    assert body["message"].startswith(message)


def test_a_name_that_fits_two_guests_is_ambiguous() -> None:
    twins = {**scene.GUESTS, scene.PLAN.moves[0].vmid: scene.guest(102, "db-1", scene.PVE1)}
    view = replace(VIEW, seen=replace(scene.SEEN, guests=twins))
    code, text = get(f"{API}/guests/db-1", lambda: scene.board(view))
    assert code == 409
    assert json.loads(text)["message"] == "db-1 is ambiguous: 101 in cluster default, 102 in cluster default"


def test_a_state_file_that_cannot_be_read_costs_events_and_nothing_else(tmp_path: Path) -> None:
    def made() -> tuple[Board, Metrics]:
        closed = Store.open(tmp_path, CLUSTER)
        closed.close()
        return scene.board(store=closed)

    assert get(f"{API}/events", made)[0] == 503
    assert get(f"{API}/guests", made)[0] == 200
    assert get("/", made)[0] == 200


def test_nothing_can_be_changed_here() -> None:
    async def talk(ask: Ask) -> None:
        for path in ("/", "/metrics", f"{API}/pvenodes", f"{API}/pvenodes/pve1", "/confirm", "/look"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                status, _, _ = await ask(path, method)
                assert status in (404, 405), (method, path)

    asked(scene.board, talk)


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("127.0.0.1:9808", True),
        ("localhost:9808", True),
        ("LOCALHOST", True),
        ("[::1]:9808", True),
        ("[::1]", True),
        ("192.168.1.7:9808", True),
        ("drover.lan:9808", True),
        ("evil.example:9808", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:9808", False),
        ("", False),
    ],
)
def test_only_our_own_names_are_served(header: str, allowed: bool) -> None:
    assert is_allowed_host(header, frozenset({"localhost", "drover.lan"})) is allowed


def test_a_page_that_rebinds_its_name_to_us_gets_no_answer() -> None:
    for path in ("/", "/metrics", f"{API}/guests", f"{API}/overview/watch"):
        assert get(path, Host="evil.example:80")[0] == 421


def test_every_answer_tells_the_time_and_forbids_what_comes_from_elsewhere() -> None:
    async def talk(ask: Ask) -> None:
        for path in ("/", "/healthz", f"{API}/guests", "/nowhere"):
            _, _, headers = await ask(path)
            assert headers["Drover-Time"] == "2027-01-15T08:00:00Z"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "'unsafe" not in headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"

    asked(scene.board, talk)


def test_metrics_are_served_as_text_of_prometheus() -> None:
    async def talk(ask: Ask) -> None:
        status, text, headers = await ask("/metrics")
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert 'drover_guests{cluster="default",state="Blocked"} 1.0' in text

    asked(scene.board, talk)


def test_a_closing_server_does_not_wait_for_those_who_watch() -> None:
    async def main() -> float:
        board, metrics = scene.board()
        server = await http.serve(board, metrics, HttpSettings(port=0))
        async with aiohttp.ClientSession(server.address) as session, session.get(f"{API}/overview/watch") as answer:
            assert json.loads(await answer.content.readline())["version"]
            began = asyncio.get_running_loop().time()
            await server.close()
            assert await answer.content.readline() == b""
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(main()) < 1.5


def test_the_control_socket_is_for_its_owner_and_goes_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"

    async def main() -> None:
        told: list[str] = []
        served = await control.serve(path, scene.Mind(told, "r1"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [entry.name for entry in path.parent.iterdir()] == ["control.sock"]
        with pytest.raises(FileExistsError):
            await control.serve(path, scene.Mind([]))
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession("http://drover", connector=connector) as session:
            for body, status in (
                ('{"revision": "r1"}', 200),
                ('{"revision": "r2"}', 409),
                ("{}", 400),
                ("[]", 400),
                ("{", 400),
            ):
                async with session.post("/confirm", data=body) as answer:
                    assert answer.status == status, body
            async with session.post("/look") as answer:
                assert answer.status == 200
            async with session.get("/confirm") as answer:
                assert answer.status == 405
            for verb, body, status in (
                ("drain", '{"node": "pve2", "by": "anna", "reason": "disk"}', 200),
                ("uncordon", '{"node": "pve2", "by": "anna", "cluster": "lab"}', 200),
                ("drain", '{"node": "nowhere", "by": "anna"}', 409),
                ("drain", '{"node": "pve2"}', 400),
                ("drain", '{"node": 2, "by": "anna"}', 400),
            ):
                async with session.post(f"/{verb}", data=body) as answer:
                    assert answer.status == status, body
        orders = ["Drain :pve2 by anna disk", "InService lab:pve2 by anna "]
        assert told == ["confirm r1", "confirm r2", "look", *orders]
        await served.close()
        assert not path.exists()

    asyncio.run(main())


def test_a_socket_left_behind_by_a_killed_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    left = sockets.socket(sockets.AF_UNIX)
    left.bind(str(path))
    left.close()

    async def main() -> None:
        served = await control.serve(path, scene.Mind([]))
        assert path.exists()
        await served.close()

    asyncio.run(main())


def test_objects_of_other_clusters_are_told_apart() -> None:
    foreign = written("PveNode", "alone", {"clusterRef": {"name": "other"}})
    specs = Specs.of([*SPECS, foreign])

    def made() -> tuple[Board, Metrics]:
        return scene.board(specs=specs)

    names = [item["metadata"]["name"] for item in data(f"{API}/pvenodes", made)["items"]]  # type: ignore[attr-defined]  # a list
    assert names == ["alone", "pve1", "pve2"]
    own = data(f"{API}/pvenodes?cluster=default", made)["items"]
    assert [item["metadata"]["name"] for item in own] == ["pve1", "pve2"]  # type: ignore[attr-defined]  # a list
    assert foreign.ref not in statuses(specs, (), VIEW, {})
