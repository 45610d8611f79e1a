"""A Transport around a Transport that writes every answer into a folder, scrubbed; and the survey of a whole cluster.

Used by `app.record`. What is written is read by `simulator.recorded`, which makes a cluster file of it.
"""

import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from controller.pve.errors import translate
from controller.pve.scrub import Scrubber
from controller.pve.transport import HttpFailure, Json, Params, Transport


class Recorder:
    """Writes `folder`/0001-cluster-status.json and so on: path, params and scrubbed data, or the status of a refusal.

    The caller gets the answer as it came. Texts of refusals are not written: they name what they are about.
    """

    def __init__(self, transport: Transport, folder: Path, scrubber: Scrubber) -> None:
        self._transport = transport
        self._folder = folder
        self._scrubber = scrubber
        self.calls = 0

    async def get(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.get`."""
        return await self._recorded("GET", self._transport.get, path, params)

    async def post(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.post`."""
        return await self._recorded("POST", self._transport.post, path, params)

    async def put(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.put`."""
        return await self._recorded("PUT", self._transport.put, path, params)

    async def delete(self, path: str, params: Params | None = None) -> Json:
        """See `Transport.delete`."""
        return await self._recorded("DELETE", self._transport.delete, path, params)

    async def _recorded(
        self, method: str, call: Callable[[str, Params | None], Awaitable[Json]], path: str, params: Params | None
    ) -> Json:
        self.calls += 1
        sent: Json = {
            key: value if isinstance(value, int | float | str) else list(value) for key, value in (params or {}).items()
        }
        entry: dict[str, Json] = {"method": method, "path": self._scrubber.text(path)}
        entry["params"] = self._scrubber.answer(path, sent)
        try:
            data = await call(path, params)
        except HttpFailure as failure:
            self._write(path, {**entry, "status": failure.status})
            raise
        self._write(path, {**entry, "status": 200, "data": self._scrubber.answer(path, data)})
        return data

    def _write(self, path: str, entry: dict[str, Json]) -> None:
        name = self._scrubber.text(path).strip("/").replace("/", "-").replace(":", "_")
        file = self._folder / f"{self.calls:04d}-{name}.json"
        file.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")


_CLUSTER: Final = (
    "/cluster/options", "/storage", "/pools", "/cluster/replication", "/cluster/ha/resources", "/cluster/ha/rules",
    "/cluster/ha/groups", "/cluster/ha/status/current", "/cluster/mapping/pci", "/cluster/mapping/usb", "/cluster/mapping/dir",
)  # fmt: skip
"""Some of these are refused by every cluster: 9.x has no groups, 8.x no rules."""
_NODE: Final = ("version", "status", "time", "network", "storage")
_VOLUMES: Final = ("images", "rootdir")


class Survey:
    """Reads everything that a simulation of the cluster needs, and changes nothing.

    pause: called before each call, so that the rate stays bounded. progress: is told calls done and calls known so far.
    `refused` has what was not readable: 403, a node that is down, a call that this release does not have.
    """

    def __init__(
        self, transport: Transport, *, pause: Callable[[], Awaitable[None]], progress: Callable[[int, int], None]
    ) -> None:
        self._transport = transport
        self._pause = pause
        self._progress = progress
        self._done = 0
        self._known = 2 + len(_CLUSTER)
        self.refused: dict[str, int | None] = {}
        self.nodes = 0
        self.guests = 0

    async def run(self) -> None:
        """Read it all. Raises DroverError when not even the lists of nodes and guests can be read."""
        members = [row for row in await self._needed("/cluster/status") if row.get("type") == "node"]
        rows = await self._needed("/cluster/resources")
        guests = [row for row in rows if row.get("type") in ("qemu", "lxc")]
        online = [str(row["name"]) for row in members if row.get("online")]
        self.nodes, self.guests = len(members), len(guests)
        self._known += len(online) * len(_NODE) + 3 * len(guests)
        for path in _CLUSTER:
            answer = _rows(await self._read(path))
            if path == "/pools":
                self._known += len(answer)
                for pool in answer:
                    await self._read("/pools", {"poolid": str(pool["poolid"])})
        await self._nodes(online)
        for row in guests:
            place = f"/nodes/{_quoted(row['node'])}/{row['type']}/{row['vmid']}"
            await self._read(f"{place}/config", {"current": 1})
            await self._read(f"{place}/status/current")
            await self._read(f"{place}/snapshot")

    async def _nodes(self, names: Iterable[str]) -> None:
        shared: set[str] = set()
        for name in names:
            storages: list[dict[str, Any]] = []
            for part in _NODE:
                answer = await self._read(f"/nodes/{_quoted(name)}/{part}")
                storages = _rows(answer) if part == "storage" else storages
            for row in storages:
                storage = str(row["storage"])
                if not row.get("active") or storage in shared:
                    continue
                if row.get("shared"):
                    shared.add(storage)
                for content in sorted(set(str(row.get("content")).split(",")) & set(_VOLUMES)):
                    self._known += 1
                    await self._read(f"/nodes/{_quoted(name)}/storage/{_quoted(storage)}/content", {"content": content})

    async def _needed(self, path: str) -> list[dict[str, Any]]:
        answer = await self._read(path, needed=True)
        return _rows(answer)

    async def _read(self, path: str, params: Params | None = None, *, needed: bool = False) -> Json:
        await self._pause()
        try:
            return await self._transport.get(path, params)
        except HttpFailure as failure:
            if needed:
                raise translate(failure, method="GET", path=path) from failure
            self.refused[path] = failure.status
            return None
        finally:
            self._done += 1
            self._progress(self._done, max(self._done, self._known))


def _rows(answer: Json) -> list[dict[str, Any]]:
    return [row for row in answer if isinstance(row, dict)] if isinstance(answer, list) else []


def _quoted(part: Json) -> str:
    return quote(str(part), safe="")
