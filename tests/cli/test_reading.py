"""What the reading verbs print, against a real server."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import click
import pytest
import yaml
from click.testing import Result

from controller.cli.client import Client
from controller.cli.status import show
from controller.cli.watch import Changes, Screen
from controller.model.drift import Drift, DriftKind
from controller.model.ids import ObjectRef, Vmid
from controller.model.reasons import Why
from controller.report.overview import overview
from tests.cli.daemon import Daemon
from tests.report import scene

Said = Callable[..., Result]

ANSI = re.compile(r"\x1b\[")
LIMIT = "NodeMaintenance, downtime up to 1000 ms"
ANSI_CODE = re.compile(r"\x1b\[[\d;]*[A-Za-z]")


def table(text: str) -> list[list[str]]:
    """Cells of printed columns."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def test_status_shows_drains_moves_and_what_is_blocked_with_reason_and_remedy(said: Said, daemon: Daemon) -> None:
    done = said("status", "--server", daemon.url)
    assert done.exit_code == 0
    for line in (
        "default (lab)  Enforce  Ready  Armed  seen 0s ago",
        "  7 guests: 3 fine, 1 planned, 1 waiting, 1 blocked, 1 moving",
        f"  pve1  Draining  ██{'░' * 18}    8 %  1 of 5 guests moved away from pve1, 1 moving, 1 blocked; 2 waiting; new firmware",
        f"  VM 101  db-1  pve1 -> pve2  {'█' * 8}{'░' * 8}  50 %  4.0 GiB to go  112 MiB/s  36s left  Memory  {LIMIT}",
        "  ! VM 105 build on pve1  NoTargetFits: no node can take VM 105 build (48 GiB): pve2 has 30 GiB free",
        "      Free memory, add a node, or relax a policy.",
        "policies/apart.yaml:9:5: spec.keepApart.maxPerDomain: has to be 1 or more; allowed: a whole number",
    ):
        assert line in done.output.splitlines()


@pytest.mark.parametrize("word", ["nm", "NodeMaintenance", "nodemaintenances", "NODEMAINTENANCE", "maintenances"])
def test_a_kind_answers_to_all_its_names(said: Said, daemon: Daemon, word: str) -> None:
    done = said("get", word, "--server", daemon.url)
    assert table(done.output) == [
        ["NAME", "NODE", "MODE", "PROGRESS", "DRAINED"],
        ["label-pve1", "pve1", "Evacuate", "8", "False"],
    ]


@pytest.mark.parametrize(
    ("word", "row"),
    [
        ("pvec", ["default", "Enforce", "True", "Armed"]),
        ("pven", ["pve1", "default", "True", "False", "False"]),
        ("pp", ["databases-apart", "default", "Must", "2", "1", "False"]),
        ("mp", ["gentle", "default", "LiveIfPossible", "0"]),
        ("rp", ["pairs", "default", "*/15", "0", "0", "True", "InSync", "False"]),
        ("guests", ["105", "build", "qemu", "pve1", "running", "48.0 GiB", "Blocked", "NoTargetFits", "-"]),
        ("vm", ["201", "dns", "lxc", "pve1", "running", "1.0 GiB", "Waiting", "SlotTaken", "pve2"]),
        (
            "moves",
            ["101", "db-1", "pve1 -> pve2", "Running", "4.0 GiB", "112 MiB/s", "36s", "NodeMaintenance", "41s", "-"],
        ),
        (
            "migrations",
            ["104", "web-2", "pve1 -> pve2", "Succeeded", "2.0 GiB", "-", "-", "NodeMaintenance", "41s", "5s"],
        ),
        ("plans", ["default", "b3a2947fe6b3", "1", "1", "1", "1", "3", "0s"]),
    ],
)
def test_a_list_has_the_columns_of_its_kind(said: Said, daemon: Daemon, word: str, row: list[str]) -> None:
    done = said("get", word, "--server", daemon.url)
    assert done.exit_code == 0, done.output
    assert row in table(done.output)


def test_wide_says_more(said: Said, daemon: Daemon) -> None:
    done = said("get", "guests", "-o", "wide", "--server", daemon.url)
    assert "no node can take VM 105 build" in done.output
    assert "HOME" in done.output.splitlines()[0]


def test_yaml_and_json_are_the_object_as_written_with_its_status(said: Said, daemon: Daemon) -> None:
    as_yaml = yaml.safe_load(said("get", "pp", "databases-apart", "-o", "yaml", "--server", daemon.url).output)
    as_json = json.loads(said("get", "pp", "databases-apart", "-o", "json", "--server", daemon.url).output)
    assert as_yaml == as_json
    assert as_json["spec"]["guestSelector"] == {"tags": {"any": ["db"]}}
    assert as_json["status"]["matchedGuests"] == 2
    listed = json.loads(said("get", "pp", "-o", "json", "--server", daemon.url).output)
    assert listed["items"] == [as_json]


def test_describe_of_a_maintenance_has_conditions_and_blocked_guests_with_what_to_do(
    said: Said, daemon: Daemon
) -> None:
    text = said("describe", "nm", "label-pve1", "--server", daemon.url).output
    assert "implied by the label of PveNode/pve1" in text
    assert "! 105 build  NoTargetFits: no node can take" in text
    assert "Free memory, add a node, or relax a policy." in text


@pytest.mark.parametrize("name", ["201", "dns"])
def test_describe_of_a_guest_says_where_why_what_next_and_what_happened(said: Said, daemon: Daemon, name: str) -> None:
    text = said("describe", "guest", name, "--server", daemon.url).output
    for words in (
        "CT 201 dns",
        "SlotTaken",
        "Goes to     pve2",
        "2 failures, again in 40s: no route to host",
        "MoveFailed",
    ):
        assert words in text


def test_events_are_told_with_age_and_can_be_narrowed(said: Said, daemon: Daemon) -> None:
    every = said("events", "--server", daemon.url).output.splitlines()
    assert [re.split(r" {2,}", line.strip())[2] for line in every[1:]] == [
        "MoveSucceeded",
        "MoveFailed",
        "InvalidManifest",
    ]
    assert len(said("events", "--warnings", "--server", daemon.url).output.splitlines()) == 3
    for about in ("Guest/104", "guest/104", "104"):
        listed = json.loads(said("events", "--for", about, "-o", "json", "--server", daemon.url).output)
        assert listed["kind"] == "List"
        assert [event["reason"] for event in listed["items"]] == ["MoveSucceeded"]
    for narrowed in (("--reason", "MoveFailed", "--reason", "Drained"), ("--type", "warning", "--about", "guests")):
        lines = said("events", *narrowed, "--server", daemon.url).output.splitlines()
        assert [line.split()[2] for line in lines[1:]] == ["MoveFailed"]
    assert "Nothing like that has happened." in said("events", "--since", "1s", "--server", daemon.url).output
    wrong = said("events", "--since", "yesterday", "--server", daemon.url)
    assert wrong.exit_code == 1
    assert "since=yesterday: write how long ago" in wrong.output


def test_the_stream_behind_watch_speaks_at_once_and_after_every_change(daemon: Daemon) -> None:
    board = daemon.board
    assert board is not None
    seen = Client(daemon.url).watch()
    assert next(seen).clusters[0].name == "default"
    daemon.call(lambda: board.forget(scene.CLUSTER))
    assert next(seen).clusters == ()
    seen.close()  # type: ignore[attr-defined]  # it is a generator


def test_watch_without_a_terminal_prints_one_line_per_change(daemon: Daemon) -> None:
    client, changes = Client(daemon.url), Changes()
    first = client.overview()
    assert list(changes.between(first)) == [
        "default: 3 fine, 1 planned, 1 waiting, 1 blocked, 1 moving",
        "pve1 draining 8 %: 1 of 5 guests moved away from pve1, 1 moving, 1 blocked; since 5m00s",
        "moving: VM 101 db-1 pve1 -> pve2 50 % at 112 MiB/s, 36s left",
        f"blocked: 1 NoTargetFits: {scene.BLOCKED.message} ({scene.BLOCKED.remedy})",
    ]
    assert list(changes.between(first)) == [], "what stays is not told again"
    [cluster], [drain], [move] = first.clusters, first.clusters[0].drains, first.clusters[0].moves
    later = cluster.model_copy(
        update={
            "drains": (drain.model_copy(update={"percent": 9, "eta_seconds": 99.0}),),
            "moves": (move.model_copy(update={"percent": 76, "eta_seconds": None, "bytes_per_second": None}),),
        }
    )
    [event, *_] = first.events
    news = (event.model_copy(update={"count": event.count + 1}), *first.events)
    assert list(changes.between(first.model_copy(update={"clusters": (later,), "events": news}))) == [
        "moving: VM 101 db-1 pve1 -> pve2 76 %",
        f"event: {event.about} {event.reason}: {event.message}",
    ]


def test_status_says_what_each_node_sends_and_how_long_the_drain_takes(said: Said, daemon: Daemon) -> None:
    board = daemon.board
    assert board is not None
    daemon.call(lambda: board.publish(scene.FORESEEN, scene.SPECS, scene.said_of(scene.FORESEEN), None))
    lines = said("status", "--server", daemon.url).output.splitlines()
    assert (
        "      since 5m00s; about 1m30s left (nine times in ten within 2m00s); 6m30s in all, no order is faster than 6m00s (1.08x)"
        in lines
    )
    nodes = {row[0]: row[-2:] for row in table("\n".join(lines)) if row[0] in ("pve1", "pve2")}
    assert nodes == {"pve1": ["-", "112 MiB/s"], "pve2": ["112 MiB/s", "-"]}
    assert "  900 crm of pve1: starts again when pve1 is back; was asked to shut down 1m00s ago" in lines
    assert "  ~ 1 for SlotTaken: pve1 sends 2 guests already" in lines
    assert any(re.match(r"  101-0 +db-1 +pve1 -> pve2 +Syncing +no copy yet, for a move", line) for line in lines)
    described = said("describe", "nm", "label-pve1", "--server", daemon.url).output
    assert (
        "  about 1m30s left (nine times in ten within 2m00s)\n  6m30s in all, no order is faster than 6m00s (1.08x)"
        in described
    )


@pytest.mark.parametrize("width", [40, 80, 119, 200])
def test_no_line_is_longer_than_the_terminal_and_every_reason_is_there(daemon: Daemon, width: int) -> None:
    seen = Client(daemon.url).overview()
    lines = [ANSI_CODE.sub("", line) for line in show(seen, width)]
    assert max(map(len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    for text in (scene.BLOCKED.message, scene.BLOCKED.remedy, "1 moving, 1 blocked", "pve1 -> pve2", "50 %"):
        assert text in words


def test_thousands_of_guests_that_wait_or_are_blocked_are_counted(daemon: Daemon) -> None:
    board, _ = scene.board(scene.crowded(5000))
    seen = overview(board)
    lines = list(show(seen, 80))
    assert len(lines) < 120
    assert any(line.startswith("  ~ 2500 for SlotTaken: ") for line in lines)
    assert any("and 2490 more (in all 2500 NoTargetFits): drover get guests" in line for line in lines)
    assert len(list(Changes().between(seen))) < 20


def test_a_picture_that_is_too_tall_says_how_much_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "10")
    screen = Screen()
    with click.Context(click.Command("status"), color=True).scope():
        screen.draw(lambda width: [f"{number} of {width}" for number in range(30)])
        screen.draw(lambda _width: ["one"])
    clear, home = "\x1b[2J", "\x1b[H"
    first, second = capsys.readouterr().out.split(home)[1:]
    shown = ANSI_CODE.sub("", first).splitlines()
    assert shown == [
        *(f"{number} of 60" for number in range(8)),
        "… 22 more lines: a taller terminal, or drover status",
    ]
    assert clear not in second
    assert second == "one\x1b[K\n\x1b[J"


def test_colours_are_for_terminals_that_want_them(said: Said, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ANSI.search(said("status", "--server", daemon.url).output)
    assert ANSI.search(said("status", "--server", daemon.url, color=True).output)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not ANSI.search(said("status", "--server", daemon.url, color=True).output)


def test_explain_has_every_node_with_its_verdict(said: Said, daemon: Daemon) -> None:
    lines = said("explain", "102", "--server", daemon.url).output.splitlines()
    assert lines[0] == "102 db-2 on pve1"
    assert any(line.startswith("  goes to pve3: ") for line in lines)
    assert [line.split()[:2] for line in lines if line.startswith("  pve")] == [
        ["pve1", "Here"],
        ["pve2", "RuledOut"],
        ["pve3", "Chosen"],
    ]
    assert "there is no Guest 999" in said("explain", "999", "--server", daemon.url).output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("get", "nonsense"), 64, "there is no kind 'nonsense'; known: pveclusters (pvec, clusters)"),
        (("get", "guest", "999"), 1, "there is no Guest 999"),
        (("get", "nm", "label-pve9"), 1, "there is no NodeMaintenance label-pve9"),
        (("describe", "nm"), 64, "Missing argument 'NAME'"),
        (("status", "--colour"), 64, "No such option"),
    ],
)
def test_errors_are_one_sentence(said: Said, daemon: Daemon, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = said(*arguments, "--server", daemon.url)
    assert done.exit_code == code
    assert words in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("verb", [("status",), ("status", "--watch"), ("get", "nm"), ("events",)])
def test_without_a_daemon_it_says_so(said: Said, verb: tuple[str, ...]) -> None:
    done = said(*verb, "--server", "http://127.0.0.1:1")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: no Drover answers at http://127.0.0.1:1 (")
    assert "is `drover run` running?" in done.stderr


def test_something_else_that_answers_is_not_taken_for_drover(said: Said, daemon: Daemon) -> None:
    done = said("get", "nm", "--server", f"{daemon.url}/nowhere")
    assert done.exit_code == 1
    assert "Traceback" not in done.output


def test_control_characters_of_a_name_do_not_reach_the_terminal(said: Said, daemon: Daemon) -> None:
    board = daemon.board
    assert board is not None
    bad = replace(scene.GUESTS[scene.PLAN.moves[0].vmid], name="web\x1b]0;owned\x07")
    seen = replace(scene.ARRIVED, guests={**scene.ARRIVED.guests, bad.vmid: bad})
    view = replace(scene.VIEW, seen=seen)
    daemon.call(lambda: board.publish(view, scene.SPECS, {}, None))
    done = said("get", "guests", "--server", daemon.url)
    assert "web\N{REPLACEMENT CHARACTER}]0;owned\N{REPLACEMENT CHARACTER}" in done.output
    assert "\x1b" not in done.output


def test_confirm_and_look_go_over_the_socket(said: Said, daemon: Daemon) -> None:
    socket = str(daemon.socket)
    assert said("confirm", "sha256:4f5e", "--socket", socket).output == "revision sha256:4f5e is confirmed\n"
    refused = said("confirm", "another", "--socket", socket)
    assert (refused.exit_code, refused.stderr) == (1, "Error: revision another does not wait for confirmation\n")
    assert said("look", "--socket", socket).exit_code == 0
    assert daemon.told == ["confirm sha256:4f5e", "confirm another", "look"]


def test_drain_and_uncordon_go_over_the_socket_with_the_name_of_who_typed_them(said: Said, daemon: Daemon) -> None:
    socket = str(daemon.socket)
    done = said("drain", "pve2", "--reason", "disk", "--socket", socket, "--by", "anna")
    assert (done.exit_code, done.output) == (0, "pve2: Drain\n")
    assert said("uncordon", "pve2", "--cluster", "lab", "--socket", socket, "--by", "anna").exit_code == 0
    refused = said("drain", "nowhere", "--socket", socket)
    assert (refused.exit_code, refused.stderr) == (1, "Error: there is no node nowhere\n")
    assert daemon.told == ["Drain :pve2 by anna disk", "InService lab:pve2 by anna "]


def test_wait_ends_when_it_is_so_and_tells_on_the_way_what_keeps_it(said: Said, daemon: Daemon) -> None:
    asked = ["wait", "--server", daemon.url, "--for"]
    done = said(*asked, "condition=Draining", "node/pve1")
    assert done.exit_code == 0
    assert done.output.startswith("Draining=True: ")
    late = said(*asked, "condition=Drained", "nm/label-pve1", "--timeout", "0.01")
    assert late.exit_code == 3
    assert late.stderr.startswith("Drained=False: ")
    assert late.stderr.endswith("Error: NodeMaintenance label-pve1 is not Drained=True after 0.01 s\n")
    missing = said(*asked, "condition=Drained", "node/pve9", "--timeout", "0.01")
    assert (missing.exit_code, "there is no PveNode pve9 yet" in missing.stderr) == (3, True)
    for wrong in (["condition=", "node/pve1"], ["condition=Drained", "pve1"], ["condition=Drained", "box/pve1"]):
        assert said(*asked, *wrong).exit_code == 64


def test_a_drain_that_is_waited_for_does_not_believe_what_was_seen_before_the_order(said: Said, daemon: Daemon) -> None:
    done = said(
        *("drain", "pve1", "--socket", str(daemon.socket), "--server", daemon.url, "--wait", "--timeout", "0.01")
    )
    assert done.exit_code == 3
    assert "waiting for the next look at PveNode pve1" in done.stderr


def test_confirm_without_a_daemon_says_so(said: Said, tmp_path: object) -> None:
    done = said("confirm", "x", "--socket", f"{tmp_path}/nobody.sock")
    assert done.exit_code == 1
    assert "is `drover run` running?" in done.stderr


def test_approve_goes_over_the_socket(said: Said, daemon: Daemon) -> None:
    socket = str(daemon.socket)
    assert said("approve", "7012f1962e95", "--by", "eve", "--socket", socket).output == "7012f1962e95: approved\n"
    assert said("approve", "--withdraw", "7012f1962e95", "--by", "eve", "--socket", socket).exit_code == 0
    refused = said("approve", "nothing", "--by", "eve", "--socket", socket)
    assert (refused.exit_code, refused.stderr) == (
        1,
        "Error: no plan with the digest nothing waits for approval\n",
    )
    assert daemon.told == ["approve 7012f1962e95 by eve", "withdraw 7012f1962e95 by eve"]


def test_drift_says_what_was_changed_since_when_and_what_drover_does(said: Said, daemon: Daemon) -> None:
    assert "Nothing was changed by hand." in said("drift", "--server", daemon.url).output
    what, will = "VM 105 build was moved by hand from pve2 to pve1 by eve@pam", "nothing: no rule minds"
    since, about = scene.SEEN.at - 7200, ObjectRef("Guest", "105")
    moved = Drift(DriftKind.GUEST_MOVED, about, Vmid(105), what, since, will, Why.AS_EXPECTED)
    view, board = replace(scene.VIEW, drifts=(moved,)), daemon.board
    assert board is not None
    daemon.call(lambda: board.publish(view, scene.SPECS, {}, None))
    lines = said("drift", "--server", daemon.url).output.splitlines()
    assert re.fullmatch(re.escape(what) + r", 2h(\d+m)? ago", lines[0])
    assert lines[1] == f"  Drover: {will}"
    [item] = json.loads(said("drift", "-o", "json", "--server", daemon.url).output)["items"]
    assert item["kind"] == "Drift"
    assert (item["status"]["kind"], item["status"]["about"], item["status"]["will"]) == (
        "GuestMoved",
        "Guest/105",
        will,
    )
    assert table(said("get", "drift", "--server", daemon.url).output)[0] == ["ABOUT", "SINCE", "WHAT", "DROVER"]
