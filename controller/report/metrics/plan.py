"""Metrics of what is planned: guests by state, who is blocked and why, policies. Owned by `Metrics`."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from controller.model.drift import DriftKind
from controller.model.ids import ClusterName, Vmid
from controller.model.plan import Plan
from controller.model.reasons import Why
from controller.model.view import ClusterView
from controller.report.guests import GuestState, states
from controller.report.metrics.families import Families, show, tally
from controller.report.metrics.words import CLASHES, MOVES, OBJECTIONS, RULES, WAITS
from controller.specs.placementpolicy import Enforcement


class Queue(StrEnum):
    """What kind of actions a plan has."""

    MOVES = "Moves"
    POWER = "Power"
    REPLICATION_JOBS = "ReplicationJobs"
    HA_RULES = "HaRules"

    @classmethod
    def depths(cls, plan: Plan) -> Mapping[str, int]:
        """How many of each."""
        return {
            cls.MOVES: len(plan.moves) + len(plan.waiting),
            cls.POWER: len(plan.power),
            cls.REPLICATION_JOBS: len(plan.jobs),
            cls.HA_RULES: len(plan.ha.actions),
        }


class PlanMetrics:
    """What Drover means to do, and what keeps it from it."""

    def __init__(self, families: Families) -> None:
        self._guests = families.gauge(
            "drover_guests",
            "Guests, by what the present plan says of them; Blocked ones need somebody: `drover plan` says what for.",
            "state",
        )
        self._wanted = families.gauge(
            "drover_moves_wanted",
            "Moves of the plan that have a target and have not begun, by what makes them necessary; `drover plan` lists them.",
            "reason",
        )
        self._waiting = families.gauge(
            "drover_guests_waiting",
            "Guests that have to move, but not now, by what they wait for; nothing has to be done.",
            "reason",
        )
        self._blocked = families.gauge(
            "drover_guests_blocked",
            "Guests that ought to move and can't until somebody changes something: `drover plan` names them and the remedy.",
            "reason",
        )
        self._depth = families.gauge(
            "drover_workqueue_depth",
            "Actions of the present plan that have not begun. One that only grows: see drover_armed and drover_breaker.",
            "queue",
        )
        self._matched = families.gauge(
            "drover_policy_matched_guests",
            "Guests that at least one PlacementPolicy in force or suspended selects; 0 with policies there: a selector is wrong.",
        )
        self._violations = families.gauge(
            "drover_policy_violations",
            "Placement rules that do not hold now; `drover plan` names them and what is done about it. Must for long: somebody is"
            " blocked.",
            "reason",
            "enforcement",
        )
        self._conflicts = families.gauge(
            "drover_policy_conflicts",
            "Policies that gave way because they can't hold together with others; change one: `drover plan` says which.",
            "reason",
        )
        self._drift = families.gauge(
            "drover_drift",
            "What people have changed by hand and is still so; `drover drift` says what Drover does about each.",
            "kind",
        )
        self._findings = families.gauge(
            "drover_preflight_findings",
            "What the look right before moves holds against them: of those refused, and warnings of those under way;"
            " `drover preflight GUEST` says what to do.",
            "reason",
        )

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to every series of a cluster."""
        self._show(cluster, None, {})
        show(self._drift, cluster, DriftKind, {})
        show(self._findings, cluster, OBJECTIONS, {})

    def publish(self, view: ClusterView) -> None:
        """Take in the plan of a cluster."""
        self._show(view.cluster, view.plan, states(view))
        show(self._drift, view.cluster, DriftKind, tally(drift.kind for drift in view.drifts))
        show(self._findings, view.cluster, OBJECTIONS, tally(_found(view)))

    def _show(self, cluster: ClusterName, plan: Plan | None, guests: Mapping[Vmid, GuestState]) -> None:
        show(self._guests, cluster, GuestState, tally(guests.values()))
        show(self._wanted, cluster, MOVES, tally(move.why for move in plan.all_moves) if plan is not None else {})
        show(self._waiting, cluster, WAITS, tally(item.why for item in plan.waiting) if plan is not None else {})
        show(self._depth, cluster, Queue, Queue.depths(plan) if plan is not None else {})
        blocked = plan.blocked if plan is not None else ()
        show(self._blocked, cluster, OBJECTIONS, tally(item.why for item in blocked))
        broken, clashes = (plan.violations, plan.conflicts) if plan is not None else ((), ())
        counts = tally((item.why, item.must) for item in broken)
        for why in RULES:
            for must in (True, False):
                word = Enforcement.MUST if must else Enforcement.SHOULD
                self._violations.labels(cluster, why, word).set(counts.get((why, must), 0))
        show(self._conflicts, cluster, CLASHES, tally(item.why for item in clashes))
        placed = (v for ref, v in plan.matched.items() if ref.kind == "PlacementPolicy") if plan is not None else ()
        self._matched.labels(cluster).set(len(set().union(*placed)))


def _found(view: ClusterView) -> Iterator[Why]:
    """Every finding that is held against a move now: told in this tick, remembered of a guest or target, or a mere warning."""
    told = {outcome.vmid: outcome.findings for outcome in view.outcomes if outcome.findings}
    for findings in told.values():
        yield from findings
    for vmid, backoff in view.memory.backoffs.items():
        if vmid not in told and backoff.failures == 0 and backoff.until > view.at:
            yield backoff.why
    for vmid, targets in view.memory.refusals.items():
        for refusal in targets.values() if vmid not in told else ():
            if refusal.until > view.at:
                yield refusal.why
    for flight in view.memory.flights.values():
        yield from (caution.why for caution in flight.cautions)
