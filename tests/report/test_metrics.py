import asyncio
import re
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from controller.decide.preflight import CHECKS
from controller.model.condition import Status
from controller.model.ids import ClusterName
from controller.model.memory import Backoff, Caution, Refusal
from controller.model.outcome import Result
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.pve.metered import Call, CallOutcome
from controller.report.conditions import TYPES, statuses
from controller.report.guests import GuestState
from controller.report.maintenance import MaintenanceState
from controller.report.metrics import PASSING, Metrics, Scrape
from controller.report.metrics.scrape import Exposition
from controller.report.metrics.words import ARMING, METHODS, MOVES, OBJECTIONS, TickResult, born_moves
from controller.specs import KINDS
from tests.report.scene import CLUSTER, FLIGHT, SEEN, SPECS, SUCCESS, VIEW, board

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
        "cluster", "estimate", "kind", "le", "method", "python", "queue", "reason", "result", "revision", "stage", "state",
        "status", "type", "version",
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
    for revision in ("one", "two"):
        metrics.source(revision=revision, errors=0, objects={"PveNode": 3}, at=5.0, complete=False)
    assert metrics.registry.get_sample_value("drover_source_revision_info", {"revision": "two"}) == 1
    assert metrics.registry.get_sample_value("drover_source_revision_info", {"revision": "one"}) is None
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
