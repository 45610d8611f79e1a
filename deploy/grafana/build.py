"""Writes the dashboards beside it: `python deploy/grafana/build.py`. What they show is in the four functions at the end.

Run by hand after a change; a test holds the files fresh (tests/deploy/test_dashboards.py).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = dict[str, object]

HERE = Path(__file__).parent / "dashboards"
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
CLUSTER = 'cluster=~"$cluster"'
WIDTH = 24
"""Columns of Grafana's grid."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression. In it `{C` stands for the cluster that is chosen: `drover_guests{C,state="Blocked"}`."""

    expression: str
    legend: str = "__auto"

    def json(self, letter: str, *, instant: bool) -> Json:
        """Grafana's form of it."""
        return {
            "refId": letter,
            "datasource": SOURCE,
            "expr": self.expression.replace("{C", "{" + CLUSTER),
            "legendFormat": self.legend,
            "instant": instant,
            "range": not instant,
            "editorMode": "code",
        }


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. unit: one of Grafana's (s, bytes, Bps, percentunit, short, dateTimeFromNow, ...)."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    stacked: bool = False
    steps: tuple[tuple[float, str], ...] = ()  # from this value on, this colour; below the first one green
    maximum: float | None = None
    words: Mapping[float, tuple[str, str]] | None = None  # what to show for a value, and its colour
    stepwise: bool = False

    def json(self, number: int, x: int, y: int) -> Json:
        """Grafana's form of it, at a place in the grid."""
        letters = "ABCDEFGH"
        instant = self.kind in ("stat", "bargauge")
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [query.json(letters[n], instant=instant) for n, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
        }

    def _defaults(self) -> Json:
        steps: list[Json] = [{"color": "green" if self.steps or self.words else "blue", "value": None}]
        steps += [{"color": colour, "value": value} for value, colour in self.steps]
        found: Json = {
            "unit": self.unit,
            "min": 0 if self.maximum is not None else None,
            "max": self.maximum,
            "color": {"mode": "thresholds" if self.kind in ("stat", "bargauge") else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": [],
        }
        if self.words is not None:
            options = {f"{value:g}": {"text": text, "color": colour} for value, (text, colour) in self.words.items()}
            found["mappings"] = [{"type": "value", "options": options}]
        if self.kind == "timeseries":
            found["custom"] = {
                "drawStyle": "line",
                "lineInterpolation": "stepAfter" if self.stepwise else "linear",
                "lineWidth": 2,
                "fillOpacity": 30 if self.stacked else 8,
                "showPoints": "never",
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            }
        return found

    def _options(self) -> Json:
        calculated = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        if self.kind == "stat":
            return {"reduceOptions": calculated, "colorMode": "value", "graphMode": "none", "textMode": "auto"}
        if self.kind == "bargauge":
            return {"reduceOptions": calculated, "orientation": "horizontal", "displayMode": "gradient"}
        legend = {"showLegend": True, "displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"]}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def stat(title: str, description: str, unit: str, expression: str, **more: object) -> Panel:
    """One number."""
    return Panel(title, description, unit, (Query(expression, "{{cluster}}"),), "stat", 4, 4, **more)  # type: ignore[arg-type]  # fields of Panel


def dashboard(uid: str, title: str, description: str, panels: Iterable[Panel]) -> Json:
    """All panels, row by row as they fit."""
    placed: list[Json] = []
    x = y = tallest = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        placed.append(panel.json(number, x, y))
        x, tallest = x + panel.width, max(tallest, panel.height)
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["drover"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source(), _cluster()]},
        "annotations": {"list": []},
        "links": [{"type": "dashboards", "tags": ["drover"], "title": "Drover", "asDropdown": True, "keepTime": True}],
        "panels": placed,
    }


def _source() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}


def _cluster() -> Json:
    query = "label_values(drover_last_look_timestamp_seconds, cluster)"
    return {
        "name": "cluster",
        "label": "Cluster",
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "cluster"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


ANY_IS_BAD = ((1.0, "red"),)
YES_NO = {0: ("no", "red"), 1: ("yes", "green")}


def controller() -> Json:
    """Whether Drover is well, and may act."""
    return dashboard(
        "drover-controller",
        "Drover / Controller",
        "Whether Drover reads its source, sees its clusters, may act, and how hard it works.",
        [
            stat(
                "May act",
                "Whether Drover may start moves. Red: the panel “Why not armed” says why, docs/reasons.md what to do.",
                "short",
                'drover_armed{C,reason="Armed"}',
                words=YES_NO,
            ),
            stat(
                "Leads",
                "Whether this process holds the cluster's state file. No: another process does, which is fine for a spare.",
                "short",
                "drover_leader_election_master_status{C}",
                words=YES_NO,
            ),
            stat(
                "Age of the inventory",
                "Since the last complete look at the cluster. Minutes: PVE does not answer, see “Requests by result”.",
                "s",
                "time() - drover_last_look_timestamp_seconds{C}",
                steps=((60, "yellow"), (300, "red")),
            ),
            stat(
                "Source complete",
                "Whether the last reading of the manifests could read all of it. No: see Drover's log.",
                "short",
                "min(drover_source_complete)",
                words=YES_NO,
            ),
            stat(
                "Problems in manifests",
                "As last read; `drover validate` names file and line. The last good version stays in force.",
                "short",
                "sum(drover_source_errors)",
                steps=ANY_IS_BAD,
            ),
            stat(
                "Age of the revision",
                "Since when the manifests in force have been so. Older than your last commit: the source is not read.",
                "s",
                "time() - max(drover_source_revision_timestamp_seconds)",
            ),
            Panel(
                "Walks by result",
                "Walks from looking to acting. LookFailed: PVE does not answer. PlanDiscarded and Error: a fault of"
                " Drover, see its log.",
                "short",
                (
                    Query(
                        "sum by (result) (rate(drover_reconcile_total{C}[$__rate_interval])) * 60",
                        "{{result}} per minute",
                    ),
                ),
                stacked=True,
            ),
            Panel(
                "Duration of a walk",
                "Half of them, and all but one in a hundred, take less. Near loop.plannerSeconds plans are lost.",
                "s",
                (
                    Query(
                        "histogram_quantile(0.5, sum by (le) (rate(drover_reconcile_time_seconds_bucket{C}[$__rate_interval])))",
                        "half",
                    ),
                    Query(
                        "histogram_quantile(0.99, sum by (le) (rate(drover_reconcile_time_seconds_bucket{C}[$__rate_interval])))",
                        "99 of 100",
                    ),
                ),
            ),
            Panel(
                "Work that has not begun",
                "Actions of the present plan, by kind. Growing without end: look at “Why not armed”.",
                "short",
                (Query("sum by (queue) (drover_workqueue_depth{C})", "{{queue}}"),),
                stacked=True,
                stepwise=True,
            ),
            Panel(
                "Why not armed",
                "The reason in force: Armed, or what keeps Drover from starting moves; docs/reasons.md says what to do.",
                "short",
                (Query("topk(3, max by (reason) (drover_armed{C}))", "{{reason}}"),),
                stepwise=True,
                maximum=1,
            ),
            Panel(
                "Requests by result",
                "To the API of PVE. retry: not answered; ambiguous: the answer to a change was lost; denied: a right is"
                " missing (`drover rights`).",
                "reqps",
                (Query("sum by (result) (rate(drover_api_requests_total{C}[$__rate_interval]))", "{{result}}"),),
                stacked=True,
            ),
            Panel(
                "Requests by method",
                "What Drover asks of PVE: nearly all are GET; POST starts moves.",
                "reqps",
                (Query("sum by (method) (rate(drover_api_requests_total{C}[$__rate_interval]))", "{{method}}"),),
                stacked=True,
            ),
            Panel(
                "Duration of requests",
                "Of a hundred requests, 99 are answered faster. Slow: a hanging storage or an overloaded node.",
                "s",
                (
                    Query(
                        "histogram_quantile(0.99, sum by (le) (rate(drover_api_request_seconds_bucket{C}[$__rate_interval])))",
                        "99 of 100",
                    ),
                    Query(
                        "histogram_quantile(0.5, sum by (le) (rate(drover_api_request_seconds_bucket{C}[$__rate_interval])))",
                        "half",
                    ),
                ),
            ),
            Panel(
                "Circuit breaker",
                "Open: the last moves failed one after the other, nothing is started for a while; `drover events` has the"
                " errors.",
                "short",
                (
                    Query("max by (state) (drover_breaker{C})", "{{state}}"),
                    Query("sum(drover_breaker_nodes{C})", "nodes spared"),
                ),
                stepwise=True,
            ),
            Panel(
                "Conditions that want attention",
                "Objects that are not Ready, not Accepted, Blocked, Conflicted, late or lagging;"
                " `drover describe KIND NAME` has the sentences.",
                "short",
                (
                    Query(
                        'sum by (kind, type) (drover_conditions{C,type=~"Ready|Accepted|Feasible|Compliant|CapacitySufficient",status="False"})',
                        "{{kind}} not {{type}}",
                    ),
                    Query(
                        'sum by (kind, type) (drover_conditions{C,type=~"Blocked|Conflicted|DeadlineExceeded|LagExceeded",status="True"})',
                        "{{kind}} {{type}}",
                    ),
                ),
                stepwise=True,
            ),
            Panel(
                "Revisions refused",
                "In the last hour, by reason. BadSignature and SignerNotTrusted may be an attack: runbook DroverCommitRefused.",
                "short",
                (Query("sum by (reason) (increase(drover_source_refused_total[1h]))", "{{reason}}"),),
                stacked=True,
            ),
            Panel(
                "Notifications",
                "Messages that a sink has not taken yet, and attempts that failed per minute; try it with `drover notify test SINK`.",
                "short",
                (
                    Query("sum by (sink) (drover_notifications_queued) or vector(0)", "{{sink}} queued"),
                    Query(
                        'sum by (sink) (rate(drover_notifications_total{result!="Delivered"}[$__rate_interval])) * 60 or vector(0)',
                        "{{sink}} failed",
                    ),
                ),
            ),
            Panel(
                "CPU of Drover",
                "Seconds of CPU per second. Near one: the planner has too much to do, see “Duration of a walk”.",
                "percentunit",
                (
                    Query(
                        "rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) drover_build_info",
                        "{{instance}}",
                    ),
                ),
            ),
            Panel(
                "Memory of Drover",
                "Resident memory; steadily growing is a fault of Drover, please report it.",
                "bytes",
                (Query("process_resident_memory_bytes and on (instance) drover_build_info", "{{instance}}"),),
            ),
        ],
    )


def evacuation() -> Json:
    """Whether drains end, when, and who holds them up."""
    return dashboard(
        "drover-evacuation",
        "Drover / Evacuation",
        "How far drains are, against the least they could take; every move under way; who is blocked.",
        [
            stat(
                "Progress",
                "Of the least advanced drain, by bytes; 100 % while none is under way.",
                "percentunit",
                "min(drover_drain_progress_ratio{C})",
            ),
            stat(
                "Still takes",
                "As likely longer as shorter. 0: none is under way, or links are unknown (set linkMiBps).",
                "s",
                'max(drover_drain_seconds{C,estimate="Likely"})',
            ),
            stat(
                "At most, nine in ten",
                "Nine drains in ten are over by then.",
                "s",
                'max(drover_drain_seconds{C,estimate="Late"})',
            ),
            stat("Has taken", "Since the oldest drain under way began.", "s", "max(drover_drain_elapsed_seconds{C})"),
            stat(
                "Guests blocked",
                "They keep their node from being emptied until somebody changes something: `drover plan` says what.",
                "short",
                'sum(drover_drain_guests{C,stage="Blocked"})',
                steps=ANY_IS_BAD,
            ),
            stat(
                "Nodes overdue",
                "Not empty by their deadline: `drover describe NodeMaintenance NAME`.",
                "short",
                "sum(drover_maintenance_overdue_nodes{C})",
                steps=ANY_IS_BAD,
            ),
            Panel(
                "Waterfall",
                "Memory that still has to leave, and what would be left had no order of the moves been faster. A widening gap:"
                " moves wait, or links are slower than linkMiBps says.",
                "bytes",
                (
                    Query("sum(drover_drain_remaining_bytes{C})", "left"),
                    Query("sum(drover_drain_bound_remaining_bytes{C})", "at best"),
                ),
                width=24,
                height=10,
            ),
            Panel(
                "Guests by stage",
                "Blocked ones need somebody; waiting ones only need time.",
                "short",
                (Query("sum by (stage) (drover_drain_guests{C})", "{{stage}}"),),
                stacked=True,
                stepwise=True,
            ),
            Panel(
                "Foretold and elapsed",
                "The oldest drain under way. Above “late” it is slower than nine in ten should be.",
                "s",
                (
                    Query("max(drover_drain_elapsed_seconds{C})", "elapsed"),
                    Query('max(drover_drain_foretold_seconds{C,estimate="Bound"})', "at best"),
                    Query('max(drover_drain_foretold_seconds{C,estimate="Likely"})', "likely"),
                    Query('max(drover_drain_foretold_seconds{C,estimate="Late"})', "late"),
                ),
            ),
            Panel(
                "Moves under way: still to send",
                "One line per move; one that does not fall: its guest changes memory as fast as it is sent.",
                "bytes",
                (Query("drover_move_remaining_bytes{C}", "{{vmid}} {{source}} to {{target}}"),),
            ),
            Panel(
                "Moves under way: sent",
                "Beyond the guest's memory: pages are sent again.",
                "bytes",
                (Query("drover_move_sent_bytes{C}", "{{vmid}} {{source}} to {{target}}"),),
            ),
            Panel(
                "Moves under way: rate",
                "What each move sends per second.",
                "Bps",
                (Query("drover_move_rate_bytes_per_second{C}", "{{vmid}} {{source}} to {{target}}"),),
            ),
            Panel(
                "Rate and dirty rate, all moves",
                "Dirty near the rate: moves don't converge, a MigrationPolicy may help (docs/migration.md).",
                "Bps",
                (
                    Query("sum(drover_migration_rate_bytes_per_second{C})", "sent"),
                    Query("sum(drover_migration_dirty_bytes_per_second{C})", "changed by guests"),
                ),
            ),
            Panel(
                "Moves in flight",
                "Under way now, and those that the plan still wants.",
                "short",
                (Query("sum(drover_moves_in_flight{C})", "in flight"), Query("sum(drover_moves_wanted{C})", "wanted")),
                stepwise=True,
            ),
            Panel(
                "Moves that ended",
                "Per minute, by result. Stuck wants a person: `drover events`.",
                "short",
                (
                    Query(
                        'sum by (result) (rate(drover_moves_total{C,result!="Started"}[$__rate_interval])) * 60',
                        "{{result}}",
                    ),
                ),
                stacked=True,
            ),
            Panel(
                "Who is blocked, and why",
                "Guests that ought to move and can't; docs/reasons.md says what helps.",
                "short",
                (Query("topk(8, sum by (reason) (drover_guests_blocked{C}))", "{{reason}}"),),
                stepwise=True,
            ),
            Panel(
                "What moves wait for",
                "Nothing has to be done about these.",
                "short",
                (Query("topk(8, sum by (reason) (drover_guests_waiting{C}))", "{{reason}}"),),
                stepwise=True,
            ),
            Panel(
                "Duration of moves",
                "That succeeded, over the last six hours.",
                "s",
                (
                    Query(
                        "histogram_quantile(0.5, sum by (le) (rate(drover_migration_seconds_bucket{C}[6h])))", "half"
                    ),
                    Query(
                        "histogram_quantile(0.95, sum by (le) (rate(drover_migration_seconds_bucket{C}[6h])))",
                        "95 of 100",
                    ),
                ),
            ),
            Panel(
                "Downtime of guests",
                "Of live moves, as QEMU reports it, over the last six hours.",
                "s",
                (
                    Query(
                        "histogram_quantile(0.5, sum by (le) (rate(drover_migration_downtime_seconds_bucket{C}[6h])))",
                        "half",
                    ),
                    Query(
                        "histogram_quantile(0.95, sum by (le) (rate(drover_migration_downtime_seconds_bucket{C}[6h])))",
                        "95 of 100",
                    ),
                ),
            ),
            Panel(
                "Nodes in maintenance",
                "By where they stand; Held: suspended, or too many nodes are out of service.",
                "short",
                (Query("sum by (state) (drover_maintenance{C})", "{{state}}"),),
                stacked=True,
                stepwise=True,
            ),
            Panel(
                "Rolling maintenances",
                "Nodes by where they stand; Failed stops the roll: `drover get nm`.",
                "short",
                (Query("sum by (state) (drover_rolling_nodes{C})", "{{state}}"),),
                stacked=True,
                stepwise=True,
            ),
        ],
    )


def replication() -> Json:
    """What would be lost with a node, and which job is to blame."""
    job = "{{vmid}} {{source}} to {{target}}"
    return dashboard(
        "drover-replication",
        "Drover / Replication and RPO",
        "The age of every replica, against what policies allow; jobs that fail; replicas that are missing.",
        [
            stat(
                "Oldest replica",
                "What would be lost with the worst node. Compare with maxLagSeconds of the policy.",
                "s",
                "max(drover_replication_lag_seconds{C})",
            ),
            stat(
                "Policies that lag",
                "Replicas are older than maxLagSeconds: `drover get replication`.",
                "short",
                'sum(drover_conditions{C,kind="ReplicationPolicy",type="LagExceeded",status="True"})',
                steps=ANY_IS_BAD,
            ),
            stat(
                "Jobs failing",
                "`drover get replication -o wide` says why and what to do.",
                "short",
                'sum(drover_replication_jobs{C,state="Failing"})',
                steps=ANY_IS_BAD,
            ),
            stat(
                "Replicas lacking",
                "Not to be had until somebody changes something: `drover describe ReplicationPolicy NAME`.",
                "short",
                "sum(drover_replication_replicas_lacking{C})",
                steps=ANY_IS_BAD,
            ),
            stat(
                "Orphans",
                "Jobs of Drover that no policy wants; left alone, remove them by hand.",
                "short",
                "sum(drover_replication_orphans{C})",
                steps=((1, "yellow"),),
            ),
            stat("Replicas", "Jobs of policies that there are.", "short", "sum(drover_replication_replicas_there{C})"),
            Panel(
                "Age of replicas",
                "The RPO of each job, the oldest twenty. A line that climbs without falling: its job does not run.",
                "s",
                (Query("topk(20, drover_replication_lag_seconds{C})", job),),
                width=24,
                height=10,
            ),
            Panel(
                "Age by policy",
                "The worst replica of each policy.",
                "s",
                (Query("max by (policy) (drover_replication_lag_seconds{C})", "{{policy}}"),),
            ),
            Panel(
                "Jobs by state",
                "Failing and Lagging want to be looked at.",
                "short",
                (Query("sum by (state) (drover_replication_jobs{C})", "{{state}}"),),
                stacked=True,
                stepwise=True,
            ),
            Panel(
                "Duration of the last run",
                "The slowest twenty jobs. Near the interval of their schedule: the link is too slow for it.",
                "s",
                (Query("topk(20, drover_replication_last_duration_seconds{C})", job),),
            ),
            Panel(
                "Bytes of the last run",
                "What the last run of a job sent, the largest twenty: what a guest writes between two runs.",
                "bytes",
                (Query("topk(20, drover_replication_last_run_bytes{C})", job),),
            ),
            Panel(
                "Failed runs",
                "Since the last good one, the worst twenty jobs.",
                "short",
                (Query("topk(20, drover_replication_failures{C})", job),),
                stepwise=True,
            ),
            Panel(
                "Replicas wanted and there",
                "By policy; fewer than wanted: its status says why.",
                "short",
                (
                    Query("sum by (policy) (drover_replication_replicas_wanted{C})", "{{policy}} wanted"),
                    Query("sum by (policy) (drover_replication_replicas_there{C})", "{{policy}} there"),
                ),
                stepwise=True,
            ),
            Panel(
                "Policies by condition",
                "ReplicationPolicies for which a condition is true.",
                "short",
                (Query('sum by (type) (drover_conditions{C,kind="ReplicationPolicy",status="True"})', "{{type}}"),),
                stepwise=True,
            ),
        ],
    )


def placement() -> Json:
    """Whether rules hold, and whether there is room, also should a node fail."""
    return dashboard(
        "drover-placement",
        "Drover / Cluster placement",
        "Where guests are and ought to be: rules, room, and what is left should nodes fail.",
        [
            stat(
                "Guests", "Those that Drover sees in the cluster, templates included.", "short", "sum(drover_guests{C})"
            ),
            stat(
                "Out of place",
                "They have to move, and will: `drover plan`.",
                "short",
                'sum(drover_guests{C,state=~"Planned|Waiting"})',
            ),
            stat(
                "Blocked",
                "They ought to move and can't: `drover plan` names the remedy.",
                "short",
                'sum(drover_guests{C,state="Blocked"})',
                steps=ANY_IS_BAD,
            ),
            stat(
                "Rules broken",
                "Must and Should rules that do not hold now.",
                "short",
                "sum(drover_policy_violations{C})",
                steps=ANY_IS_BAD,
            ),
            stat(
                "Policies in conflict",
                "They gave way to others; change one: `drover plan` says which.",
                "short",
                "sum(drover_policy_conflicts{C})",
                steps=ANY_IS_BAD,
            ),
            stat(
                "Spare memory",
                "Left when the largest nodes fail that capacity.tolerateNodeFailures counts. Negative: guests would have no place.",
                "bytes",
                "min(drover_capacity_spare_bytes{C})",
            ),
            Panel(
                "Memory of nodes",
                "What running guests need, of what they may have. At 100 % nobody is moved there.",
                "percentunit",
                (Query("drover_node_needed_bytes{C} / drover_node_limit_bytes{C}", "{{node}}"),),
                kind="bargauge",
                steps=((0.8, "yellow"), (0.95, "red")),
                maximum=1.0,
            ),
            Panel(
                "Guests on nodes",
                "Those that do not run included.",
                "short",
                (Query("drover_node_guests{C}", "{{node}}"),),
                kind="bargauge",
            ),
            Panel(
                "Memory of nodes over time",
                "Spreading lines: the cluster gets out of balance (PveCluster balance).",
                "percentunit",
                (Query("drover_node_needed_bytes{C} / drover_node_limit_bytes{C}", "{{node}}"),),
            ),
            Panel(
                "Memory of the cluster",
                "What guests need, may have, and what is spare should nodes fail.",
                "bytes",
                (
                    Query("sum(drover_capacity_needed_bytes{C})", "needed"),
                    Query("sum(drover_capacity_limit_bytes{C})", "limit"),
                    Query("min(drover_capacity_spare_bytes{C})", "spare"),
                ),
            ),
            Panel(
                "Guests by state",
                "What the present plan says of them.",
                "short",
                (Query("sum by (state) (drover_guests{C})", "{{state}}"),),
                stacked=True,
                stepwise=True,
            ),
            Panel(
                "Broken rules",
                "By what they ask for.",
                "short",
                (Query("sum by (reason) (drover_policy_violations{C})", "{{reason}}"),),
                stacked=True,
                stepwise=True,
            ),
            Panel(
                "Moves wanted",
                "By what makes them necessary.",
                "short",
                (Query("sum by (reason) (drover_moves_wanted{C})", "{{reason}}"),),
                stacked=True,
                stepwise=True,
            ),
            Panel(
                "Moves that succeeded",
                "In the last hour, by what made them necessary. Balance and Spread that never stop: report it.",
                "short",
                (Query('sum by (reason) (increase(drover_moves_total{C,result="Succeeded"}[1h]))', "{{reason}}"),),
                stacked=True,
            ),
            Panel(
                "N+k",
                "Whether every cluster bears the failure of as many nodes as it should.",
                "short",
                (
                    Query(
                        'sum by (status) (drover_conditions{C,kind="PveCluster",type="CapacitySufficient"})',
                        "CapacitySufficient {{status}}",
                    ),
                ),
                stepwise=True,
            ),
            Panel(
                "What speaks against moves",
                "Found by the look right before them; `drover preflight GUEST` says what to do.",
                "short",
                (Query("topk(8, sum by (reason) (drover_preflight_findings{C}))", "{{reason}}"),),
                stepwise=True,
            ),
            Panel(
                "Guests that policies select",
                "By at least one PlacementPolicy.",
                "short",
                (Query("sum(drover_policy_matched_guests{C})", "matched"),),
            ),
            Panel(
                "Conflicts",
                "Policies that can't hold together, by kind of contradiction.",
                "short",
                (Query("sum by (reason) (drover_policy_conflicts{C})", "{{reason}}"),),
                stepwise=True,
            ),
        ],
    )


def files() -> Mapping[str, str]:
    """The text of every dashboard by its file name."""
    made = {
        "controller": controller(),
        "evacuation": evacuation(),
        "replication": replication(),
        "placement": placement(),
    }
    return {f"{name}.json": json.dumps(board, indent=2, ensure_ascii=False) + "\n" for name, board in made.items()}


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8")
