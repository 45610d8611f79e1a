"""No secret leaves in a log line, whoever logs it and however; everybody's lines have the same form."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator

import pytest
import structlog

from controller.report import log
from controller.settings import LogSettings, Secret

TOKEN = "3f2a9c1e-7b64-4d0a-9e55-0c1d2e3f4a5b"
PASSWORD = 'pass"word with spaces\\and more'
SECRETS = (Secret(TOKEN), Secret(PASSWORD))
WALL = 1_800_000_000.25

Write = Callable[[], str]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before, level, chatty = root.handlers[:], root.level, logging.getLogger("urllib3").level
    yield
    root.handlers[:], root.level = before, level
    logging.captureWarnings(capture=False)
    for name in ("aiohttp.access", "asyncio", "urllib3", "watchfiles", "proxmoxer"):
        logging.getLogger(name).setLevel(chatty)
    structlog.reset_defaults()


@pytest.fixture(params=["json", "console"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def configured(form: str = "json", level: str = "debug", secrets: tuple[Secret, ...] = SECRETS) -> io.StringIO:
    stream = io.StringIO()
    log.configure(LogSettings(format=form, level=level), stream=stream, wall=lambda: WALL, secrets=secrets)
    return stream


class Session:
    """Something whose text holds a secret, as a failing request's may."""

    def __repr__(self) -> str:
        return f"<Session headers={{'Authorization': 'PVEAPIToken=drover@pve!main={TOKEN}'}}>"


def warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"insecure: {TOKEN}", stacklevel=1)


def fail_with(text: str) -> None:
    try:
        int(text)
    except ValueError:
        structlog.get_logger().exception("failed")


PLANTS: dict[str, Callable[[], object]] = {
    "in the event": lambda: structlog.get_logger().info(f"sent PVEAPIToken=drover@pve!main={TOKEN}"),
    "as a value": lambda: structlog.get_logger().info("sent", header=f"PVEAPIToken=drover@pve!main={TOKEN}"),
    "under a telling key": lambda: structlog.get_logger().info("sent", token_secret=TOKEN, password=PASSWORD),
    "nested": lambda: structlog.get_logger().info("sent", request={"headers": {"authorization": TOKEN, "x": [TOKEN]}}),
    "in an object": lambda: structlog.get_logger().info("sent", session=Session()),
    "bound": lambda: structlog.get_logger().bind(secret=TOKEN).warning("sent"),
    "in a traceback": lambda: fail_with(f"401 for {Session()} {PASSWORD}"),
    "by urllib3": lambda: logging.getLogger("urllib3.connectionpool").debug(
        "send: %s", f"Authorization: Bearer {TOKEN}"
    ),
    "by proxmoxer": lambda: logging.getLogger("proxmoxer.core").warning(
        "PVEAuthCookie=PVE:drover@pve:65A1B2C3::%s", TOKEN
    ),
    "as an argument": lambda: logging.getLogger("aiohttp.server").error(
        "bad %r", {"password": PASSWORD, "token": TOKEN}
    ),
    "as a warning": warn,
}


@pytest.mark.parametrize("plant", PLANTS)
def test_no_secret_is_in_any_line(form: str, plant: str) -> None:
    stream = configured(form)
    PLANTS[plant]()
    written = stream.getvalue()
    assert written
    for secret in (TOKEN, PASSWORD, json.dumps(PASSWORD)[1:-1], repr(PASSWORD)[1:-1]):
        assert secret not in written


SHAPED = {
    "in the event": PLANTS["in the event"],
    "as a value": PLANTS["as a value"],
    "under a telling key": PLANTS["under a telling key"],
    "in an object": PLANTS["in an object"],
    "bound": PLANTS["bound"],
    "by urllib3": PLANTS["by urllib3"],
    "by proxmoxer": PLANTS["by proxmoxer"],
}


@pytest.mark.parametrize("plant", SHAPED)
def test_what_looks_like_a_credential_is_hidden_even_when_nobody_told_it_is_one(form: str, plant: str) -> None:
    stream = configured(form, secrets=())
    SHAPED[plant]()
    assert stream.getvalue()
    assert TOKEN not in stream.getvalue()


@pytest.mark.parametrize(
    "key", ["secret", "token_secret", "Authorization", "cookie", "ticket", "CSRFPreventionToken", "api_key"]
)
def test_a_value_under_a_telling_key_is_hidden_at_any_depth(form: str, key: str) -> None:
    stream = configured(form, secrets=())
    odd = "hunter2 and\ttwo"
    structlog.get_logger().info("sent", **{key: odd})
    structlog.get_logger().info("sent", request={"headers": {key: odd}, "parts": [{key: odd}]}, vmid=101)
    assert "hunter2" not in stream.getvalue()
    assert "101" in stream.getvalue()


def test_who_logged_in_may_be_read() -> None:
    stream = configured()
    PLANTS["in the event"]()
    assert "drover@pve!main=****" in stream.getvalue()


def test_a_line_is_json_with_time_level_cluster_and_tick() -> None:
    stream = configured()
    with log.about(cluster="lab", tick=7):
        structlog.get_logger("controller.loop").info("move started", vmid=101, source="pve1", target="pve2")
        logging.getLogger("proxmoxer.core").warning("slow answer")
    structlog.get_logger("controller.loop").info("later")
    first, second, third = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first == {
        "timestamp": "2027-01-15T08:00:00.250000Z",
        "level": "info",
        "logger": "controller.loop",
        "cluster": "lab",
        "tick": 7,
        "message": "move started",
        "vmid": 101,
        "source": "pve1",
        "target": "pve2",
    }
    assert (second["message"], second["cluster"], second["tick"]) == ("slow answer", "lab", 7)
    assert "cluster" not in third


def test_without_a_terminal_auto_means_json_and_the_console_form_is_for_people() -> None:
    automatic = configured("auto")
    structlog.get_logger().info("started", address="x")
    assert json.loads(automatic.getvalue())["message"] == "started"
    console = configured("console")
    structlog.get_logger().info("started", address="x")
    assert console.getvalue().startswith("08:00:00")
    assert "\x1b[" not in console.getvalue()


def test_levels_are_kept_and_libraries_do_not_tell_of_every_request() -> None:
    stream = configured(level="info")
    structlog.get_logger().debug("too much")
    logging.getLogger("urllib3.connectionpool").info("starting new connection")
    logging.getLogger("aiohttp.access").info("GET /metrics")
    assert stream.getvalue() == ""
    logging.getLogger("urllib3.connectionpool").warning("retrying")
    assert json.loads(stream.getvalue())["message"] == "retrying"


def test_a_line_that_cannot_be_written_harms_nobody_and_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    stream = configured()
    two_for_one = "two %s %s"
    logging.getLogger("proxmoxer").error(two_for_one, TOKEN)
    stream.close()
    structlog.get_logger().error("the pipe is gone", secret=TOKEN)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_without_a_clock_the_time_is_the_records() -> None:
    stream = io.StringIO()
    log.configure(LogSettings(format="json"), stream=stream)
    record = logging.LogRecord("x", logging.INFO, "f", 1, "hello", (), None)
    record.created = 1_700_000_000.0
    logging.getLogger().handle(record)
    assert json.loads(stream.getvalue())["timestamp"] == "2023-11-14T22:13:20.000000Z"
