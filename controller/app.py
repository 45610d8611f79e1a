"""Wires the real parts together: settings -> transport -> loop. The only place that builds long-lived objects.

Called by `cli` (`run`, `plan`, `preflight`, `record`) and by `rehearse.demo`.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog
from pydantic import ValidationError

from controller.act.hooks import MachineHooks
from controller.act.trial import Trial, trials
from controller.clock import Clock, SystemClock
from controller.decide import capacity, decide, overrides, rolling
from controller.decide.candidates import Explainer
from controller.decide.export import Export, Value, export
from controller.decide.preflight import wish
from controller.loop.cluster_loop import Connection, Wiring
from controller.loop.daemon import Daemon
from controller.loop.planner import ThreadPlanner
from controller.loop.publish import Listener, Publisher
from controller.model.errors import DroverError
from controller.model.event import Event, EventType
from controller.model.explanation import Explanation
from controller.model.ids import ClusterName, NodeName, ObjectRef, Vmid
from controller.model.memory import Memory
from controller.model.notice import Gravity, Notice
from controller.model.observed import Guest, Observed
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.model.room import NodeRoom
from controller.model.view import ClusterView, Finding
from controller.observe.cluster import Observer
from controller.outgoing import Answer
from controller.pve.client import PveClient
from controller.pve.discreet import Discreet
from controller.pve.metered import Call, Metered
from controller.pve.proxmoxer_transport import ProxmoxerTransport, TlsOptions, TokenAuth
from controller.pve.recorder import Recorder, Survey
from controller.pve.scrub import Scrubber
from controller.pve.ticket import TicketAuth
from controller.report import access, control, http, sinks
from controller.report.board import Board
from controller.report.commit_status import CommitStatus
from controller.report.log import Redactor
from controller.report.metrics import Metrics
from controller.report.notifier import Notifier
from controller.report.store import Store, read_memory, stored_sources
from controller.report.wake_up import WakeUp
from controller.settings import GIT_FOLDER, Credential, Hook, Settings
from controller.sources import Held, Problem, Source, merge
from controller.sources.folder import FolderSource
from controller.sources.git import GitSource
from controller.specs import API_VERSION, PveCluster, Specs

SHUTDOWN_SECONDS = 10.0
"""How long a SIGTERM waits for the loops to let go; migrations go on inside PVE and are adopted at the next start."""


def run(settings: Settings, *, speed: float = 1.0) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises SettingsError and OSError when it can't start at all.

    speed: seconds of its clock in one real second; anything but 1 is for a simulated cluster that is served as fast.
    """
    asyncio.run(_run_until_signal(settings, SystemClock(speed)))


async def _run_until_signal(settings: Settings, clock: Clock) -> None:
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    await serve(settings, stop, clock=clock)


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    clock: Clock,
    listeners: tuple[Listener, ...] = (),
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Run the daemon until `stop` is set. `ready` is told the address of the HTTP server once it listens."""
    log = structlog.get_logger()
    board, metrics = Board(clock), Metrics()
    notifier = Notifier(settings.sinks, clock, metrics.notifications)
    publisher = Publisher(board, metrics, clock, listeners, notifier)
    wiring = Wiring(
        clock=clock,
        connect=lambda spec: connect(spec, settings, clock, metrics.count_call(ClusterName(spec.metadata.name))),
        planner=lambda: ThreadPlanner(settings.loop.planner_seconds),
        forbidden=lambda spec: missing_hooks(spec, settings.hooks),
        run_hook=MachineHooks(settings.hooks, clock, hide=Redactor(settings.secrets).known),
        publisher=publisher,
        open_store=lambda name: Store.open(settings.state_directory, name),
        interval_seconds=settings.loop.interval_seconds,
    )
    settings.state_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    source = source_of(settings, clock)
    daemon = Daemon(source, wiring, held=remembered(settings.state_directory))
    reading = replace(settings.http, token=access.token_of(settings.http, settings.state_directory))
    webhook = settings.git.webhook if settings.git is not None else None
    wake_up = WakeUp(webhook, source.look_now, clock, metrics) if webhook is not None else None
    server = await http.serve(board, metrics, reading, explain_guest, rooms, wake_up=wake_up)
    socket = await control.serve(settings.socket, daemon)
    ready(server.address)
    log.info("started", source=str(settings.source), address=server.address)
    task = asyncio.create_task(daemon.run(), name="daemon")
    telling = {asyncio.create_task(notifier.run(), name="notifications")}
    if settings.git is not None and settings.git.commit_status is not None:
        file = settings.state_directory / GIT_FOLDER / "status.json"
        statuses = CommitStatus(settings.git.commit_status, file, board, clock, metrics)
        telling.add(asyncio.create_task(statuses.run(), name="commit statuses"))
    for each in telling:
        each.add_done_callback(_told_of)
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()  # never in normal life: a fault of Drover itself, which must not look like a clean exit
        log.info("stopping", note="running migrations go on inside PVE")
    finally:
        stopping.cancel()
        for each in (task, *telling):
            each.cancel()
        await asyncio.wait({task, *telling}, timeout=SHUTDOWN_SECONDS)
        await socket.close()
        await server.close()


def _told_of(task: asyncio.Task[None]) -> None:
    """A fault in telling others must neither end the daemon nor go unseen."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        structlog.get_logger().error(f"{task.get_name()} have ended: a fault of Drover", exc_info=fault)


def rooms(view: ClusterView, specs: Specs) -> Mapping[NodeName, NodeRoom]:
    """How much memory of every node is taken, on its way and kept free; nothing before the first look."""
    own = specs.for_cluster(view.cluster)
    if view.seen is None or view.cluster not in own.clusters:
        return {}
    return capacity.rooms(own, view.seen, view.memory)


def source_of(settings: Settings, clock: Clock) -> Source:
    """Where the daemon reads manifests: the repository of the settings, or the folder."""
    if settings.git is None:
        return FolderSource(settings.source)
    return GitSource(settings.git, settings.state_directory / GIT_FOLDER, clock)


def explain_guest(view: ClusterView, specs: Specs, vmid: Vmid) -> Explanation:
    """Explain one guest of a view that has a plan. Raises KeyError when it was not seen."""
    assert view.seen is not None
    assert view.plan is not None
    ordered = _ordered(specs.for_cluster(view.cluster), view.cluster, view.memory)
    ordered = rolling.applied(ordered, view.memory.turns.values())
    return Explainer(ordered, view.seen, view.memory, view.plan).explain(vmid)


async def try_sink(settings: Settings, name: str, gravity: Gravity) -> Answer:
    """Send a message to a sink of the settings, once. Raises DroverError(NO_SINK) and SettingsError."""
    if name not in settings.sinks:
        known = ", ".join(sorted(settings.sinks)) or "none"
        raise DroverError(Why.NO_SINK, f"the settings define no sink {name!r} (defined: {known})")
    at = SystemClock().wall()
    event = Event(EventType.NORMAL, "Test", ObjectRef("Sink", name), "a message to try this sink", at, at)
    notice = Notice("", f"test-{at:.6f}", name, ClusterName("none"), gravity, event, at)
    sender = sinks.sender(settings.sinks[name])
    try:
        return await sender.send(notice, at=at)
    finally:
        sender.close()


def system_clock() -> Clock:
    """The machine's own clock, for verbs that have to wait."""
    return SystemClock()


def remembered(state_directory: Path) -> Held:
    """The specs that were last in force, from the newest state file: a restart with a broken repository goes on with them."""
    sources = stored_sources(state_directory)
    return Held.from_json(sources[-1]) if sources else Held.empty()


def connect(
    spec: PveCluster, settings: Settings, clock: Clock, on_call: Callable[[Call], None] = lambda _: None
) -> Connection:
    """A counted connection to the cluster of `spec`. Raises DroverError(NO_CREDENTIALS)."""
    credential = credential_for(spec, settings.credentials)
    tls = spec.spec.tls
    transport = ProxmoxerTransport(
        spec.spec.endpoints,
        _auth(credential, clock),
        TlsOptions(
            ca_file=Path(tls.ca_file) if tls.ca_file else None,
            fingerprint_sha256=credential.fingerprint_sha256 or tls.fingerprint_sha256 or None,
            insecure=tls.insecure_skip_verify,
        ),
    )
    return Connection(
        Metered(Discreet(transport, Redactor(settings.secrets).known), on_call, monotonic=clock.monotonic),
        credential.login,
        transport.close,
    )


def _auth(credential: Credential, clock: Clock) -> TokenAuth | TicketAuth:
    secret = credential.secret.reveal()
    if credential.is_token:
        return TokenAuth(credential.login, secret)
    return TicketAuth(credential.login, secret, clock.monotonic)


def credential_for(spec: PveCluster, credentials: Mapping[str, Credential]) -> Credential:
    """The credential that `spec` names, if the machine's settings let it be sent to these endpoints. Raises DroverError."""
    name = spec.spec.auth.credentials_ref
    credential = credentials.get(name)
    if credential is None:
        known = ", ".join(sorted(credentials)) or "none"
        raise DroverError(Why.NO_CREDENTIALS, f"the settings define no credential {name!r} (defined: {known})")
    foreign = [endpoint for endpoint in spec.spec.endpoints if endpoint.rstrip("/") not in _normal(credential)]
    if foreign:
        text = f"the settings bind credential {name!r} to other endpoints; {', '.join(foreign)} is not among them"
        raise DroverError(Why.NO_CREDENTIALS, text)
    pinned, asked = credential.fingerprint_sha256, spec.spec.tls.fingerprint_sha256
    if pinned and asked and pinned.lower() != asked.lower():
        raise DroverError(Why.NO_CREDENTIALS, f"the settings bind credential {name!r} to another fingerprint")
    return credential


def missing_hooks(spec: PveCluster, hooks: Mapping[str, Hook]) -> Finding | None:
    """Why nothing may be started in a cluster that counts on hooks which the machine's settings do not define."""
    named = (spec.spec.maintenance.ha_maintenance_hook, spec.spec.maintenance.drained_hook)
    missing = sorted({name for name in named if name is not None and name not in hooks})
    if not missing:
        return None
    known = ", ".join(sorted(hooks)) or "none"
    return Finding(False, Why.NO_HOOK, f"the settings define no hook {', '.join(missing)} (defined: {known})")


def _normal(credential: Credential) -> frozenset[str]:
    return frozenset(endpoint.rstrip("/") for endpoint in credential.endpoints)


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
    specs = _ordered(held.specs.for_cluster(looked.cluster), looked.cluster, looked.memory)
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


def _ordered(specs: Specs, name: ClusterName, memory: Memory) -> Specs:
    """The specs with what was ordered by hand laid over them."""
    return overrides.applied(specs, specs.clusters[name], memory.overrides)


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
            asked, found = await answer(question, _ordered(specs, name, memory), memory, observer)
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


@dataclass(frozen=True, slots=True)
class Recording:
    """What was read of a cluster. refused: paths that could not be read, with the HTTP status, None without an answer."""

    nodes: int
    guests: int
    calls: int
    refused: Mapping[str, int | None]


def record(
    settings: Settings,
    cluster: str,
    folder: Path,
    *,
    path: Path | None = None,
    keep_names: bool = False,
    calls_per_second: float = 10.0,
    progress: Callable[[int, int], None] = lambda _done, _known: None,
) -> Recording:
    """Read all of a cluster that a simulation needs and write it, scrubbed, into `folder`, which is made.

    path: a folder of manifests, else the one of the settings. Raises DroverError, and OSError when the folder can't be written.
    """
    held = merge(Held.empty(), FolderSource(path or settings.source).read_now())
    spec = held.specs.clusters.get(ClusterName(cluster))
    if spec is None:
        known = ", ".join(sorted(held.specs.clusters)) or "none"
        raise DroverError(
            Why.NOT_FOUND, f"there is no PveCluster {cluster!r} in {path or settings.source} (known: {known})"
        )
    folder.mkdir(parents=True)
    clock = SystemClock()
    connection = connect(spec, settings, clock)
    recorder = Recorder(connection.transport, folder, Scrubber(keep_names=keep_names))
    survey = Survey(recorder, pause=lambda: clock.sleep(1 / calls_per_second), progress=progress)
    try:
        asyncio.run(survey.run())
    finally:
        connection.close()
    return Recording(survey.nodes, survey.guests, recorder.calls, survey.refused)


@dataclass(frozen=True, slots=True)
class Exported:
    """Manifests of a cluster as it is; `lacking`: rights of the token, without which rows may be missing."""

    export: Export
    seen: Observed
    lacking: tuple[str, ...]
    missing_rights: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """How a cluster is reached that no manifest tells of yet. credential: "" = the only one of the settings."""

    credential: str = ""
    ca_file: str = ""
    fingerprint_sha256: str = ""


def export_once(settings: Settings, name: str, path: Path | None, reach: Reach) -> Exported:
    """Look at a cluster once and write down what is in force there. Raises DroverError.

    path: a folder that has its PveCluster; None: it is reached as `reach` says.
    """
    if path is None:
        spec = _cluster_of(settings, ClusterName(name), reach)
    else:
        held = merge(Held.empty(), FolderSource(path).read_now())
        if name not in held.specs.clusters:
            known = ", ".join(sorted(held.specs.clusters)) or "none"
            raise DroverError(Why.NOT_FOUND, f"there is no PveCluster {name!r} in {path} (known: {known})")
        spec = held.specs.clusters[name]
    return asyncio.run(_export(settings, spec))


def _cluster_of(settings: Settings, name: ClusterName, reach: Reach) -> PveCluster:
    known = ", ".join(sorted(settings.credentials)) or "none"
    if not reach.credential and len(settings.credentials) != 1:
        raise DroverError(Why.NO_CREDENTIALS, f"say with --credential which one to use (defined: {known})")
    chosen = reach.credential or next(iter(settings.credentials))
    if chosen not in settings.credentials:
        raise DroverError(Why.NO_CREDENTIALS, f"the settings define no credential {chosen!r} (defined: {known})")
    tls = {"caFile": reach.ca_file, "fingerprintSha256": reach.fingerprint_sha256}
    spec = {
        "endpoints": list(settings.credentials[chosen].endpoints),
        "auth": {"credentialsRef": chosen},
        "tls": {key: value for key, value in tls.items() if value},
    }
    raw = {"apiVersion": API_VERSION, "kind": "PveCluster", "metadata": {"name": name}, "spec": spec}
    try:
        return PveCluster.model_validate(raw)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise DroverError(Why.NO_CREDENTIALS, f"no PveCluster can be made of it: {said}") from None


async def _export(settings: Settings, spec: PveCluster) -> Exported:
    clock, name = SystemClock(), ClusterName(spec.metadata.name)
    connection = connect(spec, settings, clock)
    observer = Observer(PveClient(connection.transport), cluster=name, clock=clock, token_id=connection.token_id)
    try:
        seen = await observer.look_closely()
    finally:
        connection.close()
    reached: dict[str, Value] = spec.spec.model_dump(
        mode="json", by_alias=True, include={"endpoints", "auth", "tls"}, exclude_defaults=True
    )
    return Exported(
        export(seen, reached), seen, tuple(str(missing) for missing in observer.missing), observer.missing_rights
    )
