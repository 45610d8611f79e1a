"""The stream of events: what is there, what comes, and a reader that outlives the daemon."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from controller.model.event import Event, EventType
from controller.model.ids import ObjectRef
from controller.report import http
from controller.report.board import Board
from controller.report.event_watch import wanted
from controller.report.store import Store
from controller.settings import HttpSettings
from tests.report import scene

Told = list[tuple[str, str, int]]


def event(message: str, at: float) -> Event:
    return Event(EventType.WARNING, "MoveFailed", ObjectRef("Guest", "999"), message, at, at)


def publish(board: Board, store: Store) -> None:
    [shown] = [shown for shown in board.clusters.values() if shown.store is not None]
    board.publish(shown.view, shown.specs, shown.statuses, store)


async def until_bookmark(stream: aiohttp.StreamReader) -> Told:
    told: Told = []
    while True:
        line = json.loads(await stream.readline())
        if line["type"] == "BOOKMARK":
            return told
        told.append(one(line))


def one(line: dict[str, dict[str, str]]) -> tuple[str, str, int]:
    return str(line["type"]), line["object"]["message"], int(line["object"]["count"])


def test_a_watch_tells_what_is_there_and_then_each_change_once(tmp_path: Path) -> None:
    async def run() -> None:
        store = scene.store(tmp_path)
        board, metrics = scene.board(store=store)
        server = await http.serve(board, metrics, HttpSettings(port=0))
        at = board.clock.wall()
        address = f"{server.address}{http.API}/events?watch=1&about=Guest/999"
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            assert await until_bookmark(answer.content) == []
            store.record_event(event("no route", at))
            publish(board, store)
            assert one(json.loads(await answer.content.readline())) == ("ADDED", "no route", 1)
            publish(board, store)
            store.record_event(event("no route", at + 1), event("disk full", at + 2))
            publish(board, store)
            assert one(json.loads(await answer.content.readline())) == ("MODIFIED", "no route", 2)
            assert one(json.loads(await answer.content.readline())) == ("ADDED", "disk full", 1)
            await server.close()
            assert await answer.content.read() == b""
        store.close()

    asyncio.run(run())


def test_only_events_can_be_watched_this_way(tmp_path: Path) -> None:
    async def run() -> None:
        board, metrics = scene.board()
        server = await http.serve(board, metrics, HttpSettings(port=0))
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{server.address}{http.API}/guests?watch=1") as answer,
        ):
            assert answer.status == 400
        await server.close()

    asyncio.run(run())


@pytest.mark.parametrize("query", [{"since": "-5m"}, {"since": "5 m"}, {"type": "Bad"}])
def test_a_filter_that_makes_no_sense_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(web.HTTPBadRequest):
        wanted(query, 1000.0)


def test_since_is_an_age_or_a_time() -> None:
    assert wanted({"since": "15m"}, 1000.0).since == 100.0
    assert wanted({"since": "1970-01-01T00:01:00Z"}, 1000.0).since == 60.0


def test_drover_events_w_goes_on_across_a_restart_and_repeats_nothing(tmp_path: Path) -> None:
    async def run() -> list[str]:
        store = scene.store(tmp_path)
        board, metrics = scene.board(store=store)
        at = board.clock.wall()
        server = await http.serve(board, metrics, HttpSettings(port=0))
        port = int(server.address.rpartition(":")[2])
        reader = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controller", "events", "-w", "--server", server.address),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "DROVER_CONFIG": os.devnull, "PYTHONUNBUFFERED": "1"},
        )
        assert reader.stdout is not None
        lines = [(await reader.stdout.readline()).decode() for _ in range(4)]
        store.record_event(event("before the restart", at))
        publish(board, store)
        lines.append((await reader.stdout.readline()).decode())
        await server.close()
        store.record_event(event("while nobody served", at + 1))
        server = await http.serve(board, metrics, HttpSettings(port=port))
        lines.append((await reader.stdout.readline()).decode())
        reader.terminate()
        assert await reader.stdout.read() == b""
        await reader.wait()
        await server.close()
        store.close()
        return lines

    lines = asyncio.run(run())
    assert lines[0].split() == ["AT", "TYPE", "REASON", "ABOUT", "TIMES", "MESSAGE"]
    assert [line.split()[2] for line in lines[1:4]] == ["InvalidManifest", "MoveFailed", "MoveSucceeded"]
    assert [line.split(maxsplit=5)[3:] for line in lines[4:]] == [
        ["Guest/999", "1", "before the restart\n"],
        ["Guest/999", "1", "while nobody served\n"],
    ]
