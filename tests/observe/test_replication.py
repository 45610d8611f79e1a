"""How gently nodes are asked about their replication jobs: how often, how many at once, and what is kept of the answers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from controller.model.errors import DroverError, Retry
from controller.model.ids import GuestIdentity, GuestKind, NodeName, Vmid
from controller.model.observed import Guest, Power, ReplicationJob
from controller.model.reasons import Why
from controller.observe.replication import (
    EXPECTING_SECONDS,
    NODES_AT_ONCE,
    PERIOD_SECONDS,
    SIZES_AT_ONCE,
    ReplicationWatch,
)
from controller.pve.client import PveClient
from controller.pve.transport import Json, Params
from tests.report.scene import NOW, StillClock

NODES = tuple(NodeName(f"pve{number}") for number in range(1, 7))
GUESTS = {
    Vmid(100 + n): Guest(GuestIdentity(Vmid(100 + n), GuestKind.QEMU), f"g{n}", NODES[n % 6], Power.RUNNING)
    for n in range(12)
}


def job(vmid: int, **more: object) -> ReplicationJob:
    node = GUESTS[Vmid(vmid)].node
    target = next(name for name in NODES if name != node)
    return ReplicationJob(f"{vmid}-0", Vmid(vmid), target, node, "*/15", bool(more.get("disabled")), False, "")


class Answers:
    """A transport that answers from a table and writes down what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.row: dict[str, Json] = {"last_sync": int(NOW) - 60, "last_try": int(NOW) - 60, "next_sync": int(NOW) + 900}
        self.log: list[str] = []

    async def get(self, path: str, params: Params | None = None) -> Json:  # noqa: ARG002 - a Transport
        self.asked.append(path)
        node = path.split("/")[2]
        if path.endswith("/time"):
            return {"time": int(NOW) + 100, "timezone": "Europe/Vienna"}
        if path.endswith("/log"):
            return [{"n": n, "t": line} for n, line in enumerate(self.log, 1)]
        jobs = [job(vmid) for vmid, guest in GUESTS.items() if guest.node == node]
        return [{"id": one.id, "guest": one.vmid, "target": one.target, **self.row} for one in jobs]

    async def post(self, path: str, params: Params | None = None) -> Json:  # noqa: ARG002 - a Transport
        raise AssertionError(path)

    put = delete = post


async def ask(_node: NodeName, read: Callable[[], Awaitable[object]]) -> object | None:
    try:
        return await read()
    except DroverError:
        return None


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def watch(answers: Answers) -> ReplicationWatch:
    return ReplicationWatch(PveClient(answers), StillClock())


JOBS = [job(vmid) for vmid in GUESTS]


def test_only_nodes_with_jobs_are_asked_and_few_at_once(watch: ReplicationWatch) -> None:
    assert watch.due(0.0, [job(101), job(107)], GUESTS, NODES) == ["pve2"]
    assert len(watch.due(0.0, JOBS, GUESTS, NODES)) == NODES_AT_ONCE
    assert watch.due(0.0, [job(101)], GUESTS, ()) == []


def read(watch: ReplicationWatch, at: float, jobs: list[ReplicationJob]) -> None:
    for node in watch.due(at, jobs, GUESTS, NODES):
        asyncio.run(watch.read(node, at, ask))


def test_a_node_is_asked_once_a_minute_and_sooner_when_something_is_due(
    watch: ReplicationWatch, answers: Answers
) -> None:
    one = [job(101), job(107)]

    read(watch, 0.0, one)
    assert answers.asked == ["/nodes/pve2/time", "/nodes/pve2/replication"]
    assert watch.clocks["pve2"].ahead_seconds == 100  # type: ignore[index]  # a plain name will do
    assert watch.due(PERIOD_SECONDS - 1, one, GUESTS, NODES) == []
    answers.row["pid"] = 4711
    read(watch, PERIOD_SECONDS, one)
    assert watch.due(PERIOD_SECONDS + EXPECTING_SECONDS, one, GUESTS, NODES) == ["pve2"]
    del answers.row["pid"]
    answers.row["next_sync"] = int(NOW) + 110  # by the clock of the node, which is 100 s ahead
    read(watch, PERIOD_SECONDS + EXPECTING_SECONDS, one)
    assert watch.due(PERIOD_SECONDS + 2 * EXPECTING_SECONDS, one, GUESTS, NODES) == ["pve2"]
    assert answers.asked.count("/nodes/pve2/time") == 1


def test_what_was_asked_of_jobs_is_looked_at_sooner(watch: ReplicationWatch) -> None:
    one = [job(101), job(107)]
    read(watch, 0.0, one)
    assert watch.due(EXPECTING_SECONDS, one, GUESTS, NODES) == []
    watch.hurry()
    assert watch.due(EXPECTING_SECONDS, one, GUESTS, NODES) == ["pve2"]


def test_the_log_of_a_failure_is_read_once_and_explains_it_while_it_is_tried_again(
    watch: ReplicationWatch, answers: Answers
) -> None:
    answers.row |= {"fail_count": 1, "error": "command '/usr/bin/ssh x -- pvesr prepare' failed: exit code 255"}
    answers.log = ["101-0: (remote_prepare_local_job) storage 'tank' is not available on node 'pve1'"]
    asyncio.run(watch.read(NodeName("pve2"), 0.0, ask))
    asyncio.run(watch.read(NodeName("pve2"), 60.0, ask))
    assert watch.states["101-0"].why is Why.STORAGE_MISSING
    assert answers.asked.count("/nodes/pve2/replication/101-0/log") == 1
    answers.row |= {"pid": 1, "last_try": int(NOW)}
    asyncio.run(watch.read(NodeName("pve2"), 120.0, ask))
    assert watch.states["101-0"].why is Why.STORAGE_MISSING
    assert answers.asked.count("/nodes/pve2/replication/101-0/log") == 1


def test_what_is_known_of_jobs_that_are_gone_is_forgotten_and_old_news_are_kept(
    watch: ReplicationWatch, answers: Answers
) -> None:
    asyncio.run(watch.read(NodeName("pve2"), 0.0, ask))

    async def silent(path: str, params: Params | None = None) -> Json:
        raise Retry(Why.TIMED_OUT, path)

    answers.get = silent  # type: ignore[method-assign]  # the node is silent from now on
    asyncio.run(watch.read(NodeName("pve2"), 60.0, ask))
    assert set(watch.states) == {"101-0", "107-0"}
    watch.see([job(107)])
    assert set(watch.states) == {"107-0"}


OWNED = replace(job(101), comment="managed by drover: office")


def run_log(begun: int, sent: str) -> list[str]:
    return [
        f"2026-05-01 10:00:04 101-0: create snapshot '__replicate_101-0_{begun}__' on tank:vm-101-disk-0",
        f"2026-05-01 10:00:04 101-0: total estimated size is {sent}",
        "2026-05-01 10:00:10 101-0: end replication job",
    ]


def test_the_log_of_a_good_run_is_read_once_and_tells_what_it_sent(watch: ReplicationWatch, answers: Answers) -> None:
    watch.see([OWNED])
    first, log = int(NOW) - 60, "/nodes/pve2/replication/101-0/log"
    answers.log = run_log(first, "2.00G")
    for at in (0.0, 60.0, 120.0):
        asyncio.run(watch.read(NodeName("pve2"), at, ask))
        assert watch.states["101-0"].sent_bytes == 2 << 30
    assert answers.asked.count(log) == 1
    answers.row |= {"pid": 1, "last_try": int(NOW)}
    asyncio.run(watch.read(NodeName("pve2"), 180.0, ask))
    assert watch.states["101-0"].sent_bytes == 2 << 30, "of the last one, while the next is under way"
    del answers.row["pid"]
    answers.log = []  # the file is gone
    asyncio.run(watch.read(NodeName("pve2"), 240.0, ask))
    assert watch.states["101-0"].sent_bytes is None, "not told is not zero, and not what it was before"
    assert answers.asked.count(log) == 2
    watch.see([])
    watch.see([OWNED])
    asyncio.run(watch.read(NodeName("pve2"), 300.0, ask))
    assert answers.asked.count(log) == 3


def test_few_logs_are_read_at_once_and_those_of_others_never(watch: ReplicationWatch, answers: Answers) -> None:
    many = [replace(OWNED, id=f"{101}-{n}") for n in range(9)]
    watch.see([*many, job(107)])
    logs: list[str] = []
    rows: Json = [{"id": one.id, "guest": 101, "target": one.target, **answers.row} for one in [*many, job(107)]]

    async def get(path: str, params: Params | None = None) -> Json:
        answers.asked.append(path)
        if path.endswith("/log"):
            raise Retry(Why.BUSY, path)
        return rows if path.endswith("/replication") else await Answers.get(answers, path, params)

    answers.get = get  # type: ignore[method-assign]  # one node with many jobs
    for turn in range(4):
        asyncio.run(watch.read(NodeName("pve2"), 60.0 * turn, ask))
        logs = [path for path in answers.asked if path.endswith("/log")]
        assert len(logs) == min(9, SIZES_AT_ONCE * (turn + 1)) == len(set(logs))
    assert not any("107" in path for path in logs)
