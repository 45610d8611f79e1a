"""One look and one plan, without a daemon: `drover plan`, `explain --manifests`, reviews. Starts nothing. Called by `cli`."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

from controller.app.connection import connect
from controller.clock import SystemClock
from controller.decide import decide, overrides, rolling
from controller.decide.candidates import Explainer
from controller.model.errors import DroverError
from controller.model.explanation import Explanation
from controller.model.ids import ClusterName
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.plan import Plan
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.report.store import read_memory
from controller.settings import Settings
from controller.sources import Held, Problem, merge
from controller.sources.folder import FolderSource
from controller.specs import Specs


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What one cluster would look like, or why that can't be said."""

    cluster: ClusterName
    specs: Specs
    problems: tuple[Problem, ...]
    seen: Observed | None
    plan: Plan | None
    error: DroverError | None
    lacking: tuple[str, ...] = ()  # rights of the token: without them PVE leaves rows out of lists
    missing_rights: tuple[str, ...] = ()  # the `pveum` lines that would grant them
    memory: Memory = field(default_factory=Memory)

    def explainer(self) -> Explainer | None:
        """What explains the guests of this plan; None without one."""
        if self.seen is None or self.plan is None:
            return None
        return Explainer(self.specs, self.seen, self.memory, self.plan)


def explained(result: PlanResult, guest: str) -> list[Explanation]:
    """Explanations of the guests that have this number or name."""
    explainer = result.explainer()
    if explainer is None or result.seen is None:
        return []
    return [explainer.explain(v) for v, one in sorted(result.seen.guests.items()) if guest in (str(v), one.name)]


def plan_once(settings: Settings, path: Path | None = None, cluster: str | None = None) -> list[PlanResult]:
    """Look at every cluster of the folder once and plan, without starting anything."""
    held = merge(Held.empty(), FolderSource(path or settings.source).read_now())
    names = [ClusterName(name) for name in sorted(held.specs.clusters) if cluster in (None, name)]
    return [asyncio.run(_plan(settings, held, name)) for name in names]


async def _plan(settings: Settings, held: Held, name: ClusterName) -> PlanResult:
    result = await look_once(settings, held, name)
    return planned(result, held) if result.seen is not None and result.error is None else result


def planned(looked: PlanResult, held: Held) -> PlanResult:
    """The plan of `held` for a cluster that was looked at."""
    assert looked.seen is not None
    specs = ordered(held.specs.for_cluster(looked.cluster), looked.cluster, looked.memory)
    specs = rolling.in_turn(specs, looked.seen, looked.memory)
    plan = decide(specs, looked.seen, looked.memory)
    return replace(looked, specs=specs, problems=held.problems, plan=plan)


async def look_once(settings: Settings, held: Held, name: ClusterName) -> PlanResult:
    """One close look at a cluster of `held` and what is remembered of it, without a plan; or why there is none."""
    specs, clock = held.specs.for_cluster(name), SystemClock()
    result = PlanResult(name, specs, held.problems, None, None, None)
    try:
        connection = connect(specs.clusters[name], settings, clock)
        client = PveClient(connection.transport)
        observer = Observer(client, cluster=name, clock=clock, token_id=connection.token_id)
        try:
            seen = await observer.look_closely()
        finally:
            connection.close()
            lacking = tuple(str(missing) for missing in observer.missing)
            result = replace(result, lacking=lacking, missing_rights=observer.missing_rights)
        memory = read_memory(settings.state_directory, name) or Memory()
    except DroverError as error:
        return replace(result, error=error)
    return replace(result, seen=seen, memory=memory)


def ordered(specs: Specs, name: ClusterName, memory: Memory) -> Specs:
    """The specs with what was ordered by hand laid over them."""
    return overrides.applied(specs, specs.clusters[name], memory.overrides)
