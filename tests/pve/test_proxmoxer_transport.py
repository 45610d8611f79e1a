"""The transport against real TLS servers that misbehave in every way proxmoxer was measured to stumble over."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller.pve.proxmoxer_transport import ProxmoxerTransport, TlsOptions, TokenAuth
from controller.pve.transport import HttpFailure, Json, Params
from tests.pve import https
from tests.pve.https import Asked, Script, Server, Writer

AUTH = TokenAuth("drover@pve!loop", "0c5e7c33-secret")


def _bundle(servers: Sequence[Server]) -> Path | None:
    """One file with the authorities of all servers that have one."""
    files = [server.ca_file for server in servers if server.ca_file.is_file()]
    if not files:
        return None
    bundle = files[0].with_name("bundle.pem")
    bundle.write_bytes(b"".join(file.read_bytes() for file in files))
    return bundle


@asynccontextmanager
async def connected(
    *servers: Server, tls: TlsOptions | None = None, **options: float
) -> AsyncIterator[ProxmoxerTransport]:
    tls = tls or TlsOptions(ca_file=_bundle(servers))
    transport = ProxmoxerTransport([server.url for server in servers], AUTH, tls, **options)  # type: ignore[arg-type]  # any of several
    try:
        yield transport
    finally:
        transport.close()


async def failure_of(call: Awaitable[Json]) -> HttpFailure:
    with pytest.raises(HttpFailure) as caught:
        await call
    return caught.value


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await body()

    asyncio.run(bounded())


def test_a_read_is_a_get_with_the_token_and_parameters_as_pve_wants_them(tmp_path: Path) -> None:
    async def body() -> None:
        async with https.serving(https.data([1]), tmp_path) as server, connected(server) as pve:
            assert await pve.get("/nodes/pve1/tasks", {"source": "all", "errors": False, "limit": 5}) == [1]
            asked = server.asked[0]
            assert (asked.method, asked.target) == ("GET", "/api2/json/nodes/pve1/tasks?source=all&errors=0&limit=5")
            assert asked.headers["authorization"] == "PVEAPIToken=drover@pve!loop=0c5e7c33-secret"
            assert "content-length" not in asked.headers

    run(body)


def test_a_change_sends_form_data_booleans_as_digits_and_sequences_as_repeated_keys(tmp_path: Path) -> None:
    async def body() -> None:
        async with https.serving(https.data("UPID:x"), tmp_path) as server, connected(server) as pve:
            params: Params = {"target": "pve2", "online": True, "with-local-disks": False, "vms": ["100", "101"]}
            assert await pve.post("/nodes/pve1/qemu/100/migrate", params) == "UPID:x"
            await pve.put("/cluster/options", {"migration": "type=secure,network=10.0.0.0/24"})
            await pve.delete("/cluster/replication/100-0", {"force": True})
            post, put, delete = server.asked
            assert post.body == "target=pve2&online=1&with-local-disks=0&vms=100&vms=101"
            assert put.body == "migration=type%3Dsecure%2Cnetwork%3D10.0.0.0%2F24"
            assert (delete.target, delete.body) == ("/api2/json/cluster/replication/100-0?force=1", "")
            assert delete.headers.get("content-length", "0") == "0"

    run(body)


def test_a_task_id_in_a_path_arrives_as_it_is(tmp_path: Path) -> None:
    upid = "UPID:pve1:0000025F:000881C0:6B038F4F:qmigrate:161:bot@pve!drs:"

    async def body() -> None:
        async with https.serving(https.data({}), tmp_path) as server, connected(server) as pve:
            await pve.get(f"/nodes/pve1/tasks/{upid}/status")
            assert server.asked[0].target == f"/api2/json/nodes/pve1/tasks/{upid}/status"

    run(body)


REFUSALS = [
    # what the server says                                                status, reason, message, errors
    (
        https.answer(500, "VM is locked (migrate)", {"data": None, "message": "VM is locked (migrate)\n"}),
        (500, "VM is locked (migrate)", "VM is locked (migrate)\n", {}),
    ),
    (  # PVE 7.4: only the reason phrase
        https.answer(500, "no such cluster node 'pve9'", {"data": None}),
        (500, "no such cluster node 'pve9'", "", {}),
    ),
    (
        https.answer(
            400,
            "Parameter verification failed.",
            {
                "data": None,
                "message": "Parameter verification failed.\n",
                "errors": {"target": "target is local node."},
            },
        ),
        (
            400,
            "Parameter verification failed.",
            "Parameter verification failed.\n",
            {"target": "target is local node."},
        ),
    ),
    (https.answer(401, "No ticket", None), (401, "No ticket", "", {})),
    (https.answer(595, "No route to host", None), (595, "No route to host", "", {})),
    (https.answer(596, "Connection timed out", b"text"), (596, "Connection timed out", "", {})),
    (https.answer(500, "list", [1, 2]), (500, "list", "", {})),
    (https.answer(500, "", b"\xff\xfe"), (500, "Internal Server Error", "", {})),
    (
        https.answer(501, "Method 'GET /x' not implemented", {"data": None, "message": "m"}),
        (501, "Method 'GET /x' not implemented", "m", {}),
    ),
    (https.answer(500, "odd", {"data": None, "message": ["x"], "errors": "y"}), (500, "odd", "", {})),
]


@pytest.mark.parametrize(("script", "expected"), REFUSALS)
def test_every_refusal_arrives_with_status_reason_message_and_errors(
    script: Script, expected: tuple[int, str, str, dict[str, str]], tmp_path: Path
) -> None:
    async def body() -> None:
        async with https.serving(script, tmp_path) as server, connected(server) as pve:
            for call in (pve.get("/version"), pve.post("/x")):
                failure = await failure_of(call)
                assert (failure.status, failure.reason, failure.message, dict(failure.errors)) == expected
                assert failure.endpoint == server.name
                assert failure.delivered
                assert not failure.tls

    run(body)


NOT_AN_API = [
    https.answer(200, "OK", b"<html>login</html>"),
    https.answer(200, "OK", {"success": 1}),
    https.answer(200, "OK", [1]),
    https.answer(200, "OK", None),
    https.answer(200, "OK", {"data": 1, "errors": {"a": "b"}}),
    https.answer(200, "OK", b"[" * 100_000),
    https.answer(302, "Found", None, "Location: https://127.0.0.1:1/login"),
    https.answer(304, "Not Modified", None),
    https.answer(204, "No Content", None),
]


@pytest.mark.parametrize("script", NOT_AN_API)
def test_what_no_pve_says_is_never_a_success(script: Script, tmp_path: Path) -> None:
    async def body() -> None:
        async with https.serving(script, tmp_path) as server, connected(server) as pve:
            for call in (pve.get("/version"), pve.post("/x")):
                failure = await failure_of(call)
                assert failure.status is not None
                assert failure.status < 400
                assert failure.delivered

    run(body)


@pytest.mark.parametrize("script", [https.reset, https.half])
def test_a_connection_that_breaks_after_the_request_leaves_a_change_undecided(script: Script, tmp_path: Path) -> None:
    async def body() -> None:
        async with https.serving(script, tmp_path) as server, connected(server) as pve:
            failure = await failure_of(pve.post("/nodes/pve1/qemu/100/migrate"))
            assert (failure.status, failure.delivered) == (None, True)
            assert len(server.asked) == 1

    run(body)


async def the_threads_end() -> None:
    """Bounded by `run`: a thread that stays behind fails the test."""
    for thread in threading.enumerate():
        if thread.name.startswith("pve"):
            await asyncio.to_thread(thread.join)


@pytest.mark.parametrize("script", [https.drip, https.silence])
def test_the_deadline_is_total_and_frees_the_thread(script: Script, tmp_path: Path) -> None:
    async def body() -> None:
        async with https.serving(script, tmp_path) as server:
            async with connected(server, deadline_seconds=1.0) as pve:
                began = time.monotonic()
                failure = await failure_of(pve.post("/nodes/pve1/qemu/100/migrate"))
                assert time.monotonic() - began < 5
                assert (failure.status, failure.delivered) == (None, True)
                assert "within 1 s" in failure.reason
            await the_threads_end()

    run(body)


def test_a_call_that_is_cancelled_frees_its_thread(tmp_path: Path) -> None:
    async def body() -> None:
        async with https.serving(https.silence, tmp_path) as server, connected(server) as pve:
            call = asyncio.ensure_future(pve.get("/version"))
            await server.arrived.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            pve.close()
            await the_threads_end()

    run(body)


def test_a_change_that_waited_for_a_worker_until_the_deadline_was_not_delivered(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            https.serving(https.silence, tmp_path) as server,
            connected(server, workers=1, deadline_seconds=0.5) as pve,
        ):
            # Not by another call: when its deadline passes, its worker is free a moment before the deadline of this one.
            busy = threading.Event()
            pve._threads.submit(busy.wait)
            try:
                assert not (await failure_of(pve.post("/waiting"))).delivered
            finally:
                busy.set()
            assert server.asked == []

    run(body)


def test_workers_bound_how_many_calls_run_at_the_same_time(tmp_path: Path) -> None:
    running, most = 0, 0

    async def slow(asked: Asked, writer: Writer) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        await https.data(None)(asked, writer)

    async def body() -> None:
        async with https.serving(slow, tmp_path) as server, connected(server, workers=3) as pve:
            await asyncio.gather(*(pve.get(f"/x/{number}") for number in range(12)))
            assert most == 3
            assert server.connections == 3

    run(body)


def test_reads_keep_their_connection_and_every_change_opens_its_own(tmp_path: Path) -> None:
    async def body() -> None:
        async with https.serving(https.data(None), tmp_path) as server, connected(server) as pve:
            for _ in range(3):
                await pve.get("/version")
            assert server.connections == 1
            for _ in range(2):
                await pve.post("/x")
            assert server.connections == 3

    run(body)


def test_a_read_on_a_connection_that_had_just_been_closed_is_repeated(tmp_path: Path) -> None:
    async def second_request_dies(asked: Asked, writer: Writer) -> None:
        if len(times) == 1:
            times.append(1)
            await https.reset(asked, writer)
            return
        times.append(1)
        await https.data(len(times))(asked, writer)

    times: list[int] = []

    async def body() -> None:
        async with https.serving(second_request_dies, tmp_path) as server, connected(server) as pve:
            assert await pve.get("/version") == 1
            assert await pve.get("/version") == 3

    run(body)


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_the_right_authority_and_the_right_fingerprint_are_accepted(tmp_path: Path) -> None:
    async def body() -> None:
        async with https.serving(https.data(1), tmp_path) as server:
            colons = ":".join(server.fingerprint.upper()[i : i + 2] for i in range(0, 64, 2))
            for tls in (
                TlsOptions(ca_file=server.ca_file),
                TlsOptions(fingerprint_sha256=server.fingerprint),
                TlsOptions(fingerprint_sha256=colons),
                TlsOptions(ca_file=server.ca_file, fingerprint_sha256=server.fingerprint),
                TlsOptions(insecure=True),
            ):
                async with connected(server, tls=tls) as pve:
                    assert await pve.get("/version") == 1

    run(body)


def test_a_wrong_certificate_gets_neither_request_nor_token(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            https.serving(https.data(1), tmp_path) as server,
            https.serving(https.data(1), tmp_path) as other,
            https.serving(https.data(1), tmp_path, host="pve1.example") as misnamed,
        ):
            wrong = [
                (server, TlsOptions(), "certificate verify failed"),
                (server, TlsOptions(ca_file=other.ca_file), "certificate verify failed"),
                (server, TlsOptions(fingerprint_sha256=other.fingerprint), server.fingerprint),
                (server, TlsOptions(fingerprint_sha256=other.fingerprint, insecure=True), server.fingerprint),
                (server, TlsOptions(ca_file=other.ca_file, fingerprint_sha256=server.fingerprint), "verify failed"),
                (server, TlsOptions(ca_file=tmp_path / "missing.pem"), "missing.pem"),
                (misnamed, TlsOptions(ca_file=misnamed.ca_file), "127.0.0.1"),
            ]
            for asked, tls, said in wrong:
                async with connected(asked, tls=tls) as pve:
                    for call in (pve.get("/version"), pve.post("/x")):
                        failure = await failure_of(call)
                        assert (failure.status, failure.delivered, failure.tls) == (None, False, True), tls
                        assert said in failure.reason
                        assert " at 0x" not in failure.reason
            assert server.asked == misnamed.asked == []

    run(body)


def test_the_environment_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with https.serving(https.data(1), tmp_path) as server, https.serving(https.data(1), tmp_path) as other:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
            monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
            async with connected(server, tls=TlsOptions(ca_file=other.ca_file)) as pve:
                assert (await failure_of(pve.get("/version"))).tls
            async with connected(server, tls=TlsOptions(ca_file=server.ca_file)) as pve:
                assert await pve.get("/version") == 1

    run(body)


# --- endpoints ------------------------------------------------------------------------------------------------------


def _dead() -> Server:
    return Server(https.dead_port(), Path(), "")


def test_a_dead_endpoint_is_passed_over_and_not_asked_first_again(tmp_path: Path) -> None:
    async def body() -> None:
        async with https.serving(https.data(1), tmp_path) as server, connected(_dead(), server) as pve:
            assert await pve.post("/x") == 1  # refused is certainly not delivered: a change may go on as well
            assert await pve.get("/version") == 1
            assert len(server.asked) == 2

    run(body)


def test_a_change_that_may_have_arrived_is_not_sent_to_another_endpoint(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            https.serving(https.reset, tmp_path) as broken,
            https.serving(https.data(1), tmp_path) as server,
            connected(broken, server) as pve,
        ):
            failure = await failure_of(pve.post("/x"))
            assert (failure.delivered, failure.endpoint) == (True, broken.name)
            assert server.asked == []
            assert await pve.post("/x") == 1  # but the next one goes there first

    run(body)


@pytest.mark.parametrize("script", [https.reset, *NOT_AN_API, https.answer(502, "Bad Gateway", b"<html>")])
def test_a_read_goes_on_to_the_next_endpoint(script: Script, tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            https.serving(script, tmp_path) as broken,
            https.serving(https.data(1), tmp_path) as server,
            connected(broken, server) as pve,
        ):
            assert await pve.get("/version") == 1
            assert await pve.get("/version") == 1
            assert len(broken.asked) == 1

    run(body)


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "VM is locked (backup)"), (403, "no"), (595, "No route to host"), (501, "?")]
)
def test_a_refusal_by_pve_is_not_asked_for_again_elsewhere(status: int, reason: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            https.serving(https.answer(status, reason, None), tmp_path) as first,
            https.serving(https.data(1), tmp_path) as second,
            connected(first, second) as pve,
        ):
            assert (await failure_of(pve.get("/x"))).status == status
            assert second.asked == []

    run(body)


def test_after_a_401_another_endpoint_is_tried_next_time(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            https.serving(https.answer(401, "Authentication failed!", None), tmp_path) as first,
            https.serving(https.data(1), tmp_path) as second,
            connected(first, second) as pve,
        ):
            assert (await failure_of(pve.get("/x"))).status == 401
            assert await pve.get("/x") == 1

    run(body)


def test_nobody_there_says_so_and_what_was_wrong_with_tls_wins(tmp_path: Path) -> None:
    async def body() -> None:
        async with connected(_dead(), _dead()) as pve:
            failure = await failure_of(pve.post("/x"))
            assert (failure.status, failure.delivered, failure.tls) == (None, False, False)
            assert failure.reason == "Connection refused"
        async with (
            https.serving(https.data(1), tmp_path) as server,
            connected(server, _dead(), tls=TlsOptions(fingerprint_sha256="ab" * 32)) as pve,
        ):
            assert (await failure_of(pve.get("/x"))).tls

    run(body)


def _status(quorate: object) -> Script:
    return https.data([{"type": "cluster", "name": "one", "quorate": quorate}, {"type": "node", "name": "pve1"}])


@pytest.mark.parametrize("no", [0, "0", ""])
def test_a_quorate_endpoint_is_preferred(no: object, tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            https.serving(_status(no), tmp_path) as lonely,
            https.serving(_status(1), tmp_path) as quorate,
            connected(lonely, _dead(), quorate) as pve,
        ):
            answer = await pve.get("/cluster/status")
            assert isinstance(answer, list)
            assert isinstance(answer[0], dict)
            assert answer[0]["quorate"] == 1
            await pve.get("/cluster/resources")
            assert [asked.target for asked in lonely.asked] == ["/api2/json/cluster/status"]
            assert len(quorate.asked) == 2

    run(body)


def test_without_any_quorate_endpoint_the_others_are_not_asked_each_time(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            https.serving(_status(0), tmp_path) as first,
            https.serving(_status(0), tmp_path) as second,
            connected(first, second) as pve,
        ):
            for _ in range(3):
                await pve.get("/cluster/status")
            assert (len(first.asked), len(second.asked)) == (3, 1)

    run(body)


# --- secrets and addresses ------------------------------------------------------------------------------------------


def test_the_secret_is_in_no_representation_and_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        async with https.serving(https.answer(401, "Authentication failed!", None), tmp_path) as server:
            async with connected(server, _dead()) as pve:
                failures = [await failure_of(pve.get("/version")), await failure_of(pve.post("/x", {"a": "b"}))]
            shown = repr(AUTH) + repr(pve) + "".join(repr(f) + str(vars(f)) for f in failures) + caplog.text
            assert AUTH.secret not in shown

    with caplog.at_level("DEBUG"):
        run(body)


@pytest.mark.parametrize("url", ["http://pve1:8006", "https://", "ftp://x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https://pve1"):
        ProxmoxerTransport([url], AUTH, TlsOptions())


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://pve1", "pve1:8006"),
        ("pve1:443", "pve1:443"),
        ("https://[::1]:9", "[::1]:9"),
        ("https://pve1:8006/", "pve1:8006"),
    ],
)
def test_scheme_and_port_may_be_left_out(url: str, name: str) -> None:
    transport = ProxmoxerTransport([url], AUTH, TlsOptions())
    assert list(transport._servers) == [name]
    transport.close()
