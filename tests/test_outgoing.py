"""The outgoing client against real TLS servers on loopback: what it makes of good, slow, rude and wandering ones."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.outgoing import ANSWER_BYTES, Answer, Later, Ok, Refused, get, post, shown
from controller.settings import Secret, Target
from tests.pve.https import Asked, Script, Server, Writer, answer, drip, half, reset, response, serving, silence

PATH = "/services/T0SECRET/pl4nted-in-url?key=query-secret"
TOKEN = "planted-token"


def target(server: Server, *, seconds: float = 5.0, path: str = PATH) -> Target:
    return Target(Secret(server.url + path), token=Secret(TOKEN), ca_file=server.ca_file, timeout_seconds=seconds)


def ask(script: Script, folder: Path, *, seconds: float = 5.0) -> tuple[Answer, Server]:
    async def run() -> tuple[Answer, Server]:
        async with serving(script, folder) as server:
            return await post(target(server, seconds=seconds), {"a": "ü"}), server

    return asyncio.run(run())


def test_json_goes_out_with_the_token_and_the_answer_comes_back(tmp_path: Path) -> None:
    told, server = ask(answer(201, "Created", {"id": 7}), tmp_path)
    assert isinstance(told, Ok)
    assert (told.status, told.data()) == (201, {"id": 7})
    [asked] = server.asked
    assert (asked.method, asked.target, json.loads(asked.body)) == ("POST", PATH, {"a": "ü"})
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["content-type"] == "application/json"


def test_an_answer_that_is_no_json_is_no_data(tmp_path: Path) -> None:
    told, _ = ask(answer(200, "OK", b"<html>"), tmp_path)
    assert isinstance(told, Ok)
    assert told.data() is None


@pytest.mark.parametrize("script", [silence, drip])
def test_a_server_that_hangs_or_drips_is_left_at_the_deadline_and_may_have_taken_it(
    script: Script, tmp_path: Path
) -> None:
    told, server = ask(script, tmp_path, seconds=0.3)
    assert told == Later(f"{server.url} did not answer within 0.3 s", sent=True)


@pytest.mark.parametrize("script", [reset, half])
def test_a_server_that_breaks_off_may_have_taken_it(script: Script, tmp_path: Path) -> None:
    told, server = ask(script, tmp_path)
    assert isinstance(told, Later)
    assert told.sent
    assert told.message.startswith(f"{server.url} broke off")


def test_a_server_that_is_not_there_has_taken_nothing(tmp_path: Path) -> None:
    async def run() -> tuple[Answer, Server]:
        async with serving(silence, tmp_path) as server:
            pass
        return await post(target(server), {}), server

    told, server = asyncio.run(run())
    assert told == Later(f"{server.url} can't be reached: Connect call failed", sent=False) or (
        isinstance(told, Later) and not told.sent and server.url in told.message
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (("Retry-After: 17",), 17.0),
        (("Date: Mon, 23 Nov 2026 12:00:00 GMT", "Retry-After: Mon, 23 Nov 2026 12:01:30 GMT"), 90.0),
        (("Retry-After: 99999999",), 3600.0),
        (("Retry-After: soon",), None),
        ((), None),
    ],
)
def test_429_waits_as_long_as_it_says(headers: tuple[str, ...], seconds: float | None, tmp_path: Path) -> None:
    told, server = ask(answer(429, "Too Many Requests", {"message": "slow down"}, *headers), tmp_path)
    assert told == Later(f"{server.url} answers 429: slow down", sent=False, after_seconds=seconds)


def test_503_is_tried_again_and_404_is_not(tmp_path: Path) -> None:
    assert isinstance(ask(answer(503, "Unavailable", b""), tmp_path)[0], Later)
    told, server = ask(answer(404, "Not Found", b"no such hook\n"), tmp_path)
    assert told == Refused(f"{server.url} answers 404: no such hook", 404)


def test_an_endless_answer_is_cut(tmp_path: Path) -> None:
    async def endless(asked: Asked, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
        while not writer.transport.is_closing():
            writer.write(b"x" * 65536)
            await writer.drain()

    told, _ = ask(endless, tmp_path)
    assert isinstance(told, Ok)
    assert len(told.body) == ANSWER_BYTES


def moved(status: int, to: str) -> Script:
    async def script(asked: Asked, writer: Writer) -> None:
        done = asked.target == "/new"
        writer.write(response(200, "OK", b"{}") if done else response(status, "Moved", b"", f"Location: {to}"))

    return script


def test_a_redirect_within_the_host_keeps_method_body_and_token(tmp_path: Path) -> None:
    told, server = ask(moved(307, "/new"), tmp_path)
    assert isinstance(told, Ok)
    assert [(one.method, one.target, one.body) for one in server.asked] == [
        ("POST", path, '{"a":"ü"}') for path in (PATH, "/new")
    ]


def test_a_redirect_that_would_turn_post_into_get_is_refused(tmp_path: Path) -> None:
    told, server = ask(moved(302, "/new"), tmp_path)
    assert told == Refused(f"{server.url} redirects; name the right address", 302)


def test_a_redirect_in_a_circle_ends(tmp_path: Path) -> None:
    told, server = ask(moved(308, PATH), tmp_path)
    assert told == Refused(f"{server.url} redirects without end")
    assert len(server.asked) == 4


def test_no_redirect_carries_anything_to_another_host(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(answer(200, "OK", {}), tmp_path) as other:
            for place in (f"{other.url}/steal?a=b", "http://127.0.0.1/steal"):
                async with serving(moved(307, place), tmp_path) as server:
                    told = await get(target(server))
                    assert isinstance(told, Refused)
                    assert "steal" not in told.message
            assert other.asked == []

    asyncio.run(run())


def test_a_certificate_nobody_vouches_for_gets_no_byte(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(answer(200, "OK", {}), tmp_path) as server:
            told = await post(replace(target(server), ca_file=None), {})
            assert isinstance(told, Refused)
            assert told.message.startswith(f"the certificate of {server.url} is not trusted: ")
            assert "caFile" in told.message
            assert server.asked == []

    asyncio.run(run())


def test_a_certificate_of_another_host_gets_no_byte(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(answer(200, "OK", {}), tmp_path, host="elsewhere.example") as server:
            told = await post(target(server), {})
            assert isinstance(told, Refused)
            assert server.asked == []

    asyncio.run(run())


def test_a_ca_file_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("nothing")
    where = Target(Secret("https://127.0.0.1:1/x"), ca_file=tmp_path / "empty")
    assert asyncio.run(get(where)) == Refused(f"caFile {tmp_path}/empty holds no certificate in PEM")
    gone = replace(where, ca_file=tmp_path / "gone")
    assert asyncio.run(get(gone)) == Refused(f"caFile {tmp_path}/gone can't be read: No such file or directory")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://hooks.example/x", "http://hooks.example is not encrypted; use https:// (http:// is for this machine"),
        ("ftp://hooks.example/x", "the address is no https:// URL"),
        ("https:///x", "the address is no"),
        ("https://a:99999999/x", "the address is not a URL"),
    ],
)
def test_addresses_that_secrets_must_not_go_to(url: str, words: str) -> None:
    told = asyncio.run(get(Target(Secret(url))))
    assert isinstance(told, Refused)
    assert told.message.startswith(words)


def test_a_signed_message_can_be_checked_by_its_receiver(tmp_path: Path) -> None:
    raw = b"sixteen byte key"
    key = Secret("whsec_" + base64.b64encode(raw).decode())

    async def run() -> Asked:
        async with serving(answer(200, "OK", {}), tmp_path) as server:
            await post(replace(target(server), signing_key=key), {"n": 1}, message_id="m1", at=1795000000.9)
            return server.asked[0]

    asked = asyncio.run(run())
    assert (asked.headers["webhook-id"], asked.headers["webhook-timestamp"]) == ("m1", "1795000000")
    expected = hmac.new(raw, b'm1.1795000000.{"n":1}', hashlib.sha256).digest()
    assert asked.headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()


async def _everything_a_server_can_do(folder: Path) -> AsyncIterator[Answer]:
    async def parrot(asked: Asked, writer: Writer) -> None:
        words = f"{asked.target} {asked.headers}"
        writer.write(response(400, "Bad", words.encode()))

    async def json_parrot(asked: Asked, writer: Writer) -> None:
        words = json.dumps({"message": f"{asked.target} {asked.headers['authorization']}"})
        writer.write(response(500, "Bad", words.encode()))

    with_user = "https://us3r-name:p4ssword@"
    for script in (parrot, json_parrot, reset, half, silence, moved(301, f"https://x.example{PATH}")):
        async with serving(script, folder) as server:
            where = target(server, seconds=0.3)
            yield await post(where, {})
            url = where.url.reveal().replace("https://", with_user)
            yield await get(replace(where, token=None, url=Secret(url)))
    async with serving(silence, folder) as server:
        gone = target(server)
    yield await get(gone)
    yield await get(replace(gone, token=Secret("planted-token\r\nX: y")))
    yield await get(replace(gone, url=Secret(f"{with_user}[::bad/pl4nted-in-url")))


def test_no_result_ever_holds_a_secret(tmp_path: Path) -> None:
    async def run() -> list[Answer]:
        return [told async for told in _everything_a_server_can_do(tmp_path)]

    answers = asyncio.run(run())
    assert len(answers) == 15
    basic = base64.b64encode(b"us3r-name:p4ssword").decode()
    for told in answers:
        assert not isinstance(told, Ok)
        for planted in ("T0SECRET", "pl4nted", "query-secret", TOKEN, "p4ssword", "us3r-name", basic):
            assert planted not in repr(told), told


def test_a_target_shows_its_host_alone(tmp_path: Path) -> None:
    where = Target(Secret("https://user:word@hooks.example:8443/services/abc?x=y"))
    assert shown(where) == "https://hooks.example:8443"
    assert "abc" not in repr(where)


def test_the_proxy_of_the_environment_is_asked_but_not_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        asked: list[bytes] = []

        async def proxy(reader: asyncio.StreamReader, writer: Writer) -> None:
            asked.append(await reader.readline())
            writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
        async with listening, serving(answer(200, "OK", {}), tmp_path) as server:
            port = listening.sockets[0].getsockname()[1]
            monkeypatch.setenv("https_proxy", f"http://proxy-user:proxy-word@127.0.0.1:{port}")
            monkeypatch.delenv("no_proxy", raising=False)
            told = await get(Target(Secret("https://hooks.example/x")))
            assert told == Later("the proxy before https://hooks.example does not let it through", sent=False)
            assert asked == [b"CONNECT hooks.example:443 HTTP/1.1\r\n"]
            assert isinstance(await get(target(server)), Ok)
            assert len(asked) == 1

    asyncio.run(run())
