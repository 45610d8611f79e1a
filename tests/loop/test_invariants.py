"""Small random clusters with random rules, labels, accidents and administrators: what must never happen does not happen.

Each world is a seed. After every event inside the simulator the invariants are checked against what is really there; when the
accidents are over the cluster must come to rest, and stay at rest for an hour.
"""

import random
from pathlib import Path

import pytest

from controller.model.outcome import Result
from controller.model.plan import Lane
from controller.model.view import ClusterView
from controller.pve.transport import Json, Params, Transport
from controller.rehearse import story
from controller.rehearse.stage import Stage
from controller.rehearse.story import Document
from controller.rehearse.virtual_time import EPOCH, run
from controller.simulator.world import Entry, World

GIB = 1 << 30
SEEDS = (0, 1, 3, 4, 5, 7, 8, 9, 10, 11, 12, 16, 17, 18, 20, 21)
LAST_DEED, UNLOCKED, CALM, END = 240.0, 400.0, 1400.0, 1400.0 + 3600.0


def a_world(seed: int) -> story.StoryFile:
    """A cluster of three to five nodes, not too empty, with rules about some of the guests."""
    dice = random.Random(seed)
    nodes = [f"pve{number}" for number in range(1, dice.randint(3, 5) + 1)]
    guests: dict[int, dict[str, object]] = {
        101 + number: {
            "name": f"g{number}",
            "node": dice.choice(nodes),
            "type": dice.choices(["qemu", "lxc"], [5, 1])[0],
            "memory": f"{dice.choice([1, 2, 4, 6])}GiB",
            "status": dice.choices(["running", "stopped"], [5, 1])[0],
            "tags": dice.choice([["web"], ["db"], [], [], ["unmanaged"]]),
            "dirty": f"{dice.choice([1, 20, 80])}MiB",
        }
        for number in range(dice.randint(4, 9))
    }
    for guest in guests.values():
        guest["disks"] = {"rootfs" if guest["type"] == "lxc" else "scsi0": {"storage": "ceph", "size": "8GiB"}}
    rules: list[Document] = [
        {
            "kind": "PlacementPolicy",
            "metadata": {"name": name},
            "spec": {"guestSelector": {"tags": {"any": [tag]}}, "enforcement": "Must", **rule},
        }
        for name, tag, rule in (
            ("web-apart", "web", {"keepApart": {"maxPerDomain": 2}}),
            ("db-here", "db", {"nodeAffinity": {"nodes": nodes[:-1]}}),
            ("db-not-there", "db", {"nodeAntiAffinity": {"nodes": nodes[:1]}}),
        )
        if dice.random() < 0.6
    ]
    cluster: dict[str, object] = {
        "nodes": {node: {"memory": f"{dice.choice([16, 24, 32])}GiB"} for node in nodes},
        "storages": {"ceph": {"type": "rbd", "size": "4TiB"}},
        "guests": guests,
    }
    steps = [step for _ in range(dice.randint(4, 9)) for step in _deeds(dice, nodes, list(guests))]
    mended = [{"at": LAST_DEED + 60, "do": "heal"}]
    mended += [{"at": LAST_DEED + 60, "do": verb, "with": {"node": node}} for node in nodes for verb in _MENDS]
    mended += [{"at": UNLOCKED, "do": "admin-unlock", "with": {"guest": vmid}} for vmid in guests]
    return story.StoryFile.model_validate(
        {"why": f"world {seed}", "cluster": cluster, "objects": rules, "script": steps + mended, "until": END}
        | {"seed": seed}
    )


_MENDS = ("node-return", "pveproxy-up", "pvedaemon-up")


def _deeds(dice: random.Random, nodes: list[str], guests: list[int]) -> list[dict[str, object]]:
    """One thing that happens, and sometimes what ends it."""
    at, node, vmid = round(dice.uniform(5, LAST_DEED), 1), dice.choice(nodes), dice.choice(guests)
    later = round(min(LAST_DEED, at + dice.uniform(5, 120)), 1)
    return dice.choice(
        [
            [{"at": at, "label": {node: "true"}}],
            [{"at": at, "label": {node: "true"}}, {"at": later, "label": {node: None}}],
            [{"at": at, "label": {node: "true"}}, {"at": later, "label": {node: None}}],
            [{"at": at, "label": {node: "cordon"}}, {"at": later, "label": {node: None}}],
            [{"at": at, "do": "migration-fails", "with": {"guest": vmid, "phase": dice.choice([1, 2, 3])}}],
            [{"at": at, "do": "hollow-ok", "with": {"guest": vmid}}],
            [{"at": at, "do": "lost-answer"}],
            [{"at": at, "do": "slow-handler"}],
            [{"at": at, "do": "node-crash", "with": {"node": node}}],
            [{"at": at, "do": "partition", "with": {"nodes": nodes[: len(nodes) // 2 + 1]}}],
            [{"at": at, "do": "pveproxy-down", "with": {"node": node}}],
            [{"at": at, "do": "worker-kill", "with": {"guest": vmid}}],
            [{"at": at, "do": "task-vanish", "with": {"guest": vmid}}],
            [{"at": at, "do": "admin-lock", "with": {"guest": vmid}}],
            [{"at": at, "do": "admin-stop", "with": {"guest": vmid}}],
            [{"at": at, "do": "admin-tag", "with": {"guest": vmid, "tags": ["unmanaged"]}}],
            [{"at": at, "restart": True}],
        ]
    )


class Witness:
    """Stands beside the wire and inside the simulator, and writes down every broken promise."""

    def __init__(self, file: story.StoryFile) -> None:
        self.file = file
        self.rules = frozenset(story.name_of(rule) for rule in file.objects)
        self.broken: list[str] = []
        self.posts: list[tuple[float, int]] = []
        self.jobs = 0
        self.stage: Stage | None = None
        self._moving: dict[int, str] = {}  # VMID to target, of our moves, from the call to the end of the task
        self._by_task: dict[str, int] = {}
        self._restarted: set[int] = set()  # ran when we moved them

    @property
    def world(self) -> World:
        assert self.stage is not None
        return self.stage.world

    def posted(self, source: str, vmid: int, target: str) -> None:
        """Right before the call: nothing but the truth of this moment counts."""
        guest, now = self.world.guests[vmid], self.world.now - self.world.start
        self.posts.append((now, vmid))
        if "unmanaged" in str(guest.config.get("tags", "")):
            self._break(f"{vmid} is not managed")
        if vmid in self._moving:
            self._break(f"{vmid} is moved twice at the same time")
        if guest.node == source and self.world.quorate(source):
            self._moving[vmid] = target
            self._restarted |= {vmid} if guest.running else set()
            self._memory(target, vmid)
            self._apart(target, vmid)

    def started(self, vmid: int) -> None:
        """A container is started: that is Drover's business only where its own restart has broken off."""
        guest = self.world.guests[vmid]
        if vmid not in self._restarted or guest.running or guest.lock:
            self._break(f"{vmid} is started")

    def about_jobs(self) -> None:
        """Something is asked of a replication job."""
        self.jobs += 1
        if not any(
            disk.storage == "tank" for guest in self.file.cluster.guests.values() for disk in guest.disks.values()
        ):
            self._break("there is nothing to replicate")

    def told(self, view: ClusterView, *_: object) -> None:
        """What Drover says: a drain starts nothing once it is called off, and what is called drained is empty."""
        for outcome in view.outcomes:
            at, drained = outcome.at - EPOCH, outcome.result is Result.STARTED and outcome.lane is Lane.DRAIN
            wanted = (self.label(outcome.source, at + 0.01), self.label(outcome.source, at - 1))
            if drained and "true" not in wanted:
                self._break(f"{outcome.vmid} leaves {outcome.source} although nobody wants that any more")
        for drain in view.plan.drains if view.plan is not None and view.armed.ok else ():
            left = [guest.vmid for guest in self.world.guests.values() if guest.node == drain.node and guest.running]
            if drain.drained and left:
                self._break(f"{drain.node} is called drained, and {left} run there")

    def label(self, node: str, at: float) -> str | None:
        """The maintenance label of the node at that second."""
        steps = [step for step in self.file.script if step.label and node in step.label and step.at <= at]
        last = max(steps, key=lambda step: step.at, default=None)
        return last.label[node] if last is not None and last.label is not None else None

    def hear(self, entry: Entry) -> None:
        """Every event of the simulator."""
        facts = entry.facts
        ours = str(facts.get("user", "")).startswith("drover@")
        if entry.kind == "task-start" and ours:
            self._by_task[facts["upid"]] = int(facts["id"])
        if entry.kind == "task-end" and facts.get("upid") in self._by_task:
            self._moving.pop(self._by_task[facts["upid"]], None)
        if (
            entry.kind == "task-start"
            and ours
            and facts["type"] not in ("qmigrate", "vzmigrate", "hamigrate", "vzstart")
        ):
            self._break(f"{facts['type']} of {facts['id']} was started by us")

    def _memory(self, target: str, vmid: int) -> None:
        there = [
            g for v, g in self.world.guests.items() if g.running and (g.node == target or self._moving.get(v) == target)
        ]
        if not self.world.guests[vmid].running:
            return
        held = sum(guest.memory for guest in there)
        most = self.world.nodes[target].file.memory * 9 // 10
        if held > most:
            self._break(f"{vmid} to {target}: {held / GIB:.0f} of {most / GIB:.0f} GiB")

    def _apart(self, target: str, vmid: int) -> None:
        if "web-apart" not in self.rules or not self._web(vmid):
            return
        there = [
            v
            for v, g in self.world.guests.items()
            if self._web(v) and (g.node == target or self._moving.get(v) == target)
        ]
        if len(there) > 2:
            self._break(f"{vmid} to {target}: {there} have to be kept apart")

    def _web(self, vmid: int) -> bool:
        return str(self.world.guests[vmid].config.get("tags", "")) == "web"

    def _break(self, text: str) -> None:
        self.broken.append(f"{self.world.now - self.world.start:.1f}: {text}")


class WatchedTransport:
    """Lets the witness see every request to move a guest."""

    def __init__(self, inner: Transport, witness: Witness) -> None:
        self._inner = inner
        self._witness = witness

    async def get(self, path: str, params: Params | None = None) -> Json:
        return await self._inner.get(path, params)

    async def post(self, path: str, params: Params | None = None) -> Json:
        if path == "/cluster/replication" or path.endswith("/schedule_now"):
            self._witness.about_jobs()
            return await self._inner.post(path, params)
        _, _, node, kind, vmid, verb, *rest = path.split("/")
        if (kind, verb, rest) == ("lxc", "status", ["start"]):
            self._witness.started(int(vmid))
            return await self._inner.post(path, params)
        assert (verb, rest) == ("migrate", []), f"nothing but moves is ever asked for, not {path}"
        assert params is not None
        self._witness.posted(node, int(vmid), str(params["target"]))
        return await self._inner.post(path, params)

    async def put(self, path: str, params: Params | None = None) -> Json:
        assert path.startswith("/cluster/replication/"), f"PUT {path} {params}"
        self._witness.about_jobs()
        return await self._inner.put(path, params)

    async def delete(self, path: str, params: Params | None = None) -> Json:
        assert path.startswith("/cluster/replication/"), f"DELETE {path} {params}"
        self._witness.about_jobs()
        return await self._inner.delete(path, params)


def live(file: story.StoryFile, folder: Path) -> tuple[Witness, Stage]:
    """Let the world run to its end."""
    witness = Witness(file)
    stage = story.stage_of(
        file,
        folder,
        wrap=lambda inner: WatchedTransport(inner, witness),
        listeners=(witness.told,),
        interval_seconds=20.0,
    )
    witness.stage = stage
    stage.world.observers.append(witness.hear)
    run(story.perform(file, stage, folder / story.MANIFESTS), stage.loop)
    return witness, stage


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_that_must_not_happen_happens_and_then_there_is_peace(seed: int, tmp_path: Path) -> None:
    file = a_world(seed)
    witness, stage = live(file, tmp_path)
    assert witness.posts, "a world in which nothing is moved proves nothing: take another seed"
    assert witness.broken == []
    assert stage.faults == [], "Drover itself failed"
    late = [(at, vmid) for at, vmid in witness.posts if at > CALM]
    assert late == [], "long after the last accident somebody is still moved"
    stopped = {int(step.with_["guest"]) for step in file.script if step.do == "admin-stop"}  # type: ignore[call-overload]  # numbers
    crashed = any(step.do == "node-crash" for step in file.script)
    for vmid, guest in file.cluster.guests.items():
        if guest.status == "running" and vmid not in stopped and not crashed:
            assert stage.world.guests[vmid].running, f"{vmid} ran before and does not now"


def on_local_disks(file: story.StoryFile, seed: int) -> story.StoryFile:
    """The same world, in which more than half of the guests have their disk on local ZFS."""
    dice, raw = random.Random(seed), file.model_dump(by_alias=True)
    raw["cluster"]["storages"]["tank"] = {"type": "zfspool", "size": "1TiB"}
    for guest in raw["cluster"]["guests"].values():
        if dice.random() < 0.6:
            guest["disks"] = {key: {"storage": "tank", "size": "8GiB", "used": "2GiB"} for key in guest["disks"]}
    return story.StoryFile.model_validate(raw | {"until": CALM + 1200})


@pytest.mark.parametrize("seed", [1, 11, 35])
def test_copies_that_were_made_for_a_move_go_or_wait_for_the_way_home(seed: int, tmp_path: Path) -> None:
    witness, stage = live(on_local_disks(a_world(seed), seed), tmp_path)
    assert (witness.broken, stage.faults) == ([], [])
    assert witness.jobs, "a world without replication proves nothing: take another seed"
    held = stage.world.storages["tank"]
    copies = [(volume, node) for node in stage.world.nodes for volume in held.place(node)]
    jobs = stage.world.replication.values()
    for volume, node in copies:
        guest = stage.world.guests[int(volume.split("-")[1])]
        kept = any(job["guest"] == guest.vmid and job["target"] == node and job.get("disable") for job in jobs)
        assert node == guest.node or kept, f"{volume} is left on {node}"


def test_the_witness_is_not_blind(tmp_path: Path) -> None:
    guests = {
        vmid: {"node": "pve1" if vmid < 104 else "pve2", "memory": "4GiB", "tags": ["web"]} for vmid in range(101, 106)
    }
    guests[103]["tags"] = ["unmanaged"]
    file = story.StoryFile.model_validate(
        {
            "why": "a bad day",
            "cluster": {"nodes": {"pve1": {"memory": "32GiB"}, "pve2": {"memory": "16GiB"}}, "guests": guests},
            "objects": [{"kind": "PlacementPolicy", "metadata": {"name": "web-apart"}}],
            "until": 0,
        }
    )
    witness = Witness(file)
    witness.stage = story.stage_of(file, tmp_path)
    witness.posted("pve1", 101, "pve2")
    witness.posted("pve1", 101, "pve2")
    witness.posted("pve1", 103, "pve2")
    witness.stage.loop.close()
    assert witness.broken == [
        "0.0: 101 to pve2: [101, 104, 105] have to be kept apart",
        "0.0: 101 is moved twice at the same time",
        "0.0: 101 to pve2: [101, 104, 105] have to be kept apart",
        "0.0: 103 is not managed",
        "0.0: 103 to pve2: 16 of 14 GiB",
    ]
