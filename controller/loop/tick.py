"""READ THIS FIRST. One tick of one cluster: look, settle what ended, decide, look again and act, say what happened.

Called by `loop.daemon`, by nobody else. Nothing waits in here for a migration: it is started, and seen again at a later tick.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from controller.act import backoff, breaker, execute, guardrails, inflight, jobs, media, power
from controller.act.abort import Guard
from controller.act.breaker import Breaker
from controller.act.ha_rules import RuleWriter
from controller.act.hooks import Hooks
from controller.clock import Clock
from controller.decide import approval, ha_maintenance, replication, rolling
from controller.decide.called_off import called_off
from controller.decide.windows import next_change
from controller.loop import by_hand
from controller.loop.planner import Planner
from controller.model.errors import DroverError
from controller.model.event import Event
from controller.model.ids import ClusterName, NodeName
from controller.model.memory import Abort, Begun, FlightPhase, Memory
from controller.model.observed import Observed
from controller.model.outcome import Outcome
from controller.model.plan import DrainMode, Lane, Plan
from controller.model.reasons import Why
from controller.model.view import ClusterView, Finding
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.report.events import of_approvals, of_turns
from controller.report.job_events import of_jobs
from controller.report.store import Store
from controller.specs import Mode, PveCluster, Specs
from controller.specs.pvecluster import Coexistence

ROUNDS = 8
"""How often one tick plans again because somebody could not be moved after all; the next tick goes on."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loop of one cluster owns for as long as its connection settings stay the same."""

    name: ClusterName
    client: PveClient
    observer: Observer
    store: Store
    guard: Guard
    planner: Planner
    hooks: Hooks
    rule_writer: RuleWriter
    clock: Clock
    forbidden: Callable[[PveCluster], Finding | None]  # what the machine's settings have against acting in this cluster
    superseded: Callable[[], Finding | None]  # why a plan made from the specs of this tick is out of date by now


async def tick(parts: Parts, specs: Specs, last: ClusterView) -> ClusterView:
    """One walk along the line; returns how the cluster stands. Faults of PVE, network and disk end in the view, not in a raise."""
    began = parts.clock.monotonic()
    view = await _walk(parts, specs, last)
    return replace(view, ticks=last.ticks + 1, tick_seconds=parts.clock.monotonic() - began)


async def _walk(parts: Parts, specs: Specs, last: ClusterView) -> ClusterView:
    cluster = specs.clusters[parts.name]
    try:
        parts.observer.expect(writes_ha_rules=_coordinates(cluster))
        seen = await parts.observer.look()
        ours = frozenset(parts.store.memory().flights)
        _refuse_another_cluster(parts.store, seen)
        watched = _arrived(parts.store)
        ended = await inflight.settle(
            parts.store, parts.client, seen, specs=specs, clock=parts.clock, progress=last.progress
        )
        if ended or _arrived(parts.store) - watched:  # nobody plans on a look that is older than the news
            if seen.jobs:  # PVE turns them round with their guests
                parts.observer.jobs_changed()
            seen = await parts.observer.look()
        seen = inflight.without_ended(seen, parts.store)
        moved = by_hand.notice(parts.store, seen, ours)
        turned, specs = _turned(parts, specs, seen, last.plan)
        for flight in called_off(specs, seen, parts.store.memory()):
            text = f"{flight.cause} was called off, and said AbortRunning"
            parts.store.abort_flight(flight.id, Abort(Why.WITHDRAWN, text))
        fuses = breaker.state(
            parts.store.attempts(breaker.ATTEMPTS), cluster.spec.safety.circuit_breaker, parts.clock.wall()
        )
    except DroverError as error:
        return _blind(parts, cluster, last, error)
    view = ClusterView(
        cluster=parts.name,
        at=seen.at,
        connected=Finding(True, Why.CONNECTED, "the API answers"),
        armed=_armed(parts, cluster, seen, fuses),
        seen=seen,
        memory=parts.store.memory(),
        progress={vmid: progress for vmid, progress in last.progress.items() if vmid in parts.store.memory().flights},
        outcomes=ended,
        jobs=replication.reports(specs, seen, last.plan.replicas.adopted if last.plan is not None else {}),
        breaker=fuses.state,
        spared=tuple(fuses.nodes),
        lacking=tuple(str(missing) for missing in parts.observer.missing),
        missing_rights=parts.observer.missing_rights,
        insecure=cluster.spec.tls.insecure_skip_verify,
        again_at=next_change(specs, cluster, seen.at),
        events=(*moved, *turned),
    )
    if view.armed.why is Why.MODE_OBSERVE:
        return view
    if view.armed.ok:
        view = await _with_media_restored(parts, specs, view, seen)
    view = await _with_ha_rules(parts, await _planned(parts, specs, replace(view, plan=last.plan), fuses))
    view = await _act(parts, specs, view, fuses)
    view = _with_hooks(parts, specs, await _with_power(parts, specs, view, fuses))
    view = _with_job_news(parts, await _with_jobs(parts, specs, view, fuses))
    return by_hand.with_drift(parts.store, view)


def _turned(parts: Parts, specs: Specs, seen: Observed, plan: Plan | None) -> tuple[tuple[Event, ...], Specs]:
    """Rolling maintenances moved on: what is told of it, and the specs in which only nodes whose turn it is are drained."""
    before = parts.store.memory()
    if specs.clusters[parts.name].spec.mode is Mode.OBSERVE:
        return (), rolling.applied(specs, before.turns.values())
    turns = rolling.advance(specs, seen, before, plan)
    parts.store.note_turns(turns)
    return of_turns(before.turns, turns, at=seen.at), rolling.applied(specs, turns)


def _with_hooks(parts: Parts, specs: Specs, view: ClusterView) -> ClusterView:
    """Hooks that have to run are started; nobody waits for them here."""
    plan, seen = view.plan, view.seen
    if plan is None or seen is None:
        return view
    may_start = not plan.unsafe and view.armed.ok and parts.superseded() is None
    wanted = (*rolling.hooks(specs, plan, view.memory), *ha_maintenance.calls(specs, seen, plan, view.memory))
    try:
        happened = parts.hooks.tend(wanted, start=may_start)
        asked = {call.key for call in wanted}
        over = [key for key, run in parts.store.memory().hooks.items() if run.over and key not in asked]
        parts.store.forget_hooks(key for key in over if not rolling.remembers(parts.store.memory(), key))
    except DroverError as error:
        return replace(view, armed=Finding(False, error.why, error.message))
    return replace(view, memory=parts.store.memory(), events=(*view.events, *happened))


def _coordinates(cluster: PveCluster) -> bool:
    return cluster.spec.ha.coexistence is Coexistence.COORDINATE and cluster.spec.mode is Mode.ENFORCE


async def _with_ha_rules(parts: Parts, view: ClusterView) -> ClusterView:
    """Rules of PVE HA are written before anybody moves: HA would undo what the old ones forbid."""
    plan = view.plan
    if plan is None or plan.unsafe or not view.armed.ok:
        return view
    events, changed = await parts.rule_writer.carry_out(plan.ha.actions, still_wanted=parts.superseded)
    if changed:
        parts.observer.ha_rules_changed()
    return replace(view, events=(*view.events, *events), ha_refused=parts.rule_writer.refused())


async def _with_media_restored(parts: Parts, specs: Specs, view: ClusterView, seen: Observed) -> ClusterView:
    try:
        events = await media.restore(store=parts.store, client=parts.client, seen=seen, specs=specs, clock=parts.clock)
    except DroverError as error:
        return replace(view, armed=Finding(False, error.why, error.message))
    return replace(view, events=(*view.events, *events), memory=parts.store.memory())


async def _with_jobs(parts: Parts, specs: Specs, view: ClusterView, fuses: Breaker) -> ClusterView:
    """Do what the newest plan asks of replication jobs, after its moves: those are waited for by people."""
    plan, seen, before = view.plan, view.seen, view.memory
    if plan is None or plan.unsafe or not view.armed.ok or seen is None:
        return view
    refused = await _vain_copies(parts, specs, plan, seen)
    if refused:
        view = replace(view, outcomes=view.outcomes + backoff.news(refused, before))
        view = await _planned(parts, specs, view, fuses)
        spared = {outcome.vmid for outcome in refused}
        plan = replace(plan, jobs=tuple(action for action in plan.jobs if action.vmid not in spared))
    try:
        acted = await jobs.carry_out(
            plan.jobs,
            specs=specs,
            seen=seen,
            store=parts.store,
            client=parts.client,
            clock=parts.clock,
            still_wanted=parts.superseded,
        )
    except DroverError as error:
        return replace(view, armed=Finding(False, error.why, error.message))
    if acted.changed:
        parts.observer.jobs_changed()
    return replace(view, events=(*view.events, *acted.events), memory=parts.store.memory())


def _with_job_news(parts: Parts, view: ClusterView) -> ClusterView:
    """Jobs that are orphans now, began to fail, or are well again."""
    events, told = of_jobs(parts.store.memory().replication.told, view)
    try:
        parts.store.note_told(told)
    except DroverError as error:
        return replace(view, armed=Finding(False, error.why, error.message))
    return replace(view, events=(*view.events, *events), memory=parts.store.memory())


async def _vain_copies(parts: Parts, specs: Specs, plan: Plan, seen: Observed) -> tuple[Outcome, ...]:
    """Moves that would be refused in the end: no copy of disks is begun for them."""
    begun = {(each.vmid, each.target) for each in plan.jobs if each.why is Why.REPLICATE_FIRST}
    moves = [each.move for each in plan.waiting if each.move is not None]
    return await execute.examine(
        [move for move in moves if (move.vmid, move.target) in begun],
        specs=specs,
        seen=seen,
        store=parts.store,
        client=parts.client,
        observer=parts.observer,
        clock=parts.clock,
    )


def _armed(parts: Parts, cluster: PveCluster, seen: Observed, fuses: Breaker) -> Finding:
    armed = parts.forbidden(cluster) or guardrails.armed(
        cluster, seen, age_seconds=0.0, store_failure=parts.store.failure()
    )
    if armed.ok and fuses.cluster is not None and fuses.cluster.open:
        return Finding(False, Why.BREAKER_OPEN, fuses.cluster.message)
    return armed


async def _planned(parts: Parts, specs: Specs, view: ClusterView, fuses: Breaker) -> ClusterView:
    """The view with a new plan; without one, because nothing may be started then, it keeps the old."""
    assert view.seen is not None
    try:
        parts.store.clear_backoff(backoff.outdated(parts.store.memory(), specs))
        parts.store.forget_refusals(backoff.outdated_refusals(parts.store.memory(), specs))
        spared = {node: trip.message for node, trip in fuses.nodes.items()}
        memory = replace(_with_the_past(parts.store, view.plan, spared), emptied=_emptied(view), progress=view.progress)
        plan = await parts.planner(specs, view.seen, memory)
        parts.observer.need_configs(plan.unread)
        parts.observer.hindered(by_rights=plan.hindered_by_rights)
        parts.store.forget_origins(plan.forget_origins)
        parts.store.note_replication(plan.replicas.deletions, plan.replicas.gone_since)
        parts.store.forget_halted(plan.forget_halted)
        parts.store.note_begun(_begun(view, plan, memory))
        parts.store.note_approvals(approval.remembered(plan, memory, specs))
    except DroverError as error:
        return replace(view, armed=Finding(False, error.why, error.message), memory=parts.store.memory())
    asked = of_approvals(view.plan, plan, at=view.seen.at)
    return replace(view, plan=plan, memory=parts.store.memory(), events=(*view.events, *asked))


def _with_the_past(store: Store, last: Plan | None, spared: Mapping[NodeName, str]) -> Memory:
    """What is remembered, with what the plan before wanted: one that is made anew while moves run should not change its mind."""
    ended, known = store.attempts(breaker.ATTEMPTS), store.memory()
    return replace(
        known,
        spared=spared,
        voluntary=tuple((each.vmid, each.at) for each in ended if each.lane is Lane.BALANCE),
        restless_since=last.restless_since if last is not None else None,
        targets=approval.targets(known) | ({move.vmid: move.target for move in last.all_moves} if last else {}),
    )


def _emptied(view: ClusterView) -> frozenset[NodeName]:
    """Nodes in maintenance that an earlier look found empty; in a second plan of the same look, what the first one made of it."""
    if view.plan is None or view.seen is None:
        return frozenset()
    earlier = view.plan.at < view.seen.at
    return frozenset(drain.node for drain in view.plan.drains if (drain.empty if earlier else drain.drained))


def _begun(view: ClusterView, plan: Plan, memory: Memory) -> list[Begun]:
    """Evacuations that have begun: those that are known, and those that nothing holds back any more."""
    found = []
    for drain in plan.drains:
        known = memory.begun.get(drain.node)
        if known is not None and known.maintenance == drain.ref:
            found.append(known)
        elif drain.mode is DrainMode.EVACUATE and drain.hold is None and view.armed.ok:
            found.append(Begun(drain.ref, drain.node, plan.at))
    return found


async def _with_power(parts: Parts, specs: Specs, view: ClusterView, fuses: Breaker) -> ClusterView:
    """Guests that a maintenance shuts down, or that were shut down for one, are asked to."""
    if view.plan is None or view.plan.unsafe or not view.armed.ok:
        return view
    before = parts.store.memory().backoffs
    happened = await power.carry_out(
        view.plan.power,
        specs=specs,
        store=parts.store,
        client=parts.client,
        clock=parts.clock,
        still_wanted=lambda: parts.superseded() is None,
    )
    view = replace(view, memory=parts.store.memory(), events=(*view.events, *happened))
    if view.memory.backoffs == before:
        return view
    return await _planned(parts, specs, view, fuses)  # who was refused is blocked, and does not wait


def _arrived(store: Store) -> frozenset[int]:
    """Flights whose guest is well on its target and only watched."""
    return frozenset(f.id for f in store.memory().flights.values() if f.phase is FlightPhase.ARRIVED)


def _refuse_another_cluster(store: Store, seen: Observed) -> None:
    """The cluster's own name is pinned at first contact: a token that leads to another cluster must not act there."""
    pinned = store.pinned()
    if pinned is None:
        store.pin(seen.pve_name)
    elif pinned != seen.pve_name:
        raise DroverError(
            Why.WRONG_CLUSTER,
            f"the endpoints lead to cluster {seen.pve_name!r}, but {pinned!r} was first seen under this name",
        )


async def _act(parts: Parts, specs: Specs, view: ClusterView, fuses: Breaker) -> ClusterView:
    """Start what may start now; who turns out to be blocked gives its place to others."""
    for _ in range(ROUNDS):
        plan, before = view.plan, view.memory
        if plan is not None and plan.unsafe:
            return replace(view, armed=Finding(False, Why.PLAN_UNSAFE, "; ".join(plan.unsafe)))
        if plan is None or not view.armed.ok or not plan.moves:
            return view
        if fuses.cluster is not None:  # half open: one move is in flight at a time, and shows whether things work again
            plan = replace(plan, moves=plan.moves[:1] if not view.memory.flights else ())
        events: list[Event] = [*await parts.guard.pilot.measure(plan.moves, specs)]
        outcomes = await _start(parts, specs, view, plan, events.append)
        after = parts.store.memory()
        view = replace(
            view, memory=after, events=(*view.events, *events), outcomes=view.outcomes + backoff.news(outcomes, before)
        )
        if not any(backoff.holds_back(outcome, after) for outcome in outcomes):
            return view
        view = await _planned(parts, specs, view, fuses)
    return view


async def _start(
    parts: Parts, specs: Specs, view: ClusterView, plan: Plan, tell: Callable[[Event], None]
) -> tuple[Outcome, ...]:
    assert view.seen is not None
    return await execute.execute(
        plan.moves,
        specs=specs,
        seen=view.seen,
        store=parts.store,
        client=parts.client,
        observer=parts.observer,
        clock=parts.clock,
        still_wanted=lambda _: parts.superseded(),
        tell=tell,
    )


def _blind(parts: Parts, cluster: PveCluster, last: ClusterView, error: DroverError) -> ClusterView:
    """The view when the cluster could not be looked at: the last look, older by now, and nothing is started."""
    age = parts.clock.wall() - last.seen.at if last.seen is not None else 0.0
    armed = Finding(False, error.why, error.message)
    if last.seen is not None:
        verdict = guardrails.armed(cluster, last.seen, age_seconds=age, store_failure=parts.store.failure())
        armed = armed if verdict.ok else verdict
    return replace(
        last,
        at=parts.clock.wall(),
        connected=Finding(False, error.why, error.message),
        armed=armed,
        seen_age_seconds=age,
        memory=parts.store.memory(),
        lacking=tuple(str(missing) for missing in parts.observer.missing),
        missing_rights=parts.observer.missing_rights,
        outcomes=(),
        events=(),
    )
