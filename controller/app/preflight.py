"""What speaks against moves that somebody asks about: `drover preflight`. Starts nothing. Called by `cli`."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.act.trial import Trial, trials
from controller.app.connection import connect
from controller.app.planning import ordered
from controller.clock import SystemClock
from controller.decide import rolling
from controller.decide.preflight import wish
from controller.model.errors import DroverError
from controller.model.ids import ClusterName, NodeName, Vmid
from controller.model.memory import Memory
from controller.model.observed import Guest, Observed
from controller.model.reasons import Why
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.report.store import read_memory
from controller.settings import Settings
from controller.sources import Held, Problem, merge
from controller.sources.folder import FolderSource
from controller.specs import Specs


@dataclass(frozen=True, slots=True)
class Question:
    """What `drover preflight` is asked: a guest by number or name and where to, or a node that is to be emptied."""

    guest: str = ""
    target: str = ""  # "" = where the plan moves it, else everywhere
    anywhere: bool = False
    node: str = ""


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """What speaks for and against moves in one cluster, or why that can't be said. `asked`: the guests it is about."""

    cluster: ClusterName
    problems: tuple[Problem, ...]
    asked: tuple[Guest, ...]
    trials: tuple[Trial, ...]
    error: DroverError | None


def preflight_once(
    settings: Settings, question: Question, path: Path | None = None, cluster: str | None = None
) -> list[PreflightResult]:
    """Look at every cluster of the folder once, and at the moves that are asked about; starts nothing."""
    held = merge(Held.empty(), FolderSource(path or settings.source).read_now())
    names = [ClusterName(name) for name in sorted(held.specs.clusters) if cluster in (None, name)]
    return [asyncio.run(_preflight(settings, held, name, question)) for name in names]


async def _preflight(settings: Settings, held: Held, name: ClusterName, question: Question) -> PreflightResult:
    specs, clock = held.specs.for_cluster(name), SystemClock()
    try:
        connection = connect(specs.clusters[name], settings, clock)
        try:
            observer = Observer(
                PveClient(connection.transport), cluster=name, clock=clock, token_id=connection.token_id
            )
            memory = read_memory(settings.state_directory, name) or Memory()
            asked, found = await answer(question, ordered(specs, name, memory), memory, observer)
        finally:
            connection.close()
    except DroverError as error:
        return PreflightResult(name, held.problems, (), (), error)
    return PreflightResult(name, held.problems, asked, found, None)


async def answer(
    question: Question, specs: Specs, memory: Memory, observer: Observer
) -> tuple[tuple[Guest, ...], tuple[Trial, ...]]:
    """The guests that the question is about, and their moves with all findings. Raises DroverError."""
    seen = await (observer.look_closely() if question.node else observer.look())
    specs = rolling.in_turn(specs, seen, memory)
    for node in filter(None, (question.node, question.target)):
        if node not in seen.nodes:
            raise DroverError(Why.UNKNOWN_NODE, f"there is no node {node!r} (known: {', '.join(seen.nodes)})")
    if question.node:
        wishes = wish.drain(specs, seen, memory, NodeName(question.node))
        asked = tuple(each.guest for each in wishes)
    else:
        asked = tuple(g for g in seen.guests.values() if question.guest in (str(g.vmid), g.name))
        if question.target:
            targets: Mapping[Vmid, list[NodeName] | None] = {g.vmid: [NodeName(question.target)] for g in asked}
        elif question.anywhere:
            targets = {g.vmid: sorted(set(seen.nodes) - {g.node}) for g in asked}
        else:
            targets = {g.vmid: None for g in asked}
        wishes = tuple(each for g in asked for each in wish.elsewhere(specs, seen, memory, g.vmid, targets[g.vmid]))
    found = await trials(wishes, specs=specs, seen=seen, memory=memory, observer=observer)
    if not question.node:
        return asked, found
    tried = [await _elsewhere(trial, specs, seen, memory, observer) for trial in found]
    return asked, tuple(trial for both in tried for trial in both)


async def _elsewhere(
    trial: Trial, specs: Specs, seen: Observed, memory: Memory, observer: Observer
) -> tuple[Trial, ...]:
    """A guest of a drain that can't go where the plan sends it goes elsewhere: after its own trial the first that works."""
    if trial.feasible or trial.move is None:
        return (trial,)
    others = sorted(set(seen.nodes) - {trial.guest.node, trial.move.target})
    wishes = wish.elsewhere(specs, seen, memory, trial.guest.vmid, others)
    found = await trials(wishes, specs=specs, seen=seen, memory=memory, observer=observer)
    return (trial, *[other for other in found if other.feasible][:1])
