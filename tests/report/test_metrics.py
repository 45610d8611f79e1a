import asyncio
import re
import subprocess
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from controller.decide.preflight import CHECKS
from controller.model.condition import Status
from controller.model.ids import ClusterName, NodeName, Vmid
from controller.model.memory import Backoff, Begun, Caution, Refusal
from controller.model.outcome import Result
from controller.model.plan import Load
from controller.model.reasons import Why
from controller.model.view import BreakerState, Finding
from controller.pve.metered import Call, CallOutcome
from controller.report.conditions import TYPES, statuses
from controller.report.guests import GuestState
from controller.report.maintenance import MaintenanceState
from controller.report.metrics import PASSING, Metrics, Scrape
from controller.report.metrics.scrape import Exposition
from controller.report.metrics.words import ARMING, METHODS, MOVES, OBJECTIONS, TickResult, born_moves
from controller.specs import KINDS
from tests.programs import program
from tests.report.scene import (
    CLUSTER,
    FLIGHT,
    FORESEEN,
    LABEL,
    MEMORY,
    NOW,
    PROGRESS,
    PVE1,
    PVE2,
    SEEN,
    SPECS,
    SUCCESS,
    UPID,
    VIEW,
    board,
    crowded,
    guest,
)  # fmt: skip

# As promtool and the Prometheus naming rules have it.
_UNITS = ("_seconds", "_bytes", "_total", "_info", "_percent", "_ratio")
_NOT_BASE_UNITS = re.compile(r"(milli|micro|nano|minutes|hours|kilo|mega|giga|gib|mib|_ms(_|$))")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"cluster": CLUSTER, **labels})


def born() -> Metrics:
    metrics = Metrics()
    metrics.add_cluster(CLUSTER)
    return metrics


def exposed(metrics: Metrics, accept: str = "") -> Exposition:
    return asyncio.run(Scrape(metrics.registry, lambda: 0.0).exposition(accept))


def series(metrics: Metrics, prefix: str = "drover_") -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in metrics.registry.collect()
        for sample in family.samples
        if family.name.startswith(prefix)
    }


def test_every_series_of_a_closed_enum_is_there_from_the_first_scrape_at_zero() -> None:
    metrics = born()
    expected = {
        *(("drover_reconcile_total", (("result", result),)) for result in TickResult),
        *(("drover_api_requests_total", (("method", m), ("result", o))) for m in METHODS for o in CallOutcome),
        *(("drover_guests", (("state", state),)) for state in GuestState),
        *(("drover_guests_blocked", (("reason", why),)) for why in OBJECTIONS),
        *(("drover_moves_total", (("reason", why), ("result", result))) for why, result in born_moves()),
        *(("drover_maintenance", (("state", state),)) for state in MaintenanceState),
        *(("drover_armed", (("reason", why),)) for why in ARMING),
        *(("drover_preflight_findings", (("reason", why),)) for why in OBJECTIONS),
        *(
            ("drover_conditions", (("kind", kind), ("type", type_), ("status", status)))
            for kind, types in TYPES.items()
            for type_ in types
            for status in Status
        ),
    }
    there = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }
    for name, labels in expected:
        assert there.get((name, frozenset({("cluster", CLUSTER), *labels}))) == 0, (name, labels)
    for bare in (
        "moves_in_flight",
        "migration_bytes_total",
        "migration_seconds_count",
        "migration_downtime_seconds_count",
    ):
        assert value(metrics, f"drover_{bare}") == 0
    for kind in KINDS:
        assert metrics.registry.get_sample_value("drover_source_objects", {"kind": kind}) == 0
    assert metrics.registry.get_sample_value("drover_source_errors") == 0


def test_a_busy_cluster_has_no_series_that_was_not_born_with_it() -> None:
    _, busy = board()
    busy.count_call(CLUSTER)(Call("POST", "/nodes/{node}/qemu/{vmid}/migrate", CallOutcome.OK, 200, 0.1))
    busy.tick_failed(CLUSTER)
    new = {name for name, _ in series(busy) - series(born())}
    assert new <= {"drover_source_revision_info", *PASSING}


def test_no_series_is_multiplied_by_node_guest_task_or_message() -> None:
    _, metrics = board()
    labels = {label for name, pairs in series(metrics) if name not in PASSING for label, _ in pairs}
    assert labels == {
        "author", "cluster", "enforcement", "estimate", "kind", "le", "method", "python", "queue", "reason", "result", "revision",
        "signer", "stage", "state", "status", "type", "version",
    }  # fmt: skip
    values = {text for name, pairs in series(metrics) if name not in PASSING for _, text in pairs}
    assert not values & {
        *SEEN.nodes,
        *(str(vmid) for vmid in SEEN.guests),
        *(guest.name for guest in SEEN.guests.values()),
    }


def test_names_and_help_follow_the_rules_of_prometheus() -> None:
    _, metrics = board()
    for family in metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        assert family.documentation.endswith("."), f"{name}: the help is a sentence"
        if not name.startswith("drover_"):
            continue
        assert not _NOT_BASE_UNITS.search(name), f"{name}: base units only"
        assert ("_total" in name) == (family.type == "counter"), name
        if family.type == "histogram":
            assert name.endswith(("_seconds", "_bytes", "_ratio")), name
        for unit in _UNITS:
            assert unit not in name or name.endswith((unit, "_timestamp_seconds", f"{unit}_total", "_per_second")), name


def test_a_tick_is_counted_once_however_often_its_view_is_shown() -> None:
    metrics = born()
    made = statuses(SPECS, (), VIEW, {})
    for view in (VIEW, replace(VIEW, outcomes=()), replace(VIEW, outcomes=(), ticks=8)):
        metrics.publish(view, made)
    assert value(metrics, "drover_reconcile_total", result="Success") == 2
    assert value(metrics, "drover_reconcile_time_seconds_count") == 2


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({}, "Success"),
        ({"connected": Finding(ok=False, why=Why.UNREACHABLE, message="")}, "LookFailed"),
        ({"armed": Finding(ok=False, why=Why.PLANNER_OVERRAN, message="")}, "PlanDiscarded"),
        ({"armed": Finding(ok=False, why=Why.MODE_PLAN, message="")}, "Success"),
    ],
)
def test_a_tick_is_counted_by_how_it_ended(changes: dict[str, Finding], result: str) -> None:
    metrics = born()
    metrics.publish(replace(VIEW, **changes), {})  # type: ignore[arg-type]  # the table names the fields
    assert value(metrics, "drover_reconcile_total", result=result) == 1


def test_moves_are_told_by_reason_and_result_and_measured_when_they_succeed() -> None:
    _, metrics = board()
    assert value(metrics, "drover_moves_total", reason="NodeMaintenance", result="Succeeded") == 1
    assert value(metrics, "drover_moves_total", reason="MigrationFailed", result="Failed") == 1
    assert value(metrics, "drover_migration_seconds_sum") == SUCCESS.seconds
    assert value(metrics, "drover_migration_downtime_seconds_sum") == 0.063
    assert value(metrics, "drover_migration_bytes_total") == 2 << 30
    assert value(metrics, "drover_moves_in_flight") == 1


def test_gauges_say_what_is_and_fall_back_to_zero() -> None:
    _, metrics = board()
    assert value(metrics, "drover_guests_blocked", reason="NoTargetFits") == 1
    assert value(metrics, "drover_maintenance", state="Draining") == 1
    assert value(metrics, "drover_armed", reason="Armed") == 1
    assert value(metrics, "drover_conditions", kind="NodeMaintenance", type="Drained", status="False") == 1
    counts = {state: value(metrics, "drover_guests", state=state) for state in GuestState}
    assert counts == {"Fine": 3, "Planned": 1, "Waiting": 1, "Blocked": 1, "Moving": 1, "Unplanned": 0}
    metrics.publish(replace(VIEW, plan=None, armed=Finding(ok=False, why=Why.MODE_OBSERVE, message="")), {})
    assert value(metrics, "drover_guests_blocked", reason="NoTargetFits") == 0
    assert value(metrics, "drover_maintenance", state="Draining") == 0
    assert value(metrics, "drover_armed", reason="Armed") == 0
    assert value(metrics, "drover_armed", reason="ModeObserve") == 1
    assert value(metrics, "drover_guests", state="Unplanned") == 6


def test_every_reason_has_a_place() -> None:
    started = {why for why, result in born_moves() if result is Result.STARTED}
    refused = {why for why, result in born_moves() if result is Result.REFUSED}
    assert started == set(MOVES)
    assert not started & refused
    assert {Why.NO_TARGET_FITS, Why.GUEST_LOCKED, Why.TIMED_OUT, Why.TASK_LOST} <= refused
    assert {Why.ARMED, Why.NO_QUORUM, Why.STALE, Why.NOT_LEADER, Why.SUSPENDED, Why.WRONG_CLUSTER} <= set(ARMING)


def test_only_the_present_revision_is_told() -> None:
    metrics = born()
    present = {"revision": "two", "state": "InForce", "author": "", "signer": ""}
    for revision in ("one", "two"):
        metrics.source(revision=revision, errors=0, objects={"PveNode": 3}, at=5.0, complete=False)
    assert metrics.registry.get_sample_value("drover_source_revision_info", present) == 1
    assert metrics.registry.get_sample_value("drover_source_revision_info", {**present, "revision": "one"}) is None
    assert metrics.registry.get_sample_value("drover_source_objects", {"kind": "PveNode"}) == 3
    assert metrics.registry.get_sample_value("drover_source_last_success_timestamp_seconds") == 0


def test_a_cluster_that_is_gone_takes_its_series_along_and_its_last_answers_do_not_bring_them_back() -> None:
    metrics = born()
    other = ClusterName("other")
    count = metrics.count_call(other)
    metrics.forget(other)
    count(Call("GET", "/cluster/resources", CallOutcome.OK, 200, 0.1))
    assert series(metrics) == series(born())


def test_a_scrape_is_rendered_at_most_once_a_second() -> None:
    class Counting(CollectorRegistry):
        rendered = 0

        def collect(self):  # type: ignore[no-untyped-def]  # as untyped as the one it counts
            Counting.rendered += 1
            return super().collect()

    now = 100.0
    scrape = Scrape(Metrics(Counting()).registry, lambda: now)

    async def burst() -> set[Exposition]:
        return set(await asyncio.gather(*(scrape.exposition() for _ in range(5))))

    (made,) = asyncio.run(burst())
    assert Counting.rendered == 1
    assert b"drover_build_info" in made.text
    now += 1.0
    asyncio.run(scrape.exposition())
    assert Counting.rendered == 2


def test_the_text_is_what_prometheus_reads() -> None:
    _, metrics = board()
    text = exposed(metrics).text.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["drover_moves"].type == "counter"
    assert len(text) < 200_000


def test_what_a_check_says_has_a_series() -> None:
    assert {why for check in CHECKS for why in check.tells} <= set(OBJECTIONS)


def test_findings_are_held_as_long_as_what_they_stop_or_warn_of() -> None:
    metrics, at = born(), VIEW.at
    plain = replace(VIEW.memory, flights={}, backoffs={}, refusals={})
    vmid = SUCCESS.vmid
    refusal = Refusal(SUCCESS.identity, SUCCESS.target, Why.NO_SPACE, "", until=at + 60)
    held = {
        Why.NO_QUORUM: replace(plain, backoffs={vmid: Backoff(SUCCESS.identity, 0, at + 60, Why.NO_QUORUM, "")}),
        Why.NO_SPACE: replace(plain, refusals={vmid: {SUCCESS.target: refusal}}),
        Why.CHANGE_PENDING: replace(
            plain, flights={vmid: replace(FLIGHT, cautions=(Caution(Why.CHANGE_PENDING, "x"),))}
        ),
    }
    for why, memory in held.items():
        metrics.publish(replace(VIEW, outcomes=(), memory=memory), {})
        assert value(metrics, "drover_preflight_findings", reason=why) == 1
    metrics.publish(replace(VIEW, outcomes=(), memory=plain, at=at + 61), {})
    assert value(metrics, "drover_preflight_findings", reason="ChangePending") == 0


def test_findings_of_refused_moves_are_those_of_the_last_tick() -> None:
    metrics = born()
    refused = replace(
        SUCCESS, result=Result.REFUSED, why=Why.NO_SPACE, findings=(Why.NO_SPACE, Why.LOCAL_SNAPSHOT, Why.NO_SPACE)
    )
    metrics.publish(replace(VIEW, outcomes=(refused,)), {})
    assert value(metrics, "drover_preflight_findings", reason="NoSpace") == 2
    assert value(metrics, "drover_preflight_findings", reason="LocalSnapshot") == 1
    metrics.publish(replace(VIEW, outcomes=()), {})
    assert value(metrics, "drover_preflight_findings", reason="NoSpace") == 0


def test_promtool_finds_nothing_to_say_about_the_real_output() -> None:
    _, metrics = board(FORESEEN)
    text = exposed(metrics).text
    done = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).decode().splitlines() if not line.startswith("process_")]
    assert ours == []


def test_who_asks_for_openmetrics_gets_the_task_of_a_move_as_exemplar() -> None:
    _, metrics = board(replace(VIEW, outcomes=(replace(SUCCESS, upid=UPID),)))
    made = exposed(metrics, "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert made.content_type.startswith("application/openmetrics-text")
    text = made.text.decode()
    assert f'# {{task="{UPID}"}} 41.5' in text
    assert text.endswith("# EOF\n")
    assert "# {" not in exposed(metrics).text.decode()


def test_an_exemplar_is_never_longer_than_openmetrics_allows() -> None:
    metrics = born()
    path = "/nodes/{node}/" + "x" * 200
    metrics.count_call(CLUSTER)(Call("GET", path, CallOutcome.OK, 200, 0.1))
    assert value(metrics, "drover_api_request_seconds_count", method="GET") == 1


def test_a_cluster_of_five_thousand_guests_has_no_more_than_two_thousand_series() -> None:
    nodes = {NodeName(f"n{number:02}"): Load(1 << 40, 1 << 39, 157) for number in range(32)}
    flights = {Vmid(1000 + n): replace(FLIGHT, id=n, identity=guest(1000 + n, "x", PVE1).identity) for n in range(16)}
    view = crowded(5000)
    assert view.plan is not None
    view = replace(
        view,
        plan=replace(view.plan, loads=nodes, spare_bytes=-5),
        memory=replace(view.memory, flights=flights),
        progress=dict.fromkeys(flights, replace(PROGRESS, dirty_bytes_s=1.0)),
    )
    _, metrics = board(view)
    assert 1000 < len(series(metrics, "")) <= 2000
    assert value(metrics, "drover_capacity_limit_bytes") == 32 << 40
    assert value(metrics, "drover_capacity_spare_bytes") == -5
    assert value(metrics, "drover_node_guests", node="n07") == 157


def test_series_of_a_move_are_there_while_it_is_under_way_and_no_longer() -> None:
    metrics = born()
    metrics.publish(VIEW, {})
    labels = {"vmid": "101", "source": "pve1", "target": "pve2", "reason": "NodeMaintenance"}
    assert value(metrics, "drover_move_sent_bytes", **labels) == PROGRESS.transferred_bytes
    assert value(metrics, "drover_move_start_timestamp_seconds", **labels) == FLIGHT.started_at
    assert value(metrics, "drover_migration_remaining_bytes") == 4 << 30
    assert value(metrics, "drover_migration_rate_bytes_per_second") == PROGRESS.rate_bytes_s
    metrics.publish(replace(VIEW, memory=replace(VIEW.memory, flights={}), progress={}), {})
    assert not [name for name, pairs in series(metrics, "drover_move_") if dict(pairs).get("vmid")]
    assert value(metrics, "drover_migration_remaining_bytes") == 0


def test_the_plan_is_told_by_what_it_wants_and_what_it_waits_for() -> None:
    _, metrics = board()
    assert value(metrics, "drover_moves_wanted", reason="NodeMaintenance") == 2
    assert value(metrics, "drover_guests_waiting", reason="SlotTaken") == 1
    assert value(metrics, "drover_workqueue_depth", queue="Moves") == 2
    assert value(metrics, "drover_workqueue_depth", queue="ReplicationJobs") == 0
    assert value(metrics, "drover_policy_violations", reason="KeepApart", enforcement="Must") == 1
    assert value(metrics, "drover_policy_violations", reason="KeepApart", enforcement="Should") == 0


def test_a_tick_that_fails_is_an_error_and_who_does_not_hold_the_state_file_does_not_lead() -> None:
    metrics = born()
    assert value(metrics, "drover_leader_election_master_status") == 0
    metrics.publish(VIEW, {})
    assert value(metrics, "drover_leader_election_master_status") == 1
    assert value(metrics, "drover_reconcile_errors_total") == 0
    failed = replace(VIEW, ticks=VIEW.ticks + 1, connected=Finding(ok=False, why=Why.UNREACHABLE, message=""))
    metrics.publish(failed, {}, leads=False)
    metrics.tick_failed(CLUSTER)
    assert value(metrics, "drover_leader_election_master_status") == 0
    assert value(metrics, "drover_reconcile_errors_total") == 2


def test_the_breaker_is_told_by_its_state() -> None:
    metrics = born()
    metrics.publish(replace(VIEW, breaker=BreakerState.HALF_OPEN, spared=(PVE2,)), {})
    assert value(metrics, "drover_breaker", state="HalfOpen") == 1
    assert value(metrics, "drover_breaker", state="Closed") == 0
    assert value(metrics, "drover_breaker_nodes") == 1


def test_what_a_guest_has_sent_that_is_no_longer_there_is_not_subtracted_once_more() -> None:
    """Until its flight is over a guest that has arrived counts as moving; the bytes that remain are without it already."""
    metrics = born()
    assert FORESEEN.plan is not None
    [drain] = FORESEEN.plan.drains
    there = tuple(vmid for vmid in drain.remaining if vmid not in drain.moving)
    view = replace(FORESEEN, plan=replace(FORESEEN.plan, drains=(replace(drain, remaining=there),)))
    metrics.publish(view, statuses(SPECS, (), view, {}))
    assert value(metrics, "drover_drain_remaining_bytes") == drain.remaining_bytes


def test_a_drain_is_measured_against_what_was_foretold_when_it_began() -> None:
    """Begun at NOW - 60; at NOW it was foretold to take 90 s more, and no order of its moves could beat 60 s more."""
    metrics = born()
    began = replace(MEMORY, begun={PVE1: Begun(LABEL, PVE1, NOW - 60)})
    for later, drained in ((0, False), (30, False), (240, True)):
        assert FORESEEN.plan is not None
        [drain] = FORESEEN.plan.drains
        drain = replace(drain, drained=drained, remaining_bytes=0 if drained else drain.remaining_bytes)
        view = replace(FORESEEN, at=NOW + later, memory=began, plan=replace(FORESEEN.plan, drains=(drain,)))
        metrics.publish(view, statuses(SPECS, (), view, {}))
        if not drained:
            assert value(metrics, "drover_drain_elapsed_seconds") == 60 + later
            assert value(metrics, "drover_drain_foretold_seconds", estimate="Late") == 180
            assert value(metrics, "drover_drain_remaining_bytes") == (65 - 4) << 30
            ideal = (65 << 30) * (1 - (60 + later) / 120)
            assert value(metrics, "drover_drain_bound_remaining_bytes") == pytest.approx(ideal)
            assert value(metrics, "drover_drain_progress_ratio") < 0.5  # type: ignore[operator]  # there from birth
            assert value(metrics, "drover_drain_guests", stage="Waiting") == 2
            assert value(metrics, "drover_drain_guests", stage="Blocked") == 1
    assert value(metrics, "drover_drain_elapsed_seconds") == 0
    assert value(metrics, "drover_drain_progress_ratio") == 1
    assert value(metrics, "drover_drain_makespan_seconds_sum") == 300
    assert value(metrics, "drover_drain_makespan_ratio_sum") == 2.5


def test_a_drain_that_was_over_before_it_was_first_seen_is_not_measured() -> None:
    metrics = born()
    assert VIEW.plan is not None
    view = replace(VIEW, plan=replace(VIEW.plan, drains=(replace(VIEW.plan.drains[0], drained=True),)))
    for _ in range(2):
        metrics.publish(view, {})
    assert value(metrics, "drover_drain_makespan_seconds_count") == 0


def test_the_age_of_a_revision_counts_from_its_first_reading_here() -> None:
    metrics = Metrics()

    def said(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"drover_source_{name}")

    for revision, at, complete in (("one", 5.0, True), ("one", 6.0, False), ("two", 7.0, True)):
        metrics.source(revision=revision, errors=0, objects={}, at=at, complete=complete)
        assert said("revision_timestamp_seconds") == (5.0 if revision == "one" else 7.0)
        assert said("complete") == complete
        assert said("last_success_timestamp_seconds") == (7.0 if revision == "two" else 5.0)
