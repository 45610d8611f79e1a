"""What would happen: plans of manifests, at any revision, for clusters that were looked at now, recorded, or told by a daemon.

Used by `drover plan --against`. The same `decide` as the daemon's; nothing is started, and a recording is looked at through the
same client and observer as a real cluster.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from controller import app
from controller.decide import overrides
from controller.model.errors import DroverError, Rejected
from controller.model.ids import ClusterName
from controller.model.memory import Memory
from controller.model.observed import Observed
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.rehearse.stage import SECRET, TOKEN
from controller.rehearse.virtual_time import EPOCH, VirtualClock, VirtualLoop, run
from controller.report import snapshot
from controller.settings import Settings
from controller.simulator import recorded, seed
from controller.simulator.routes import Simulator
from controller.simulator.transport import SimTransport
from controller.simulator.world import World
from controller.sources import Held, Snapshot, merge
from controller.specs import Specs

LIVE = "live"
OLD_SECONDS = 3600.0
"""A look that is older than this is worth a warning: guests move, start and stop meanwhile."""


@dataclass(frozen=True, slots=True)
class Look:
    """One cluster as it was seen. at: epoch seconds; None for a recording, which does not say when it was made."""

    result: app.PlanResult
    at: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One cluster under both revisions. before: None when nothing is compared. settled: the plan once all of it is done."""

    look: Look
    before: app.PlanResult | None
    after: app.PlanResult
    settled: Plan | None


def looks(against: Sequence[str], settings: Settings, held: Held, cluster: str | None) -> list[Look]:
    """A look at every cluster of `held`: at the real ones (`live`), or from files. Raises DroverError.

    A file is a snapshot of the daemon, a cluster file, or the folder of a recording.
    """
    names = [ClusterName(name) for name in sorted(held.specs.clusters) if cluster in (None, name)]
    found: dict[ClusterName, Look] = {}
    for word in against:
        if word == LIVE:
            for name in names:
                result = asyncio.run(app.look_once(settings, held, name))
                found[name] = Look(result, result.seen.at if result.seen is not None else None, LIVE)
        else:
            look = _from_file(Path(word), names)
            found[look.result.cluster] = look
    for name in names:
        if name not in found:
            text = f"there is no look at cluster {name} in {', '.join(against)}"
            found[name] = Look(_nothing(name, Rejected(Why.NOT_FOUND, text)), None, "")
    return [found[name] for name in names]


def compare(look: Look, before: Held | None, after: Held, *, settle: bool) -> Comparison:
    """The plans of both revisions for one look. settle: also one of the cluster as it is when all of the second is done."""
    known = look.result
    if known.seen is None:
        return Comparison(look, None, replace(known, problems=after.problems), None)
    base = before if before is not None else after
    if known.cluster in base.specs.clusters:
        known = replace(known, memory=_as_said(known.memory, base.specs, known.cluster))
    compared = before is not None and known.cluster in before.specs.clusters
    was = app.planned(known, before) if before is not None and compared else None
    if known.cluster not in after.specs.clusters:
        text = f"there is no PveCluster {known.cluster} any more: nothing of it would be looked at or moved"
        return Comparison(look, was, replace(known, problems=after.problems, error=Rejected(Why.NOT_FOUND, text)), None)
    will = app.planned(known, after)
    assert will.plan is not None
    settled = app.planned(_done(will), after).plan if settle and not will.plan.unsafe else None
    return Comparison(look, was, will, settled)


def both(before: Snapshot | None, after: Snapshot) -> tuple[Held | None, Held]:
    """What is in force at the first revision, and what the second makes of it as the daemon would."""
    was = merge(Held.empty(), before) if before is not None else None
    return was, merge(was if was is not None else Held.empty(), after)


def _from_file(path: Path, names: Sequence[ClusterName]) -> Look:
    if path.is_dir() or path.suffix in (".yaml", ".yml"):
        if len(names) != 1:
            text = (
                f"{path} does not say which PveCluster it is; name one of {', '.join(names) or 'none'} with --cluster"
            )
            raise Rejected(Why.NOT_FOUND, text)
        return Look(_recorded(path, names[0]), None, str(path))
    try:
        given = snapshot.read(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, snapshot.SnapshotError) as error:
        raise Rejected(Why.INVALID, f"{path} can't be read as a snapshot: {error}") from error
    if given.cluster not in names:
        text = f"{path} is of cluster {given.cluster}, and the manifests have {', '.join(names) or 'no PveCluster'}"
        raise Rejected(Why.NOT_FOUND, text)
    result = replace(_nothing(given.cluster, None), seen=given.seen, memory=given.memory)
    return Look(result, given.seen.at, str(path))


def _recorded(path: Path, name: ClusterName) -> app.PlanResult:
    file = path / "cluster.yaml" if path.is_dir() else path
    try:
        cluster = seed.load(file)
    except (OSError, seed.ClusterFileError) as error:
        raise Rejected(Why.INVALID, f"{file} can't be simulated: {error}") from error
    loop = VirtualLoop()
    try:
        seen = run(_observed(cluster, name, loop), loop)
    except DroverError as error:
        return _nothing(name, error)
    return replace(_nothing(name, None), seen=seen)


async def _observed(cluster: seed.ClusterFile, name: ClusterName, loop: VirtualLoop) -> Observed:
    clock = VirtualClock(loop)
    world = World(cluster.model_copy(update={"start": EPOCH}), seed=0)
    tokens = {login: token.secret for login, token in cluster.access.tokens.items()}
    login, secret = next(iter(tokens.items()), (TOKEN, SECRET))
    if recorded.TOKEN in tokens:
        login, secret = recorded.TOKEN, tokens[recorded.TOKEN]
    auth = f"PVEAPIToken={login}={secret}"
    transport = SimTransport(Simulator(world), clock=clock, auth=auth, endpoints=tuple(world.nodes))
    return await Observer(PveClient(transport), cluster=name, clock=clock, token_id=login).look_closely()


def _nothing(name: ClusterName, error: DroverError | None) -> app.PlanResult:
    return app.PlanResult(name, Specs(), (), None, None, error)


def _as_said(memory: Memory, specs: Specs, name: ClusterName) -> Memory:
    """What people ordered by hand counts until the repository says something new; generations count differently here."""
    own = specs.for_cluster(name)
    orders = {
        node: replace(order, said=overrides.said(own, own.clusters[name], node))
        for node, order in memory.overrides.items()
    }
    turns = {
        key: replace(turn, generation=own.maintenances[turn.maintenance.name].metadata.generation)
        for key, turn in memory.turns.items()
        if turn.maintenance.name in own.maintenances
    }
    return replace(memory, overrides=orders, turns=turns)


def _done(result: app.PlanResult) -> app.PlanResult:
    """The look as it will be when every move of the plan has ended well."""
    assert result.seen is not None
    assert result.plan is not None
    targets = {move.vmid: move.target for move in result.plan.all_moves}
    targets |= {vmid: flight.target for vmid, flight in result.memory.flights.items()}
    moved = {
        vmid: replace(guest, node=targets[vmid], lock="") if vmid in targets else guest
        for vmid, guest in result.seen.guests.items()
    }
    return replace(result, seen=replace(result.seen, guests=moved, tasks=()), memory=replace(result.memory, flights={}))


def old(looked: Iterable[Look], now: float) -> float | None:
    """The age in seconds of the oldest look that is too old to be relied upon."""
    ages = [now - look.at for look in looked if look.at is not None]
    return max((age for age in ages if age > OLD_SECONDS), default=None)
