"""Asks the simulator what a real cluster was asked, in the same order, and compares the answers.

Used by `test_contract.py`. What happened to the real cluster between two recorded calls (a cable pulled, time passed) is in
`scenes`; calls that differ on purpose are in `exceptions.yaml`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from controller.simulator.api import Request, Response
from controller.simulator.routes import Simulator
from controller.simulator.tasks import Task
from controller.simulator.world import World
from tests.contract import normal
from tests.contract.recordings import Call

PATIENCE = 900.0
"""Seconds after which a task that ended on the real cluster counts as stuck."""
PACE = 0.15
"""Seconds between two calls of the recorder."""
WATCH, RECOVERY = 75.0, 240.0
WATCHED = re.compile(
    r"(added|migrating|stopping|starting|node-affinity-moves|positive-moves|maint-(enable|disable)|disable|arm|disarm)-status"
    r"|ha-recovery-.*|(positive|negative)-(after|status)|strict-after-.*|after-migrate-against-affinity|maint-after.*"
    r"|node-list-(state-change|after-run|failed-job)|.*-after-scheduler-removed|before-ha-status|running-log|started-manager-status|started-cluster-resources|after-recovery-resources|slow-cluster-tasks|returned-.*|back-.*|offline-.*"
)
"""Calls that the recorder repeated until something had changed, or made after waiting for it; so does the replay, that long."""
EXCEPTIONS: dict[str, str] = (
    yaml.safe_load(Path(__file__).with_name("exceptions.yaml").read_text(encoding="utf-8")) or {}
)
_SYMBOL = re.compile(r"\{([^{}]+)\}")
_LATER = re.compile(r"now([+-]\d+)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One call compared: what differs, and why that may be."""

    call: Call
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Status, reason, form and wording are the same."""
        return not self.differences

    @property
    def purpose(self) -> str:
        """Why it differs on purpose, "" when it should not."""
        return EXCEPTIONS.get(self.call.id, "")


@dataclass(slots=True)
class Stage:
    """A simulated cluster in the place of the recorded one."""

    world: World
    simulator: Simulator
    made: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    secrets: dict[str, str] = field(default_factory=lambda: {"root@pam!test": "test-secret"})

    def play(self, call: Call, scenes: dict[str, Callable[["Stage"], None]]) -> Verdict:
        """Do what happened before `call`, ask, compare."""
        if call.id in scenes:
            scenes[call.id](self)
        self.wait(PACE)
        verdict = self._judge(call)
        end = self.world.now + (RECOVERY if "recovery" in call.name or "list" in call.name else WATCH)
        while not verdict.equal and WATCHED.fullmatch(call.name) and self.world.now < end:
            self.wait(1.0)
            verdict = self._judge(call)
        return verdict

    def _judge(self, call: Call) -> Verdict:
        if '"status": "=stopped"' in json.dumps(call.body) and call.path.endswith("/status"):
            self._let_task_end(call)
        if call.asked not in self.world.file.nodes or not self.simulator.reachable(call.asked):
            return Verdict(call, () if call.status is None else ("no answer",))
        response = self.ask(call)
        self.wait(response.delay)
        if call.status is None:
            same = response.lost or response.status >= 595
            return Verdict(call, () if same else (f"an answer, {response.status} {response.reason}, expected none",))
        self._remember(call, response)
        return Verdict(call, tuple(_compare(call, response)))

    def wait(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.world.advance(self.world.now + seconds)

    def wait_for(self, condition: Callable[[], bool], limit: float = PATIENCE) -> None:
        """Let virtual time pass until something is so."""
        end = self.world.now + limit
        while not condition() and self.world.now < end:
            self.wait(1.0)

    def ask(self, call: Call) -> Response:
        """Send a recorded call to the simulator."""
        header, cookie, csrf = self._credentials(call)
        params = {key: self._filled(value) if isinstance(value, str) else value for key, value in call.params.items()}
        if call.path == "/access/ticket" and "password" in params:
            params["password"] = "wrong" if "wrong" in call.name else f"{params.get('username')} password"
        elif params.get("password") == "MASKED":
            params["password"] = "root@pam password" if call.path == "/cluster/config/join" else "long enough"
        path = "/" + "/".join(part for part in self._filled(call.path).split("/") if part)
        return self.simulator.handle(
            Request(call.method, path, params, auth=header, node=call.asked, json=call.json, cookie=cookie, csrf=csrf)
        )

    def _credentials(self, call: Call) -> tuple[str, str, str]:
        access = self.simulator.home(call.asked).access
        if call.auth == "none":
            return (
                BAD_CREDENTIALS.get(call.name, ""),
                "PVE:nobody@pve:00000000::00" if "bad-ticket" in call.name else "",
                "",
            )
        if call.auth == "ticket":
            user = "admin@pve" if call.group == "80-access" else "root@pam"
            csrf = {"ticket-post-without-csrf": "", "ticket-post-bad-csrf": "00000000:nonsense"}
            return "", access.ticket_for(user), csrf.get(call.name, access.csrf_for(user))
        return f"PVEAPIToken={call.auth}={self.secrets[call.auth]}", "", ""

    def _remember(self, call: Call, response: Response) -> None:
        data = (response.body or {}).get("data")
        if call.method != "GET" and isinstance(data, str):
            self.made[call.id] = data
        elif isinstance(data, dict):
            if "digest" in data:
                self.digest = data["digest"]
            if "full-tokenid" in data:
                self.secrets[data["full-tokenid"]] = data["value"]

    def _filled(self, text: str) -> str:
        return _SYMBOL.sub(lambda match: self._meaning(match[1]), text)

    def _meaning(self, symbol: str) -> str:
        if symbol == "digest":
            return self.digest
        if later := _LATER.fullmatch(symbol):
            return str(int(self.world.now) + int(later[1]))
        if symbol in self.made:
            return self.made[symbol]
        if " " not in symbol:
            return f"nothing-came-of-{symbol.replace('/', '-')}"
        node, kind, ident, user = symbol.split(" ")
        known = [
            task.upid
            for task in self.world.tasks.of_node.get(node, ())
            if (task.type, task.id, task.user) == (kind, ident, user)
        ]
        return known[-1] if known else f"UPID:{node}:00000001:00000001:6B000000:{kind}:{ident}:{user}:"

    def _let_task_end(self, call: Call) -> None:
        task: Task | None = self.world.tasks.by_upid.get(self._filled(call.path).split("/")[4])
        if task is not None:
            self.wait_for(lambda: not task.running)


BAD_CREDENTIALS = {
    "bad-token-secret": "PVEAPIToken=root@pam!test=00000000-dead-beef-0000-000000000000",
    "bad-token-unknown": "PVEAPIToken=root@pam!nosuch=00000000-dead-beef-0000-000000000000",
    "bad-token-unknown-user": "PVEAPIToken=nobody@pve!x=00000000-dead-beef-0000-000000000000",
    "bad-token-format": "PVEAPIToken=garbage",
    "bearer": "Bearer 00000000-dead-beef-0000-000000000000",
}


def by_group(verdicts: list[Verdict]) -> dict[str, list[Verdict]]:
    """Verdicts by the group of their calls."""
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.call.group, []).append(verdict)
    return groups


def _compare(call: Call, response: Response) -> list[str]:
    found = []
    if response.status != call.status:
        found.append(f"status {response.status}, expected {call.status}")
    if (reason := normal.wording(response.reason)) != call.reason:
        found.append(f"reason {reason!r}, expected {call.reason!r}")
    document = json.loads(json.dumps(response.body))
    actual = "none" if document is None else normal.body(response_path(call.path), document)
    return found + normal.differences(call.body, actual)


def response_path(path: str) -> str:
    """A path whose task symbols (`{30-vm/001}`) count as one part."""
    return _SYMBOL.sub("upid", path)
