"""Tells the demo in lines that people like to read. Hears every view that the daemon publishes; used by `demo.script`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from controller.clock import Clock
from controller.loop.publish import Statuses
from controller.model.event import Event
from controller.model.ids import ObjectRef, Vmid
from controller.model.memory import Flight
from controller.model.outcome import Outcome, Progress, Result
from controller.model.plan import Lane
from controller.model.reasons import Why
from controller.model.view import ClusterView
from controller.report.evacuation import DrainLine, drain_line
from controller.report.events import sentence
from controller.report.maintenance import MaintenanceState
from controller.report.units import count_of, duration, rate, size


class Screen(Protocol):
    """Where the demo is shown: a terminal with bars that move, or plain lines. Implemented by `cli`."""

    def line(self, text: str, *, style: str = "") -> None:
        """One line that stays. style: `scene`, `good`, `bad`, `faint` or none."""
        ...

    def bars(self, rows: Sequence[tuple[str, float, str]]) -> bool:
        """The moves under way: name, fraction done, words behind the bar, in place of the bars before.

        False when this screen shows none, so that progress has to be told in lines.
        """
        ...


class Narrator:
    """Remembers what was already told, so that every fact is told once."""

    def __init__(self, screen: Screen, clock: Clock) -> None:
        self._screen = screen
        self._clock = clock
        self._start = clock.monotonic()
        self._seen = False
        self._plan = ""
        self._quarter: dict[int, int] = {}
        self._drain_quarter: dict[str, int] = {}
        self.succeeded: list[Outcome] = []
        self.failed: list[Outcome] = []

    def opening(self, cluster: str, endpoints: Sequence[str], manifests: Path, speed: float) -> None:
        """What is on the stage."""
        self._screen.line(
            f"A simulated Proxmox VE cluster {cluster!r} answers at {', '.join(endpoints)}", style="faint"
        )
        self._screen.line(
            f"Drover watches {manifests} in mode Enforce; time runs {speed:g} times as fast", style="faint"
        )
        self._screen.line("")

    def scene(self, text: str) -> None:
        """What a person does."""
        self._say("you", text, style="scene")

    def hear(self, view: ClusterView, statuses: Statuses, happened: Sequence[Event]) -> None:
        """Tell what is new in a view."""
        if view.seen is not None and not self._seen:
            self._seen = True
            self._tell_nodes(view)
        for outcome in view.outcomes:
            if outcome.result is not Result.STARTED:
                self._tell_end(outcome)
        for event in happened:
            if event.about.kind in ("NodeMaintenance", "PlacementPolicy", "PveCluster"):
                self._say("event", f"{event.about.name} {_once(event)}", style="faint")
        self._tell_plan(view)
        for outcome in view.outcomes:
            if outcome.result is Result.STARTED:
                self._say("start", f"{outcome.name} {outcome.source} -> {outcome.target} ({outcome.why})")
        self._tell_progress(view, statuses)

    def evacuated(self, drain: ObjectRef) -> frozenset[Vmid]:
        """Guests that left because of `drain`."""
        return frozenset(outcome.vmid for outcome in self.succeeded if outcome.cause == drain)

    def returned(self) -> frozenset[Vmid]:
        """Guests that went back home."""
        return frozenset(outcome.vmid for outcome in self.succeeded if outcome.lane is Lane.RETURN)

    def closing(self, requests: int, program: str) -> None:
        """The summary, and what to type next; `program` is what runs Drover here."""
        self._screen.bars(())
        seconds = self._clock.monotonic() - self._start
        downtimes = [
            outcome.progress.downtime_ms
            for outcome in self.succeeded
            if outcome.progress is not None and outcome.progress.downtime_ms is not None
        ]
        sent = sum(outcome.progress.transferred_bytes for outcome in self.succeeded if outcome.progress is not None)
        live = f"live downtime {min(downtimes)} to {max(downtimes)} ms" if downtimes else "no live move"
        self._screen.line("")
        self._screen.line(
            f"{count_of(len(self.succeeded), 'move')}, {len(self.failed)} failed, {size(sent)} sent in"
            f" {duration(seconds)} of cluster time; {live}; {requests} API requests",
            style="good",
        )
        self._screen.line("")
        self._screen.line("What to try next:")
        for command, what in (
            ("demo --keep", "the same, and leave it running with its page"),
            ("validate manifests/homelab", "check a folder of manifests, as CI would"),
            ("rights", "the role and token for a real cluster"),
            ("plan", "what Drover would do there; it only looks"),
        ):
            self._screen.line(f"  {program} {command:<27} {what}")

    def staying(self, endpoints: Sequence[str], look: str, address: str, manifests: Path) -> None:
        """Where everything is while `--keep` leaves it running."""
        self._screen.line("")
        self._screen.line(f"It keeps running until Ctrl-C. Page: {address}", style="good")
        self._screen.line(f"  edit    {manifests}")
        self._screen.line(f"  look    {look}")
        self._screen.line(f"  the API {endpoints[0]}/api2/json/version")

    def _tell_nodes(self, view: ClusterView) -> None:
        assert view.seen is not None
        for name, node in sorted(view.seen.nodes.items()):
            guests = view.seen.guests_on(name)
            held = sum(guest.memory_bytes or 0 for guest in guests if guest.power.holds_memory)
            self._say("sees", f"{name}: {count_of(len(guests), 'guest')}, {size(held)} of {size(node.memory_bytes)}")

    def _tell_plan(self, view: ClusterView) -> None:
        plan = view.plan
        if plan is None or plan.digest == self._plan:
            return
        new = bool(plan.all_moves or plan.blocked)
        self._plan = plan.digest
        for violation in plan.violations if new else ():
            self._say("rule", f"{violation.cause.name}: {violation.message}")
        for move in plan.moves:
            self._say(
                "plan", f"{move.kind.noun} {move.vmid} {move.name} {move.source} -> {move.target}: {move.message}"
            )
        later = [wait for wait in plan.waiting if wait.why in (Why.SLOT_TAKEN, Why.WAITING_FOR_ROOM)]
        if later and plan.moves:
            self._say("plan", f"{count_of(len(later), 'more guest')} after that", style="faint")
        for blocked in plan.blocked:
            self._say("blocked", f"{blocked.vmid} {blocked.why}: {blocked.message}", style="bad")

    def _tell_end(self, outcome: Outcome) -> None:
        if outcome.result is Result.SUCCEEDED:
            self.succeeded.append(outcome)
            self._say("done", sentence(outcome), style="good")
        else:
            self.failed.append(outcome)
            self._say(outcome.result.lower(), sentence(outcome), style="bad")

    def _tell_progress(self, view: ClusterView, statuses: Statuses) -> None:
        drains = self._drains(view, statuses)
        rows = [(f"{drain.node} {drain.state}", drain.percent / 100, _of_drain(drain)) for drain in drains]
        told: list[tuple[Flight, Progress, float]] = []
        for vmid, flight in sorted(view.memory.flights.items()):
            progress, way = view.progress.get(vmid), f"to {flight.target}"
            if progress is None:
                rows.append((flight.name, 0.0, f"{way}: starting"))
                continue
            fraction = min(1.0, progress.transferred_bytes / progress.total_bytes) if progress.total_bytes else 0.0
            rows.append((flight.name, fraction, f"{way}: {_of_move(progress)}"))
            told.append((flight, progress, fraction))
        if not self._screen.bars(rows):
            for flight, progress, fraction in told:
                self._tell_quarter(flight, progress, fraction)
            for drain in drains:
                self._tell_drain(drain)

    def _drains(self, view: ClusterView, statuses: Statuses) -> list[DrainLine]:
        planned = view.plan.drains if view.plan is not None else ()
        lines = [
            drain_line(drain, statuses.get(drain.ref), view, said={}, attempts=(), now=self._clock.wall())
            for drain in planned
        ]
        return [line for line in lines if line.state not in (MaintenanceState.DRAINED, MaintenanceState.CORDONED)]

    def _tell_drain(self, drain: DrainLine) -> None:
        quarter = drain.percent // 25
        if drain.eta_seconds is not None and self._drain_quarter.get(drain.name) != quarter:
            self._drain_quarter[drain.name] = quarter
            rest = f", {drain.uncounted}" if drain.uncounted else ""
            self._say("drain", f"{drain.node} {drain.percent} %: {drain.message}{rest}")
            self._say("", "; ".join(drain.outlook), style="faint")

    def _tell_quarter(self, flight: Flight, progress: Progress, fraction: float) -> None:
        quarter = int(fraction * 4)
        if 0 < quarter < 4 and quarter != self._quarter.get(flight.id):
            self._quarter[flight.id] = quarter
            self._say("moving", f"{flight.name} {flight.source} -> {flight.target} {_words(progress)}", style="faint")

    def _say(self, who: str, text: str, *, style: str = "") -> None:
        seconds = self._clock.monotonic() - self._start
        self._screen.line(f"{seconds:5.0f}s  {who:<8} {text}", style=style)


def _once(event: Event) -> str:
    """`PolicyCompliant: every matched guest …`: the reason of an event, without that of the condition behind it."""
    _, colon, rest = event.message.partition(": ")
    word = event.message[: -len(rest)].strip(": ") if colon else ""
    return f"{event.reason}: {rest if word.isalpha() else event.message}"


def _of_drain(drain: DrainLine) -> str:
    """`about 21s left; 2 of 10 away, 6 waiting; no order beats 40s in all`: a narrow terminal cuts the end off."""
    left = [f"about {duration(drain.eta_seconds)} left"] if drain.eta_seconds is not None else []
    said = ", ".join(filter(None, (f"{drain.away} of {drain.total} away", drain.uncounted)))
    bound = drain.makespan_bound_seconds
    return "; ".join([*left, said, *([f"no order beats {duration(bound)} in all"] if bound else [])])


def _of_move(progress: Progress) -> str:
    """`3s left, 500 MiB/s, 4.4 GiB of 6.0 GiB`, ditto."""
    if progress.total_bytes is None or progress.rate_bytes_s is None:
        return progress.phase.lower() or "starting"
    sent = f"{size(progress.transferred_bytes)} of {size(progress.total_bytes)}"
    return f"{duration(progress.eta_seconds)} left, {rate(progress.rate_bytes_s)}, {sent}"


def _words(progress: Progress) -> str:
    """`3.1 GiB of 8.0 GiB at 498 MiB/s, ETA 10s`."""
    if progress.total_bytes is None:
        return progress.phase.lower() or "starting"
    parts = [f"{size(progress.transferred_bytes)} of {size(progress.total_bytes)}"]
    if progress.rate_bytes_s is not None:
        parts.append(f"at {rate(progress.rate_bytes_s)}")
    return " ".join(parts) + (f", ETA {duration(progress.eta_seconds)}" if progress.eta_seconds is not None else "")
