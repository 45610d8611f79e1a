"""Counting and taking turns, around a transport that a test holds in its hand."""

import asyncio
from contextlib import nullcontext

import pytest

from controller.pve.metered import Call, CallOutcome, Metered, template
from controller.pve.transport import HttpFailure, Json, Params


class Held:
    """Answers when told to; knows how many calls are under way at the same time, per path."""

    def __init__(self) -> None:
        self.running: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.go = asyncio.Event()
        self.failure: HttpFailure | None = None

    async def get(self, path: str, params: Params | None = None) -> Json:
        assert params is None
        self.running[path] = self.running.get(path, 0) + 1
        self.most[path] = max(self.most.get(path, 0), self.running[path])
        await self.go.wait()
        self.running[path] -= 1
        if self.failure is not None:
            raise self.failure
        return path

    post = put = delete = get


def test_at_most_two_calls_per_node_and_two_to_the_api_run_at_once() -> None:
    async def body() -> None:
        held = Held()
        metered = Metered(held, lambda _: None, monotonic=lambda: 0.0)
        paths = ["/nodes/pve1/qemu/100/config", "/nodes/pve2/version", "/cluster/resources"]
        calls = [asyncio.ensure_future(metered.get(path)) for path in paths * 5]
        for _ in range(10):
            await asyncio.sleep(0)
        assert held.running == dict.fromkeys(paths, 2)
        held.go.set()
        assert await asyncio.gather(*calls) == paths * 5
        assert held.most == dict.fromkeys(paths, 2)

    asyncio.run(body())


FAILURES = [
    (None, CallOutcome.OK),
    (HttpFailure(status=595, reason="No route to host"), CallOutcome.RETRY),
    (HttpFailure(status=None, reason="timed out"), CallOutcome.AMBIGUOUS),
    (HttpFailure(status=500, reason="VM is locked (backup)"), CallOutcome.BUSY),
    (HttpFailure(status=403, reason="Permission check failed"), CallOutcome.DENIED),
    (HttpFailure(status=400, reason="Parameter verification failed."), CallOutcome.REJECTED),
    (HttpFailure(status=500, reason="Configuration file 'x' does not exist"), CallOutcome.STALE),
]


@pytest.mark.parametrize(("failure", "outcome"), FAILURES)
def test_every_call_is_counted_with_its_template_outcome_and_seconds(
    failure: HttpFailure | None, outcome: CallOutcome
) -> None:
    async def body() -> None:
        held, counted, ticks = Held(), list[Call](), iter([5.0, 7.5])
        held.go.set()
        held.failure = failure
        metered = Metered(held, counted.append, monotonic=lambda: next(ticks))
        with pytest.raises(HttpFailure) if failure else nullcontext():
            await metered.post("/nodes/pve1/qemu/100/migrate")
        status = failure.status if failure else 200
        assert counted == [Call("POST", "/nodes/{node}/qemu/{vmid}/migrate", outcome, status, 2.5)]

    asyncio.run(body())


def test_a_failed_call_gives_its_turn_back() -> None:
    async def body() -> None:
        held = Held()
        held.go.set()
        held.failure = HttpFailure(status=595, reason="x")
        metered = Metered(held, lambda _: None, monotonic=lambda: 0.0, per_node=1)
        for _ in range(3):
            with pytest.raises(HttpFailure):
                await metered.get("/nodes/pve1/version")

    asyncio.run(body())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/version", "/version"),
        ("/cluster/resources", "/cluster/resources"),
        ("/nodes", "/nodes"),
        ("/nodes/pve1/lxc/200/status/current", "/nodes/{node}/lxc/{vmid}/status/current"),
        ("/nodes/pve1/tasks/UPID:pve1:0:0:0:a:b:c:/log", "/nodes/{node}/tasks/{upid}/log"),
        ("/nodes/pve1/tasks", "/nodes/{node}/tasks"),
        ("/nodes/tasks/tasks", "/nodes/{node}/tasks"),
        ("/cluster/tasks", "/cluster/tasks"),
        ("/cluster/replication/100-0", "/cluster/replication/{id}"),
        ("/cluster/ha/resources/vm:100/migrate", "/cluster/ha/resources/{id}/migrate"),
        ("/cluster/ha/status/manager_status", "/cluster/ha/status/manager_status"),
        ("/nodes/pve1/storage/local/content", "/nodes/{node}/storage/{storage}/content"),
    ],
)
def test_a_path_is_counted_without_names(path: str, expected: str) -> None:
    assert template(path) == expected
