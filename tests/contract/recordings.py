"""What a real cluster answered, call by call, in the normal form; writes and reads `facts/`.

`python -m tests.contract.recordings DIR` (DIR holding `recorded/`) writes the facts anew; `test_contract.py` replays them against
the simulator, and `test_recordings.py` proves that they still say what the recordings say.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tests.contract import normal

FACTS = Path(__file__).with_name("facts")
ORDER = (
    "10-single-node", "11-cluster-form", "20-cluster", "30-vm", "31-migrate-preconditions", "32-migrate-offline",
    "33-migrate-online", "40-replication:001-102", "80-access", "40-replication:103-999", "97-misc", "50-ha:001-040",
    "70-tasks:001-063", "50-ha:041-089", "60-lxc", "70-tasks:064-999", "50-ha:090-999", "51-ha-rules", "96-bulk:001-020",
    "61-node-down", "62-no-quorum", "96-bulk:021-999", "63-node-isolated",
)  # fmt: skip
"""The groups in the order in which they were recorded, some in two parts; group 99 was shaped by stand-ins and says nothing."""
LEFT_OUT = {"63-node-isolated/091": {"description": "x"}}
"""Parameters that were sent but not recorded."""
_UPID = re.compile(r"UPID:([A-Za-z0-9-]+):[0-9A-F]{8}:[0-9A-F]{8,9}:([0-9A-F]{8}):([a-z-]+):([^: ]*):([^: /]+):")


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded call. Task ids and moments in `path` and `params` are symbols in braces that `replay` fills in."""

    id: str
    name: str
    method: str
    path: str
    body: normal.Normal
    params: dict[str, Any] = field(default_factory=dict)
    auth: str = "root@pam!test"
    asked: str = "pve1"
    json: bool = False
    status: int | None = 200
    reason: str = "OK"

    @property
    def group(self) -> str:
        """The group it was recorded in."""
        return self.id.partition("/")[0]


class Reader:
    """Turns recordings into facts, in order: what a call refers to was answered by one before it."""

    def __init__(self) -> None:
        self._made: dict[str, str] = {}
        self._latest = 0

    def call(self, group: str, file: Path) -> Call:
        """One recording as a fact."""
        raw = json.loads(file.read_text(encoding="utf-8"))
        number, _, name = file.stem.partition("-")
        ident = f"{group}/{number}"
        text = json.dumps(raw.get("body", ""))
        for match in _UPID.finditer(text):
            self._latest = max(self._latest, int(match[2], 16))
        answer = raw.get("body", "")
        if raw["method"] != "GET" and isinstance(answer, dict) and isinstance(answer.get("data"), str):
            self._made[answer["data"]] = ident
        params, is_json = self._params(raw)
        params |= LEFT_OUT.get(ident, {})
        return Call(
            ident,
            name,
            raw["method"],
            self._symbols(raw["path"].replace("%3A", ":").replace("%40", "@")),
            self._body(raw, answer),
            params=params,
            auth=raw.get("auth", "root@pam!test"),
            asked=raw.get("asked_node", "pve1"),
            json=is_json,
            status=raw["status"],
            reason="" if raw["status"] is None else normal.wording(raw["reason"]),
        )

    def _body(self, raw: dict[str, Any], answer: Any) -> normal.Normal:
        if "body" in raw:
            return normal.body(raw["path"], answer)
        return "text" if raw.get("body_text") else "none"

    def _params(self, raw: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        given: dict[str, Any] = {}
        if raw.get("raw_body"):
            try:
                decoded = json.loads(raw["raw_body"])
            except ValueError:
                decoded = raw["raw_body"]
            return (decoded if isinstance(decoded, dict) else {"": raw["raw_body"]}), True
        pairs = raw["params"].items() if isinstance(raw["params"], dict) else raw["params"]
        for key, value in pairs:
            known = given.get(key)
            if isinstance(value, list):
                given[key] = [str(entry) for entry in value]
                continue
            text = self._value(key, str(value))
            given[key] = text if known is None else [*(known if isinstance(known, list) else [known]), text]
        return given, False

    def _value(self, key: str, text: str) -> str:
        if key == "digest" and set(text) != {"0"}:
            return "{digest}"
        if key in ("since", "until"):
            return f"{{now{int(text) - self._latest:+d}}}"
        return text

    def _symbols(self, path: str) -> str:
        """Name the task in a path by the call that made it, or by its kind when nobody called for it."""

        def symbol(match: re.Match[str]) -> str:
            if match[2] == "6B000000":
                return match[0]
            made = self._made.get(match[0])
            return f"{{{made}}}" if made else f"{{{match[1]} {match[3]} {match[4]} {match[5]}}}"

        return _UPID.sub(symbol, path)


def read(recorded: Path) -> Iterator[Call]:
    """Every recorded call outside group 99, in order."""
    reader = Reader()
    for part in ORDER:
        group, first, last = _part(part)
        for file in sorted((recorded / group).glob("*.json")):
            if first <= file.name[:3] <= last:
                yield reader.call(group, file)


def _part(text: str) -> tuple[str, str, str]:
    group, _, numbers = text.partition(":")
    first, _, last = numbers.partition("-")
    return group, first or "000", last or "999"


def load() -> list[Call]:
    """The committed facts, in order."""
    calls = []
    for part in ORDER:
        group, first, last = _part(part)
        text = (FACTS / f"{group}.jsonl").read_text(encoding="utf-8")
        known = [Call(**json.loads(entry)) for entry in text.splitlines()]
        calls += [call for call in known if first <= call.id.rpartition("/")[2] <= last]
    return calls


def line(call: Call) -> str:
    """A fact as it is committed: what is usual is left out."""
    usual = {item.name: item.default for item in fields(Call) if item.default is not MISSING} | {"params": {}}
    told = {name: value for name, value in asdict(call).items() if name not in usual or value != usual[name]}
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def main(directory: str) -> None:
    """Write all facts."""
    FACTS.mkdir(exist_ok=True)
    lines: dict[str, list[str]] = {}
    for call in read(Path(directory) / "recorded"):
        lines.setdefault(call.group, []).append(line(call))
    for group, entries in lines.items():
        (FACTS / f"{group}.jsonl").write_text("\n".join(entries) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
