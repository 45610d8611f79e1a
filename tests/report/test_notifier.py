"""Notifications against real servers: what is sent to whom, once, again when it failed, and after a restart."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from prometheus_client import CollectorRegistry

from controller import settings as machine
from controller.clock import Clock, SystemClock
from controller.model.event import Event, EventType
from controller.model.ids import ClusterName, ObjectRef
from controller.model.notice import Gravity, Notice
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.outgoing import Later, Ok, Refused
from controller.report import notices
from controller.report.events import Told as Reason
from controller.report.metrics.notifications import NotificationMetrics
from controller.report.notifier import GIVE_UP_SECONDS, Notifier
from controller.report.sinks import sender
from controller.report.store import Store
from controller.report.store_notices import Outbox
from controller.settings import Secret, SettingsError, Sink, SinkType, Target
from controller.specs import PveCluster
from tests.pve.https import Asked, Script, Server, Writer, answer, response, serving, silence

# Loading apprise loads a module that Python 3.13 no longer has; apprise brings its own then.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")

LAB = ClusterName("lab")
OPS = {"ops": Gravity.WARNING}


def event(
    message: str, *, at: float = 0.0, reason: str = Reason.MOVE_FAILED, type_: EventType = EventType.WARNING
) -> Event:
    return Event(type_, reason, ObjectRef("Guest", "101"), message, at, at)


def cluster(*notifications: dict[str, str]) -> PveCluster:
    spec = {
        "endpoints": ["https://pve1:8006"],
        "auth": {"credentialsRef": "lab"},
        "notifications": list(notifications),
    }
    return PveCluster.model_validate({"metadata": {"name": "lab"}, "spec": spec})


# What is worth a message


@pytest.mark.parametrize(
    ("reason", "type_", "expected"),
    [
        (Reason.MOVE_SUCCEEDED, EventType.NORMAL, Gravity.INFO),
        (Reason.MOVE_FAILED, EventType.WARNING, Gravity.WARNING),
        (Reason.QUORUM_LOST, EventType.WARNING, Gravity.CRITICAL),
        (Reason.MOVE_STUCK, EventType.WARNING, Gravity.CRITICAL),
    ],
)
def test_how_much_an_event_matters(reason: Reason, type_: EventType, expected: Gravity) -> None:
    assert notices.gravity(event("x", reason=reason, type_=type_)) is expected


def test_a_sink_gets_what_matters_enough_to_it() -> None:
    happened = [
        event("done", reason=Reason.MOVE_SUCCEEDED, type_=EventType.NORMAL),
        event("failed"),
        event("lost", reason=Reason.QUORUM_LOST),
    ]
    wanted = {"all": Gravity.INFO, "ops": Gravity.WARNING, "pager": Gravity.CRITICAL}
    made = notices.posting(LAB, wanted, happened, Outbox(), at=0.0)
    assert [(each.sink, each.event.message) for each in made.put] == [
        *(("all", text) for text in ("done", "failed", "lost")),
        *(("ops", text) for text in ("failed", "lost")),
        ("pager", "lost"),
    ]
    assert len({each.id for each in made.put}) == len({each.key for each in made.put}) == 6


def test_what_is_said_again_within_the_hour_is_counted_and_told_afterwards() -> None:
    outbox = Outbox()
    first = notices.posting(LAB, OPS, [event("no route in 3s")], outbox, at=0.0)
    outbox = Outbox(told=first.told)
    again = notices.posting(LAB, OPS, [event("no route in 41s"), event("no route in 2s")], outbox, at=3000.0)
    assert again.put == ()
    outbox = Outbox(told=again.told)
    [later] = notices.posting(LAB, OPS, [event("no route in 5s")], outbox, at=3601.0).put
    assert later.event.count == 3
    assert "3 times since it was told last" in notices.text(later)


def test_a_full_queue_loses_its_oldest_and_says_how_many() -> None:
    queue = {
        f"{n:012d}": Notice(f"{n:012d}", str(n), "ops", LAB, Gravity.WARNING, event(f"n{n}"), 0.0)
        for n in range(1, notices.QUEUE_LIMIT + 1)
    }
    made = notices.posting(LAB, OPS, [event("a"), event("b")], Outbox(queue), at=0.0)
    assert made.take == ("000000000001", "000000000002")
    assert made.lost == {"ops": 2}
    assert len(made.put) == 2


# Sending


@asynccontextmanager
async def telling(notifier: Notifier) -> AsyncIterator[None]:
    task = asyncio.create_task(notifier.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def webhook(server: Server) -> Sink:
    target = Target(Secret(f"{server.url}/hook/planted"), ca_file=server.ca_file, timeout_seconds=2.0)
    return Sink("ops", SinkType.WEBHOOK, target)


def made(sink: Sink, clock: Clock | None = None) -> tuple[Notifier, CollectorRegistry]:
    registry = CollectorRegistry()
    return Notifier({sink.name: sink}, clock or SystemClock(), NotificationMetrics(registry)), registry


def counted(registry: CollectorRegistry) -> dict[str, float]:
    results = ("Delivered", "Failed", "Dropped")
    return {
        each: registry.get_sample_value("drover_notifications_total", {"sink": "ops", "result": each}) or 0.0
        for each in results
    }


async def until(so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not so():  # noqa: ASYNC110 - what is waited for happens behind a socket
            await asyncio.sleep(0.005)


def test_a_webhook_gets_the_documented_json_once(tmp_path: Path) -> None:
    async def run() -> Asked:
        store = Store.open(tmp_path, LAB)
        async with serving(answer(204, "No Content", None), tmp_path) as server:
            notifier, registry = made(webhook(server))
            async with telling(notifier):
                spec = cluster({"sink": "ops"})
                notifier.take(spec, [event("no route", at=1795000000.0)], store)
                await until(lambda: counted(registry)["Delivered"])
                notifier.take(spec, [event("no route", at=1795000001.0)], store)
                await until(lambda: not store.outbox().queue)
                assert notifier.finding(spec) == Finding(True, Why.AS_EXPECTED, "1 sink: ops")
            assert counted(registry) == {"Delivered": 1, "Failed": 0, "Dropped": 0}
            [asked] = server.asked
        store.close()
        return asked

    asked = asyncio.run(run())
    told = json.loads(asked.body)
    assert asked.headers["webhook-id"] == told.pop("id")
    assert told == {
        "version": "1",
        "cluster": "lab",
        "severity": "Warning",
        "reason": "MoveFailed",
        "object": {"kind": "Guest", "name": "101"},
        "message": "no route",
        "count": 1,
        "firstTimestamp": "2026-11-18T11:06:40Z",
        "lastTimestamp": "2026-11-18T11:06:40Z",
        "dropped": 0,
    }


def test_a_failing_sink_is_tried_again_later_with_the_same_id_and_its_trouble_is_told(tmp_path: Path) -> None:
    answers = iter([answer(503, "Unavailable", b"upstream"), answer(429, "Slow", b"", "Retry-After: 20")])

    async def script(asked: Asked, writer: Writer) -> None:
        await next(answers, answer(200, "OK", {}))(asked, writer)

    async def run() -> None:
        store, clock = Store.open(tmp_path, LAB), SystemClock(speed=50)
        async with serving(script, tmp_path) as server:
            notifier, registry = made(webhook(server), clock)
            spec = cluster({"sink": "ops"})
            async with telling(notifier):
                began = clock.monotonic()
                notifier.take(spec, [event("no route"), event("disk full")], store)
                await until(lambda: counted(registry)["Failed"])
                trouble = notifier.finding(spec)
                assert trouble is not None
                assert (trouble.ok, trouble.why) == (False, Why.NOT_DELIVERED)
                assert trouble.message == f"ops: {server.url} answers 503: upstream"
                await until(lambda: counted(registry)["Delivered"] == 2)
                assert clock.monotonic() - began >= 5 + 20
                assert counted(registry) == {"Delivered": 2, "Failed": 2, "Dropped": 0}
            ids = [asked.headers["webhook-id"] for asked in server.asked]
            assert ids[0] == ids[1] == ids[2] != ids[3]
        store.close()

    asyncio.run(run())


def test_what_nobody_took_is_sent_after_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        store = Store.open(tmp_path, LAB)
        spec = cluster({"sink": "ops", "minSeverity": "Info"})
        async with serving(silence, tmp_path) as server:
            notifier, _ = made(webhook(server))
            async with telling(notifier):
                notifier.take(spec, [event("no route")], store)
                await until(lambda: server.asked)
        store.close()
        store = Store.open(tmp_path, LAB)
        async with serving(answer(200, "OK", {}), tmp_path) as other:
            notifier, registry = made(webhook(other))
            async with telling(notifier):
                notifier.take(spec, [], store)
                await until(lambda: counted(registry)["Delivered"])
        assert server.asked[0].headers["webhook-id"] == other.asked[0].headers["webhook-id"]
        assert not store.outbox().queue
        store.close()

    asyncio.run(run())


def test_a_message_that_is_refused_does_not_hold_up_the_next_which_tells_of_it(tmp_path: Path) -> None:
    async def picky(asked: Asked, writer: Writer) -> None:
        bad = "no route" in asked.body
        writer.write(response(400 if bad else 200, "Bad" if bad else "OK", b"{}"))

    async def run() -> None:
        store, clock = Store.open(tmp_path, LAB), SystemClock(speed=50)
        async with serving(picky, tmp_path) as server:
            notifier, registry = made(webhook(server), clock)
            async with telling(notifier):
                notifier.take(cluster({"sink": "ops"}), [event("no route"), event("disk full")], store)
                await until(lambda: counted(registry)["Delivered"])
            assert counted(registry) == {"Delivered": 1, "Failed": 1, "Dropped": 1}
            assert json.loads(server.asked[-1].body)["dropped"] == 1
            assert store.outbox().given_up == {}
        store.close()

    asyncio.run(run())


def test_a_message_of_yesterday_is_given_up(tmp_path: Path) -> None:
    async def run() -> None:
        store, clock = Store.open(tmp_path, LAB), SystemClock()
        old = Notice("1", "x", "ops", LAB, Gravity.WARNING, event("old"), clock.wall() - GIVE_UP_SECONDS - 1)
        store.change_outbox(put=[old])
        async with serving(answer(503, "Unavailable", b""), tmp_path) as server:
            notifier, registry = made(webhook(server), clock)
            async with telling(notifier):
                notifier.take(cluster({"sink": "ops"}), [], store)
                await until(lambda: counted(registry)["Dropped"])
            assert not store.outbox().queue
            assert store.outbox().given_up == {"ops": 1}
        store.close()

    asyncio.run(run())


def test_a_store_that_was_closed_under_it_ends_nothing_and_repeats_with_the_same_id(tmp_path: Path) -> None:
    async def run() -> None:
        store, clock = Store.open(tmp_path, LAB), SystemClock(speed=50)
        spec = cluster({"sink": "ops"})
        async with serving(answer(200, "OK", {}), tmp_path) as server:
            notifier, registry = made(webhook(server), clock)
            notifier.take(spec, [event("no route")], store)
            store.close()
            async with telling(notifier):
                await until(lambda: server.asked)
                store = Store.open(tmp_path, LAB)  # as the loop of the cluster does after a fault
                notifier.take(spec, [event("disk full")], store)
                await until(lambda: not store.outbox().queue)
            ids = [asked.headers["webhook-id"] for asked in server.asked]
            assert len(set(ids)) == 2
            assert counted(registry)["Dropped"] == 0
        store.close()

    asyncio.run(run())


def test_a_sink_that_hangs_holds_up_neither_a_tick_nor_another_sink(tmp_path: Path) -> None:
    async def run() -> None:
        store, registry = Store.open(tmp_path, LAB), CollectorRegistry()
        spec = cluster({"sink": "ops"}, {"sink": "other"})
        async with serving(answer(200, "OK", {}), tmp_path) as good, serving(silence, tmp_path) as bad:
            sinks = {"ops": webhook(good), "other": replace(webhook(bad), name="other")}
            notifier = Notifier(sinks, SystemClock(), NotificationMetrics(registry))
            async with telling(notifier):
                loop = asyncio.get_running_loop()
                began = loop.time()
                notifier.take(spec, [event(f"{word} fails") for word in ("one", "two", "three")], store)
                assert loop.time() - began < 1.0
                await until(lambda: counted(registry)["Delivered"] == 3)
                assert len(bad.asked) == 1
        store.close()

    asyncio.run(run())


def test_a_sink_that_the_settings_do_not_define_is_named(tmp_path: Path) -> None:
    notifier = Notifier({}, SystemClock(), NotificationMetrics(CollectorRegistry()))
    found = notifier.finding(cluster({"sink": "pager"}))
    assert found is not None
    assert (found.ok, found.why) == (False, Why.NO_SINK)
    assert found.message == "the settings define no sink pager (defined: none)"
    assert notifier.finding(cluster()) is None


# Services of apprise


class Mailbox:
    """What an SMTP server has taken."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, port
    controller.stop()


def service(url: str) -> Sink:
    return Sink("mail", SinkType.APPRISE, Target(Secret(url)))


NOTICE = Notice("1", "x", "mail", LAB, Gravity.CRITICAL, event("quorum is lost", reason=Reason.QUORUM_LOST), 0.0)


def test_mail_arrives(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    mail = sender(service(f"mailto://127.0.0.1:{port}?from=drover@example.org&to=ops@example.org&format=text"))
    assert isinstance(asyncio.run(mail.send(NOTICE, at=0.0)), Ok)
    mail.close()
    [(to, message)] = box.mails
    assert to == ["ops@example.org"]
    assert message["Subject"] == "Critical: QuorumLost Guest 101 (lab)"
    body = message.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == "quorum is lost"


def test_ntfy_gets_a_message_and_its_refusal_is_told_without_the_topic(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def run(script: Script) -> tuple[object, list[str]]:
        asked: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(next(line for line in head.splitlines() if line.lower().startswith("content-length"))[15:])
            asked.append(head + (await reader.readexactly(length)).decode())
            await script(Asked("", "", {}, ""), writer)
            await writer.drain()
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            ntfy = sender(service(f"ntfy://127.0.0.1:{port}/planted-topic"))
            told = await ntfy.send(NOTICE, at=0.0)
            ntfy.close()
            return told, asked

    told, asked = asyncio.run(run(answer(200, "OK", {})))
    assert isinstance(told, Ok)
    assert "quorum is lost" in asked[0]
    assert "planted-topic" in asked[0]
    told, _ = asyncio.run(run(answer(403, "Forbidden", {})))
    assert told == Later("the service did not take it (it answers 403)", sent=False)
    assert "planted" not in caplog.text


def test_an_address_that_apprise_does_not_know_is_refused_without_repeating_it() -> None:
    with pytest.raises(SettingsError) as refused:
        sender(service("nonsense-planted://x"))
    assert str(refused.value).startswith("sinks.mail.url: is no address that apprise knows")
    assert "planted" not in str(refused.value)


# The settings


def test_sinks_are_read_with_their_secrets_from_env_and_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("whsec_c2l4dGVlbiBieXRlIGtleQ==\n")
    (tmp_path / "drover.toml").write_text(
        '[sinks.ops]\nurlEnv = "OPS_URL"\nsigningKeyFile = "key"\ncaFile = "/etc/ca.pem"\ntimeoutSeconds = 5\n'
        '[sinks.mail]\ntype = "apprise"\nurl = "mailtos://user:word@mail.example.org"\n'
    )
    read = machine.load(tmp_path / "drover.toml", {"OPS_URL": "https://hooks.example/planted"})
    ops, mail = read.sinks["ops"], read.sinks["mail"]
    assert ops.target.url.reveal() == "https://hooks.example/planted"
    assert (ops.target.ca_file, ops.target.timeout_seconds) == (Path("/etc/ca.pem"), 5.0)
    assert (mail.type, mail.target.url.reveal()) == (SinkType.APPRISE, "mailtos://user:word@mail.example.org")
    assert {each.reveal() for each in read.secrets} == {
        "https://hooks.example/planted",
        "whsec_c2l4dGVlbiBieXRlIGtleQ==",
        "mailtos://user:word@mail.example.org",
    }
    assert machine.load(tmp_path / "drover.toml", {}, secrets=False).sinks == {}


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("", "sinks.ops.url: exactly one of url, urlEnv and urlFile has to be given"),
        ('type = "pigeon"', "sinks.ops.type: 'pigeon' is not known; one of webhook, apprise"),
        ('url = "http://hooks.example/planted"', "sinks.ops.url: is not encrypted; use https:// (http:// is for"),
        ('url = "planted"', "sinks.ops.url: is no https:// URL"),
        ('url = "https://a/planted"\nurlEnv = "A"', "sinks.ops.urlEnv: only one of url, urlEnv and urlFile can be"),
        ('urlEnv = "A"', "sinks.ops.urlEnv: the environment variable A is not set"),
        ('url = "https://a/planted"\nsigningKey = "whsec_!"', "sinks.ops.signingKey: is no signing key"),
        ('url = "https://a/planted"\npriority = "high"', "sinks.ops.priority: is not a setting"),
        ('type = "apprise"\nurl = "ntfys://planted"\ntoken = "x"', "sinks.ops.token: is not a setting"),
    ],
)
def test_a_mistake_names_the_key_and_not_the_secret(lines: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "drover.toml"
    file.write_text(f"[sinks.ops]\n{lines}\n")
    with pytest.raises(SettingsError) as refused:
        machine.load(file, {})
    assert str(refused.value).startswith(f"{file}: {complaint}")
    assert "planted" not in str(refused.value)


def test_a_refusal_is_final_only_when_it_is_about_the_message() -> None:
    from controller.report.sinks import refused

    assert refused(Refused("no", 413))
    assert not refused(Refused("no", 401))
    assert not refused(Later("no", sent=False))
