"""Stories: a small script played on the stage, told as a log that is compared with a golden one.

A story is one YAML file: `why` (the promise), `cluster` (a simulator's cluster file), `objects` (manifests; a PveCluster
`default` in mode Enforce is added when there is none), `hooks` (what the machine's commands would do), `script` (what people
and fate do, by second), `until`, and `versions` of PVE on which it is told. Played by `tests/stories`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Unpack

import yaml
from pydantic import BaseModel, ConfigDict, Field

from controller.loop.publish import Statuses
from controller.model.event import Event
from controller.model.ids import Vmid
from controller.model.override import Order
from controller.model.plan import Blocked, Plan, Waiting
from controller.model.replication import Orphan
from controller.model.view import ClusterView
from controller.rehearse.hooks import StageHook
from controller.rehearse.stage import SECRET, TOKEN, Stage, StageOptions
from controller.rehearse.virtual_time import EPOCH, run
from controller.simulator import faults
from controller.simulator.seed import ClusterFile, Version
from controller.simulator.world import Entry
from controller.specs import API_VERSION

MANIFESTS = "manifests"

_DETAILS = frozenset({"migration-start", "migration-end", "memory-copied"})
"""Entries of the journal that belong to the simulator's own tests."""
_OWN_STEPS = frozenset({"qmstart", "vzstart"})
"""Tasks by which PVE itself carries out a move, or a start."""

_VERBS = {"drain": Order.DRAIN, "uncordon": Order.IN_SERVICE}

Document = dict[str, object]

_DEFAULT_CLUSTER: Document = {
    "kind": "PveCluster",
    "metadata": {"name": "default"},
    "spec": {"endpoints": ["https://pve1:8006"], "auth": {"credentialsRef": "stage"}, "mode": "Enforce"},
}


class Step(BaseModel):
    """One thing that happens `at` seconds: exactly one of the others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: float = Field(ge=0)
    write: Document | None = None  # an object, new or in place of the one of the same kind and name
    remove: str | None = None  # Kind/name; */* for all
    label: dict[str, str | None] | None = None  # node: value of drover.dev/maintenance; null takes it away
    text: dict[str, str | None] | None = None  # file name: raw text, for what is not valid; null removes the file
    types: str | None = None  # `drain NODE`, `uncordon NODE`, `approve DIGEST`, `withdraw DIGEST`: what people type
    do: str | None = None  # a fault or an administrator's act of the simulator, with `with` as its arguments
    with_: dict[str, object] = Field({}, alias="with")
    restart: bool = False  # kill the daemon and start it again
    stop: bool = False  # kill the daemon
    start: bool = False  # start it again


class StoryFile(BaseModel):
    """The file of a story."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: str
    cluster: ClusterFile
    objects: tuple[Document, ...] = ()
    hooks: dict[str, StageHook] = {}
    script: tuple[Step, ...] = ()
    until: float
    seed: int = 0
    versions: tuple[Version, ...] = ()  # of PVE, each played; empty: the one of the cluster

    def on(self, version: Version) -> "StoryFile":
        """The same story on another version of PVE."""
        return self.model_copy(update={"cluster": self.cluster.model_copy(update={"version": version})})


@dataclass(frozen=True, slots=True)
class Told:
    """A story as it went: its log, and the stage for whoever wants to look closer."""

    log: str
    stage: Stage


def load(path: Path) -> StoryFile:
    """Read a story. Raises pydantic's ValidationError and yaml's errors: stories are written by developers."""
    return StoryFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def play(story: StoryFile, folder: Path) -> Told:
    """Play a story in an empty `folder`: the same story, the same log, byte by byte. Raises the first fault of Drover itself."""
    teller = _Teller(folder)
    stage = stage_of(story, folder, listeners=(teller.hear,))
    teller.clock = stage.clock.monotonic
    stage.world.observers.append(teller.world)
    run(perform(story, stage, folder / MANIFESTS, teller.people), stage.loop)
    if stage.faults:
        raise stage.faults[0]
    teller.close(stage)
    return Told(teller.log, stage)


def stage_of(story: StoryFile, folder: Path, **options: Unpack[StageOptions]) -> Stage:
    """The stage of a story in an empty `folder`, its manifests written below `folder / MANIFESTS`."""
    manifests = folder / MANIFESTS
    manifests.mkdir()
    for document in _with_cluster(story.objects):
        _write(manifests, document)
    options.setdefault("hooks", story.hooks)
    return Stage(_with_token(story.cluster), manifests, folder / "state", seed=story.seed, **options)


def label(manifests: Path, node: str, value: str | None) -> None:
    """Put the maintenance label of a node to `value`, or take it away."""
    labels = {} if value is None else {"drover.dev/maintenance": value}
    _write(manifests, {"kind": "PveNode", "metadata": {"name": node, "labels": labels}, "spec": {}})


def _typed(stage: Stage, verb: str, subject: str) -> str:
    if verb in ("approve", "withdraw"):
        return stage.approve(subject, withdraw=verb == "withdraw")
    return stage.order(_VERBS[verb], subject)


async def perform(
    story: StoryFile, stage: Stage, manifests: Path, tell: Callable[[str], None] = lambda _: None
) -> None:
    """Let everything in the script happen in its time, on the clock of `stage`. `tell` hears what people do."""
    stage.start()
    for at, steps in groupby(sorted(story.script, key=lambda step: step.at), key=lambda step: step.at):
        await stage.clock.sleep(max(0.0, at - stage.clock.monotonic()))
        edited = False
        for step in steps:
            for deed in _deeds(step):
                tell(deed)
            await _step(step, stage)
            if step.types is not None:
                tell(f"  {_typed(stage, *step.types.split())}")
            edited = _edit(step, manifests) or edited
        if edited:  # what is saved in one moment is seen as one revision
            stage.source.changed()
    await stage.clock.sleep(max(0.0, story.until - stage.clock.monotonic()))
    if stage.running:
        await stage.stop()


def _deeds(step: Step) -> Iterator[str]:
    """What people do in a step, a line each; what happens to the cluster tells itself."""
    if step.write is not None:
        yield f"write {step.write['kind']}/{name_of(step.write)}"
    if step.remove is not None:
        yield f"remove {step.remove}"
    for node, value in (step.label or {}).items():
        yield f"label {node} {value}" if value is not None else f"unlabel {node}"
    for name, text in (step.text or {}).items():
        yield f"write {name}" if text is not None else f"remove {name}"
    if step.types is not None:
        yield f"drover {step.types}"
    if step.stop or step.restart:
        yield "kill drover"
    if step.start or step.restart:
        yield "start drover"


async def _step(step: Step, stage: Stage) -> None:
    if step.do is not None:
        stage.world.advance(stage.clock.wall())  # it catches up only when it is asked
        faults.apply(stage.world, step.do, **step.with_)
    if step.stop or step.restart:
        await stage.stop()
    if step.start or step.restart:
        stage.start()


def _edit(step: Step, manifests: Path) -> bool:
    if step.write is not None:
        _write(manifests, step.write)
    if step.remove is not None:
        for path in list(manifests.glob(_file_name(*step.remove.split("/")))):
            path.unlink()
    for node, value in (step.label or {}).items():
        label(manifests, node, value)
    for name, text in (step.text or {}).items():
        if text is None:
            (manifests / name).unlink()
        else:
            (manifests / name).write_text(text, encoding="utf-8")
    return any((step.write, step.remove, step.label, step.text))


def _with_cluster(objects: Sequence[Document]) -> list[Document]:
    given = any(document.get("kind") == "PveCluster" for document in objects)
    return list(objects) if given else [_DEFAULT_CLUSTER, *objects]


def _with_token(file: ClusterFile) -> ClusterFile:
    """The cluster with the token that Drover uses, unless the story is about rights and brings its own."""
    if file.access.tokens:
        return file
    access = ClusterFile.model_validate(
        {
            "nodes": {"any": {}},
            "access": {
                "users": {"drover@pve": {}},
                "tokens": {TOKEN: {"secret": SECRET, "privsep": False}},
                "acl": [{"role": "Administrator", "to": "drover@pve"}],
            },
        }
    ).access
    return file.model_copy(update={"access": access})


def _write(manifests: Path, document: Mapping[str, object]) -> None:
    name = _file_name(str(document["kind"]), name_of(document))
    # JSON is YAML, and needs no second writer.
    text = json.dumps({"apiVersion": API_VERSION, **document}, indent=1)
    (manifests / name).write_text(text + "\n", encoding="utf-8")


def name_of(document: Mapping[str, object]) -> str:
    """The name of an object."""
    metadata = document["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata["name"])


def _file_name(kind: str, name: str) -> str:
    return f"{kind.lower()}-{name}.yaml"


class _Teller:
    """Turns views, events and the simulator's journal into lines."""

    def __init__(self, folder: Path) -> None:
        self._folder = f"{folder}/"
        self._lines: list[tuple[float, str]] = []
        self.clock: Callable[[], float] = lambda: 0.0
        self._plan = ""
        self._words: dict[Vmid, str] = {}
        self._orphans: tuple[Orphan, ...] = ()

    def hear(self, view: ClusterView, statuses: Statuses, happened: Sequence[Event]) -> None:  # noqa: ARG002 - a Listener
        if view.plan is not None and (said := _plan_line(view.plan)) != self._plan:
            self._plan = said
            self._say("plan", said)
            self._explain(view.plan)
        if view.plan is not None:
            for orphan in view.plan.replicas.orphans:
                if orphan not in self._orphans:
                    self._say("why", orphan.message)
            self._orphans = view.plan.replicas.orphans
        for event in happened:
            self._say("drover", f"{event.about} {event.reason}: {event.message}")

    def world(self, entry: Entry) -> None:
        facts = entry.facts
        if entry.kind in _DETAILS or facts.get("type") in _OWN_STEPS:
            return
        told = Entry(entry.at, entry.kind, {key: fact for key, fact in facts.items() if key != "upid"})
        # The simulator catches up when it is asked: what happened in between has its own time.
        self._lines.append((entry.at - EPOCH, f"pve    {told}"))

    def _explain(self, plan: Plan) -> None:
        """The sentence about every guest of which the plan says something new."""
        words: list[Waiting | Blocked] = [*plan.waiting, *plan.blocked]
        for word in sorted(words, key=lambda word: word.vmid):
            if self._words.get(word.vmid) != word.why:
                self._say("why", word.message)
        self._words = {word.vmid: word.why for word in words}

    def people(self, deed: str) -> None:
        """Tell what somebody does."""
        self._say("people", deed)

    @property
    def log(self) -> str:
        """The lines in order of time; at the same moment as they were told."""
        ordered = sorted(self._lines, key=lambda line: line[0])
        return "".join(f"{at:7.1f} {text}\n" for at, text in ordered)

    def close(self, stage: Stage) -> None:
        """Where everybody is in the end, and how often PVE was asked to change something."""
        for vmid, guest in sorted(stage.world.guests.items()):
            self._say("end", f"{vmid} {guest.run} on {guest.node}" + (f" locked {guest.lock}" if guest.lock else ""))
        for job in stage.world.replication.values():
            how = " disabled" * bool(job.get("disable")) + " being removed" * ("remove_job" in job)
            self._say("end", f"replication job {job['id']} {job['source']}->{job['target']}{how}")
        for rule in stage.world.ha.book.rules.values():
            of = ",".join(rule.nodes) or rule.affinity
            text = f"HA rule {rule.name} {','.join(rule.resources)} {of}"
            self._say("end", text + (f" # {rule.comment}" if rule.comment else ""))
        writes = sorted(f"{call.method} {call.path}" for call in stage.calls if call.method != "GET")
        for line in sorted(set(writes)):
            self._say("end", f"{line} {writes.count(line)}x")

    def _say(self, who: str, text: str) -> None:
        # A story is told the same wherever it is played.
        self._lines.append((self.clock(), f"{who:<6} {text.replace(self._folder, '')}"))


def _plan_line(plan: Plan) -> str:
    parts = [f"now {move.vmid} {move.source}->{move.target} {move.why}" for move in plan.moves]
    parts += [f"waiting {wait.vmid} {wait.why}" for wait in plan.waiting]
    parts += [f"blocked {block.vmid} {block.why}" for block in plan.blocked]
    parts += [f"{job.verb} {job.job_id} {job.source}->{job.target} {job.why}" for job in plan.jobs]
    parts += [f"{action.verb} rule {action.rule.name}" for action in plan.ha.actions]
    parts += [f"moving {vmid}" for vmid in plan.flying]
    parts += [f"UNSAFE {finding}" for finding in plan.unsafe]
    return "; ".join(parts) or "nothing to do"
