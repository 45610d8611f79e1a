"""The webhook of the source: wakes it for whoever knows the secret, and does nothing else for anybody."""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from io import BytesIO

import aiohttp
import pytest

from controller.report import http, wake_up
from controller.report.wake_up import WakeUp
from controller.settings import HttpSettings, Secret, WakeUpSettings
from tests.report import scene
from tests.report.scene import NOW

SECRET = "correct-horse-battery"
BODY = b'{"ref": "refs/heads/main", "commits": ["; rm -rf /"]}'
Knock = Callable[..., Awaitable[int]]


def signed(body: bytes = BODY, secret: str = SECRET) -> str:
    return hmac.digest(secret.encode(), body, hashlib.sha256).hex()


def knock(kind: str, talk: Callable[[Knock], Awaitable[None]]) -> tuple[int, Callable[[str], float | None]]:
    """Talk to a server; how often it woke the source, and what it counted."""
    woken: list[None] = []

    async def main() -> Callable[[str], float | None]:
        board, metrics = scene.board()
        door = WakeUp(WakeUpSettings(kind, Secret(SECRET)), lambda: woken.append(None), board.clock, metrics)
        server = await http.serve(board, metrics, HttpSettings(port=0), wake_up=door)
        try:
            async with aiohttp.ClientSession(server.address) as session:

                async def one(body: bytes = BODY, **headers: str) -> int:
                    named = {key.replace("_", "-"): value for key, value in headers.items()}
                    async with session.post(wake_up.PATH, data=BytesIO(body), headers=named) as answer:
                        assert SECRET not in await answer.text()
                        return answer.status

                await talk(one)
        finally:
            await server.close()
        return lambda result: metrics.registry.get_sample_value("drover_source_webhooks_total", {"result": result})

    counted = asyncio.run(main())
    return len(woken), counted


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [
        ("github", "X_Hub_Signature_256", f"sha256={signed()}"),
        ("gitea", "X_Gitea_Signature", signed()),
        ("gitea", "X_Forgejo_Signature", signed()),
        ("gitlab", "X_Gitlab_Token", SECRET),
        ("generic", "X_Drover_Signature_256", f"sha256={signed()}"),
    ],
)
def test_every_forge_is_believed_in_its_own_way_and_no_other(kind: str, header: str, value: str) -> None:
    async def talk(one: Knock) -> None:
        assert await one(**{header: value}) == 202
        assert await one() == 401
        assert await one(**{header: value[:-1] + ("0" if value[-1] != "0" else "1")}) == 401
        assert await one(**{header: "schlüssel"}) == 401
        assert await one(**{header: ""}) == 401
        assert await one(X_Other_Signature=value) == 401
        if kind != "gitlab":
            assert await one(b"{}", **{header: value}) == 401, "a signature belongs to one body"
            assert await one(**{header: value}) == 200, "the same message again wakes nobody"

    woken, counted = knock(kind, talk)
    assert woken == 1
    assert counted("Accepted") == 1
    assert counted("Refused") == (6 if kind != "gitlab" else 5)
    assert counted("Repeated") == (1 if kind != "gitlab" else 0)


def test_a_second_signature_that_is_wrong_spoils_the_message() -> None:
    async def talk(one: Knock) -> None:
        assert await one(X_Gitea_Signature=signed(), X_Hub_Signature_256="sha256=00") == 401

    assert knock("gitea", talk)[0] == 0


def test_a_time_stamp_is_part_of_what_is_signed_and_gets_old() -> None:
    def stamped(at: float) -> dict[str, str]:
        stamp = str(int(at))
        return {"X_Drover_Timestamp": stamp, "X_Drover_Signature_256": signed(stamp.encode() + b"." + BODY)}

    async def talk(one: Knock) -> None:
        assert await one(**stamped(NOW)) == 202
        assert await one(**stamped(NOW - 301)) == 401
        assert await one(**stamped(NOW + 301)) == 401
        assert await one(**{**stamped(NOW), "X_Drover_Timestamp": "now"}) == 401

    assert knock("generic", talk)[0] == 1


def test_size_and_number_are_bounded() -> None:
    async def talk(one: Knock) -> None:
        large = b"x" * (wake_up.BODY_BYTES + 1)
        assert await one(large, X_Hub_Signature_256=f"sha256={signed(large)}") == 413
        answers = [await one(b"%d" % n) for n in range(wake_up.REQUESTS_PER_MINUTE)]
        assert answers[:-1] == [401] * (len(answers) - 1)
        assert answers[-1] == 429
        assert await one(X_Hub_Signature_256=f"sha256={signed()}") == 429

    woken, counted = knock("github", talk)
    assert woken == 0
    assert counted("Limited") == 2


def test_without_the_setting_there_is_no_door_and_it_opens_to_posts_only() -> None:
    async def main() -> list[int]:
        board, metrics = scene.board()
        server = await http.serve(board, metrics, HttpSettings(port=0))
        try:
            async with aiohttp.ClientSession(server.address) as session:
                return [(await session.post(wake_up.PATH)).status, (await session.get(wake_up.PATH)).status]
        finally:
            await server.close()

    assert all(status in (404, 405) for status in asyncio.run(main()))
