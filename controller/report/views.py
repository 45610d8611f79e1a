"""The read-only kinds: Plan, Migration (one attempt each), Guest (where, why, what next, what blocks), Event. Pure.

Used by `report.http` and, for plans that are made on the spot, by `cli`.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from controller.model.event import Event
from controller.model.explanation import Explanation
from controller.model.ids import ClusterName, ObjectRef, Vmid
from controller.model.memory import Flight
from controller.model.observed import Guest, Observed
from controller.model.outcome import Outcome, Progress, Result
from controller.model.plan import Drain, Move, Plan
from controller.model.replication import JobAction, JobVerb
from controller.model.revision import SourceView
from controller.model.view import ClusterView
from controller.report import replication
from controller.report.guests import Verdict, verdicts
from controller.report.objects import Data
from controller.report.units import timestamp
from controller.specs import API_VERSION

VIEWS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "plans": ("Plan", ("plan",)),
        "migrations": ("Migration", ("migration", "mig", "moves", "move")),
        "guests": ("Guest", ("guest", "vm", "vms", "ct", "cts")),
        "replication": ("ReplicationJob", ("replications", "replicationjob", "replicationjobs", "jobs", "job", "rj")),
        "drifts": ("Drift", ("drift",)),
        "events": ("Event", ("event", "ev")),
        "sources": ("Source", ("source", "revision", "revisions")),
    }
)
"""Plural: the kind, and what else people call it."""


def view_of(word: str) -> str | None:
    """The plural of the view that people mean, in any case."""
    wanted = word.lower()
    return next((plural for plural, (_, others) in VIEWS.items() if wanted in (plural, *others)), None)


def plan_data(
    plan: Plan,
    seen: Observed | None,
    command: Callable[[Move], str] | None = None,
    explain: Callable[[Vmid], Explanation] | None = None,
) -> Data:
    """A plan. `command`: the line that a person would type for a move; `explain`: every node with its verdict; shown when given."""

    def candidates(vmid: Vmid) -> Data:
        if explain is None:
            return {}
        told = explain(vmid)
        takes = {} if told.seconds is None else {"estimatedSeconds": round(told.seconds, 1)}
        return {"candidates": _candidates(told), **takes}

    status: Data = {
        "digest": plan.digest,
        "madeTime": timestamp(plan.at),
        "moves": [{**_move(move, command), **candidates(move.vmid)} for move in plan.moves],
        "waiting": [
            {
                **_guest_words(wait.vmid, seen),
                "reason": str(wait.why),
                "message": wait.message,
                "remedy": wait.why.remedy,
                "cause": str(wait.cause),
                **({"move": _move(wait.move, command)} if wait.move is not None else {}),
                **candidates(wait.vmid),
            }
            for wait in plan.waiting
        ],
        "blocked": [
            {
                **_guest_words(stop.vmid, seen),
                "reason": str(stop.why),
                "message": stop.message,
                "remedy": stop.remedy,
                "cause": str(stop.cause),
                **candidates(stop.vmid),
            }
            for stop in plan.blocked
        ],
        "moving": list(plan.flying),
        "fine": len(plan.fine),
        "minimalMoves": plan.minimal_moves,
        "minimalBytes": plan.minimal_bytes,
        "drains": [_drain(drain) for drain in plan.drains],
        "violations": [
            {"cause": str(item.cause), "reason": str(item.why), "vmids": list(item.vmids), "message": item.message}
            for item in plan.violations
        ],
        "conflicts": [
            {
                "policies": [str(party) for party in item.parties],
                "givesWay": str(item.loser),
                "reason": str(item.why),
                "vmids": list(item.vmids),
                "message": item.message,
                "remedy": item.remedy,
            }
            for item in plan.conflicts
        ],
        "approvals": [
            {
                "object": str(one.gate),
                "digest": one.digest,
                "released": not one.waits,
                "by": one.released.by if one.released is not None else "",
                "steps": [str(step) for step in one.steps],
                "changes": list(one.changes),
            }
            for one in plan.approvals
        ],
        "jobs": [_job(action) for action in plan.jobs],
        "haRules": [
            {"verb": str(a.verb), "rule": a.rule.name, "cause": str(a.cause), "message": a.message}
            for a in plan.ha.actions
        ],
        "unsafe": list(plan.unsafe),
    }
    return _view("Plan", plan.cluster, plan.cluster, status)


def drift_list(view: ClusterView) -> list[Data]:
    """What people changed by hand, and what Drover does about it."""
    return [
        _view(
            "Drift",
            str(one.about).lower().replace("/", "-"),
            view.cluster,
            {
                "kind": str(one.kind),
                "about": str(one.about),
                **({"vmid": one.vmid} if one.vmid is not None else {}),
                "message": one.what,
                **({"sinceTime": timestamp(one.since)} if one.since is not None else {}),
                "will": one.will,
                "reason": str(one.why),
            },
        )
        for one in view.drifts
    ]


def explanation_data(told: Explanation, cluster: ClusterName) -> Data:
    """Why a guest is where it is, or goes where it goes."""
    status: Data = {
        "vmid": told.vmid,
        "name": told.name,
        "node": told.node,
        "candidates": _candidates(told),
        "rules": [str(ref) for ref in told.rules],
    }
    if told.why is not None:
        said = {"reason": str(told.why), "message": told.message, "cause": str(told.cause or ""), "waits": told.waits}
        status |= {key: value for key, value in said.items() if value != ""}
    if told.target is not None:
        status |= {"target": told.target, "moveBytes": told.move_bytes}
        status |= {} if told.seconds is None else {"seconds": round(told.seconds, 1)}
    return _view("Explanation", str(told.vmid), cluster, status)


def _candidates(told: Explanation) -> list[Data]:
    return [{"node": one.node, "fitness": str(one.fitness), "message": one.message} for one in told.candidates]


def guest_list(view: ClusterView) -> list[Data]:
    """Every guest of the last look."""
    if view.seen is None:
        return []
    seen, said = view.seen, verdicts(view)
    policies: dict[Vmid, list[str]] = {}
    for ref, vmids in sorted(view.plan.matched.items() if view.plan is not None else ()):
        for vmid in vmids:
            policies.setdefault(vmid, []).append(str(ref))
    return [
        _view("Guest", str(vmid), view.cluster, _guest(guest, said[vmid], view, policies.get(vmid, [])))
        for vmid, guest in sorted(seen.guests.items())
    ]


def migration_list(view: ClusterView, attempts: Iterable[Outcome]) -> list[Data]:
    """Moves under way, then the remembered attempts, the newest first."""
    flights = sorted(view.memory.flights.values(), key=lambda flight: -flight.started_at)
    running = [_flight(flight, view) for flight in flights]
    ended = [item for item in attempts if item.result not in (Result.STARTED, Result.UNKNOWN)]
    return running + [_attempt(item, view.cluster) for item in sorted(ended, key=lambda item: -item.at)]


def source_list(revision: str, view: SourceView | None) -> list[Data]:
    """The repository with the revision in force and the newest; nothing for a folder."""
    if view is None:
        return []
    status: Data = {"url": view.url, "ref": view.ref, "path": view.path, "revision": revision}
    if view.finding is not None:
        status |= {"ready": view.finding.ok, "reason": str(view.finding.why), "message": view.finding.message}
    for key, one, since in (("applied", view.applied, view.applied_at), ("attempted", view.attempted, None)):
        if one is not None:
            status[key] = {
                "commit": one.commit,
                "author": one.author,
                "email": one.email,
                "subject": one.subject,
                "commitTime": timestamp(one.at),
                **({"signer": one.signer, "key": one.key} if one.verified else {}),
                **({"inForceSince": timestamp(since)} if since is not None else {}),
            }
    if view.contact_at is not None:
        status["lastContactTime"] = timestamp(view.contact_at)
    return [{"apiVersion": API_VERSION, "kind": "Source", "metadata": {"name": "git"}, "spec": {}, "status": status}]


def job_list(view: ClusterView) -> list[Data]:
    """Every replication job of the last look, those of others too."""
    return [_view("ReplicationJob", name, view.cluster, status) for name, status in replication.job_list(view)]


def event_list(cluster: ClusterName, events: Iterable[Event]) -> list[Data]:
    """Events, the latest first."""
    return [_event(cluster, event) for event in sorted(events, key=lambda event: -event.last)]


def progress_data(progress: Progress) -> Data:
    """How far a move is; what is not known is left out."""
    found: Data = {"phase": progress.phase, "transferredBytes": progress.transferred_bytes}
    for key, value in (
        ("totalBytes", progress.total_bytes),
        ("bytesPerSecond", progress.rate_bytes_s),
        ("dirtyBytesPerSecond", progress.dirty_bytes_s),
        ("etaSeconds", progress.eta_seconds),
        ("downtimeMilliseconds", progress.downtime_ms),
    ):
        if value is not None:
            found[key] = value
    return found


def _view(kind: str, name: str, cluster: ClusterName, status: Data) -> Data:
    metadata: Data = {"name": name}
    spec: Data = {"clusterRef": {"name": cluster}}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec, "status": status}


def _guest_words(vmid: Vmid, seen: Observed | None) -> Data:
    guest = seen.guests.get(vmid) if seen is not None else None
    if guest is None:
        return {"vmid": vmid}
    return {
        "vmid": vmid,
        "name": guest.name,
        "type": str(guest.kind),
        "node": guest.node,
        "memoryBytes": guest.memory_bytes,
    }


def _move(move: Move, command: Callable[[Move], str] | None) -> Data:
    found: Data = {
        "vmid": move.vmid,
        "name": move.name,
        "type": str(move.kind),
        "from": move.source,
        "to": move.target,
        "reason": str(move.why),
        "message": move.message,
        "cause": str(move.cause),
        "lane": move.lane.name.capitalize(),
        "memoryBytes": move.memory_bytes,
        "online": move.options.online,
        "restart": move.options.restart,
    }
    if command is not None:
        found["command"] = command(move)
    return found


def _job(action: JobAction) -> Data:
    return {
        "job": action.job_id,
        "action": str(action.verb),
        **({"keepData": action.keep_data} if action.verb is JobVerb.REMOVE else {}),
        "vmid": action.vmid,
        "from": action.source,
        "to": action.target,
        "schedule": action.schedule,
        "reason": str(action.why),
        "message": action.message,
        "cause": str(action.cause),
    }


def _drain(drain: Drain) -> Data:
    found: Data = {
        "maintenance": str(drain.ref),
        "node": drain.node,
        "mode": str(drain.mode),
        "remaining": list(drain.remaining),
        "remainingBytes": drain.remaining_bytes,
        "moving": list(drain.moving),
        "blocked": [item.vmid for item in drain.blocked],
        "staying": list(drain.staying),
        "drained": drain.drained,
        "message": drain.message,
    }
    if drain.hold is not None:
        found["hold"] = str(drain.hold)
    return found


def _guest(guest: Guest, verdict: Verdict, view: ClusterView, policies: list[str]) -> Data:
    found: Data = {
        **_guest_words(guest.vmid, view.seen),
        "power": str(guest.power),
        "state": str(verdict.state),
        "tags": sorted(guest.tags),
        "pool": guest.pool,
        "lock": guest.lock,
        "haState": guest.ha_state,
        "template": guest.template,
        "policies": policies,
    }
    if verdict.why is not None:
        said = {"reason": str(verdict.why), "message": verdict.message, "remedy": verdict.remedy}
        found |= {key: text for key, text in said.items() if text}
    if verdict.cause is not None:
        found["cause"] = str(verdict.cause)
    if verdict.target is not None:
        found["target"] = verdict.target
    progress = view.progress.get(guest.vmid)
    if progress is not None and guest.vmid in view.memory.flights:
        found["progress"] = progress_data(progress)
    if (flight := view.memory.flights.get(guest.vmid)) is not None and flight.cautions:
        found["warnings"] = _cautions(flight)
    origin = view.memory.origins.get(guest.vmid)
    if origin is not None:
        since = timestamp(origin.since)
        found["origin"] = {"node": origin.node, "maintenance": str(origin.maintenance), "since": since}
    backoff = view.memory.backoffs.get(guest.vmid)
    if backoff is not None:
        found["backoff"] = {
            "failures": backoff.failures,
            "untilTime": timestamp(backoff.until),
            "reason": str(backoff.why),
            "message": backoff.message,
        }
    if targets := view.memory.refusals.get(guest.vmid):
        found["refusedTargets"] = [
            {
                "node": node,
                "reason": str(refusal.why),
                "message": refusal.message,
                "failures": refusal.failures,
                "untilTime": timestamp(refusal.until) if refusal.until else None,
            }
            for node, refusal in sorted(targets.items())
        ]
    return found


def _flight(flight: Flight, view: ClusterView) -> Data:
    status: Data = {
        **_trip(flight.vmid, flight.name, flight.identity.kind, flight.source, flight.target),
        "phase": str(flight.phase),
        "reason": str(flight.why),
        "cause": str(flight.cause),
        "startTime": timestamp(flight.started_at),
        "memoryBytes": flight.memory_bytes,
    }
    if flight.upid is not None:
        status["task"] = flight.upid
    if flight.waiting:
        status["waiting"] = flight.waiting
    if flight.cautions:
        status["warnings"] = _cautions(flight)
    progress = view.progress.get(flight.vmid)
    if progress is not None:
        status["progress"] = progress_data(progress)
    return _view("Migration", f"{flight.vmid}-{int(flight.started_at)}", view.cluster, status)


def _cautions(flight: Flight) -> list[Data]:
    return [{"reason": str(caution.why), "message": caution.message} for caution in flight.cautions]


def _attempt(outcome: Outcome, cluster: ClusterName) -> Data:
    started = outcome.at - (outcome.seconds or 0.0)
    status: Data = {
        **_trip(outcome.vmid, outcome.name, outcome.identity.kind, outcome.source, outcome.target),
        "phase": str(outcome.result),
        "reason": str(outcome.why),
        "cause": str(outcome.cause),
        "message": outcome.message,
        "startTime": timestamp(started),
        "endTime": timestamp(outcome.at),
    }
    if outcome.seconds is not None:
        status["seconds"] = round(outcome.seconds, 3)
    if outcome.upid is not None:
        status["task"] = outcome.upid
    if outcome.warning:
        status["warning"] = outcome.warning
    if outcome.progress is not None:
        status["progress"] = progress_data(outcome.progress)
    return _view("Migration", f"{outcome.vmid}-{int(started)}", cluster, status)


def _trip(vmid: Vmid, name: str, kind: str, source: str, target: str) -> Data:
    return {"vmid": vmid, "name": name, "type": str(kind), "from": source, "to": target}


def _event(cluster: ClusterName, event: Event) -> Data:
    about: ObjectRef = event.about
    return {
        "apiVersion": API_VERSION,
        "kind": "Event",
        "metadata": {"name": f"{cluster}-{event.number}", "creationTimestamp": timestamp(event.first)},
        "spec": {"clusterRef": {"name": cluster}},
        "source": {"component": "drover"},
        "type": str(event.type),
        "reason": event.reason,
        "message": event.message,
        "involvedObject": {"kind": about.kind, "name": about.name},
        "count": event.count,
        "firstTimestamp": timestamp(event.first),
        "lastTimestamp": timestamp(event.last),
    }
